"""What the rules about a measurement of inference have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from dctop.engine.rules.base import (
    NOT_APPLICABLE,
    Details,
    Needs,
    Occurrence,
    Outcome,
    Reading,
    RunRule,
    num,
)
from dctop.engine.rules.deaths import age
from dctop.engine.rules.measured import Measured
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.training.runstate import RunEvent

Remedies = list[str | tuple[str, Mapping[str, object]]]
STAGES = {
    "pre": "preprocess", "h2d": "to device", "forward": "forward", "post": "postprocess", "queue": "queue",
}  # fmt: skip
"""Names of the stages of a request, as the training view writes them, the same in every language."""


class InferRule(RunRule):
    """Looks at a measurement; what it found last stands after the measurement's end."""

    problem = "inference"
    subject: ClassVar[Literal["training", "inference", "any"]] = "inference"
    after_end = True
    stands = True

    def judge(self, run: RunWindow) -> Outcome:
        if run.run.status == "starting":
            return Needs("part", "start")
        return self.look(run, run.measured)

    @abstractmethod
    def look(self, run: RunWindow, m: Measured) -> Outcome:
        """Judge what was measured so far."""

    def reading(
        self, run: RunWindow, level: int, clear: bool, details: Callable[[], Details]
    ) -> tuple[Reading, ...]:
        """A state, of a measurement that is not history."""
        if not run.fresh or (clear and not level):
            return ()
        return (Reading(run.id, level, clear, details, step=run.step),)

    def once(self, run: RunWindow, event: RunEvent, level: int, details: Details) -> Outcome:
        """An event of this measurement; one of before yesterday is not worth a word."""
        old = "fresh" if run.active else age(run.node, event.wall_ns)
        if old == "gone":
            return NOT_APPLICABLE
        key = (run.id, self.id)
        return (Occurrence(run.id, level, key, event.wall_ns, details, event.step, old == "old"),)


class InferFlag(InferRule):
    """Is told once, of one part of a measurement: how it is set up does not outlast it."""

    kind = "event"
    stands = False
    part: ClassVar[str]
    """The event it is about."""

    def look(self, run: RunWindow, m: Measured) -> Outcome:
        event = m.events.get(self.part)
        return Needs("part", self.part) if event is None else self.flag(run, m, event)

    @abstractmethod
    def flag(self, run: RunWindow, m: Measured, event: RunEvent) -> Outcome:
        """Judge what was measured so far, `event` among it."""


def ms(seconds: float | None) -> str:
    """Milliseconds with three digits; `?` if not known."""
    return num(None if seconds is None else seconds * 1000)


def in_ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def of_percent(share: float | None) -> str:
    return num(None if share is None else 100 * share)


def percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 3)
