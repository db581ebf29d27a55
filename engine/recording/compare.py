"""What differs between two moments: metrics and processes, what changed most first. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dctop.engine.metrics.derived import CATALOGUE
from dctop.engine.metrics.model import Snapshot
from dctop.probes.base import Process, Value

SPAN = 10
"""Ticks up to each moment that count: the median of a gauge over them, so that one odd tick is no change."""
LEAST = 0.02
"""Changes smaller than this share are none."""
_FLOOR = {
    "bytes": 256 << 20, "bytes/s": 4 << 20, "I/Os/s": 200.0, "packets/s": 2000.0, "pages/s": 1000.0,
    "switches/s": 5000.0, "interrupts/s": 5000.0, "forks/s": 50.0, "faults/s": 200.0, "tasks": 2.0,
    "processes": 2.0,
}  # fmt: skip
"""Unit -> what counts as little on any node: changes of that size or less weigh less, however often over."""


@dataclass(frozen=True, slots=True)
class Change:
    """`score`: 0 (none) to 1 (from nothing to something, or a text that is another)."""

    key: str
    """Series, with its labels."""
    unit: str
    before: Value
    after: Value
    score: float


@dataclass(frozen=True, slots=True)
class ProcessChange:
    """`what`: new (was not there), gone, or changed."""

    pid: int
    name: str
    what: Literal["new", "gone", "changed"]
    cpu: tuple[float | None, float | None]
    """Percent of one core, before and after."""
    rss: tuple[int | None, int | None]
    """Bytes."""
    score: float


@dataclass(frozen=True, slots=True)
class Difference:
    """`a` is the earlier moment, `b` the later one (wall clock, ns)."""

    a: int
    b: int
    metrics: Sequence[Change]
    processes: Sequence[ProcessChange]
    unchanged: int
    """Series that are as they were."""


def compare(a: Sequence[Snapshot], b: Sequence[Snapshot]) -> Difference:
    """`a`, `b`: the snapshots of the last ticks up to each moment, newest last, at least one each."""
    if a[-1].frame.wall_ns > b[-1].frame.wall_ns:
        a, b = b, a
    metrics: list[Change] = []
    unchanged = 0
    come_and_gone: dict[tuple[str, bool], int] = {}
    """(what all series of a mount, disk, GPU ... share; whether it is new) -> how many there are."""
    before, after = _typical(a), _typical(b)
    for key in dict.fromkeys((*before, *after)):
        metric = CATALOGUE.get(key.partition("{")[0])
        if metric is None or metric.kind == "counter" or metric.id.startswith("dctop."):
            continue
        x, y = before.get(key), after.get(key)
        score = change(x, y, metric.unit)
        if score < LEAST:
            unchanged += 1
        elif (x is None or y is None) and "{" in key:
            whole = f"{key.partition('.')[0]}.*{{{key.partition('{')[2]}"
            come_and_gone[whole, x is None] = come_and_gone.get((whole, x is None), 0) + 1
        else:
            metrics.append(Change(key, metric.unit, x, y, score))
    for (key, new), n in come_and_gone.items():
        count = f"{n} series" if n > 1 else "1 series"
        metrics.append(Change(key, "", None if new else count, count if new else None, 0.5))
    metrics.sort(key=lambda c: (-round(c.score, 2), c.key))
    return Difference(a[-1].frame.wall_ns, b[-1].frame.wall_ns, metrics, _processes(a[-1], b[-1]), unchanged)


def change(x: Value, y: Value, unit: str = "") -> float:
    """How much of a change from `x` to `y` is, 0 to 1: of percentages their difference, of other numbers the
    difference as a share of both together, of texts whether they differ."""
    if x is None or y is None:
        return 0.0 if x is y else 0.5
    if isinstance(x, str) or isinstance(y, str):
        return 0.0 if x == y else 1.0
    if x == y:
        return 0.0
    if unit == "%":
        return min(1.0, abs(y - x) / 100)
    total = abs(x) + abs(y) + _FLOOR.get(unit, 0.0)
    return abs(y - x) / total if total else 0.0


def _typical(snaps: Sequence[Snapshot]) -> dict[str, Value]:
    out: dict[str, Value] = {}
    columns: dict[str, list[float]] = {}
    for snap in snaps[-SPAN:]:
        for key, value in snap.values.items():
            if isinstance(value, str):
                out[key] = value
            elif value is not None and value == value:
                columns.setdefault(key, []).append(value)
    newest: Mapping[str, Value] = snaps[-1].values
    for key, column in columns.items():
        if key in newest:
            out[key] = sorted(column)[len(column) // 2]
    return {key: value for key, value in out.items() if key in newest}


def _processes(a: Snapshot, b: Snapshot) -> list[ProcessChange]:
    old, new = _by_key(a), _by_key(b)
    out: list[ProcessChange] = []
    for key in dict.fromkeys((*old, *new)):
        p, q = old.get(key), new.get(key)
        known = q or p
        assert known is not None
        cpu = (a.process_cpu_pct.get(key[0]) if p else None, b.process_cpu_pct.get(key[0]) if q else None)
        rss = (p.rss_bytes if p else None, q.rss_bytes if q else None)
        what: Literal["new", "gone", "changed"] = "changed" if p and q else "new" if q else "gone"
        weight = abs((cpu[1] or 0.0) - (cpu[0] or 0.0)) / 100 + abs((rss[1] or 0) - (rss[0] or 0)) / (1 << 30)
        if what == "changed" and weight < LEAST:
            continue
        out.append(ProcessChange(key[0], known.name, what, cpu, rss, weight))
    return sorted(out, key=lambda c: -c.score)


def _by_key(snap: Snapshot) -> dict[tuple[int, int], Process]:
    return {(p.pid, p.start_ticks): p for p in snap.frame.processes or ()}
