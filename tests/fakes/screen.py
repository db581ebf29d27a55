"""A node as the panes see it: raw frames with known numbers through the real builder and history."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Literal

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.history import History
from dctop.engine.metrics.model import Frame, ProbeStatus, Snapshot
from dctop.engine.rules.alert import Alert, Evidence, Remedy
from dctop.engine.training.runstate import STEP_FIELDS, RunEvent, RunState
from dctop.probes.base import Process, Sample, Value, series
from dctop.probes.catalogue import PROBE_OF
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, row_width
from dctop.tui.panes.base import View

GI = 1024**3
MI = 1024**2
T0 = 1_700_000_000_000_000_000
TICK_HZ = 100


class FakeSource:
    """A `Source` with everything laid out beforehand."""

    mode: Literal["live", "replay"] = "live"
    interval_s = 1.0

    def __init__(
        self,
        snap: Snapshot | None = None,
        history: History | None = None,
        runs: Sequence[RunState] = (),
        alerts: Sequence[Alert] = (),
    ) -> None:
        self.snap = snap
        self.history = history or History()
        self.run_list, self.alert_list = runs, alerts

    def snapshot(self) -> Snapshot | None:
        return self.snap

    def window(self, key: str, n: int) -> array[float]:
        return self.history.window(key, n)

    def alerts(self) -> Sequence[Alert]:
        return self.alert_list

    def runs(self) -> Sequence[RunState]:
        return self.run_list


class Node:
    """Makes one frame after the other. `wave(i)` is the load at tick i, 0 to 1."""

    def __init__(self, cores: int = 8, gpus: int = 0, processes: int = 60, disks: int = 2) -> None:
        self.cores, self.gpus, self.disks = cores, gpus, disks
        self.builder = SnapshotBuilder(TICK_HZ)
        self.history = History()
        self.tick = 0
        self.counters: dict[str, float] = {}
        self.table = [make_process(1 + i) for i in range(processes)]
        self.changes: dict[str, Value] = {}
        """Series to override (None: not read)."""
        self.status: dict[str, ProbeStatus] = {}

    def run(self, ticks: int) -> Snapshot:
        snap = self.step()
        for _ in range(ticks - 1):
            snap = self.step()
        return snap

    def step(self) -> Snapshot:
        i = self.tick
        load = 0.5 - 0.45 * math.cos(i / 15)
        values = {**self.gauges(i, load), **self.counts(i, load), **self.changes}
        now = i * 10**9
        samples: dict[str, Sample] = {}
        for key, value in values.items():
            probe = PROBE_OF[key.partition("{")[0]]
            if probe not in samples:
                samples[probe] = Sample(probe, now, T0 + now, {})
            samples[probe].values[key] = value
        if self.table:
            self.table = [
                p._replace(
                    cpu_ticks=p.cpu_ticks + (p.pid * 7 + i) % 40,
                    read_bytes=None if p.read_bytes is None else p.read_bytes + p.pid * 4096,
                )
                if p.pid % 5 == 0
                else p
                for p in self.table
            ]
            sample = samples.setdefault("process", Sample("process", now, T0 + now, {}))
            sample.processes = self.table
        frame = Frame(i, now, T0 + now, samples, (), self.status)
        snap = self.builder.push(frame)
        self.history.push(snap.values)
        self.tick += 1
        return snap

    def count(self, key: str, by: float) -> None:
        self.counters[key] = self.counters.get(key, 0.0) + by

    def counts(self, i: int, load: float) -> Mapping[str, Value]:
        for core in range(self.cores):
            mine = min(0.99, load * (0.4 + 0.6 * ((core * 5 + i // 9) % self.cores) / self.cores) * 1.3)
            for name, share in (("user", 0.7 * mine), ("system", 0.25 * mine), ("iowait", 0.02), ("irq", 0.0),
                                ("steal", 0.01), ("idle", 1 - 0.96 * mine - 0.03)):  # fmt: skip
                ticks = round(share * TICK_HZ, 3)
                self.count(series(f"cpu.core.{name}_ticks", core=str(core)), ticks)
                self.count(f"cpu.{name}_ticks", ticks)
        self.count("cpu.context_switches", 23_400)
        for d in range(self.disks):
            name = f"nvme{d}n1"
            busy = load / (d + 1)
            for key, by in (("read_bytes", 2.1e9 * busy), ("write_bytes", 3.4e8 * busy),
                            ("reads", 8000 * busy),
                            ("writes", 900 * busy), ("read_ms", 3200 * busy), ("write_ms", 700 * busy),
                            ("busy_ms", 610 * busy)):  # fmt: skip
                self.count(series(f"disk.{key}", disk=name), by)
        for name, by in (("eth0", 1.2e6), ("ib0", 11.2e8), ("lo", 100.0)):
            self.count(series("net.rx_bytes", nic=name), by * (0.2 + load))
            self.count(series("net.tx_bytes", nic=name), by * (0.3 + load) * 0.8)
            for key in ("rx_errors", "tx_errors", "rx_drops", "tx_drops"):
                self.count(series(f"net.{key}", nic=name), 0)
        self.count("tcp.out_segs", 5000)
        self.count("tcp.retrans_segs", 4)
        self.count("memory.major_faults", 3)
        self.count("memory.oom_kills", 0)
        self.count("memory.swap_in_pages", 0)
        self.count("memory.swap_out_pages", 0)
        return dict(self.counters)

    def gauges(self, i: int, load: float) -> Mapping[str, Value]:
        used = (180 + 230 * load) * GI
        out: dict[str, Value] = {
            "cpu.count": self.cores, "cpu.load1": 41.2, "cpu.load5": 38.0, "cpu.load15": 30.1,
            "cpu.running": 9, "cpu.blocked": 1,
            "pressure.cpu.some_avg10_pct": 1.2, "pressure.cpu.some_avg60_pct": 0.8,
            "pressure.memory.some_avg10_pct": 0.0, "pressure.memory.some_avg60_pct": 0.0,
            "pressure.io.some_avg10_pct": 12.5, "pressure.io.some_avg60_pct": 3.1,
            "memory.total_bytes": 1007 * GI, "memory.available_bytes": int(1007 * GI - used),
            "memory.cached_bytes": 600 * GI, "memory.buffers_bytes": 10 * GI, "memory.dirty_bytes": 90 * MI,
            "memory.slab_reclaimable_bytes": 20 * GI, "memory.writeback_bytes": 0,
            "memory.anon_bytes": 150 * GI, "memory.committed_bytes": 300 * GI,
            "memory.swap_total_bytes": 0, "memory.swap_free_bytes": 0, "memory.hugepages_total": 0,
            "memory.shm_total_bytes": 504 * GI, "memory.shm_used_bytes": 12 * GI,
            "tcp.established": 211, "process.count": len(self.table), "process.running": 9,
            "process.blocked": 1, "gpu.count": self.gpus,
        }  # fmt: skip
        for mount, size, use in (("/", 100, 41 + i * 0.001), ("/data", 4000, 3640 + i * 0.05)):
            out[series("fs.size_bytes", mount=mount)] = size * GI
            out[series("fs.used_bytes", mount=mount)] = int(use * GI)
            out[series("fs.avail_bytes", mount=mount)] = int((size - use) * GI)
            out[series("fs.readonly", mount=mount)] = 0
            out[series("fs.hung", mount=mount)] = 0
        for name, speed, virtual in (("eth0", 25_000, 0), ("ib0", 400_000, 0), ("lo", None, 1)):
            out[series("net.speed_mbps", nic=name)] = speed
            out[series("net.virtual", nic=name)] = virtual
            out[series("net.up", nic=name)] = 1
        out["gpu.status"] = "ok" if self.gpus else "no library"
        if not self.gpus:
            out["gpu.detail"] = "libnvidia-ml.so.1 was not found"
        for g in range(self.gpus):
            uuid = f"GPU-{g:04d}"
            util = 61 if g == 3 else 90 + (g * 3 + i) % 9
            for key, value in (("index", g), ("name", "NVIDIA H100 80GB HBM3"), ("util_pct", util),
                               ("mem_used_bytes", 72 * GI), ("mem_total_bytes", 80 * GI),
                               ("power_w", 600 + g * 9), ("power_limit_w", 700), ("temp_c", 64 + g),
                               ("sm_clock_mhz", 1980)):  # fmt: skip
                out[series(f"gpu.{key}", gpu=uuid)] = value
        return out


def make_process(pid: int, **changes: object) -> Process:
    p = Process(
        pid=pid, start_ticks=1000 + pid, ppid=1 if pid > 1 else 0, uid=0 if pid % 3 else 1000,
        user="root" if pid % 3 else "mara", name=f"work{pid}",
        cmdline=None if pid % 7 == 0 else f"/usr/bin/work{pid} --shard {pid % 4} --out /data/run/{pid}",
        state="R" if pid % 20 == 0 else "D" if pid == 15 else "S", cpu_ticks=pid * 100,
        rss_bytes=None if pid % 7 == 0 else pid * 3 * MI, threads=1 + pid % 30, nice=0, majflt=0,
        read_bytes=pid * MI if pid % 2 else None, write_bytes=0 if pid % 2 else None, cgroup="/",
        container=None, job=None, gpu_mem_bytes=None, gpu_sm_pct=None,
    )  # fmt: skip
    return p._replace(**changes)


def make_run(steps: int = 400, **changes: object) -> RunState:
    """A run of mnist-cnn whose loss falls and spikes once."""
    columns = {name: array("d") for name in STEP_FIELDS}
    for i in range(steps):
        loss = 0.3 + 2.0 * math.exp(-i / 80) + 0.05 * math.sin(i * 1.7) + (1.5 if i == 250 else 0.0)
        row = {
            "step": i + 1, "epoch": 1 + i // 200, "wall_ns": T0 + i * 10**7, "step_s": 0.04, "samples": 32,
            "data_s": 0.006, "h2d_s": 0.0, "forward_s": 0.011, "loss_s": 0.001, "backward_s": 0.016,
            "update_s": 0.004, "cpu_s": 0.038, "loss": loss, "accuracy": 1 - loss / 3, "lr": 1e-3,
            "grad_norm": 1.1, "update_ratio": 1e-3, "rss_anon_bytes": 395 * MI,
        }  # fmt: skip
        for name in STEP_FIELDS:
            columns[name].append(row.get(name, math.nan))
    last = {k: (v[-1] if v[-1] == v[-1] else None) for k, v in columns.items()} if steps else {}
    run = RunState(
        id="20231114-mnist-cnn-a1", directory="/home/mara/.local/state/dctop/runs/20231114-mnist-cnn-a1",
        workload="mnist-cnn", status="running", config={"batch": 32, "optimizer": "adam"}, host="node-07",
        pid=28401, started_wall_ns=T0, ended_wall_ns=None, mode="train", step=steps, total_steps=18_750,
        epoch=2, total_epochs=10, last=last, columns=columns,
        evals=[{"step": 200, "epoch": 1, "loss": 0.52, "accuracy": 0.84, "wall_ns": T0}],
        events=[RunEvent(T0, None, "start", "mnist-cnn on cpu"), RunEvent(T0, 200, "epoch", "epoch 1 done")],
        exit_code=None, reason=None, samples_per_s=812.0, eta_s=734.0,
        data_source="Fashion-MNIST (/usr/share/datasets)", synthetic=False, device="cpu",
    )  # fmt: skip
    for name, value in changes.items():
        setattr(run, name, value)
    return run


def make_alert(id: int = 1, **changes: object) -> Alert:  # noqa: A002
    alert = Alert(
        rule="disk-fill", entity="/data", problem="storage", severity="warning", state="firing",
        opened_wall_ns=T0, closed_wall_ns=None, first_step=None, title="/data will be full in 2 h",
        why="Checkpoints of run a1 grow it by 180 GiB an hour and none is ever deleted.",
        evidence=(
            Evidence("available", 360 * GI, "bytes", "< 400 GiB", 'fs.avail_bytes{mount=/data}'),
            Evidence("growth", "180 GiB/h", "", None, "fs.used_pct{mount=/data}"),
            Evidence("cpu", 61.5, "%", "> 90 %", "cpu.util_pct"),
        ),
        ruled_out=("inodes 3 %", "logs 0.1 GiB/h"), cost="the run stops when a checkpoint fails",
        remedies=(
            Remedy("Keep only the last checkpoints", "3 fit", "frees 1.2 TiB", "dctop runs prune --keep 3"),
            Remedy("Write checkpoints less often"),
        ),
        kind="state", id=id,
    )  # fmt: skip
    for name, value in changes.items():
        setattr(alert, name, value)
    return alert


def view_of(source: FakeSource, look: Look | None = None, **changes: object) -> View:
    return View(source=source, snap=source.snap, look=look or Look(), **changes)  # type: ignore[arg-type]


def as_lines(rows: Sequence[Row]) -> list[str]:
    return ["".join(text for text, _ in row) for row in rows]


def check(rows: Sequence[Row], w: int, h: int, look: Look | None = None) -> None:
    """The promise of every pane: exactly `h` rows of exactly `w` printable cells."""
    assert len(rows) == h
    for row in rows:
        assert row_width(row) == w, (row_width(row), w, row)
        text = "".join(t for t, _ in row)
        assert text.isprintable()
        assert look is None or look.unicode or text.isascii(), text
