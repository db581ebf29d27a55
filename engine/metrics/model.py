"""What one tick of the engine knows: `Frame` (raw, what is recorded) and `Snapshot` (raw + derived)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dctop.probes.base import GpuProcess, KernelEvent, Process, Sample, Value
from dctop.probes.catalogue import PROBE_OF


class ProbeStatus(NamedTuple):
    """How one probe is doing at this tick. A tuple: there are a dozen new ones each tick, and frozen
    dataclasses take four times as long to make."""

    name: str
    age_s: float | None
    """Seconds since its latest sample; None before the first."""
    stale: bool
    """Older than two periods: drawn dim with `~`, rules that need it abstain."""
    error: str | None
    """One line, while its latest read failed or hangs."""
    problems: tuple[str, ...]
    cost_ms: float | None
    """CPU time of its latest read."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Raw samples of all probes at one tick. Recorded as it is; everything else is derived from it."""

    seq: int
    mono_ns: int
    wall_ns: int
    samples: Mapping[str, Sample]
    """Probe -> its latest sample (with its own time: a probe may be slower than the tick, or late).
    A probe that has not read yet is absent. While nothing new was read it is the same object as in the
    previous frame: that is how `SnapshotBuilder` knows."""
    events: Sequence[KernelEvent] = ()
    """New since the previous frame."""
    status: Mapping[str, ProbeStatus] = field(default_factory=dict)

    def value(self, key: str) -> Value:
        """A raw value by series key, counters included; None if missing."""
        sample = self.samples.get(PROBE_OF.get(key.partition("{")[0], ""))
        return None if sample is None else sample.values.get(key)

    @property
    def processes(self) -> Sequence[Process]:
        sample = self.samples.get("process")
        return () if sample is None or sample.processes is None else sample.processes

    @property
    def gpu_processes(self) -> Sequence[GpuProcess]:
        sample = self.samples.get("gpu")
        return () if sample is None or sample.gpu_processes is None else sample.gpu_processes


@dataclass(slots=True)
class Snapshot:
    """A frame with what follows from it and its predecessor. Read-only for everyone but its maker."""

    frame: Frame
    previous: Frame | None
    values: dict[str, Value]
    """Gauges and info as read, plus all derived series. No raw counters (those: `frame.value(key)`)."""
    process_cpu_pct: dict[int, float]
    """pid -> share of ONE core since the previous reading; a pid absent here used none, or is new."""
    process_read_bytes_per_s: dict[int, float]
    process_write_bytes_per_s: dict[int, float]
    labels: Mapping[str, Sequence[str]]
    """Metric id -> the label values it has now, in natural order: `labels["disk.util_pct"]`.
    Only for metrics with exactly one label. Use it to enumerate cores, disks, interfaces, mounts, GPUs."""

    def num(self, key: str) -> float | None:
        """The series as a float; None if missing or not a number."""
        v = self.values.get(key)
        return float(v) if isinstance(v, (int, float)) else None

    def text(self, key: str) -> str | None:
        v = self.values.get(key)
        return v if isinstance(v, str) else None

    def stale(self, probe: str) -> bool:
        status = self.frame.status.get(probe)
        return status is not None and status.stale
