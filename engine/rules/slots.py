"""What the rule engine remembers of each rule and of each run, and when it asks a rule again.

A rule is asked when something of what it reads has changed. Four things make it rarer, each counted by what
is inside the snapshots and the log, so that a replay and `dctop check` ask at the same moments as a session:

- `every_s`: once in each turn of so many seconds of the snapshots' clock, whatever it answers;
- `every_steps`: once in each turn of so many steps of its run; while it abstains there is no window yet that
  so few steps could change little of, and it is asked as if it were not paced;
- `of_events`: not because of steps alone, but when the log says something else;
- `sifts`: when it says itself that what concerns it is another (`stirred`), and every ten seconds.

Between two turns the answer stands, and incidents go on by it. A run that leaves training, or a probe that is
missing, ends a turn.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from dctop.engine.rules.base import Item, Needs, Outcome, Reading, Rule, RunRule
from dctop.engine.rules.tracks import Track
from dctop.engine.rules.window import NS

if TYPE_CHECKING:
    from dctop.engine.rules.runwindow import RunWindow
    from dctop.engine.training.runstate import RunState


log = logging.getLogger("dctop.engine.rules.engine")
T = TypeVar("T")
R = TypeVar("R", bound=Rule)
DUE = -1
"""No turn."""


def standing(outcome: tuple[Item, ...]) -> tuple[Item, ...]:
    """What of an answer stands until the next one: what happened has happened once."""
    return tuple(i for i in outcome if isinstance(i, Reading)) if outcome else ()


@dataclass(slots=True)
class Slot(Generic[R]):
    """What the engine remembers of one rule."""

    rule: R
    items: tuple[Item, ...] = ()
    """Its latest answer (a run rule's answers are in the run's entry)."""
    unknown: Needs | None = field(default_factory=lambda: Needs("reading"))
    group: int = 0
    """Which of the engine's groups of probes it reads."""
    asked: bool = False
    """Since its probes were last missing."""
    turn: int = DUE
    """In which it answered last."""
    tracks: dict[str, Track] = field(default_factory=dict)
    failed: str | None = None
    """What was logged last, so that it is logged once."""
    fault: Needs | None = None
    """Of a rule whose texts do not fit what it found: told until the engine is made anew."""
    paced: bool = False
    """Asked in turns only."""
    _every_ns: int = 0
    _every_steps: int = 0

    def __post_init__(self) -> None:
        seconds, steps = self.rule.every_s, self.rule.every_steps  # maybe the user's: anything
        self._every_ns = int(seconds * NS) if 0 < seconds < math.inf else 0
        self._every_steps = int(steps) if 0 < steps < math.inf else 0
        self.paced = bool(self._every_ns or self._every_steps)

    def take(self, rule: R) -> None:
        """Another rule of the same id, before any was asked."""
        self.rule = rule
        self.__post_init__()

    def turn_at(self, mono_ns: int, step: int | None = None) -> int:
        """The turn of a paced rule that this moment is part of."""
        if self._every_ns:
            return mono_ns // self._every_ns
        return (step or 0) // self._every_steps

    def ask(self, judge: Callable[[T], Outcome], argument: T) -> tuple[Item, ...] | Needs:
        """A rule that fails is unknown, and stops no other."""
        try:
            outcome = judge(argument)
            return outcome if isinstance(outcome, Needs) else tuple(outcome)
        except Exception as e:
            return Needs("fault", self.failing(e, "failed"))

    def failing(self, e: Exception, how: str) -> str:
        """Log a failure, the same one once; what it says, in one line."""
        text = " ".join(f"{type(e).__name__}: {e}".split())
        if self.failed != text:
            self.failed = text
            log.exception("rule %s %s", self.rule.id, how)
        return text


@dataclass(slots=True)
class KnownRun:
    """What the engine remembers of one run."""

    window: RunWindow
    mark: tuple[object, ...] = ()
    items: dict[str, tuple[Item, ...]] = field(default_factory=dict)
    """By rule, where there is anything."""
    unknown: dict[str, Needs] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    """By rule, in which it answered last."""
    stir: int = 0
    """Grows when there is something new besides steps."""
    _said: tuple[object, ...] = ()
    """What there was besides steps and events."""
    settling: bool = False
    """It has ended, and some of its states have yet to clear."""
    done: set[str] = field(default_factory=set)
    """Rules whose standing state was acknowledged or superseded after the end: not judged again."""
    recalled: bool = False
    """Known from before, and not yet judged since."""

    def bind(self, run: RunState, mark: tuple[object, ...]) -> None:
        """Take in what the log says now; `mark`: that of this state of the run."""
        self.window.bind(run)
        self.mark = mark
        said = (run.status, run.mode, run.config)
        if self.window.new_events or said != self._said:
            self.stir += 1
            self._said = said

    def answer(self, slot: Slot[RunRule], changed: bool) -> tuple[Item, ...] | Needs | None:
        """What a rule says of the run now. None: nothing it reads has changed, or it is not its turn."""
        rule, window = slot.rule, self.window
        if not changed and not rule.every_tick:
            return None
        for probe in rule.probes:
            if not window.node.has(probe):
                self.turns.pop(rule.id, None)
                return Needs("probe", probe)
        if rule.in_training and not window.training:
            self.turns.pop(rule.id, None)
            return ()
        if not slot.paced and not rule.of_events:
            return slot.ask(rule.judge, window)
        turn = self.stir if rule.of_events else slot.turn_at(window.node.mono_ns, window.step)
        if self.turns.get(rule.id) == turn:
            return None
        outcome = slot.ask(rule.judge, window)
        self.turns[rule.id] = DUE if rule.every_steps and isinstance(outcome, Needs) else turn
        return outcome

    def take(self, rule: str, outcome: tuple[Item, ...]) -> None:
        """Keep an answer for the ticks at which it stands."""
        if self.unknown:
            self.unknown.pop(rule, None)
        if outcome:
            self.items[rule] = standing(outcome)
        elif self.items:
            self.items.pop(rule, None)
