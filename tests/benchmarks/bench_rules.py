"""What judging costs: CPU time of `RuleEngine.tick` at 300 series, 40 processes and training runs.

    python tests/benchmarks/bench_rules.py [--ticks 300] [--rounds 3] [--against CHECKOUT] [--profile ROW]

The node is invented (8 disks, 12 mounts, 4 interfaces, 32 cores, 8 GPUs where the row says so), its counters
move every tick. Runs make 50 steps a second; their logs are noisy, hold some fields only now and then, as the
worker writes them, and are handed out as the reader does it. Printed: the mean, the median, the 99th
percentile and the worst tick. The budget is 2 ms. `--against`: another checkout of dctop judges the same in
turn with this one, row by row.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import math
import os
import pstats
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dctop.engine.rules.engine import RuleEngine
from dctop.engine.training.runlog import StepStore
from dctop.probes.base import GpuProcess, series
from tests.engine.rules.gpus import WELL
from tests.fakes.source import FakeRun, FakeSource, S, process

PACE = 50
"""Steps a second."""
SETTLING = 60
"""Ticks before it is measured."""


class Row(NamedTuple):
    name: str
    runs: int
    kept: int = 3000
    """Steps in the log of each at the beginning."""
    gpus: int = 0


ROWS = (
    Row("no run", 0), Row("1 run", 1), Row("1 run of 20,000 steps", 1, 20_000), Row("4 runs", 4),
    Row("8 GPUs, no run", 0, gpus=8), Row("8 GPUs, a run on each", 8, gpus=8),
)  # fmt: skip


def node() -> FakeSource:
    """A busy but healthy node of some 300 series."""
    s = FakeSource()
    s.set({
        "memory.total_bytes": 1 << 40, "memory.available_bytes": 1 << 39, "memory.swap_total_bytes": 1 << 33,
        "memory.swap_free_bytes": 1 << 33, "memory.shm_total_bytes": 1 << 36,
        "memory.shm_used_bytes": 1 << 30,
        "memory.oom_kills": 0, "kernel.records": 0, "cpu.count": 32, "host.name": "node",
        "container.memory_bytes": 1 << 34, "container.inactive_file_bytes": 0,
        "container.memory_limit_bytes": 1 << 36, "container.cpu_quota_cores": 16.0,
        "clock.offset_us": 5.0, "clock.max_error_us": 1000, "clock.synced": 1, "clock.step_ns": 0,
    })  # fmt: skip
    for kind in ("some", "full"):
        for what in ("cpu", "memory", "io"):
            for w in (10, 60, 300):
                s.set({f"pressure.{what}.{kind}_avg{w}_pct": 12.0 if what == "cpu" else 0.5})
    cores = [f"{{core={i}}}" for i in range(32)]
    s.rate(
        {
            f"cpu.core.{t}_ticks{c}": 15
            for c in cores
            for t in ("user", "system", "idle", "iowait", "irq", "steal")
        }
    )
    s.rate({f"cpu.{t}_ticks": 500 for t in ("user", "system", "idle")})
    s.rate({f"cpu.{t}_ticks": 1 for t in ("iowait", "irq", "steal")})
    s.rate({f"memory.{n}": 3 for n in ("swap_in_pages", "swap_out_pages", "major_faults")})
    s.rate({"container.cpu_periods": 10, "container.cpu_throttled_periods": 0.1,
            "container.cpu_throttled_us": 500,
            "container.cpu_usage_us": 4e6, "tcp.out_segs": 5000, "tcp.retrans_segs": 1})  # fmt: skip
    for i in range(8):
        d = f"{{disk=nvme{i}n1}}"
        s.set({f"disk.in_flight{d}": 1})
        s.rate({f"disk.{n}{d}": 200 for n in ("reads", "writes", "read_ms", "write_ms", "busy_ms")})
        s.rate({f"disk.{n}{d}": 1e7 for n in ("read_bytes", "write_bytes")})
    for i in range(12):
        m = f"{{mount=/mnt{i}}}"
        s.set({f"fs.avail_bytes{m}": 1e12, f"fs.readonly{m}": 0, f"fs.hung{m}": 0, f"fs.type{m}": "ext4",
               f"fs.device{m}": f"/dev/x{i}", f"fs.inodes{m}": 1e6, f"fs.inodes_free{m}": 9e5})  # fmt: skip
        s.rate({f"fs.used_bytes{m}": 1e6})
    for i in range(4):
        n = f"{{nic=eth{i}}}"
        s.set({f"net.virtual{n}": 0, f"net.up{n}": 1, f"net.speed_mbps{n}": 100_000})
        s.rate(
            {f"net.{a}_{b}{n}": 1000 for a in ("rx", "tx") for b in ("bytes", "packets", "errors", "drops")}
        )
        s.rate(
            {f"net.{a}_errors{n}": 0 for a in ("rx", "tx")} | {f"net.{a}_drops{n}": 0 for a in ("rx", "tx")}
        )
    s.processes = [process(100 + i, f"p{i}", rss_bytes=i << 20) for i in range(39)] + [
        process(4242, "python")
    ]
    return s


def with_gpus(s: FakeSource, n: int) -> None:
    """So many busy GPUs, each with one process."""
    s.set({"gpu.status": "ok", "gpu.count": n, "gpu.pid_space": "own"})
    for i in range(n):
        more = {"index": i, "pci": f"0000:{i:02x}:00.0", "sm_active_pct": 80.0, "tensor_active_pct": 30.0}
        s.set({series(f"gpu.{k}", gpu=f"GPU-{i}"): v for k, v in {**WELL, **more}.items()})
    tick = s.tick

    def with_processes(*args: Any, **more: Any) -> Any:
        snap = tick(*args, **more)
        snap.frame.samples["gpu"].gpu_processes = [
            GpuProcess(100 + i, f"GPU-{i}", "C", 60 << 30) for i in range(n)
        ]
        return snap

    s.tick = with_processes  # type: ignore[method-assign]


Field = Callable[[int], float | None]


def fields(r: random.Random, gpu: bool) -> dict[str, Field]:
    """What a worker writes of its steps: name -> value at a step, None where it measures nothing."""

    def about(x: float, spread: float = 0.05) -> Field:
        return lambda step: x * r.lognormvariate(0.0, spread)

    def every(n: int, of: Field) -> Field:
        return lambda step: of(step) if step % n == 0 else None

    found: dict[str, Field] = {
        "step_s": about(0.02), "samples": lambda step: 32.0, "data_s": about(0.0004, 0.3),
        "h2d_s": about(0.0001), "forward_s": about(0.006), "loss_s": about(0.001),
        "backward_s": about(0.008), "update_s": about(0.003), "cpu_s": about(0.0185, 0.02),
        "loss": lambda step: 0.4 + 2.0 / math.sqrt(step) + r.gauss(0.0, 0.05),
        "lr": lambda step: 1e-3, "accuracy": every(10, about(0.85, 0.02)),
        "grad_norm": every(5, about(3.5, 0.3)), "update_ratio": every(10, about(3e-3, 0.2)),
        "grad_first": every(5, about(0.3, 0.3)), "grad_last": every(5, about(0.5, 0.3)),
        "dead_share": every(50, about(0.45, 0.02)), "dead_layer": every(50, lambda step: 1.0),
        "rss_anon_bytes": every(10, about(4e8, 0.001)),
    }  # fmt: skip
    if gpu:
        found |= {
            "gpu_s": about(0.019), "gpu_ahead": lambda step: float(r.random() < 0.3),
            "h2d_gpu_s": about(0.0003), "sync_s": every(20, about(0.0002)),
            **{f"mem_{k}_bytes": every(10, about(x * 1e9, 0.0))
               for k, x in (("allocated", 10), ("reserved", 30), ("peak", 28), ("inactive", 1))},
            "mem_retries": every(10, lambda step: 0.0),
        }  # fmt: skip
    return found


class Training:
    """A run that makes `PACE` steps a second, as the reader of its log hands it out."""

    def __init__(self, source: FakeSource, number: int, row: Row) -> None:
        self.run = FakeRun(source, f"run-{number}")
        self.source, self.store, self.step = source, StepStore(), 0
        self.fields = fields(random.Random(number), bool(row.gpus))
        facts: dict[str, Any] = {"layers": {"names": ["a", "b"], "relus": ["c"]}, "steps_per_epoch": 1875}
        if row.gpus:
            facts["device"] = {"asked": "cuda", "chosen": f"cuda:{number}"}
        device = f"cuda:{number}" if row.gpus else "cpu"
        config: Mapping[str, Any] = {**self.run.now.config, **facts}
        self.run.publish(device=device, config=config, pid=100 + number, total_steps=10_000_000)
        while self.step < row.kept:
            self.add(source.wall_ns - (row.kept - self.step) * S // PACE)
        self.publish()

    def add(self, wall_ns: int) -> None:
        """A second of steps from then on."""
        records = []
        for i in range(PACE):
            self.step += 1
            record: dict[str, Any] = {"step": self.step, "epoch": 1, "wall_ns": wall_ns + (i + 1) * S // PACE}
            record |= {k: v for k, f in self.fields.items() if (v := f(self.step)) is not None}
            records.append(record)
        self.store.add(records)

    def tick(self) -> None:
        self.add(self.source.wall_ns - S)
        self.publish()

    def publish(self) -> None:
        run, known = self.run, self.source.known_runs
        at = next(i for i, r in enumerate(known) if r.id == run.id)
        run.seq += 1
        run.now = known[at] = replace(
            run.now, columns=self.store.view(), last=self.store.last, step=self.step, seq=run.seq
        )


def measure(row: Row, ticks: int, profile: bool = False) -> list[float]:
    """Milliseconds of CPU of each tick."""
    s, engine = node(), RuleEngine()
    if row.gpus:
        with_gpus(s, row.gpus)
    s.tick()
    runs = [Training(s, i, row) for i in range(row.runs)]
    out: list[float] = []
    profiler = cProfile.Profile()
    for i in range(ticks + SETTLING):
        s.tick(1.0)
        for run in runs:
            run.tick()
        gc.collect(0)
        if profile and i >= SETTLING:
            profiler.enable()
        began = time.thread_time_ns()
        engine.tick(s)
        spent = (time.thread_time_ns() - began) / 1e6
        profiler.disable()
        if i >= SETTLING:
            out.append(spent)
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(40)
    return out


def measured(row: Row, ticks: int, packages: Path | None) -> list[float]:
    """The same in a process of its own, with dctop from `packages`; None: as it is here."""
    argv = [sys.executable, __file__, "--row", str(ROWS.index(row)), "--ticks", str(ticks)]
    env = dict(os.environ) if packages is None else {**os.environ, "PYTHONPATH": str(packages)}
    done = subprocess.run(argv, env=env, check=True, capture_output=True, text=True)
    found: list[float] = json.loads(done.stdout)
    return found


def table(ticks: int, rounds: int, against: Path | None) -> None:
    sides: dict[str, Path | None] = {"": None}
    with tempfile.TemporaryDirectory(prefix="dctop-bench-") as folder:
        if against is not None:
            for name in ("probes", "engine", "tui"):
                (Path(folder) / "dctop").mkdir(exist_ok=True)
                (Path(folder) / "dctop" / name).symlink_to(against.resolve() / name)
            sides = {"against": Path(folder), "here": None}
        print(f"ms of CPU a tick (budget 2), {PACE} steps/s a run, {rounds} x {ticks} ticks a row")
        print(f"{'':<34}{'mean':>9}{'median':>9}{'p99':>9}{'worst':>9}")
        for row in ROWS:
            spent: dict[str, list[float]] = {side: [] for side in sides}
            for _ in range(rounds):
                for side, packages in sides.items():
                    spent[side] += measured(row, ticks, packages)
            for side, values in spent.items():
                values.sort()
                p99 = values[int(0.99 * (len(values) - 1))]
                found = (statistics.fmean(values), statistics.median(values), p99, values[-1])
                print(f"{row.name:<25}{side:<9}" + "".join(f"{v:>9.3f}" for v in found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    parser.add_argument("--profile", type=int, metavar="ROW", help="where the time of a row (0, 1 ...) goes")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.profile is not None:
        measure(ROWS[args.profile], args.ticks, profile=True)
    elif args.row is not None:
        print(json.dumps(measure(ROWS[args.row], args.ticks)))
    else:
        table(args.ticks, args.rounds, args.against)


if __name__ == "__main__":
    main()
