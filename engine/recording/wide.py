"""Windows wider than single ticks: each value the mean over `k` ticks, from rollups where frames are far.

Buckets are fixed to the tick's number (bucket b holds ticks b*k to b*k+k-1), so that while time goes on only
the newest one changes and nothing else of a graph jitters.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

NAN = float("nan")


class Part(NamedTuple):
    """The mean of a series over frames `seq0` to `seq1`, both included."""

    seq0: int
    seq1: int
    mean: float


def mean_of(values: Sequence[float]) -> float:
    """The mean of what is known; NaN where nothing is."""
    total = sum(values)
    if total == total:
        return total / len(values) if len(values) else NAN
    known = [v for v in values if v == v]
    return sum(known) / len(known) if known else NAN


def thinned(ticks: array[float], last: int, n: int, k: int) -> array[float]:
    """`n` means over `k` ticks each, from single ticks. `last`: the number of the newest of them; the newest
    bucket may still be short. NaN = missing."""
    if k <= 1:
        part = ticks[-n:] if n > 0 else array("d")
        return array("d", [NAN]) * (n - len(part)) + part
    out = array("d")
    stop, size = len(ticks), last % k + 1
    for _ in range(n):
        if stop <= 0:
            break
        out.append(mean_of(ticks[max(0, stop - size) : stop]))
        stop -= size
        size = k
    out.reverse()
    return array("d", [NAN]) * (n - len(out)) + out


def joined(parts: Sequence[Part], fine: array[float], last: int, n: int, k: int) -> array[float]:
    """The same where only the newest ticks (`fine`) are known singly: what lies before them comes from
    `parts` (oldest first), each weighing as much as it reaches into a bucket."""
    first_fine = last - len(fine) + 1
    lead = next((i for i, v in enumerate(fine) if v == v), len(fine))
    first_fine += lead  # a window longer than its history begins with holes
    first = last // k - n + 1
    sums, weights = [0.0] * n, [0] * n
    at = bisect_left(parts, first * k, key=lambda p: p.seq1)
    for part in parts[at:]:
        if part.seq0 >= first_fine:
            break
        a, z = max(part.seq0, first * k), min(part.seq1, first_fine - 1, last)
        for b in range(a // k, z // k + 1):
            weight = min(z, b * k + k - 1) - max(a, b * k) + 1
            if weight > 0:
                sums[b - first] += part.mean * weight
                weights[b - first] += weight
    for i, value in enumerate(fine[lead:]):
        b = (first_fine + i) // k - first
        if b >= 0 and value == value:
            sums[b] += value
            weights[b] += 1
    return array("d", [s / w if w else NAN for s, w in zip(sums, weights)])
