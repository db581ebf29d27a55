"""What recording costs: bytes and CPU a frame, opening and seeking in a file of 24 hours, beside atop.

    python tests/benchmarks/bench_recording.py [--hours 24] [--keep FILE] [--paced 60] [--atop 60]

Prints a table against the budgets (3 MB an hour, 0.5 ms CPU a frame; open 1 s, seek 100 ms) at 300 series and
40 processes. The load is modelled on a GPU node: 8 GPUs, 32 cores, 6 disks; noise in every gauge that has
noise, counters that rise unevenly, processes that come and go.

CPU is measured twice: frame upon frame, as other recorders' figures are, and woken once a second as in real
life, with cold caches; the latter beside a bare program that commits as many bytes. atop's raw log (`atop -w
FILE 1`, of this node as it is, its collecting included) is written in the same run, and `dctop record` of
this node beside it; where atop is missing it is named missing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.model import Frame, ProbeStatus
from dctop.engine.recording import schema
from dctop.engine.recording.flatten import Flattener
from dctop.engine.recording.proctable import ProcessPicker
from dctop.engine.recording.reader import open_recording
from dctop.engine.recording.replay import ReplaySource
from dctop.engine.recording.runtake import Taker
from dctop.engine.recording.store import Item, Store
from dctop.probes.base import Process, Sample, Value, series

S = 1_000_000_000


class Node:
    """A modelled node: 300 raw series (about half never change, as measured on real ones), 400 processes."""

    def __init__(self, seed: int = 1) -> None:
        self.r = random.Random(seed)
        self.seq = 0
        self.mono = 50 * S
        self.wall = 1_790_000_000 * S
        self.cores = [
            dict.fromkeys(("user", "system", "idle", "iowait", "irq", "steal"), 0) for _ in range(16)
        ]
        self.disks = [dict.fromkeys(("reads", "writes", "read_bytes", "write_bytes", "read_ms", "write_ms",
                                     "busy_ms"), 0) for _ in range(4)]  # fmt: skip
        self.nics = [dict.fromkeys(("rx_bytes", "tx_bytes", "rx_packets", "tx_packets"), 0) for _ in range(3)]
        self.psi = [0, 0, 0, 0, 0, 0]
        self.counters = [0] * 8
        self.gpus = [[300.0, 60, 40 << 30, 1700] for _ in range(8)]
        self.procs = [self._process(1000 + i) for i in range(400)]
        self.filesystem: Sample | None = None
        self.held: dict[str, Sample] = {}

    def _process(self, pid: int) -> Process:
        name = self.r.choice(("python3", "sshd", "kworker/3:1", "dockerd", "containerd-shim", "bash", "node"))
        line = f"/usr/bin/{name} --id {pid} " + "x" * self.r.randrange(10, 160)
        rss = self.r.randrange(1 << 20, 1 << 30) & ~4095
        return Process(pid, pid * 7, 1, 1000, "user", name, line, "S", 0, rss, 4, 0, 0, 0, 0,
                       "/system.slice/x.service", None, None, None, None)  # fmt: skip

    def _sample(
        self, probe: str, values: dict[str, Value], procs: tuple[Process, ...] | None = None
    ) -> Sample:
        lag = self.r.randrange(20_000_000, 60_000_000)
        return Sample(probe, self.mono - lag, self.wall - lag + self.r.randrange(400), values, procs)

    def frame(self) -> Frame:
        r = self.r
        self.seq += 1
        self.mono += S + r.randrange(-200_000, 200_000)
        self.wall += S + r.randrange(-200_000, 200_000)
        s = {
            "cpu": self._cpu(), "pressure": self._pressure(), "memory": self._memory(), "disk": self._disk(),
            "network": self._network(), "gpu": self._gpu(), "process": self._processes(),
        }  # fmt: skip
        if self.seq % 10 == 1 or self.filesystem is None:
            used = {series("fs.used_bytes", mount=m): (1 << 38) + self.seq * 4096 for m in ("/", "/data")}
            rest: dict[str, Value] = {series("fs.avail_bytes", mount=m): 1 << 39 for m in ("/", "/data")}
            self.filesystem = self._sample("filesystem", used | rest)
        s["filesystem"] = self.filesystem
        costs = {name: r.randrange(50_000, 300_000) / 1e6 for name in s}
        own: dict[str, Value] = {"dctop.cpu_ms": self.seq * 5, "dctop.rss_bytes": 60 << 20}
        own |= {series("dctop.probe_ms", probe=name): cost for name, cost in costs.items()}
        s["self"] = self._sample("self", own)
        status = {n: ProbeStatus(n, 0.05, False, None, (), costs.get(n)) for n in s if n != "self"}
        return Frame(self.seq, self.mono, self.wall, s, (), status)

    def _cpu(self) -> Sample:
        r, v = self.r, {}
        total = dict.fromkeys(self.cores[0], 0)
        for i, core in enumerate(self.cores):
            busy = r.randrange(0, 70) if i < 10 else 0
            for name, d in (
                ("user", busy),
                ("system", busy // 5),
                ("idle", 100 - busy),
                ("iowait", int(busy > 60)),
            ):
                core[name] += d
            for name, n in core.items():
                v[series(f"cpu.core.{name}_ticks", core=str(i))] = n
                total[name] += n
        values: dict[str, Value] = {f"cpu.{name}_ticks": n for name, n in total.items()}
        self.counters[0] += r.randrange(2000, 9000)
        self.counters[1] += r.randrange(1000, 5000)
        values |= v
        values |= {"cpu.context_switches": self.counters[0], "cpu.interrupts": self.counters[1],
                   "cpu.load1": r.randrange(300, 900) / 100, "cpu.load5": 5.2 + self.seq % 20 / 100,
                   "cpu.count": 16, "cpu.model": "Modelled", "cpu.running": r.randrange(1, 9)}  # fmt: skip
        return self._sample("cpu", values)

    def _pressure(self) -> Sample:
        values: dict[str, Value] = {}
        for i, (res, kind) in enumerate((a, b) for a in ("cpu", "memory", "io") for b in ("some", "full")):
            if i in (0, 4):
                self.psi[i] += self.r.randrange(0, 30_000)
            values[f"pressure.{res}.{kind}_us"] = self.psi[i]
            for w in (10, 60, 300):
                values[f"pressure.{res}.{kind}_avg{w}_pct"] = (
                    self.r.randrange(0, 90) / 100 if i in (0, 4) else 0.0
                )
        return self._sample("pressure", values)

    def _memory(self) -> Sample:
        r = self.r
        values: dict[str, Value] = {"memory.total_bytes": 1 << 40, "memory.swap_total_bytes": 0,
                                    "memory.swap_free_bytes": 0, "memory.hugepages_total": 0}  # fmt: skip
        for name in (
            "available",
            "free",
            "cached",
            "anon",
            "dirty",
            "mapped",
            "slab_reclaimable",
            "committed",
        ):
            values[f"memory.{name}_bytes"] = (500 << 30) + r.randrange(0, 4000) * 4096
        self.counters[2] += r.randrange(0, 40)
        values["memory.major_faults"] = self.counters[2]
        return self._sample("memory", values)

    def _disk(self) -> Sample:
        values: dict[str, Value] = {}
        for i, disk in enumerate(self.disks):
            if i < 2:
                n = self.r.randrange(0, 300)
                for name, d in (("reads", n), ("writes", n // 3), ("read_bytes", n * 131072),
                                ("write_bytes", n * 4096), ("read_ms", n // 2), ("write_ms", n // 4),
                                ("busy_ms", min(1000, n * 3))):  # fmt: skip
                    disk[name] += d
            for name, value in disk.items():
                values[series(f"disk.{name}", disk=f"nvme{i}n1")] = value
        return self._sample("disk", values)

    def _network(self) -> Sample:
        values: dict[str, Value] = {}
        for i, nic in enumerate(self.nics):
            if i < 2:
                n = self.r.randrange(10, 20_000)
                for name, d in (
                    ("rx_bytes", n * 1400),
                    ("tx_bytes", n * 90),
                    ("rx_packets", n),
                    ("tx_packets", n),
                ):
                    nic[name] += d
            for name, value in nic.items():
                values[series(f"net.{name}", nic=f"eth{i}")] = value
            for name in ("rx_errors", "tx_errors", "rx_drops", "tx_drops", "speed_mbps", "up"):
                values[series(f"net.{name}", nic=f"eth{i}")] = 0
        return self._sample("network", values)

    def _gpu(self) -> Sample:
        r = self.r
        values: dict[str, Value] = {"gpu.status": "ok", "gpu.count": 8}
        for i, g in enumerate(self.gpus):
            key = f"GPU-{i:08x}-1111-2222-3333-444444444444"
            g[0] = min(700.0, max(100.0, g[0] + r.randrange(-20_000, 20_000) / 1000))
            values |= {
                series("gpu.util_pct", gpu=key): r.randrange(80, 100),
                series("gpu.power_w", gpu=key): round(g[0], 3),
                series("gpu.temp_c", gpu=key): 60 + r.randrange(0, 4),
                series("gpu.sm_clock_mhz", gpu=key): 1700 + 15 * r.randrange(0, 8),
                series("gpu.mem_used_bytes", gpu=key): (40 << 30) + r.randrange(0, 3) * (2 << 20),
                series("gpu.mem_total_bytes", gpu=key): 80 << 30,
                series("gpu.power_limit_w", gpu=key): 700.0,
                series("gpu.index", gpu=key): i,
                series("gpu.name", gpu=key): "Modelled GPU",
            }
        return self._sample("gpu", values)

    def _processes(self) -> Sample:
        r = self.r
        for i in r.sample(range(30), 14):
            p = self.procs[i]
            self.procs[i] = p._replace(
                cpu_ticks=p.cpu_ticks + r.randrange(1, 100), state=r.choice("RSSS"),
                rss_bytes=(p.rss_bytes or 0) + r.randrange(-3, 4) * 4096 if r.random() < 0.5 else p.rss_bytes,
                read_bytes=(p.read_bytes or 0) + (r.randrange(1, 900) * 4096 if r.random() < 0.2 else 0),
            )  # fmt: skip
        if self.seq % 4 == 0:
            self.procs[r.randrange(300, 400)] = self._process(100_000 + self.seq)
        table = tuple(sorted(self.procs))
        values: dict[str, Value] = {"process.count": 400, "process.running": r.randrange(1, 5),
                                    "process.threads": 1600}  # fmt: skip
        return self._sample("process", values, table)


def frames(n: int, seed: int = 1) -> Iterator[Frame]:
    node = Node(seed)
    for _ in range(n):
        yield node.frame()


def record(path: Path, n: int, pace: bool = False, pause_s: float = 0.0) -> tuple[float, float, int]:
    """(CPU ms a frame without and with deriving the rollup values, bytes): one commit a frame, as at 1 Hz.
    `pause_s`: sleep before each frame. The first ten frames, which lay the file out, do not count then."""
    store = Store(path, interval_s=1.0, meta={"host": "bench"}, durability="full" if pace else "relaxed")
    flattener, picker, taker = Flattener(), ProcessPicker(), Taker()
    builder = SnapshotBuilder()
    cpu = derived = 0
    batch: list[Item] = []
    for frame in list(frames(n)) if pause_s else frames(n):
        if pause_s:
            time.sleep(pause_s)
            if frame.seq == 11:
                cpu, derived, n = 0, 0, n - 10
        t0 = time.thread_time_ns()
        values = builder.push(frame).values
        t1 = time.thread_time_ns()
        changes = taker.take((), (), frame.wall_ns)
        flat = flattener.flatten(frame, picker.pick(frame.processes), changes.hot)
        batch.append(Item(frame.wall_ns, frame.seq, flat, values, changes))
        if pace or len(batch) == 60:
            store.write(batch)
            batch = []
        cpu += time.thread_time_ns() - t1
        derived += t1 - t0
    if batch:
        store.write(batch)
    store.close("done")
    return cpu / n / 1e6, (cpu + derived) / n / 1e6, path.stat().st_size


def bare(path: Path, n: int) -> float:
    """CPU ms of a program that does nothing but wake once a second and commit a row as large as ours."""
    db = sqlite3.connect(path, isolation_level=None)
    schema.create(db, "full", True)
    row = random.Random(1).randbytes(2700)
    cpu = 0
    for i in range(n + 10):
        time.sleep(1.0)
        t = time.thread_time_ns()
        db.execute("INSERT INTO tail VALUES(?,?,?,?,?,?)", (i, i + (1 << 60), i + (1 << 50), 1, i - 1, row))
        if i >= 10:
            cpu += time.thread_time_ns() - t
    db.close()
    return cpu / n / 1e6


def at_once(folder: Path, n: int) -> tuple[float, float]:
    """`record` woken once a second and `bare`, each in a process of its own, in the same minute."""
    words = [sys.executable, __file__, "--bare", str(n), "--keep", str(folder / "bare.db")]
    floor = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    slow = record(folder / "paced.dctop", n + 10, pace=True, pause_s=1.0)[0]
    return slow, float(floor.communicate()[0])


def beside_atop(folder: Path, seconds: int) -> list[tuple[str, str, str]]:
    """This node recorded by atop and by `dctop record` at the same time: MB an hour, CPU of the whole
    process."""
    rows: list[tuple[str, str, str]] = []
    ours, theirs = folder / "node.dctop", folder / "node.atop"
    words = [sys.executable, "-m", "dctop.tui.cli", "record", "-o", str(ours), "--quiet",
             "--duration", f"{seconds}s"]  # fmt: skip
    started = [("dctop record of this node", subprocess.Popen(words), ours)]
    if shutil.which("atop"):
        atop = subprocess.Popen(["atop", "-w", str(theirs), "1", str(seconds)])
        started.append(("atop -w of this node", atop, theirs))
    for name, process, file in started:
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        cpu = usage.ru_utime + usage.ru_stime
        size = file.stat().st_size
        if file is ours:  # without what stands in it once: the catalogue, the tables' own pages
            with open_recording(file) as recording:
                size = sum(recording.info.table_bytes.values())
        rows.append((f"{name}, MB an hour", f"{size * 3600 / seconds / 1e6:.2f}", "-"))
        rows.append(("... CPU ms a second, reading the node included", f"{1e3 * cpu / seconds:.1f}", "-"))
    if len(started) < 2:
        rows.append(("atop (apt-get install atop)", "missing", "-"))
    return rows


def measure_seek(
    path: Path, width: int, tries: int = 60
) -> tuple[float, list[float], list[float], float, list[float]]:
    """Seconds to open; ms a seek anywhere (snapshot and five windows of `width`), a step back, an overview;
    ms of CPU a seek, which other work on the machine disturbs less."""
    t = time.perf_counter()
    recording = open_recording(path)
    source = ReplaySource(recording)
    opened = time.perf_counter() - t
    r = random.Random(5)
    seeks, backs, cpus = [], [], []
    for _ in range(tries):
        at = r.randrange(source.t0_ns, source.t1_ns)
        t, cpu = time.perf_counter(), time.thread_time_ns()
        source.seek(at)
        for key in ("cpu.util_pct", "memory.used_pct", "cpu.load1", "tcp.retrans_pct", "process.count"):
            source.window(key, width)
        seeks.append(1e3 * (time.perf_counter() - t))
        cpus.append((time.thread_time_ns() - cpu) / 1e6)
        t = time.perf_counter()
        source.step(-1)
        backs.append(1e3 * (time.perf_counter() - t))
    t = time.perf_counter()
    recording.overview("cpu.util_pct", 150)
    overview = 1e3 * (time.perf_counter() - t)
    source.close()
    return opened, sorted(seeks), sorted(backs), overview, sorted(cpus)


def measure_wide(path: Path, n: int = 240) -> tuple[float, float]:
    """ms for wide windows of 12 series: the first time, and at another moment."""
    source = ReplaySource(path)
    keys = ["cpu.util_pct", "memory.used_pct", "cpu.load1", "process.count", "cpu.user_pct", "cpu.iowait_pct",
            *(series("disk.read_bytes_per_s", disk=f"nvme{i}n1") for i in range(2)),
            *(series("net.rx_bytes_per_s", nic=f"eth{i}") for i in range(2)), "pressure.io.some_pct",
            "pressure.cpu.some_pct"]  # fmt: skip
    k = max(1, int((source.t1_ns - source.t0_ns) / 1e9 / n))
    out = []
    for at in (source.t1_ns, source.t1_ns - (source.t1_ns - source.t0_ns) // 7):
        t = time.perf_counter()
        source.seek(at)
        for key in keys:
            source.wide(key, n, k)
        out.append(1e3 * (time.perf_counter() - t))
    source.close()
    return out[0], out[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--hours", type=float, default=24.0, help="length of the file that is opened and sought in"
    )
    parser.add_argument("--day", type=Path, help="open and seek in this file instead of making one")
    parser.add_argument("--paced", type=int, default=60, help="frames of the run at one a second (0: none)")
    parser.add_argument("--atop", type=int, default=60, help="seconds beside atop (0: none)")
    parser.add_argument("--keep", type=Path, help="keep that file here")
    parser.add_argument("--bare", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        print(bare(args.keep, args.bare))
        return 0
    node = Node()
    first = node.frame()
    count = sum(len(s.values) for s in first.samples.values())
    print(f"{count} series, {len(ProcessPicker().pick(first.processes))} of {len(first.processes)} processes")
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        runs = [record(Path(folder) / f"hour{i}.dctop", 1800, pace=True) for i in range(3)]
        cpu, with_derive, size = min(runs)
        rows.append(("file, MB an hour", f"{size * 2 / 1e6:.2f}", "3"))
        rows.append(("CPU a frame, a commit with fsync each, ms", f"{cpu:.3f}", "0.5"))
        if args.paced:
            slow, floor = at_once(Path(folder), args.paced)
            rows.append(("... woken once a second, ms", f"{slow:.3f}", "0.5"))
            rows.append(("... of a bare program that commits as many bytes, ms", f"{floor:.3f}", "-"))
        rows.append(("... where the recorder derives by itself, ms", f"{with_derive:.3f}", "-"))
        path = args.day or args.keep or Path(folder) / "day.dctop"
        if args.day is None:
            record(path, int(args.hours * 3600))
        opened, seeks, backs, overview, cpus = measure_seek(path, 150)
        wide = measure_seek(path, 300)[1]
        rows.append((f"open {args.hours:g} h ({path.stat().st_size / 1e6:.1f} MB), s", f"{opened:.3f}", "1"))
        rows.append(("seek anywhere, graphs of 150 ticks, p50 ms", f"{statistics.median(seeks):.1f}", "100"))
        rows.append(("... worst of 60, ms", f"{seeks[-1]:.1f}", "100"))
        rows.append(("... CPU p50 and worst, ms", f"{statistics.median(cpus):.0f} {cpus[-1]:.0f}", "-"))
        rows.append(("... graphs of 300 ticks, p50 ms", f"{statistics.median(wide):.1f}", "100"))
        rows.append(("step back, p50 ms", f"{statistics.median(backs):.2f}", "-"))
        rows.append(("overview of one series, ms", f"{overview:.1f}", "-"))
        first, again = measure_wide(path)
        rows.append(("graphs of 12 series over all of it, first time, ms", f"{first:.0f}", "-"))
        rows.append(("... after a seek, ms", f"{again:.0f}", "100"))
        if args.atop:
            rows += beside_atop(Path(folder), args.atop)
    width = max(len(r[0]) for r in rows)
    print(f"{'':{width}}  {'measured':>9}  {'budget':>7}")
    for name, value, budget in rows:
        print(f"{name:{width}}  {value:>9}  {budget:>7}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
