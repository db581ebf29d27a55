"""What a report tells, gathered from a recording: incidents, the window around each, impact, processes.

Cheap however long the recording is: overviews come from the rollups, frames are decoded only around
incidents.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from dctop.engine.export.tables import Scope, snapshots
from dctop.engine.metrics.history import History
from dctop.engine.metrics.model import Snapshot
from dctop.engine.recording.facts import Gap, RecEvent
from dctop.engine.recording.reader import Recording
from dctop.engine.recording.schema import RecordingError
from dctop.engine.report.factors import LEAST, Column, Factor, rank
from dctop.engine.report.say import Say
from dctop.engine.rules.alert import RANK, Alert
from dctop.engine.rules.texts.retell import retold
from dctop.engine.training.runstate import RunEvent, RunState
from dctop.probes.base import Process, series

S = 1_000_000_000
PRE_S = 600
"""Time before an alert that is searched for shifts."""
DETAILED = 4
"""Incidents that are told in full."""
STEPS = 1200
"""Steps before an alert that are compared, evenly thinned."""
TOGETHER_S = 60
"""Alerts of one entity that open within this time of each other are one incident."""
_TRAIN = (
    "loss",
    "accuracy",
    "grad_norm",
    "step_s",
    "data_s",
    "backward_s",
    "rss_anon_bytes",
    "mem_reserved_bytes",
)


@dataclass(slots=True)
class Incident:
    """Root alerts of one entity that belong together, gravest first."""

    alerts: list[Alert]
    symptoms: list[Alert]
    t0_ns: int
    t1_ns: int | None
    """When the last of them closed; None: still open at the end."""
    first_sign: tuple[int, str] | None = None
    """The earliest sign in the recording: when and what."""
    factors: list[Factor] = field(default_factory=list)
    factors_note: str | None = None
    """Why there are none."""
    before: list[RecEvent] = field(default_factory=list)
    """Events shortly before it."""
    grown: list[Grown] = field(default_factory=list)

    @property
    def top(self) -> Alert:
        return self.alerts[0]

    @property
    def severity(self) -> str:
        return self.top.severity


@dataclass(frozen=True, slots=True)
class Grown:
    """A process at the baseline and at the alert; None: it was not (recorded) there."""

    process: Process
    cpu_before: float | None
    cpu_at: float | None
    rss_before: int | None
    rss_at: int | None


@dataclass(slots=True)
class Facts:
    """Everything sections.py writes about."""

    recording: Recording
    t0_ns: int
    t1_ns: int
    alerts: list[Alert]
    history: list[Alert]
    """What had happened before the recording began."""
    incidents: list[Incident]
    events: list[RecEvent]
    gaps: list[Gap]
    runs: list[RunState]
    say: Say
    detailed: list[Incident] = field(default_factory=list)

    def end_of(self, a: Alert) -> int:
        return self.t1_ns if a.closed_wall_ns is None else a.closed_wall_ns


def gather(
    recording: Recording, t0_ns: int | None = None, t1_ns: int | None = None, lang: str = "en"
) -> Facts:
    """`lang`: of what the report says, alerts as far as they can be retold in it. Raises RecordingError where
    no frame can be read."""
    span = recording.wall_range
    if span is None:
        raise RecordingError(f"{recording.path}: no frame in it: there is nothing to report")
    first, last = max(span[0], t0_ns or span[0]), min(span[1], t1_ns or span[1])
    every = [retold(a, lang) for a in recording.every_alert() if a.state != "pending"]
    history = [a for a in every if _is_history(a, span[0])]
    alerts = [
        a
        for a in every
        if a not in history and a.opened_wall_ns <= last and (a.closed_wall_ns or last) >= first
    ]
    events = [e for e in recording.events() if e.t0 <= last and (e.t1 or e.t0) >= first]
    gaps = [g for g in recording.gaps if g.t1 >= first and g.t0 <= last]
    runs = [
        r for r in recording.every_run() if r.started_wall_ns <= last and (r.ended_wall_ns or last) >= first
    ]
    facts = Facts(recording, first, last, alerts, history, _incidents(alerts), events, gaps, runs, Say(lang))
    facts.detailed = facts.incidents[:DETAILED]
    for incident in facts.detailed:
        _look_into(facts, incident)
    return facts


def _is_history(a: Alert, begin_ns: int) -> bool:
    """It happened before the recording began; a minute before, it may be why it was begun."""
    grace = 0 if a.severity == "info" else TOGETHER_S * S
    return a.kind == "event" and a.opened_wall_ns < begin_ns - grace


def _incidents(alerts: Sequence[Alert]) -> list[Incident]:
    """Gravest first; of training runs before others, then by time."""
    roots = sorted((a for a in alerts if a.suppressed_by is None), key=lambda a: a.opened_wall_ns)
    groups: list[list[Alert]] = []
    latest: dict[str, list[Alert]] = {}
    for a in roots:
        group = latest.get(a.entity)
        if group is not None and a.opened_wall_ns - group[-1].opened_wall_ns <= TOGETHER_S * S:
            group.append(a)
            continue
        latest[a.entity] = group = [a]
        groups.append(group)
    out = []
    for group in groups:
        rules = {a.rule for a in group}
        symptoms = [a for a in alerts if a.suppressed_by in rules and a.entity == group[0].entity]
        closed = [a.closed_wall_ns for a in group]
        t1 = None if None in closed else max(c for c in closed if c is not None)
        ordered = sorted(group, key=lambda a: (RANK[a.severity], a.opened_wall_ns))
        out.append(Incident(ordered, symptoms, group[0].opened_wall_ns, t1))
    return sorted(out, key=lambda i: (RANK[i.severity], i.top.first_step is None, i.t0_ns))


# -- around an incident -------------------------------------------------------------------------------------


def _look_into(facts: Facts, incident: Incident) -> None:
    t0 = incident.t0_ns - PRE_S * S
    incident.before = [
        e for e in facts.recording.events()
        if t0 <= e.t0 < incident.t0_ns and e.kind in ("run", "marker", "note", "kernel", "config", "clock")
    ]  # fmt: skip
    try:
        frames, columns, snaps = _before(facts, t0, incident.t0_ns)
    except RecordingError:
        incident.factors_note = facts.say("factors.nothing")
        _first_sign(facts, incident)
        return
    own = frozenset(e.series for a in incident.alerts for e in a.evidence if e.series is not None)
    incident.factors = rank(columns, incident.t0_ns, own)
    if frames < LEAST:
        incident.factors_note = facts.say("factors.few", n=frames)
    elif not incident.factors:
        incident.factors_note = facts.say("factors.level")
    incident.grown = _grown(snaps)
    _first_sign(facts, incident)


def _before(
    facts: Facts, t0: int, t1: int
) -> tuple[int, dict[str, Column], tuple[Snapshot | None, Snapshot | None]]:
    """Up to the alert: how many frames, numbers by series (of training too), first and last snapshot with
    process rates."""
    history = History(4 * PRE_S)
    walls: list[int] = []
    rows = []
    keys: set[str] = set()
    early: Snapshot | None = None
    late: Snapshot | None = None
    quarter = t0 + (t1 - t0) // 4
    for snap in snapshots(facts.recording, Scope(t0, t1 + S // 2), procs=True):
        walls.append(snap.frame.wall_ns)
        rows.append(snap.values)
        keys.update(snap.values)
        if snap.process_cpu_pct:
            early = snap if early is None or snap.frame.wall_ns <= quarter else early
            late = snap
    history.extend(rows)
    columns: dict[str, Column] = {}
    for key in keys:
        column = history.window(key, len(walls))
        values = [None if v != v else v for v in column]
        if any(v is not None for v in values):
            columns[key] = Column(walls, values)
    for run in facts.runs:
        columns |= _train_columns(run, t0, t1)
    return len(walls), columns, (early, late)


def _train_columns(run: RunState, t0: int, t1: int) -> dict[str, Column]:
    """Training series by step, thinned to STEPS of them."""
    times = run.columns.get("wall_ns")
    if not times:
        return {}
    a, z = bisect_left(times, t0), bisect_right(times, t1)
    stride = max(1, (z - a) // STEPS)
    walls = [int(w) for w in times[a:z:stride]]
    out: dict[str, Column] = {}
    for name in _TRAIN:
        values = [None if v != v else v for v in run.columns.get(name, ())[a:z:stride]]
        if len(values) == len(walls) and any(v is not None for v in values):
            out[series(f"train.{name}", run=run.id)] = Column(walls, values)
    return out


def _grown(snaps: tuple[Snapshot | None, Snapshot | None]) -> list[Grown]:
    """Processes that use most, or much more than before, at the alert."""
    early, late = snaps
    if late is None:
        return []
    old = {} if early is None or early is late else {p[:2]: p for p in early.frame.processes}
    out = []
    for p in late.frame.processes:
        q = old.get(p[:2])
        cpu_before = None if q is None or early is None else early.process_cpu_pct.get(p.pid, 0.0)
        out.append(Grown(p, cpu_before, late.process_cpu_pct.get(p.pid), q and q.rss_bytes, p.rss_bytes))
    by_cpu = sorted((g for g in out if (g.cpu_at or 0.0) >= 2.0), key=lambda g: -(g.cpu_at or 0.0))[:5]
    by_rss = sorted(out, key=lambda g: -(g.rss_at or 0))[:4]
    kept = {g.process[:2]: g for g in (*by_cpu, *by_rss)}
    return sorted(kept.values(), key=lambda g: (-(g.cpu_at or 0.0), -(g.rss_at or 0)))


_SIGNS = frozenset(("nonfinite", "frozen", "exception", "fault"))


def _first_sign(facts: Facts, incident: Incident) -> None:
    """The earliest thing that told of it: a shift of what the alert judges, a line of the run log, a kernel
    record."""
    t1 = incident.t0_ns
    found: list[tuple[int, str]] = [
        (f.onset_ns, facts.say("sign.level", key=f.key)) for f in incident.factors if f.own
    ]
    found += [
        (e.wall_ns, facts.say("sign.run", text=e.text))
        for e in run_events(facts, incident.top.entity)
        if e.kind in _SIGNS and t1 - PRE_S * S <= e.wall_ns <= t1
    ]
    found += [
        (e.t0, facts.say("sign.kernel", text=e.title))
        for e in facts.recording.events("kernel")
        if t1 - 5 * S <= e.t0 <= t1 and incident.top.problem in ("oom", "compute", "storage")
    ]
    incident.first_sign = min(found, default=None)


def run_events(facts: Facts, run_id: str) -> Sequence[RunEvent]:
    return next((r.events for r in facts.runs if r.id == run_id), ())
