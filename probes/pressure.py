"""Pressure stall information of the node: /proc/pressure/{cpu,memory,io}.

A kernel built without it has no files (ENOENT); one booted with psi=0, as some distributions do, has files
that answer EOPNOTSUPP. Both are "not available": values None and one line that says what to do.
"""

from __future__ import annotations

import errno
import time
from pathlib import Path

from dctop.probes.base import KeptFile, Sample, Value
from dctop.probes.files import U64_MAX, decimal, number, reason, strange

_RESOURCES = ("cpu", "memory", "io")
_KINDS = ("some", "full")
_AVERAGES = ("avg10", "avg60", "avg300")
_BOTH = [b"some", b"full"]
_NAMES = [b"avg10", b"avg60", b"avg300", b"total"]
_PLACES = (2, 4, 6, 11, 13, 15)
_RETRY_READS = 30
"""A file that is not available is asked for again only this often."""


def _keys(resource: str, kind: str) -> tuple[str, ...]:
    head = f"pressure.{resource}.{kind}"
    return (*(f"{head}_{a}_pct" for a in _AVERAGES), f"{head}_us")


class _File:
    """One resource's file."""

    __slots__ = ("file", "keys", "path", "problem", "wait")

    def __init__(self, path: Path, resource: str) -> None:
        self.path = path
        self.file = KeptFile(path, 512)
        self.keys = {kind: _keys(resource, kind) for kind in _KINDS}
        self.problem: str | None = None
        self.wait = 0

    def read(self, values: dict[str, Value]) -> str | None:
        """Write what there is into `values`; the problem line, if there is one."""
        if self.wait:
            self.wait -= 1
            return self.problem
        try:
            data = self.file.read()
        except OSError as e:
            self.problem, self.wait = _unavailable(self.path, e), _RETRY_READS
            return self.problem
        self.problem = None
        return None if parse(data, self.keys, values) else strange(self.path)


class PressureProbe:
    """`some`: at least one task waited; `full`: all of them. Kernels before 5.13 have no `full` for cpu."""

    name = "pressure"
    lane = "proc"

    def __init__(self, proc: str | Path = "/proc", sys: str | Path = "/sys") -> None:
        self.period_s = 1.0
        self._files = [_File(Path(proc) / "pressure" / r, r) for r in _RESOURCES]
        self._empty: dict[str, Value] = dict.fromkeys(
            key for f in self._files for keys in f.keys.values() for key in keys
        )

    def read(self) -> Sample:
        values = dict(self._empty)
        mono, wall = time.monotonic_ns(), time.time_ns()
        problems = [line for f in self._files if (line := f.read(values)) is not None]
        return Sample("pressure", mono, wall, values, problems=tuple(problems))

    def close(self) -> None:
        for f in self._files:
            f.file.close()


def parse(data: bytes, keys: dict[str, tuple[str, ...]], values: dict[str, Value]) -> bool:
    """`some avg10=0.00 avg60=0.00 avg300=0.00 total=0` lines into `values`; False if nothing was there."""
    w = data.replace(b"=", b" ").split()
    if len(w) == 18 and w[0::9] == _BOTH and w[1:8:2] == _NAMES == w[10::2]:
        try:  # what every kernel since 5.13 writes: fixed places
            averages = [float(w[i]) for i in _PLACES]
            totals = int(w[8]), int(w[17])
        except ValueError:
            pass
        else:
            if 0 <= sum(averages) < 1000 and min(averages) >= 0 <= min(totals) and max(totals) <= U64_MAX:
                values.update(zip(keys["some"], (*averages[:3], totals[0])))
                values.update(zip(keys["full"], (*averages[3:], totals[1])))
                return True
    return _parse_lines(data, keys, values)


def _parse_lines(data: bytes, keys: dict[str, tuple[str, ...]], values: dict[str, Value]) -> bool:
    found = False
    for line in data.split(b"\n"):
        kind, _, rest = line.partition(b" ")
        wanted = keys.get("some" if kind == b"some" else "full" if kind == b"full" else "")
        if wanted is None:
            continue
        fields = rest.replace(b"=", b" ").split()
        named = dict(zip(fields[0::2], fields[1::2]))
        for name, key in zip((b"avg10", b"avg60", b"avg300"), wanted):
            if name in named:
                values[key] = decimal(named[name])
        values[wanted[3]] = number(named.get(b"total"))
        found = True
    return found


def _unavailable(path: Path, e: OSError) -> str:
    if e.errno == errno.EOPNOTSUPP:
        return f"{path}: not available (switched off; boot with psi=1)"
    if e.errno == errno.ENOENT:
        return f"{path}: not available (kernel without CONFIG_PSI, or not in this container)"
    return reason(path, e)
