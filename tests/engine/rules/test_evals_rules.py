"""A class that is lost, a test loss that jumps; and a remedy's verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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
