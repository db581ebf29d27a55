"""Learning too slowly or unsteadily, loaders, jitter, starving storage: fires on its cause, silent in its
traps."""

from __future__ import annotations

import math
import random

import pytest

from dctop.engine.rules.learning import autocorrelation, turning_points
from tests.engine.rules.scene import Scene, noisy, values


def flat(level: float, seed: int = 1, sd: float = 0.02) -> object:
    r = random.Random(seed)
    return lambda step: level + r.gauss(0, sd)


def test_a_learning_rate_too_low_is_told_with_the_factor() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 100, loss=flat(2.3), update_ratio=1e-5, lr=1e-6)
    a = s.alert("lr-too-low")
    assert a.severity == "warning"
    assert a.remedies[0].quantity == "lr 1e-06 -> 1e-05"
    assert values(a)["Update ratio"] == 1e-5
    s.train(run, 60, loss=flat(1.2), update_ratio=1e-3)
    s.go(40)
    assert s.found("lr-too-low")[0].state != "firing"


@pytest.mark.parametrize(
    "fields", [{"update_ratio": 1e-3, "loss": flat(2.3)}, {"update_ratio": 1e-5, "loss": flat(0.4)}]
)
def test_normal_updates_and_late_training_are_not_too_low(fields: dict[str, object]) -> None:
    s = Scene()
    run = s.run()
    s.train(run, 200, **fields)
    s.quiet("lr-too-low")


def test_a_resumed_run_is_not_called_too_slow() -> None:
    s = Scene()
    run = s.run()
    run.event("note", "resumed from step 100")
    s.train(run, 200, loss=flat(2.3), update_ratio=1e-5)
    s.quiet("lr-too-low", but_checked=False)


def warming(asked: float, over: int) -> dict[str, object]:
    """The rate of a warm-up, and updates that are proportional to it: 1e-2 at a rate of 1e-3."""
    return {"lr": lambda step: asked * step / over, "update_ratio": lambda step: 10 * asked * step / over}


def test_a_warm_up_longer_than_the_plan_is_told_after_a_quarter_of_it() -> None:
    s = Scene()
    run = s.run(lr=1e-3, warmup_steps=2_000_000)
    run.publish(total_steps=400)
    s.train(run, 70, a_tick=10, loss=flat(2.3), **warming(1e-3, 2_000_000))
    assert not s.found("lr-too-low")
    s.train(run, 20, a_tick=10, loss=flat(2.3), **warming(1e-3, 2_000_000))
    a = s.alert("lr-too-low")
    assert "warm-up" in a.title and "of 400" in a.why
    assert [(r.key, r.quantity) for r in a.remedies[:1]] == [("shorter", "warm-up 2000000 -> 20 steps")]
    assert values(a)["Warm-up"] == 2_000_000 and values(a)["Planned steps"] == 400


def test_a_warm_up_longer_than_the_plan_is_told_though_updates_are_not_tiny() -> None:
    s = Scene()
    run = s.run(lr=1e-3, warmup_steps=8000)
    run.publish(total_steps=400)
    s.train(run, 150, loss=flat(2.3), **warming(1e-3, 8000))
    assert s.alert("lr-too-low").remedies[0].key == "shorter"


def test_a_long_warm_up_in_which_it_learns_is_left_alone() -> None:
    s = Scene()
    run = s.run(lr=1e-3, warmup_steps=500)
    run.publish(total_steps=400)
    s.train(run, 300, loss=lambda step: 2.3 - step / 250, **warming(1e-3, 500))
    s.quiet("lr-too-low")


def test_a_warm_up_that_ends_in_time_is_waited_for() -> None:
    s = Scene()
    run = s.run(lr=1e-6, warmup_steps=300)
    run.publish(total_steps=4000)
    s.train(run, 300, loss=flat(2.3), **warming(1e-6, 300))
    assert s.unknown("lr-too-low")
    s.train(run, 100, loss=flat(2.3), lr=1e-6, update_ratio=1e-5)
    assert s.alert("lr-too-low").remedies[0].key == "raise"


def test_old_update_ratios_are_taken_to_the_rate_of_now() -> None:
    """Measured once in 100 steps; since then the rate has fallen to a thousandth."""
    s = Scene()
    run = s.run(lr=1e-6)
    s.train(run, 350, loss=flat(2.3), lr=1e-3, update_ratio=lambda n: 2e-2 if n % 100 == 0 else math.nan)
    s.quiet("lr-too-low")
    s.train(run, 50, loss=flat(2.3), lr=1e-6, update_ratio=math.nan)
    assert values(s.alert("lr-too-low"))["Update ratio"] == pytest.approx(2e-5)


def test_a_rate_that_fell_before_the_run_had_learned_is_told_with_the_rate_to_go_back_to() -> None:
    s = Scene()
    run = s.run(lr=1e-3)
    run.publish(total_steps=500)
    s.train(run, 100, loss=2.3, lr=1e-3, update_ratio=2e-2)
    s.train(run, 50, loss=flat(1.1), lr=3e-7, update_ratio=6e-6)
    s.quiet("lr-too-low")  # not long enough
    s.train(run, 20, loss=flat(1.1), lr=3e-7, update_ratio=6e-6)
    a = s.alert("lr-too-low")
    assert "fell before" in a.title and "310 of 500 steps to go" in a.why
    assert a.remedies[0].quantity == "lr 3e-07 -> 0.00015"


def test_a_schedule_that_begins_anew_again_and_again_is_no_rate_that_fell() -> None:
    s = Scene()
    run = s.run(lr=1e-3)
    run.publish(total_steps=1500)

    def rate(step: int) -> float:
        return 5e-4 * (1 + math.cos(math.pi * (step % 300) / 300))

    s.train(run, 1000, a_tick=10, loss=flat(1.1), lr=rate, update_ratio=lambda step: 20 * rate(step))
    s.quiet("lr-too-low")


@pytest.mark.parametrize(
    ("plan", "lr", "loss"),
    [
        (260, 3e-7, 1.1),  # its last quarter: the end of a schedule
        (500, 1e-5, 1.1),  # a hundredth, as schedules have it
        (500, 3e-7, 0.2),  # it has learned
        (None, 3e-7, 1.1),  # who knows how long it goes on
    ],
)
def test_the_end_of_a_schedule_is_no_rate_too_low(plan: int | None, lr: float, loss: float) -> None:
    s = Scene()
    run = s.run(lr=1e-3)
    run.publish(total_steps=plan)
    s.train(run, 190, loss=flat(1.5), lr=1e-3, update_ratio=2e-2)
    s.train(run, 40, loss=flat(loss), lr=lr, update_ratio=20 * lr)
    s.quiet("lr-too-low")


def test_a_run_that_could_take_longer_steps() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 600, loss=lambda step: 2.3 - 0.001 * step, update_ratio=3e-4, lr=1e-5)
    s.go(15)
    a = s.alert("lr-could-rise")
    assert a.severity == "info"
    assert a.remedies[0].quantity == "lr 1e-05 -> 0.0001"


def test_noisy_healthy_losses_could_not_rise() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 600, loss=flat(0.8, sd=0.2), update_ratio=5e-4)
    s.quiet("lr-could-rise")


def evaluate(s: Scene, run: object, *accuracies: float, loss: float = 1.3, train: float = 0.5) -> None:
    for a in accuracies:
        s.train(run, 100, loss=flat(loss), accuracy=train)  # type: ignore[arg-type]
        run.event("eval", "eval", None, accuracy=a, loss=loss)  # type: ignore[attr-defined]
        s.go()


def test_swings_between_evaluations_are_an_oscillation() -> None:
    s = Scene()
    run = s.run()
    evaluate(s, run, 0.6, 0.75, 0.62, 0.78, 0.63)
    a = s.alert("loss-oscillation")
    assert values(a)["Turning points"] == 60.0
    assert a.remedies[0].quantity == "lr 0.001 -> 0.0005"


def test_where_steps_jump_across_the_curvature_gives_the_rate() -> None:
    s = Scene()
    run = s.run(optimizer="sgd")
    for a in (0.6, 0.75, 0.62, 0.78, 0.63):
        s.train(run, 100, lr=0.1, grad_cos=lambda n: -0.9 if n % 20 == 0 else math.nan, grad_growth=4.0)
        run.event("eval", "eval", None, accuracy=a, loss=1.0)
        s.go()
    a_ = s.alert("loss-oscillation")
    assert values(a_)["Cosine of successive gradients"] == -0.9
    assert a_.remedies[0].quantity == "lr 0.1 -> 0.0217"  # 0.1 / (1 + 0.9 x 4)


def test_a_steady_rise_and_small_noise_are_none() -> None:
    s = Scene()
    run = s.run()
    evaluate(s, run, 0.6, 0.7, 0.8, 0.82, 0.81, 0.83)
    s.quiet("loss-oscillation")


def test_equally_low_accuracies_that_no_longer_rise_are_underfitting() -> None:
    s = Scene()
    run = s.run(weight_decay=0.1)
    evaluate(s, run, 0.49, 0.5, 0.5, 0.501, 0.5)
    a = s.alert("underfitting")
    assert a.remedies[0].quantity == "weight decay 0.1 -> 0"
    assert values(a)["Validation accuracy"] == 50.0


@pytest.mark.parametrize(("train", "loss"), [(0.9, 1.3), (0.5, 0.3)])
def test_a_gap_or_a_low_loss_is_no_underfitting(train: float, loss: float) -> None:
    s = Scene()
    run = s.run()
    evaluate(s, run, 0.49, 0.5, 0.5, 0.501, 0.5, train=train, loss=loss)
    s.quiet("underfitting")


@pytest.mark.parametrize(
    ("text", "rule", "label", "value"),
    [
        ("RuntimeError: DataLoader timed out after 30 seconds", "loader-hang", "Waited", 30.0),
        ("Caught ValueError in DataLoader worker process 2.\nValueError: bad image 17", "bad-sample", "Said",
         "ValueError: bad image 17"),
    ],
)  # fmt: skip
def test_what_a_loader_said_is_told_and_explains_the_crash(
    text: str, rule: str, label: str, value: object
) -> None:
    s = Scene()
    run = s.run(workers=4)
    s.train(run, 100)
    run.event("exception", text, 100)
    run.end("failed", 1, "RuntimeError")
    s.go(2)
    a = s.alert(rule)
    assert (a.severity, a.kind, values(a)[label]) == ("critical", "event", value)
    assert s.alert("worker-crashed").suppressed_by == rule


def traceback(*frames: str) -> str:
    lines = (f'  File "{f.partition(":")[0]}", line 7, in {f.partition(":")[2]}\n    x = y' for f in frames)
    return "Traceback (most recent call last):\n" + "\n".join(lines) + "\nOSError: image 17 is cut off\n"


@pytest.mark.parametrize(
    "reading",
    [
        "/site-packages/torch/utils/data/_utils/fetch.py:fetch",
        "/dctop/engine/training/wbatches.py:__getitem__",
    ],
)
def test_a_sample_that_cannot_be_read_in_the_training_process_is_told_with_the_place(reading: str) -> None:
    s = Scene()
    run = s.run(workers=0)
    s.train(run, 100)
    trace = traceback("/train.py:run", reading, "/data/images.py:decode")
    run.event("exception", "OSError: image 17 is cut off", 100, traceback=trace, **{"class": "OSError"})
    run.end("failed", 1, "OSError")
    s.go(2)
    a = s.alert("bad-sample")
    assert (values(a)["Said"], values(a)["Where"]) == ("image 17 is cut off", "/data/images.py:7")
    assert (
        "in the training process: image 17 is cut off" in a.why and "/data/images.py:7" in a.remedies[0].text
    )
    assert s.alert("worker-crashed").suppressed_by == "bad-sample"


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        (("/train.py:run", "/model.py:forward"), None),
        (("/train.py:run", "/site-packages/torch/nn/modules/container.py:__getitem__"), None),
        (("/dctop/engine/training/wbatches.py:epoch", "/torch/utils/data/dataloader.py:__next__"), None),
        (("/dctop/engine/training/wbatches.py:__getitem__", "/data/images.py:decode"), "oom-host"),
    ],
)
def test_what_is_raised_elsewhere_or_for_want_of_memory_is_no_bad_sample(
    frames: tuple[str, ...], kind: str | None
) -> None:
    s = Scene()
    run = s.run()
    run.event("exception", "OSError: image 17 is cut off", 1, traceback=traceback(*frames), kind=kind)
    s.go(2)
    s.quiet("bad-sample", False)


def test_other_exceptions_are_neither() -> None:
    s = Scene()
    run = s.run()
    run.event("exception", "RuntimeError: shapes do not match", 1)
    s.go(2)
    s.quiet("loader-hang", False)
    s.quiet("bad-sample", False)


def test_periodic_slow_steps_are_told_with_their_period() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 900, step_s=lambda step: 0.2 if step % 10 == 0 else 0.02)
    s.train(run, 1700, step_s=lambda step: 0.2 if step % 10 == 0 else 0.02)
    a = s.alert("step-jitter")
    assert a.severity == "info"
    assert values(a)["Period"] == 10
    assert "one every 10 steps" in a.why
    assert a.cost is not None


def test_usual_noise_and_fast_steps_do_not_jitter() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 2400, step_s=noisy(0.02, 0.2))
    s.quiet("step-jitter")
    other = Scene()
    run = other.run()
    other.train(run, 2400, step_s=lambda step: 0.004 if step % 9 == 0 else 0.001)
    other.quiet("step-jitter")


def starving(s: Scene, psi: float) -> None:
    run = s.run()
    s.set({"pressure.io.some_avg10_pct": psi})
    s.train(run, 5000, step_s=0.03, data_s=0.012)


def test_a_run_that_starves_while_storage_is_busy_is_disk_bound() -> None:
    s = Scene()
    starving(s, 45.0)
    a = s.alert("disk-bound")
    assert a.severity == "warning"
    assert a.remedies[0].effect == "step 30 -> 18 ms"
    assert s.alert("input-bound").suppressed_by == "disk-bound"


def test_a_run_that_starves_alone_is_input_bound_only() -> None:
    s = Scene()
    starving(s, 1.0)
    s.quiet("disk-bound")
    assert s.alert("input-bound").suppressed_by is None


def test_statistics() -> None:
    assert autocorrelation([1.0, 2.0]) is None
    assert autocorrelation([3.0] * 9) is None
    rising = autocorrelation([float(i) for i in range(100)])
    assert rising is not None and rising > 0.9
    wobble = autocorrelation([math.cos(math.pi * i) for i in range(100)])
    assert wobble is not None and wobble < -0.9
    assert turning_points([0.6, 0.7, 0.6, 0.61, 0.6], 0.03) == pytest.approx([0.1])
