"""What the own control group may use and uses: memory, CPU quota and throttling, tasks; v1 and v2.

The limit that counts is the tightest one of the own cgroup and all above it (a pod's, a Slurm job's).
Use, throttling and failures are read from the cgroup that sets the limit, so that use and limit belong
together. "max", -1 and v1's huge number mean unlimited, which is None.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from dctop.probes.base import KeptFile, Sample, Value
from dctop.probes.catalogue import CONTAINER
from dctop.probes.cgroups import Place, locate, parse_cgroup, parse_mounts
from dctop.probes.files import number, pick, printable, read_some, read_whole, reason

V1_UNLIMITED = 1 << 60
"""v1 prints LONG_MAX rounded down to a page for "no limit"; no machine has an exbibyte."""
_LIMITS_READS = 20
"""The own cgroup's path and the limits all the way up are looked at again this often: a process can be
moved and a limit changed while it runs, but rarely."""
_LAYOUT_READS = 300
"""Where cgroups are mounted is looked at again this often, and whenever the own path changes."""


class ContainerProbe:
    name = "container"
    lane = "proc"

    def __init__(self, proc: str | Path = "/proc", sys: str | Path = "/sys") -> None:
        self.period_s = 1.0
        self._proc, self._sys = Path(proc), Path(sys)
        self._own_path = self._proc / "self/cgroup"
        self._own = KeptFile(self._own_path)
        self._own_text: bytes | None = None
        self._count = 0
        self._places: dict[str, Place] = {}
        self._fixed: dict[str, Value] = {}
        self._parts: list[_Part] = []
        self._layout_problems: list[str] = []
        self._empty: dict[str, Value] = dict.fromkeys(m.id for m in CONTAINER)

    def read(self) -> Sample:
        values = dict(self._empty)
        mono, wall = time.monotonic_ns(), time.time_ns()
        if self._count % _LIMITS_READS == 0:
            try:
                text = self._own.read()
            except OSError as e:
                problem = reason(self._own_path, e)
                return Sample("container", mono, wall, values, problems=(problem,))
            if text != self._own_text or self._count % _LAYOUT_READS == 0:
                self._own_text = text
                self._lay_out(text)
            self._find_limits()
        self._count += 1
        values.update(self._fixed)
        problems = list(self._layout_problems)
        for part in self._parts:
            part.read(values, problems)
        return Sample("container", mono, wall, values, problems=tuple(problems))

    def close(self) -> None:
        self._own.close()
        for part in self._parts:
            part.close()

    def _lay_out(self, text: bytes) -> None:
        """Find the own cgroups."""
        self._layout_problems.clear()
        self._places.clear()
        mountinfo = self._proc / "self/mountinfo"
        try:
            mounts = parse_mounts(read_whole(mountinfo))
        except OSError as e:
            mounts = []
            self._layout_problems.append(reason(mountinfo, e))
        paths = parse_cgroup(text)
        for controller in ("memory", "cpu", "cpuacct", "pids"):
            place, problem = locate(controller, paths, mounts, self._sys)
            if place is not None:
                self._places[controller] = place
            elif problem is not None and problem not in self._layout_problems:
                self._layout_problems.append(problem)

    def _find_limits(self) -> None:
        """Find the tightest limits and the files that belong to them; what stays keeps its open file."""
        places = self._places
        self._fixed = {"container.cgroup_version": _version(places)}
        shown = places.get("memory") or places.get("cpu")
        if shown is not None:
            self._fixed["container.path"] = printable(os.fsencode(shown.path))
        takes = [
            *_memory_takes(places, self._fixed),
            *_cpu_takes(places, self._fixed),
            *_pids_takes(places, self._fixed),
        ]
        kept = {(part.path, part.take): part for part in self._parts}
        # A root cgroup has no use, older kernels have no peak: a file that is not there is not asked for.
        self._parts = [kept.pop(t) if t in kept else _Part(*t) for t in takes if t in kept or t[0].exists()]
        for gone in kept.values():
            gone.close()


Take = Callable[[bytes, dict[str, Value]], None]
"""Writes what a file's content says into a sample's values."""
_PathTake = tuple[Path, Take]


class _Part:
    """One file that is read every time, and what to take out of it."""

    __slots__ = ("file", "path", "take")

    def __init__(self, path: Path, take: Take) -> None:
        self.path = path
        self.take = take
        self.file = KeptFile(path, 4096)

    def read(self, values: dict[str, Value], problems: list[str]) -> None:
        try:
            self.take(self.file.read(), values)
        except OSError as e:
            problems.append(reason(self.path, e))

    def close(self) -> None:
        self.file.close()


def _version(places: dict[str, Place]) -> str:
    first = places.get("memory") or places.get("cpu")
    if first is None:
        return "none"
    return "v2" if first.v2 else "v1"


# -- limits: the tightest one on the way up ---------------------------------------------------------------


def _tightest(place: Place, limit: Callable[[Path], float | None]) -> tuple[float | None, Path]:
    """(limit, the cgroup that sets it); (None, own cgroup) without one. The lowest wins a tie."""
    best, where = None, place.chain[0]
    for folder in place.chain:
        value = limit(folder)
        if value is not None and (best is None or value < best):
            best, where = value, folder
    return best, where


def _bytes_limit(name: str) -> Callable[[Path], float | None]:
    def limit(folder: Path) -> float | None:
        n = number(read_some(folder / name))  # "max" is no number
        return n if n is not None and n < V1_UNLIMITED else None

    return limit


def _quota_v1(folder: Path) -> float | None:
    quota, period = (
        number(read_some(folder / "cpu.cfs_quota_us")),
        number(read_some(folder / "cpu.cfs_period_us")),
    )
    return quota / period if quota and period else None


def _quota_v2(folder: Path) -> float | None:
    fields = (read_some(folder / "cpu.max") or b"").split()
    quota, period = (number(f) for f in fields) if len(fields) == 2 else (None, None)
    return quota / period if quota and period else None


# -- which files, and what is in them ---------------------------------------------------------------------


def _one(key: str, divisor: int = 1) -> Take:
    """A file that holds one number."""

    def take(data: bytes, values: dict[str, Value]) -> None:
        n = number(data)
        values[key] = None if n is None else n // divisor

    return take


def _flat(**names: tuple[str, int]) -> Take:
    """A file of `name value` lines: name -> (key, divisor)."""
    wanted = tuple((name.encode(), key, divisor) for name, (key, divisor) in names.items())
    searched = tuple(name for name, _, _ in wanted)

    def take(data: bytes, values: dict[str, Value]) -> None:
        found = pick(data, searched)
        for name, key, divisor in wanted:
            n = found[name]
            values[key] = None if n is None else n // divisor

    return take


def _sum_kills(data: bytes, values: dict[str, Value]) -> None:
    """v1 counts a kill only where the victim was, so the own cgroup's and the limit's are added."""
    n = pick(data, (b"oom_kill",))[b"oom_kill"]
    before = values["container.oom_kills"]
    if n is not None:
        values["container.oom_kills"] = n + (before if isinstance(before, int) else 0)


# Made once: an open file is known by its path and what is taken out of it.
_V1_MEMORY = {
    "memory.usage_in_bytes": _one("container.memory_bytes"),
    "memory.max_usage_in_bytes": _one("container.memory_max_bytes"),
    "memory.failcnt": _one("container.memory_failcnt"),
    "memory.stat": _flat(total_inactive_file=("container.inactive_file_bytes", 1)),
    "memory.oom_control": _sum_kills,
}
_V2_MEMORY = {
    "memory.current": _one("container.memory_bytes"),
    "memory.peak": _one("container.memory_max_bytes"),
    "memory.stat": _flat(inactive_file=("container.inactive_file_bytes", 1)),
    "memory.events": _flat(max=("container.memory_failcnt", 1), oom_kill=("container.oom_kills", 1)),
}
_PIDS = _one("container.pids")
_V1_USAGE = _one("container.cpu_usage_us", 1000)
_V1_CPU = _flat(
    nr_periods=("container.cpu_periods", 1),
    nr_throttled=("container.cpu_throttled_periods", 1),
    throttled_time=("container.cpu_throttled_us", 1000),
)
_V2_CPU = _flat(
    nr_periods=("container.cpu_periods", 1),
    nr_throttled=("container.cpu_throttled_periods", 1),
    throttled_usec=("container.cpu_throttled_us", 1),
    usage_usec=("container.cpu_usage_us", 1),
)


def _memory_takes(places: dict[str, Place], fixed: dict[str, Value]) -> list[_PathTake]:
    place = places.get("memory")
    if place is None:
        return []
    limit, at = _tightest(place, _bytes_limit("memory.max" if place.v2 else "memory.limit_in_bytes"))
    fixed["container.memory_limit_bytes"] = limit
    takes = [(at / name, take) for name, take in (_V2_MEMORY if place.v2 else _V1_MEMORY).items()]
    if not place.v2 and at != place.chain[0]:
        takes.append((place.chain[0] / "memory.oom_control", _sum_kills))
    return takes


def _cpu_takes(places: dict[str, Place], fixed: dict[str, Value]) -> list[_PathTake]:
    place, usage = places.get("cpu"), places.get("cpuacct")
    takes: list[_PathTake] = []
    height = 0
    if place is not None:
        fixed["container.cpu_quota_cores"], at = _tightest(place, _quota_v2 if place.v2 else _quota_v1)
        takes.append((at / "cpu.stat", _V2_CPU if place.v2 else _V1_CPU))
        if usage is not None and usage.path == place.path and len(usage.chain) == len(place.chain):
            height = place.chain.index(at)
    if usage is not None and not usage.v2:
        takes.append((usage.chain[height] / "cpuacct.usage", _V1_USAGE))
    return takes


def _pids_takes(places: dict[str, Place], fixed: dict[str, Value]) -> list[_PathTake]:
    place = places.get("pids")
    if place is None:
        return []
    fixed["container.pids_limit"], at = _tightest(place, _bytes_limit("pids.max"))
    return [(at / "pids.current", _PIDS)]
