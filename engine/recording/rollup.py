"""Minimum, maximum and mean of every number over a chunk, so that a day's overview reads no chunk.

Computed from *derived* values (rates, shares), because those are what a timeline draws; as float32.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from math import isfinite
from operator import itemgetter
from typing import NamedTuple

from dctop.engine.recording.schema import Damaged
from dctop.probes.base import Value

NAN = float("nan")


class _Names:
    """Which of a tick's values are no texts."""

    __slots__ = ("get", "keys", "names")

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.keys = list(values)
        at = [i for i, v in enumerate(values.values()) if v.__class__ is not str]
        self.names = [self.keys[i] for i in at]
        # Of a single index it would get no tuple.
        self.get = itemgetter(*at, *at[:1]) if at else None

    def row(self, values: Mapping[str, Value]) -> array[float]:
        if self.get is None:
            return array("d")
        found = self.get(list(values.values()))
        try:
            return array("d", [NAN if v is None else v for v in found])
        except (TypeError, OverflowError):  # a text where a number was, what no float64 holds
            return array("d", map(_number, found))


class Numbers(NamedTuple):
    """What a tick adds to the rollups; NaN: not a number."""

    of: _Names
    row: array[float]


class NumberTaker:
    """Consecutive ticks to `Numbers`, 8 bytes a value."""

    def __init__(self) -> None:
        self._names = _Names({})

    def take(self, values: Mapping[str, Value]) -> Numbers:
        if self._names.keys != list(values):
            self._names = _Names(values)
        return Numbers(self._names, self._names.row(values))


def rollups(ticks: Sequence[Numbers]) -> tuple[list[str], bytes]:
    """(series, payload) of the ticks of a chunk: float32 minima, maxima, means as four byte planes."""
    found: dict[str, tuple[float, float, float, int]] = {}
    for _, alike in groupby(ticks, lambda t: id(t.of)):
        run = list(alike)
        names, width = run[0].of.names, len(run[0].row)
        flat = array("d")
        for tick in run:
            flat.extend(tick.row)
        view = memoryview(flat)
        for i, name in enumerate(names):
            stat = _stat(view[i::width].tolist())
            if stat is not None:
                old = found.get(name)
                found[name] = stat if old is None else _join(old, stat)
    packed = _float32(list(chain(*(map(itemgetter(part), found.values()) for part in range(3)))))
    if sys.byteorder == "big":
        packed.byteswap()
    raw = packed.tobytes()
    return list(found), b"".join(raw[k::4] for k in range(4))


def _number(value: Value) -> float:
    try:
        return NAN if value is None or isinstance(value, str) else float(value)
    except OverflowError:
        return NAN


def _float32(numbers: Sequence[float]) -> array[float]:
    """What is too large for a float32 is missing there."""
    flat = array("f", numbers)
    if all(map(isfinite, flat)):
        return flat
    return array("f", [x if -3.4e38 < x < 3.4e38 else NAN for x in numbers])


def _stat(column: Sequence[float]) -> tuple[float, float, float, int] | None:
    """Least, greatest, mean, how many; None: no number."""
    total = sum(column)
    if total != total:
        column = [v for v in column if v == v]
        if not column:
            return None
        total = sum(column)
    return min(column), max(column), total / len(column), len(column)


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
