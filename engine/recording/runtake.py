"""What changed in runs and alerts since the tick before. Called in the thread that owns those objects, so
that the recorder's thread gets copies that nobody writes any more."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

from dctop.engine.recording.codec import Cell
from dctop.engine.recording.plain import ACTIVE, RUN_HOT, dump, run_cold, run_event_text, run_text
from dctop.engine.recording.runlines import EVERY_NS, newest
from dctop.engine.rules.alert import Alert
from dctop.engine.training.ranks import RankState, text_of
from dctop.engine.training.runstate import STEP_FIELDS, RunState

QUIET_NS = 10_000_000_000
"""An open alert whose numbers merely move is written again after this long (its state: at once)."""
OLD_RUN_STEPS = 512
"""Of a run that had ended before recording began, so many of its steps are kept, evenly thinned."""


@dataclass(slots=True)
class StepBatch:
    """New steps of one run: parallel columns in STEP_FIELDS order, NaN = missing."""

    run: str
    row0: int
    columns: list[array[float]]

    def __len__(self) -> int:
        return len(self.columns[0])


@dataclass(slots=True)
class Changes:
    """What a tick adds beside its frame."""

    alerts: list[Alert] = field(default_factory=list)
    alert_ids: tuple[int, ...] | None = None
    """The list shown, if it changed."""
    run_ids: tuple[str, ...] | None = None
    run_states: list[tuple[str, str]] = field(default_factory=list)
    """(run, JSON)"""
    run_items: list[tuple[str, int, str, str]] = field(default_factory=list)
    """(run, wall_ns, `event` | `eval`, JSON)"""
    steps: list[StepBatch] = field(default_factory=list)
    turns: list[tuple[str, str, str]] = field(default_factory=list)
    """(run, status, title): a run began, ended or was found."""
    hot: dict[str, Cell] = field(default_factory=dict)
    """Cells of active runs for this frame."""
    pids: frozenset[int] = frozenset()
    logs: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    """(run, the last lines it printed)"""
    begun: bytes | None = None
    """What the rules knew before the frames that follow (begun.py)."""

    @property
    def empty(self) -> bool:
        """Nothing but cells of the frame."""
        lists = (self.alerts, self.run_states, self.run_items, self.steps, self.turns, self.logs)
        told = (self.alert_ids, self.run_ids, self.begun)
        return not any(lists) and all(t is None for t in told)

    @property
    def urgent(self) -> bool:
        return bool(self.alerts or self.turns)


@dataclass(slots=True)
class _Known:
    """How much of a run was taken."""

    seq: int = -1
    cold: tuple[object, ...] = ()
    status: str = ""
    rows: int = 0
    step: float = float("-inf")
    wall: float = float("-inf")
    evals: int = 0
    events: int = 0
    keys: tuple[str, ...] = ()
    ranks: tuple[RankState, ...] = ()
    ranks_text: str = ""
    tail: tuple[str, ...] = ()
    """What it had printed last, as it was written, and when."""
    tail_ns: int | None = None


class Taker:
    """Finds what is new. One a recording; not thread-safe."""

    def __init__(self) -> None:
        self._runs: dict[str, _Known] = {}
        self._alerts: dict[int, tuple[tuple[object, ...], int, int]] = {}
        self._alert_ids: tuple[int, ...] = ()
        self._run_ids: tuple[str, ...] = ()

    def take(self, alerts: Sequence[Alert], runs: Sequence[RunState], wall_ns: int) -> Changes:
        """Cheap where nothing changed. Never raises on strange runs: what is not readable is missing."""
        out = Changes()
        if alerts or self._alert_ids:
            self._take_alerts(alerts, wall_ns, out)
        if runs or self._run_ids:
            pids = [self._take_run(run, wall_ns, out) for run in runs]
            out.pids = frozenset(pid for pid in pids if pid is not None)
            for run in runs:
                if run.ranks and run.status in ACTIVE:
                    self._take_ranks(run, out)
            ids = tuple(run.id for run in runs)
            if ids != self._run_ids:
                self._run_ids = out.run_ids = ids
        return out

    def _take_alerts(self, alerts: Sequence[Alert], wall_ns: int, out: Changes) -> None:
        ids = tuple(a.id for a in alerts)
        for a in alerts:
            state = (
                a.state,
                a.severity,
                a.acked,
                a.count,
                a.suppressed_by,
                a.muted_until_ns,
                a.closed_wall_ns,
            )
            known = self._alerts.get(a.id)
            if known is not None and known[0] == state:
                quiet = known[1] == a.updated_wall_ns or 0 <= wall_ns - known[2] < QUIET_NS
                if quiet:
                    continue
            self._alerts[a.id] = (state, a.updated_wall_ns, wall_ns)
            out.alerts.append(copy(a))
        if ids != self._alert_ids:
            self._alert_ids = out.alert_ids = ids
            for gone in self._alerts.keys() - set(ids):
                del self._alerts[gone]

    def _take_run(self, run: RunState, wall_ns: int, out: Changes) -> int | None:
        """The pid of an active run."""
        active = run.status in ACTIVE
        known = self._runs.get(run.id)
        if known is None:
            known = self._runs[run.id] = _Known()
        elif known.seq == run.seq and known.status == run.status:
            if active:
                self._hot(run, known, out)
                _take_log(run, known, wall_ns, True, out)
            return run.pid if active else None
        first = known.seq == -1 and not known.status
        self._take_steps(run, known, OLD_RUN_STEPS if first and not active else None, out)
        for e in run.events[known.events if len(run.events) >= known.events else 0 :]:
            out.run_items.append((run.id, e.wall_ns, "event", run_event_text(e)))
        for ev in run.evals[known.evals if len(run.evals) >= known.evals else 0 :]:
            wall = ev.get("wall_ns")
            out.run_items.append((run.id, wall if isinstance(wall, int) else 0, "eval", dump(ev)))
        known.events, known.evals = len(run.events), len(run.evals)
        _take_log(run, known, wall_ns, active and run.status == known.status, out)
        cold = run_cold(run)
        if cold != known.cold or (not active and known.seq != run.seq):
            out.run_states.append((run.id, run_text(run, known.rows, active)))
            known.cold = cold
        if run.status != known.status:
            if not first or active:
                out.turns.append((run.id, run.status, _turn(run)))
            known.status = run.status
        known.seq = run.seq
        if active:
            self._hot(run, known, out)
        return run.pid if active else None

    def _take_ranks(self, run: RunState, out: Changes) -> None:
        known = self._runs[run.id]
        if known.ranks != run.ranks:  # every few seconds
            known.ranks, known.ranks_text = run.ranks, text_of(run.ranks)
        out.hot[f"@ranks|{run.id}"] = known.ranks_text

    def _hot(self, run: RunState, known: _Known, out: Changes) -> None:
        keys = known.keys
        if not keys:
            keys = known.keys = tuple(f"@{name}|{run.id}" for name in (*RUN_HOT, "rows"))
        values = (*[getattr(run, name) for name in RUN_HOT], known.rows)
        out.hot.update(zip(keys, values))

    def _take_steps(self, run: RunState, known: _Known, thin: int | None, out: Changes) -> None:
        steps, walls = run.columns.get("step"), run.columns.get("wall_ns")
        if not steps:
            return
        start = _first_new(steps, walls, known)
        n = len(steps)
        if start >= n:
            return
        stride = 1 if thin is None else max(1, -(-(n - start) // thin))
        missing = array("d", [float("nan")])
        columns = []
        for name in STEP_FIELDS:
            column = run.columns.get(name)
            part = missing * (n - start) if column is None or len(column) != n else column[start:n]
            columns.append(part[::-stride][::-1] if stride > 1 else part)
        out.steps.append(StepBatch(run.id, known.rows, columns))
        known.rows += len(columns[0])
        known.step = steps[n - 1]
        known.wall = walls[n - 1] if walls is not None and len(walls) == n else float("nan")


def _take_log(run: RunState, known: _Known, wall_ns: int, can_wait: bool, out: Changes) -> None:
    tail = newest(run.log_tail)
    if tail == known.tail:
        return
    if can_wait and known.tail_ns is not None and 0 <= wall_ns - known.tail_ns < EVERY_NS:
        return
    known.tail, known.tail_ns = tail, wall_ns
    out.logs.append((run.id, tail))


def _first_new(steps: Sequence[float], walls: Sequence[float] | None, known: _Known) -> int:
    """Index of the first step that was not taken. Kept steps are thinned now and then, so an index proves
    nothing: look back for the last one taken, by step and time; if it was thinned away, by step alone."""
    if not known.rows:
        return 0
    n = len(steps)
    timed = walls is not None and len(walls) == n
    for i in range(n - 1, max(-1, n - 2000), -1):
        if steps[i] == known.step and (not timed or walls[i] == known.wall):  # type: ignore[index]
            return i + 1
    return bisect_right(steps, known.step)


def _turn(run: RunState) -> str:
    words = f"{run.workload} {run.id}: {run.status}"
    return f"{words} ({run.reason})" if run.reason else words
