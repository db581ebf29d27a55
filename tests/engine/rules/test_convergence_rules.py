"""Problem 4: each rule fires on its pathology and is silent on healthy curves and in its traps."""

from __future__ import annotations

import math
import random

import pytest

from tests.engine.rules.scene import Scene, noisy, values
from tests.fakes.source import FakeRun

CONVERGENCE = ("loss-nonfinite", "init-loss-mismatch", "early-divergence", "loss-diverging", "loss-spike",
               "grad-exploding", "chance-level", "plateau", "overfitting")  # fmt: skip


def healthy(seed: int) -> object:
    """A falling loss with the noise of small batches."""
    rng = random.Random(seed)
    return lambda step: (2.0 * 0.9985**step + 0.3) * math.exp(rng.gauss(0, 0.25))


def fresh(s: Scene, **config: object) -> FakeRun:
    """A run whose first steps are still to come."""
    return s.run(warm=False, **config)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("a_tick", [7, 50])
def test_healthy_training_raises_nothing(seed: int, a_tick: int) -> None:
    s = Scene()
    run = s.run()
    s.train(run, 1500, a_tick, loss=healthy(seed), grad_norm=noisy(3.5, 0.4))
    assert [a.rule for a in s.engine.alerts()] == []


def test_a_nan_fires_at_once_with_the_last_good_checkpoint() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 200)
    run.event("checkpoint", "saved", 150, ok=True, path="/runs/run-1/checkpoints/step-150.pt", bytes=1000)
    run.event("nonfinite", "loss is NaN", 220, loss="nan", lr=0.01, grad_norm="nan",
              last_finite_loss=0.4, last_finite_step=219)  # fmt: skip
    s.go()
    a = s.alert("loss-nonfinite")
    assert (a.severity, a.first_step, a.kind) == ("critical", 220, "event")
    assert a.remedies[0].quantity == "step 150, 70 steps back"
    assert a.remedies[1].quantity == "lr 0.01 -> 0.001"
    assert a.remedies[2].quantity == "max norm 3.5 (90th percentile)"


def test_a_nan_explains_what_the_curves_do_after_it() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 400, loss=noisy(0.5))
    run.event("nonfinite", "loss is NaN", 420, loss="nan", lr=0.01)
    s.train(run, 200, loss=9.0)
    assert s.alert("loss-diverging").suppressed_by == "loss-nonfinite"
    assert s.engine.counts == (1, 0, 0)


def test_a_wrong_first_loss_is_told_once() -> None:
    s = Scene()
    run = fresh(s)
    s.train(run, 10, 10, loss=8.49)
    s.train(run, 10, 10, loss=2.0)
    a = s.alert("init-loss-mismatch")
    assert (a.severity, a.count, a.first_step) == ("warning", 1, 1)
    s.quiet("early-divergence")


@pytest.mark.parametrize("first", [2.1, 2.3, 2.6, 3.3])
def test_a_right_first_loss_is_well(first: float) -> None:
    s = Scene()
    run = fresh(s)
    s.train(run, 10, 10, loss=first)
    s.quiet("init-loss-mismatch")


def test_resumed_runs_and_other_losses_have_no_first_loss() -> None:
    s = Scene()
    run = fresh(s)
    run.event("note", "resumed after step 500")
    s.train(run, 10, 10, loss=0.1)
    s.quiet("init-loss-mismatch")
    s = Scene()
    run = fresh(s, loss="mse")
    s.train(run, 10, 10, loss=50.0)
    s.quiet("init-loss-mismatch", but_checked=False)
    assert "classes" in s.unknown("init-loss-mismatch")


def test_divergence_from_the_start() -> None:
    s = Scene()
    run = fresh(s)
    s.train(run, 60, 10, loss=lambda n: 2.3 if n < 5 else 7.0, lr=0.1)
    a = s.alert("early-divergence")
    assert (a.first_step, a.severity) == (5, "critical")
    assert a.remedies[0].quantity == "lr 0.1 -> 0.01"


def test_a_late_rise_is_no_early_divergence() -> None:
    s = Scene()
    run = fresh(s)
    s.train(run, 300, 50, loss=lambda n: 2.3 if n < 150 else 7.0)
    s.quiet("early-divergence")


def test_divergence_of_medians_and_recovery() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 500, loss=noisy(0.5))
    s.quiet("loss-diverging")
    s.train(run, 60, 20, loss=2.0)
    a = s.alert("loss-diverging")
    assert a.severity == "critical"
    s.train(run, 3000, loss=noisy(0.5))
    assert s.alert("loss-diverging").state == "closed"


def test_small_batches_need_more_steps_to_diverge() -> None:
    """The window counts samples: 20 bad steps of 8 are not yet a divergence."""
    s = Scene()
    run = s.run()
    s.train(run, 500, samples=8, loss=noisy(0.5))
    s.train(run, 20, 20, samples=8, loss=2.0)
    s.train(run, 500, samples=8, loss=noisy(0.5))
    s.quiet("loss-diverging")


@pytest.mark.parametrize(
    ("config", "fields", "first"),
    [
        ({"weight_decay": 1.0}, {"grad_last": 1e-3, "update_ratio": 0.2}, "decay"),
        ({"weight_decay": 0.0}, {"grad_last": 1e-3, "update_ratio": 0.2}, "labels"),
        ({"weight_decay": 1.0}, {"grad_last": 0.05, "update_ratio": 5e-3}, "labels"),
        ({"weight_decay": 1.0}, {"grad_last": 1e-3, "update_ratio": 0.0}, "rate"),  # dead
    ],
)
def test_weights_that_a_decay_draws_to_zero_are_told_from_labels_without_a_signal(
    config: dict[str, float], fields: dict[str, float], first: str
) -> None:
    s = Scene()
    run = s.run(warm=False, **config)
    s.train(run, 20, loss=2.3, accuracy=0.1, grad_first=0.03, grad_last=0.1)
    s.train(run, 250, loss=2.303, accuracy=0.1, grad_first=1e-12, **fields)
    a = s.alert("chance-level")
    assert a.remedies[0].key == first
    if first == "decay":
        assert a.remedies[0].quantity == "weight decay 1 -> 0.0001" and "draws the weights to zero" in a.why
        assert a.suppressed_by is None


def test_three_of_five_make_a_spike_and_one_does_not() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 400, loss=noisy(0.5))
    s.train(run, 10, 10, loss=lambda n: 5.0 if n == 425 else 0.5)
    s.train(run, 100, loss=noisy(0.5))
    s.quiet("loss-spike")
    s.train(run, 50, loss=lambda n: 5.0 if 540 <= n < 543 else 0.5)
    a = s.alert("loss-spike")
    assert (a.first_step, a.severity, a.count) == (540, "warning", 1)
    assert a.remedies[0].quantity == "steps 540-542"


def test_a_long_spike_is_one_episode() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 400, loss=noisy(0.5))
    s.train(run, 200, 10, loss=lambda n: 5.0 if 450 <= n < 480 else 0.5)
    assert s.alert("loss-spike").count == 1


def restarted(lr: float, spike: tuple[int, int]) -> Scene:
    """The rate falls to 0.005 of the 0.05 asked for, and is `lr` from step 401 on."""
    s = Scene()
    run = s.run(lr=0.05)
    s.train(run, 380, lr=lambda n: 0.05 * (1 - 0.9 * n / 400), loss=noisy(0.5))
    s.train(run, 200, lr=lr, loss=lambda n: 2.0 if spike[0] <= n < spike[1] else 0.5)
    return s


def test_the_rise_after_a_schedule_began_anew_is_no_spike() -> None:
    restarted(0.05, (404, 410)).quiet("loss-spike")


@pytest.mark.parametrize(
    ("lr", "spike"),
    [
        (0.5, (404, 410)),  # above what was asked for
        (0.05, (404, 450)),  # it lasts
        (0.05, (480, 490)),  # long after
        (0.0055, (404, 410)),  # no restart
    ],
)
def test_other_spikes_after_a_change_of_rate_are_told(lr: float, spike: tuple[int, int]) -> None:
    assert restarted(lr, spike).alert("loss-spike").severity == "warning"


@pytest.mark.parametrize("a_tick", [3, 25, 130])
def test_spikes_do_not_depend_on_how_steps_arrive(a_tick: int) -> None:
    s = Scene()
    run = s.run()
    s.train(
        run, 780, a_tick, loss=lambda n: 5.0 if n in (333, 334, 336, 700, 701, 702) else 0.5 + 0.01 * (n % 7)
    )
    a = s.alert("loss-spike")
    assert (a.count, a.first_step) == (2, 333)


def test_exploding_gradients() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 300, grad_norm=noisy(3.5, 0.5))
    s.quiet("grad-exploding")
    s.train(run, 10, 10, grad_norm=lambda n: 80.0 if n == 325 else 3.5)
    a = s.alert("grad-exploding")
    assert (a.first_step, values(a)["Gradient norm"]) == (325, 80.0)


@pytest.mark.parametrize("every", [5, 20])
def test_gradients_that_are_measured_now_and_then_explode_too(every: int) -> None:
    def norm(n: int) -> float:
        return math.nan if n % every else 80.0 if n == 2000 else 3.5

    s = Scene()
    run = s.run()
    s.train(run, 1500, grad_norm=norm)
    s.quiet("grad-exploding")
    s.train(run, 600, grad_norm=norm)
    a = s.alert("grad-exploding")
    assert (a.first_step, values(a)["Gradient norm"], a.count) == (2000, 80.0, 1)


def test_chance_level_of_a_run_that_measures_accuracy_now_and_then() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 350, loss=2.304, accuracy=lambda n: math.nan if n % 20 else 0.1)
    s.quiet("chance-level", but_checked=False)
    s.train(run, 100, loss=2.304, accuracy=lambda n: math.nan if n % 20 else 0.1)
    assert s.alert("chance-level").severity == "critical"


def test_gradients_of_what_is_learned_to_the_end_do_not_explode() -> None:
    """They are near nothing then, and 250 times as much is still less than at the beginning."""
    s = Scene()
    run = s.run()
    s.train(run, 200, grad_norm=3.0)
    s.train(run, 600, grad_norm=0.008)
    s.train(run, 1, grad_norm=1.96)
    s.train(run, 200, grad_norm=0.008)
    s.quiet("grad-exploding")
    s.train(run, 1, grad_norm=40.0)
    assert s.alert("grad-exploding").severity == "warning"


def test_slowly_growing_gradients() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 900, grad_norm=lambda n: 1.0 if n < 700 else 1.0 + 8 * min(1.0, (n - 700) / 150))
    assert s.alert("grad-exploding").severity == "warning"


def test_chance_level() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 150, accuracy=0.1, loss=2.304)
    s.quiet("chance-level", but_checked=False)
    s.train(run, 150, accuracy=0.1, loss=2.304, grad_norm=0.2)
    a = s.alert("chance-level")
    assert "shuffled" in a.remedies[0].text
    s.train(run, 400, accuracy=lambda n: 0.7, loss=0.9)
    s.train(run, 1600, accuracy=0.7, loss=0.9)
    assert s.alert("chance-level").state == "closed"


def test_chance_level_with_tiny_updates_names_the_rate() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 400, accuracy=0.1, loss=2.303, update_ratio=1e-6)
    assert "raise the learning rate" in s.alert("chance-level").remedies[0].text


def test_plateau_while_the_loss_is_high() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 500, loss=noisy(1.8, 0.02), accuracy=0.4)
    assert s.alert("plateau").severity == "warning"


def test_a_converged_run_is_a_note() -> None:
    s = Scene()
    run = s.run()
    for accuracy in (0.90, 0.912, 0.915, 0.914, 0.915, 0.9149, 0.915, 0.9145):
        s.train(run, 200, loss=noisy(0.3))
        run.event("eval", "eval", loss=0.3, accuracy=accuracy)
    s.go()
    a = s.alert("plateau")
    assert a.severity == "info"
    assert "91.5" in a.why


def test_evaluations_that_go_up_and_down_but_get_better_are_no_plateau() -> None:
    """Of a healthy run: three in a row below the best before, and on it went."""
    s = Scene()
    run = s.run()
    for accuracy in (0.8135, 0.8395, 0.863, 0.8615, 0.8845, 0.888, 0.901, 0.89, 0.895, 0.8995, 0.902, 0.9035):
        s.train(run, 100, loss=noisy(0.3))
        run.event("eval", "eval", loss=1.0 - accuracy, accuracy=accuracy)
        s.go()
        s.quiet("plateau", but_checked=False)
    s.quiet("plateau")


def test_a_loss_that_still_falls_is_no_plateau_though_the_accuracy_stands() -> None:
    s = Scene()
    run = s.run()
    for i in range(12):
        s.train(run, 100, loss=noisy(0.3))
        run.event("eval", "eval", loss=0.5 * 0.97**i, accuracy=0.9)
    s.go()
    s.quiet("plateau")


def test_a_falling_loss_is_no_plateau() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 1000, loss=lambda n: 2.3 * 0.9985**n)
    s.quiet("plateau")


def epochs(s: Scene, run: FakeRun, curve: list[tuple[float, float]]) -> None:
    """(training loss, validation loss) of each epoch."""
    for train, val in curve:
        s.train(run, 100, loss=noisy(train, 0.01))
        run.event("epoch", "epoch", loss=train)
        run.event("eval", "eval", loss=val, accuracy=0.9)
        s.go()


# The handbook's own run: best at epoch 8, worse at 9 and 10.
TUTORIAL = [(0.5, 0.38), (0.33, 0.32), (0.28, 0.29), (0.25, 0.275), (0.22, 0.262), (0.20, 0.255),
            (0.18, 0.249),
            (0.16, 0.246), (0.145, 0.262), (0.13, 0.303)]  # fmt: skip


def test_overfitting_fires_at_the_tutorials_tenth_epoch() -> None:
    s = Scene()
    run = s.run()
    epochs(s, run, TUTORIAL[:9])
    s.quiet("overfitting")
    epochs(s, run, TUTORIAL[9:])
    a = s.alert("overfitting")
    assert values(a)["At step"] == 820
    assert a.remedies[0].quantity == "step 820"


def test_one_bad_evaluation_is_no_overfitting() -> None:
    s = Scene()
    run = s.run()
    epochs(s, run, [*TUTORIAL[:8], (0.145, 0.30), (0.13, 0.245)])
    s.quiet("overfitting")


def test_evaluations_that_go_up_and_down_are_no_overfitting() -> None:
    """Of a healthy run at batch 8: two bad ones after a lucky one; later it got better still."""
    s = Scene()
    run = s.run()
    losses = (0.42, 0.3837, 0.40, 0.3717, 0.38, 0.3409, 0.36, 0.3316, 0.3446, 0.33, 0.3324, 0.3014, 0.312,
              0.3203, 0.31, 0.33, 0.3454)  # fmt: skip
    epochs(s, run, [(0.4 - 0.01 * i, loss) for i, loss in enumerate(losses)])
    s.quiet("overfitting")


def test_a_loss_of_next_to_nothing_neither_overfits_nor_spikes() -> None:
    s = Scene()
    run = s.run()
    curve = (0.0356, 0.0149, 0.0037, 0.0013, 0.0046, 0.0192, 0.03)
    epochs(s, run, [(0.01 * 0.5**i, loss) for i, loss in enumerate(curve)])
    s.quiet("overfitting")
    s.train(run, 300, loss=noisy(0.001, 0.0001))
    s.train(run, 20, 5, loss=0.05)
    s.quiet("loss-spike")
    s.train(run, 300, loss=noisy(0.001, 0.0001))
    s.train(run, 20, 5, loss=0.5)
    assert s.alert("loss-spike").severity == "warning"


def test_a_worse_loss_in_both_is_no_overfitting() -> None:
    s = Scene()
    run = s.run()
    epochs(s, run, [*TUTORIAL[:8], (0.30, 0.40), (0.35, 0.45)])
    s.quiet("overfitting")


def test_the_first_20_steps_are_not_judged() -> None:
    s = Scene()
    run = fresh(s)
    s.train(run, 20, 10, loss=lambda n: 9.0 if n > 15 else 1.0, grad_norm=lambda n: 99.0 if n == 18 else 1.0)
    s.quiet("loss-spike", but_checked=False)
    s.quiet("grad-exploding", but_checked=False)
    assert "training steps" in s.unknown("loss-spike")


def test_a_loss_is_judged_while_the_clock_still_warms_up() -> None:
    """A fast run makes a thousand steps in the 10 s that a step time needs to settle."""
    s = Scene()
    run = fresh(s)
    s.train(run, 200, 100, loss=1.0, step_s=0.01, data_s=0.005)
    s.train(run, 20, 20, loss=9.0, step_s=0.01, data_s=0.005)
    assert s.alert("loss-spike").first_step == 201
    assert not s.found("input-bound")
