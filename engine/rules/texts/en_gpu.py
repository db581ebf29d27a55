"""Words of the rules in English: GPUs."""

from __future__ import annotations

from dctop.engine.rules.texts import RemedyText as R
from dctop.engine.rules.texts import RuleText

_AIR = R(
    "Check fans, filters, the airflow of this slot and the inlet temperature",
    "{temp} °C",
    "below the limit again; the clocks come back",
)

# fmt: off
RULES: dict[str, RuleText] = {
    "xid": RuleText(
        title="GPU {pci}: Xid {code}, {name}",
        why="The NVIDIA driver reported Xid {code} ({name}) on GPU {pci}.",
        evidence={"code": "Code", "pci": "PCI address", "process": "Process", "action": "Action", "line": "Kernel line"},
        remedies={
            "reset": R("Stop what uses the GPU, then reset it", "Xid {code}", "the GPU works again; if not, reboot the node", "nvidia-smi --gpu-reset -i <gpu>"),
            "reboot": R("Drain the node and reboot; if it comes back, reseat or replace the card", "Xid {code}", "the GPU is seen again"),
            "restart": R("Restart the application; repeated, look at its code", "process {process}", "the GPU itself is well"),
            "note": R("Nothing by itself: look at what came before it", "Xid {code}", None),
            "unknown": R("Look the code up in NVIDIA's Xid catalogue", "Xid {code}", None),
            "diag": R("Then test the GPU", "level 2, about 2 minutes", "says whether the hardware is well", "dcgmi diag -r 2"),
        },
        condition="EVENT: `NVRM: Xid` of the kernel facility, or the driver's own event. Reset, reboot: critical; restart the application: warning; others: a note.",
        traps="13 and 31 are mostly the program's fault; 45, and what is less grave than an Xid of the same GPU within five minutes, belongs to that one; 63 alone is benign. What a program writes to /dev/kmsg does not count.",
    ),
    "gpu-lost": RuleText(
        title="GPU {gpu} is lost ({pci})",
        why="The driver cannot reach GPU {gpu} ({name}) any more. Whatever ran on it has failed or hangs; values from before are not those of now.",
        evidence={"state": "State", "problem": "The driver says", "uuid": "UUID", "pci": "PCI address", "temp": "Temperature before", "power": "Power before", "util": "Utilisation before", "users": "Processes on it"},
        remedies={
            "drain": R("Drain the node: take no new work", "GPU {gpu}", "nothing more fails on it"),
            "reboot": R("Reboot the host (a reset does not reach a device that is off the bus)", "{uuid}", "the GPU is seen again"),
            "reseat": R("Repeated: reseat the card, check its power cables; then replace it", "{pci}", "it stays"),
            "kernel": R("Read what the kernel says about it", "{pci}", None, "dmesg | grep -i -e nvrm -e xid"),
        },
        condition="EVENT: the driver reports GPU_IS_LOST, or no more reports a GPU it reported, or a call about it does not come back.",
        traps="MIG devices come and go with their layout: only whole GPUs are judged. A card taken out on purpose looks the same.",
        variants={
            "title.hung": "GPU {gpu} does not answer ({pci})",
            "why.hung": "A call into the driver about GPU {gpu} ({name}) does not come back. dctop goes on without it; programs that use it may hang too.",
        },
    ),
    "gpu-reset-required": RuleText(
        title="GPU {gpu}: the driver asks for {action}",
        why="The driver's recovery action for GPU {gpu} is {action}: until that was done, work on it fails or is not to be trusted.",
        evidence={"action": "Recovery action", "users": "Processes on it", "pci": "PCI address"},
        remedies={
            "reset": R("Stop what uses it, then reset it", "{users}", "recovery action none", "nvidia-smi --gpu-reset -i {uuid}"),
            "reboot": R("Drain the node and reboot it", "{users}", "recovery action none"),
            "drain": R("Drain it: finish what runs, start nothing new, then reset", "{users}", "recovery action none", "nvidia-smi --gpu-reset -i {uuid}"),
        },
        condition="EVENT: the recovery action is not `none`, or the driver answers GPU_REQUIRES_RESET.",
        traps="Older drivers do not report it: then unknown.",
    ),
    "ecc-uncorrectable": RuleText(
        title="GPU {gpu}: {new} uncorrectable ECC errors",
        why="GPU {gpu} ({name}) met memory errors it could not correct. The program that used that memory was stopped by the driver or has computed with wrong numbers.",
        evidence={"new": "New errors", "total": "Since the driver was loaded", "dram": "In memory (DRAM)", "sram": "In caches (SRAM)", "ever": "In the device's life", "users": "Processes on it"},
        remedies={
            "checkpoint": R("Distrust what was computed since: go back to a checkpoint from before", "{users}", "no wrong numbers in the model"),
            "reset": R("Stop the job and reset the GPU, so that the row is remapped", "GPU {gpu}", "the bad row is not used any more", "nvidia-smi --gpu-reset -i {uuid}"),
            "diag": R("Then test it; repeated, replace it", "level 2, about 2 minutes", "says whether the memory is well", "dcgmi diag -r 2"),
        },
        condition="EVENT: the volatile count of uncorrectable errors rose by 1 or more.",
        traps="The aggregate count is history and never judged; what was counted before dctop started is nothing new; a count that falls was reset with the driver.",
    ),
    "ecc-correctable-rate": RuleText(
        title="GPU {gpu}: {new} corrected ECC errors in {within}",
        why="Corrected errors do no harm by themselves, but so many in so short a time often come before uncorrectable ones.",
        evidence={"new": "New errors", "within": "Within", "total": "Since the driver was loaded", "ever": "In the device's life"},
        remedies={"diag": R("Test the GPU when it is free", "level 3, about 15 minutes", "says whether the memory is well", "dcgmi diag -r 3")},
        condition="STATE: more than {per_hour} corrected errors (volatile) within an hour; clear below {clear_per_hour}.",
        traps="A few are normal. A count that falls was reset with the driver: counted from there.",
    ),
    "row-remap": RuleText(
        title="GPU {gpu}: a remapped row waits for a reset",
        why="GPU {gpu} put a bad memory row aside; the remapping takes effect at its next reset. Programs that run now are safe.",
        evidence={"corrected": "Rows for correctable errors", "uncorrected": "Rows for uncorrectable errors", "pending": "Pending", "failed": "Failed", "banks": "Banks without a spare row"},
        remedies={
            "reset": R("Reset it when it is idle", "GPU {gpu}", "no remapping pending", "nvidia-smi --gpu-reset -i {uuid}"),
            "replace": R("Drain it and have it replaced", "{uuid}", "new memory"),
            "watch": R("Note it for the next maintenance: one more error in that bank cannot be repaired", "{uuid}", None),
        },
        condition="EVENT: a remapping failed or {rows} rows were remapped for uncorrectable errors: critical; one is pending, or a bank has no spare row: warning.",
        traps="Remapped rows themselves are repairs. Some consumer cards claim support and always say 0; with MIG it cannot be read.",
        variants={
            "title.failed": "GPU {gpu}: remapping a memory row failed",
            "why.failed": "GPU {gpu} met a bad memory row and has none left to put in its place: the error will come again.",
            "title.many": "GPU {gpu}: very many memory rows were remapped",
            "why.many": "So many rows of GPU {gpu} were remapped for uncorrectable errors that its memory is wearing out.",
            "title.banks": "GPU {gpu}: a memory bank has no spare row left",
            "why.banks": "The next bad row in that bank of GPU {gpu} cannot be remapped.",
        },
    ),
    "nvlink": RuleText(
        title="GPU {gpu}: NVLink {link} is down",
        why="A link of GPU {gpu} that was up is down. Collectives over NVLink slow down or fail.",
        evidence={"link": "Link", "up": "Links up", "links": "Links", "recovered": "Times brought up again", "crc": "CRC errors"},
        remedies={
            "reset": R("Stop the job and reset the GPUs of this fabric", "link {link} of GPU {gpu}", "all links up", "nvidia-smi nvlink -s"),
            "fabric": R("Look at the fabric manager and the switches", None, "state completed", "systemctl status nvidia-fabricmanager"),
            "cable": R("Check the bridge or tray of this link; compare with the other side", "link {link}", "few CRC errors", "nvidia-smi nvlink -e"),
        },
        condition="EVENT: a link went down or had to be brought up again: critical; {crc_per_s} CRC errors a second and more: warning.",
        traps="A few CRC errors are normal; a link that was never up has no other side.",
        variants={
            "title.recovered": "GPU {gpu}: NVLink {link} had to be brought up again",
            "why.recovered": "Link {link} of GPU {gpu} failed and was brought up again: what was on it was lost or repeated.",
            "title.crc": "GPU {gpu}: NVLink {link} has many CRC errors",
            "why.crc": "Packets of link {link} of GPU {gpu} arrive damaged and are sent again.",
        },
    ),
    "pcie-degraded": RuleText(
        title="GPU {gpu}: PCIe at {link} instead of {best}",
        why="Under load the link of GPU {gpu} runs at {link}; device and slot can {best}. Copies to and from the host take longer.",
        evidence={"width": "Lanes", "gen": "Generation", "now": "Bandwidth", "util": "Utilisation"},
        remedies={
            "reseat": R("Reseat the card or its riser", "{now} of {most} GB/s", "{best} again", "nvidia-smi -q -d PCIE"),
            "bios": R("Check the slot's settings (bifurcation, speed) in the firmware", "{share} % of the bandwidth", "{best}"),
        },
        condition="STATE: utilisation > {util_pct} % and for {hold_s} s fewer lanes than possible (critical) or a lower generation (warning).",
        traps="An idle GPU drops to generation 1 to save power: not judged. Where the slot has fewer lanes the maximum says so.",
    ),
    "pcie-replay": RuleText(
        title="GPU {gpu}: {rate} PCIe replays a minute",
        why="Packets between GPU {gpu} and the host arrive damaged and are sent again, more often than PCIe allows ({limit} a minute).",
        evidence={"rate": "Replays", "total": "Since the driver was loaded"},
        remedies={"reseat": R("Reseat the card, riser or cable; update the retimer's firmware", "{rate} > {limit} a minute", "hardly any replays")},
        condition="STATE: more than 1e-12 x bits a second x 60 x lanes replays a minute over {window_s} s (gen 3 x16: 8, gen 4: 16, gen 5: 31); clear below half.",
        traps="The counter wraps and is reset with the driver: counted from there.",
    ),
    "gpu-hot": RuleText(
        title="GPU {gpu} is hot: {temp} °C",
        why="GPU {gpu} is at {temp} °C; from {limit} °C on it is about to slow down.",
        evidence={"temp": "Temperature", "slowdown": "Slows down at", "memory": "Memory temperature", "fan": "Fan", "power": "Power", "others": "Median of the other GPUs"},
        remedies={
            "air": _AIR,
            "cap": R("Or lower its power limit for now", "try 10 % less", "some degrees less for little speed", "nvidia-smi -i {uuid} -pl <watts>"),
        },
        condition="STATE: within {margin_c} °C of the device's slowdown threshold ({temp_c} °C and more where it has none) for {hold_s} s; clear {clear_c} °C below.",
        traps="The hotspot sensor reads higher than this one. All GPUs hot is the room, one is its slot.",
    ),
    "gpu-throttle-power": RuleText(
        title="GPU {gpu}: the power limit takes {loss} % of its clock",
        why="For {share} % of the last minute GPU {gpu} was at its limit of {limit} W and clocked lower for it.",
        evidence={"share": "Time at the limit", "clock": "SM clock", "power": "Power", "limit": "Limit", "slower": "Steps slower"},
        remedies={
            "raise": R("Raise the limit if supply and cooling allow", "{limit} -> {top} W", "up to {loss} % more clock", "nvidia-smi -i {uuid} -pl {top}"),
            "accept": R("Nothing to do where the limit is meant: this is how a busy GPU works", "{limit} W", "{loss} % below its highest clock"),
        },
        condition="STATE: the power cap held for {share_pct} % of 60 s and the SM clock is below {clock_pct} % of what is asked of it: a note; steps also {slower_pct} % slower: warning; clear below {clear_pct} %.",
        traps="At full load a power cap is normal: by itself never more than a note.",
    ),
    "gpu-throttle-thermal": RuleText(
        title="GPU {gpu} slows down for heat ({temp} °C)",
        why="In {seconds} of the last 60 s GPU {gpu} clocked lower because it is too hot; it runs {loss} % below its highest clock.",
        evidence={"seconds": "Held back", "hard": "By the hardware", "temp": "Temperature", "memory": "Memory temperature", "slowdown": "Slows down at", "margin": "Degrees left", "clock": "SM clock", "others": "Median of the other GPUs"},
        remedies={
            "air": _AIR,
            "cap": R("Until then lower its power limit: an even clock is faster than one that hunts", "about {loss} % less", "no more slowdowns", "nvidia-smi -i {uuid} -pl <watts>"),
        },
        condition="STATE: {seconds} s or more of {window_s} s held back for heat: warning; by the hardware: critical; clear after {window_s} s without.",
        traps="Memory may be the hot part while the GPU temperature looks well: both are in the evidence.",
    ),
    "gpu-hw-slowdown": RuleText(
        title="GPU {gpu}: hardware slowdown ({bits})",
        why="In {minutes} of the last 10 minutes the hardware itself slowed GPU {gpu} down: not for heat, so the supply is the suspect.",
        evidence={"minutes": "Minutes with it", "bits": "Reasons", "clock": "SM clock", "power": "Power", "temp": "Temperature"},
        remedies={
            "supply": R("Check power supplies, cables and the rack's power budget", "{bits}", "full clock again"),
            "drain": R("Drain the node until then", "GPU {gpu}", None),
        },
        condition="STATE: HwSlowdown (without heat) or HwPowerBrake seen in {minutes} or more of {of} minutes.",
        traps="Single blips when a job starts are none.",
    ),
    "gpu-idle-held": RuleText(
        title="GPU {gpu}: {held} held, nothing computed for {for}",
        why="{who} holds memory of GPU {gpu} that nobody else can use, and the GPU does nothing.",
        evidence={"util": "Utilisation", "held": "Memory held", "for": "For", "users": "Processes on it", "waste": "Wasted"},
        remedies={"end": R("End or checkpoint it if nobody waits for it", "{waste} GiB h wasted", "{held} free for others", "kill {pid}")},
        condition="STATE: processes hold more than {gib} GiB and utilisation stays below {util_pct} % for {hold_s} s.",
        traps="A notebook whose user thinks; an evaluation on the CPU; a server that waits for requests.",
    ),
}
