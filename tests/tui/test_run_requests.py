"""What the training view asks of runs, through the whole app: keys, dialogs, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dctop.engine.training import control, infer, launcher
from dctop.engine.training.runstate import RunState
from dctop.tui.app import pane_models
from dctop.tui.panes.run_view import RunPane
from tests.fakes.screen import make_run
from tests.fakes.ui_source import FakeLive
from tests.tui.test_keys import Driven, driven, until


def live(*runs: RunState) -> FakeLive:
    source = FakeLive()
    source.known_runs = list(runs)
    return source


def ended(folder: Path, **changes: Any) -> RunState:
    """A finished run with two checkpoints."""
    directory = folder / "old"
    (directory / "checkpoints").mkdir(parents=True)
    for step in (100, 200):
        (directory / "checkpoints" / f"step-{step:08d}.pt").write_bytes(b"x" * step)
    return make_run(30, id="old", status="finished", directory=str(directory), pid=None, **changes)


def pane(d: Driven) -> RunPane:
    model = d.app.node.panes["run"].model
    assert isinstance(model, RunPane)
    return model


async def test_another_run_is_drawn_into_the_plot_and_taken_out_again(tmp_path: Path) -> None:
    source = live(make_run(), ended(tmp_path))
    async with driven(source, models=pane_models()) as d:
        await d.press("R", "c")
        assert d.dialog == "compare with"
        shown = await d.press("enter")
        assert pane(d).compared == ("old",) and "same options" in shown
        await d.press("c", "enter")
        assert pane(d).compared == ()


async def test_a_checkpoint_is_asked_for_and_a_refusal_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(control, "checkpoint", lambda run: asked.append(run.id))
    run = make_run()
    async with driven(live(run), models=pane_models()) as d:
        await d.press("R", "w")
        await until(d, lambda: bool(asked))
        assert asked == [run.id]
        assert "it needs no resuming" in await d.press("u")
        assert "stop it first" in await d.press("delete")
    async with driven(live(run), models=pane_models(), readonly=True) as d:
        await d.press("R")
        assert "--readonly" in await d.press("w")
    assert len(asked) == 1


async def test_an_ended_run_is_resumed_from_the_checkpoint_that_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def launch(*args: Any) -> launcher.LaunchResult:
        asked.append(args)
        return launcher.LaunchResult("new-run")

    monkeypatch.setattr(launcher, "launch", launch)
    async with driven(live(ended(tmp_path)), models=pane_models()) as d:
        shown = await d.press("R", "u")
        assert d.dialog == "resume old from" and "step 200" in shown and "step 100" in shown
        await d.press("down", "enter")
        await until(d, lambda: bool(asked))
        await until(d, lambda: pane(d).selected == "new-run")
    assert asked == [({"workload": "mnist-cnn"}, None, "old", "100")]


async def test_measuring_asks_for_options_and_shows_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def launch(run: str, values: dict[str, Any]) -> launcher.LaunchResult:
        asked.append((run, values))
        return launcher.LaunchResult("a-measurement")

    monkeypatch.setattr(infer, "launch", launch)
    async with driven(live(ended(tmp_path)), models=pane_models()) as d:
        assert "was not measured yet" in await d.press("R", "i")
        shown = await d.press("I")
        assert d.dialog == "measure old" and "$ dctop infer old" in shown and "best" in shown
        await d.press("down", "ctrl+u", "8", "enter")
        await until(d, lambda: bool(asked))
    run, values = asked[0]
    assert run == "old" and values["batch_size"] == 8 and values["checkpoint"] == "best"


async def test_a_run_is_removed_only_after_a_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []
    monkeypatch.setattr(control, "remove", lambda run: removed.append(run.id))
    async with driven(live(ended(tmp_path)), models=pane_models()) as d:
        await d.press("R", "delete")
        assert d.dialog == "remove run"
        await d.press("n")
        assert not removed
        await d.press("delete", "y")
        await until(d, lambda: bool(removed))


async def test_a_measurement_and_its_run_lead_to_each_other(tmp_path: Path) -> None:
    measurement = make_run(
        30,
        id="20260101-000000-infer",
        workload="infer",
        status="finished",
        config={"measures": {"run": "old"}},
    )
    async with driven(live(ended(tmp_path), measurement), models=pane_models()) as d:
        await d.press("R")
        await d.press("i")
        assert pane(d).selected == measurement.id
        await d.press("i")
        assert pane(d).selected == "old"
