"""Rings of the numbers every view draws: one array a series, aligned by tick, NaN where nothing was read."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import chain, compress
from typing import NamedTuple

from dctop.probes.base import Value

NAN = float("nan")


BATCH = 16
"""Ticks that are kept as rows before they go into the rings."""


class _Rows(NamedTuple):
    """The latest ticks, one row each, of the same series in the same order. Never changed: replaced."""

    start: int
    """Tick of the first row: what lies before is in the rings."""
    rows: tuple[array[float], ...]
    columns: Mapping[str, int]
    """Series -> its place in a row."""


_NOTHING: Mapping[str, int] = {}


class History:
    """Keeps the last `capacity` ticks of every numeric series.

    Cheap by laziness: a series absent at a tick costs nothing then; the hole is filled with NaN when it
    comes back or is read. Old values are dropped in blocks. Where the series are those of the tick before, as
    nearly always, a tick is one row, and the rings are not touched before there are `BATCH` of them: a
    thousand arrays whose ends have left the caches since the last second cost more than all the rest.
    """

    def __init__(self, capacity: int = 3600) -> None:
        self.capacity = capacity
        self._stretch = max(1, capacity // 4)
        """Old values are dropped once in so many ticks: a ring is at most a quarter longer than needed."""
        self.ticks = 0
        self._rings: dict[str, tuple[int, array[float]]] = {}
        """Series -> (tick of its first value, its values). Readers in other threads see one or the other."""
        self._latest = _Rows(0, (), _NOTHING)
        self._keys: tuple[str, ...] = ()
        """Of the latest tick, in order."""
        self._numbers: list[bool] | None = None
        """Which of `_keys` have a number and a ring; None: not known, ticks go into the rings one by one."""
        self._void: list[str] = []
        """Of `_keys`, those without a number: nothing is done with them, until they have one."""

    def push(self, values: Mapping[str, Value]) -> None:
        """One tick. Text values are ignored; None is a hole."""
        keys = tuple(values)
        if keys != self._keys:
            self._settle()
            self._keys, self._numbers = keys, None
            self._slowly(values)
        elif self._numbers is None:
            self._slowly(values)
            self._learn(values)
        elif not self._quickly(self._numbers, values):
            self._settle()
            self._numbers = None
            self._slowly(values)
        self.ticks += 1
        if self.ticks % self._stretch == 0:
            self._settle()
            self._trim()

    def _quickly(self, numbers: Sequence[bool], values: Mapping[str, Value]) -> bool:
        """False: not all of them are in their rings."""
        for key in self._void:
            value = values[key]
            if value is not None and value.__class__ is not str:
                return False
        found = list(compress(values.values(), numbers))
        if None in found:
            found = [NAN if v is None else v for v in found]
        try:
            row: array[float] = array("d", found)  # type: ignore[arg-type]
        except TypeError:  # a number became a text
            return False
        latest = self._latest
        self._latest = latest._replace(rows=(*latest.rows, row))
        if len(latest.rows) + 1 == BATCH:
            self._settle(self.ticks + 1)
        return True

    def _settle(self, until: int | None = None) -> None:
        """Rows into the rings. `until`: the tick after the last of them, where they go on."""
        _, rows, columns = self._latest
        if rows:
            n, rings = len(columns), self._rings
            values = array("d")
            for row in rows:
                values.extend(row)
            for key, place in columns.items():
                rings[key][1].extend(values[place::n])
        self._latest = _Rows(0, (), _NOTHING) if until is None else _Rows(until, (), columns)

    def _slowly(self, values: Mapping[str, Value]) -> None:
        at, rings = self.ticks, self._rings
        for key, value in values.items():
            if value is None or value.__class__ is str:
                continue
            known = rings.get(key)
            if known is None:
                rings[key] = (at, array("d", (value,)))  # type: ignore[arg-type]
                continue
            first, ring = known
            hole = at - first - len(ring)
            if hole:
                self._fill(key, hole)
                ring = rings[key][1]
            ring.append(value)  # type: ignore[arg-type]

    def _learn(self, values: Mapping[str, Value]) -> None:
        """The next tick is probably like this one."""
        self._numbers = [v is not None and v.__class__ is not str for v in values.values()]
        keys = tuple(compress(values, self._numbers))
        self._void = [k for k, number in zip(values, self._numbers) if not number]
        self._latest = _Rows(self.ticks + 1, (), {key: i for i, key in enumerate(keys)})

    def extend(self, rows: Sequence[Mapping[str, Value]]) -> None:
        """Many ticks at once: the same as `push` of each, a third of its cost (a replay loads hundreds)."""
        self._settle()
        start, n = self.ticks, len(rows)
        self._keys, self._numbers = (), None
        for key in dict.fromkeys(chain.from_iterable(rows)):
            column = [row.get(key) for row in rows]
            values: array[float]
            try:
                values = array("d", column)  # type: ignore[arg-type]
                lead = 0
            except TypeError:  # holes or texts
                known = [i for i, v in enumerate(column) if v is not None and v.__class__ is not str]
                if not known:
                    continue
                lead = known[0]
                part = column[lead : known[-1] + 1]
                values = array("d", [NAN if v is None or isinstance(v, str) else v for v in part])
            if key not in self._rings:
                self._rings[key] = (start + lead, values)
                continue
            first, ring = self._rings[key]
            hole = start + lead - first - len(ring)
            if hole:
                self._fill(key, hole)
                ring = self._rings[key][1]
            ring.extend(values)
        before, self.ticks = start // self._stretch, start + n
        if self.ticks // self._stretch != before:
            self._trim()

    def _fill(self, key: str, hole: int) -> None:
        first, ring = self._rings[key]
        if hole >= self.capacity:
            first, ring, hole = first + len(ring) + hole - self.capacity, array("d"), self.capacity
            self._rings[key] = (first, ring)
        ring.extend([NAN] * hole)

    def _trim(self) -> None:
        self._numbers = None
        nothing = array("d", [NAN]) * self.capacity
        for key, (first, ring) in list(self._rings.items()):
            missing = self.ticks - first - len(ring)
            last = ring[-self.capacity :]
            if missing >= self.capacity or (
                # While a series is in `_keys` its holes are written.
                last[-1] != last[-1] and last.tobytes() == nothing[: len(last)].tobytes()
            ):
                del self._rings[key]
            elif len(ring) > self.capacity:
                # A new array, swapped whole: a reader in another thread keeps the old one.
                self._rings[key] = (first + len(ring) - len(last), last)

    def window(self, key: str, n: int, back: int = 0) -> array[float]:
        """Exactly `n` values, newest last, ending `back` ticks before the newest; NaN = missing."""
        if n <= 0:
            return array("d")
        # In this order, as another thread pushes meanwhile: what goes into the rings is not seen twice.
        stop = self.ticks - back
        begin = stop - n
        start, rows, columns = self._latest
        known = self._rings.get(key)
        if known is None:
            return array("d", [NAN]) * n
        place = columns.get(key)
        if place is None or not rows or stop <= start:
            return _cut(known, begin, stop)
        part = _cut(known, begin, start) if begin < start else array("d")
        end = stop - start
        part.extend([row[place] for row in rows[max(0, begin - start) : end]])
        if end > len(rows):
            part.extend([NAN] * (end - max(len(rows), begin - start)))
        return part

    def keys(self) -> list[str]:
        return list(self._rings)

    def clear(self) -> None:
        self._latest = _Rows(0, (), _NOTHING)
        self._rings.clear()
        self._keys, self._numbers = (), None
        self.ticks = 0


def _cut(known: tuple[int, array[float]], begin: int, stop: int) -> array[float]:
    """The ticks from `begin` to `stop` of a ring, NaN where it has none."""
    first, ring = known
    size, n = len(ring), stop - begin
    a, b = max(0, begin - first), max(0, min(size, stop - first))
    part = ring[a:b] if a < b else array("d")
    if len(part) == n:
        return part
    lead = min(n, max(0, first - begin))
    out = array("d", [NAN]) * lead + part
    return out + array("d", [NAN]) * (n - len(out))
