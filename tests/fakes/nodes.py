"""Nodes made of files: trees for the probes' `proc` and `sys` arguments, as real kernels write them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from dctop.probes.base import Sample, split_series
from dctop.probes.catalogue import BY_ID, BY_PROBE

Tree = Mapping[str, str | bytes]


def write_tree(root: Path, files: Tree) -> Path:
    """Write `relative path -> content`; returns `root`."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def stat_text(cores: int = 2, irqs: int = 60, offset: int = 0) -> str:
    """/proc/stat of a node with so many cores; `offset` ticks later in every column."""
    columns = [[100 * i + j + offset for j in range(10)] for i in range(1, cores + 1)]
    total = [sum(c) for c in zip(*columns)]
    lines = ["cpu  " + " ".join(map(str, total))]
    lines += [f"cpu{i} " + " ".join(map(str, c)) for i, c in enumerate(columns)]
    lines.append("intr 238840 " + " ".join(str(i * 7919 % 100000) for i in range(irqs)))
    lines += ["ctxt 465553", "btime 1795459720", "processes 10557", "procs_running 3", "procs_blocked 1"]
    lines.append("softirq 70000 1 2 3 4 5 6 7 8 9 10")
    return "\n".join(lines) + "\n"


MEMINFO = """\
MemTotal:       24682416 kB
MemFree:        24219000 kB
MemAvailable:   24283392 kB
Buffers:            2480 kB
Cached:           225952 kB
SwapCached:            0 kB
Active(anon):       1552 kB
Dirty:               180 kB
Writeback:            12 kB
AnonPages:         23160 kB
Mapped:            13324 kB
Shmem:             12776 kB
SReclaimable:     122124 kB
SwapTotal:       2097148 kB
SwapFree:        2097000 kB
Committed_AS:      73472 kB
HugePages_Total:      64
HugePages_Free:       60
Hugepagesize:       2048 kB
DirectMap1G:    25165824 kB
"""
VMSTAT = "nr_free_pages 123\npgpgin 5\npswpin 11\npswpout 22\npgmajfault 33\noom_kill 4\nnuma_hit 9\n"
PSI = (
    "some avg10=1.50 avg60=0.25 avg300=0.03 total=14691021\n"
    "full avg10=0.50 avg60=0.00 avg300=0.00 total=4163094\n"
)
NODE_MEMINFO = "Node {0} MemTotal: 5988932 kB\nNode {0} MemFree: 5644140 kB\nNode {0} FilePages: 117550 kB\n"


def full_proc(root: Path, cores: int = 2) -> Path:
    """A /proc with everything the node-wide probes read."""
    return write_tree(
        root,
        {
            "stat": stat_text(cores),
            "loadavg": "0.11 0.10 0.06 2/93 8357\n",
            "cpuinfo": "processor\t: 0\nmodel name\t: Fake  CPU @ 2.00GHz\ncpu MHz\t\t: 2596.136\n\n",
            "meminfo": MEMINFO,
            "vmstat": VMSTAT,
            "pressure/cpu": PSI,
            "pressure/memory": PSI,
            "pressure/io": PSI,
            "uptime": "1905.68 3617.07\n",
            "sys/kernel/hostname": "gpu-07\n",
            "sys/kernel/osrelease": "6.1.0-18-amd64\n",
            "sys/kernel/random/boot_id": "77ea3d27-48ef-4ae7-a2bd-c7de6f495535\n",
        },
    )


def full_sys(root: Path) -> Path:
    """A /sys with two NUMA nodes, cpufreq, two sockets' sensors and RAPL."""
    files: dict[str, str] = {}
    for i in range(2):
        files[f"devices/system/node/node{i}/meminfo"] = NODE_MEMINFO.format(i)
        files[f"devices/system/cpu/cpu{i}/cpufreq/scaling_cur_freq"] = f"{2400000 + i}\n"
        files[f"class/hwmon/hwmon{i + 1}/name"] = "coretemp\n"
        files[f"class/hwmon/hwmon{i + 1}/temp1_label"] = f"Package id {i}\n"
        files[f"class/hwmon/hwmon{i + 1}/temp1_input"] = f"{51000 + i * 1000}\n"
        files[f"class/hwmon/hwmon{i + 1}/temp2_label"] = "Core 0\n"
        files[f"class/hwmon/hwmon{i + 1}/temp2_input"] = "49000\n"
        files[f"class/powercap/intel-rapl:{i}/name"] = f"package-{i}\n"
        files[f"class/powercap/intel-rapl:{i}/energy_uj"] = f"{123456789 + i}\n"
    files["class/hwmon/hwmon0/name"] = "nvme\n"
    files["class/hwmon/hwmon0/temp1_input"] = "38850\n"
    files["class/powercap/intel-rapl:0:0/name"] = "dram\n"
    files["class/powercap/intel-rapl:0:0/energy_uj"] = "55\n"
    files["class/powercap/intel-rapl-mmio:0/name"] = "package-0\n"
    files["class/powercap/intel-rapl-mmio:0/energy_uj"] = "66\n"
    return write_tree(root, files)


def check_declared(sample: Sample, full: bool = False) -> None:
    """Every key is declared under the sample's probe with its labels; every value is a `Value` of its kind.

    `full`: every declared id has at least one series with a value.
    """
    ids: set[str] = set()
    for key, value in sample.values.items():
        name, labels = split_series(key)
        metric = BY_ID[name]
        assert metric in BY_PROBE[sample.probe], f"{name} is not declared under {sample.probe}"
        assert tuple(labels) == metric.labels, key
        if value is None:
            continue
        assert isinstance(value, str if metric.kind == "info" else (int, float)), (key, value)
        assert not isinstance(value, bool), key
        assert not isinstance(value, float) or math.isfinite(value), (key, value)
        assert not isinstance(value, int) or abs(value) < 1 << 75, (key, value)
        assert not isinstance(value, str) or value.isprintable(), (key, value)
        ids.add(name)
    for problem in sample.problems:
        assert problem.isprintable() and problem, "a problem is one line"
    if full:
        assert ids == {m.id for m in BY_PROBE[sample.probe]}
