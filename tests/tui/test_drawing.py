"""A pane that has nothing to show is drawn when what it says changes, not every tick."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest

from dctop.tui.drawing import PaneDrawing
from dctop.tui.panes.alerts import AlertsPane, Watch
from dctop.tui.panes.base import PaneModel
from dctop.tui.panes.gpu import GpuPane
from tests.fakes.screen import FakeSource, Node, as_lines, view_of


def source(**changes: object) -> FakeSource:
    node = Node(gpus=0)
    node.changes = changes  # type: ignore[assignment]
    made = FakeSource(node.run(5), node.history)
    made.alert_list = []
    return made


def status(word: str, detail: str | None = None) -> Mapping[str, object]:
    return {"gpu.status": word, "gpu.detail": detail}


@pytest.mark.parametrize("model", [GpuPane(), AlertsPane()])
def test_nothing_new_gives_the_same_rows(model: PaneModel) -> None:
    drawing = PaneDrawing(model)
    first = drawing.draw(view_of(source(**status("no library"))), 60, 12)
    assert drawing.draw(view_of(source(**status("no library"))), 60, 12) is first


def test_another_reason_size_or_focus_is_drawn() -> None:
    drawing, seen = PaneDrawing(GpuPane()), []
    cases = [("no library", 60, False), ("no driver", 60, False), ("no driver", 50, False)]
    for text, w, focused in (*cases, ("no driver", 50, True)):
        view = view_of(source(**status(text)), focused=focused)
        seen.append(as_lines(drawing.draw(view, w, 12)))
        assert seen[-1] == as_lines(PaneDrawing(GpuPane()).draw(view, w, 12))
    assert all(a != b for a, b in pairwise(seen))


def test_a_gpu_that_comes_is_drawn() -> None:
    drawing = PaneDrawing(GpuPane())
    drawing.draw(view_of(source(**status("no device"))), 78, 8)
    node = Node(gpus=2)
    view = view_of(FakeSource(node.run(5), node.history))
    assert as_lines(drawing.draw(view, 78, 8)) == as_lines(PaneDrawing(GpuPane()).draw(view, 78, 8))


def test_what_the_empty_alert_list_says_is_drawn_when_it_is_known() -> None:
    model = AlertsPane()
    drawing, view = PaneDrawing(model), view_of(source())
    before = drawing.draw(view, 70, 14)
    model.watch = Watch(114, (("xid", "needs the kernel's log"),))
    after = drawing.draw(view, 70, 14)
    assert after is not before
    assert any("needs the kernel's log" in line for line in as_lines(after))
