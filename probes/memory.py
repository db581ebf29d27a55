"""Memory of the node: /proc/meminfo, /proc/vmstat, NUMA nodes, /dev/shm.

A field an older kernel does not have stays None; above all MemAvailable is never made up from others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from operator import itemgetter, mul
from pathlib import Path

from dctop.probes.base import KeptFile, Sample, Value, series
from dctop.probes.files import number, reason, strange

_MEMINFO = {
    b"MemTotal:": "memory.total_bytes",
    b"MemAvailable:": "memory.available_bytes",
    b"MemFree:": "memory.free_bytes",
    b"Buffers:": "memory.buffers_bytes",
    b"Cached:": "memory.cached_bytes",
    b"SReclaimable:": "memory.slab_reclaimable_bytes",
    b"Shmem:": "memory.shmem_bytes",
    b"AnonPages:": "memory.anon_bytes",
    b"Mapped:": "memory.mapped_bytes",
    b"Dirty:": "memory.dirty_bytes",
    b"Writeback:": "memory.writeback_bytes",
    b"Committed_AS:": "memory.committed_bytes",
    b"SwapTotal:": "memory.swap_total_bytes",
    b"SwapFree:": "memory.swap_free_bytes",
    b"HugePages_Total:": "memory.hugepages_total",
    b"HugePages_Free:": "memory.hugepages_free",
    b"Hugepagesize:": "memory.hugepage_bytes",
}
_VMSTAT = (
    (b"\npswpin ", "memory.swap_in_pages"),
    (b"\npswpout ", "memory.swap_out_pages"),
    (b"\npgmajfault ", "memory.major_faults"),
    (b"\noom_kill ", "memory.oom_kills"),
)
_NODE = {
    b"MemTotal:": "memory.node.total_bytes",
    b"MemFree:": "memory.node.free_bytes",
    b"FilePages:": "memory.node.file_bytes",
}
_SHM = ("memory.shm_total_bytes", "memory.shm_used_bytes")
_KIB_LIMIT = 1 << 54
_NODE_READS = 4
"""NUMA nodes are read every fourth time: eight of them would cost more than all the rest."""
_LOOK_AGAIN_READS = 60
"""NUMA nodes are looked for anew this often: memory can be plugged."""


class MemoryProbe:
    """`shm`: where shared memory is mounted (statvfs of a tmpfs does not block)."""

    name = "memory"
    lane = "proc"

    def __init__(
        self, proc: str | Path = "/proc", sys: str | Path = "/sys", shm: str | Path = "/dev/shm"
    ) -> None:
        self.period_s = 1.0
        self._shm = os.fspath(shm)
        self._meminfo_path, self._vmstat_path = Path(proc) / "meminfo", Path(proc) / "vmstat"
        self._meminfo = KeptFile(self._meminfo_path)
        self._vmstat = KeptFile(self._vmstat_path, 8192)
        self._vmstat_at = [0] * len(_VMSTAT)
        self._fields = Fields(_MEMINFO)
        self._node_dir = Path(sys) / "devices/system/node"
        self._nodes: list[_Node] = []
        self._node_values: dict[str, Value] = {}
        self._node_problems: list[str] = []
        self._count = 0
        self._empty: dict[str, Value] = dict.fromkeys(
            (*_MEMINFO.values(), *(key for _, key in _VMSTAT), *_SHM)
        )

    def read(self) -> Sample:
        values = dict(self._empty)
        problems: list[str] = []
        mono, wall = time.monotonic_ns(), time.time_ns()
        try:
            self._fields.parse(self._meminfo.read(), values)
            if values["memory.total_bytes"] is None:
                problems.append(strange(self._meminfo_path))
        except OSError as e:
            problems.append(reason(self._meminfo_path, e))
        try:
            self._parse_vmstat(self._vmstat.read(), values)
        except OSError as e:
            problems.append(reason(self._vmstat_path, e))
        if self._count % _LOOK_AGAIN_READS == 0:
            self._look_for_nodes()
        if self._count % _NODE_READS == 0:
            self._read_nodes()
        self._count += 1
        values.update(self._node_values)
        problems.extend(self._node_problems)
        self._read_shm(values, problems)
        return Sample("memory", mono, wall, values, problems=tuple(problems))

    def close(self) -> None:
        self._meminfo.close()
        self._vmstat.close()
        for node in self._nodes:
            node.file.close()

    def _parse_vmstat(self, data: bytes, values: dict[str, Value]) -> None:
        data = b"\n" + data
        for i, (mark, key) in enumerate(_VMSTAT):
            # A line moves by a few digits between two readings: look near its last place first.
            found = data.find(mark, max(0, self._vmstat_at[i] - 256))
            if found < 0:
                found = data.find(mark)
                if found < 0:
                    continue
            self._vmstat_at[i] = found
            start = found + len(mark)
            end = data.find(b"\n", start)
            values[key] = number(data[start : end if end >= 0 else len(data)])

    def _read_shm(self, values: dict[str, Value], problems: list[str]) -> None:
        try:
            fs = os.statvfs(self._shm)
        except OSError as e:
            problems.append(reason(self._shm, e))
            return
        values[_SHM[0]] = fs.f_blocks * fs.f_frsize
        values[_SHM[1]] = (fs.f_blocks - fs.f_bfree) * fs.f_frsize

    def _read_nodes(self) -> None:
        self._node_values.clear()
        self._node_problems.clear()
        for node in self._nodes:
            if (line := node.read(self._node_values)) is not None:
                self._node_problems.append(line)

    def _look_for_nodes(self) -> None:
        try:
            names = [path.name for path in self._node_dir.iterdir()]
        except OSError:  # a kernel without NUMA: no nodes, nothing to complain of
            names = []
        ids = sorted(int(n[4:]) for n in names if n.startswith("node") and n[4:].isdecimal() and n.isascii())
        if ids == [node.id for node in self._nodes]:
            return
        for node in self._nodes:
            node.file.close()
        self._nodes = [_Node(self._node_dir / f"node{i}/meminfo", i) for i in ids]


class Fields:
    """Picks `Name: 123 kB` fields out of a meminfo-like file by position; searches only when they moved."""

    def __init__(self, wanted: dict[bytes, str]) -> None:
        self._wanted = wanted
        self._keys: tuple[str, ...] = ()
        self._names: tuple[bytes, ...] = ()
        self._scales: tuple[int, ...] = ()
        self._name_at: Callable[[list[bytes]], tuple[bytes, ...]] | None = None
        self._number_at: Callable[[list[bytes]], tuple[bytes, ...]] | None = None

    def parse(self, data: bytes, values: dict[str, Value]) -> None:
        """What there is into `values`; None for what there is not."""
        words = data.split()
        if self._name_at is not None and self._number_at is not None:
            try:
                if self._name_at(words) == self._names:
                    found = list(map(int, self._number_at(words)))
                    if min(found) >= 0 and max(found) < _KIB_LIMIT:
                        values.update(zip(self._keys, map(mul, found, self._scales)))
                        return
            except (IndexError, ValueError):
                pass
        self._search(words, values)

    def _search(self, words: list[bytes], values: dict[str, Value]) -> None:
        plan: list[tuple[int, str]] = []
        values.update(dict.fromkeys(self._wanted.values()))
        for at, word in enumerate(words[:-1]):
            key = self._wanted.get(word)
            if key is None:
                continue
            n = number(words[at + 1])
            if n is not None and n < _KIB_LIMIT:
                values[key] = n * (1024 if words[at + 2 : at + 3] == [b"kB"] else 1)
                plan.append((at, key))
        places = [at for at, _ in plan]
        self._keys = tuple(key for _, key in plan)
        self._names = tuple(words[at] for at in places)
        self._scales = tuple(1024 if words[at + 2 : at + 3] == [b"kB"] else 1 for at in places)
        regular = len(plan) == len(self._wanted)  # otherwise a lacking field would never be found again
        self._name_at = itemgetter(*places) if regular else None
        self._number_at = itemgetter(*(at + 1 for at in places)) if regular else None


class _Node:
    """The meminfo of one NUMA node: lines begin with `Node 0 `."""

    __slots__ = ("empty", "fields", "file", "id", "path")

    def __init__(self, path: Path, id: int) -> None:  # noqa: A002
        self.id = id
        self.path = path
        self.file = KeptFile(path)
        keys = {field: series(metric, node=str(id)) for field, metric in _NODE.items()}
        self.fields = Fields(keys)
        self.empty: dict[str, Value] = dict.fromkeys(keys.values())

    def read(self, values: dict[str, Value]) -> str | None:
        values.update(self.empty)
        try:
            self.fields.parse(self.file.read(), values)
        except OSError as e:
            return reason(self.path, e)
        return None
