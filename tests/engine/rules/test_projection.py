"""Where a curve will end: the fit, and the rule that compares it with the target."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.rules import powerlaw
from dctop.engine.rules.powerlaw import Power, begun, fit, line, smoothed
from dctop.engine.rules.projection import fits_until, steps_needed
from tests.engine.rules.scene import Scene, values
from tests.fakes.source import FakeRun

STEPS = [10.0 * 1.03**k for k in range(200)]


@given(st.floats(0.0, 1.0), st.floats(0.1, 10.0), st.sampled_from(powerlaw.EXPONENTS))
def test_a_power_law_is_found_again(a: float, b: float, c: float) -> None:
    found = fit(STEPS, [Power(a, b, c).at(t) for t in STEPS])
    assert found is not None and found.best in found.likely
    far = 10 * STEPS[-1]
    assert found.best.at(far) == pytest.approx(Power(a, b, c).at(far), abs=1e-3 * b + 1e-6)


@given(st.lists(st.floats(0, 10), min_size=200, max_size=200))
def test_whatever_is_fitted_neither_rises_nor_goes_below_zero(noise: list[float]) -> None:
    found = fit(STEPS, noise)
    assert found is not None and all(p.a >= 0 and p.b >= 0 for p in found.likely)


def test_when_a_curve_reaches_a_level() -> None:
    assert Power(0.1, 1.0, 0.5).reaches(0.2) == pytest.approx(100)
    assert Power(0.1, 1.0, 0.5).reaches(0.1) is None and Power(0.1, 0.0, 0.5).reaches(0.2) is None
    assert Power(0.0, 1.0, 0.05).reaches(1e-12) is None  # beyond all numbers


def test_the_average_has_no_pull_to_its_beginning() -> None:
    assert smoothed([3.0] * 300, [0, 10, 299]) == pytest.approx([3.0] * 3)
    assert smoothed([0.0] * 100 + [1.0] * 100, [99, 101, 199])[0] == 0.0
    assert smoothed([0.0] * 100 + [1.0] * 100, [199])[0] == pytest.approx(1.0, abs=0.03)


def test_few_values_are_no_curve() -> None:
    assert fit([1.0] * 49, [1.0] * 49) is None and fit([], []) is None


def test_fits_are_made_at_steps_that_depend_on_the_plan_alone() -> None:
    assert fits_until(199, 1000) == []
    assert fits_until(300, 800) == [200, 220, 242, 266, 292]
    assert fits_until(450, 800)[:5] == fits_until(300, 800)
    assert fits_until(2800, 10_000) == [2500, 2750]
    assert fits_until(1000, 1000, warmup=400) == [800, 880, 968]


def test_a_line_over_the_logarithm_stays_below_what_levels_off() -> None:
    values_ = [Power(0.3, 2.0, 0.4).at(t) for t in STEPS]
    found = line(STEPS, values_, 4 * STEPS[-1], 0.25 * STEPS[-1])
    assert found is not None and found.low <= found.middle < Power(0.3, 2.0, 0.4).at(4 * STEPS[-1])
    r = random.Random(3)
    noisy = line(STEPS, [2.0 - 0.1 * math.log(t) + r.gauss(0, 0.05) for t in STEPS], 5000.0, 0.0)
    assert noisy is not None and noisy.middle == pytest.approx(2.0 - 0.1 * math.log(5000), abs=0.05)
    assert noisy.low < noisy.middle
    assert line([1.0, 2.0], [1.0, 1.0], 3.0, 0.0) is None and line([2.0] * 5, [1.0] * 5, 3.0, 0.0) is None


def test_it_has_begun_to_learn_when_it_is_down_by_a_fifth() -> None:
    assert begun([2.3] * 50 + [1.8] * 50) and not begun([2.3] * 50 + [1.9] * 50)
    assert not begun([2.3] * 60) and not begun([])


def exponent(final: float, at: int) -> float:
    """Of an error that falls from that of ten classes at step 1 to 1 - `final` at step `at`."""
    return math.log(0.9 / (1 - final)) / math.log(at)


def power(final: float, at: int) -> Any:
    """The accuracy of it, with the noise of a batch."""
    c, r = exponent(final, at), random.Random(5)
    return lambda step: 1 - 0.9 * step**-c + r.gauss(0, 0.05)


def begin(s: Scene, total: int = 2000, of: str = "accuracy", **config: Any) -> FakeRun:
    run = s.run(**{"target": 0.9, "schedule": "constant", "lr": 1e-3, **config})
    run.publish(config={**run.now.config, "total_steps": total, "target_of": of, "steps_per_epoch": 100})
    return run


def test_a_target_that_will_be_missed_is_told_with_the_steps_it_takes() -> None:
    s = Scene()
    run = begin(s)
    s.train(run, 900, accuracy=power(0.85, 2000))
    a = s.alert("slow-convergence")
    assert a.severity == "warning" and values(a)["Target"] == 0.9
    assert values(a)["Projected"] == pytest.approx(0.85, abs=0.02)
    # The error falls from 0.15 to 0.1 in 1.5^(1 / c) times the steps.
    needed = 2000 * 1.5 ** (1 / exponent(0.85, 2000))
    assert needed / 2 < float(values(a)["Steps more"]) + 2000 < 2 * needed  # type: ignore[arg-type]
    assert a.remedies[0].key == "longer" and "epochs more" in str(a.remedies[0].quantity)
    assert needed / 2 < (steps_needed(run.now) or 0) < 2 * needed


def test_a_curve_that_levels_off_below_is_told_to_do_so() -> None:
    s = Scene()
    run = begin(s)
    r = random.Random(5)
    s.train(run, 1500, accuracy=lambda step: 0.7 - min(0.6, 2.0 * step**-0.5) + r.gauss(0, 0.03))
    a = s.alert("slow-convergence")
    assert a.remedies[-1].key == "larger" and "levels off" in a.why and "Steps more" not in values(a)
    assert steps_needed(run.now) is None


def test_a_run_that_will_reach_its_target_is_not_given_up() -> None:
    s = Scene()
    s.train(begin(s), 1500, accuracy=power(0.93, 2000))
    s.quiet("slow-convergence")


def test_what_evaluations_find_worse_than_the_training_counts() -> None:
    s = Scene()
    run = begin(s)
    for _ in range(14):
        s.train(run, 100, accuracy=power(0.93, 2000))
        step = run.now.step or 0
        trained = 1 - 0.9 * step ** -exponent(0.93, 2000)
        run.event("eval", "eval", None, accuracy=trained - 0.06, loss=1.0)
        s.go()
    a = s.alert("slow-convergence")
    assert values(a)["Projected"] == pytest.approx(0.87, abs=0.02)
    assert values(a)["Evaluation above training"] == pytest.approx(0.06, abs=0.02)


def test_a_loss_has_its_target_below() -> None:
    s = Scene()
    run = begin(s, of="loss", target=1.0)
    s.train(run, 700, loss=lambda step: 1.2 * (2000 / step) ** 0.1)
    a = s.alert("slow-convergence")
    assert values(a)["Projected"] == pytest.approx(1.2, abs=0.03)
    s = Scene()
    s.train(begin(s, of="loss", target=1.25), 700, loss=lambda step: 1.2 * (2000 / step) ** 0.1)
    s.quiet("slow-convergence")


def test_a_smooth_slow_run_is_told_to_raise_its_rate() -> None:
    s = Scene()
    run = begin(s, of="loss", target=0.5, lr=1e-5)
    s.train(run, 800, loss=lambda step: 2.3 * step**-0.1, update_ratio=3e-4, lr=1e-5)
    s.go(12)
    assert s.alert("slow-convergence").remedies[0].quantity == "lr 1e-05 -> 0.0001"


def test_without_a_target_nothing_is_guessed() -> None:
    s = Scene()
    s.train(begin(s, target=0.0), 300)
    assert "--target" in s.unknown("slow-convergence")


def test_a_schedule_that_falls_at_its_end_is_given_room() -> None:
    learned = power(0.85, 2000)

    def falls(step: int) -> float:
        """To 0.15 errors by a power law, and to 0.12 as the rate decays."""
        return learned(step) + 0.03 * max(0.0, step / 2000 - 0.5) * 2

    s = Scene()
    s.train(begin(s, schedule="cosine", target=0.875), 1700, accuracy=falls)
    s.quiet("slow-convergence")
    s = Scene()
    s.train(begin(s, schedule="cosine", target=0.94), 1700, accuracy=falls)
    assert s.alert("slow-convergence").severity == "warning"


def test_a_schedule_of_steps_is_judged_after_its_last_decay() -> None:
    s = Scene()
    run = begin(s, schedule="step")
    s.train(run, 1330, accuracy=power(0.75, 2000))
    assert "1726 training steps" in s.unknown("slow-convergence")
    s.train(run, 600, accuracy=power(0.75, 2000))
    assert s.alert("slow-convergence").first_step > 1333


def test_resumed_runs_are_not_judged() -> None:
    s = Scene()
    run = begin(s)
    run.event("note", "resumed from step 100")
    s.train(run, 700, accuracy=power(0.85, 2000))
    s.quiet("slow-convergence")


def test_a_run_that_has_not_begun_to_learn_is_not_given_up() -> None:
    s = Scene()
    s.train(begin(s, of="loss", target=0.5), 900, loss=lambda step: 2.3 - 0.0002 * step)
    s.quiet("slow-convergence")


def test_where_the_accuracy_is_measured_now_and_then_the_evaluations_tell() -> None:
    s = Scene()
    run = begin(s, target=0.95)
    for _ in range(14):
        s.train(run, 100, loss=lambda step: 2.3 * step**-0.2, accuracy=lambda step: math.nan)
        run.event(
            "eval", "eval", None, accuracy=1 - 0.9 * (run.now.step or 0) ** -exponent(0.8, 2000), loss=1.0
        )
        s.go()
    a = s.alert("slow-convergence")
    assert "neither line" in a.why and values(a)["Models"] == 2
    assert values(a)["Projected"] == pytest.approx(0.8, abs=0.03)
    assert a.remedies[-1].key == "larger"


def test_early_in_a_plan_nothing_is_said() -> None:
    s = Scene()
    s.train(begin(s, total=100_000), 500, accuracy=power(0.85, 2000))
    assert "steps" in s.unknown("slow-convergence")
