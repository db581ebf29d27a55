"""What judging costs: CPU time of `RuleEngine.tick` at 300 series, 40 processes and training runs.

    python tests/benchmarks/bench_rules.py [--ticks 900] [--profile]

The node is invented (8 disks, 12 mounts, 4 interfaces, 32 cores), its counters move every tick, one run makes
50 steps a second. Printed: the mean, the median, the 99th percentile and the worst tick. The budget is 2 ms.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dctop.engine.rules.engine import RuleEngine
from tests.fakes.source import FakeRun, FakeSource, process


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


def measure(runs: int, ticks: int, profile: bool) -> list[float]:
    s, engine = node(), RuleEngine()
    s.tick()
    training = [FakeRun(s, f"run-{i}") for i in range(runs)]
    out: list[float] = []
    profiler = cProfile.Profile()
    for i in range(ticks + 60):
        s.tick(1.0)
        for run in training:
            run.steps(50, 1.0)
            for column in run.columns.values():
                del column[:-2000]  # what a reader never thins
        gc.collect(0)
        if profile and i >= 60:
            profiler.enable()
        began = time.thread_time_ns()
        engine.tick(s)
        spent = (time.thread_time_ns() - began) / 1e6
        profiler.disable()
        if i >= 60:
            out.append(spent)
    if s.current is not None and not runs:
        print(f"{len(s.current.values)} series, {len(s.processes)} processes, {ticks} ticks a row")
        print(f"{'':<24}{'mean':>9}{'median':>9}{'p99':>9}{'worst':>9}   ms of CPU a tick (budget 2)")
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=900)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    for runs in (0, 1, 4) if not args.profile else (1,):
        spent = sorted(measure(runs, args.ticks, args.profile))
        p99 = spent[int(0.99 * (len(spent) - 1))]
        row = (statistics.fmean(spent), statistics.median(spent), p99, spent[-1])
        print(
            f"{runs} run{'s' if runs != 1 else ''}, 50 steps/s each".ljust(24)
            + "".join(f"{v:>9.3f}" for v in row)
        )


if __name__ == "__main__":
    main()
