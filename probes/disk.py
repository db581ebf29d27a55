"""Counters of block devices: /proc/diskstats."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from dctop.probes.base import KeptFile, Sample, Value, series
from dctop.probes.files import number, printable, reason, strange

SECTOR = 512
"""Bytes of a sector in diskstats, whatever the device's own sector size (block/stat.rst)."""
_IDS = ("reads", "read_bytes", "read_ms", "writes", "write_bytes", "write_ms", "in_flight", "busy_ms")
_COLUMNS = (3, 5, 6, 7, 9, 10, 11, 12)
_SCALES = (1, SECTOR, 1, 1, SECTOR, 1, 1, 1)
_MIN_FIELDS = 14
"""Before Linux 4.18; discards made it 18, flushes 20 (5.5). Old partition lines of 7 fields are no disks."""
_HIDDEN = re.compile(
    r"(?:loop|ram|fd|sr|scd)[0-9]+$|nvme[0-9]+c[0-9]+n[0-9]+$|mmcblk[0-9]+(?:boot[0-9]+|rpmb)$"
)
_PARTITION = re.compile(
    r"(?:(?:sd|hd|vd|xvd)[a-z]+[0-9]+|(?:nvme[0-9]+n|mmcblk|md|nbd|rbd|loop)[0-9]+p[0-9]+)$"
)
_MAX_FLIGHT = 1 << 31


class DiskProbe:
    """Whole devices: disks, md arrays and device-mapper volumes; no partitions, loops, RAM disks.

    What is written to an md array or a volume is counted there and again on the disks below it: the devices
    of the table do not add up to the node's traffic. zram is shown once it is in use.
    """

    name = "disk"
    lane = "proc"

    def __init__(self, proc: str | Path = "/proc", sys: str | Path = "/sys") -> None:
        self.period_s = 1.0
        self._path = Path(proc) / "diskstats"
        self._file = KeptFile(self._path, 8192)
        self._block = Path(sys) / "block"
        self._names: list[bytes] = []
        self._keys: dict[bytes, tuple[str, ...]] = {}

    def read(self) -> Sample:
        """A disk whose line is not understood has None in every series."""
        mono, wall = time.monotonic_ns(), time.time_ns()
        values: dict[str, Value] = {}
        problems: list[str] = []
        try:
            data = self._file.read()
        except OSError as e:
            problems.append(reason(self._path, e))
            return Sample("disk", mono, wall, values, problems=tuple(problems))
        rows = [f for line in data.splitlines() if len(f := line.split()) >= 3]
        names = [f[2] for f in rows]
        if names != self._names:
            self._names, self._keys = names, self._choose(names)
        keys = self._keys
        for f in rows:
            mine = keys.get(f[2])
            if mine is None:
                continue
            numbers = parse_disk(f)
            if numbers is None:
                problems.append(f"{strange(self._path)} ({printable(f[2], 64)})")
                values.update(dict.fromkeys(mine))
            elif f[2].startswith(b"zram") and not numbers[0] and not numbers[3]:
                continue
            else:
                values.update(zip(mine, numbers))
        return Sample("disk", mono, wall, values, problems=tuple(problems))

    def close(self) -> None:
        self._file.close()

    def _choose(self, names: list[bytes]) -> dict[bytes, tuple[str, ...]]:
        """Whole devices among `names` -> their series keys."""
        try:
            # `/` in a name (cciss/c0d0) is `!` in sysfs.
            whole = {n.replace("!", "/") for n in os.listdir(self._block)}  # noqa: PTH208
        except OSError:
            whole = None
        out: dict[bytes, tuple[str, ...]] = {}
        for raw in names:
            name = printable(raw, 64)
            if _HIDDEN.match(name) or (_PARTITION.match(name) if whole is None else name not in whole):
                continue
            out[raw] = tuple(series(f"disk.{i}", disk=name) for i in _IDS)
        return out


def parse_disk(fields: list[bytes]) -> tuple[int | None, ...] | None:
    """The fields of one diskstats line -> values in the order of `_IDS`; None where it is not a full line.

    A number of requests in flight that went below zero (kernels around 4.x miscounted) is None.
    """
    if len(fields) < _MIN_FIELDS:
        return None
    out: list[int | None] = []
    for column, scale in zip(_COLUMNS, _SCALES):
        n = number(fields[column])
        if n is None and not (column == 11 and fields[11].startswith(b"-")):
            return None
        out.append(None if n is None else n * scale)
    flight = out[6]
    if flight is not None and flight >= _MAX_FLIGHT:
        out[6] = None
    return tuple(out)
