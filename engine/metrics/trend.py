"""Where a series is going: robust slopes and the time until something is full.

Theil-Sen (median of the slopes of all pairs) instead of least squares: one large file written and deleted
again moves the latter, not the former. Reference: P. K. Sen, "Estimates of the regression coefficient based
on Kendall's tau", JASA 63 (1968).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MOST_POINTS = 60
"""Pairs grow with the square: 60 points are 1,770 pairs, well under a millisecond."""
LEAST_POINTS = 10
LEAST_TAU = 0.5
"""A trend counts only where Kendall's tau says that most pairs agree (RULES: creep, prediction)."""


class Trend(NamedTuple):
    slope: float
    """Units of the series per second."""
    tau: float
    """Kendall's tau-a of value against time: 1 rises at every step, -1 falls, 0 no direction."""
    points: int


def median(values: Sequence[float]) -> float:
    """Of at least one value. `statistics` has it too, and 0.15 MB besides."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def theil_sen(values: Sequence[float], dt_s: float, most: int = MOST_POINTS) -> Trend | None:
    """Trend of equally spaced `values` (`dt_s` seconds apart, NaN = missing); None with fewer than two.

    More than `most` known values are thinned evenly, the newest always kept.
    """
    if dt_s <= 0:
        return None
    points = [(i, v) for i, v in enumerate(values) if v == v and abs(v) != float("inf")]
    n = len(points)
    if n < 2:
        return None
    if n > most >= 2:
        points = [points[round(k * (n - 1) / (most - 1))] for k in range(most)]
    slopes: list[float] = []
    sign = 0
    for k, (i, a) in enumerate(points):
        for j, b in points[k + 1 :]:
            d = b - a
            slopes.append(d / (j - i))
            sign += (d > 0) - (d < 0)
    return Trend(median(slopes) / dt_s, sign / len(slopes), len(points))


def fill_time(used: Sequence[float], avail: float | None, dt_s: float) -> tuple[float, float] | None:
    """(seconds until `avail` bytes are used up, bytes per second) at the trend of `used`.

    None where nothing is known, where too little was seen, and where there is no clear growth.
    """
    if avail is None or not avail >= 0:
        return None
    trend = theil_sen(used, dt_s)
    if trend is None or trend.points < LEAST_POINTS or trend.slope <= 0 or trend.tau < LEAST_TAU:
        return None
    return avail / trend.slope, trend.slope
