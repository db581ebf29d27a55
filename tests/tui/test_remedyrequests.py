"""Applying a remedy from the diagnosis pane: chosen, confirmed, done beside the screen, refused read-only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dctop.engine.rules.alert import Remedy
from dctop.engine.training import successor
from dctop.tui import intents
from dctop.tui.panes.alert_detail import AlertDetailPane
from tests.engine.rules.test_remedies import run as made_run
from tests.fakes.ui_source import FakeLive, FakeReplay, alert
from tests.tui.test_keys import driven

WORKERS = Remedy("Use more loader processes", "workers 0 -> 1", "step 50 -> 30 ms", key="workers")
CACHE = Remedy("Prepare the data once", key="cache")


def starving(source: Any = None, *remedies: Remedy) -> Any:
    source = source or FakeLive()
    source.known_alerts = [
        replace(
            alert(title="waits for data"),
            rule="input-bound",
            entity="r1",
            remedies=remedies or (WORKERS, CACHE),
        )
    ]
    source.known_runs = [made_run(step_s=0.05, data_s=0.03)]
    return source


async def test_a_remedy_is_confirmed_and_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, dict[str, Any]]] = []

    def apply(run: Any, change: Any) -> str:
        done.append((run.id, dict(change.options)))
        return "r2"

    monkeypatch.setattr(successor, "apply", apply)
    async with driven(starving()) as d:
        d.app.intend("alert-detail", intents.ApplyRemedy(1))
        text = await d.press()
        assert d.dialog == "apply remedy"
        assert "workers 0 -> 1" in text and "50 ms now" in text and not done
        await d.press("n")
        assert d.dialog is None and not done
        d.app.intend("alert-detail", intents.ApplyRemedy(1))
        await d.press("y")
        for _ in range(50):
            if done:
                break
            await d.pilot.pause(0.02)
    assert done == [("r1", {"workers": 1})]


async def test_readonly_and_recordings_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(successor, "apply", lambda *a: pytest.fail("applied"))
    async with driven(starving(), readonly=True) as d:
        d.app.intend("alert-detail", intents.ApplyRemedy(1))
        assert "--readonly" in await d.press() and d.dialog is None
    async with driven(starving(FakeReplay())) as d:
        d.app.intend("alert-detail", intents.ApplyRemedy(1))
        assert "this is a recording" in await d.press() and d.dialog is None


async def test_what_dctop_cannot_do_is_for_copying() -> None:
    async with driven(starving(None, CACHE)) as d:
        d.app.intend("alert-detail", intents.ApplyRemedy(1))
        assert "copy the command" in await d.press() and d.dialog is None
    source = starving()
    source.known_runs = []
    async with driven(source) as d:
        d.app.intend("alert-detail", intents.ApplyRemedy(1))
        assert "not a run of dctop" in await d.press()


def test_the_pane_asks_for_it() -> None:
    assert any(a.id == "diagnosis.apply" and a.keys == ("p",) for a in AlertDetailPane.actions)
