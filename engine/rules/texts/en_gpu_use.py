"""Words of the rules in English: problem 2, a GPU that could do more."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "gpu-underutilised": RuleText(
        title="{run} keeps only {used} % of its GPUs busy",
        why="{gpus} GPU(s), mean over a minute of training. Nothing that was looked at explains it.",
        variants={
            "why.input": "{gpus} GPU(s), mean over a minute of training. It waits for data {value} % of each step.",
            "why.copy": "{gpus} GPU(s), mean over a minute of training. Copying to the device takes {value} % of each step.",
            "why.sync": "{gpus} GPU(s), mean over a minute of training. The host is blocked {value} % of each step in calls that wait for the device.",
            "why.launch": "{gpus} GPU(s), mean over a minute of training. In {value} % of the steps the device was waiting for the host to issue work.",
            "why.core": "{gpus} GPU(s), mean over a minute of training. The training thread uses {value} % of one core.",
            "why.unexplained": "{gpus} GPU(s), mean over a minute of training. Unexplained: none of the causes that were looked at is above its limit.",
        },
        evidence={"util": "A kernel ran", "active": "SMs busy", "used": "Judged", "input": "Waiting for data", "copy": "Copying to the device", "sync": "Host blocked", "launch": "Steps in which the device waited", "core": "Training thread, of a core", "throttled": "GPUs held back by power or heat"},
        remedies={
            "input": R("Feed it: see input-bound", "{value} % of a step", "at most x {headroom}"),
            "copy": R("Copy less and beside the computation: see h2d-bound", "{value} % of a step", "at most x {headroom}"),
            "sync": R("Read results back less often: see sync-stall", "{value} % of a step", "at most x {headroom}"),
            "launch": R("Give the device more a launch: see launch-bound", "{value} % of the steps", "at most x {headroom}"),
            "core": R("Take work off the training thread: see cpu-single-core", "{value} % of a core", "at most x {headroom}"),
            "unexplained": R("Trace 20 steps with the PyTorch profiler and look for gaps between kernels", None, "at most x {headroom}"),
        },
        ruled_out={"input": "Waiting for data", "copy": "Copying to the device", "sync": "Calls that wait for the device", "launch": "The host issuing too slowly", "core": "One core at its limit", "throttle": "Clocks held back by power or heat"},
        condition="STATE: busy SMs (GPM; else the utilisation) < {warn_pct} % on average over 60 s of training, < {crit_pct} % for {crit_s} s critical, clear above {clear_pct} %, for {hold_s} s.",
        traps="Utilisation is 100 % with a single busy SM: busy SMs are judged where they can be read, and stand beside it. Evaluations and a run that stands still are not judged.",
    ),
    "cpu-single-core": RuleText(
        title="{run} is limited by one core: its thread uses {core} % of it",
        why="Python and launches keep the training thread at its limit while the GPU is busy {used} % of the time and waits for it.",
        evidence={"core": "Training thread, of a core", "used": "GPU busy", "ahead": "Steps in which the device waited", "step": "Step"},
        remedies={
            "graphs": R("Launch many kernels at once: torch.compile(mode=\"reduce-overhead\") or CUDA graphs", "{core} % of a core", "less host time a step"),
            "batch": R("Use a larger batch", "batch {batch} -> {larger}", "x {gain} samples/s at the same {step} ms a step"),
            "fused": R("Use a fused optimizer, and take Python work out of the loop", None, "fewer launches"),
        },
        condition="STATE: CPU / wall of the training thread >= {core}, GPU busy < {util_pct} %, waiting for data < {data} of a step, the device waiting in >= {ahead} of the steps, for {hold_s} s.",
        traps="A thread that spins while it waits for the device burns a core as well: then the device is behind, not waiting.",
    ),
    "launch-bound": RuleText(
        title="{run}: the GPU waits for launches in {ahead} % of its steps",
        why="When the host had issued a step ({step} ms) the device was already through with the loss: batches of {batch} are too little work.",
        evidence={"ahead": "Steps in which the device waited", "data": "Waiting for data", "copy": "Copying to the device", "issue": "Host time a step", "step": "Step", "used": "GPU busy", "batch": "Batch"},
        remedies={
            "batch": R("Use a larger batch: a step takes as long until the GPU is the limit (busy {used} % now)", "batch {batch} -> {larger}", "{rate} -> {rate_after} samples/s at {step} ms a step"),
            "measure": R("Measure batches of {batch}, {two} and {four} for 20 steps each; take the smallest beyond which doubling gains less than 10 %", "{rate} samples/s now", "the knee of samples/s"),
            "graphs": R("Or launch many kernels at once", "torch.compile(mode=\"reduce-overhead\")", "less host time a step"),
        },
        condition="STATE: the device through with the loss when the update was issued in >= {ahead} of 50 steps (clear below {clear}), data < {data}, copy < {h2d} and blocking calls < {sync} of a step, for {hold_s} s.",
        traps="A blocking `.item()` in each step empties the device's queue as well: blocking calls are timed and must be below {sync}.",
    ),
    "sync-stall": RuleText(
        title="{run}: the host is blocked {blocked} ms of each step ({share} %)",
        why="A call that waits for the device ({site}) lets its queue run empty.",
        evidence={"blocked": "Blocked", "share": "Of a step", "site": "Where", "step": "Step"},
        remedies={
            "rare": R("Read it every 50 steps", "{site}", "step {before} -> {rare} ms"),
            "async": R("Or copy it to pinned memory without blocking and read it a step later", "{site}", "step {before} -> {after} ms"),
        },
        condition="STATE: time in `.item()`, `.cpu()` and the like >= {share} of a step (every 20th is timed), clear below {clear}, for {hold_s} s.",
        traps="The worker's own read-back does not block and is not counted.",
    ),
    "h2d-bound": RuleText(
        title="{run} copies inputs to the GPU {share} % of each step",
        why="By the device's own clock it takes {copy} ms a step: {volume} MB at {speed} GB/s; the link can do {link} GB/s.",
        evidence={"copy": "Copy", "share": "Of a step", "volume": "Received over PCIe", "speed": "Speed while copying", "part": "Of the link", "step": "Step"},
        remedies={
            "pin": R("Copy from pinned memory without blocking: pin_memory=True, non_blocking=True", "{speed} of {link} GB/s now", "step {before} -> {hidden} ms once the copy runs beside the computation"),
            "uint8": R("Send bytes and scale on the device: a quarter of fp32", "{volume} -> {quarter} MB a step", "step {before} -> {less} ms"),
            "stream": R("Fetch the next batch on a stream of its own", None, "step {before} -> {hidden} ms"),
        },
        condition="STATE: copying and preparing inputs on the device's clock >= {warn} of a step warning, >= {crit} critical, clear below {clear}, for {hold_s} s.",
        traps="How long the host takes to issue an asynchronous copy is not its cost: without the device's clock it is not judged.",
    ),
    "gpu-imbalance": RuleText(
        title="{run}: its {gpus} GPUs are unequally busy ({apart} points apart)",
        why="GPU {low} does least; the slowest rank computes {ratio} times as long as the fastest.",
        evidence={"utils": "Utilisation", "apart": "Apart", "ratio": "Compute time, slowest / fastest", "memory": "Memory"},
        remedies={
            "balance": R("Give each rank samples by its speed (rank: batch)", "{sizes}", "step {before} -> {after} ms"),
            "ddp": R("Use DistributedDataParallel, not DataParallel, and one process a GPU", "{gpus} processes", "no GPU collects for the others"),
            "bucket": R("Bucket samples by length, so that batches cost the same", None, "ranks finish together"),
        },
        condition="STATE: utilisation > {points} points apart over 60 s of training, or compute time > {ratio} x, or memory >= {mem_points} points apart with the fullest >= {mem_pct} %, for {hold_s} s.",
        traps="Rank 0 evaluates alone: only training is judged. MIG slices differ by design.",
    ),
    "cpu-fallback": RuleText(
        title="{run} trains on the CPU although the node has {gpus} GPU(s)",
        why="A GPU was to be used if there is one; torch {torch} said: {why}.",
        evidence={"asked": "Asked for", "chosen": "Used", "why": "Reason", "gpus": "GPUs of the node", "torch": "torch", "cuda": "CUDA it is built with", "driver": "Driver"},
        remedies={
            "wheel": R("Install a torch that is built for this GPU and driver", "{name}, driver {driver}", "measured: see below"),
            "visible": R("See why torch finds no device: CUDA_VISIBLE_DEVICES, /dev/nvidia* in the container, driver {driver} older than torch's CUDA", "{name}", "measured: see below", "python -c 'import torch; print(torch.version.cuda, torch.cuda.device_count())'"),
            "probe": R("Measure the gain: 20 steps on each device", "20 steps", "the ratio of their step times", "dctop train mnist-cnn --max-steps 20 --device cuda"),
        },
        condition="EVENT: at the start, `cuda` or `auto` asked for, the CPU chosen, and a working GPU on the node.",
        traps="The CPU was asked for. A GPU hidden on purpose (CUDA_VISIBLE_DEVICES): ask for `--device cpu`.",
    ),
    "tensor-core-off": RuleText(
        title="{run} leaves the tensor cores of {name} idle",
        why="They work {tensor} % of the time while {active} % of the SMs are busy: fp32 arithmetic does not use them.",
        evidence={"tensor": "Tensor cores", "active": "SMs busy", "precision": "Precision", "now": "Reached", "peak": "Peak in fp32", "half": "Peak in bf16"},
        remedies={
            "bf16": R("Compute in bf16 (autocast); try 20 steps and compare samples/s", "peak x {most} of fp32", "at most x {most}; measure it", "dctop train ... --precision bf16 --max-steps 20"),
            "tf32": R("Or let fp32 matrices be multiplied in TF32", "peak x {tf32} of fp32", "at most x {tf32}; measure it", "dctop train ... --precision tf32 --max-steps 20"),
        },
        condition="STATE: tensor cores < {tensor_pct} % and busy SMs > {active_pct} % over a minute, fp32, compute capability >= {capability}, >= {least_gflop} GFLOP a step, for {hold_s} s.",
        traps="Small models gain nothing; other precisions and devices without tensor cores are not judged.",
    ),
}
