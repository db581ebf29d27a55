"""Words of the rules in English: evaluations, and what became of a remedy."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "class-recall-collapse": RuleText(
        title="{run} does not recognise {name}: {recall} % of it are found",
        why="Over all classes {accuracy} % are right, so the mean hides it. The best evaluation found {best} %.",
        evidence={"recall": "Recall", "best": "Best recall", "accuracy": "Accuracy over all", "confused": "Mostly taken for"},
        remedies={
            "compare": R("Compare weights, preprocessing and precision with what was evaluated", "recall {best} -> {recall} %", "names what differs"),
            "count": R("Count the labels of {name} in the training data", "recall {recall} %", "shows whether it is rare or mislabelled"),
            "weights": R("Weight the loss by class", "w = N / (C n) = {weight}", "recall of {name} rises, others fall a little"),
            "data": R("Or sample {name} more often, augment it", None, "recall of {name} rises"),
        },
        condition="STATE: recall of a class < {recall}, or {drop} below its best, in all evaluations of the last {samples} samples, at least {evals}, while the accuracy is above {accuracy}, after {samples} samples; at inference {infer_drop} below the training's evaluation with {support} samples.",
        traps="A class that is hard all along; early evaluations, before anything is learned; few samples of a class.",
        variants={"why.infer": "Over all classes {accuracy} % are right, so the mean hides it. The training's own evaluation found {best} %."},
    ),
    "labels-disagree": RuleText(
        title="{run}: {accuracy} % of the test data are right, fewer than by guessing ({guess} %)",
        why="Who knows nothing is right in 1 of {classes}. The model knows the classes, the test data calls them by other numbers: the loss is {loss}, of knowing nothing {whole}.",
        evidence={"accuracy": "Test accuracy", "guess": "By guessing", "loss": "Test loss", "train": "Training loss", "taken": "Taken for"},
        remedies={
            "order": R("Compare the numbering of classes in training and test: sorted names, 0 or 1 first, a class left out", "{classes} classes", "one order for both: test accuracy near training accuracy"),
            "file": R("Keep the numbering with the checkpoint and read it back", None, "it cannot differ again"),
            "shift": R("To be sure: count the answers by class that one class of the test data gets", None, "each class has one answer, a wrong one"),
        },
        condition="STATE: accuracy < {share} / classes and {sigmas} standard deviations below a guess, loss > {wrong} x ln(classes), no class found to {found}, in {evals} evaluations, while the training loss is < {learned} x ln(classes); at inference in one measurement, where {renamed} of the classes have an answer of their own, which holds for {half} of all.",
        traps="A model that always gives one answer; a test set of few samples; a model that knows nothing is right in 1 of C.",
        variants={"why.infer": "Who knows nothing is right in 1 of {classes}. The model knows the classes, these labels call them by other numbers: NLL {loss}, of knowing nothing {whole}."},
    ),
    "confidence-shift": RuleText(
        title="{run}: the test loss jumped to {times} x its best, training did not",
        why="It was {best} and is {loss}, while the training loss stays at {train}: the model is the same, what it is tested on is not.",
        evidence={"loss": "Test loss", "best": "Best test loss", "train": "Training loss", "accuracy": "Test accuracy", "accuracy_before": "Test accuracy at the best", "nll": "NLL", "nll_before": "NLL of the reference", "ece": "Calibration error"},
        remedies={
            "scale": R("Test inputs are scaled otherwise than training inputs: apply the same transform", "mostly a missing / 255", "test loss near {best}"),
            "compare": R("Compare range, mean and order of test and training inputs", None, "names what differs"),
            "warm": R("If inputs agree: divide the logits by a temperature", "T = {t}", "NLL {loss} -> {after} at the same accuracy"),
            "temperature": R("If inputs agree: calibrate by a temperature on the test logits", None, "lower test loss at the same accuracy"),
        },
        condition="STATE: test loss > {times} x best, and {floor} of what knowing nothing costs, within one evaluation while the training loss is <= {train_times} x what it was; clear below {clear} x; at inference NLL against the training's evaluation or the baseline.",
        traps="Overfitting rises over several evaluations; accuracy falls by few points only.",
        variants={
            "title.infer": "{run}: NLL is {times} x the training's own",
            "why.infer": "It was {best} and is {loss} for the same model: what it is shown is not the same, or it is sure where it is wrong.",
        },
    ),
    "remedy-verdict": RuleText(
        title="{run} keeps the promise of its remedy ({rule})",
        why="It was started in place of {parent} with {changed}; after {steps} steps it does what was predicted.",
        evidence={"predicted": "Predicted", "observed": "Observed", "before": "Before", "steps": "Steps"},
        remedies={"next": R("Look at its own alerts, or apply the next remedy", None, None, "dctop runs apply {run}")},
        condition="EVENT: a successor started by `apply` has enough steps: step time within 20 % of the prediction, memory at most 20 % above, loss at or below.",
        traps="The first 20 steps of a step time do not count.",
        variants={
            "title.missed": "{run} does not keep the promise of its remedy ({rule})",
            "why.missed": "It was started in place of {parent} with {changed}; after {steps} steps it does not do what was predicted.",
        },
    ),
}
