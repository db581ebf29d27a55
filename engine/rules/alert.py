"""What the rule engine says. Plain data: drawn, recorded, printed, handed to hooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["info", "warning", "critical"]
State = Literal["pending", "firing", "clearing", "closed"]
RANK: dict[str, int] = {"critical": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One number beside its threshold. `series` (if any) can be drawn with Source.window."""

    label: str
    value: float | str | None
    unit: str = ""
    threshold: str | None = None
    """As shown, e.g. `> 90 %`."""
    series: str | None = None


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do: a sentence, the computed quantity and the effect to expect; a command to copy."""

    text: str
    quantity: str | None = None
    effect: str | None = None
    command: str | None = None
    key: str | None = None
    """Of the rule's texts: what `remedies.plan` knows it by, in any language."""


@dataclass(slots=True)
class Alert:
    """One incident of one rule at one entity."""

    rule: str
    """Rule id of RULES.md: `loss-nonfinite`, `oom-killed`, `disk-fill` ..."""
    entity: str
    """What it is about: a run id, mount, disk, GPU UUID; "node" where there is nothing narrower."""
    problem: str
    """The handbook's problem or resource: oom | utilisation | inference | convergence | accuracy |
    compute | storage | network | framework"""
    severity: Severity
    state: State
    opened_wall_ns: int
    closed_wall_ns: int | None
    first_step: int | None
    title: str
    why: str
    evidence: tuple[Evidence, ...]
    ruled_out: tuple[str, ...]
    cost: str | None
    remedies: tuple[Remedy, ...]
    kind: Literal["event", "state"]
    count: int = 1
    """How often it fired again within its incident."""
    acked: bool = False
    muted_until_ns: int | None = None
    suppressed_by: str | None = None
    """Rule id of the root this is a symptom of; shown under it, never counted on its own."""
    verdict: str | None = None
    """After a remedy was applied: what was predicted, what came of it."""
    id: int = 0
    """Unique within a session, in order of opening."""
    updated_wall_ns: int = 0

    @property
    def open(self) -> bool:
        return self.state in ("firing", "clearing")
