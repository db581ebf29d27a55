"""Curves of learning: which power law fits one, and how low a line through its newer part may come.

Two families of models, as pure functions of (step, value). What falls and levels off is told best by a power
law; a line over the logarithm of the steps never levels off, and so stays below what does.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

SPAN = 50
"""Steps of the moving average."""
BEGUN = 0.8
"""The newest average is below this share of the highest: before, it has not begun to learn."""
POINTS = 60
"""Values of the average that are fitted."""
RATIO = 1.2
EXPONENTS = tuple(0.05 * RATIO**k for k in range(21))
"""0.05 to 1.9: below, a power law is a logarithm, above, it is over."""
ONE_SIDED = 1.645
"""Standard errors of a bound that is too high once in twenty."""


class Power(NamedTuple):
    """y = a + b t^-c, a and b not negative."""

    a: float
    b: float
    c: float

    def at(self, t: float) -> float:
        return self.a + self.b * math.pow(t, -self.c)

    def reaches(self, y: float) -> float | None:
        """The t at which it has come down to `y`; None: never."""
        if y <= self.a or self.b <= 0:
            return None
        exponent = math.log(self.b / (y - self.a)) / self.c
        return math.exp(exponent) if exponent < 100 else None


class Fits(NamedTuple):
    """The curve that fits best, and all that fit about as well."""

    best: Power
    likely: list[Power]


def smoothed(values: Sequence[float], at: Sequence[int]) -> list[float]:
    """Exponential moving average over about `SPAN` values, at the indices `at` alone; what is more than two
    spans ago weighs nothing."""
    out = []
    for i in at:
        window = values[max(0, i + 1 - 2 * SPAN) : i + 1]
        weights = _WEIGHTS[-len(window) :]
        out.append(math.fsum(w * v for w, v in zip(weights, window)) / math.fsum(weights))
    return out


_WEIGHTS = [(1.0 - 2.0 / (SPAN + 1)) ** k for k in reversed(range(2 * SPAN))]


def fit(steps: Sequence[float], values: Sequence[float]) -> Fits | None:
    """Least squares over the average at indices evenly spaced in log t: a and b in closed form for each
    exponent. The power law is averaged as the values are, so that the average bends neither. Likely is what
    lies within the 95 % interval of the exponent (its likelihood ratio; a span is one independent value).
    None of fewer than three spans."""
    n = len(steps)
    if n < 3 * SPAN or steps[0] <= 0:
        return None
    logs = [math.log(t) for t in steps]
    at = _spaced(logs)
    ys = smoothed(values, at)
    tried = [_try(c, logs, at, ys) for c in EXPONENTS]
    middle = min(tried)[1].c
    tried += [_try(middle * RATIO ** (k / 3), logs, at, ys) for k in (-2, -1, 1, 2)]
    least, best = min(tried)
    limit = least * (1.0 + 4.0 / max(1.0, n / SPAN - 3.0))
    return Fits(best, [p for error, p in tried if error <= limit])


def _try(c: float, logs: Sequence[float], at: Sequence[int], ys: Sequence[float]) -> tuple[float, Power]:
    """(sum of squares, curve of that exponent)."""
    xs = smoothed([math.exp(-c * t) for t in logs], at)
    mean_x, mean_y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    spread = math.fsum((x - mean_x) ** 2 for x in xs)
    b = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys)) / spread if spread else 0.0
    b = max(0.0, b)
    a = mean_y - b * mean_x
    if a < 0:
        a, b = 0.0, max(0.0, math.fsum(x * y for x, y in zip(xs, ys)) / math.fsum(x * x for x in xs))
    error = math.fsum((y - a - b * x) ** 2 for x, y in zip(xs, ys))
    return error, Power(a, b, c)


def _spaced(logs: Sequence[float]) -> list[int]:
    """At most `POINTS` indices from a span on."""
    low, high = logs[SPAN - 1], logs[-1]
    out: list[int] = []
    for i in range(SPAN - 1, len(logs)):
        if logs[i] >= low + len(out) * (high - low) / POINTS:
            out.append(i)
    return out


def begun(values: Sequence[float]) -> bool:
    """Whether they have fallen to `BEGUN` of what they were at their highest; of spans of values."""
    whole = range(SPAN, len(values) + 1, SPAN)
    means = [math.fsum(values[i - SPAN : i]) / SPAN for i in whole]
    return len(means) > 1 and math.fsum(values[-SPAN:]) / SPAN < BEGUN * max(means)


class Line(NamedTuple):
    """Where a straight line over the logarithm of the steps comes to."""

    middle: float
    low: float
    """Below it in one case of twenty (one-sided 95 % interval of the line)."""


def line(steps: Sequence[float], values: Sequence[float], end: float, since: float) -> Line | None:
    """Of the values from step `since` on, at step `end`. None of fewer than three."""
    first = bisect_left(steps, since)
    us, ys = [math.log(t) for t in steps[first:]], values[first:]
    n = len(us)
    mean_u, mean_y = math.fsum(us) / max(1, n), math.fsum(ys) / max(1, n)
    spread = math.fsum((u - mean_u) ** 2 for u in us)
    if n < 3 or not spread:
        return None
    slope = math.fsum((u - mean_u) * (y - mean_y) for u, y in zip(us, ys)) / spread
    rest = math.fsum((y - mean_y - slope * (u - mean_u)) ** 2 for u, y in zip(us, ys)) / (n - 2)
    far = math.log(end) - mean_u
    middle = mean_y + slope * far
    return Line(middle, middle - ONE_SIDED * math.sqrt(rest / n + rest * far * far / spread))
