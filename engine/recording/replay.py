"""A recording as a `Source`: what the panes showed live, at any moment of it.

Frames go through the same SnapshotBuilder and History as live, so derived values are computed, not stored.
"""

from __future__ import annotations

import gc
from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.gpulog import Energy, about_gpus
from dctop.engine.metrics.history import NAN, History
from dctop.engine.metrics.model import Frame, Snapshot
from dctop.engine.recording.plain import load
from dctop.engine.recording.reader import GAP_INTERVALS, RecEvent, Recording, open_recording
from dctop.engine.recording.schema import Damaged, RecordingError
from dctop.engine.recording.wide import joined, thinned
from dctop.engine.rules.alert import Alert
from dctop.engine.rules.texts.retell import Teller
from dctop.engine.training.runstate import RunState
from dctop.probes.base import KernelEvent, Value, series

MIN_WINDOW = 120
"""Ticks before the cursor that are loaded before anybody asked for more (then: as many as were asked for)."""
WARM_UP = 30
"""Frames before those, so that rates of slow probes are known where the window begins."""
BAND = 60
"""Snapshots kept behind the newest one loaded: stepping back within them costs nothing."""
_ROWS = 512
"""Up to so many ticks are kept as they were derived, and a series is made of them when it is asked for; more
go into rings, which take a tenth of the memory."""
ESTIMATED = 900
"""Ticks of power from which energy is estimated where there is no counter."""
NEAR = 120
"""A seek forward by up to this many frames goes on from where it is."""
FINE = 480
"""Of a wide window so many ticks before the cursor are looked at singly, fewer where many share a value."""


@dataclass(frozen=True, slots=True)
class _Moment:
    tick: int
    """Its number in the history."""
    snapshot: Snapshot


class _Ticks:
    """The loaded ticks: `History` made late, series by series."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.clear()

    def clear(self) -> None:
        self.ticks = 0
        self._rows: list[Mapping[str, Value]] = []
        self._columns: dict[str, array[float]] = {}
        self._rings: History | None = None

    def extend(self, rows: list[Mapping[str, Value]]) -> None:
        self.ticks += len(rows)
        if self._rings is None and len(self._rows) + len(rows) <= _ROWS:
            self._rows += rows
            return
        if self._rings is None:
            self._rings = History(self._capacity)
            self._rings.extend(self._rows)
            self._rows, self._columns = [], {}
        self._rings.extend(rows)

    def window(self, key: str, n: int, back: int) -> array[float]:
        if self._rings is not None:
            return self._rings.window(key, n, back)
        column = self._columns.get(key)
        if column is None:
            column = self._columns[key] = array("d")
        if len(column) < self.ticks:
            column.extend([_number(row.get(key)) for row in self._rows[len(column) :]])
        stop = max(0, self.ticks - back)
        part = column[max(0, stop - n) : stop]
        return part if len(part) == n else array("d", [NAN]) * max(0, n - len(part)) + part


def _number(value: Value) -> float:
    return NAN if value is None or isinstance(value, str) else value


def retold_events(events: Sequence[RecEvent], alerts: Iterable[Alert], teller: Teller) -> list[RecEvent]:
    """Those of alerts have the title of theirs."""
    told = {(a.rule, a.entity, a.opened_wall_ns): a for a in alerts}
    out = []
    for e in events:
        alert = told.get((e.rule or "", e.entity or "", e.t0)) if e.kind == "alert" else None
        if alert is not None and alert.title == e.title:
            out.append(replace(e, title=teller.alert(alert).title))
        else:
            out.append(e)
    return out


def _kernel_event(e: RecEvent) -> KernelEvent:
    try:
        body = load(e.body)
    except Damaged:
        body = None
    fields = {str(k): str(v) for k, v in body.items()} if isinstance(body, dict) else {}
    return KernelEvent(e.seq, e.t0, e.rule or "other", e.title, fields)


class ReplaySource:
    """A `Source` with a cursor. Owned by one thread. The recording stays open until `close`.

    `recording`: an open one, or a path (then RecordingError as `open_recording`). `history`: longest window
    in ticks that is ever loaded. `lang`: of the alerts, as far as they can be retold; None: as recorded.
    """

    mode: Literal["live", "replay"] = "replay"

    def __init__(
        self, recording: Recording | Path | str, history: int = 3600, lang: str | None = None
    ) -> None:
        if not isinstance(recording, Recording):
            recording = open_recording(recording)
        self.recording = recording
        self.lang = lang or "en"
        """Of what is said about a moment."""
        self._teller = None if lang is None else Teller(lang)
        self._events: tuple[list[RecEvent], list[RecEvent]] = ([], [])
        """As recorded, and as told."""
        self.interval_s = recording.interval_s
        self._limit = max(history, MIN_WINDOW)
        self._asked = 0
        """The widest window asked for so far."""
        self._whole = False
        """The history begins with the recording's first frame."""
        self._builder = SnapshotBuilder(recording.tick_hz)
        self._history = _Ticks(self._limit + 2 * BAND + WARM_UP)
        self._band: deque[_Moment] = deque(maxlen=BAND)
        self._at = -1
        """Index into the band."""
        self._left_s = 0.0
        self._alerts: tuple[int, list[Alert]] = (-1, [])
        self._runs: tuple[int, list[RunState]] = (-1, [])
        self._gaps: list[tuple[int, int]] | None = None
        self._visited: RecEvent | None = None
        self._energy0: dict[str, tuple[float, int] | None] = {}
        span = recording.seq_range
        if span is not None:
            self.seek_seq(span[0])
        elif recording.info.bad_chunks:
            why = recording.info.problems[-1]
            recording.close()
            raise RecordingError(f"{recording.path}: not one frame can be read ({why})")

    def close(self) -> None:
        self.recording.close()

    # -- Source -------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot | None:
        return self._band[self._at].snapshot if self._band else None

    def window(self, key: str, n: int) -> array[float]:
        self._asked = max(self._asked, min(n, self._limit))
        if not self._band:
            return array("d", [NAN]) * max(0, n)
        back = self._band[-1].tick - self._band[self._at].tick
        if not self._whole and min(n, self._limit) > self._history.ticks - back - WARM_UP:
            self._load(self._band[self._at].snapshot.frame.seq, slack=BAND if back else 0)
            self._at, back = len(self._band) - 1, 0
        return self._history.window(key, n, back)

    def wide(self, key: str, n: int, k: int) -> array[float]:
        """`n` means over `k` ticks each, newest last, the newest maybe of fewer; NaN = missing. Frames near
        the cursor count singly, those before them by the means of their minutes."""
        seq = self.seq
        if k <= 1 or seq is None:
            return self.window(key, n)
        ticks = min(n * k, FINE if k <= 5 else FINE // 2 if k <= 30 else MIN_WINDOW)
        fine = self.window(key, ticks)
        if n * k <= ticks:
            return thinned(fine, seq, n, k)
        return joined(self.recording.means(key), fine, seq, n, k)

    def alerts(self) -> Sequence[Alert]:
        seq = self.seq
        if seq is None:
            return ()
        if self._alerts[0] != seq:
            found = self.recording.alerts_at_seq(seq)
            self._alerts = (seq, found if self._teller is None else list(map(self._teller.alert, found)))
        return self._alerts[1]

    def runs(self) -> Sequence[RunState]:
        seq = self.seq
        if seq is None:
            return ()
        if self._runs[0] != seq:
            self._runs = (seq, self.recording.runs_at_seq(seq))
        return self._runs[1]

    def gpu_energy(self, uuid: str) -> Energy | None:
        """Used by a GPU from the recording's beginning up to the cursor (after a reset of its counter: from
        that on); from its power where it has no counter."""
        frame = self.frame
        if frame is None:
            return None
        key = series("gpu.energy_mj", gpu=uuid)
        if uuid not in self._energy0:
            self._energy0[uuid] = self._first_of(key)
        first, now = self._energy0[uuid], frame.value(key)
        if first is not None:
            if not isinstance(now, (int, float)):
                return None
            return Energy(max(0.0, now - first[0] if now >= first[0] else now) / 1000.0, first[1], False)
        values = self.window(series("gpu.power_w", gpu=uuid), ESTIMATED)
        known = [v for v in values if v == v]
        since = max(self.t0_ns, frame.wall_ns - int(ESTIMATED * self.interval_s * 1e9))
        return Energy(sum(known) * self.interval_s, since, True) if known else None

    def _first_of(self, key: str) -> tuple[float, int] | None:
        """The first value of a raw counter near the recording's beginning, and its wall time."""
        span = self.recording.seq_range
        if span is None:
            return None
        for frame in self.recording.frames(span[0], span[0] + WARM_UP, procs_from=1 << 62):
            value = frame.value(key)
            if isinstance(value, (int, float)):
                return float(value), frame.wall_ns
        return None

    def gpu_events(self) -> Sequence[KernelEvent]:
        """Xids and the like up to the cursor, oldest first."""
        at = self.position_ns
        found = (_kernel_event(e) for e in self.recording.events("kernel") if e.t0 <= at)
        return [e for e in found if about_gpus(e)]

    # -- the cursor ---------------------------------------------------------------------------------

    @property
    def frame(self) -> Frame | None:
        snap = self.snapshot()
        return None if snap is None else snap.frame

    @property
    def seq(self) -> int | None:
        frame = self.frame
        return None if frame is None else frame.seq

    @property
    def position_ns(self) -> int:
        """Wall time of the frame at the cursor."""
        frame = self.frame
        return self.t0_ns if frame is None else frame.wall_ns

    @property
    def t0_ns(self) -> int:
        span = self.recording.time_range
        return 0 if span is None else span[0]

    @property
    def t1_ns(self) -> int:
        span = self.recording.time_range
        return 0 if span is None else span[1]

    @property
    def live(self) -> bool:
        """It is being written, as far as is known."""
        return self.recording.live

    @property
    def at_end(self) -> bool:
        span = self.recording.seq_range
        seq = self.seq
        return span is None or seq is None or (seq >= span[1] or self._next(seq, 1) is None)

    @property
    def at_start(self) -> bool:
        seq = self.seq
        return seq is None or self.recording.neighbour(seq, -1) is None

    def seek(self, wall_ns: int) -> bool:
        """To the newest frame at or before that time (the first one if there is none)."""
        seq = self.recording.seq_at(wall_ns)
        return seq is not None and self._go(seq)

    def seek_seq(self, seq: int) -> bool:
        """To that frame; if it is missing to the next one there is, else the last."""
        for found in (seq, self.recording.neighbour(seq, 1), self.recording.neighbour(seq, -1)):
            if found is not None and self._go(found):
                return True
        return False

    def step(self, n: int) -> bool:
        """`n` recorded frames forth or back; as far as possible. False if it did not move."""
        seq = self.seq
        if seq is None or n == 0:
            return False
        target = self._next(seq, n)
        return target is not None and self._go(target)

    def _next(self, seq: int, n: int) -> int | None:
        index = self._at + n
        if 0 <= index < len(self._band):
            return self._band[index].snapshot.frame.seq
        return self.recording.neighbour(seq, n)

    def advance(self, seconds: float) -> bool:
        """Play on by that much recorded time; what was not recorded takes none. True if it moved."""
        frame = self.frame
        if frame is None:
            return False
        self._left_s += seconds
        moved = False
        gap = GAP_INTERVALS * self.interval_s
        if self._left_s > NEAR * self.interval_s:
            left, self._left_s = self._left_s, 0.0
            return self.step(int(left / self.interval_s))
        while True:
            seq = self._next(frame.seq, 1)
            if seq is None:
                self._left_s = 0.0
                return moved
            following = self.recording.frame(seq) if seq != frame.seq else None
            if following is None:
                return moved
            dt = (following.mono_ns - frame.mono_ns) / 1e9
            cost = self.interval_s if dt > gap else dt
            if cost > self._left_s:
                return moved
            self._left_s -= cost
            if not self._go(seq):
                return moved
            moved = True
            frame = following

    def snapshots_at(self, wall_ns: int, n: int) -> list[Snapshot]:
        """The last `n` snapshots up to a moment, newest last; the cursor stays. At the very beginning, where
        no rate is known yet, up to a few ticks after it."""
        seq, span = self.recording.seq_at(wall_ns), self.recording.seq_range
        if seq is None or span is None:
            return []
        seq = min(max(seq, span[0] + 3), span[1])
        builder = SnapshotBuilder(self.recording.tick_hz)
        return [builder.push(f) for f in self.recording.frames(seq - n - WARM_UP, seq)][-n:]

    def refresh(self) -> bool:
        """Take in what was recorded since (a live file); True if there is more. The cursor stays."""
        more = self.recording.refresh()
        if more:
            self._gaps = None
        return more

    # -- events -------------------------------------------------------------------------------------

    def events(self) -> list[RecEvent]:
        found = self.recording.events()
        if self._teller is None:
            return found
        if found != self._events[0]:
            self._events = found, retold_events(found, self.recording.every_alert(), self._teller)
        return self._events[1][:]

    def gaps(self) -> list[tuple[int, int]]:
        """(from, to) of what was not recorded or cannot be read; `recording.gaps` says why."""
        if self._gaps is None:
            self._gaps = [(g.t0, g.t1) for g in self.recording.gaps]
        return self._gaps

    def overview(self, n: int = 240) -> dict[str, list[float]]:
        """The main series over the whole recording, evenly spread; NaN = not known. `cpu`, `mem` and `gpu`
        (the busiest of them) in percent, `io` as the share of time in which tasks waited for storage."""
        snap = self.snapshot()
        gpus = () if snap is None else snap.labels.get("gpu.util_pct", ())
        wanted = {
            "cpu": ("cpu.util_pct",),
            "gpu": tuple(series("gpu.util_pct", gpu=g) for g in gpus),
            "mem": ("memory.used_pct",),
            "io": ("pressure.io.some_pct",),
        }
        found = self.recording.overviews([key for keys in wanted.values() for key in keys], n)
        out: dict[str, list[float]] = {}
        for lane, keys in wanted.items():
            lanes = [found[key] for key in keys if key in found]
            tops = [max((b.max for b in at if b.max is not None), default=NAN) for at in zip(*lanes)]
            if any(v == v for v in tops):
                out[lane] = tops
        return out

    def next_event(self, direction: int, kinds: Sequence[str] = ("alert",)) -> RecEvent | None:
        """The next (direction > 0) or previous event of these kinds from the cursor. Go there by
        `seek_seq(event.seq)` or `seek(event.wall_ns)`: either way the following call finds the one after."""
        at = self.seq
        if at is None:
            return None
        last = self._visited
        if last is not None and at in (last.seq, self.recording.seq_at(last.wall_ns)):
            at = last.seq  # its time may lie just before the frame that first knew of it
        found = sorted((e for e in self.events() if e.kind in kinds), key=lambda e: (e.seq, e.id))
        if direction > 0:
            event = next((e for e in found if e.seq > at), None)
        else:
            event = next((e for e in reversed(found) if e.seq < at), None)
        self._visited = event or last
        return event

    # -- loading ------------------------------------------------------------------------------------

    def _go(self, seq: int) -> bool:
        """Put the cursor on frame `seq`, which must exist. False if it cannot be read."""
        for i, moment in enumerate(self._band):
            if moment.snapshot.frame.seq == seq:
                self._at = i
                return True
        newest = self._band[-1].snapshot.frame if self._band else None
        if newest is not None and newest.seq < seq <= newest.seq + NEAR:
            self._take(self.recording.frames(newest.seq + 1, seq, after=newest.samples))
        else:
            self._load(seq)
        self._at = len(self._band) - 1
        return bool(self._band) and self._band[-1].snapshot.frame.seq == seq

    def _load(self, seq: int, slack: int = 0) -> None:
        """Everything anew, ending with frame `seq`: the window wanted, a warm-up before it."""
        self._builder.reset()
        self._history.clear()
        self._band.clear()
        first = seq - max(MIN_WINDOW, min(self._asked, self._limit)) - slack - WARM_UP
        span = self.recording.seq_range
        self._whole = span is None or first <= span[0]
        # Tens of thousands of objects are made and none is garbage: collecting in between would walk all
        # of the program's objects several times.
        collect = gc.isenabled()
        gc.disable()
        try:
            self._take(self.recording.frames(first, seq, procs_from=seq - BAND - WARM_UP))
        finally:
            if collect:
                gc.enable()

    def _take(self, frames: Iterable[Frame]) -> None:
        rows: list[Mapping[str, Value]] = []
        done = self._history.ticks
        for frame in frames:
            snap = self._builder.push(frame)
            if snap.previous is not None:
                # Ticks that were not recorded are holes, not a shorter time.
                rows += [{}] * min(frame.seq - snap.previous.seq - 1, self._limit)
            rows.append(snap.values)
            self._band.append(_Moment(done + len(rows), snap))
            if len(rows) >= _ROWS:
                self._history.extend(rows)
                done += len(rows)
                rows = []
        self._history.extend(rows)
