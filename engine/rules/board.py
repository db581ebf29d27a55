"""The status board: how each of the five problems and four resources stands, and what is not known of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dctop.engine.rules.alert import RANK, Alert, Severity
from dctop.engine.rules.base import PROBLEMS, RESOURCES

Status = Literal["well", "suspect", "firing", "unknown"]


@dataclass(frozen=True, slots=True)
class Standing:
    """One line of the board."""

    problem: str
    status: Status
    """firing: a warning or worse is open; suspect: a condition that has not held long enough, a note, or a
    symptom; unknown: no rule about it could be judged."""
    severity: Severity | None
    """The gravest open root's, while firing."""
    rules: int
    """Rules about it; 0: there is none."""
    judged: int
    """Of these, those that could be judged."""
    open: tuple[str, ...] = ()
    """Rule ids of the open alerts, roots first."""
    pending: tuple[str, ...] = ()
    """Rule ids of what has not held long enough."""
    needs: tuple[tuple[str, int], ...] = ()
    """(what is missing, how many rules need it), most first."""


def board(
    rules: Sequence[tuple[str, str]],
    lacking: Mapping[str, str],
    alerts: Sequence[Alert],
    pending: Collection[str] = (),
) -> tuple[Standing, ...]:
    """`rules`: (id, problem) of each; `lacking`: rule id -> what it needs, of those that abstain."""
    out: list[Standing] = []
    for problem in (*PROBLEMS, *RESOURCES):
        own = [rule for rule, about in rules if about == problem]
        blind = [lacking[rule] for rule in own if rule in lacking]
        found = sorted(
            (a for a in alerts if a.open and a.problem == problem),
            key=lambda a: (a.suppressed_by is not None, RANK[a.severity]),
        )
        roots = [a for a in found if a.suppressed_by is None and a.severity != "info"]
        waits = tuple(rule for rule in own if rule in pending)
        status: Status = "unknown" if len(blind) == len(own) else "well"
        if roots:
            status = "firing"
        elif found or waits:
            status = "suspect"
        counts = {what: blind.count(what) for what in dict.fromkeys(blind)}
        out.append(
            Standing(
                problem, status, roots[0].severity if roots else None, len(own), len(own) - len(blind),
                tuple(dict.fromkeys(a.rule for a in found)), waits,
                tuple(sorted(counts.items(), key=lambda item: -item[1])),
            )
        )  # fmt: skip
    return tuple(out)
