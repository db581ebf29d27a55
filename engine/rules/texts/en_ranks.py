"""Words of the rules in English: runs of several processes."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "straggler-wait": RuleText(
        title="{run}: all ranks wait {gap} ms a step for rank {culprit} ({share} %)",
        why="Rank {culprit} waits least in the exchange of gradients: it comes last. What it does longer than the others covers less than 80 % of the gap, so the cause is not known.",
        variants={
            "why.data": "Rank {culprit} waits least in the exchange of gradients: it comes last. It waits {extra} ms longer for its data than the others.",
            "why.h2d": "Rank {culprit} waits least in the exchange of gradients: it comes last. Its copies to the device take {extra} ms longer.",
            "why.compute": "Rank {culprit} waits least in the exchange of gradients: it comes last. It computes {extra} ms longer than the others.",
            "why.other": "Rank {culprit} waits least in the exchange of gradients: it comes last. It spends {extra} ms more outside the phases of a step (hooks, measuring, Python between them).",
            "why.unknown": "Rank {culprit} waits least in the exchange of gradients: it comes last. What it does longer than the others covers less than 80 % of the gap, so the cause is not known.",
        },
        evidence={"culprit": "Slow rank", "gap": "The others wait", "share": "Of a step", "step": "Step", "data": "Data: slow rank (others)", "h2d": "Copy: slow rank (others)", "compute": "Compute: slow rank (others)", "other": "Rest: slow rank (others)", "cover": "Covered by the cause", "waits": "Backward and waiting, by rank"},
        remedies={
            "balance": R("Or give each rank samples by its speed (rank: batch)", "{sizes}", "step {before} -> {predicted} ms"),
            "data": R("Feed rank {culprit} as the others: its loader processes, its storage, its part of the data", "{extra} ms a step", "step {before} -> {after} ms"),
            "h2d": R("See the link of rank {culprit}'s device: pinned memory, PCIe width, NUMA node", "{extra} ms a step", "step {before} -> {after} ms"),
            "compute": R("See what holds rank {culprit}'s device back: clocks, heat, another program, longer samples", "{extra} ms a step", "step {before} -> {after} ms"),
            "other": R("See what only rank {culprit} does between the phases: hooks, logging, checks", "{extra} ms a step", "step {before} -> {after} ms"),
            "unknown": R("Trace rank {culprit} beside another one for 20 steps", "{gap} ms a step to be found", "step {before} -> {after} ms"),
        },
        ruled_out={"data": "Its data", "h2d": "Its copies", "compute": "Its computing", "other": "Work outside the phases"},
        condition="STATE: (v_victim - v_culprit) / step >= {warn} warning, >= {crit} critical, clear below {clear}, for {hold_s} s; v = backward and waiting, median of 50 steps; cause named if it covers >= {cover} of the gap.",
        traps="The rank with the shortest backward pass is the slow one. Gaps below {least_s} s, warm-up and first steps of an epoch do not count.",
    ),
    "nccl-timeout": RuleText(
        title="{run}: a collective operation of its {ranks} ranks timed out",
        why="One rank did not come to the exchange at step {step} within the time-out; by the logs rank {behind} is furthest behind.",
        evidence={"said": "It said", "ranks": "Ranks", "steps": "Last step by rank", "behind": "Furthest behind"},
        remedies={
            "recorder": R("Let the flight recorder tell which rank and which operation next time", "the last 2,000 collectives", "names the rank that is missing", "export TORCH_NCCL_TRACE_BUFFER_SIZE=2000 TORCH_NCCL_DUMP_ON_TIMEOUT=1"),
            "stacks": R("Look at the stack of rank {behind} while it hangs", "rank {behind}", "shows what it waits for", "py-spy dump --pid <pid of the rank>"),
        },
        condition="EVENT: the worker's exception or last words tell of a time-out of NCCL's watchdog or of gloo's transport.",
        traps="A time-out follows from a rank that died or stalled: rank-missing and training-stalled tell of that.",
    ),
    "rank-missing": RuleText(
        title="{run}: rank {rank} of {ranks} is gone ({how})",
        why="The other ranks cannot go on without it. It said: {said}",
        variants={"title.unnamed": "{run}: one of its {ranks} ranks is gone", "why.unnamed": "Another rank lost the line to it: {said}"},
        evidence={"rank": "Rank", "signal": "Signal", "code": "Exit code", "said": "It said", "ranks": "Ranks"},
        remedies={
            "rank": R("Read that rank's last words: steps.N.jsonl and stdout.log of the run", "rank {rank}", "shows why it ended"),
            "resume": R("Resume from the last checkpoint", "step {step}", "continues there"),
        },
        condition="EVENT: the launcher tells of a rank that ended by a signal or an error, or a rank says that the line to another is dead.",
        traps="Ranks that end together as asked are none. If the kernel killed it for memory, oom-killed tells so.",
    ),
}
