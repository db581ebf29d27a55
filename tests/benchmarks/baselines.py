"""Detectors everybody has, with the parameters they come with: plain Python, one value in, one number out.

Each says how far a value is from what is usual; its own threshold is part of it. None was tuned to a series.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from dctop.engine.rules.detector import Detector

Score = Callable[[float], float]
_LEAST = 1e-3
"""Least scale, as a share of the level: without it a constant series divides by nothing."""


class Baseline(NamedTuple):
    name: str
    make: Callable[[], Score]
    threshold: float


def rolling_z(window: int) -> Score:
    """Deviation from the mean of the last `window` values, in their standard deviations."""
    last: deque[float] = deque(maxlen=window)

    def update(x: float) -> float:
        z = 0.0
        if len(last) == window:
            mean = sum(last) / window
            sd = math.sqrt(sum((v - mean) ** 2 for v in last) / window)
            z = abs(x - mean) / max(sd, _LEAST * abs(mean), 1e-12)
        last.append(x)
        return z

    return update


def median_mad(window: int = 300) -> Score:
    """Deviation from the running median, in running median absolute deviations x 1.4826."""
    last: deque[float] = deque()
    ordered: list[float] = []

    def update(x: float) -> float:
        z = 0.0
        if len(last) == window:
            middle = ordered[window // 2]
            mad = sorted(abs(v - middle) for v in ordered)[window // 2]
            z = abs(x - middle) / max(1.4826 * mad, _LEAST * abs(middle), 1e-12)
            del ordered[bisect.bisect_left(ordered, last.popleft())]
        last.append(x)
        bisect.insort(ordered, x)
        return z

    return update


def ewma_z(alpha: float = 0.02) -> Score:
    """Deviation from an exponentially weighted mean, in the root of the weighted variance."""
    mean, var, n = 0.0, 0.0, 0

    def update(x: float) -> float:
        nonlocal mean, var, n
        n += 1
        if n == 1:
            mean = x
            return 0.0
        e = x - mean
        z = abs(e) / max(math.sqrt(var), _LEAST * abs(mean), 1e-12) if n > 1 / alpha else 0.0
        mean += alpha * e
        var = (1.0 - alpha) * (var + alpha * e * e)
        return z

    return update


def ewma_chart(lam: float = 0.2, learn: int = 100) -> Score:
    """Roberts' control chart: a short mean against a long one, in its own standard deviation."""
    short, mean, var, n = 0.0, 0.0, 0.0, 0
    shrink = math.sqrt(lam / (2.0 - lam))

    def update(x: float) -> float:
        nonlocal short, mean, var, n
        n += 1
        if n == 1:
            short = mean = x
            return 0.0
        short += lam * (x - short)
        z = abs(short - mean) / max(shrink * math.sqrt(var), _LEAST * abs(mean), 1e-12) if n > learn else 0.0
        e, a = x - mean, max(1.0 / n, 0.02)
        mean += a * e
        var = (1.0 - a) * (var + a * e * e)
        return z

    return update


def cusum(k: float = 0.5, learn: int = 100) -> Score:
    """Page's sums of what exceeds half a standard deviation, both ways; begins anew after an alarm of 5."""
    up = down = mean = var = 0.0
    n = 0

    def update(x: float) -> float:
        nonlocal up, down, mean, var, n
        n += 1
        if n == 1:
            mean = x
            return 0.0
        z = (x - mean) / max(math.sqrt(var), _LEAST * abs(mean), 1e-12)
        if n > learn:
            up, down = max(0.0, up + z - k), max(0.0, down - z - k)
        score = max(up, down)
        if score >= 5.0:
            up = down = 0.0
        e, a = x - mean, max(1.0 / n, 0.02)
        mean += a * e
        var = (1.0 - a) * (var + a * e * e)
        return score

    return update


def ours() -> Score:
    """The statistical layer's detector without unit floors: the unit of a public series is not known."""
    return Detector().update


ALL = (
    Baseline("dctop", ours, 0.5),
    Baseline("rolling z, 50", lambda: rolling_z(50), 3.0),
    Baseline("rolling z, 300", lambda: rolling_z(300), 3.0),
    Baseline("median/MAD, 300", median_mad, 3.5),
    Baseline("EWMA z, .02", ewma_z, 3.0),
    Baseline("EWMA chart, .2", ewma_chart, 3.0),
    Baseline("CUSUM", cusum, 5.0),
)
