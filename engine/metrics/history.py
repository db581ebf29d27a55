"""Rings of the numbers every view draws: one array a series, aligned by tick, NaN where nothing was read."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from dctop.probes.base import Value

NAN = float("nan")


class History:
    """Keeps the last `capacity` ticks of every numeric series.

    Cheap by laziness: a series absent at a tick costs nothing then; the hole is filled with NaN when it
    comes back or is read. Old values are dropped in blocks, so a push is an append (amortised). Where the
    series are those of the tick before, as nearly always, it is nothing else.
    """

    def __init__(self, capacity: int = 3600) -> None:
        self.capacity = capacity
        self.ticks = 0
        self._rings: dict[str, tuple[int, array[float]]] = {}
        """Series -> (tick of its first value, its values). Readers in other threads see one or the other."""
        self._keys: tuple[str, ...] = ()
        """Of the latest tick, in order."""
        self._appends: list[Callable[[float], object]] | None = None
        """What to do with each value of such a tick; None: one by one."""
        self._void: list[str] = []
        """Of `_keys`, those without a number: nothing is done with them, until they have one."""

    def push(self, values: Mapping[str, Value]) -> None:
        """One tick. Text values are ignored; None is a hole."""
        keys = tuple(values)
        if keys != self._keys:
            self._keys, self._appends = keys, None
            self._slowly(values)
        elif self._appends is None:
            self._slowly(values)
            self._learn(values)
        elif not self._quickly(self._appends, values):
            self._slowly(values)
            self._appends = None
        self.ticks += 1
        if self.ticks % self.capacity == 0:
            self._trim()

    def _quickly(self, appends: Sequence[Callable[[float], object]], values: Mapping[str, Value]) -> bool:
        """False: not all of them are in their rings; those that are, count."""
        nan = NAN
        try:
            for append, value in zip(appends, values.values()):
                append(nan if value is None else value)  # type: ignore[arg-type]
        except TypeError:  # a number became a text
            return False
        for key in self._void:
            value = values[key]
            if value is not None and value.__class__ is not str:
                return False
        return True

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
            if hole < 0:  # it has this tick's value
                continue
            if hole:
                self._fill(key, hole)
                ring = rings[key][1]
            ring.append(value)  # type: ignore[arg-type]

    def _learn(self, values: Mapping[str, Value]) -> None:
        """The next tick is probably like this one."""
        appends: list[Callable[[float], object]] = []
        void: list[str] = []
        for key, value in values.items():
            if value is None or value.__class__ is str:
                appends.append(bool)  # does nothing
                void.append(key)
            else:
                appends.append(self._rings[key][1].append)
        self._appends, self._void = appends, void

    def extend(self, rows: Sequence[Mapping[str, Value]]) -> None:
        """Many ticks at once: the same as `push` of each, a third of its cost (a replay loads hundreds)."""
        start, n = self.ticks, len(rows)
        self._keys, self._appends = (), None
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
        before, self.ticks = start // self.capacity, start + n
        if self.ticks // self.capacity != before:
            self._trim()

    def _fill(self, key: str, hole: int) -> None:
        first, ring = self._rings[key]
        if hole >= self.capacity:
            first, ring, hole = first + len(ring) + hole - self.capacity, array("d"), self.capacity
            self._rings[key] = (first, ring)
        ring.extend([NAN] * hole)

    def _trim(self) -> None:
        self._appends = None
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
        known = self._rings.get(key)
        if known is None:
            return array("d", [NAN]) * n
        first, ring = known
        size = len(ring)
        missing = self.ticks - first - size - back
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
        self._keys, self._appends = (), None
        self.ticks = 0
