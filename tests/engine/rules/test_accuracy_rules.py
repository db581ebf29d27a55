"""Problem 5: inputs that are not the training's, answers that are not what they were."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.engine.rules.measure import CLASSES, TRAINED, Measurement, trained
from tests.engine.rules.scene import Scene, values

RAW = {"max": 255.0, "mean": 73.0, "std": 90.0}


def test_unscaled_inputs_are_found_with_their_factor() -> None:
    scene = Scene()
    Measurement(scene).inputs(True, **RAW)
    scene.go()
    alert = scene.alert("preprocess-mismatch")
    assert alert.severity == "critical" and values(alert)["Range / training"] == 255.0
    assert values(alert)["Mean (now / training)"] == "73 / 0.286"
    assert alert.remedies[0].quantity == "/ 255"


def test_inputs_that_are_too_small_are_multiplied() -> None:
    scene = Scene()
    Measurement(scene).inputs(True, max=1 / 255, mean=0.0011)
    scene.go()
    assert scene.alert("preprocess-mismatch").remedies[0].quantity == "x 255"


def test_a_shifted_mean_asks_for_a_comparison() -> None:
    scene = Scene()
    Measurement(scene).inputs(True, mean=0.6)
    scene.go()
    assert scene.alert("preprocess-mismatch").remedies[0].key == "compare"


@pytest.mark.parametrize("now", [{}, {"mean": 0.4}, {**RAW, "samples": 8}])
def test_alike_inputs_and_a_few_samples_are_no_mismatch(now: dict[str, Any]) -> None:
    scene = Scene()
    Measurement(scene).inputs(**now)
    scene.go()
    scene.quiet("preprocess-mismatch")


def test_wrong_inputs_explain_what_follows_from_them() -> None:
    scene = Scene()
    m = Measurement(scene).inputs(True, **RAW)
    m.quality(0.7, trained(z=30.0, drop=20.0, nll_ratio=100.0), nll=30.0, train_accuracy=0.9)
    m.baseline(psi=0.5, support_psi=0.0)
    scene.go()
    for rule in ("eval-accuracy-drop", "confidence-shift", "train-infer-gap", "prediction-drift"):
        assert scene.alert(rule).suppressed_by == "preprocess-mismatch", rule
    assert scene.engine.counts == (1, 0, 0)


def training(scene: Scene, **data: Any) -> Any:
    run = scene.run()
    known = {"classes": CLASSES, "inputs": TRAINED, "labels": [600] * 10, **data}
    run.now = replace(run.now, config={**run.now.config, "data": known})
    run.publish()
    return run


def test_a_training_stream_of_other_inputs_is_found_and_explains_its_spike() -> None:
    scene = Scene()
    run = training(scene)
    scene.train(run, 200)
    run.event("inputs", now={**TRAINED, **RAW, "samples": 32}, mismatch=True)
    scene.train(run, 50, loss=40.0)
    alert = scene.alert("preprocess-mismatch")
    assert "batches are not what the data set holds" in alert.title
    assert scene.alert("loss-spike").suppressed_by == "preprocess-mismatch"


def test_an_evaluation_on_other_inputs_than_the_trainings_is_found() -> None:
    scene = Scene()
    run = training(scene)
    scene.train(run, 100)
    run.event("eval", loss=0.6, accuracy=0.8, inputs={**TRAINED, "samples": 500})
    scene.go()
    scene.quiet("preprocess-mismatch")
    run.event("eval", loss=60.0, accuracy=0.78, inputs={**TRAINED, **RAW, "samples": 500})
    scene.go()
    assert "evaluated on other inputs" in scene.alert("preprocess-mismatch").title


def test_tokens_have_no_scale_and_an_old_log_is_not_known() -> None:
    scene = Scene()
    training(scene, inputs=None)
    scene.go()
    scene.quiet("preprocess-mismatch")
    old = Scene()
    old.run()
    old.go()
    assert "data.inputs" in old.unknown("preprocess-mismatch") and "data.labels" in old.unknown(
        "class-imbalance"
    )


def test_a_rare_class_is_told_with_its_weight() -> None:
    scene = Scene()
    training(scene, labels=[6000] * 9 + [60])
    scene.go()
    alert = scene.alert("class-imbalance")
    assert "9 is 0.111 %" in alert.title and values(alert)["Its samples"] == 60
    assert alert.remedies[0].quantity == "90.1 for 9, 0.901 for a usual class"  # 54,060 / (10 x 60)
    assert alert.remedies[1].quantity == "x 100"


def test_a_class_without_a_sample_cannot_be_weighted() -> None:
    scene = Scene()
    training(scene, labels=[600] * 9 + [0])
    scene.go()
    alert = scene.alert("class-imbalance")
    assert "has no 9" in alert.title and [r.key for r in alert.remedies] == ["collect"]


@pytest.mark.parametrize("labels", [[600] * 10, [600] * 9 + [150], [7, 6, 6, 6, 6, 6, 6, 6, 6, 1]])
def test_even_classes_somewhat_uneven_ones_and_few_samples_are_quiet(labels: list[int]) -> None:
    scene = Scene()
    training(scene, labels=labels)
    scene.go()
    scene.quiet("class-imbalance")


def test_a_rare_class_explains_its_lost_recall() -> None:
    scene = Scene()
    run = training(scene, labels=[6] + [600] * 9)
    scene.train(run, 400)
    for step in (200, 300, 400):
        run.event("eval", "", step, loss=0.9, accuracy=0.8, recall=[0.0, *[0.85] * 9])
    scene.go()
    assert scene.alert("class-recall-collapse").suppressed_by == "class-imbalance"
    assert "w = N / (C n) = 90.1" in str(scene.alert("class-recall-collapse").remedies[1].quantity)


def test_an_accuracy_below_the_trainings_own_is_told_with_what_it_takes_to_recover() -> None:
    evals = [{"step": 100 * i, "accuracy": 0.8 + 0.01 * i} for i in range(1, 6)]
    scene = Scene()
    m = Measurement(scene, measures={"evals": evals})
    m.inputs().quality(0.87, trained(z=6.6, drop=3.0))
    scene.go()
    alert = scene.alert("eval-accuracy-drop")
    assert values(alert)["Drop"] == 3.0 and "300 more are wrong" in alert.why
    train = next(r for r in alert.remedies if r.key == "train")
    assert train.quantity == "300 steps more at 10 points per 1,000"
    assert alert.ruled_out


def test_a_changed_precision_is_the_first_suspect() -> None:
    scene = Scene()
    Measurement(scene, dtype="bf16").quality(0.87, trained(z=6.6, drop=3.0))
    scene.go()
    first = scene.alert("eval-accuracy-drop").remedies[0]
    assert first.quantity == "fp32 -> bf16" and first.command == "dctop infer run-0 --precision fp32"


@pytest.mark.parametrize(("z", "drop"), [(2.9, 3.0), (9.0, 0.9), (-5.0, -2.0)])
def test_noise_and_small_drops_are_no_drop(z: float, drop: float) -> None:
    scene = Scene()
    Measurement(scene).quality(0.89, trained(z=z, drop=drop))
    scene.go()
    scene.quiet("eval-accuracy-drop")


def test_another_data_set_is_no_reference_but_the_baseline_is() -> None:
    scene = Scene()
    m = Measurement(scene, measures={"data_source": "MNIST"}).quality(0.2, trained(z=90.0, drop=70.0))
    scene.go()
    assert "same data" in scene.unknown("eval-accuracy-drop")
    m.baseline(z=6.0, drop_pp=4.0)
    scene.go()
    assert "below the baseline" in scene.alert("eval-accuracy-drop").title


def test_a_model_that_knows_its_training_samples_by_heart() -> None:
    evals = [{"step": 300, "accuracy": 0.9}, {"step": 700, "accuracy": 0.85}]
    scene = Scene()
    Measurement(scene, measures={"evals": evals}).inputs().quality(0.85, train_accuracy=0.99)
    scene.go()
    alert = scene.alert("train-infer-gap")
    assert values(alert)["Gap"] == 14.0
    assert alert.remedies[0].command == "dctop infer run-0 --checkpoint 300"
    assert alert.remedies[0].effect == "85 -> 90 %" and alert.ruled_out


@pytest.mark.parametrize(("train", "n"), [(0.93, 10_000), (0.98, 60)])
def test_a_small_gap_and_one_within_chance_are_none(train: float, n: int) -> None:
    scene = Scene()
    Measurement(scene).quality(0.9, train_accuracy=train, samples=n)
    scene.go()
    scene.quiet("train-infer-gap")


@pytest.mark.parametrize(("psi", "severity"), [(0.15, "warning"), (0.4, "critical")])
def test_predictions_that_drift_name_the_class_that_moved(psi: float, severity: str) -> None:
    scene = Scene()
    m = Measurement(scene).quality()
    m.baseline(psi=psi, support_psi=0.0, moved={"index": 3, "now": 0.3, "then": 0.1})
    scene.go()
    alert = scene.alert("prediction-drift")
    assert alert.severity == severity and "3 is 30 %" in alert.why
    assert "within 4.16 points" in str(alert.remedies[1].effect)  # 1.96 sqrt(0.9 x 0.1 / 200)


def test_another_mix_of_labels_is_no_drift() -> None:
    scene = Scene()
    Measurement(scene).quality().baseline(psi=0.4, support_psi=0.35)
    scene.go()
    scene.quiet("prediction-drift")


def test_few_predictions_or_no_baseline_tell_no_drift() -> None:
    scene = Scene()
    m = Measurement(scene).quality(samples=500)
    scene.go()
    assert "baseline" in scene.unknown("prediction-drift")
    m.baseline(psi=0.9)
    scene.go()
    assert "1,000" in scene.unknown("prediction-drift")


@pytest.mark.parametrize(("diff", "told"), [(0.02, True), (2e-4, False)])
def test_answers_that_differ_from_themselves(diff: float, told: bool) -> None:
    scene = Scene()
    Measurement(scene).tell("determinism", max_diff=diff, ok=not told)
    scene.go()
    assert bool(scene.found("eval-nondeterministic")) is told
    if told:
        assert scene.alert("eval-nondeterministic").remedies[0].key == "kernels"


def test_a_checkpoint_of_another_model_is_told_with_its_tensors() -> None:
    scene = Scene()
    m = Measurement(scene, started=False)
    m.tell(
        "checkpoint", ok=False, error="does not fit", missing=["9.bias"], unexpected=["9.extra"], shapes=[]
    )
    m.tell("exception", **{"class": "CheckpointError"})
    m.run.end("failed", 1, "does not fit")
    scene.go(5)
    alert = scene.alert("checkpoint-mismatch")
    assert values(alert)["Missing"] == 1 and values(alert)["Unexpected are"] == "9.extra"
    assert scene.alert("worker-crashed").suppressed_by == "checkpoint-mismatch"
    assert not scene.found("checkpoint-failed")


def test_a_checkpoint_of_another_step_than_its_name_says() -> None:
    scene = Scene()
    Measurement(scene, measures={"step": 600})
    scene.go()
    assert "holds step 700, its name says 600" in scene.alert("checkpoint-mismatch").title


def test_the_right_checkpoint_is_quiet_and_an_unreadable_one_another_fault() -> None:
    scene = Scene()
    Measurement(scene)
    scene.go()
    scene.quiet("checkpoint-mismatch")
    broken = Scene()
    Measurement(broken, started=False).tell("checkpoint", ok=False, error="broken checkpoint")
    broken.go()
    broken.quiet("checkpoint-mismatch")


def test_a_class_that_is_lost_at_inference_is_told_with_what_it_is_taken_for() -> None:
    scene = Scene()
    recall, confusion = [0.9] * 10, [[0] * 10 for _ in range(10)]
    recall[4], confusion[4] = 0.5, [0, 0, 450, 0, 500, 0, 50, 0, 0, 0]
    Measurement(scene).quality(0.86, trained(1.0, 0.5, recall=[0.9] * 10), recall=recall, confusion=confusion)
    scene.go()
    alert = scene.alert("class-recall-collapse")
    assert values(alert)["Recall"] == 50.0 and values(alert)["Mostly taken for"] == "2 (450 of 1,000)"
    assert "training's own evaluation" in alert.why


def test_labels_under_other_numbers_are_told_with_which_is_taken_for_which() -> None:
    scene = Scene()
    confusion = [[900 if j == (i + 1) % 10 else 11 for j in range(10)] for i in range(10)]
    before = trained(70.0, 88.9, nll_ratio=22.0, recall=[0.9] * 10)
    Measurement(scene).quality(0.011, before, nll=6.7, recall=[0.011] * 10, confusion=confusion)
    scene.go()
    alert = scene.alert("labels-disagree")
    assert values(alert)["Taken for"] == f"{CLASSES[0]} > {CLASSES[1]}, {CLASSES[1]} > {CLASSES[2]}, " + (
        f"{CLASSES[2]} > {CLASSES[3]} (+ 7)"
    )
    assert "NLL 6.7" in alert.why
    for symptom in ("eval-accuracy-drop", "confidence-shift"):
        assert scene.alert(symptom).suppressed_by == "labels-disagree"


def test_inputs_that_make_all_look_alike_are_not_told_as_other_labels() -> None:
    """Inverted images: most are taken for one of three classes."""
    scene = Scene()
    confusion = [[0, 0, 200, 0, 0, 0, 150, 0, 650, 0] for _ in range(10)]
    confusion[8] = [600, 0, 300, 0, 0, 0, 80, 0, 20, 0]
    recall = [0.0] * 8 + [0.02, 0.0]
    Measurement(scene).quality(0.018, trained(70.0, 88.0), nll=7.2, recall=recall, confusion=confusion)
    scene.go()
    scene.quiet("labels-disagree")


def test_a_class_of_few_samples_is_not_judged_at_inference() -> None:
    scene = Scene()
    support = [1000] * 9 + [60]
    Measurement(scene).quality(
        0.9, trained(1.0, 0.5, recall=[0.9] * 10), recall=[0.9] * 9 + [0.3], support=support
    )
    scene.go()
    scene.quiet("class-recall-collapse")


def test_an_nll_above_the_trainings_own_is_told_with_a_temperature() -> None:
    scene = Scene()
    Measurement(scene).quality(
        0.9, trained(0.5, 0.1, nll_ratio=2.6), nll=0.78, temperature={"t": 2.5, "nll": 0.4}
    )
    scene.go()
    alert = scene.alert("confidence-shift")
    assert values(alert)["NLL"] == 0.78 and alert.remedies[-1].quantity == "T = 2.5"
    assert str(alert.remedies[-1].effect).startswith("NLL 0.78 -> 0.4")


def test_an_nll_like_the_trainings_is_quiet() -> None:
    scene = Scene()
    Measurement(scene).quality(0.9, trained(0.5, 0.1, nll_ratio=1.4))
    scene.go()
    scene.quiet("confidence-shift")
