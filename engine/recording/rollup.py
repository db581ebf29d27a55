"""Minimum, maximum and mean of every number over a chunk, so that a day's overview reads no chunk.

Computed from *derived* values (rates, shares), because those are what a timeline draws; as float32.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import isfinite
from operator import itemgetter

from dctop.engine.recording.schema import Damaged
from dctop.probes.base import Value

NAN = float("nan")


class _Segment:
    """Consecutive ticks with the same series: a row of numbers a tick."""

    __slots__ = ("get", "keys", "names", "rows")

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.keys = list(values)
        at = [i for i, v in enumerate(values.values()) if v.__class__ is not str]
        self.names = [self.keys[i] for i in at]
        self.get = itemgetter(*at, *at[:1]) if at else None
        self.rows: list[tuple[Value, ...]] = []

    def add(self, values: Mapping[str, Value]) -> None:
        if self.get is not None:
            self.rows.append(self.get(list(values.values())))

    def columns(self) -> Iterator[tuple[str, tuple[Value, ...]]]:
        return zip(self.names, zip(*self.rows))


def rollups(ticks: Sequence[Mapping[str, Value]]) -> tuple[list[str], bytes]:
    """(series, payload) of the ticks of a chunk: float32 minima, maxima, means as four byte planes."""
    segments: list[_Segment] = []
    for values in ticks:
        if not segments or segments[-1].keys != list(values):
            segments.append(_Segment(values))
        segments[-1].add(values)
    found: dict[str, tuple[float, float, float, int]] = {}
    for segment in segments:
        for name, column in segment.columns():
            stat = _stat(column)
            if stat is not None:
                old = found.get(name)
                found[name] = stat if old is None else _join(old, stat)
    flat = _float32(list(chain(*(map(itemgetter(part), found.values()) for part in range(3)))))
    if sys.byteorder == "big":
        flat.byteswap()
    raw = flat.tobytes()
    return list(found), b"".join(raw[k::4] for k in range(4))


def _float32(numbers: Sequence[float]) -> array[float]:
    """What is too large for a float32 is missing there."""
    flat = array("f", numbers)
    if all(map(isfinite, flat)):
        return flat
    return array("f", [x if -3.4e38 < x < 3.4e38 else NAN for x in numbers])


def _stat(column: Sequence[Value]) -> tuple[float, float, float, int] | None:
    """Least, greatest, mean, how many; None: no number that a float64 holds."""
    try:
        return _numbers(column)
    except OverflowError:
        return None


def _numbers(column: Sequence[Value]) -> tuple[float, float, float, int] | None:
    try:
        total: float = sum(column)  # type: ignore[arg-type]
        whole = total == total
    except TypeError:  # a None, or a text where a number was
        whole = False
    numbers: Sequence[float] = column  # type: ignore[assignment]
    if not whole:
        numbers = [v for v in column if isinstance(v, (int, float)) and v == v]
        if not numbers:
            return None
        total = sum(numbers)
    return float(min(numbers)), float(max(numbers)), total / len(numbers), len(numbers)


def _join(
    a: tuple[float, float, float, int], b: tuple[float, float, float, int]
) -> tuple[float, float, float, int]:
    n = a[3] + b[3]
    return min(a[0], b[0]), max(a[1], b[1]), (a[2] * a[3] + b[2] * b[3]) / n, n


def read_roll(payload: bytes, i: int, width: int) -> tuple[float, float, float] | None:
    """(min, max, mean) of series number `i` of `width`; None where it was never a number. Raises Damaged."""
    if len(payload) != 12 * width or i >= width:
        raise Damaged("rollup does not fit")
    out = array("f")
    total = 3 * width
    for part in range(3):
        at = part * width + i
        out.frombytes(bytes(payload[k * total + at] for k in range(4)))
    if sys.byteorder == "big":
        out.byteswap()
    lo, hi, mean = out
    return (lo, hi, mean) if lo == lo and hi == hi and mean == mean else None
