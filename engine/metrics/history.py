"""Rings of the numbers every view draws: one array a series, aligned by tick, NaN where nothing was read."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import chain

from dctop.probes.base import Value

NAN = float("nan")


class History:
    """Keeps the last `capacity` ticks of every numeric series.

    Cheap by laziness: a series absent at a tick costs nothing then; the hole is filled with NaN when it
    comes back or is read. Old values are dropped in blocks, so a push is an append (amortised).
    """

    def __init__(self, capacity: int = 3600) -> None:
        self.capacity = capacity
        self.ticks = 0
        self._rings: dict[str, array[float]] = {}
        self._ends: dict[str, int] = {}

    def push(self, values: Mapping[str, Value]) -> None:
        """One tick. Text values are ignored; None is a hole."""
        at = self.ticks
        rings, ends = self._rings, self._ends
        for key, value in values.items():
            if value is None or value.__class__ is str:
                continue
            ring = rings.get(key)
            if ring is None:
                rings[key] = array("d", (value,))  # type: ignore[arg-type]
            else:
                hole = at - ends[key]
                if hole:
                    self._fill(ring, hole)
                ring.append(value)  # type: ignore[arg-type]
            ends[key] = at + 1
        self.ticks = at + 1
        if self.ticks % self.capacity == 0:
            self._trim()

    def extend(self, rows: Sequence[Mapping[str, Value]]) -> None:
        """Many ticks at once: the same as `push` of each, a third of its cost (a replay loads hundreds)."""
        start, n = self.ticks, len(rows)
        for key in dict.fromkeys(chain.from_iterable(rows)):
            column = [row.get(key) for row in rows]
            values: array[float]
            try:
                values = array("d", column)  # type: ignore[arg-type]
                lead, size = 0, n
            except TypeError:  # holes or texts
                known = [i for i, v in enumerate(column) if v is not None and v.__class__ is not str]
                if not known:
                    continue
                lead, size = known[0], known[-1] + 1
                values = array(
                    "d", [NAN if v is None or isinstance(v, str) else v for v in column[lead:size]]
                )
            ring = self._rings.get(key)
            if ring is None:
                self._rings[key] = values
            else:
                hole = start + lead - self._ends[key]
                if hole:
                    self._fill(ring, hole)
                ring.extend(values)
            self._ends[key] = start + size
        before, self.ticks = start // self.capacity, start + n
        if self.ticks // self.capacity != before:
            self._trim()

    def _fill(self, ring: array[float], hole: int) -> None:
        if hole >= self.capacity:
            del ring[:]
        ring.extend([NAN] * min(hole, self.capacity))

    def _trim(self) -> None:
        for key in list(self._rings):
            ring, end = self._rings[key], self._ends[key]
            if self.ticks - end >= self.capacity:
                del self._rings[key], self._ends[key]
            elif len(ring) > self.capacity:
                # A new array, swapped whole: a reader in another thread keeps the old one.
                self._rings[key] = ring[-self.capacity :]

    def window(self, key: str, n: int, back: int = 0) -> array[float]:
        """Exactly `n` values, newest last, ending `back` ticks before the newest; NaN = missing."""
        if n <= 0:
            return array("d")
        ring = self._rings.get(key)
        if ring is None:
            return array("d", [NAN]) * n
        size = len(ring)
        missing = self.ticks - self._ends.get(key, 0) - back
        if missing >= 0:
            tail = min(missing, n)
            part = ring[max(0, size - (n - tail)) :] if n > tail else array("d")
        else:
            tail = 0
            stop = max(0, size + missing)
            part = ring[max(0, stop - n) : stop]
        lead = n - tail - len(part)
        if lead > 0:
            part = array("d", [NAN]) * lead + part
        if tail:
            part = part + array("d", [NAN]) * tail
        return part

    def keys(self) -> list[str]:
        return list(self._rings)

    def clear(self) -> None:
        self._rings.clear()
        self._ends.clear()
        self.ticks = 0
