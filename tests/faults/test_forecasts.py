"""The score of forecasts: which targets count as reached, when a curve would have warned."""

from __future__ import annotations

from array import array
from typing import Any

from dctop.engine.rules.projection import Forecast
from dctop.engine.training.runstate import STEP_FIELDS, RunState
from tests.fakes.frames import a_run
from tests.faults import forecasts
from tests.faults.curveset import CURVES
from tests.faults.forecasts import Curve


def told(step: int, least: float, begun: bool = True) -> Forecast:
    return Forecast(least, least, 2, begun, None, 0.0, step)


def curve(*made: Forecast | None, schedule: str = "constant", best: float = 1.0, last: float = 1.0) -> Curve:
    return Curve("x-1", "loss", schedule, 1000, best, last, made)


def test_a_warning_needs_three_looks_in_a_row_beyond_the_margin() -> None:
    c = curve(told(300, 1.0), told(400, 0.8), told(500, 1.0), told(600, 1.0), told(700, 1.0))
    assert c.warned(0.9) == 0.7 and c.warned(0.97) is None and c.warned(0.7) == 0.5
    assert curve(told(300, 1.0), None, told(500, 1.0), told(600, 1.0)).warned(0.9) is None
    assert curve(*(told(s, 1.0, begun=False) for s in (300, 400, 500))).warned(0.5) is None
    assert curve(*(told(s, 1.0) for s in (300, 400, 500)), schedule="cosine").warned(0.93) is None


def test_the_page_counts_false_right_and_silent() -> None:
    good = curve(*(told(s, 0.95) for s in (300, 400, 500)))
    false = curve(*(told(s, 1.2) for s in (300, 400, 500)))
    silent = curve(*(told(s, 0.1) for s in (300, 400, 500)))
    page = forecasts.text([good, false, silent])
    assert "| 1 x its best | 1/3 | - | - |" in page and "| 0.8 x its end | 2/3, at 50 % of the plan" in page
    assert "- false: x-1, loss: 1, 1.02, 1.05, 1.1 x its best" in page
    assert "- silent whatever the target: x-1 (loss)" in page


def run(status: Any = "finished", step: int = 600, **config: Any) -> RunState:
    n = step
    columns = {name: array("d", [float("nan")] * n) for name in STEP_FIELDS}
    columns["step"] = array("d", range(1, n + 1))
    columns["loss"] = array("d", [2.3 * s**-0.2 for s in range(1, n + 1)])
    evals = [{"step": s, "loss": 2.3 * s**-0.2, "accuracy": 0.9} for s in range(100, n + 1, 100)]
    return a_run(
        config={"total_steps": 600, "config": {"schedule": "constant", **config}}, columns=columns,
        evals=evals, step=step, status=status,
    )  # fmt: skip


def test_only_runs_that_went_to_the_end_of_their_plan_are_curves() -> None:
    found = forecasts.curves(run(), "a-1")
    assert [c.of for c in found] == ["loss", "accuracy"]
    assert found[0].best == found[0].last and found[0].warned(0.5 * found[0].last) is not None
    assert forecasts.curves(run("stopped", 300), "a-1") == []


def test_the_curves_are_of_every_schedule_and_workload() -> None:
    kinds = {(c.get("workload", "mnist-cnn"), c.get("schedule")) for c in CURVES.values()}
    assert {("mnist-cnn", "cosine"), ("mnist-cnn", "step"), ("gpt", "constant"), ("gpt", "step")} <= kinds
