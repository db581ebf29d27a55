"""What goes on around healthy runs, read by other means than the rules': straight from the kernel's files.

A witness for the question whether an alert about the machine was true. It shares no code with dctop's probes
and no threshold with its rules.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1
KEEP_S = 900.0
PEAKS = ("busy", "others", "ours", "iowait", "disk", "steal")


@dataclass(frozen=True, slots=True)
class Look:
    """Running totals at one moment; seconds, unless it says otherwise."""

    mono: float
    busy: float
    """CPU seconds of all processors, in user, system and interrupts."""
    steal: float
    iowait: float
    ours: Mapping[int, float]
    """Process -> CPU seconds, of the runs' processes."""
    own: float
    """CPU seconds of this process: the engine that watches."""
    waited: Mapping[int, float]
    """Process -> seconds its main thread was runnable without a processor, of the runs' processes."""
    run_of: Mapping[int, str]
    """Process -> name of the run whose directory it works in."""
    disk_busy: Mapping[str, float] = field(default_factory=dict)
    pressure: Mapping[str, float] = field(default_factory=dict)
    """cpu, io, memory -> avg10 of `some`, per cent."""
    available: float = 1.0
    """Share of memory that is available."""
    oom_kills: int = 0


class Witness:
    """Looks when told; keeps a quarter of an hour. `folder`: the state folder of the runs; a process belongs
    to the run in whose directory it works."""

    def __init__(self, folder: Path) -> None:
        self._prefix = os.fspath(folder.resolve() / "dctop" / "runs") + "/"
        self._runs: dict[tuple[int, str], str | None] = {}
        self.looks: deque[Look] = deque()

    def look(self) -> Look:
        cpu = [int(x) / TICK for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        ours, waited, run_of = self._processes()
        now = Look(
            time.monotonic(), cpu[0] + cpu[1] + cpu[2] + cpu[5] + cpu[6], cpu[7], cpu[4], ours,
            time.process_time(), waited, run_of, _disks(), _pressure(), _available(), _oom_kills(),
        )  # fmt: skip
        self.looks.append(now)
        while now.mono - self.looks[0].mono > KEEP_S:
            self.looks.popleft()
        return now

    def _processes(self) -> tuple[dict[int, float], dict[int, float], dict[int, str]]:
        ours, waited, run_of = {}, {}, {}
        seen: dict[tuple[int, str], str | None] = {}
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            try:
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                key = (int(entry.name), fields[19])
                run = self._runs[key] if key in self._runs else self._run_at(Path(entry.path, "cwd"))
                seen[key] = run
                if run is not None:
                    ours[key[0]] = (int(fields[11]) + int(fields[12])) / TICK
                    waited[key[0]] = int(Path(entry.path, "schedstat").read_text().split()[1]) / 1e9
                    run_of[key[0]] = run
            except (OSError, ValueError, IndexError):
                continue
        self._runs = seen
        return ours, waited, run_of

    def _run_at(self, cwd: Path) -> str | None:
        """The run a process belongs to by its working directory: FOLDER/dctop/runs/RUN."""
        place = f"{cwd.readlink()}/"
        return place.removeprefix(self._prefix).split("/", 1)[0] if place.startswith(self._prefix) else None


def _disks() -> dict[str, float]:
    try:
        lines = Path("/proc/diskstats").read_text().splitlines()
    except OSError:
        return {}
    return {f[2]: int(f[12]) / 1e3 for f in map(str.split, lines) if len(f) > 12}


def _pressure() -> dict[str, float]:
    out = {}
    for what in ("cpu", "io", "memory"):
        try:
            text = Path("/proc/pressure", what).read_text()
            out[what] = float(text.split("avg10=", 1)[1].split()[0])
        except (OSError, IndexError, ValueError):
            continue
    return out


def _available() -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return float(lines["MemAvailable"].split()[0]) / float(lines["MemTotal"].split()[0])


def _oom_kills() -> int:
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


def between(a: Look, b: Look, run: str | None = None) -> dict[str, float]:
    """Means over the time from `a` to `b`, in processors: `busy`, `ours` (the runs), `others` (neither they
    nor the watching engine), `steal`, `iowait`; `waited`: share of the time in which the main thread of a
    process of the run was without a processor it asked for, of that which waited longest; `disk`: share of
    the time the busiest disk was busy."""
    span = max(1e-6, b.mono - a.mono)
    ours = sum(max(0.0, t - a.ours.get(p, 0.0)) for p, t in b.ours.items())
    busy = b.busy - a.busy
    out = {
        "seconds": span, "busy": busy / span, "ours": ours / span, "steal": (b.steal - a.steal) / span,
        "others": max(0.0, busy - ours - (b.own - a.own)) / span, "iowait": (b.iowait - a.iowait) / span,
        "disk": max((t - a.disk_busy.get(d, t) for d, t in b.disk_busy.items()), default=0.0) / span,
        "available": b.available, "oom_kills": float(b.oom_kills - a.oom_kills),
        **{f"pressure_{k}": v for k, v in b.pressure.items()},
    }  # fmt: skip
    own = [b.waited[p] - a.waited[p] for p, of in b.run_of.items() if of == run and p in a.waited]
    if run is not None and own:
        out["waited"] = max(own) / span
    return out


def around(looks: deque[Look], run: str | None, last_s: float = 60.0) -> dict[str, dict[str, float]]:
    """`now`: the last minute; `peak`: the highest between two looks of the last half minute; `before`: the
    time before the minute, as far back as it is kept (of a run: since it was first seen)."""
    known = [x for x in looks if run is None or run in x.run_of.values()] or list(looks)
    if len(known) < 2:
        return {}
    end = known[-1]
    inside = [x for x in known if end.mono - x.mono <= last_s]
    begin = inside[0] if len(inside) > 1 else known[-2]
    out = {"now": between(begin, end, run)}
    for what in ("cpu", "io", "memory"):
        out["now"][f"pressure_{what}"] = max((x.pressure.get(what, 0.0) for x in inside), default=0.0)
    late = [x for x in known if end.mono - x.mono <= last_s / 2]
    steps = [between(a, b) for a, b in itertools.pairwise(late)]
    out["peak"] = {k: max((x[k] for x in steps), default=0.0) for k in PEAKS}
    if begin.mono - known[0].mono >= 10.0:
        out["before"] = between(known[0], begin, run)
    return out


def space(path: str) -> dict[str, float]:
    """Of a file system: the free shares of its blocks (`free`) and `inodes`, whether it is `readonly` (1);
    {} where it cannot be asked."""
    try:
        s = os.statvfs(path)
    except (OSError, ValueError):
        return {}
    return {
        "free": s.f_bavail / s.f_blocks if s.f_blocks else 1.0,
        "inodes": s.f_favail / s.f_files if s.f_files else 1.0,
        "readonly": float(bool(s.f_flag & os.ST_RDONLY)),
    }
