"""Frames to snapshots: the same code live, in replay and in export."""

from __future__ import annotations

import os

from dctop.engine.metrics.derived import (
    across,
    derive,
    derive_across,
    derive_processes,
    labels_of,
    plan_for,
)
from dctop.engine.metrics.model import Frame, Snapshot
from dctop.probes.base import Process, Sample, Value

TICK_HZ = os.sysconf("SC_CLK_TCK")
"""USER_HZ: the unit of cpu_ticks. A recording of another machine brings its own (meta `tick_hz`)."""


class SnapshotBuilder:
    """Turns consecutive frames into snapshots. One a stream; `reset` before an unrelated frame (seek).

    Rates are taken between differing samples of a probe, not between ticks: a probe slower than the
    tick, or late, yields its last rate again instead of 0 and then a burst.
    """

    def __init__(self, tick_hz: int = TICK_HZ) -> None:
        self._tick_hz = tick_hz
        self.reset()

    def reset(self) -> None:
        self._previous: Frame | None = None
        self._samples: dict[str, Sample] = {}
        self._derived: dict[str, dict[str, Value]] = {}
        self._keys: dict[str, frozenset[str]] = {}
        self._values: dict[str, Value] = {}
        """All of `_derived` in one."""
        self._labels: dict[str, tuple[str, ...]] = {}
        self._nics: tuple[str, ...] = ()
        self._added = 0
        self._by_pid: dict[int, Process] = {}
        self._rates: tuple[dict[int, float], dict[int, float], dict[int, float]] = ({}, {}, {})

    def push(self, frame: Frame) -> Snapshot:
        """Never raises on strange values: whatever does not compute is missing."""
        changed, size = False, len(self._values)
        for name, sample in frame.samples.items():
            before = self._samples.get(name)
            if before is sample:
                continue
            if self._take(name, sample, before):
                changed = True
            elif not changed:
                self._values.update(self._derived[name])
        changed = changed or len(self._values) != size  # as many series of a probe as before, but others
        for name in [n for n in self._samples if n not in frame.samples]:
            del self._samples[name], self._derived[name], self._keys[name]
            changed = True
        if changed:
            self._values = {}
            for derived in self._derived.values():
                self._values.update(derived)
        # Copied whole: much of it is not read every tick, and nothing is looked up for a copy.
        values = self._values.copy()
        if changed:
            self._nics = across(values)
        added = derive_across(values, self._nics)
        if changed or added != self._added:
            self._added = added
            self._labels = labels_of(frozenset(values))
        snap = Snapshot(frame, self._previous, values, *self._rates, self._labels)
        self._previous = frame
        return snap

    def _take(self, name: str, sample: Sample, before: Sample | None) -> bool:
        """Derive one probe's new sample; True if its set of series changed."""
        keys = self._keys.get(name)
        fresh = keys is None or len(keys) != len(sample.values) or not keys.issuperset(sample.values)
        if keys is None or fresh:
            keys = self._keys[name] = frozenset(sample.values)
        dt = 0.0 if before is None else (sample.mono_ns - before.mono_ns) / 1e9
        old = None if before is None else before.values
        was = len(self._derived.get(name, ()))
        self._derived[name] = derive(sample.values, old, dt, plan_for(keys))
        if sample.processes is not None:
            self._rates = derive_processes(sample.processes, self._by_pid, dt, self._tick_hz)
            self._by_pid = {p.pid: p for p in sample.processes}
        self._samples[name] = sample
        return fresh or was != len(self._derived[name])
