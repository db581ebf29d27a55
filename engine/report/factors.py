"""Contributing factors: which series had left their level before an alert opened, ranked.

A shift is robust: the level is the median of the first half of the time before the alert, its spread the
median absolute deviation (times 1.4826, the standard deviation of a normal distribution), with a floor by
unit so that a quiet series does not shift by a rounding. A series has shifted from the moment from which four
in five of its values lie more than LIMIT spreads to the same side. These are candidates: that something came
first does not make it the cause.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from dctop.engine.metrics.derived import CATALOGUE

LIMIT = 5.0
PERSISTENT = 0.8
LEAST = 20
"""Values needed before the alert."""
SHOWN = 12
PER_TOPIC = 2
_SKIPPED = (
    "dctop.", "clock.", "host.", "cpu.core.", "cpu.load", "kernel.", "fs.inodes", "net.up", "net.speed",
    "cpu.freq_mhz", "memory.total", "gpu.mem_total", "process.running",
)  # fmt: skip
_LAGGING = ("_avg60_pct", "_avg300_pct", "_avg10_pct")
"""Smoothed by the kernel: they follow what the plain series already says."""
_UNITS = {"s": ("step_s", "data_s", "forward_s", "backward_s", "update_s", "cpu_s", "loss_s", "h2d_s")}


@dataclass(frozen=True, slots=True)
class Factor:
    """A series that shifted before the alert."""

    key: str
    unit: str
    onset_ns: int
    lead_s: float
    before: float
    after: float
    effect: float
    """Shift in spreads, at most 50."""
    score: float
    values: list[float | None]
    own: bool
    """The alert itself judges this series: it is the symptom's own measure."""


def unit_of(key: str) -> str:
    name = key.partition("{")[0]
    if name.startswith("train."):
        field = name.removeprefix("train.")
        return "s" if field in _UNITS["s"] else "bytes" if field.endswith("_bytes") else ""
    metric = CATALOGUE.get(name)
    return "" if metric is None else metric.unit


def _floor(unit: str, level: float, largest: float) -> float:
    if unit == "%":
        return 1.0
    if unit == "bytes":
        return max(0.005 * abs(level), 4.0 * (1 << 20))
    if unit == "°C":
        return 1.0
    return max(0.02 * abs(level), 0.01 * largest, 1e-12)


def shift(values: Sequence[float | None], unit: str) -> tuple[int, float, float, float] | None:
    """(index of the onset, level before, level after, effect) of a series up to the alert; None: no shift."""
    known = [(i, v) for i, v in enumerate(values) if v is not None and math.isfinite(v)]
    if len(known) < LEAST:
        return None
    half = len(known) // 2
    base = [v for _, v in known[:half]]
    level = median(base)
    spread = 1.4826 * median(abs(v - level) for v in base)
    largest = max(abs(v) for _, v in known)
    scale = max(spread, _floor(unit, level, largest))
    scores = [(v - level) / scale for _, v in known]
    side = median(scores[-3:])
    if abs(side) <= LIMIT:
        return None
    far = [s > LIMIT if side > 0 else s < -LIMIT for s in scores]
    onset, hits = None, 0
    for back, i in enumerate(range(len(far) - 1, half // 2, -1), 1):
        hits += far[i]
        if hits < PERSISTENT * back:
            break
        if far[i]:
            onset = i
    if onset is None:
        return None
    after = median(v for _, v in known[onset:])
    return known[onset][0], level, after, min(50.0, abs(after - level) / scale)


class Column(NamedTuple):
    """A series up to the alert: wall ns and value of each of its readings."""

    times: Sequence[int]
    values: Sequence[float | None]


def rank(columns: Mapping[str, Column], alert_ns: int, own: frozenset[str]) -> list[Factor]:
    """The strongest shifts, at most PER_TOPIC of a topic (the id without its last word). `own`: series the
    alert judges."""
    found = []
    for key, column in columns.items():
        if key.startswith(_SKIPPED) or key.partition("{")[0].endswith(_LAGGING):
            continue
        unit = unit_of(key)
        hit = shift(column.values, unit)
        if hit is None:
            continue
        i, before, after, effect = hit
        lead = max(0.0, (alert_ns - column.times[i]) / 1e9)
        score = math.log1p(effect) * (1 + 0.5 * min(1.0, lead / 60))
        found.append(
            Factor(
                key,
                unit,
                column.times[i],
                lead,
                before,
                after,
                effect,
                score,
                list(column.values),
                key in own,
            )
        )
    found.sort(key=lambda f: (-f.score, f.key))
    taken: dict[str, int] = {}
    out = []
    for f in found:
        topic = f.key.partition("{")[0].rpartition(".")[0]
        taken[topic] = taken.get(topic, 0) + 1
        if taken[topic] <= PER_TOPIC:
            out.append(f)
    return out[:SHOWN]
