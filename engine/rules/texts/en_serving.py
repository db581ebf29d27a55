"""Words of the rules in English: problem 5, what goes in and what comes out at inference."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "preprocess-mismatch": RuleText(
        title="{run}: inputs are not what the model was trained on ({ratio} x the range)",
        why="Their mean is {now}, {then} in training: {shift} standard deviations away. What is prepared otherwise is answered otherwise, mostly with more confidence.",
        evidence={
            "ratio": "Range / training", "shift": "Shift of the mean", "min": "Least (now / training)", "max": "Largest (now / training)",
            "mean": "Mean (now / training)", "std": "Deviation (now / training)", "dtype": "Type", "shape": "Shape", "samples": "Samples",
        },
        remedies={
            "scale": R("Scale the inputs as in training", "{factor}", "inputs from {low} to {high}, mean {then}; accuracy as in training"),
            "compare": R("Compare the preparation with the training's: order, mean, normalisation", "mean {now} -> {then}, deviation {std}", "accuracy as in training"),
            "ship": R("Keep the transform with the checkpoint and apply that one", None, "it cannot differ again"),
        },
        condition="EVENT: range ratio > {ratio} or |mean shift| > {shift} sigma of the training on at least {samples} samples.",
        traps="One dark image: at least 32 samples are looked at. Tokens have no scale.",
        variants={
            "title.stream": "{run}: batches are not what the data set holds ({ratio} x the range)",
            "why.stream": "Their mean is {now}, of the data set {then}: {shift} standard deviations away. The model is trained on something else than its checkpoints say.",
            "title.eval": "{run} is evaluated on other inputs than it is trained on ({ratio} x the range)",
            "why.eval": "The mean in the evaluation is {now}, in training {then}: {shift} standard deviations away. Its test loss and accuracy tell nothing about the model.",
        },
    ),
    "class-imbalance": RuleText(
        title="{run}: {name} is {share} % of the training set",
        why="{count} of {total} samples, where an even share is {even} %: a model that never says it loses next to nothing.",
        evidence={"share": "Share of the rarest", "count": "Its samples", "usual": "Median of the classes", "total": "Samples", "counts": "Samples a class"},
        remedies={
            "weights": R("Weight the loss by class: N / (C n)", "{weight} for {name}, {others} for a usual class", "recall of {name} rises, others fall a little"),
            "sample": R("Or draw {name} more often, augmented", "x {times}", "as many of it as of a usual class"),
            "collect": R("Nothing can be learned about {name}: collect samples, or take it out of the classes", "0 samples", "its recall is 0 until then"),
        },
        condition="EVENT: share of the rarest class < {share} / C in the whole training set, beyond chance.",
        traps="A stream that is not shuffled: the whole set is counted. Few samples: the interval must lie below, too.",
        variants={"title.none": "{run}: the training set has no {name}"},
    ),
    "eval-accuracy-drop": RuleText(
        title="{run}: accuracy is {drop} points below the training's own evaluation",
        why="{accuracy} % of {samples} are right, {before} % were in training: {wrong} more are wrong, far beyond chance.",
        evidence={"accuracy": "Accuracy", "before": "Accuracy before", "drop": "Drop", "z": "z", "samples": "Samples", "interval": "95 % interval", "hash": "Weights", "dtype": "Precision"},
        remedies={
            "precision": R("First undo the change of precision", "{then} -> {dtype}", "{before} % if that is all", "dctop infer {model} --precision {then}"),
            "compare": R("Compare weights, preprocessing and precision with what was evaluated", "weights {hash}", "names what differs; {before} %"),
            "train": R("If they agree: train longer", "{steps} steps more at {points} points per 1,000", "{before} %"),
            "augment": R("Or augment, regularise, enlarge the model", None, "accuracy on new data rises"),
        },
        condition="EVENT: one-sided two-proportion z > {z} and a drop >= {points} points against the same data.",
        traps="Less is noise: one sigma is 0.3 points on 10,000 samples. Another data set is no reference.",
        ruled_out={"inputs": "other inputs: range and mean are those of the training"},
        variants={
            "title.baseline": "{run}: accuracy is {drop} points below the baseline",
            "why.baseline": "{accuracy} % of {samples} are right, {before} % were in the baseline {baseline}: {wrong} more are wrong, far beyond chance.",
        },
    ),
    "train-infer-gap": RuleText(
        title="{run}: {gap} points better on training samples than on new ones",
        why="{train} % against {accuracy} %, both in this measurement: the model knows its training samples by heart.",
        evidence={"gap": "Gap", "train": "Accuracy on training samples", "accuracy": "Accuracy on test samples", "best": "Best evaluation of the training"},
        remedies={
            "restore": R("Serve the checkpoint of the best evaluation", "step {step}", "{accuracy} -> {better} %", "dctop infer {model} --checkpoint {step}"),
            "regularise": R("Train with weight decay 1e-4 to 1e-2 or dropout 0.2 to 0.5, stop early", "{gap} points to gain at most", "accuracy between {accuracy} and {train} %"),
            "data": R("Or with more data, or augmented", "{gap} points", "accuracy between {accuracy} and {train} %"),
        },
        condition="STATE: accuracy on training samples - on test samples > {points} points and > {sigmas} sigma; clear below {clear}.",
        traps="Both are measured in the same mode, through the same preprocessing.",
        ruled_out={"inputs": "other inputs: range and mean are those of the training"},
    ),
    "prediction-drift": RuleText(
        title="{run} predicts other classes than the baseline (PSI {psi})",
        why="{name} is {now} % of the predictions, {then} % in the baseline {baseline}; the labels did not move with them.",
        evidence={
            "psi": "PSI of predictions", "labels": "PSI of labels", "class": "Moved most", "now": "Its share now", "then": "Its share then",
            "confidence": "Mean confidence", "confidence_then": "Mean confidence then", "samples": "Predictions",
        },
        remedies={
            "inputs": R("Compare the inputs with those of the training", "PSI of the inputs {inputs}", "names what differs"),
            "label": R("Label some predictions by hand", "{count} at random, most of {name}", "tells the accuracy to within {error} points"),
            "retrain": R("If the world has changed: train on new data", None, "shares as the labels have them"),
        },
        condition="STATE: PSI of predicted classes > {warn} warning, > {crit} critical, on >= {samples} predictions; clear below {clear}.",
        traps="Another mix of classes: no drift where the labels moved at least {labels} as much.",
    ),
    "eval-nondeterministic": RuleText(
        title="{run}: the same batch twice gives other answers (differ by {diff})",
        why="That is {times} x what arithmetic explains: something draws lots ({layers} layers with dropout or batch normalisation).",
        evidence={"diff": "Largest difference", "mode": "Mode", "layers": "Dropout and batch normalisation", "device": "Device"},
        remedies={
            "eval": R("Call model.eval() after loading", "{layers} layers", "difference 0"),
            "kernels": R("Ask for deterministic kernels", "torch.use_deterministic_algorithms(True)", "difference 0, or the operation is named"),
            "seed": R("Seed what draws lots on purpose", "torch.manual_seed", "the same answer twice"),
        },
        condition="EVENT: outputs of the same batch differ by more than {diff}.",
        traps="TF32 and atomic additions differ by about 1e-4.",
    ),
    "checkpoint-mismatch": RuleText(
        title="{run}: the checkpoint does not fit the model",
        why="{missing} tensors are missing, {unexpected} are not the model's, {shapes} have another shape: {path}.",
        evidence={
            "missing": "Missing", "unexpected": "Unexpected", "shapes": "Of another shape", "missing_names": "Missing are", "unexpected_names": "Unexpected are",
            "shapes_names": "Of another shape are", "held": "Step in the file", "path": "File",
        },
        remedies={
            "right": R("Load the checkpoint of this model", "{missing} + {unexpected} + {shapes} tensors", "all tensors fit", "dctop infer {model} --checkpoint best"),
            "build": R("Or build the model the checkpoint was made from: same options, same version", None, "all tensors fit"),
        },
        condition="EVENT: missing or unexpected keys or other shapes in a strict load; or a step other than the file's name says.",
        traps="A file that cannot be read is another fault.",
        variants={
            "title.step": "{run}: the checkpoint holds step {held}, its name says {named}",
            "why.step": "The file was replaced or renamed: {path}.",
        },
    ),
}
