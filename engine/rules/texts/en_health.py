"""Words of the rules in English: run health."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "worker-crashed": RuleText(
        title="{run} crashed after step {step}: {said}",
        why="The worker ended with code {code}: {said}",
        evidence={"code": "Exit code", "signal": "Signal", "said": "Said", "where": "Where", "stderr": "Last line of its output", "loss": "Last loss", "step": "Last step"},
        remedies={
            "read": R("Read the traceback", "{where}", None, "less {directory}/stdout.log"),
            "native": R("A fault in native code: run again with stacks on", None, "names the line", "PYTHONFAULTHANDLER=1"),
            "bus": R("SIGBUS: mostly /dev/shm or a memory-mapped file on a full disk", None, None, "df -h /dev/shm {directory}"),
            "lost": R("It left no word: the machine may have been restarted, or the supervisor was killed too", None, None, "last -x reboot"),
            "resume": R("Go on from its last checkpoint", "after step {step}", None, "dctop train {workload} --resume {run}"),
        },
        condition="EVENT: exit code other than 0, a signal other than KILL, or no word at all.",
        traps="A stop asked for (SIGTERM, SIGINT) is none.",
        cost={"lost": "Work since the last checkpoint is lost."},
    ),
    "worker-sigkilled": RuleText(
        title="{run} was killed with SIGKILL after step {step}, not by the kernel",
        why="Its exit code is -9, and the kernel counted no kill for memory: a person, a scheduler or a container runtime sent it.",
        evidence={"code": "Exit code", "kills": "Kills in its control group", "node_kills": "Kills on the node", "step": "Last step"},
        remedies={
            "who": R("Ask who or what sent it: job time limit, scheduler, container runtime", None, None, "journalctl --since -10min"),
            "resume": R("Go on from its last checkpoint", "after step {step}", None, "dctop train {workload} --resume {run}"),
        },
        condition="EVENT: exit code -9 or 137 and no oom_kill anywhere.",
        traps="An out-of-memory kill by the kernel is oom-killed.",
        ruled_out={"oom": "a kill for memory: the control group's count did not rise"},
        cost={"lost": "Work since the last checkpoint is lost."},
    ),
    "training-stalled": RuleText(
        title="{run} stands still for {silence}, after step {step}",
        why="No step came although the worker lives; a step takes {normal} at most.",
        evidence={"silence": "Silence", "p99": "Step time, 99th percentile", "state": "Process state", "cpu": "CPU of the worker", "step": "Last step", "io": "Tasks wait for I/O"},
        remedies={
            "continue": R("It was stopped by a signal: let it go on", "pid {pid}", "steps within seconds", "kill -CONT {pid}"),
            "storage": R("It waits in the kernel (state D): look at the storage it reads", "pid {pid}", None, "cat /proc/{pid}/stack"),
            "stack": R("See where it waits", "pid {pid}", "names the line: loader, lock or collective", "py-spy dump --pid {pid}"),
            "spinning": R("It uses the CPU without finishing a step: see where", "pid {pid}", "names the line", "py-spy dump --pid {pid}"),
            "restart": R("Or end it and go on from its last checkpoint", "after step {step}", None, "dctop runs stop {run}"),
        },
        condition="STATE: no step for max({times} x p99 of the step time, {least_s} s) warning, {crit_s} s critical; in training mode with the worker alive.",
        traps="Evaluation, checkpoint, compiling and a debugger are no stall.",
        cost={"idle": "{silence} of computing time so far."},
    ),
    "checkpoint-failed": RuleText(
        title="{run}: the checkpoint at step {step} was not written",
        why="{error}",
        evidence={"error": "Error", "errno": "System error", "age": "Age of the last one", "path": "Where", "free": "Free there", "size": "Size of a checkpoint", "last_good": "Last good one at step"},
        remedies={
            "space": R("Free space: a checkpoint is written beside the old one", "{need} needed, {free} free", "the next one succeeds"),
            "place": R("Check the directory: permissions, mount, quota", "{path}", "the next one succeeds"),
            "readonly": R("The filesystem is read-only: find out why, or write elsewhere", "{path}", "the next one succeeds"),
            "now": R("Then save one now", "the last good one is of step {last}", None, "kill -USR1 {pid}"),
        },
        condition="EVENT: the worker reported a failed checkpoint, or the last one is older than {intervals} intervals.",
        traps="Asynchronous saving; a checkpoint refused because the loss is not finite.",
        cost={"behind": "A crash now would go back to step {last}."},
        variants={
            "title.late": "{run}: no checkpoint since step {step}",
            "why.late": "It is older than twice the interval: a crash now would cost more than planned.",
        },
    ),
    "loader-worker-died": RuleText(
        title="{run}: a loader process died at step {step}",
        why="A DataLoader process ended unexpectedly ({workers} were running).",
        evidence={"said": "Said", "workers": "Loader processes", "shm": "/dev/shm used", "kills": "Kills for memory", "step": "Step"},
        remedies={
            "fewer": R("Use fewer loader processes, or prefetch 1", "workers {workers} -> {fewer}", "less memory"),
            "shm": R("Make /dev/shm larger", None, "no SIGBUS", "mount -o remount,size=<size> /dev/shm"),
            "inline": R("Or load in the main process once, to see the traceback", "workers 0", "names the sample and the line"),
        },
        condition="EVENT: `DataLoader worker ... exited unexpectedly` or `killed by signal`.",
        traps="None known.",
    ),
    "run-log-blocked": RuleText(
        title="{run} cannot write its log: no space",
        why="Steps wait in the worker's memory until {directory} can be written again; training goes on. {free} free there.",
        evidence={"said": "The worker said", "free": "Free there", "directory": "Directory"},
        remedies={"space": R("Free space where the run is", "{directory}", "waiting steps are written within a second")},
        condition="STATE: the run log said it cannot be written; clear when it says it can.",
        traps="None known.",
    ),
}
