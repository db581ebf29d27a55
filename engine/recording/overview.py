"""A whole recording at a glance: series over all of its length, from the rollups of its chunks."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence

from dctop.engine.recording.blocks import ChunkInfo, Layout
from dctop.engine.recording.facts import Bucket
from dctop.engine.recording.flatten import DERIVED
from dctop.engine.recording.rollup import read_roll
from dctop.engine.recording.schema import Damaged, unseal
from dctop.engine.recording.wide import Part

_KEPT_BYTES = 32 << 20
"""Rollups kept unpacked: a week of 300 series. Graphs ask for their series one after the other."""


class Rollups:
    """Reads rollups, each once however many series are asked for; what was read is kept."""

    def __init__(
        self,
        db: sqlite3.Connection,
        layout: Callable[[object], Layout | None],
        problem: Callable[[str], None],
    ) -> None:
        self._db = db
        self._layout = layout
        self._problem = problem
        self._known: dict[str, dict[int, Bucket | None]] = {}
        """Series -> first frame of a chunk -> its rollup; None: the series was no number there."""
        self._places: dict[int, dict[str, int]] = {}
        self._payloads: OrderedDict[int, bytes] = OrderedDict()
        self._kept = 0
        self._means: dict[str, tuple[tuple[int, int, int], list[Part]]] = {}

    def means(self, chunks: Sequence[ChunkInfo], bad: Collection[int], key: str) -> list[Part]:
        """The means of a series, one a chunk in which it was a number, oldest first."""
        made = (len(chunks), chunks[0].seq0, len(bad)) if chunks else (0, 0, 0)
        found = self._means.get(key)
        if found is None or found[0] != made:
            self.parts(chunks, bad, (key,))
            known = self._known[key]
            parts = [
                Part(info.seq0, info.seq1, b.mean)
                for info in chunks
                if info.seq0 not in bad and (b := known.get(info.seq0)) is not None and b.mean is not None
            ]
            found = self._means[key] = (made, parts)
        return found[1]

    def parts(
        self, chunks: Sequence[ChunkInfo], bad: Collection[int], keys: Sequence[str]
    ) -> dict[str, list[Bucket]]:
        """Series -> one bucket a chunk in which it was a number, oldest first."""
        known = {key: self._known.setdefault(key, {}) for key in keys}
        for info in chunks:
            wanted = [key for key in known if info.seq0 not in known[key]]
            if wanted and info.seq0 not in bad:
                self._read(info, wanted)
        return {key: [b for info in chunks if (b := known[key].get(info.seq0)) is not None] for key in known}

    def _read(self, info: ChunkInfo, keys: Sequence[str]) -> None:
        places = {} if info.roll_set is None else self._places_of(info.roll_set)
        wanted = [key for key in keys if key in places]
        payload = self._payloads.get(info.seq0, b"")
        if wanted and not payload:
            try:
                (blob,) = self._db.execute("SELECT roll FROM chunk WHERE seq0=?", (info.seq0,)).fetchone()
                payload = unseal(blob, info.keys)
                self._keep(info.seq0, payload)
            except (Damaged, TypeError, sqlite3.DatabaseError):
                self._problem(f"rollup of frames {info.seq0}-{info.seq1} is damaged")
                wanted = []
        for key in keys:
            found = read_roll(payload, places[key], len(places)) if key in wanted else None
            self._known[key][info.seq0] = None if found is None else Bucket(info.t0, info.t1, *found)

    def _keep(self, seq0: int, payload: bytes) -> None:
        self._payloads[seq0] = payload
        self._kept += len(payload)
        while self._kept > _KEPT_BYTES:
            self._kept -= len(self._payloads.popitem(last=False)[1])

    def _places_of(self, roll_set: int) -> dict[str, int]:
        places = self._places.get(roll_set)
        if places is None:
            layout = self._layout(roll_set)
            names = layout[0][1] if layout and layout[0][0] == DERIVED else ()
            places = {name: i for i, name in enumerate(names)}
            if layout:
                self._places[roll_set] = places
        return places


def spread(parts: Iterable[Bucket], n: int, t0: int, t1: int, reach_ns: int) -> list[Bucket]:
    """`n` buckets of equal time from `t0` to `t1`; each part reaches `reach_ns` beyond its last frame: a
    bucket in which no frame happens to lie is no hole if one reaches to its middle."""
    width = (t1 - t0) / n
    sums: list[list[tuple[float, float, float]]] = [[] for _ in range(n)]
    reached: dict[int, tuple[float, float, float]] = {}
    for part in parts:
        if part.min is None or part.max is None or part.mean is None:
            continue
        first = min(n - 1, max(0, int((part.t0 - t0) / width)))
        last = min(n - 1, max(first, int((part.t1 + reach_ns - t0) / width) - 1))
        for i in range(first, last + 1):
            sums[i].append((part.min, part.max, part.mean))
        for i in range(last + 1, min(n, int((part.t1 + reach_ns - t0) / width + 0.5))):
            reached[i] = (part.min, part.max, part.mean)
    out = []
    for i, found in enumerate(sums):
        if not found and i in reached:
            found = [reached[i]]
        a, b = t0 + int(i * width), t0 + int((i + 1) * width)
        if found:
            mean = sum(m for _, _, m in found) / len(found)
            out.append(Bucket(a, b, min(f[0] for f in found), max(f[1] for f in found), mean))
        else:
            out.append(Bucket(a, b, None, None, None))
    return out
