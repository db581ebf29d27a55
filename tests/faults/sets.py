"""The fault sets there are, and their cases by name."""

from __future__ import annotations

from dataclasses import replace

from tests.faults import corpus, other, unseen
from tests.faults.corpus import Case, Plan, plans

SETS: dict[str, tuple[tuple[Case, ...], int]] = {
    "corpus": (corpus.CASES, corpus.FRESH_SEED),
    "other": (other.OTHER, other.OTHER_SEED),
    "unseen": (unseen.UNSEEN, unseen.UNSEEN_SEED),
}
"""Name -> (its cases, where its seeds begin)."""
BY_NAME = {c.name: c for cases, _ in SETS.values() for c in cases}


def find(plan_id: str) -> Plan:
    """The plan of that id (whatever its seed). Raises KeyError."""
    rest, _, seed = plan_id.rpartition("-")
    name, _, size = rest.rpartition("-")
    case = replace(BY_NAME[name], repeat=1)
    return next(p for p in plans((case,), int(seed) - 1) if p.size_name == size)
