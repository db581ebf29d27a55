"""What a rule is: a small class that looks at a window and says what it sees. Judging is the machines' work.

A rule returns, for each entity it looked at, a `Reading` (STATE: how bad now, whether below the clear
threshold) or an `Occurrence` (EVENT: it happened), or `Needs` where a signal is missing. It never fires,
holds or clears anything itself, and it never looks at a clock.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, NamedTuple, TypeVar

from dctop.engine.rules.alert import Severity

if TYPE_CHECKING:
    from dctop.engine.rules.runwindow import RunWindow
    from dctop.engine.rules.texts import RuleText
    from dctop.engine.rules.window import Window

NODE = "node"
"""Entity where there is nothing narrower."""
INFO, WARNING, CRITICAL = 1, 2, 3
SEVERITY: dict[int, Severity] = {INFO: "info", WARNING: "warning", CRITICAL: "critical"}

PROBLEMS = ("oom", "utilisation", "inference", "convergence", "accuracy")
RESOURCES = ("compute", "storage", "network", "framework")


class Ev(NamedTuple):
    """A number for the evidence table; `label` is a key of the rule's texts."""

    label: str
    value: float | str | None
    unit: str = ""
    threshold: str | None = None
    series: str | None = None


class Prediction(NamedTuple):
    """What the first remedy promises of the run that follows: the median of a field of its steps, or
    `survives`, past the step `value`."""

    field: str
    value: float


@dataclass(slots=True)
class Details:
    """Everything an alert says, before it has a language: the texts' fields and numbers."""

    evidence: list[Ev]
    """What has no value is not shown."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """Fields of title, why, cost and remedies."""
    remedies: list[str | tuple[str, Mapping[str, object]]] = field(default_factory=list)
    """Keys of the rule's texts, best first, with further fields where they need them."""
    ruled_out: tuple[str, ...] = ()
    cost: str | None = None
    variant: str | None = None
    """Which of the rule's other titles and reasons to use, where it has any of that name."""
    predicts: Prediction | None = None
    """For the verdict once it was applied."""


class Needs(NamedTuple):
    """The rule abstains: `unknown (needs X)`. `key` is one of the texts' NEEDS, `arg` its field."""

    key: str
    arg: str = ""


class Reading(NamedTuple):
    """A STATE rule's view of one entity at one moment.

    `level` 0 = condition not met, else INFO, WARNING or CRITICAL; `clear` = beyond the clear threshold
    (between the two thresholds neither holds). `hold_s` None: the rule's own. `step` of a run, for
    clearing by steps.
    """

    entity: str
    level: int
    clear: bool
    details: Callable[[], Details] | None = None
    hold_s: float | None = None
    step: int | None = None


class Occurrence(NamedTuple):
    """Something that happened once. The same `key` seen again renews the details and counts nothing."""

    entity: str
    level: int
    key: Hashable
    wall_ns: int
    details: Details
    step: int | None = None
    old: bool = False
    """Happened before dctop started: kept as history, never opened as a fresh alert."""


Item = Reading | Occurrence
Outcome = Iterable[Item] | Needs

NOT_APPLICABLE: tuple[Item, ...] = ()
"""Judged, and there is nothing here the rule could be about (no cgroup quota, no such disk)."""


class Rule:
    """Base of all rules. One instance an engine; it may remember (trails, cursors) between calls.

    No `ABC`: asked whether a rule is one of the node's, that looks at every class below and keeps the answer
    at each of them, the square of the number of rules (2 MB). That `judge` is there the type checker sees.

    `thresholds`: name -> default, each with its source in the class's docstring; `dctop.toml` overrides
    them (`[rules.disk-fill] warn_pct = 15`), in force as `self.t`. Three names mean the same in every rule:
    `hold_s` is how long the condition must last before a STATE fires; `every_s` and, of a rule about runs,
    `every_steps` are how seldom it is asked (slots.py): for windows in which less tells nothing.
    """

    id: ClassVar[str]
    problem: ClassVar[str]
    kind: ClassVar[Literal["event", "state"]]
    scope: ClassVar[Literal["node", "run"]] = "node"
    severities: ClassVar[str] = "w"
    """i, w, c: what it may raise, for the documentation."""
    thresholds: ClassVar[Mapping[str, float]] = {}
    probes: ClassVar[tuple[str, ...]] = ()
    """Its probes: stale or never read, the rule abstains; unchanged since the last tick, it is not asked."""
    source: ClassVar[str] = ""
    """Where formula and thresholds come from."""

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        self.t: dict[str, float] = dict(self.thresholds)
        if overrides:
            self.t.update({k: float(v) for k, v in overrides.items() if k in self.t})
        self.hold_s = self.t.get("hold_s", 0.0)
        self.every_s = self.t.get("every_s", 0.0)
        self.every_steps = self.t.get("every_steps", 0.0)

    def text(self, lang: str) -> RuleText | None:
        """Texts the rule brings itself; None: those of the catalogue."""
        return None


class NodeRule(Rule):
    """Looks at the node's snapshot."""

    always: ClassVar[bool] = False
    """Asked every tick, also while none of its probes read anything new (kernel events, elapsed time)."""

    sifts: ClassVar[bool] = False
    """Of what its probes read anew little concerns it: `stirred` says whether it is to be asked."""

    def stirred(self, w: Window) -> bool:
        """Of a rule that is asked always, or sifts, and has answered: False where nothing it speaks of can
        have changed, which is told at a fraction of what an answer costs. It is asked every ten seconds even
        so."""
        return True

    @abstractmethod
    def judge(self, w: Window) -> Outcome: ...


class RunRule(Rule):
    """Looks at one training run while it goes on; asked when something in its log changed."""

    scope: ClassVar[Literal["node", "run"]] = "run"
    subject: ClassVar[Literal["training", "inference", "any"]] = "training"
    """Which runs it is about: those that train, measurements of inference, or both."""
    stands: ClassVar[bool] = False
    """A state that was seen last stays after the run's end, until it is acknowledged or the run is made anew:
    a measurement does not get well by ending."""
    every_tick: ClassVar[bool] = False
    """Also asked when nothing changed (silence is what it looks for)."""
    in_training: ClassVar[bool] = False
    """Asked only in the mode in which steps are judged; elsewhere there is nothing it could be about."""
    of_events: ClassVar[bool] = False
    """Reads only what the log says besides steps: not asked again because of steps alone."""
    after_end: ClassVar[bool] = False
    """Also asked of a run that has ended: it reads events, not steps."""

    @abstractmethod
    def judge(self, run: RunWindow) -> Outcome: ...

    def forget(self, run_id: str) -> None:
        """The run is gone: drop what was remembered about it."""


M = TypeVar("M")


class KeepingRule(RunRule, Generic[M]):
    """Keeps something about each run from one look to the next, by its id, until the run is gone."""

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._kept: dict[str, M] = {}

    def forget(self, run_id: str) -> None:
        self._kept.pop(run_id, None)


# -- words for numbers: the same in every language ---------------------------------------------------------

_IEC = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(n: float | None) -> str:
    """Bytes in binary units, three significant digits: `1.50 GiB`; `?` if not known."""
    if n is None:
        return "?"
    n = float(n)
    for unit in _IEC:
        if abs(n) < 1023.5 or unit == _IEC[-1]:
            return f"{n:.0f} {unit}" if unit == "B" or abs(n) >= 99.95 else f"{n:.3g} {unit}"
        n /= 1024
    return "?"


def span(s: float | None) -> str:
    """A duration in its two largest units: `40 s`, `3 min`, `2 h 05 min`, `3 d 4 h`."""
    if s is None:
        return "?"
    if s < 0.0995:
        return f"{s * 1000:.3g} ms"
    if s < 99.5:
        return f"{s:.3g} s"
    minutes = round(s / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def num(x: float | None, digits: int = 3) -> str:
    """A number with so many significant digits and thousands marked; `?` if not known. Beyond what anybody
    counts (a loss of 5e37) with an exponent."""
    if x is None or x != x:
        return "?"
    if 10**digits <= abs(x) < 1e15:
        return f"{x:,.0f}"
    return f"{x:.{digits}g}"
