"""Words of the rules in English: the resource storage."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

# fmt: off
RULES: dict[str, RuleText] = {
    "disk-fill": RuleText(
        title="{mount} is filling: {left} % left ({avail})",
        why="Only {avail} are left on {mount} for ordinary users; at {rate} it is full in {when}.",
        evidence={"left": "Left", "avail": "Available", "rate": "Growth", "eta": "Time to full", "checkpoint": "Size of a checkpoint", "fit": "Checkpoints that still fit", "type": "Filesystem"},
        remedies={
            "keep": R("Keep only the newest checkpoints", "keep the last {keep}", "the rest is freed"),
            "delete": R("Find what is large and delete it", "{avail} left", "room again", "du -xh {mount} | sort -h | tail"),
        },
        condition="STATE: available < {warn_pct} % warning, < {crit_pct} % or < {checkpoints} checkpoints critical; full within {warn_h} h warning, {crit_h} h critical (slope of {window_s} s, tau > {tau}); clear above {clear_pct} % and {clear_h} h.",
        traps="Reserved blocks (f_bavail counts); read-only images are full by design; tmpfs has no slope.",
        cost={"when": "Full in {when}; then checkpoints and logs fail."},
        variants={"why.level": "Only {avail} are left on {mount} for ordinary users."},
    ),
    "inode-fill": RuleText(
        title="{mount} runs out of inodes: {left} % left",
        why="Only {free} more files can be made there, however much space is left.",
        evidence={"left": "Left", "free": "Free", "total": "All"},
        remedies={
            "tar": R("Pack small files into archives or shards", None, "one inode instead of thousands"),
            "find": R("Find the directory with most files", None, "says what to pack or delete", "du --inodes -x {mount} | sort -n | tail"),
        },
        condition="STATE: free inodes < {warn_pct} % warning, < {crit_pct} % critical; clear above {clear_pct} %.",
        traps="btrfs and others report no number: not judged.",
    ),
    "fs-readonly": RuleText(
        title="{mount} became read-only",
        why="It was writable before. The kernel does this after an error on {device}: nothing more is saved there.",
        evidence={"mount": "Mount", "device": "Device", "type": "Filesystem", "line": "Kernel line"},
        remedies={
            "look": R("See what the kernel says about {device}", None, "names the error", "dmesg | tail -50"),
            "fsck": R("Stop what uses it, unmount and check it", "{device}", "writable again", "fsck {device}"),
        },
        condition="EVENT: a filesystem that was writable is mounted read-only, or the kernel said so.",
        traps="Read-only from the start is by design.",
    ),
    "fs-hung": RuleText(
        title="{mount} does not answer",
        why="A plain question about its free space does not come back: its server or device ({device}) is gone. Whatever touches it hangs.",
        evidence={"mount": "Mount", "device": "From", "type": "Filesystem", "blocked": "Processes in state D", "who": "Among them"},
        remedies={
            "server": R("Check the server or device behind it", "{device}", "answers again by itself"),
            "lazy": R("Or detach it", None, "new programs no longer hang", "umount -l {mount}"),
        },
        condition="STATE: a statvfs call is overdue for {hold_s} s.",
        traps="None known.",
    ),
    "disk-latency": RuleText(
        title="{disk} is slow: {await} ms a request",
        why="A request takes {await} ms at {iops} requests/s; up to {limit} ms is normal.",
        evidence={"await": "Mean time", "read": "Read", "write": "Write", "iops": "Requests", "util": "Busy"},
        remedies={
            "who": R("See who reads and writes (key: sort processes by I/O)", "{iops} requests/s", "fewer requests, shorter queue"),
            "health": R("Check the device's health", "{disk}", "says whether it is failing", "smartctl -a /dev/{disk}"),
            "cache": R("Keep the data set in memory or on local NVMe", None, "no waiting for this disk"),
        },
        condition="STATE: mean over {window_s} s > {ms} ms (NVMe {nvme_ms} ms) for {hold_s} s at >= {least_iops} requests/s; clear below {clear_share} of it.",
        traps="One slow request of an idle disk.",
    ),
    "disk-util": RuleText(
        title="{disk} was {busy} % busy for 10 minutes",
        why="It had a request in flight nearly all the time.",
        evidence={"busy": "Busy", "read": "Read", "write": "Written", "await": "Mean time"},
        remedies={"who": R("See who reads and writes", "{disk}", None), "cache": R("Keep the data set in memory", None, "less reading")},
        condition="STATE: busy > {busy_pct} % over {window_s} s; clear below {clear_pct} %.",
        traps="NVMe serves many requests at once and is not judged.",
    ),
    "psi-io": RuleText(
        title="Tasks wait for I/O {value} % of the time",
        why="Storage is the bottleneck: busiest {disk}, most traffic by {who}.",
        evidence={"value": "Some task waits", "psi": "Pressure", "disk": "Busiest disk", "blocked": "Processes in state D", "who": "Most traffic"},
        remedies={"who": R("Stop or slow down what reads or writes most", "{who}", "pressure falls", "ionice -c3 -p <pid>"), "cache": R("Keep the data set in memory, or on local NVMe", "{available} available", "no waiting for the disk")},
        condition="STATE: PSI io some avg60 > {some_pct} %; clear below {clear_pct} %.",
        traps="Without PSI it is unknown, not well.",
    ),
    "iowait": RuleText(
        title="The CPU waited for I/O {value} % of 10 minutes",
        why="Cores were idle with requests outstanding: busiest {disk}, most traffic by {who}.",
        evidence={"value": "iowait", "psi": "Pressure", "disk": "Busiest disk", "blocked": "Processes in state D", "who": "Most traffic"},
        remedies={"who": R("Stop or slow down what reads or writes most", "{who}", "iowait falls", "ionice -c3 -p <pid>"), "cache": R("Keep the data set in memory, or on local NVMe", "{available} available", "no waiting for the disk")},
        condition="STATE: iowait > {warn_pct} % over {window_s} s; clear below {clear_pct} %; where pressure is known it must exceed {psi_pct} %.",
        traps="iowait is idle time a core: misleading on many cores.",
    ),
}
