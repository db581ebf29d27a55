"""The real panes on the real screen, over invented data: every view at every size draws without a fault."""

from __future__ import annotations

from typing import Any

import pytest

from dctop.tui.app import pane_models
from dctop.tui.draw.look import Look
from dctop.tui.panes.alert_detail import AlertDetailPane
from dctop.tui.panes.alerts import AlertsPane
from tests.fakes.ui_source import FakeLive, FakeReplay, alert
from tests.tui.emulator import shown
from tests.tui.screens import make_app, settle, text_of

SIZES = [(20, 5), (40, 12), (80, 24), (120, 40), (200, 60)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("source", [FakeLive, FakeReplay])
async def test_every_view_at_every_size(size: tuple[int, int], source: Any) -> None:
    live = source(8)
    live.known_alerts = [alert(1, "critical"), alert(2)]
    for look in (Look(), Look("ascii", False)):
        app = make_app(live, models=pane_models(), look=look)
        async with app.run_test(size=size) as pilot:
            for key in (
                "D",
                "A",
                "D",
                "R",
                "D",
                "e",
                "tab",
                "e",
                "f1",
                "escape",
                "G",
                "enter",
                "e",
                "escape",
            ):
                await pilot.press(key)
                await settle(pilot)
                text = text_of(app)
                assert "cannot draw" not in text, key
                assert all(len(line) <= size[0] for line in text.splitlines())
                assert look.unicode or text.isascii()


async def test_the_diagnosis_follows_the_selected_alert() -> None:
    live = FakeLive()
    live.known_alerts = [alert(1, "critical", "first alert"), alert(2, title="second alert")]
    app = make_app(live, models=pane_models())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("A", "down", "down")
        await settle(pilot)
        lists, detail = app.node.panes["alerts"].model, app.node.panes["alert-detail"].model
        assert isinstance(lists, AlertsPane)
        assert isinstance(detail, AlertDetailPane)
        assert lists.selected == 2
        assert detail.alert_id == 2
        await pilot.press("a", "s")
        await settle(pilot)
    assert ("ack", 2) in live.calls
    assert ("mute", 2, 60.0) in live.calls


async def test_the_empty_alert_list_says_what_is_watched() -> None:
    live = FakeLive()
    app = make_app(live, models=pane_models())
    async with app.run_test(size=(120, 40)) as pilot:
        live.tick(3)  # the engine has its rules with the second
        app.tick(0.0)
        await settle(pilot)
        assert "rules watch" in text_of(app)
        await pilot.press("A")
        app.tick(0.0)
        await settle(pilot)
        assert "NOT CHECKED" in text_of(app)


async def test_a_click_on_the_timeline_seeks() -> None:
    source = FakeReplay()
    app = make_app(source, models=pane_models())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        box = app.node.visible_panes["timeline"]
        await pilot.click(offset=(box.x + box.w // 2, box.y + box.h - 3))
        await settle(pilot)
    middle = (source.t0_ns + source.t1_ns) // 2
    assert abs(source.position_ns - middle) < 40 * 10**9


@pytest.mark.parametrize("paint", ["fast", "safe"])
async def test_the_real_panes_are_painted_as_they_are(paint: str) -> None:
    live = FakeLive(4)
    live.known_alerts = [alert(1, "critical")]
    async with shown(120, 40, live, models=pane_models(), paint_mode=paint) as s:
        await s.settled("start")
        for key in ("tick", "A", "tick", "D", "1", "tick", "f2", "right", "tick", "escape", "P", "tick"):
            if key == "tick":
                s.tick()
            else:
                await s.pilot.press(key)
            await s.settled(key)
