"""What reading all processes costs: dctop's reader against psutil, at 200, 1,000 and 5,000 processes.

    python tests/benchmarks/bench_processes.py [--counts 200,1000,5000] [--ticks 12] [--psutil-ticks 2]

Starts `sleep`s until the node has that many processes, samples once a second as the dashboard does (so
caches are as cold as in life), and prints the CPU time of a tick. psutil reads pid, name, CPU times,
memory, status, threads, nice, user and command line: what a row of the process pane needs. `bare` is the
kernel alone, printing every stat file through descriptors that are kept, unparsed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from dctop.probes.process import INFO_BUDGET, ProcessProbe

ATTRIBUTES = ["pid", "ppid", "name", "cpu_times", "memory_info", "status", "num_threads", "nice"]
ATTRIBUTES += ["username", "cmdline"]
WARM_UP = 13
"""Ticks until processes count as idle and are read as such."""


def cpu_ms(call: Callable[[], object], ticks: int, pause_s: float) -> list[float]:
    """CPU milliseconds of this thread, a call."""
    out = []
    for _ in range(ticks):
        time.sleep(pause_s)
        began = time.thread_time_ns()
        call()
        out.append((time.thread_time_ns() - began) / 1e6)
    return out


def fill(pids: list[int], count: int) -> None:
    """Start sleepers until /proc holds `count` processes."""
    missing = count - sum(1 for path in Path("/proc").iterdir() if path.name.isdigit())
    for _ in range(missing):
        pids.append(os.posix_spawn("/bin/sleep", ["sleep", "3600"], {}))


def bare(ticks: int, pause_s: float) -> float:
    """What the kernel alone takes to print every /proc/PID/stat through kept descriptors."""
    fds = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fds.append(os.open(path, os.O_RDONLY))

    def read_all() -> None:
        for fd in fds:
            with contextlib.suppress(OSError):
                os.pread(fd, 1024, 0)

    try:
        return statistics.median(cpu_ms(read_all, ticks + 1, pause_s)[1:])
    finally:
        for fd in fds:
            os.close(fd)


def measure(count: int, ticks: int, psutil_ticks: int, pause_s: float) -> tuple[str, ...]:
    probe = ProcessProbe()
    first = cpu_ms(probe.read, 1, 0.0)[0]
    cpu_ms(probe.read, count // INFO_BUDGET, 0.0)  # until all command lines are known
    cpu_ms(probe.read, WARM_UP, pause_s)
    own = cpu_ms(probe.read, ticks, pause_s)
    rows = len(probe.read().processes or ())
    probe.close()
    kernel = bare(psutil_ticks, pause_s)
    theirs = cpu_ms(lambda: list(psutil.process_iter(ATTRIBUTES)), psutil_ticks + 1, pause_s)[1:]
    median, peer = statistics.median(own), statistics.median(theirs)
    times = (first, min(own), median, max(own), kernel, peer)
    return (f"{rows}", *(f"{t:.2f}" for t in times), f"{peer / median:.0f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--counts", default="200,1000,5000")
    parser.add_argument("--ticks", type=int, default=12)
    parser.add_argument("--psutil-ticks", type=int, default=2)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between readings")
    args = parser.parse_args()
    print("CPU ms a tick, one thread. first = the very first reading; least, worst = of the ticks counted.")
    heads = ("processes", "first", "least", "median", "worst", "bare", "psutil", "ratio")
    print("".join(f"{h:>11}" for h in heads))
    pids: list[int] = []
    try:
        for count in map(int, args.counts.split(",")):
            fill(pids, count)
            row = measure(count, args.ticks, args.psutil_ticks, args.pause)
            print("".join(f"{cell:>11}" for cell in row), flush=True)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
