"""The numbers of the very first picture are those the panes will show."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.model import Frame
from dctop.probes.cpu import CpuProbe
from dctop.probes.memory import MemoryProbe
from dctop.tui import firstread
from dctop.tui.draw.look import Look
from dctop.tui.panes.base import View
from dctop.tui.panes.cpu import CpuPane
from dctop.tui.panes.memory import MemoryPane
from dctop.tui.skeleton import picture
from dctop.tui.theme import paint
from tests.fakes.ui_source import FakeLive


def proc(root: Path, total: int, available: int) -> Path:
    (root / "meminfo").write_text(
        f"MemTotal:       {total} kB\nMemFree:  1 kB\nMemAvailable:   {available} kB\nBuffers: 0 kB\n"
    )
    (root / "loadavg").write_text("1.25 0.50 0.25 2/345 6789\n")
    return root


@pytest.mark.parametrize("available", [900_000, 150_000, 50_000])
def test_memory_is_told_as_its_pane_tells_it(tmp_path: Path, available: int) -> None:
    root = proc(tmp_path, 1_000_000, available)
    samples = {"memory": MemoryProbe(root, tmp_path).read(), "cpu": CpuProbe(root, tmp_path).read()}
    snap = SnapshotBuilder().push(Frame(1, 1, 1, samples, (), {}))
    view = View(FakeLive(), snap, Look(), "l")
    left, right = MemoryPane().title(view, 60)
    first = firstread.titles(Look(), root)
    assert ([*left[1:]], [*right]) == first["memory"]
    assert list(CpuPane().title(view, 60)[0])[-1] == first["cpu"][0][-1]


def test_the_first_picture_has_numbers(tmp_path: Path) -> None:
    titles = firstread.titles(Look(), proc(tmp_path, 1_000_000, 750_000))
    text = picture(160, 50, Look(), paint("dctop-dark", "none"), {"memory": "MEM", "cpu": "CPU"}, (), titles)
    assert "25%" in text and "load 1.2" in text


@given(st.binary(max_size=200))
def test_whatever_the_files_say_nothing_is_raised_and_nothing_made_up(data: bytes) -> None:
    try:
        total, available = firstread._memory(data)
    except (ValueError, IndexError):
        return
    assert 0 <= available <= total and total > 0


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    assert firstread.titles(Look(), tmp_path) == {}
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\n")
    assert firstread.titles(Look(), tmp_path) == {}
