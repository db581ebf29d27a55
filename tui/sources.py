"""What the screen needs of a source beyond `Source`: the live engine's and the replay's own abilities."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from dctop.engine.metrics.gpulog import Energy
from dctop.engine.metrics.model import Snapshot
from dctop.engine.metrics.source import Source
from dctop.probes.base import KernelEvent


class EventLike(Protocol):
    """An event of a recording; `kind` alert | marker | note | gap | run | ..., `sev` of alerts."""

    @property
    def t0(self) -> int: ...

    @property
    def t1(self) -> int | None: ...

    @property
    def seq(self) -> int: ...

    @property
    def kind(self) -> str: ...

    @property
    def sev(self) -> str | None: ...

    @property
    def rule(self) -> str | None: ...

    @property
    def entity(self) -> str | None: ...

    @property
    def title(self) -> str: ...


class Timed(Source, Protocol):
    """What both kinds of source can do beyond the present moment."""

    def wide(self, key: str, n: int, k: int) -> array[float]: ...

    def events(self) -> Sequence[EventLike]: ...

    def snapshots_at(self, wall_ns: int, n: int) -> list[Snapshot]: ...


class LiveLike(Timed, Protocol):
    """`engine.live.LiveEngine` as the screen uses it."""

    tick_seq: int
    next_tick_mono: float
    """When the next tick is usually done."""
    recorder: Any

    @property
    def back(self) -> int: ...

    def look_back(self, ticks: int) -> int: ...

    def start_recording(self, path: Path | None = None) -> Path: ...

    def stop_recording(self) -> None: ...

    def mark(self, text: str) -> Any: ...

    def ack(self, alert_id: int) -> None: ...

    def mute(self, alert_id: int, minutes: float) -> None: ...

    def not_checked(self) -> Sequence[tuple[str, str]]: ...


class ReplayLike(Timed, Protocol):
    """`engine.recording.replay.ReplaySource` as the screen uses it. Times: wall clock, ns."""

    @property
    def position_ns(self) -> int: ...

    @property
    def t0_ns(self) -> int: ...

    @property
    def t1_ns(self) -> int: ...

    @property
    def at_end(self) -> bool: ...

    @property
    def live(self) -> bool: ...

    def refresh(self) -> bool: ...

    def seek(self, wall_ns: int) -> bool: ...

    def seek_seq(self, seq: int) -> bool: ...

    def step(self, n: int) -> bool: ...

    def advance(self, seconds: float) -> bool: ...

    def gaps(self) -> Sequence[tuple[int, int]]: ...

    def overview(self) -> Mapping[str, Sequence[float]]: ...

    def next_event(self, direction: int, kinds: Sequence[str] = ...) -> EventLike | None: ...


def is_live(source: Source) -> TypeGuard[LiveLike]:
    return source.mode == "live"


def is_replay(source: Source) -> TypeGuard[ReplayLike]:
    return source.mode == "replay"


def is_timed(source: Source) -> TypeGuard[Timed]:
    return hasattr(source, "snapshots_at")


def gpu_count(source: Source) -> int:
    snap = source.snapshot()
    count = None if snap is None else snap.num("gpu.count")
    return int(count) if count is not None and count > 0 else 0


def gpu_devices(source: Source) -> int:
    """GPUs and MIG devices, as many as have a row."""
    snap = source.snapshot()
    return 0 if snap is None else len(snap.labels.get("gpu.name", ()))


def recorder_status(source: Source) -> Any | None:
    """state, path, size_bytes, bytes_per_hour, lost_frames, error; None where nothing is recorded."""
    recorder = getattr(source, "recorder", None)
    status = None if recorder is None else getattr(recorder, "status", None)
    return status() if callable(status) else status


def gpu_energy(source: Source, uuid: str) -> Energy | None:
    """What a GPU used since the source's beginning; None where the source does not know."""
    ask = getattr(source, "gpu_energy", None)
    return None if ask is None else ask(uuid)


def gpu_events(source: Source) -> Sequence[KernelEvent]:
    """Xids and the like up to the moment looked at, oldest first."""
    ask = getattr(source, "gpu_events", None)
    return () if ask is None else ask()
