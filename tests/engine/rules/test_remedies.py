"""From an alert and a run to the options of its successor, and from the successor to the verdict."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import pytest

from dctop.engine.rules import remedies
from dctop.engine.rules.alert import Alert, Remedy
from dctop.engine.rules.registry import rule_classes
from dctop.engine.rules.remedies import Change, Known, Measure, fit_batch, plan, verdict
from dctop.engine.rules.texts import catalogue
from dctop.engine.training.runstate import STEP_FIELDS, RunEvent, RunState
from tests.fakes.frames import a_run, an_alert

MIB = 1 << 20


def run(n: int = 100, events: tuple[RunEvent, ...] = (), asked: dict[str, Any] | None = None,
        **columns: Any) -> RunState:  # fmt: skip
    """`n` steps; a column is a number or a function of the step."""
    made = {name: array("d", [float("nan")] * n) for name in STEP_FIELDS}
    columns = {"step": lambda s: s, **columns}
    for name, value in columns.items():
        made[name] = array("d", [value(s) if callable(value) else value for s in range(1, n + 1)])
    config = {"config": {"batch_size": 64, "lr": 0.01, "workers": 0, "accumulate": 1, **(asked or {})}}
    return a_run(columns=made, config=config, events=events, step=n)


def alert(rule: str, first_step: int | None = None) -> Alert:
    return an_alert(1, 1, rule=rule, entity="r1", first_step=first_step)


def change(
    rule: str, key: str, state: RunState, first_step: int | None = None, known: Known | None = None
) -> Change:  # fmt: skip
    found = plan(alert(rule, first_step), Remedy("do", key=key), state, known)
    assert isinstance(found, Change), found
    return found


def saved(step: int, ok: bool = True) -> RunEvent:
    return RunEvent(step, step, "checkpoint", "", {"ok": ok})


def test_every_remedy_that_acts_is_one_of_the_catalogue() -> None:
    texts, ids = catalogue("en").rules, {rule.id for rule in rule_classes()}
    for rule, key in remedies._PLANNERS:
        if rule in ids:
            assert key in texts[rule].remedies, (rule, key)


def test_a_starved_run_gets_the_loaders_that_keep_up() -> None:
    state = run(step_s=0.050, data_s=0.030)
    found = change("input-bound", "workers", state, known=Known(cores=8))
    # P = 30 ms, compute 20 ms: ceil(1.2 x 1.5) = 2; then the data takes 15 ms a batch: compute decides.
    assert found.options == {"workers": 2} and found.before == {"workers": 0}
    assert found.prediction.metric == "step_s" and found.prediction.value == pytest.approx(0.020)
    assert found.start == "last"
    few = change("input-bound", "workers", state, known=Known(cores=2))
    assert few.options == {"workers": 1} and few.prediction.value == pytest.approx(0.030)


def test_more_loaders_than_cores_are_refused() -> None:
    found = plan(alert("input-bound"), Remedy("do", key="workers"),
                 run(step_s=0.05, data_s=0.03, asked={"workers": 1}), Known(cores=2))  # fmt: skip
    assert isinstance(found, str) and "2 cores" in found


def killed(limit: int = 700 * MIB) -> RunState:
    end = RunEvent(9, None, "end", "", {"cgroup_limit_bytes": limit})
    state = run(0, events=(end,), asked={"batch_size": 2048})
    return replace(state, status="killed", ended_wall_ns=9)


def test_a_run_killed_before_its_first_step_is_measured_first() -> None:
    found = plan(alert("oom-killed"), Remedy("do", key="batch"), killed())
    assert found == Measure((128, 256, 512))


def test_the_batch_that_fits_keeps_the_effective_batch() -> None:
    points = [(b, (395 + 0.332 * b) * MIB) for b in (128, 256, 512)]
    found = change("oom-killed", "batch", killed(), known=Known(memory=points))
    fit = int(found.options["batch_size"])
    assert fit == int((remedies.FILL * 700 - 395) / 0.332)
    assert fit * found.options["accumulate"] >= 2048 > fit * (found.options["accumulate"] - 1)
    assert found.prediction.value == pytest.approx((395 + 0.332 * fit) * MIB)
    assert found.start is None
    capped = change("oom-killed", "batch", killed(), known=Known(memory=points, most=300))
    assert capped.options["batch_size"] == 300


def test_no_batch_fits_where_the_rest_already_fills_the_limit() -> None:
    points = [(b, (695 + 0.332 * b) * MIB) for b in (128, 256)]
    found = plan(alert("oom-killed"), Remedy("do", key="batch"), killed(), Known(memory=points))
    assert isinstance(found, str) and found.startswith("no batch fits")


def test_points_without_a_slope_fit_nothing() -> None:
    assert fit_batch([(8, 1.0)], 10) is None and fit_batch([(8, 2.0), (16, 1.0)], 10) is None


def test_a_diverged_run_goes_back_to_before_with_a_tenth_of_the_rate() -> None:
    state = run(events=(saved(20), saved(40), saved(60), saved(80, ok=False)),
                loss=lambda s: 0.5 if s < 50 else 9.0)  # fmt: skip
    found = change("loss-diverging", "lr", state, first_step=50)
    assert found.options == {"lr": pytest.approx(0.001)} and found.start == "40"
    assert found.prediction == remedies.Prediction("loss", pytest.approx(0.6), 9.0, 200)


def test_gradients_are_clipped_at_what_was_healthy() -> None:
    state = run(grad_norm=lambda s: s / 10 if s < 51 else 1e6, loss=0.5)
    assert change("grad-exploding", "clip", state, first_step=51).options == {"clip": 4.5}


def test_a_remedy_without_an_option_says_so() -> None:
    found = plan(alert("disk-fill"), Remedy("Remove files", key="old"), run())
    assert isinstance(found, str) and "Remove files" in found


def test_a_process_that_dctop_did_not_start_is_left_alone() -> None:
    found = plan(alert("input-bound"), Remedy("do", key="workers"), replace(run(), config={}))
    assert isinstance(found, str) and "not started by dctop" in found


# -- verdicts ------------------------------------------------------------------------------------------------


def successor(told: Change, state: RunState, **more: Any) -> RunState:
    return replace(state, config={**state.config, "remedy": told.record("r0")}, **more)


def test_a_step_time_is_judged_once_the_warm_up_is_over() -> None:
    told = change("input-bound", "workers", run(step_s=0.05, data_s=0.03), known=Known(cores=8))
    assert verdict(successor(told, run(60, step_s=0.021))) is None
    met = verdict(successor(told, run(80, step_s=0.023)))
    assert met is not None and met.met and met.observed == 0.023 and met.before == 0.05
    missed = verdict(successor(told, run(80, step_s=0.026)))
    assert missed is not None and not missed.met


def test_a_successor_that_dies_has_not_met_it() -> None:
    points = [(b, (395 + 0.332 * b) * MIB) for b in (128, 256)]
    told = change("oom-killed", "batch", killed(), known=Known(memory=points))
    dead = verdict(successor(told, run(3), status="killed", ended_wall_ns=5))
    assert dead is not None and not dead.met
    alive = verdict(successor(told, run(40, rss_anon_bytes=400 * MIB)))
    assert alive is not None and alive.met and alive.metric == "memory"


def test_a_loss_is_met_as_soon_as_it_is_low_and_missed_after_200_steps() -> None:
    told = change("loss-diverging", "lr", run(loss=0.5), first_step=90)
    assert verdict(successor(told, run(100, loss=2.0))) is None
    early = verdict(successor(told, run(40, loss=0.55)))
    assert early is not None and early.met
    late = verdict(successor(told, run(200, loss=2.0)))
    assert late is not None and not late.met


def test_a_run_without_a_remedy_has_no_verdict() -> None:
    assert verdict(run()) is None


def test_dead_and_overflowing_runs_get_a_lower_rate_or_a_wider_range() -> None:
    state = run(loss=lambda s: 2.3, asked={"lr": 0.1})
    found = change("dead-relu", "lr", state, 51)
    assert found.options == {"lr": 0.01} and found.start is None
    assert change("amp-scale-collapse", "bf16", state).options == {"precision": "bf16"}
    assert change("amp-scale-collapse", "lr", state).options == {"lr": 0.01}
    vanished = change("grad-vanishing", "relu", run(loss=lambda s: 2.3, asked={"activation": "sigmoid"}))
    assert vanished.options == {"activation": "relu"} and vanished.before == {"activation": "sigmoid"}


def test_a_run_too_short_for_its_target_gets_the_steps_its_curve_needs() -> None:
    state = run(400, loss=lambda s: 2.3 * s**-0.2, asked={"target": 0.6, "max_steps": 600})
    plan_of = {"total_steps": 600, "steps_per_epoch": 100, "target_of": "loss"}
    state = replace(state, config={**state.config, **plan_of})
    found = change("slow-convergence", "longer", state)
    needed = (2.3 / 0.6) ** 5  # 829
    assert abs(found.options["max_steps"] - needed) < 0.05 * needed
    assert found.options["epochs"] == -(-found.options["max_steps"] // 100)
    enough = replace(state, config={**state.config, "total_steps": 1000})
    assert "cannot be told" in str(plan(alert("slow-convergence"), Remedy("do", key="longer"), enough))
    unknown = run(100)
    assert "cannot be told" in str(plan(alert("slow-convergence"), Remedy("do", key="longer"), unknown))


def test_memory_that_will_not_last_and_idle_tensor_cores_have_a_successor() -> None:
    halved = change("oom-predicted-gpu", "half", run(asked={"batch_size": 32}))
    assert (halved.options["batch_size"], halved.options["accumulate"]) == (16, 2)
    assert change("tensor-core-off", "tf32", run()).options == {"precision": "tf32"}
