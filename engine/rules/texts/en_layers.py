"""Words of the rules in English: single layers, and a target that will be missed."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "grad-vanishing": RuleText(
        title="{run}: gradients vanish before they reach the first layer ({ratio} of the last)",
        why="{last_layer} gets a gradient of {last}, {first_layer} one of {norm}: a factor of {each} in each of {layers} layers. The first layers do not learn.",
        evidence={"ratio": "First / last gradient", "first": "Gradient of the first", "last": "Gradient of the last", "first_layer": "First weights", "last_layer": "Last weights", "loss": "Loss"},
        remedies={
            "relu": R("Use ReLU with He initialisation", "activation {activation} -> relu", "first / last gradient above 0.01"),
            "skip": R("Add skip connections", "one every {deep} layers", "first / last gradient above 0.01"),
            "norm": R("Put normalisation layers between", "one for each of {layers} layers", "the factor of a layer ({each}) comes near 1"),
        },
        condition="STATE: median of {steps} measured steps of |g first| / |g last| < {ratio} and |g first| < {norm}, |g last| > {last_share} of the first step's, while loss > {loss_share} ln C; clear above {clear_ratio}.",
        traps="A converged model has small gradients: hence the loss. Two sigmoid layers train well.",
    ),
    "dead-relu": RuleText(
        title="{run}: {share} % of the units of {layer} are dead",
        why="They were not above 0 on any of five batches up to step {step}: no gradient comes through them, so they do not come back by themselves.",
        evidence={"share": "Dead units", "layer": "Layer", "step": "At step", "lr": "Learning rate", "ratio": "Update ratio", "loss": "Loss"},
        remedies={
            "lr": R("Restart with a tenth of the learning rate", "lr {lr} -> {new}", "below {clear} % after 50 steps"),
            "reinit": R("Initialise the layer anew, biases at 0", "{layer}, {share} % of its units", "below {clear} % after 50 steps"),
            "leaky": R("Or use LeakyReLU, whose units can recover", "slope 0.01", "none is dead for good"),
        },
        condition="STATE: a ReLU layer with more than {share} of its units never above 0 in 5 steps, 10 apart, and loss > {loss_share} ln C; clear below {clear_share}.",
        traps="About half of a dense layer is often dead, and that is normal; a network may learn well with the tenth that is left: hence the loss.",
    ),
    "param-not-updating": RuleText(
        title="{run}: {count} of {of} parameters do not learn",
        why="{names}: not one value changed in {steps} steps up to step {step}, at a learning rate of {lr}.",
        evidence={"names": "Parameters", "count": "Not changed", "requires_grad": "Without requires_grad", "no-gradient": "Without a gradient", "optimizer": "Not in the optimizer", "gradient": "With a gradient too small", "step": "At step", "lr": "Learning rate"},
        remedies={
            "requires_grad": R("Switch requires_grad on, unless they are frozen on purpose", "{n} of {of} parameters", "they change with the first step"),
            "no-gradient": R("No gradient reaches them: remove detach() or no_grad() behind them, or use their output in the loss", "{n} of {of} parameters", "they change with the first step"),
            "optimizer": R("Give them to the optimizer", "{n} of {of} parameters", "they change with the first step"),
            "gradient": R("Their gradient is zero or next to it: look for dead units and vanishing gradients behind them", "{n} of {of} parameters", "their gradient is above 0"),
        },
        condition="EVENT: parameters of which no value changed in 100 steps while the learning rate was above 0 (and above {lr_share} of what was asked for).",
        traps="Frozen on purpose: not judged in a run that goes on from another, a warning in a fresh one.",
    ),
    "amp-scale-collapse": RuleText(
        title="{run}: {share} % of the steps are skipped, the gradient scale is {scale}",
        why="Gradients overflow fp16: {skipped} of the last {steps} updates were thrown away and the scale halved each time.",
        evidence={"share": "Skipped", "skipped": "Skipped steps", "scale": "Gradient scale", "grad": "Gradient norm", "lr": "Learning rate"},
        remedies={
            "bf16": R("Use bf16: the range of fp32, no scale needed", "precision fp16 -> bf16", "no step skipped"),
            "lr": R("Lower the learning rate", "lr {lr} -> {new}", "gradients shrink, fewer than 5 % skipped"),
            "eps": R("Raise Adam's eps: 1e-8 is 0 in fp16", "eps 1e-8 -> 1e-6", "no division by 0 in the update"),
        },
        condition="STATE: more than {share} of the last {steps} steps skipped, or a scale below {scale}; clear below {clear_share}.",
        traps="It finds its scale in the first steps: they are not judged; one skipped step now and then is normal.",
        cost={"skipped": "{share} % of the computing is thrown away."},
    ),
    "slow-convergence": RuleText(
        title="{run} will miss its target: {final} instead of {target} after {total} steps",
        why="Three looks at its curve in a row, the last at step {step}: none of {models} models of it ends better than {least}; it would reach {target} after {steps} steps.",
        evidence={"final": "Projected", "least": "Best any model leaves room for", "models": "Models", "target": "Target", "planned": "Planned", "extra": "Steps more", "epochs": "Epochs more", "exponent": "Exponent of the curve", "gap": "Evaluation above training", "ac1": "Lag-1 autocorrelation", "ratio": "Update ratio"},
        remedies={
            "raise": R("Raise the learning rate: it could take longer steps", "lr {lr} -> {new}", "{target} within fewer steps"),
            "longer": R("Train longer", "{total} -> {steps} steps ({epochs} epochs more, {times} x)", "{target} at the end"),
            "larger": R("Training longer will not do: use a larger model or more data; regularise only if it overfits", "its curve ends at {limit}", "a curve that ends beyond {target}"),
        },
        condition="STATE: of what --target asks for, a power law, a line over log steps and one through the evaluations all miss the target at the last planned step by {margin} of its loss or errors ({margin_decay} with a cosine), in {fits} looks in a row.",
        traps="Without --target nothing is said. The schedule `step` falls with its decays: judged after the last. Resumed runs are not judged.",
        variants={
            "why.never": "Three looks at its curve in a row, the last at step {step}: none of {models} models of it ends better than {least}; it levels off at {limit}.",
            "why.evaluations": "Three looks at its evaluations in a row, the last at step {step}: neither line through them ends better than {least}.",
        },
    ),
}
