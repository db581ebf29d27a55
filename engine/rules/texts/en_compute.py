"""Words of the rules in English: the resource compute."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "cpu-saturated": RuleText(
        title="The CPU was {busy} % busy for 10 minutes",
        why="All {cores} cores are in use; training runs have {own} % of it. Busiest: {top}.",
        evidence={"busy": "Busy", "own": "Of it by training runs", "load": "Load (5 min)", "cores": "Cores", "top": "Busiest"},
        remedies={
            "meant": R("Nothing: training on the CPU is meant to use it all", "{own} % of it is the training", None),
            "stop": R("Stop or renice what is not needed", "{top}", "frees its share"),
            "workers": R("Or use fewer loader processes than cores", "at most {cores}", "less waiting for a core"),
        },
        condition="STATE: busy > {warn_pct} % over {window_s} s warning, > {crit_pct} % critical, clear below {clear_pct} %; a note while runs own {own_pct} % of it.",
        traps="Training on the CPU is meant to be at 100 %.",
    ),
    "cpu-steal": RuleText(
        title="The hypervisor takes {steal} % of the CPU",
        why="Over 20 minutes that share of the CPU time went to other guests of the host.",
        evidence={"steal": "Stolen", "util": "Busy"},
        remedies={"move": R("Move the virtual machine to a host that is less full, or book dedicated cores", None, "up to x {gain} CPU time")},
        condition="STATE: steal > {warn_pct} % over {window_s} s; clear below {clear_pct} %.",
        traps="Short peaks: the window is 20 minutes.",
    ),
    "host-edac": RuleText(
        title="Memory controller {mc} of this node: {bad} uncorrected errors",
        why="Data in the host's memory was lost ({module}): what was computed with it cannot be trusted.",
        variants={"title.fixed": "Memory controller {mc} of this node corrected {fixed} errors", "why.fixed": "Nothing is lost, but a module ({module}) that errs often fails sooner."},
        evidence={"bad": "Uncorrected", "fixed": "Corrected", "controller": "Controller", "module": "Module", "total": "Uncorrected since boot"},
        remedies={
            "replace": R("Drain the node and replace the module", "{module} at {mc}", "no more lost data"),
            "watch": R("Watch the module; replace it if the count goes on rising", "{fixed} more at {module}", "replaced before it loses data"),
        },
        condition="EVENT: uncorrected errors of a memory controller (EDAC) since the reading before: critical; corrected ones: a note.",
        traps="Counts from before dctop started are history. Most virtual machines have no controller: then it is not known.",
    ),
    "kernel-hung": RuleText(
        title="Kernel: {kind}",
        why="The kernel said: {line}",
        evidence={"kind": "Kind", "task": "Task", "seconds": "For", "cpu": "CPU", "device": "Device", "line": "Kernel line"},
        remedies={
            "hung": R("{task} waits in the kernel: look at the storage or driver it waits for", None, None, "cat /proc/<pid>/stack"),
            "lockup": R("A CPU is stuck in the kernel: save work, reboot, update kernel and firmware", "{task}", None),
            "mce": R("The hardware reported an error: read the machine check log, replace what it names", None, None, "ras-mc-ctl --errors"),
            "io": R("{device} does not read or write: check cable and health, save what is on it", "{device}", None, "smartctl -a /dev/<disk>"),
            "fault": R("The kernel itself failed: save work and reboot; keep the log for a report", None, None, "journalctl -k -b"),
        },
        condition="EVENT: kernel record of a hung task, a lock-up, a machine check, an I/O error or a kernel fault.",
        traps="Only records of the kernel facility; corrected machine checks are notes.",
    ),
}
