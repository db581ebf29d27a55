"""The scorer: matches by event, never by point. Knows nothing of how a rule works.

An interval [t0, t1 + grace] is found if an accepted root opens inside it; if only a symptom or a consequence
opens it is `detected, not diagnosed`. Everything that opens and is neither accepted nor a listed consequence
is a false alarm, before, inside or after the interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dctop.engine.rules.base import NODE
from tests.faults.corpus import SPEED, Size
from tests.faults.judge import Judged, Sighting

GRACE_NS = 20 * 10**9


@dataclass(frozen=True, slots=True)
class Scored:
    """One run of the corpus."""

    judged: Judged
    found: Sighting | None
    """The accepted root that opened first."""
    detected: bool
    clear_s: float | None
    """From the end of the fault until its alert closed."""
    false: tuple[Sighting, ...]
    environment: tuple[Sighting, ...]

    @property
    def delay_steps(self) -> int | None:
        step0 = self.judged.truth["step0"]
        if self.found is None or self.found.step is None or step0 is None:
            return None
        return max(0, self.found.step - int(step0))

    @property
    def delay_s(self) -> float | None:
        if self.found is None:
            return None
        t0, run = int(self.judged.truth["t0"]), self.judged.run
        if self.judged.truth["step0"] == 1 and run is not None and len(run.columns["wall_ns"]):
            t0 = int(run.columns["wall_ns"][0])  # there from the start: the import of torch is no delay
        return max(0.0, (self.found.wall_ns - t0) / 1e9)


def score(j: Judged) -> Scored:
    case, t0, t1 = j.plan.case, j.truth["t0"], j.truth["t1"]
    own, false, environment = [], [], []
    detected = False
    for s in j.sightings:
        inside = t0 is not None and s.wall_ns >= t0 - 10**9 and (t1 is None or s.wall_ns <= t1 + GRACE_NS)
        if inside and s.rule in case.roots:
            detected = True
            if s.symptom_of is None or s.symptom_of in case.roots:
                own.append(s)
        elif inside and s.rule in case.follows:
            detected = True
        elif (s.rule in SPEED and not case.alone) or _elsewhere(s, j):
            environment.append(s)
        elif inside and s.symptom_of is not None and s.symptom_of in (*case.roots, *case.follows):
            detected = True
        else:
            false.append(s)
    found = min(own, key=lambda s: s.wall_ns, default=None)
    clear = None
    if found is not None and t1 is not None and found.closed_ns is not None and found.closed_ns > t1:
        clear = (found.closed_ns - t1) / 1e9
    return Scored(j, found, detected, clear, tuple(false), tuple(environment))


def _elsewhere(s: Sighting, j: Judged) -> bool:
    """About a file system that others use, or the kernel's killing of a process that is no run's: a machine
    is never ours alone."""
    if s.rule == "oom-killed" and s.entity == NODE:
        return True
    return s.entity.startswith("/") and s.entity != j.truth.get("place")


@dataclass(frozen=True, slots=True)
class FaultRow:
    """All runs of one fault at one magnitude."""

    name: str
    size: Size
    magnitude: float
    runs: int
    diagnosed: int
    detected: int
    delays_steps: Sequence[int]
    delays_s: Sequence[float]
    clears_s: Sequence[float]
    chatter: int
    as_what: str


def fault_rows(scored: Iterable[Scored]) -> list[FaultRow]:
    groups: dict[tuple[str, Size], list[Scored]] = {}
    for s in scored:
        if s.judged.plan.case.roots:
            groups.setdefault((s.judged.plan.case.name, s.judged.plan.size_name), []).append(s)
    rows = []
    for (name, size), members in groups.items():
        named: dict[str, int] = {}
        for s in members:
            if s.found is not None:
                named[s.found.rule] = named.get(s.found.rule, 0) + 1
        rows.append(
            FaultRow(
                name, size, members[0].judged.plan.size, len(members),
                sum(s.found is not None for s in members), sum(s.detected for s in members),
                sorted(d for s in members if (d := s.delay_steps) is not None),
                sorted(d for s in members if (d := s.delay_s) is not None),
                sorted(c for s in members if (c := s.clear_s) is not None),
                sum(s.found.count - 1 for s in members if s.found is not None),
                ", ".join(sorted(named, key=lambda r: -named[r])),
            )
        )  # fmt: skip
    return rows


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule over the whole corpus."""

    rule: str
    right: int
    follows: int
    false: int


def rule_rows(scored: Iterable[Scored]) -> list[RuleRow]:
    counts: dict[str, list[int]] = {}
    for s in scored:
        for x in s.judged.sightings:
            kind = 2 if x in s.false else None if x in s.environment else 0
            if kind == 0 and x.rule not in s.judged.plan.case.roots:
                kind = 1
            if kind is not None:
                counts.setdefault(x.rule, [0, 0, 0])[kind] += 1
    return [RuleRow(rule, *counts[rule]) for rule in sorted(counts)]


def wilson(k: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    if not n:
        return 0.0, 1.0
    p, d = k / n, 1 + z * z / n
    middle, half = (p + z * z / (2 * n)) / d, z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / d
    return max(0.0, middle - half), min(1.0, middle + half)


def poisson_upper(k: int, level: float = 0.95) -> float:
    """The mean at which seeing at most `k` has probability 1 - level: 3.0 for none (exact, one-sided)."""
    low, high = 0.0, 10.0 + 3.0 * k
    for _ in range(80):
        mean = (low + high) / 2
        chance = sum(math.exp(-mean + i * math.log(mean) - math.lgamma(i + 1)) for i in range(k + 1))
        low, high = (mean, high) if chance > 1 - level else (low, mean)
    return high


def middle(values: Sequence[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None


def p95(values: Sequence[float]) -> float | None:
    return sorted(values)[max(0, math.ceil(0.95 * len(values)) - 1)] if values else None
