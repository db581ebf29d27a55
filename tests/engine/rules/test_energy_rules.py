"""Budgets, joules a sample, power without work: on counters of an invented node, and on an estimate."""

from __future__ import annotations

import pytest

from dctop.engine.config import Energy
from dctop.engine.rules.engine import RuleEngine
from tests.engine.rules.gpus import ON_GPU, A, GpuScene, gpu_run
from tests.engine.rules.scene import Scene, values

RAPL = "cpu.energy_uj{package=package-0}"


def budgeted(s: Scene, **energy: float) -> Scene:
    s.engine = RuleEngine(energy=Energy(**energy))  # type: ignore[arg-type]
    s.chinese = RuleEngine(lang="zh", energy=Energy(**energy))  # type: ignore[arg-type]
    return s


def test_no_budget_is_nothing_to_judge() -> None:
    s = Scene()
    s.train(s.run(), 500)
    for rule in ("energy-budget", "co2-budget"):
        s.quiet(rule)


def test_a_run_that_will_use_more_than_it_may_is_told_where_to_stop() -> None:
    # One thread at 12 W (estimated): 10,000 steps of 20 ms are 200 s, 0.667 Wh.
    s = budgeted(Scene(), run_budget_kwh=0.0005, price_per_kwh=0.3)
    run = s.run(threads=1)
    s.train(run, 300)
    s.quiet("energy-budget", but_checked=False)  # not 5 % of its steps yet
    s.train(run, 3500)
    a = s.alert("energy-budget")
    assert a.severity == "warning"
    shown = values(a)
    assert shown["At the last step"] == pytest.approx(0.000667, rel=0.02)
    assert "estimate" in str(shown["Measured by"]) and shown["PUE"] == 1.0
    steps = str(a.remedies[0].quantity).partition(" -> ")[2].removesuffix(" steps").replace(",", "")
    assert int(steps) == pytest.approx(7500, rel=0.03)
    s.train(run, 5800)
    a = s.alert("energy-budget")
    assert a.severity == "critical" and "used up" in a.title


def test_a_run_within_its_budget_is_well() -> None:
    s = budgeted(Scene(), run_budget_kwh=0.001)
    s.train(s.run(), 4000)
    s.quiet("energy-budget")


def test_co2_needs_its_factor_and_shows_it() -> None:
    s = budgeted(Scene(), run_budget_co2_kg=0.0001)
    s.train(s.run(), 1000)
    assert "energy.co2_g_per_kwh" in s.unknown("co2-budget")
    s = budgeted(Scene(), run_budget_co2_kg=0.0001, co2_g_per_kwh=400.0, pue=1.5)
    s.train(s.run(), 4000)
    a = s.alert("co2-budget")
    # 0.000667 kWh x 1.5 x 400 g = 0.0004 kg
    assert values(a)["At the last step"] == pytest.approx(0.0004, rel=0.02)
    assert values(a)["CO2 factor"] == 400 and "x 400 g/kWh" in a.why


def test_a_gpu_s_power_limit_is_proposed_as_far_as_it_goes() -> None:
    s = GpuScene(A)
    s.gpu(A, power_min_w=600.0)
    budgeted(s, run_budget_kwh=0.02)
    run = gpu_run(s)
    s.train(run, 4000, **ON_GPU)
    a = s.alert("energy-budget")
    assert a.remedies[0].quantity == "700 W -> 630 W, 600 W"
    assert values(a)["Mean power"] == pytest.approx(600, rel=0.02)


def regression(s: Scene, watts: float, seconds: int, rate: int = 50) -> None:
    s.rate({RAPL: watts * 1e6})
    s.train(s.source_run, seconds * rate, rate)  # type: ignore[attr-defined]


def test_more_joules_a_sample_than_at_its_best() -> None:
    s = Scene()
    s.rate({RAPL: 100e6})
    run = s.run()
    s.source_run = run  # type: ignore[attr-defined]
    regression(s, 100, 330)
    s.quiet("energy-regression")
    regression(s, 100, 100, 30)
    a = s.alert("energy-regression")
    assert a.severity == "info" and values(a)["Ratio"] == pytest.approx(1.67, rel=0.05)
    regression(s, 100, 150)
    assert s.alert("energy-regression").state == "closed"


def test_another_batch_size_begins_anew_and_no_meter_is_unknown() -> None:
    s = Scene()
    s.train(s.run(), 500)
    assert "cpu.power_w" in s.unknown("energy-regression")
    s = Scene()
    s.rate({RAPL: 100e6})
    run = s.run()
    s.train(run, 330 * 50)
    s.train(run, 120 * 50, samples=8)
    s.quiet("energy-regression", but_checked=False)
    assert not s.found("energy-regression")


def test_a_run_that_stands_still_burns_power() -> None:
    s = Scene()
    s.rate({RAPL: 60e6})
    run = s.run()
    s.train(run, 1000)
    s.go(590)
    s.quiet("idle-burn")
    s.go(60)
    a = s.alert("idle-burn")
    assert a.severity == "info" and a.suppressed_by == "training-stalled"
    assert values(a)["Energy"] == pytest.approx(60 * 610 / 3600, rel=0.1)


@pytest.mark.parametrize("mode", ["eval", "checkpoint", "init"])
def test_where_no_steps_are_expected_nothing_burns(mode: str) -> None:
    s = Scene()
    s.rate({RAPL: 60e6})
    run = s.run()
    s.train(run, 100)
    run.mode(mode)
    s.go(700)
    s.quiet("idle-burn")
