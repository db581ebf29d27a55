"""A class that is lost, a test loss that jumps; and a remedy's verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dctop.engine.rules.remedies import Change, Prediction
from tests.engine.rules.scene import Scene, noisy, values


def evaluated(run: Any, step: int, loss: float, accuracy: float = 0.8, lost: float = 0.8) -> None:
    recall = [lost, *[0.85] * 9]
    run.event("eval", "", step, loss=loss, accuracy=accuracy, recall=recall)


def test_a_class_that_is_lost() -> None:
    scene = Scene()
    run = scene.run()
    scene.train(run, 400)
    evaluated(run, 200, 0.9, lost=0.0)
    evaluated(run, 300, 0.9, lost=0.03)
    scene.go()
    assert not scene.found("class-recall-collapse")
    evaluated(run, 400, 0.9, lost=0.02)
    scene.go()
    alert = scene.alert("class-recall-collapse")
    assert values(alert)["Recall"] == 3.0 and "0" in alert.title


def test_a_class_not_yet_found_is_no_collapse() -> None:
    scene = Scene()
    run = scene.run()
    scene.train(run, 150)  # fewer than 10,000 samples
    for at in (80, 150):
        evaluated(run, at, 0.9, lost=0.0)
        scene.go()
    assert not scene.found("class-recall-collapse")
    evaluated(run, 160, 0.6, lost=0.6)
    scene.train(run, 300)
    scene.quiet("class-recall-collapse")


def test_a_class_that_is_found_late_is_no_collapse_however_often_it_is_looked_at() -> None:
    """Recalls of one class in a healthy run with an evaluation every 60 steps."""
    scene = Scene()
    run = scene.run()
    recalls = (0.11, 0.09, 0.02, 0.04, 0.01, 0.08, 0.22, 0.09, 0.36, 0.12, 0.37)
    for i, recall in enumerate(recalls, 1):
        scene.train(run, 60, samples=32)
        evaluated(run, 60 * i, 0.6, lost=recall)
        scene.go()
        assert not scene.found("class-recall-collapse"), 60 * i
    scene.quiet("class-recall-collapse")


def test_what_was_best_before_anything_was_learned_is_no_measure() -> None:
    scene = Scene()
    run = scene.run()
    for i, recall in enumerate((0.89, 0.55, 0.22, 0.14, 0.14, 0.15, 0.13, 0.31, 0.2, 0.35), 1):
        scene.train(run, 60, samples=32)
        evaluated(run, 60 * i, 0.6, lost=recall)
        scene.go()
    scene.quiet("class-recall-collapse")
    for i in range(11, 17):
        scene.train(run, 60, samples=32)
        evaluated(run, 60 * i, 0.6, lost=0.8 if i == 11 else 0.12)
        scene.go()
    scene.quiet("class-recall-collapse")
    scene.train(run, 60, samples=32)
    evaluated(run, 60 * 17, 0.6, lost=0.12)
    scene.go()
    assert scene.alert("class-recall-collapse").severity == "warning"


def test_a_test_loss_that_jumps_while_training_goes_on() -> None:
    scene = Scene()
    run = scene.run()
    for at, loss in ((100, 0.7), (200, 0.6), (300, 62.0)):
        scene.train(run, 100, loss=noisy(0.6))
        evaluated(run, at, loss)
        scene.go()
    alert = scene.alert("confidence-shift")
    assert values(alert)["Test loss"] == 62.0 and alert.remedies[0].key == "scale"


def test_next_to_nothing_does_not_jump() -> None:
    scene = Scene()
    run = scene.run()
    for at, loss in ((100, 0.004), (200, 0.0013), (300, 0.0192)):
        scene.train(run, 100, loss=noisy(0.001, 0.0001))
        evaluated(run, at, loss)
        scene.go()
    scene.quiet("confidence-shift")


def test_overfitting_is_no_jump() -> None:
    scene = Scene()
    run = scene.run()
    for i, loss in enumerate((0.5, 0.6, 0.75, 0.95, 1.2, 1.5), 1):
        scene.train(run, 50, loss=noisy(0.3))
        evaluated(run, 50 * i, loss)
        scene.go()
    scene.quiet("confidence-shift")


def shifted(run: Any, step: int, accuracy: float = 0.015, loss: float = 6.8, best: float = 0.07) -> None:
    recall = [best, *[0.01] * 9]
    run.event("eval", "", step, loss=loss, accuracy=accuracy, recall=recall, samples=1000)


def test_fewer_right_than_by_guessing_are_other_labels_and_no_overfitting() -> None:
    scene = Scene()
    run = scene.run()
    for i, loss in enumerate((6.8, 6.6, 7.2, 7.9, 8.6), 1):
        scene.train(run, 60, loss=noisy(0.9 / i))
        shifted(run, 60 * i, loss=loss)
        scene.go()
        assert bool(scene.found("labels-disagree")) == (i > 1)
    alert = scene.alert("labels-disagree")
    assert values(alert)["Test accuracy"] == 1.5 and values(alert)["By guessing"] == 10.0
    assert scene.alert("overfitting").suppressed_by == "labels-disagree"
    shifted(run, 310, accuracy=0.85, loss=0.5, best=0.9)
    scene.train(run, 60, loss=noisy(0.2))
    assert scene.alert("labels-disagree").state == "clearing"


@pytest.mark.parametrize(
    ("what", "of_eval", "train"),
    [
        ("knows nothing", {"accuracy": 0.06, "loss": 2.31}, 0.4),
        ("has learned nothing", {}, 2.2),
        ("is as good as a guess", {"accuracy": 0.09}, 0.4),
        ("always gives one answer, which is rare", {"best": 1.0}, 0.4),
    ],
)
def test_a_model_that_is_wrong_otherwise_is_not_told_to_have_other_labels(
    what: str, of_eval: dict[str, float], train: float
) -> None:
    scene = Scene()
    run = scene.run()
    for at in (100, 200, 300):
        scene.train(run, 100, loss=noisy(train))
        shifted(run, at, **of_eval)
        scene.go()
    scene.quiet("labels-disagree")


def test_of_few_samples_nothing_is_told() -> None:
    scene = Scene()
    run = scene.run()
    for at in (100, 200, 300):
        scene.train(run, 100, loss=noisy(0.4))
        run.event("eval", "", at, loss=6.8, accuracy=0.01, recall=[0.02] * 10, samples=60)
        scene.go()
    scene.quiet("labels-disagree")


def test_the_verdict_of_a_remedy_is_told_once() -> None:
    scene = Scene()
    run = scene.run()
    told = Change("input-bound", "workers", {"workers": 1}, {"workers": 0}, "last",
                  Prediction("step_s", 0.021, 0.05, 70))  # fmt: skip
    run.now = replace(run.now, config={**run.now.config, "remedy": told.record("old-run")})
    scene.train(run, 100)
    alert = scene.alert("remedy-verdict")
    assert alert.severity == "info" and "old-run" in alert.why and "workers 0 -> 1" in alert.why
    assert values(alert)["Predicted"] == 21.0 and values(alert)["Observed"] == 20.0
    scene.train(run, 100)
    assert scene.alert("remedy-verdict").count == 1


def test_a_broken_promise_is_a_warning() -> None:
    scene = Scene()
    run = scene.run()
    told = Change("input-bound", "workers", {"workers": 1}, {}, "last", Prediction("step_s", 0.01, 0.05, 70))
    run.now = replace(run.now, config={**run.now.config, "remedy": told.record("old-run")})
    scene.train(run, 100)
    assert scene.alert("remedy-verdict").severity == "warning"
