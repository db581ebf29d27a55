"""The rule engine: asks the rules, runs their machines, names roots, keeps the list of alerts.

One code for a live node, a replay and `dctop check FILE`. It knows no clock: everything is judged by the
times inside snapshots and run logs, so the same input gives the same alerts, ids included.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dctop.engine.config import Energy
from dctop.engine.metrics.source import Source
from dctop.engine.rules.alert import Alert
from dctop.engine.rules.anomaly import Anomaly
from dctop.engine.rules.base import (
    PROBLEMS,
    RESOURCES,
    Item,
    Needs,
    NodeRule,
    Occurrence,
    Reading,
    Rule,
    RunRule,
)
from dctop.engine.rules.board import Standing, Status, board
from dctop.engine.rules.registry import make_rules, read_all
from dctop.engine.rules.slots import KnownRun, Slot, standing
from dctop.engine.rules.suppress import explains, find_root
from dctop.engine.rules.texts import needs
from dctop.engine.rules.tracks import Ids, Moment, Track, in_order
from dctop.engine.rules.verdict import verdict
from dctop.engine.rules.window import ACTIVE, NS, Window
from dctop.engine.training.folder import INFER
from dctop.probes.base import Sample

if TYPE_CHECKING:
    from dctop.engine.rules.runwindow import RunWindow
    from dctop.engine.training.runstate import RunState


MOST_RUNS = 4
"""Of more active runs than this every other is judged each second, as long as only steps came."""
SELDOM_NS = 10 * NS
"""A rule that says itself whether it is to be asked is asked this often in any case."""
_NO_RUN, _NO_MEASUREMENT = Needs("run"), Needs("inference")
_UNKNOWN: Mapping[str, Status] = dict.fromkeys((*PROBLEMS, *RESOURCES), "unknown")


class RuleEngine:
    """Judges a `Source` tick by tick.

    `lang`: language of the texts (`en`, `zh`). `thresholds`: rule id -> threshold name -> value, over the
    rules' own; names no rule knows are in `unknown_thresholds`. `own`: the user's rules
    (own.py); `energy`: budgets and factors of the configuration; `runs_later`: rules about runs are imported
    when there is one. `tick` belongs to one thread; everything
    else may be called from any."""

    def __init__(
        self,
        lang: str = "en",
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
        rules: Sequence[Rule] | None = None,
        own: Mapping[str, Mapping[str, object]] | None = None,
        energy: Energy | None = None,
        runs_later: bool = False,
    ) -> None:
        self.lang = lang
        self._runs_later = runs_later
        self._energy = energy or Energy()
        self._own = own or {}
        self._thresholds = thresholds or {}
        self._given = rules
        self._lock = threading.RLock()
        self._reset()

    def reset(self) -> None:
        """Forget everything: before an unrelated moment (a seek, another recording)."""
        with self._lock:
            self._reset()

    def _reset(self) -> None:
        if self._given is not None:
            rules = list(self._given)
        else:
            rules = make_rules(self._thresholds, self._own, self._runs_later)
        self.unknown_thresholds = unknown_thresholds(rules, self._thresholds)
        self._node = [Slot(r) for r in rules if isinstance(r, NodeRule)]
        groups: dict[tuple[str, ...], int] = {}
        for slot in self._node:
            slot.group = groups.setdefault(slot.rule.probes, len(groups))
        self._groups = tuple(groups)
        self._samples: list[tuple[Sample | None, ...] | None] = [None] * len(groups)
        """Of the probes of each group, as of the tick before."""
        self._per_run = [
            Slot(r, unknown=_NO_MEASUREMENT if r.subject == "inference" else _NO_RUN)
            for r in rules
            if isinstance(r, RunRule)
        ]
        self._per_subject = {
            subject: [s for s in self._per_run if s.rule.subject in ("any", subject)]
            for subject in ("training", "inference")
        }
        slots: list[Slot[Any]] = [*self._node, *self._per_run]
        self._slots = {s.rule.id: s for s in slots}
        self._window = Window()
        self._window.energy = self._energy
        self._runs: dict[str, KnownRun] = {}
        self._active: Collection[str] = ()
        """Subjects of the runs that were active at the tick before."""
        self._measured: KnownRun | None = None
        self._ids = Ids()
        self._now = Moment(0, 0)
        self._seq: int | None = None
        self._dirty = True
        self._muted = False
        self._symptoms = False
        """Some alert is a symptom: its root may end, which changes no alert of its own."""
        self._alerts: tuple[Alert, ...] = ()
        self._counts = (0, 0, 0)
        self._status: dict[str, Status] = dict(_UNKNOWN)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All that judge, shipped and own."""
        self._read_all()
        return tuple(s.rule for s in self._slots.values())

    # -- what it says -------------------------------------------------------------------------------

    def alerts(self) -> tuple[Alert, ...]:
        """Open ones, then those closed within the last hour; gravest, then newest first."""
        return self._alerts

    @property
    def counts(self) -> tuple[int, int, int]:
        """(critical, warning, info) that are open, no symptom of another and not muted."""
        return self._counts

    def problem_status(self) -> Mapping[str, Status]:
        """For each of the five problems and four resources: firing, suspect (something pending, or worth a
        note), well, or unknown (no rule about it could be judged)."""
        return self._status

    def not_checked(self) -> tuple[tuple[str, str], ...]:
        """(rule id, what it needs) of every rule that abstains."""
        with self._lock:
            lacking = ((s.rule.id, s.fault or s.unknown) for s in self._slots.values())
            return tuple((rule, needs(self.lang, what)) for rule, what in lacking if what is not None)

    def board(self) -> tuple[Standing, ...]:
        """The five problems and four resources, each with what is open, pending, missing."""
        with self._lock:
            rules = [(s.rule.id, s.rule.problem) for s in self._slots.values()]
            pending = {i for i, s in self._slots.items() if any(t.pending for t in s.tracks.values())}
            return board(rules, dict(self.not_checked()), self._alerts, pending)

    def marks(self) -> dict[str, str]:
        """Series key -> spike, shift, drift or stall, of what is unusual just now; one alone is no alert."""
        with self._lock:
            rule = self.anomaly
            return {} if rule is None else rule.marks()

    @property
    def anomaly(self) -> Anomaly | None:
        """The statistical layer."""
        return next((s.rule for s in self._node if isinstance(s.rule, Anomaly)), None)

    def passing(self) -> frozenset[str]:
        """Rules that abstain only because they have not looked long enough: a moment out of a long recording
        tells nothing else about them."""
        with self._lock:
            keys = ("history", "learning", "reading")
            return frozenset(
                i for i, s in self._slots.items() if s.unknown is not None and s.unknown.key in keys
            )

    # -- what the user says -------------------------------------------------------------------------

    def ack(self, alert_id: int) -> bool:
        """Seen: ends an event and the events that are its symptoms, marks a state (which ends when it
        clears). False: no such open alert."""
        with self._lock:
            track = self._track(alert_id)
            if track is None or track.alert is None or not track.open:
                return False
            root = track.alert
            for t in self._all_tracks():
                a = t.alert
                if a is None or not t.open:
                    continue
                symptom = a.kind == "event" and a.suppressed_by == root.rule
                if a is root or (root.kind == "event" and symptom and explains(root, a, self._runs.keys())):
                    t.alert = replace(a, acked=True)
                    if a.kind == "event":
                        t.close(self._now)
                    elif self._stands(t):
                        self._supersede(t)
            self._explain()
            self._publish()
            return True

    def mute(self, alert_id: int, wall_ns_until: int) -> bool:
        """Not counted until then (0: at once again). False: no such alert."""
        with self._lock:
            track = self._track(alert_id)
            if track is None or track.alert is None:
                return False
            track.alert = replace(track.alert, muted_until_ns=wall_ns_until or None)
            self._publish()
            return True

    def _track(self, alert_id: int) -> Track | None:
        return next((t for t in self._all_tracks() if t.alert is not None and t.alert.id == alert_id), None)

    def _stands(self, track: Track) -> bool:
        """A state of a run that has ended, which will not clear by itself."""
        known = self._runs.get(track.entity)
        stands = isinstance(track.rule, RunRule) and track.rule.stands
        return stands and known is not None and not known.window.active

    def _supersede(self, track: Track) -> None:
        """End a standing state for good."""
        self._runs[track.entity].done.add(track.rule.id)
        track.end(self._now)

    def _all_tracks(self) -> Iterator[Track]:
        for slot in self._slots.values():
            yield from slot.tracks.values()

    # -- a tick -------------------------------------------------------------------------------------

    def tick(self, source: Source) -> None:
        """Judge the source's current moment. The same moment twice is judged once; a moment before the
        last one (a seek back, a reboot) starts anew."""
        snap = source.snapshot()
        if snap is None:
            return
        frame = snap.frame
        with self._lock:
            if frame.mono_ns == self._now.mono_ns and frame.seq == self._seq:
                return
            if frame.mono_ns < self._now.mono_ns:
                self._reset()
            self._now = Moment(frame.mono_ns, frame.wall_ns)
            self._seq = frame.seq
            w = self._window
            w.bind(source, snap)
            w.alerts = self._alerts
            news = [self._news(i, w) for i in range(len(self._groups))]
            for slot in self._node:
                fresh = news[slot.group]
                if isinstance(fresh, str):
                    slot.asked = False
                    self._abstain(slot, Needs("probe", fresh))
                elif not slot.asked or self._due(slot, w, fresh):
                    self._ask(slot, w)
                elif slot.tracks and slot.unknown is None:
                    self._settle(slot, slot.items, None)
            self._judge_runs(w)
            tracked = [s for s in self._slots.values() if s.tracks]
            if tracked:
                self._forget_old(tracked)
            if self._dirty or self._muted or self._symptoms:
                self._explain()
                self._publish()
            self._status = self._problem_status(tracked)

    def _news(self, group: int, w: Window) -> bool | str:
        """Whether the probes of a group read anything since the last tick; else which of them is missing."""
        probes = self._groups[group]
        for probe in probes:
            if not w.has(probe):
                self._samples[group] = None
                return probe
        before = self._samples[group]
        now = self._samples[group] = tuple(map(w.frame.samples.get, probes))
        return before is None or any(x is not y for x, y in zip(before, now, strict=True))

    def _due(self, slot: Slot[NodeRule], w: Window, news: bool) -> bool:
        """Whether a rule that has been asked before is to be asked now."""
        if slot.paced:
            return slot.turn_at(w.mono_ns) != slot.turn or (news and slot.rule.always)
        if not slot.rule.always and not (news and slot.rule.sifts):
            return news
        return w.mono_ns // SELDOM_NS != slot.turn or slot.rule.stirred(w)

    def _ask(self, slot: Slot[NodeRule], w: Window) -> None:
        slot.asked = True
        outcome = slot.ask(slot.rule.judge, w)
        slot.turn = slot.turn_at(w.mono_ns) if slot.paced else w.mono_ns // SELDOM_NS
        if isinstance(outcome, Needs):
            self._abstain(slot, outcome)
            return
        slot.unknown = None
        slot.items = standing(outcome)
        if outcome or slot.tracks:
            self._settle(slot, outcome, None)

    def _abstain(self, slot: Slot[Any], why: Needs, entity: str | None = None) -> None:
        if entity is None:
            slot.unknown, slot.items = why, ()
        for track in slot.tracks.values():
            if entity is None or track.entity == entity:
                self._dirty |= track.read(Reading(track.entity, -1, False), self._now, self.lang, self._ids)

    def _settle(self, slot: Slot[Any], items: Sequence[Item], entity: str | None) -> None:
        """Run the machines of what was seen, and of what was not seen any more (which is well or gone).

        `entity`: the answer is about this one only.
        """
        now, tracks = self._now, slot.tracks
        seen: set[str] = set()
        for item in items:
            track = tracks.get(item.entity)
            if isinstance(item, Reading):
                seen.add(item.entity)
                if track is None:
                    if item.level <= 0:
                        continue
                    track = tracks[item.entity] = Track(slot.rule, item.entity)
                self._guard(slot, track, item)
            else:
                if track is None:
                    track = tracks[item.entity] = Track(slot.rule, item.entity)
                self._guard(slot, track, item)
        for name in [n for n in tracks if n not in seen and (entity is None or n == entity)]:
            track = tracks[name]
            if track.machine.state != "ok":
                self._dirty |= track.read(Reading(name, 0, True), now, self.lang, self._ids)
            if track.idle and not track.event.open:
                del tracks[name]

    def _guard(self, slot: Slot[Any], track: Track, item: Item) -> None:
        """Take one item; texts that do not fit their details are the rule's fault, not the engine's."""
        try:
            if isinstance(item, Occurrence):
                self._dirty |= track.happened(item, self._now, self.lang, self._ids)
            else:
                self._dirty |= track.read(item, self._now, self.lang, self._ids)
        except Exception as e:
            slot.fault = Needs("fault", slot.failing(e, f"failed at {track.entity}"))

    # -- runs ---------------------------------------------------------------------------------------

    def _read_all(self) -> None:
        """Import the rules about runs that were left for later. They have been asked nothing yet."""
        if self._runs_later:
            with self._lock:
                self._runs_later = False
                for rule_id, rule in read_all(s.rule for s in self._per_run).items():
                    self._slots[rule_id].take(rule)

    def _judge_runs(self, w: Window) -> None:
        current = w.runs
        if current:
            self._read_all()
        active: set[str] = set()
        latest: dict[object, int] = {}
        """What is measured -> when its newest measurement began."""
        for run in current:
            if run.workload == INFER:
                latest[_measured(run)] = max(run.started_wall_ns, latest.get(_measured(run), 0))
        waits = self._waiting(current, w.mono_ns)
        for run in current:
            known = self._runs.get(run.id)
            if known is None:
                known = self._runs[run.id] = KnownRun(_window(w))
            mark = (run.seq, run.status, len(run.events), run.step)
            if run.id in waits and mark[1:3] == known.mark[1:3]:
                active.add(known.window.subject)
                continue
            changed = mark != known.mark
            live = run.status in ACTIVE
            if changed or known.recalled:
                news = known.window.changed_mono_ns
                known.bind(run, mark)
                if not changed:
                    known.window.changed_mono_ns = news
                known.recalled, changed = False, True
            if live:
                active.add(known.window.subject)
            # Of what was measured again since, nothing is told that nobody saw in its time.
            again = run.workload == INFER and run.started_wall_ns < latest[_measured(run)]
            if (changed or live or known.settling) and not (again and not known.window.seen_active):
                self._run_rules(known, run, changed, live)
        if len(self._runs) > len(current):
            ids = {r.id for r in current}
            for gone in [i for i in self._runs if i not in ids]:
                self._run_gone(gone)
        self._not_told(active)
        if any(s.tracks for s in self._slots.values()):
            self._restarted(current)
            if len(current) > 1:
                self._verdicts(current)

    def _waiting(self, runs: Sequence[RunState], mono_ns: int) -> Collection[str]:
        """Active runs whose turn this is not."""
        live = [r.id for r in runs if r.status in ACTIVE]
        if len(live) <= MOST_RUNS:
            return ()
        return frozenset(live[mono_ns // NS % 2 :: 2])

    def _run_rules(self, known: KnownRun, run: RunState, changed: bool, live: bool) -> None:
        for slot in self._per_subject[known.window.subject]:
            rule = slot.rule.id
            if rule in known.done:
                continue
            outcome: tuple[Item, ...] | Needs | None = ()
            if live or slot.rule.after_end:
                outcome = known.answer(slot, changed)
            if outcome is None:
                if run.id in slot.tracks and rule not in known.unknown:
                    self._settle(slot, known.items.get(rule, ()), run.id)
            elif isinstance(outcome, Needs):
                known.unknown[rule] = outcome
                known.items.pop(rule, None)
                self._abstain(slot, outcome, run.id)
            else:
                known.take(rule, outcome)
                if outcome or run.id in slot.tracks:
                    self._settle(slot, outcome, run.id)
        if not live:
            # What stands is asked again only if something changed; until then it neither holds nor clears.
            standing = {s.rule.id for s in self._per_run if s.rule.stands}
            known.items = {i: items for i, items in known.items.items() if i in standing}
            tracks = [s.tracks[run.id] for s in self._per_run if run.id in s.tracks]
            known.settling = any(
                t.machine.state != "ok" and not (t.rule.id in standing and t.machine.state == "firing")
                for t in tracks
            )

    def _run_gone(self, run_id: str) -> None:
        """No longer listed: its states end, its events stay until acknowledged."""
        del self._runs[run_id]
        for slot in self._per_run:
            slot.rule.forget(run_id)
            track = slot.tracks.get(run_id)
            if track is not None and track.machine.state != "ok":
                if track.open:
                    track.close(self._now)
                    self._dirty = True
                del slot.tracks[run_id]

    def _not_told(self, active: Collection[str]) -> None:
        """What the rules about runs lack: where there are several runs, the first of them that lacks it.
        `active`: subjects of the runs that go on."""
        newest = self._measurement()
        if not active and not self._active and newest is self._measured:
            return
        self._active, self._measured = active, newest
        told: dict[str, Needs] = {}
        for known in reversed(self._runs.values()):
            told.update(known.unknown)
        measured = None if newest is None else newest.unknown
        for slot in self._per_run:
            rule = slot.rule
            # Rules that also look at what has ended were told by the newest measurement.
            ended = rule.subject == "any" and rule.after_end and not active and newest is not None
            if rule.subject == "inference" or ended:
                slot.unknown = _NO_MEASUREMENT if measured is None else measured.get(rule.id)
            elif not active or (rule.subject != "any" and rule.subject not in active):
                slot.unknown = _NO_RUN
            else:
                slot.unknown = told.get(rule.id)

    def _measurement(self) -> KnownRun | None:
        """The newest measurement of inference: what the rules about it say stands until the next one."""
        found = [r for r in self._runs.values() if r.window.subject == "inference" and r.window.fresh]
        return max(found, key=lambda r: r.window.run.started_wall_ns, default=None)

    def _restarted(self, runs: Sequence[RunState]) -> None:
        """Events of a run end when its worker was started again: a later run of the same workload, or one
        that was made from it."""
        for track in self._all_tracks():
            alert = track.alert
            if alert is None or not alert.open or track.entity not in self._runs:
                continue
            stands = self._stands(track)
            if alert.kind != "event" and not stands:
                continue
            old = self._runs[track.entity].window.run
            if any(_replaces(new, old) for new in runs):
                if stands:
                    self._supersede(track)
                else:
                    track.close(self._now)
                self._dirty = True

    def _verdicts(self, runs: Sequence[RunState]) -> None:
        """What came of a remedy, told by the run that followed."""
        for track in self._all_tracks():
            alert, known = track.alert, self._runs.get(track.entity)
            if alert is None or alert.verdict is not None or track.predicts is None or known is None:
                continue
            after = [r for r in runs if _replaces(r, known.window.run)]
            first = min(after, key=lambda r: r.started_wall_ns, default=None)
            if first is None or first.id not in self._runs:
                continue
            said = verdict(self.lang, track.predicts, known.window, self._runs[first.id].window)
            if said is not None:
                track.alert = replace(alert, verdict=said, updated_wall_ns=self._now.wall_ns)
                self._dirty = True

    # -- the list -----------------------------------------------------------------------------------

    def _forget_old(self, tracked: Sequence[Slot[Any]]) -> None:
        for slot in tracked:
            for name in [n for n, t in slot.tracks.items() if t.expired(self._now)]:
                # The keys of an event stay with its track: drop it only when nothing can repeat it.
                if slot.tracks[name].machine.state == "ok":
                    slot.tracks[name].alert = None
                    slot.tracks[name].closed_mono_ns = None
                    self._dirty = True

    def _explain(self) -> None:
        """Name the root of every symptom."""
        tracks = [t for t in self._all_tracks() if t.open]
        alerts = [t.alert for t in tracks if t.alert is not None]
        places = {t.alert.id: t.place for t in tracks if t.alert is not None and t.place is not None}
        for track in tracks:
            assert track.alert is not None
            root = find_root(track.alert, alerts, self._runs.keys(), places)
            if root is None and self._stands(track):
                continue  # its cause was there when it was measured
            track.suppress(root, self._now)

    def _publish(self) -> None:
        alerts = [t.alert for t in self._all_tracks() if t.alert is not None]
        self._symptoms = any(a.open and a.suppressed_by is not None for a in alerts)
        ordered = in_order(alerts)
        if ordered != self._alerts:
            self._alerts = ordered
        counts = {"critical": 0, "warning": 0, "info": 0}
        self._muted = False
        for a in alerts:
            muted = a.muted_until_ns is not None and a.muted_until_ns > self._now.wall_ns
            self._muted |= muted
            if a.open and a.suppressed_by is None and not muted:
                counts[a.severity] += 1
        self._counts = (counts["critical"], counts["warning"], counts["info"])
        self._dirty = False

    def _problem_status(self, tracked: Sequence[Slot[Any]]) -> dict[str, Status]:
        status = dict(_UNKNOWN)
        for slot in self._slots.values():
            if slot.unknown is None:
                status[slot.rule.problem] = "well"
        for slot in tracked:
            problem = slot.rule.problem
            for track in slot.tracks.values():
                a = track.alert
                if a is not None and a.open and a.suppressed_by is None and a.severity != "info":
                    status[problem] = "firing"
                elif (track.pending or track.open) and status[problem] != "firing":
                    status[problem] = "suspect"
        return status


def _window(w: Window) -> RunWindow:
    """Read with the first run, and what it takes of a run with it."""
    from dctop.engine.rules.runwindow import RunWindow

    return RunWindow(w)


def _replaces(new: RunState, old: RunState) -> bool:
    if new.id == old.id or old.ended_wall_ns is None or new.started_wall_ns <= old.ended_wall_ns:
        return False
    if INFER in (new.workload, old.workload):
        return new.workload == old.workload and _measured(new) == _measured(old)
    if new.config.get("parent") == old.id or new.workload == old.workload:
        return True
    resumed = new.config.get("resume_from")
    return isinstance(resumed, str) and resumed.startswith(old.directory.rstrip("/") + "/")


def _measured(run: RunState) -> object:
    """What a measurement is about: the run, or the checkpoint file of none."""
    measures = run.config.get("measures")
    measures = measures if isinstance(measures, Mapping) else {}
    return measures.get("run") or measures.get("checkpoint")


def unknown_thresholds(
    rules: Sequence[Rule], thresholds: Mapping[str, Mapping[str, float]]
) -> tuple[str, ...]:
    """`rule.threshold` names that no rule knows, for the user to mend."""
    known = {r.id: r.thresholds for r in rules}
    return tuple(
        f"{rule}.{name}"
        for rule, values in thresholds.items()
        for name in values
        if name not in known.get(rule, {})
    )
