"""Incidents: one rule at one entity, its machine and its alert. Alerts are replaced, never changed in place,
so whoever holds one (the screen's thread, the recorder) holds it as it was."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace

from dctop.engine.rules.alert import RANK, Alert, State
from dctop.engine.rules.base import INFO, SEVERITY, Details, Occurrence, Prediction, Reading, Rule
from dctop.engine.rules.machine import Change, EventMachine, S, StateMachine, same_incident
from dctop.engine.rules.texts import words

RENEW_NS = 5 * S
"""Numbers of an alert that is firing are renewed this often."""
KEPT_NS = 3600 * S
"""Closed alerts stay on the list this long."""
ORPHAN_NS = 60 * S
"""A symptom whose root has ended stays its symptom for so long: it takes 30 s to clear itself."""
_MAX_KEYS = 4096


@dataclass(slots=True)
class Moment:
    """The two clocks of a tick."""

    mono_ns: int
    wall_ns: int


@dataclass(slots=True)
class Track:
    """State of one rule at one entity."""

    rule: Rule
    entity: str
    alert: Alert | None = None
    machine: StateMachine = field(default_factory=StateMachine)
    event: EventMachine = field(default_factory=EventMachine)
    place: str | None = None
    """The mount it is about, if any."""
    closed_mono_ns: int | None = None
    _keys: set[Hashable] = field(default_factory=set)
    _history: bool = False
    """The alert tells of something before the start."""
    _renewed_ns: int = 0
    predicts: Prediction | None = None
    """What its first remedy promised last."""
    _root_ns: int = 0
    """When a root last explained it."""
    told_wall_ns: int = 0
    """Its alert tells of what happened up to here, though the keys of it are not known."""

    @property
    def open(self) -> bool:
        return self.alert is not None and self.alert.open

    @property
    def pending(self) -> bool:
        return self.machine.state == "pending"

    @property
    def idle(self) -> bool:
        """Nothing to remember: no alert, nothing pending."""
        return self.alert is None and self.machine.state == "ok"

    def expired(self, now: Moment) -> bool:
        closed = self.closed_mono_ns
        return not self.open and closed is not None and now.mono_ns - closed > KEPT_NS

    # -- STATE --------------------------------------------------------------------------------------

    def read(self, r: Reading, now: Moment, lang: str, ids: Ids) -> bool:
        """Take a sighting; True if the alert changed."""
        if r.level < 0:
            return self._change(self.machine.unknown(), r, now, lang, ids)
        hold = self.rule.hold_s if r.hold_s is None else r.hold_s
        change = self.machine.update(now.mono_ns, r.level, r.clear, int(hold * S), r.step)
        if change is None and self.machine.state == "firing" and r.details is not None and r.level:
            if now.mono_ns - self._renewed_ns < RENEW_NS:
                return False
            self._renew(r.details(), now, lang)
            return True
        return self._change(change, r, now, lang, ids)

    def _change(self, change: Change | None, r: Reading, now: Moment, lang: str, ids: Ids) -> bool:
        if change in (None, "pending", "dropped"):
            return False
        if change == "fired":
            assert r.details is not None, self.rule.id
            self._open("state", self.machine.level, now, now.wall_ns, r.step, r.details(), lang, ids)
            return True
        assert self.alert is not None
        if change == "closed":
            self.close(now)
        elif change == "severity":
            worse = RANK[SEVERITY[self.machine.level]] < RANK[self.alert.severity]
            # What was acknowledged was less grave: seen is not seen any more.
            self.alert = replace(
                self.alert, severity=SEVERITY[self.machine.level], acked=self.alert.acked and not worse
            )
            if r.details is not None:
                self._renew(r.details(), now, lang)
        else:
            state: State = "clearing" if change == "clearing" else "firing"
            self.alert = replace(self.alert, state=state, updated_wall_ns=now.wall_ns)
        return True

    # -- EVENT --------------------------------------------------------------------------------------

    def happened(self, o: Occurrence, now: Moment, lang: str, ids: Ids) -> bool:
        """Take an occurrence; True if the alert changed."""
        if o.key in self._keys or (self.open and o.wall_ns <= self.told_wall_ns):
            self._keys.add(o.key)
            if not self.open:
                return False
            self._renew(o.details, now, lang)
            return True
        if len(self._keys) >= _MAX_KEYS:
            self._keys.clear()
        self._keys.add(o.key)
        if o.old:
            return self._past(o, now, lang, ids)
        if self.event.fire(o.level) == "fired":
            self._open("event", o.level, now, o.wall_ns, o.step, o.details, lang, ids)
            return True
        assert self.alert is not None
        severity = SEVERITY[self.event.level]
        self.alert = replace(self.alert, count=self.alert.count + 1, severity=severity, state="firing")
        self._renew(o.details, now, lang)
        return True

    def _past(self, o: Occurrence, now: Moment, lang: str, ids: Ids) -> bool:
        """History from before the start: an entry of the list, closed from the beginning."""
        if self.alert is not None and not self._history:
            return False
        if self.alert is None:
            self._open("event", INFO, now, o.wall_ns, o.step, o.details, lang, ids)
            self._history = True
        else:
            # The title tells of the latest one.
            self.alert = replace(self.alert, count=self.alert.count + 1)
            self._renew(o.details, now, lang)
        assert self.alert is not None
        self.alert = replace(
            self.alert, state="closed", closed_wall_ns=max(o.wall_ns, self.alert.opened_wall_ns)
        )
        self.closed_mono_ns = now.mono_ns
        return True

    # -- both ---------------------------------------------------------------------------------------

    def _open(
        self,
        kind: str,
        level: int,
        now: Moment,
        at_wall_ns: int,
        step: int | None,
        details: Details,
        lang: str,
        ids: Ids,
    ) -> None:
        again = self.alert
        if (
            again is not None
            and self.closed_mono_ns is not None
            and again.closed_wall_ns is not None
            and not self._history
            and same_incident(self.closed_mono_ns, now.mono_ns)
        ):
            self.alert = replace(
                again, severity=SEVERITY[level], state="firing", closed_wall_ns=None, count=again.count + 1,
                acked=False, suppressed_by=None,
            )  # fmt: skip
        else:
            self.alert = Alert(
                rule=self.rule.id, entity=self.entity, problem=self.rule.problem,
                severity=SEVERITY[level], state="firing", opened_wall_ns=at_wall_ns, closed_wall_ns=None,
                first_step=step, title="", why="", evidence=(), ruled_out=(), cost=None, remedies=(),
                kind="event" if kind == "event" else "state", id=ids.next(),
                # Muted is the rule at this place, until then: also its next incident.
                muted_until_ns=None if again is None else again.muted_until_ns,
            )  # fmt: skip
        self.closed_mono_ns, self._history = None, False
        self._renew(details, now, lang)

    def _renew(self, d: Details, now: Moment, lang: str) -> None:
        assert self.alert is not None
        w = words(lang, self.rule, d)
        place = d.facts.get("mount")
        self.place = place if isinstance(place, str) else None
        self._renewed_ns = now.mono_ns
        self.predicts = d.predicts
        self.alert = replace(
            self.alert, title=w.title, why=w.why, evidence=w.evidence, remedies=w.remedies,
            ruled_out=w.ruled_out, cost=w.cost, updated_wall_ns=now.wall_ns,
        )  # fmt: skip

    def close(self, now: Moment) -> None:
        """Cleared, acknowledged, or the worker was started anew."""
        assert self.alert is not None
        self.alert = replace(
            self.alert, state="closed", closed_wall_ns=now.wall_ns, updated_wall_ns=now.wall_ns
        )
        self.closed_mono_ns = now.mono_ns
        self.event.release()

    def end(self, now: Moment) -> None:
        """A standing state ends: whatever is seen next is a new one."""
        self.close(now)
        self.machine = StateMachine()

    def suppress(self, root: str | None, now: Moment) -> bool:
        """Mark as symptom of `root`; True if that is news. A symptom outlives its root by as long as it takes
        to clear: for a minute it is not an alert of its own."""
        assert self.alert is not None
        if root is not None:
            self._root_ns = now.mono_ns
        elif self.alert.suppressed_by is not None and now.mono_ns - self._root_ns < ORPHAN_NS:
            return False
        if self.alert.suppressed_by == root:
            return False
        self.alert = replace(self.alert, suppressed_by=root)
        return True


class Ids:
    """Alert numbers in order of opening."""

    def __init__(self) -> None:
        self.last = 0

    def next(self) -> int:
        self.last += 1
        return self.last


def in_order(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """Open before closed, then gravest, then newest."""
    return tuple(sorted(alerts, key=lambda a: (not a.open, RANK[a.severity], -a.opened_wall_ns, -a.id)))
