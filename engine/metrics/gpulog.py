"""What is remembered of the GPUs over a session: the energy they used and what the kernel said of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from dctop.engine.metrics.model import Frame, Snapshot
from dctop.probes.base import KernelEvent, series

KEPT_EVENTS = 200
_ABOUT = frozenset(("gpu-lost", "sxid"))


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy a GPU used since `since_wall_ns` (wall clock). `estimated`: power times time, for want of a
    counter."""

    joules: float
    since_wall_ns: int
    estimated: bool


@dataclass(slots=True)
class _Count:
    first: float
    """Counter at the beginning (mJ), moved along with every reset of it."""
    last: float
    since_wall_ns: int


@dataclass(slots=True)
class _Sum:
    joules: float
    mono_ns: int
    since_wall_ns: int


def about_gpus(e: KernelEvent) -> bool:
    """An Xid, an NVSwitch error, or a GPU that fell off the bus."""
    return e.kind == "xid" or (e.kind == "other" and e.fields.get("about") in _ABOUT)


class GpuLog:
    """Fed once a tick by the live engine."""

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}
        self._sums: dict[str, _Sum] = {}
        self._keys: dict[str, str] = {}
        """GPU -> series of its energy counter."""
        self._events: deque[KernelEvent] = deque(maxlen=KEPT_EVENTS)

    def tick(self, snap: Snapshot) -> None:
        frame = snap.frame
        for e in frame.events:
            if about_gpus(e):
                self._events.append(e)
        sample = frame.samples.get("gpu")
        for uuid in snap.labels.get("gpu.name", ()):
            key = self._keys.get(uuid)
            if key is None:
                key = self._keys[uuid] = series("gpu.energy_mj", gpu=uuid)
            mj = None if sample is None else sample.values.get(key)
            if isinstance(mj, (int, float)):
                self._count(uuid, float(mj), frame.wall_ns)
            else:
                self._add(uuid, snap)

    def _count(self, uuid: str, mj: float, wall_ns: int) -> None:
        c = self._counts.get(uuid)
        if c is None:
            self._counts[uuid] = _Count(mj, mj, wall_ns)
            return
        if mj < c.last:  # a driver that was loaded anew counts from 0
            c.first -= c.last
        c.last = mj

    def _add(self, uuid: str, snap: Snapshot) -> None:
        watts = snap.num(series("gpu.power_w", gpu=uuid))
        now = snap.frame.mono_ns
        s = self._sums.get(uuid)
        if s is None:
            if watts is not None:
                self._sums[uuid] = _Sum(0.0, now, snap.frame.wall_ns)
            return
        if watts is not None and watts >= 0:
            s.joules += watts * min(10.0, (now - s.mono_ns) / 1e9)
        s.mono_ns = now

    def energy(self, uuid: str, frame: Frame) -> Energy | None:
        """Up to `frame` (a moment of this session); None where neither counter nor power was ever read."""
        c = self._counts.get(uuid)
        if c is not None:
            mj = frame.value(series("gpu.energy_mj", gpu=uuid))
            now = float(mj) if isinstance(mj, (int, float)) else c.last
            return Energy(max(0.0, now - c.first) / 1000.0, c.since_wall_ns, False)
        s = self._sums.get(uuid)
        return None if s is None else Energy(s.joules, s.since_wall_ns, True)

    def events(self, until_wall_ns: int | None = None) -> Sequence[KernelEvent]:
        """Oldest first."""
        if until_wall_ns is None:
            return tuple(self._events)
        return tuple(e for e in self._events if e.wall_ns <= until_wall_ns)
