"""What a rule engine knows at a moment, as plain data and back: a recording that begins in mid-session
carries it, so that judging it again begins where the session stood and not from nothing.

Carried are incidents with their machines, what each rule remembers (trails, what is usual, what it has
judged) and the numbers of alerts. Not carried is what belongs to the moment alone: readings with texts yet
to be made, objects of other parts; a rule whose memory holds such starts that part of it anew.

Objects are written as their class and its attributes. Only classes of the rules and plain ones beside them
are made again, with exactly the attributes they have now: what an other version wrote otherwise is not taken.
"""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dctop.engine.rules.alert import RANK, Alert, Evidence, Remedy
from dctop.engine.rules.anomaly import Anomaly
from dctop.engine.rules.base import Item, Needs, Reading, Rule
from dctop.engine.rules.machine import EventMachine, MachineState, StateMachine
from dctop.engine.rules.registry import Unread
from dctop.engine.rules.slots import KnownRun
from dctop.engine.rules.tracks import Moment, Track

if TYPE_CHECKING:
    from dctop.engine.metrics.model import Frame
    from dctop.engine.rules.engine import RuleEngine

VERSION = 1
"""Grows when what a rule remembers means something else under the same name."""
Tree = Any
"""Plain JSON: numbers, texts, and lists that begin with a letter saying what they are."""
_MODULES = ("dctop.engine.rules.", "dctop.engine.metrics.trend", "dctop.probes.base")
_PASSING = frozenset(("t", "hold_s", "every_s", "every_steps", "_labels", "_samples", "_sifted"))
"""Of a rule: its settings, what it knows by identity only, and what it saw when it was asked last."""
_OF_RUN = ("first_bound_wall_ns", "changed_mono_ns", "seen_active", "_last_event", "_train_begin", "_classes")


class _Foreign(Exception):
    """Holds something that cannot be carried."""


class NotTaken(ValueError):
    """What is given is nothing that was carried, or another version's."""


def _attributes(cls: type) -> tuple[str, ...] | None:
    """Names of a class that has fixed ones."""
    fields = getattr(cls, "_fields", None)
    if fields is not None:
        return tuple(fields)
    slots = [s for c in reversed(cls.__mro__) for s in _as_tuple(c.__dict__.get("__slots__", ()))]
    return tuple(slots) if slots else None


def _as_tuple(slots: str | Iterable[str]) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


class _Writer:
    def __init__(self, text: Callable[[str], str]) -> None:
        self.text = text
        self.classes: dict[str, list[str]] = {}
        self._seen: dict[int, int] = {}
        self._kept: list[object] = []
        """Keeps what was seen alive, so that no other object gets its identity."""

    def guarded(self, value: object) -> Tree:
        """Raises _Foreign, with nothing of `value` counted as seen."""
        kept = len(self._kept)
        try:
            return self.tree(value)
        except _Foreign:
            for gone in self._kept[kept:]:
                del self._seen[id(gone)]
            del self._kept[kept:]
            raise

    def tree(self, v: object) -> Tree:
        if v is None or type(v) in (bool, int, float):
            return v
        if isinstance(v, str):
            return self.text(v)
        if type(v) in (list, tuple, set, frozenset):
            letter = {list: "l", tuple: "t", set: "s", frozenset: "f"}[type(v)]  # type: ignore[index]
            return [letter, *map(self.tree, v)]  # type: ignore[call-overload]
        if type(v) is dict:
            return ["d", *(self.tree(x) for item in v.items() for x in item)]
        if type(v) is deque:
            return ["q", v.maxlen, *map(self.tree, v)]
        if type(v) is array:
            return ["a", v.typecode, *v.tolist()]
        if isinstance(v, Rule):
            return ["R", v.id]
        return self._object(v)

    def _object(self, v: object) -> Tree:
        cls = type(v)
        if not cls.__module__.startswith(_MODULES):
            raise _Foreign(cls.__qualname__)
        known = self._seen.get(id(v))
        if known is not None:
            return ["r", known]
        self._seen[id(v)] = len(self._kept)
        self._kept.append(v)
        names = _attributes(cls) or tuple(vars(v))
        name = f"{cls.__module__}:{cls.__qualname__}"
        if self.classes.setdefault(name, list(names)) != list(names):
            raise _Foreign(name)
        return ["o", name, *(self.tree(getattr(v, n)) for n in names)]


class _Reader:
    def __init__(self, classes: Mapping[str, Sequence[str]], rules: Mapping[str, Rule]) -> None:
        self._rules = rules
        self._classes = {name: (_class(name, names), tuple(names)) for name, names in classes.items()}
        self._made: list[object] = []

    def value(self, tree: Tree) -> Any:
        if not isinstance(tree, list):
            return tree
        letter, *rest = tree
        if letter in ("l", "t", "s", "f"):
            made = map(self.value, rest)
            return {"l": list, "t": tuple, "s": set, "f": frozenset}[letter](made)
        if letter == "d":
            values = list(map(self.value, rest))
            return dict(zip(values[::2], values[1::2], strict=True))
        if letter == "q":
            return deque(map(self.value, rest[1:]), rest[0])
        if letter == "a":
            return array(rest[0], rest[1:])
        if letter == "R":
            return self._rules[rest[0]]
        if letter == "r":
            return self._made[rest[0]]
        if letter == "o":
            return self._object(*rest)
        raise NotTaken(f"unknown form {letter!r}")

    def _object(self, name: str, *values: Tree) -> object:
        cls, names = self._classes[name]
        at = len(self._made)
        if hasattr(cls, "_fields"):
            self._made.append(None)
            made = self._made[at] = cls(*map(self.value, values))
            return made
        made = object.__new__(cls)
        self._made.append(made)
        for attribute, tree in zip(names, values, strict=True):
            object.__setattr__(made, attribute, self.value(tree))
        return made


def _class(name: str, names: Sequence[str]) -> type:
    """A class that may be made again. Raises NotTaken."""
    module, _, qualified = name.partition(":")
    loaded = sys.modules.get(module) if module.startswith(_MODULES) else None
    cls = getattr(loaded, qualified, None)
    if not isinstance(cls, type) or cls.__module__ != module or issubclass(cls, Rule):
        raise NotTaken(f"no class {name}")
    fixed = _attributes(cls)
    if fixed is not None and fixed != tuple(names):
        raise NotTaken(f"{name} has other attributes now")
    return cls


# -- an engine ----------------------------------------------------------------------------------------------


def memory(engine: RuleEngine, text: Callable[[str], str] = str) -> dict[str, Tree]:
    """All it knows, for `recall`. `text`: applied to every text, e.g. a filter of secrets."""
    with engine._lock:
        w = _Writer(text)
        slots = {}
        for rule_id, slot in engine._slots.items():
            own = {}
            if isinstance(slot.rule, Anomaly):
                slot.rule.catch_up()
            state = {} if isinstance(slot.rule, Unread) else vars(slot.rule)
            for name, value in state.items():
                if name not in _PASSING:
                    try:
                        own[name] = w.guarded(value)
                    except _Foreign:
                        continue
            items = _quiet(slot.items)
            slots[rule_id] = {
                "memory": own,
                "asked": slot.asked and items is not None,
                "turn": slot.turn,
                "items": w.tree(items or []),
                "unknown": w.tree(slot.unknown),
                "tracks": w.tree(list(slot.tracks.values())),
            }
        runs = {
            run_id: [w.tree(known.mark), *(w.tree(getattr(known.window, n)) for n in _OF_RUN)]
            for run_id, known in engine._runs.items()
        }
        turns = {run_id: _turns(w, engine, known) for run_id, known in engine._runs.items()}
        return {
            "version": VERSION,
            "ids": engine._ids.last,
            "now": [engine._now.mono_ns, engine._now.wall_ns],
            "seq": engine._seq,
            "window": [engine._window.first_wall_ns, engine._window.stepped_mono_ns],
            "runs": runs,
            "turns": turns,
            "slots": slots,
            "classes": w.classes,
        }  # fmt: skip


def _quiet(items: Iterable[Item]) -> list[Item] | None:
    """An answer without its texts; None: it says something, and the rule has to be asked anew."""
    if not all(isinstance(i, Reading) and i.level <= 0 for i in items):
        return None
    return [Reading(*i[:3], None, i.hold_s, i.step) for i in items if isinstance(i, Reading)]


def _turns(w: _Writer, engine: RuleEngine, known: KnownRun) -> dict[str, Tree]:
    """Of the paced rules about a run: the turn in which each answered last, and what (`KnownRun.turns`)."""
    found = {}
    for slot in engine._per_run:
        rule = slot.rule.id
        items = _quiet(known.items.get(rule, ()))
        if slot.paced and rule in known.turns and items is not None:
            found[rule] = w.tree([known.turns[rule], known.unknown.get(rule), items])
    return found


def mapped(data: Mapping[str, Tree], text: Callable[[str], str]) -> dict[str, Tree]:
    """`memory` with every text in it changed: names that are replaced for sharing."""

    def change(tree: Tree) -> Tree:
        if isinstance(tree, str):
            return text(tree)
        if not isinstance(tree, list):
            return tree
        letter, *rest = tree
        if letter in ("r", "R", "a"):
            return tree
        if letter in ("o", "q"):
            return [letter, rest[0], *map(change, rest[1:])]
        return [letter, *map(change, rest)]

    slots = {
        rule: {
            k: {n: change(t) for n, t in v.items()} if k == "memory" else change(v) for k, v in slot.items()
        }
        for rule, slot in data["slots"].items()
    }
    runs = {text(run_id): list(map(change, values)) for run_id, values in data["runs"].items()}
    turns = {
        text(run_id): {rule: change(told) for rule, told in rules.items()}
        for run_id, rules in data.get("turns", {}).items()
    }
    return {**data, "slots": slots, "runs": runs, "turns": turns}


def recall(engine: RuleEngine, data: Mapping[str, Tree], frame: Frame | None) -> None:
    """Make a new engine know what `memory` told; `frame`: the last one before those
    to judge, if there is one. Raises NotTaken, and the engine is as new."""
    with engine._lock:
        engine.reset()
        try:
            _recall(engine, data, frame)
        except (NotTaken, KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as e:
            engine.reset()
            raise NotTaken(f"{type(e).__name__}: {e}") from e


def _recall(engine: RuleEngine, data: Mapping[str, Tree], frame: Frame | None) -> None:
    from dctop.engine.rules.runwindow import RunWindow  # who only writes needs it with the first run

    if data["version"] != VERSION:
        raise NotTaken(f"version {data['version']}")
    reader = _Reader(data["classes"], {r.id: r for r in engine.rules})
    for rule_id, told in data["slots"].items():
        slot = engine._slots.get(rule_id)
        values = {name: reader.value(tree) for name, tree in told["memory"].items()}
        items, unknown = reader.value(told["items"]), reader.value(told["unknown"])
        tracks = reader.value(told["tracks"]) if slot is not None else []
        if slot is None:
            continue
        for name, value in values.items():
            if name in vars(slot.rule) and name not in _PASSING:
                setattr(slot.rule, name, value)
        slot.unknown = unknown if isinstance(unknown, Needs) else None
        slot.tracks = {t.entity: t for t in map(_checked, tracks)}
        if told["asked"] and frame is not None:
            slot.items, slot.asked, slot.turn = tuple(items), True, int(told["turn"])
        if isinstance(slot.rule, Anomaly) and frame is not None:
            slot.rule.seen(frame.samples)
    for run_id, (mark, *values) in data["runs"].items():
        window = RunWindow(engine._window)
        for name, tree in zip(_OF_RUN, values, strict=True):
            setattr(window, name, reader.value(tree))
        known = engine._runs[run_id] = KnownRun(window, reader.value(mark), recalled=True)
        turns = data.get("turns", {}).get(run_id, {}) if frame is not None else {}
        for rule_id, tree in turns.items():
            turn, unknown, items = reader.value(tree)
            known.turns[rule_id] = int(turn)
            if isinstance(unknown, Needs):
                known.unknown[rule_id] = unknown
            if items:
                known.items[rule_id] = tuple(map(_reading, items))
    if frame is not None:
        engine._samples = [tuple(map(frame.samples.get, probes)) for probes in engine._groups]
    engine._active = ("any",)  # so that what no run feeds any more is told at the next tick
    engine._ids.last = int(data["ids"])
    engine._now = Moment(*map(int, data["now"]))
    engine._seq = data["seq"]
    if frame is not None:
        engine._now, engine._seq = Moment(frame.mono_ns, frame.wall_ns), frame.seq
    engine._window.first_wall_ns, engine._window.stepped_mono_ns = data["window"]
    engine._explain()
    engine._publish()


def _reading(item: object) -> Reading:
    if not isinstance(item, Reading) or item.level > 0:
        raise NotTaken("no quiet reading")
    return item


def _checked(track: object) -> Track:
    if (
        not isinstance(track, Track)
        or not isinstance(track.machine, StateMachine)
        or not isinstance(track.event, EventMachine)
        or not isinstance(track.entity, str)
        or not isinstance(track.closed_mono_ns, int | None)
        or not isinstance(track._root_ns, int)
        or not (track.alert is None or _is_alert(track.alert))
        or (track.alert is None and (track.event.open or track.machine.state in ("firing", "clearing")))
    ):
        raise NotTaken("no incident")
    return track


def _is_alert(a: object) -> bool:
    """What the engine itself reckons with; the rest of it is only shown."""
    return (
        isinstance(a, Alert)
        and a.severity in RANK
        and a.state in ("firing", "clearing", "closed")
        and a.kind in ("event", "state")
        and all(isinstance(t, str) for t in (a.rule, a.entity, a.problem, a.title, a.why))
        and all(isinstance(n, int) for n in (a.id, a.opened_wall_ns, a.count, a.updated_wall_ns))
        and all(isinstance(n, int | None) for n in (a.closed_wall_ns, a.muted_until_ns, a.first_step))
        and all(isinstance(e, Evidence) for e in a.evidence)
        and all(isinstance(r, Remedy) for r in a.remedies)
    )


def seed(engine: RuleEngine, alerts: Iterable[Alert], frame: Frame) -> None:
    """Where nothing was carried (a part that was cut out, a ring whose beginning is gone): begin with the
    incidents that were open at `frame`, so that they are open since then and not found anew."""
    with engine._lock:
        for a in alerts:
            slot = engine._slots.get(a.rule)
            engine._ids.last = max(engine._ids.last, a.id)
            if slot is None or not a.open:
                continue
            level = len(RANK) - RANK[a.severity]
            fired = frame.mono_ns - (frame.wall_ns - a.opened_wall_ns)
            track = slot.tracks[a.entity] = Track(slot.rule, a.entity, a, told_wall_ns=frame.wall_ns)
            if a.kind == "event":
                track.event = EventMachine(True, level)
            else:
                state: MachineState = "firing" if a.state == "firing" else "clearing"
                since = tuple(fired if n < level else None for n in range(3))
                track.machine = StateMachine(state, level, fired, since, frame.mono_ns)  # type: ignore[arg-type]
        engine._explain()
        engine._publish()
