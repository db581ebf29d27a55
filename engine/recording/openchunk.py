"""The frames of the open chunk: packed as the tail has just coded them, put into columns when it is full.

Sixty frames wait here. As dictionaries of numbers one of 300 series is 20 kB, packed it is 3.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress, groupby
from typing import Any, NamedTuple

from dctop.engine.recording.codec import ABSENT, Cell
from dctop.engine.recording.flatten import CONTROL, new_key
from dctop.engine.recording.proctable import Table
from dctop.engine.recording.rollup import Numbers
from dctop.engine.recording.tailrow import PackedRow, unpack

SetKey = tuple[tuple[str, tuple[str, ...]], ...]
"""Which series a row holds, in its order: (stream, names) ..., the control stream first."""
Columns = Mapping[str, Sequence[Cell]]


class Kept(NamedTuple):
    """A frame that was written to the tail."""

    seq: int
    wall_ns: int
    mono_ns: int
    layout: SetKey
    row: PackedRow
    procs: Table | None
    numbers: Numbers | None
    """Derived values, for the rollups."""


class _Part(NamedTuple):
    """Consecutive rows of one stream."""

    names: tuple[str, ...]
    columns: Sequence[Sequence[Cell]]


def streams(frames: Sequence[Kept]) -> tuple[dict[str, Columns], list[Table]]:
    """Stream -> columns, and the process tables of the readings that have one, oldest first.

    A stream has a row for each new sample, and one for what the first frame carried over from before."""
    parts: dict[str, list[_Part]] = {}
    tables: list[Table] = []
    first = True
    for _, alike in groupby(frames, lambda f: (id(f.layout), id(f.row.shape))):
        run = list(alike)
        for stream, part, new in _parts(run, first):
            parts.setdefault(stream, []).append(part)
            if stream == "process" and "@procs" in part.names:
                with_table = part.columns[part.names.index("@procs")]
                rows = zip(with_table, run if new is None else compress(run, new))
                tables += [f.procs for has, f in rows if has == 1 and f.procs is not None]
        first = False
    return {stream: _joined(found) for stream, found in parts.items()}, tables


def _parts(run: Sequence[Kept], first: bool) -> Iterator[tuple[str, _Part, Sequence[Cell] | None]]:
    """(stream, its rows, which frames have one; None: all) of frames alike. `first`: they begin the chunk."""
    columns = unpack([f.row for f in run])
    names = run[0].layout[0][1]
    flags = {name: column for name, column in zip(names, columns) if name.startswith("@new")}
    at = 0
    for stream, names in run[0].layout:
        own = columns[at : at + len(names)]
        at += len(names)
        if stream == CONTROL:
            yield stream, _Part(names, own), None
            continue
        new = list(flags[new_key(stream)])
        if first:
            new[0] = 1
        if all(new):
            yield stream, _Part(names, own), None
        elif any(new):
            yield stream, _Part(names, [_picked(c, new) for c in own]), new


def _picked(column: Sequence[Cell], rows: Sequence[Cell]) -> Sequence[Cell]:
    return _collect(_kind(column), compress(column, rows))


def _kind(column: Sequence[Cell]) -> str:
    return column.format if isinstance(column, memoryview) else ""


def _collect(kind: str, cells: Iterable[Any]) -> Sequence[Cell]:
    """As numbers of 8 bytes instead of 36 where that is their kind."""
    return memoryview(array(kind, cells)) if kind else list(cells)


def _joined(parts: Sequence[_Part]) -> Columns:
    """One below the other. What a row has not is ABSENT there."""
    names = parts[0].names
    if len(parts) == 1:
        return dict(zip(names, parts[0].columns))
    if all(p.names == names for p in parts):
        return {n: _below(column) for n, *column in zip(names, *(p.columns for p in parts))}
    union: dict[str, list[Cell]] = {n: [] for n in dict.fromkeys(chain(*(p.names for p in parts)))}
    for part in parts:
        found, absent = dict(zip(part.names, part.columns)), [ABSENT] * len(part.columns[0])
        for name, cells in union.items():
            cells += found.get(name, absent)
    return union


def _below(columns: Sequence[Sequence[Cell]]) -> Sequence[Cell]:
    kinds = set(map(_kind, columns))
    return _collect(kinds.pop() if len(kinds) == 1 else "", chain(*columns))
