"""Words of the rules in English: learning too slowly or unsteadily, loaders, jitter, starving storage."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "lr-too-low": RuleText(
        title="{run}: the learning rate is too low to learn",
        why="A step changes the weights by {ratio} of their size at most, and the loss ({loss}) is still that of a model that knows nothing ({ln}).",
        evidence={"ratio": "Update ratio", "loss": "Loss", "lr": "Learning rate", "asked": "Rate asked for", "warmup": "Warm-up", "plan": "Planned steps", "grad": "Gradient norm", "ac1": "Lag-1 autocorrelation"},
        remedies={
            "raise": R("Raise the learning rate", "lr {lr} -> {new}", "the loss falls within 200 steps"),
            "shorter": R("Shorten the warm-up to a twentieth of the plan", "warm-up {warm} -> {short} steps", "lr {asked} from step {short} on instead of step {warm}"),
            "restore": R("Let the rate fall later, or not as far", "lr {lr} -> {new}", "the loss falls within 200 steps"),
            "frozen": R("If layers are frozen or it warms up on purpose, leave it", None, "the ratio rises by itself"),
        },
        condition="STATE: update ratio, median of 3, taken to the rate of now, < {ratio} and loss > {loss_share} ln C after step {after_step} and the warm-up, but not later than {plan_share} of the plan; clear above {clear_ratio}. A warm-up longer than the plan: whatever the ratio. Or lr < {fell} of what was asked for over {fell_for} of the plan, loss > {fell_share} ln C and {fell_share} of the plan left. lr x min(10, {wanted_ratio} / u).",
        traps="Fine-tuning and resumed runs are not judged; late in training small updates are right: hence the loss and the plan.",
        variants={
            "title.warmup": "{run}: the warm-up is too long for it to learn",
            "why.warmup": "At step {step} of {plan} the learning rate is {lr}, {part} % of the {asked} asked for, as it rises over {warm} steps; the loss ({loss}) is still that of a model that knows nothing ({ln}).",
            "title.fell": "{run}: the learning rate fell before it had learned",
            "why.fell": "It is {lr}, {part} % of the {asked} asked for, with {left} of {plan} steps to go: a step changes the weights by {ratio} of their size at most, and the loss stays at {loss}.",
        },
    ),
    "lr-could-rise": RuleText(
        title="{run} could take longer steps",
        why="The loss of a step follows that of the step before (lag-1 autocorrelation {ac1} over {steps} steps) and falls, while updates are small ({ratio}).",
        evidence={"ac1": "Lag-1 autocorrelation", "ratio": "Update ratio", "lr": "Learning rate"},
        remedies={"raise": R("Raise the learning rate and look again after 200 steps", "lr {lr} -> {new}", "the same loss in fewer steps")},
        condition="STATE: autocorrelation of the loss > {ac1} over {steps} steps, loss falling, update ratio < {ratio}; clear below {clear_ac1}.",
        traps="Descent on the whole set is smooth anyway and not judged.",
    ),
    "loss-oscillation": RuleText(
        title="{run} swings to and fro by {swing} points",
        why="{n} of the last {of} evaluations are turning points: it overshoots instead of settling.",
        evidence={"share": "Turning points", "swing": "Swing", "best": "Best accuracy", "now": "Accuracy now", "lr": "Learning rate", "cos": "Cosine of successive gradients", "stable": "1 / curvature"},
        remedies={
            "lower": R("Lower the learning rate", "lr {lr} -> {new}", "swings fall by half"),
            "batch": R("Or use larger batches", "batch {batch} -> {more}", "less noise in each step"),
            "best": R("Keep the best checkpoint, not the last", None, "the swing costs nothing"),
        },
        condition="STATE: at least {share} of the evaluations (of {evals} at least) are extremes of {swing} or more; clear below {clear_share}.",
        traps="Noise of single batches is no oscillation: only evaluations count.",
    ),
    "underfitting": RuleText(
        title="{run} underfits: {train} % in training, {val} % in evaluation",
        why="Both are equally low and no longer rise, and the loss is {loss}: more of the same data teaches it nothing.",
        evidence={"train": "Training accuracy", "val": "Validation accuracy", "gap": "Gap", "loss": "Loss", "decay": "Weight decay"},
        remedies={
            "decay": R("Regularise less", "weight decay {decay} -> 0", "the training loss falls"),
            "wider": R("Use a larger model", "twice the width", "the training loss falls below where it is now"),
            "longer": R("Or train longer with a higher learning rate", None, "only if the loss still falls"),
        },
        condition="STATE: {evals} evaluations gain less than {gain}, training and validation accuracy within {gap}, loss > {loss_share} ln C; clear below {clear_share} ln C.",
        traps="Noise in the labels sets a ceiling that no model passes.",
    ),
    "loader-hang": RuleText(
        title="{run}: a loader process did not answer for {waited} s",
        why="The training waited {waited} s for a batch at step {step} and gave up ({workers} loader processes).",
        evidence={"waited": "Waited", "usual": "Usual wait", "workers": "Loader processes", "step": "Step"},
        remedies={
            "inline": R("Load in the training process once, to see where it hangs", "workers {workers} -> 0", "a traceback instead of silence"),
            "locks": R("Open HDF5 files, connections and locks in the loader process, not before the fork", None, "no lock held by nobody"),
            "timeout": R("If reads are just slow, allow more time", "timeout {waited} s -> twice that", "no end for one slow read"),
        },
        condition="EVENT: `DataLoader timed out after N seconds` in the worker's exception.",
        traps="The index built in the first epoch may take long; a loader without a time-out shows as training-stalled.",
    ),
    "bad-sample": RuleText(
        title="{run}: a sample could not be loaded ({error})",
        why="Loader process {process} raised {error} at step {step}: {said}",
        evidence={"error": "Error", "said": "Said", "process": "Loader process", "where": "Where", "step": "Step", "workers": "Loader processes"},
        remedies={
            "read": R("Read it at {where}: the sample is named in the traceback or can be printed there", "step {step}", "the sample is found"),
            "inline": R("Load in the training process to get the whole traceback with the index", "workers -> 0", "the sample is named"),
            "skip": R("Catch the error in the data set, skip and count", None, "one bad sample ends no run"),
            "validate": R("Read the whole set once before training", None, "all bad samples are found at once"),
        },
        condition="EVENT: `Caught X in DataLoader worker process k` in the worker's exception, or its traceback goes through the reading of a batch in the training process.",
        traps="None known: text and traceback come from PyTorch and Python. Errors of memory are told as such.",
        variants={"why.inline": "Reading the batch of the step after {step} raised {error} in the training process: {said}"},
    ),
    "step-jitter": RuleText(
        title="{run}: steps take very different times (p99 is {ratio} x p50)",
        why="{n} of {of} steps are far beyond the usual.",
        evidence={"p50": "p50", "p99": "p99", "slow": "Slow steps", "worst": "Worst", "period": "Period"},
        remedies={
            "periodic": R("Look at what happens every {period} steps: logging, checkpoint, evaluation, garbage collection", "every {period} steps", "up to {lost} % of the time back"),
            "look": R("Compare the phases of slow steps with the usual ones", "{n} slow steps", "up to {lost} % of the time back"),
        },
        condition="STATE: over {steps} steps p99 > {ratio} x p50, or more than {share} of the steps beyond the median + {mads} MAD and {least_s} s.",
        traps="The first step of an epoch is left out; steps of a few milliseconds jitter by less than {least_s} s.",
        cost={"lost": "Slow steps take {lost} % of the time."},
        variants={"why.periodic": "{n} of {of} steps are far beyond the usual, one every {period} steps."},
    ),
    "disk-bound": RuleText(
        title="{run} waits for the storage {share} % of each step",
        why="The run starves for data while {disk} is busy and tasks wait for I/O {psi} % of the time.",
        evidence={"share": "Share of a step", "psi": "Tasks wait for I/O", "util": "Busiest disk", "read": "Reads", "await": "Time of a request"},
        remedies={
            "cache": R("Keep the data set in memory if it fits", "{available} available", "step {before} -> {after} ms"),
            "local": R("Or copy it to a local disk", "{disk} reads {read}/s", "step {before} -> {after} ms at best"),
            "shard": R("Pack small files into large ones and read them in order", None, "fewer and longer requests"),
        },
        condition="STATE: t_data / t_step >= {share} and (PSI io some avg10 > {psi_pct} % or a disk busy > {util_pct} %) for {hold_s} s; clear below {clear_share}.",
        traps="The page cache fills in the first epoch: it may end by itself.",
    ),
}
