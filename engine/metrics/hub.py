"""Threads that read probes. The latest sample of each is one dict slot, swapped whole; no locks, no messages.

Probes of one lane share a daemon thread; a lane that hangs (driver, dead mount) stops nobody else and never
blocks exit, because no thread is ever joined.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from dctop.engine.metrics.model import ProbeStatus
from dctop.probes.base import KernelEvent, Probe, Sample

log = logging.getLogger(__name__)

MAX_BACKOFF_S = 60.0
HANG_S = 2.0
"""A read that takes longer than this and two periods is called hanging."""
MAX_EVENTS = 1000
STAGGER_S = 0.006
"""Lanes begin at most this far apart: at one moment they would fight for the interpreter lock (measured: ten
switches a read instead of two). As far as they can they begin where the one before ends: between them the CPU
would go to sleep, and what the next one needs of its caches with it (measured: a twentieth of all that the
dashboard costs)."""
FIRST_PASSES = 2
"""They open files and find out what there is: they say nothing of the others."""
SLACK_S = 0.0005
"""Between the usual end of one lane and the beginning of the next."""
ALIKE_S = 0.001
"""Moments this close are the same one."""
LEAD_S = 0.06
"""A frame waits no longer than this for lanes that are not done."""


@dataclass(slots=True)
class _Slot:
    """What is known of one probe. Written by its lane's thread only."""

    probe: Probe
    due: float = 0.0
    soon_s: float = 0.0
    """After how long the second read is due, where that is not a period."""
    reading_since: float | None = None
    error: str | None = None
    failures: int = 0
    cost_ms: float | None = None


@dataclass(slots=True)
class _Lane:
    """Probes that share a thread. Written by that thread, but for `offset_s`: the engine's."""

    name: str
    slots: list[_Slot]
    gate: threading.Lock = field(default_factory=threading.Lock)
    """Held until the end. To wait for it takes one call, for an `Event` a dozen: half as much again as a
    short read."""
    offset_s: float = 0.0
    """How long after its probes are due it begins."""
    took_s: float = STAGGER_S
    """From when it was to begin to its end: what it usually takes, quickly up and slowly down."""
    passes: int = 0


class Hub:
    """Runs probes, keeps their latest samples."""

    def __init__(self, probes: Iterable[Probe]) -> None:
        self.latest: dict[str, Sample] = {}
        self.slots = {p.name: _Slot(p) for p in probes}
        self._events: deque[KernelEvent] = deque(maxlen=MAX_EVENTS)
        self._stopped = False
        self._lanes: list[_Lane] = []

    def start(self, base: float | None = None, soon_s: float = 0.0) -> None:
        """Start the lanes; reads are due at `base` + k x period (monotonic seconds), lane after lane.

        `soon_s`: probes read every second or oftener have their second read this long after the first, and
        the others follow from there: what needs two readings is known early.
        """
        base = time.monotonic() if base is None else base
        lanes: dict[str, list[_Slot]] = {}
        for slot in self.slots.values():
            lanes.setdefault(slot.probe.lane, []).append(slot)
            slot.due = base
            if soon_s:  # all on one grid: what is read seldom is read with the rest
                slot.soon_s = soon_s if slot.probe.period_s <= 1.0 else slot.probe.period_s + soon_s
        self._lanes = [_Lane(n, s) for n, s in lanes.items()]
        self._lanes.sort(key=lambda lane: min(s.probe.period_s for s in lane.slots))
        for i, lane in enumerate(self._lanes):
            lane.offset_s = i * STAGGER_S
            lane.gate.acquire()
            threading.Thread(target=self._run, args=(lane,), name=f"dctop-{lane.name}", daemon=True).start()

    def stop(self) -> None:
        """Ask the lanes to end. Returns at once: a hanging read is left behind, its thread is a daemon."""
        self._stopped = True
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            lane.gate.release()

    def pace(self, due: float) -> float:
        """Let each lane begin where the one before it usually ends; how many seconds after `due` all that are
        read then are usually done."""
        begin = done = 0.0
        for lane in self._lanes:
            lane.offset_s = begin
            if self._is_due(lane, due):
                done = max(done, begin + lane.took_s)
                begin += min(lane.took_s + SLACK_S, STAGGER_S)
        return min(done + SLACK_S, LEAD_S)

    def behind(self, due: float) -> bool:
        """Whether something has not been read since it was `due`."""
        return any(self._is_due(lane, due) for lane in self._lanes)

    def _is_due(self, lane: _Lane, due: float) -> bool:
        return any(slot.due < due + ALIKE_S for slot in lane.slots)

    def _run(self, lane: _Lane) -> None:
        clock, slots, gate = time.monotonic, lane.slots, lane.gate
        while not self._stopped:
            now = clock()
            due = now
            for slot in slots:
                if slot.due <= now:
                    due = min(due, slot.due)
                    self._read(slot, now)
            lane.passes += 1
            if lane.passes > FIRST_PASSES:
                lane.took_s = usual(lane.took_s, clock() - due - lane.offset_s)
            pause = min(slot.due for slot in slots) + lane.offset_s - clock()
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


def usual(before: float, now: float) -> float:
    """What something usually takes: up at once, down by and by."""
    return now if now > before else before + (now - before) / 8


def one_line(e: BaseException) -> str:
    """An exception as one printable line."""
    text = " ".join(str(e).split())
    return f"{type(e).__name__}: {text}" if text else type(e).__name__
