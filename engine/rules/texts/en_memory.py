"""Words of the rules in English: problem 1, out of memory."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "oom-killed": RuleText(
        title="{run} was killed by the kernel: out of memory ({where})",
        why="The {where} had no memory left, so the kernel killed the process that used most. Limit {limit}, highest use {peak}.",
        evidence={"code": "Exit code", "kills": "Kills counted by the kernel", "limit": "Memory limit", "peak": "Highest use", "failcnt": "Times the limit was hit", "rss": "Anonymous memory", "constraint": "Constraint", "step": "Last step", "victim": "Victim", "memcg": "Control group", "available": "Memory available now"},
        remedies={
            "limit": R("Raise the memory limit, or make the job smaller", "limit {limit} -> {wanted}", "the highest use seen fits with 20 % to spare"),
            "unknown-limit": R("Raise the memory limit of its control group, or make the job smaller", "at least {wanted}", "what it held fits with 20 % to spare"),
            "batch": R("Or reduce the batch size and accumulate gradients to keep the effective batch", "half the batch, accumulate 2", "activation memory falls to about a half"),
            "workers": R("Use fewer loader processes: each holds prefetched batches and its copy of the data set", "workers - 1", "frees one process's anonymous memory"),
            "other": R("The node itself ran out: look at the largest processes", "{others}", "stopping one frees what it holds"),
        },
        condition="EVENT: exit code -9 or 137 and the control group's oom_kill count rose, or a kernel record names the process; limit to set: {headroom} x highest use.",
        traps="`kill -9` by a person leaves oom_kill unchanged: that is worker-sigkilled. Kills from before dctop started are history, not alerts.",
        ruled_out={"person": "a SIGKILL sent by a person: the kernel's own count or record proves the kill"},
        cost={"lost": "Work since the last checkpoint is lost."},
        variants={
            "why.unlimited": "The {where} had no memory left, so the kernel killed the process that used most.",
            "title.victim": "The kernel killed {run}: out of memory ({where})",
            "why.victim": "The {where} had no memory left, so the kernel killed the process that used most; it held {peak}.",
            "title.counter": "The kernel killed a process: out of memory",
            "why.counter": "The node's count of kills rose; the kernel log, which names the victim, cannot be read here.",
        },
    ),
    "oom-cuda": RuleText(
        title="{run}: out of GPU memory, {asked} could not be allocated",
        why="PyTorch asked the GPU for {asked} at step {step} with a batch of {batch} and got nothing.",
        evidence={"asked": "Asked for", "allocated": "Allocated", "reserved": "Reserved", "peak": "Peak allocated", "cap": "Capacity", "batch": "Batch", "step": "Step"},
        remedies={
            "fit": R("Reduce the batch to what fits and accumulate gradients", "batch {batch} -> {fit}, accumulate {accum}", "peak about {peak}"),
            "half": R("Halve the batch and accumulate gradients over two", "batch {batch} -> {half}, accumulate 2", "activation memory falls to about a half"),
            "fragmented": R("Reserved but unused memory is fragmented: let segments grow", "{free} reserved but not allocated", "up to {free} usable again", "export PYTORCH_ALLOC_CONF=expandable_segments:True"),
            "bf16": R("Use bf16 autocast", "activations about half", "about twice the batch fits"),
            "checkpointing": R("Recompute activations in the backward pass (activation checkpointing)", None, "less activation memory for about a third more compute"),
            "shard": R("No batch size helps: shard or offload the model", "Adam in fp32 needs 16 bytes a parameter", "optimiser state leaves this GPU"),
        },
        condition="EVENT: the worker raised torch.OutOfMemoryError. B_fit = floor(({fill} cap - M0) / s), s = (peak - M0) / B; fragmented above {fragmented} of the capacity.",
        traps="Another process may own the memory; a loop that catches the error and retries with a smaller batch.",
    ),
    "oom-host-exception": RuleText(
        title="{run}: memory could not be allocated on the host ({asked})",
        why="An allocation of {asked} failed at step {step}. On the CPU PyTorch reports this as a plain RuntimeError, not as an out-of-memory error.",
        evidence={"asked": "Asked for", "rss": "Anonymous memory of the worker", "available": "Memory available", "limit": "Memory limit", "batch": "Batch", "step": "Step"},
        remedies={
            "half": R("Halve the batch and accumulate gradients over two", "batch {batch} -> {half}, accumulate 2", "activation memory falls to about a half"),
            "uint8": R("Keep images as uint8 and scale each batch", "60,000 MNIST images: 47 MB as uint8, 376 MB as float64 (`images / 255.0`)", "an eighth of the memory"),
            "ulimit": R("Check limits set on purpose", None, "an address-space limit fails allocations while memory is free", "ulimit -v"),
        },
        condition="EVENT: MemoryError, numpy's _ArrayMemoryError, or `DefaultCPUAllocator: can't allocate memory`.",
        traps="`ulimit -v` set on purpose.",
    ),
    "host-mem-leak": RuleText(
        title="{run}: memory grows by {rate}, full in {when}",
        why="The worker's anonymous memory rises steadily; {left} are left.",
        evidence={"slope": "Growth", "tau": "Kendall's tau", "left_s": "Time to the limit", "left": "Memory left", "rss": "Anonymous memory", "others": "Memory of its loader processes", "growth": "Growth in the window"},
        remedies={
            "keep": R("Look for what is kept every step: `loss` instead of `loss.item()`, lists of outputs, tensors without `detach()`", "{rate}", "memory stays level"),
            "loader": R("Loader processes copy Python object lists page by page: use arrays or tensors, or `persistent_workers=False` as a stop-gap", "{workers} workers", "their share of the growth ends"),
            "checkpoint": R("Save a checkpoint before it is full", "within {when}", "nothing is lost when it ends", "kill -USR1 {pid}"),
        },
        condition="STATE: Theil-Sen slope of RssAnon over {window_s} s with Kendall's tau > {tau} and full within {left_s} s; clear above {clear_s} s. Fast: tau > {fast_tau} over {fast_window_s} s and full within {fast_left_s} s.",
        traps="Page cache is not counted as use (inactive_file, MemAvailable); RSS would count shared pages twice; growth below {least_mib} MiB in 10 min is ignored. Of loader processes RSS is all there is: what is left must have fallen by {fell} of their growth.",
        variants={"why.loaders": "The memory of its {workers} loader processes rises steadily; {left} are left."},
    ),
    "host-mem-low": RuleText(
        title="Only {left} % of memory is available ({available})",
        why="Below this the kernel starts to reclaim and, at the end, to kill. Largest process: {top} with {rss}.",
        evidence={"left": "Available share", "available": "Available", "swap": "Swap in use", "top": "Largest processes"},
        remedies={
            "largest": R("Stop or shrink the largest process", "{top}: {rss}", "frees up to {rss}"),
            "batch": R("Or reduce batch size or loader processes of the training", None, "each loader process holds its prefetched batches"),
        },
        condition="STATE: MemAvailable < {warn_pct} % for {hold_s} s; clear above {clear_pct} %.",
        traps="Free memory says nothing: page cache counts as available.",
    ),
    "container-mem-near-limit": RuleText(
        title="The container uses {used} % of its memory limit ({limit})",
        why="Its working set (page cache not counted) is close to the limit at which the kernel kills inside it.",
        evidence={"used": "Used share", "ws": "Working set", "limit": "Limit", "failcnt": "Times the limit was hit", "kills": "Kills so far"},
        remedies={
            "raise": R("Raise the limit", "{limit} -> {wanted}", "20 % to spare"),
            "batch": R("Or reduce batch size or loader processes", None, "less anonymous memory"),
        },
        condition="STATE: working set >= {warn_pct} % of the limit warning, >= {crit_pct} % critical; clear below {clear_pct} %.",
        traps="Page cache that can be dropped (inactive_file) is subtracted.",
    ),
    "shm-exhausted": RuleText(
        title="/dev/shm is {used} % full ({size})",
        why="Loader processes hand batches through /dev/shm; when it is full they die of SIGBUS.",
        evidence={"used": "Used share", "taken": "Used", "size": "Size", "said": "The worker said"},
        remedies={
            "enlarge": R("Make it larger (`--shm-size` of a container)", "{size} -> {wanted}", "1.5 x what is used now", "mount -o remount,size=<size> /dev/shm"),
            "workers": R("Or fewer loader processes or a smaller prefetch factor", None, "need = 1.5 x workers x prefetch x bytes of a batch"),
            "files": R("Or share through files", None, "does not use /dev/shm", "torch.multiprocessing.set_sharing_strategy('file_system')"),
        },
        condition="STATE: used >= {warn_pct} %, clear below {clear_pct} %. EVENT: the worker died of SIGBUS or said `insufficient shared memory`.",
        traps="A container has 64 MB by default.",
        variants={
            "title.bus": "A loader or worker died of a bus error: /dev/shm is too small ({size})",
            "why.bus": "It ended with: {said}. Loader processes hand batches through /dev/shm; when it is full they die of SIGBUS.",
        },
    ),
    "psi-memory": RuleText(
        title="Tasks wait for memory {some} % of the time",
        why="The kernel spends time reclaiming memory; {full} % of the time all tasks wait. An out-of-memory kill is near.",
        evidence={"some": "Some task waits", "full": "All tasks wait", "available": "Memory available", "faults": "Major faults"},
        remedies={
            "shrink": R("Reduce batch size or loader processes", None, "pressure falls below 5 %"),
            "largest": R("Look for the largest process", "{available} available", "what it frees ends the reclaim"),
        },
        condition="STATE: PSI memory some avg10 > {some_pct} % warning, full avg10 > {full_pct} % critical; clear below {clear_pct} %.",
        traps="Without PSI (psi=0) it is unknown, not well.",
    ),
    "swap-thrash": RuleText(
        title="The node swaps {rate} in and out",
        why="What is in use does not fit into memory ({swap} swapped): pages go out and come back again.",
        evidence={"pages": "Pages through swap", "full": "All tasks wait for memory", "faults": "Major faults", "swap": "Swap in use"},
        remedies={
            "fit": R("Make the job fit into memory: smaller batch, fewer loader processes", "{swap} too much", "swap traffic ends"),
            "stop": R("Or stop the largest process", "{top}", "frees what it holds"),
        },
        condition="STATE: more than {pages_per_s} pages/s for {hold_s} s while PSI memory full > 0 (without PSI: more than {faults_per_s} major faults/s); clear below {clear_per_s}.",
        traps="Used swap alone is harmless.",
    ),
}
