"""Words of the rules in English: problem 4, convergence."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

_LR = R("Restart with a lower learning rate", "lr {lr} -> {new}", "loss falls again within 200 steps")

# fmt: off
RULES: dict[str, RuleText] = {
    "loss-nonfinite": RuleText(
        title="{run}: the loss is not finite since step {step}",
        why="The loss was {last} at step {last_step} and is NaN or infinite since: every further update spoils the model.",
        evidence={"loss": "Loss", "step": "Since step", "last": "Last finite loss", "last_step": "At step", "lr": "Learning rate", "grad": "Gradient norm", "healthy_grad": "Healthy gradient norm", "layer": "First not finite", "scale": "Gradient scale"},
        remedies={
            "reload": R("Go back to the last good checkpoint", "step {at}, {age} steps back", "finite loss at once", "dctop train {workload} --resume {run}"),
            "lr": R("Lower the learning rate", "lr {old} -> {new}", "no jump at this place"),
            "clip": R("Clip gradients at what is healthy here", "max norm {clip} (90th percentile)", "one bad batch cannot ruin the weights"),
            "clip1": R("Clip gradients", "max norm 1", "one bad batch cannot ruin the weights"),
            "bisect": R("Find the origin: inputs, then activations, then gradients; that layer in fp32", "from step {step} on", "names the layer or the sample"),
            "input": R("Inputs were not finite: find the sample and leave it out", "batch of step {step}", "finite loss at once"),
            "parameter": R("Weights were not finite before this step: an update ruined them. Clip gradients or lower the rate", "{layers} tensors, the first is {layer}", "finite weights"),
            "activation": R("Compute this layer in fp32, or bound what goes into it", "{layer}", "finite activations"),
        },
        condition="EVENT: isfinite(loss) failed in the worker; no delay.",
        traps="With a gradient scaler an infinite gradient is skipped by design: only the loss counts.",
        cost={"useless": "Every step from {step} on is wasted."},
        variants={
            "why.input": "The loss was {last} at step {last_step}; at step {step} the inputs were not finite, weights still were: every further update spoils the model.",
            "why.parameter": "The loss was {last} at step {last_step}; when step {step} began, {layers} weight tensors were not finite, the first is {layer}: the update before it did that.",
            "why.activation": "The loss was {last} at step {last_step}; at step {step} inputs and weights were finite, what {layer} gives was not: every further update spoils the model.",
        },
    ),
    "init-loss-mismatch": RuleText(
        title="{run} starts with a loss of {first} instead of {expected}",
        why="A model that knows nothing about {classes} classes has a loss of ln {classes} = {expected}. It starts at {times} x that.",
        evidence={"first": "First loss", "expected": "ln C", "classes": "Classes"},
        remedies={
            "inputs": R("Scale the inputs: raw pixels need dividing by 255", "x 1/255", "first loss near {expected}"),
            "bias": R("Start the last layer with zero bias", None, "first loss near {expected}"),
            "init": R("Check the initialisation's standard deviation", "He or Xavier", "first loss near {expected}"),
            "leak": R("Too good: look for labels among the inputs, or weights that were loaded", None, "first loss near {expected}"),
        },
        condition="EVENT: |L0 - ln C| > {share} ln C at the first step of a fresh run.",
        traps="Class weights, label smoothing, a pretrained model; resumed runs are not judged.",
    ),
    "early-divergence": RuleText(
        title="{run} diverges from the start: loss {loss} at step {step}",
        why="It began at {first} and was more than twice that within 100 steps: the learning rate {lr} is too high.",
        evidence={"loss": "Loss", "first": "First loss", "lr": "Learning rate", "step": "Step"},
        remedies={"lr": R("Restart with a tenth of the learning rate", "lr {lr} -> {new}", "loss below {first} within 100 steps"), "warmup": R("Or warm the rate up", "100 to 1,000 steps", "the first updates stay small")},
        condition="EVENT: L > {times} L0 within the first {steps} steps, with L0 near ln C.",
        traps="A wrong first loss is init-loss-mismatch.",
    ),
    "loss-diverging": RuleText(
        title="{run}: the loss rose to {times} x its best",
        why="The median of the last losses is {now}; it was {best} at step {best_step}.",
        evidence={"now": "Median now", "best": "Best median", "best_step": "At step", "window": "Window", "lr": "Learning rate", "grad": "Gradient norm", "cos": "Cosine of successive gradients", "stable": "1 / curvature"},
        remedies={
            "reload": R("Go back to a checkpoint from before", "step {at}", "loss near {best}", "dctop train {workload} --resume {run}"),
            "lr": R("Lower the learning rate: SGD is stable only below 2 / L", "lr {lr} -> {new}", "loss falls again within 200 steps"),
        },
        condition="STATE: median of n = max({least}, {samples} / B) losses > {times} x best and > best + {more}, after step {after_step}; clear below {clear} x.",
        traps="The window counts samples, not steps; scheduler restarts.",
    ),
    "loss-spike": RuleText(
        title="{run}: loss spike of {times} x at step {step}",
        why="Three of five losses lay far above the median of the hundred before them (steps {batches}).",
        evidence={"peak": "Highest loss", "median": "Median of 100", "steps": "Steps", "grad": "Gradient norm", "healthy_grad": "Healthy gradient norm"},
        remedies={
            "wait": R("Passing: nothing. Look at the batches of these steps", "steps {batches}", "back to normal within 100 steps"),
            "skip": R("Lasting: restart 100 steps earlier and skip 200 to 500 batches", "from step {back}", "the spike does not come again"),
            "clip": R("Clip gradients at what is healthy here", "max norm {clip}", "smaller spikes"),
        },
        condition="EVENT: {of5} of the last 5 steps with L > med100 + {mads} MAD, L > {times} med100 and L > {floor} of what knowing nothing costs, where med100 < {small} also > the highest of the 100 before; then {quiet_steps} steps of silence. Not within {restart_steps} steps after the rate rose {restart} times, up to what was asked for.",
        traps="One hard batch; a schedule that begins anew; late training has tiny medians, so both terms must hold.",
    ),
    "grad-exploding": RuleText(
        title="{run}: gradient norm {norm} at step {step}, {times} x the usual",
        why="Such an update can throw the weights far off.",
        evidence={"norm": "Gradient norm", "median": "Usual", "ratio": "Ratio", "p90": "90th percentile", "layer": "Largest in", "lr": "Learning rate"},
        remedies={
            "clip": R("Clip gradients at what is healthy here", "max norm {clip} (90th percentile)", "about one step in ten is clipped"),
            "lr": _LR,
            "warmup": R("Warm the rate up", "100 to 1,000 steps", "the first updates stay small"),
        },
        condition="EVENT: norm > {times} x median of 100 steps and > {above_peak} x their highest, or median of 20 > {slow_times} x median of 500.",
        traps="Norms after clipping or before unscaling say something else.",
    ),
    "chance-level": RuleText(
        title="{run} has learned nothing: accuracy {accuracy} %, chance is {chance} %",
        why="The loss is still {loss}, that of a model that knows nothing is {ln}.",
        evidence={"accuracy": "Accuracy", "chance": "Chance", "loss": "Loss", "ratio": "Update ratio", "grad": "Gradient norm", "decay": "Weight decay", "last": "Last layer's gradient, of its first"},
        remedies={
            "decay": R("Lower the weight decay", "weight decay {decay} -> {less}", "accuracy above chance within 200 steps"),
            "labels": R("Updates are normal: labels or inputs carry no signal. Check that both are shuffled alike, and the label column", "update ratio {ratio}", "accuracy above chance within 200 steps"),
            "overfit32": R("Prove it: overfit one batch of 32", "loss below 0.1 in 200 steps", "if not, model or inputs are at fault"),
            "rate": R("Updates are tiny: raise the learning rate, look for dead units", "update ratio {ratio}, 1e-3 is usual", "loss below {ln} within 200 steps"),
        },
        condition="STATE: accuracy of 100 steps < 1/C + {more} and median loss > {loss_share} ln C, after step {after_step}; clear above 1/C + {clear_more}.",
        traps="With unequal classes chance is the share of the largest instead of 1/C, where the run tells it.",
        variants={"why.decay": "The loss is {loss}, that of a model that knows nothing is {ln}: the weight decay of {decay} draws the weights to zero. A step changes them by {ratio} of their size, and even the last layer's gradient is down to {last} % of its first."},
    ),
    "plateau": RuleText(
        title="{run} no longer gets better",
        why="Over {steps} steps the loss ({loss}) gained {gain} %.",
        evidence={"gain": "Gain", "loss": "Loss", "best": "Best accuracy", "since": "Evaluations since", "lr": "Learning rate", "ratio": "Update ratio"},
        remedies={
            "lower": R("Lower the learning rate", "lr {lr} -> {lower}", "a further fall if it oscillated"),
            "raise": R("Raise the learning rate: updates are small", "lr {lr} -> {higher}", "a fall within 200 steps"),
            "stop": R("Or stop here: it is done", "saves {left}", "no accuracy lost"),
        },
        condition="STATE: gain < {gain_pct} % over {steps} steps while L > {loss_share} ln C: warning; {evals} evaluations, over at least as many epochs, without {min_delta} more accuracy, and the newest third of all in the mean without it or {min_gain} less loss than the third before: a note.",
        traps="Already converged: only a note.",
        variants={"why.evals": "The newest third of the evaluations is in the mean no better than the third before; the best accuracy, {best} %, is {since} evaluations ago."},
    ),
    "overfitting": RuleText(
        title="{run} overfits: validation loss {above} % above its best",
        why="It was best at step {at} ({best}) and is {now}, {since} evaluations later, while the training loss still falls.",
        evidence={"val": "Validation loss", "best": "Best", "best_step": "At step", "train": "Training loss", "gap": "Gap ratio"},
        remedies={
            "restore": R("Use the checkpoint of the best evaluation", "step {at}", "validation loss {best}", "{path}"),
            "regularise": R("Regularise", "weight decay 1e-4 to 1e-2, dropout 0.2 to 0.5", "the gap narrows"),
            "augment": R("Augment the data, or stop early", "{since} evaluations saved", "validation loss stays near {best}"),
        },
        condition="STATE: validation loss > best + {above_pct} % for {evals} evaluations while the training loss falls, and (L_val - L_train) / L_train > {gap}, more than {noise} x the noise of the evaluations; clear below {clear_pct} %.",
        traps="Training loss is measured during the epoch, with dropout on.",
    ),
}
