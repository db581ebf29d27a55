"""Threads that read probes. The latest sample of each is one dict slot, swapped whole; no locks, no messages.

Probes of one lane share a daemon thread; a lane that hangs (driver, dead mount) stops nobody else and never
blocks exit, because no thread is ever joined.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dctop.engine.metrics.model import ProbeStatus
from dctop.probes.base import KernelEvent, Probe, Sample

log = logging.getLogger(__name__)

MAX_BACKOFF_S = 60.0
HANG_S = 2.0
"""A read that takes longer than this and two periods is called hanging."""
MAX_EVENTS = 1000
STAGGER_S = 0.006
"""Lanes begin this far apart: at one moment they would fight for the interpreter lock (measured: ten
switches a read instead of two)."""


@dataclass(slots=True)
class _Slot:
    """What is known of one probe. Written by its lane's thread only."""

    probe: Probe
    due: float = 0.0
    soon_s: float = 0.0
    """After how long the second read is due, where that is not the period."""
    reading_since: float | None = None
    error: str | None = None
    failures: int = 0
    cost_ms: float | None = None


class Hub:
    """Runs probes, keeps their latest samples.

    `lead_s`: how long before each tick of the engine the lanes are started, so that a frame holds fresh
    samples.
    """

    def __init__(self, probes: Iterable[Probe]) -> None:
        self.latest: dict[str, Sample] = {}
        self.slots = {p.name: _Slot(p) for p in probes}
        self._events: deque[KernelEvent] = deque(maxlen=MAX_EVENTS)
        self._stopped = False
        self._gates: list[threading.Lock] = []
        """One a lane, held until the end. To wait for it takes one call, for an `Event` a dozen: half as much
        again as a short read."""

    def start(self, base: float | None = None, soon_s: float = 0.0) -> None:
        """Start the lanes; reads happen at `base` + k x period (monotonic seconds), lane after lane.

        `soon_s`: probes read every second or oftener have their second read this long after the first, and
        the others follow from there: what needs two readings is known early.
        """
        base = time.monotonic() if base is None else base
        lanes: dict[str, list[_Slot]] = {}
        for slot in self.slots.values():
            lanes.setdefault(slot.probe.lane, []).append(slot)
        for i, (name, slots) in enumerate(lanes.items()):
            for slot in slots:
                slot.due = base + i * STAGGER_S
                slot.soon_s = soon_s if slot.probe.period_s <= 1.0 else 0.0
            gate = threading.Lock()
            gate.acquire()
            self._gates.append(gate)
            threading.Thread(target=self._lane, args=(slots, gate), name=f"dctop-{name}", daemon=True).start()

    def stop(self) -> None:
        """Ask the lanes to end. Returns at once: a hanging read is left behind, its thread is a daemon."""
        self._stopped = True
        gates, self._gates = self._gates, []
        for gate in gates:
            gate.release()

    def _lane(self, slots: Sequence[_Slot], gate: threading.Lock) -> None:
        clock = time.monotonic
        while not self._stopped:
            now = clock()
            for slot in slots:
                if slot.due <= now:
                    self._read(slot, now)
            pause = min(slot.due for slot in slots) - clock()
            if pause > 0 and gate.acquire(timeout=pause):
                break
        for slot in slots:
            try:
                slot.probe.close()
            except Exception:
                log.debug("closing probe %s", slot.probe.name, exc_info=True)

    def _read(self, slot: _Slot, now: float) -> None:
        probe, period = slot.probe, slot.probe.period_s
        slot.reading_since = now
        began = time.thread_time_ns()
        try:
            sample = probe.read()
        except Exception as e:
            slot.failures += 1
            pause = min(period * 2.0 ** min(slot.failures, 16), max(MAX_BACKOFF_S, period))
            slot.error = one_line(e)
            slot.due = time.monotonic() + pause
            if slot.failures == 1:
                log.warning("probe %s failed: %s", probe.name, slot.error, exc_info=True)
        else:
            slot.cost_ms = (time.thread_time_ns() - began) / 1e6
            if sample.events:
                self._events.extend(sample.events)
            self.latest[probe.name] = sample
            slot.failures, slot.error = 0, None
            # Keep to the grid; a late read skips what it missed rather than bursting.
            slot.due += slot.soon_s or period
            slot.soon_s = 0.0
            late = time.monotonic() - slot.due
            if late >= 0:
                slot.due += period * (int(late / period) + 1)
        finally:
            slot.reading_since = None

    def drain_events(self) -> tuple[KernelEvent, ...]:
        """Events since the previous call."""
        events = []
        while self._events:
            events.append(self._events.popleft())
        return tuple(events)

    def status(self, slack_s: float) -> dict[str, ProbeStatus]:
        """How each probe is doing. `slack_s`: one tick, for reads that fall just behind it."""
        now, now_ns = time.monotonic(), time.monotonic_ns()
        out: dict[str, ProbeStatus] = {}
        for name, slot in self.slots.items():
            sample = self.latest.get(name)
            age = None if sample is None else (now_ns - sample.mono_ns) / 1e9
            period = slot.probe.period_s
            error, since = slot.error, slot.reading_since
            if since is not None and now - since > max(HANG_S, 2 * period):
                error = f"has not answered for {now - since:.0f} s"
            stale = (age is None and error is not None) or (age is not None and age > 2 * period + slack_s)
            problems = () if sample is None else sample.problems
            out[name] = ProbeStatus(name, age, stale, error, problems, slot.cost_ms)
        return out


def one_line(e: BaseException) -> str:
    """An exception as one printable line."""
    text = " ".join(str(e).split())
    return f"{type(e).__name__}: {text}" if text else type(e).__name__
