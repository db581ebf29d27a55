"""Panes of the other views are made when they are shown, and are then as if they had been there before."""

from __future__ import annotations

from dctop.tui.app import other_models, pane_models
from dctop.tui.panes import PANES
from dctop.tui.panes.base import LaterPane
from dctop.tui.panes.gpu import GpuPane
from dctop.tui.panes.gpu_processes import GpuProcessesPane
from tests.fakes.ui_source import FakeLive, FakeReplay, alert
from tests.tui.screens import make_app, settle, text_of


def test_each_has_the_key_it_is_known_by() -> None:
    dashboard = [make() for make in PANES]
    others = other_models(dashboard)
    assert [p.make().key for p in others] == [p.key for p in others]
    assert len({p.key for p in others} | {m.key for m in dashboard}) == len(others) + len(dashboard)


def test_the_panes_of_the_gpu_view_share_the_book_of_the_list() -> None:
    panes = {p.key: p.make() if isinstance(p, LaterPane) else p for p in pane_models()}
    gpu, processes = panes["gpu"], panes["gpu-processes"]
    assert isinstance(gpu, GpuPane) and isinstance(processes, GpuProcessesPane)
    assert processes.book is gpu.book


async def test_the_dashboard_makes_none_of_them_and_each_view_its_own() -> None:
    live = FakeLive(2)
    live.known_alerts = [alert(1, "critical", "the first alert")]
    app = make_app(live, models=pane_models())
    async with app.run_test(size=(160, 50)) as pilot:
        await settle(pilot)
        later = [p.key for p in other_models([])]

        def made() -> set[str]:
            return {key for key in later if app.node.panes[key].made}

        assert made() == set()
        await pilot.press("A")
        await settle(pilot)
        assert made() == {"alert-detail"}
        assert text_of(app).count("the first alert") == 3  # ribbon, list, diagnosis
        await pilot.press("G", "enter")
        await settle(pilot)
        assert {"gpu-processes", "gpu-energy"} <= made()
        await pilot.press("R")
        await settle(pilot)
        assert "run" in made()
        assert "timeline" not in made()


async def test_a_replay_has_its_timeline_at_once() -> None:
    app = make_app(FakeReplay(), models=pane_models())
    async with app.run_test(size=(160, 50)) as pilot:
        await settle(pilot)
        assert app.node.panes["timeline"].made
        assert "TIMELINE" in text_of(app)


async def test_keys_of_panes_that_are_not_made_can_be_mapped() -> None:
    app = make_app(FakeLive(), models=pane_models(), remap={"run.compare": "c", "run.no_such": "d"})
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert app.state.notice is not None
        assert "run.no_such" in str(app.state.notice) and "run.compare" not in str(app.state.notice)
