"""What the GPU probe and another one say of the same thing, put together before a frame is made."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dctop.probes.base import GpuProcess, KernelEvent, Process, Sample

Held = tuple[int | None, float | None]
"""Memory on all GPUs together, SM share (of one GPU: two full ones are 200 %)."""


def held(rows: Sequence[GpuProcess]) -> dict[int, Held]:
    """pid -> what it holds on all its GPUs; a number that no row has is None."""
    out: dict[int, Held] = {}
    for p in rows:
        memory, sm = out.get(p.pid, (None, None))
        if p.mem_bytes is not None:
            memory = p.mem_bytes + (memory or 0)
        if p.sm_pct is not None:
            sm = float(p.sm_pct) + (sm or 0.0)
        out[p.pid] = memory, sm
    return out


class GpuJoin:
    """Gives processes their GPU memory and share. A row is a new object only where something changed."""

    def __init__(self) -> None:
        self._source: Sample | None = None
        self._joined: Sample | None = None
        self._rows: dict[int, tuple[Process, Held, Process]] = {}

    def apply(self, samples: dict[str, Sample]) -> None:
        """Replace the process sample by a joined one. A process sample is joined once: with the GPU sample
        that is there when it is new."""
        table, gpus = samples.get("process"), samples.get("gpu")
        if table is None or table.processes is None:
            return
        if table is not self._source:
            self._source, self._joined = table, self._join(table, gpus)
        if self._joined is not None:
            samples["process"] = self._joined

    def _join(self, table: Sample, gpus: Sample | None) -> Sample | None:
        if gpus is None or not gpus.gpu_processes or gpus.values.get("gpu.pid_space") == "host":
            self._rows.clear()
            return None
        found = held(gpus.gpu_processes)
        rows: dict[int, tuple[Process, Held, Process]] = {}
        out = []
        for p in table.processes or ():
            mine = found.get(p.pid)
            if mine is None:
                out.append(p)
                continue
            before = self._rows.get(p.pid)
            if before is None or before[0] is not p or before[1] != mine:
                before = (p, mine, p._replace(gpu_mem_bytes=mine[0], gpu_sm_pct=mine[1]))
            rows[p.pid] = before
            out.append(before[2])
        self._rows = rows
        return replace(table, processes=out) if rows else None


SAME_XID_S = 10.0
"""The driver and the kernel log tell of one Xid within this."""


class XidJoin:
    """One event for an Xid that came from the driver and through the kernel log.

    The log says more (process, details), so the driver's waits for one tick whether the log brings it too.
    Where the log cannot be read there is nothing to wait for.
    """

    def __init__(self) -> None:
        self._waiting: list[KernelEvent] = []
        self._logged: deque[KernelEvent] = deque(maxlen=100)
        self._told: deque[KernelEvent] = deque(maxlen=100)

    def apply(self, events: Sequence[KernelEvent], log_is_read: bool) -> tuple[KernelEvent, ...]:
        """The events of a tick, those of the driver that the log has or had left out."""
        if not events and not self._waiting:
            return ()
        out: list[KernelEvent] = []
        waited, self._waiting = self._waiting, []
        for e in events:
            if e.kind != "xid":
                out.append(e)
            elif e.fields.get("source") == "nvml":
                (self._waiting if log_is_read else waited).append(e)
            elif not _take(self._told, e):
                self._logged.append(e)
                out.append(e)
        for e in waited:
            if not _take(self._logged, e):
                self._told.append(e)
                out.append(e)
        return tuple(out)


def _take(seen: deque[KernelEvent], e: KernelEvent) -> bool:
    """Whether the other way told of the same one; each is the double of one only."""
    for other in seen:
        same = _address(other.fields) == _address(e.fields)
        same = same and other.fields.get("code") == e.fields.get("code")
        if same and abs(other.wall_ns - e.wall_ns) <= SAME_XID_S * 1e9:
            seen.remove(other)
            return True
    return False


def _address(fields: Mapping[str, str]) -> str:
    """0000:3b:00.0 and 0000:3b:00 are one device."""
    return fields.get("pci", "").lower().partition(".")[0]
