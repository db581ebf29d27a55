"""Minimum and maximum of a long, growing series in few buckets, at the cost of what is new."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf, nan


class Buckets:
    """Kept between ticks for one series. As a run grows, only its newest steps are looked at; when it no
    longer fits, the bucket size doubles and everything is read once more."""

    __slots__ = ("_highs", "_lows", "_mark", "_owner", "size")

    def __init__(self) -> None:
        self.size = 1
        self._owner: object = None
        self._mark: tuple[float, float] = (nan, nan)
        self._lows: list[float] = []
        self._highs: list[float] = []

    def update(self, owner: object, values: Sequence[float], most: int) -> tuple[list[float], list[float]]:
        """(minima, maxima) of consecutive buckets, at most `most` of each, NaN where a bucket has no finite
        value. `owner` names the series: another one starts anew, as does one whose past has changed."""
        n = len(values)
        if n == 0 or most <= 0:
            return [], []
        size = 1
        while n > size * most:
            size *= 2
        done = len(self._lows) * self.size
        if owner != self._owner or size != self.size or done > n or not self._same(values, done):
            self._owner, self.size = owner, size
            self._lows, self._highs = [], []
            done = 0
        for i in range(done, n - size + 1, size):
            low, high = _extremes(values, i, i + size)
            self._lows.append(low)
            self._highs.append(high)
        done = len(self._lows) * size
        if done:
            self._mark = (values[0], values[done - 1])
        if done == n:
            return self._lows[:], self._highs[:]
        low, high = _extremes(values, done, n)
        return [*self._lows, low], [*self._highs, high]

    def _same(self, values: Sequence[float], done: int) -> bool:
        if not done:
            return True
        a, b = self._mark
        x, y = values[0], values[done - 1]
        return (a == x or (a != a and x != x)) and (b == y or (b != b and y != y))


def _extremes(values: Sequence[float], start: int, stop: int) -> tuple[float, float]:
    if stop - start == 1:
        v = values[start]
        return (v, v) if -inf < v < inf else (nan, nan)
    known = [v for v in values[start:stop] if -inf < v < inf]
    return (min(known), max(known)) if known else (nan, nan)


def stretch(values: list[float], n: int) -> list[float]:
    """`n` values from fewer, each repeated as evenly as possible; more are cut to the newest."""
    m = len(values)
    if m == 0 or m >= n:
        return values[-n:] if n > 0 else []
    return [values[i * m // n] for i in range(n)]


def bridge(values: list[float]) -> list[float]:
    """Gaps between known values drawn over by a straight line: parts without a step (fewer steps than
    columns), or a column that is measured every tenth step only."""
    known = [i for i, v in enumerate(values) if v == v]
    out = values[:]
    for a, b in pairwise(known):
        for i in range(a + 1, b):
            out[i] = values[a] + (values[b] - values[a]) * (i - a) / (b - a)
    return out
