"""Words of the rules in English: problem 1, memory that will not last."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "oom-predicted-gpu": RuleText(
        title="{run} peaks at {share} % of the memory of GPU {gpu}",
        why="At its peak a step has {peak} of {cap} allocated: a longer batch or fragmentation is enough to fail.",
        variants={"title.soon": "{run} runs out of memory on GPU {gpu} in {steps} steps", "why.soon": "Allocated memory rises from step to step; at this pace GPU {gpu} ({cap}) is full at step {at}."},
        evidence={"peak": "Peak of 50 steps", "share": "Of the device", "cap": "Device memory", "allocated": "Allocated between steps", "reserved": "Reserved by the allocator", "taken": "Held by others and contexts", "slope": "Rises by", "tau": "Kendall's tau", "steps": "Steps until full"},
        remedies={
            "creep": R("Find what keeps memory: see gpu-mem-creep; a smaller batch only delays it", "{slope} MiB a step", "no more growth"),
            "fit": R("Use a batch that fits and accumulate gradients", "batch {batch} -> {fit}, accumulate {accum}", "peak {peak}, the same effective batch"),
            "half": R("Halve the batch and accumulate two", "batch {batch} -> {half}", "about half of the activations"),
            "shard": R("No batch helps: shard or offload the model's states", "Adam in fp32 holds 16 bytes a parameter", "states divided by the ranks"),
            "bf16": R("Compute in bf16", "activations about 1/2", "up to twice the batch"),
            "checkpointing": R("Recompute activations (checkpointing)", None, "much less activation memory, about a third more compute"),
        },
        condition="STATE: peak of {steps} steps >= {warn_pct} % of the device warning, >= {crit_pct} % critical, clear below {clear_pct} %; or allocated rises (Theil-Sen over >= {steps} steps, tau > {tau}) and reaches the capacity within {within} steps and before the last step.",
        traps="The allocator's cache looks like growth: allocated is judged, not reserved. Batches of different lengths: the highest peak of the window counts.",
    ),
    "gpu-mem-creep": RuleText(
        title="{run} keeps {slope} MiB of GPU memory a step",
        why="Memory allocated at the same point of the step has grown by {growth} since step {since}; GPU {gpu} is full at about step {crash}.",
        evidence={"slope": "Rises by", "growth": "Growth", "tau": "Kendall's tau", "since": "Since step", "allocated": "Allocated between steps", "left": "Left on the device", "sure": "Confirmed", "crash": "Full at step"},
        remedies={
            "keep": R("Keep `loss.item()`, not `loss`: a kept tensor keeps its graph", "{slope} MiB a step", "no more growth; else full at step {crash}"),
            "lists": R("Bound lists of outputs, `detach()` what is kept, move it to the host", None, "no more growth"),
            "save": R("Checkpoint before step {crash} and resume", "step {crash}", "memory starts anew"),
        },
        condition="STATE: over >= {steps} steps tau > {tau} and growth > max({cap_pct} % of the device, {least_mib} MiB); confirmed from {confirmed_mib} MiB on.",
        traps="A first evaluation allocates its buffers once: a step, not a slope. Judged at the same point of each step, after the gradients were freed.",
    ),
    "gpu-mem-fragmentation": RuleText(
        title="{run}: {spare} of GPU memory is held but in pieces nobody can use",
        why="The allocator holds {reserved} of GPU {gpu}, {unused} % of it unused even at the peak; it had to ask again {retries} times in the last 100 steps.",
        evidence={"reserved": "Reserved", "peak": "Peak allocated", "unused": "Unused at the peak", "inactive": "In split blocks", "retries": "Asked again", "free": "Device free"},
        remedies={
            "expandable": R("Let segments grow", "{spare} can be had back", "up to {spare} more for batches", "export PYTORCH_ALLOC_CONF=expandable_segments:True"),
            "shapes": R("Use few shapes: pad to fixed lengths or bucket by length", None, "blocks are used again as they are"),
        },
        condition="STATE: reserved > {held_pct} % of the device, more than {unused_pct} % of it unused at the peak (clear {clear_pct} %) and less than {free_pct} % of the device free; or >= {retries} allocation asked again in {steps} steps.",
        traps="Much reserved after a large evaluation is harmless while nothing has to be asked for again and the device has room.",
    ),
    "oom-predicted-host": RuleText(
        title="{run} holds {share} % of its memory limit ({limit})",
        why="Its own memory (RssAnon, without file pages that can be dropped) is {left} below the limit of its memory cgroup, at which the kernel kills it.",
        evidence={"rss": "RssAnon of the worker", "limit": "Limit of its cgroup", "share": "Of the limit", "workers": "Loader processes", "batch": "Batch"},
        remedies={
            "limit": R("Raise the limit", "{limit} -> {wanted}", "room for 1.2 times what is held"),
            "half": R("Halve the batch and accumulate two", "batch {batch} -> {half}", "about half of the activations"),
            "workers": R("Use one loader process less", "workers {workers} -> {fewer}", "its batches and its copy of the data set less"),
        },
        condition="STATE: RssAnon >= {warn_pct} % of the memory cgroup's limit warning, >= {crit_pct} % critical, clear below {clear_pct} %.",
        traps="File pages in the cgroup can be dropped and do not count. One allocation larger than what is left is not foreseen.",
    ),
}
