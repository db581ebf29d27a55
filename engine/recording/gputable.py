"""Processes on GPUs as one cell of a sample (`@gpus`), read back when somebody looks at them.

    [[uuid, [[pid, kind, memory, SM, memory share, encoder, decoder] ...]] ...]

Steady rows repeat from sample to sample and pack to almost nothing; an older reader ignores the cell. Further
fields may be added at the end of a row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import overload

from dctop.probes.base import GpuProcess

_KINDS = ("C", "G", "CG", "M")


def gpus_text(rows: Sequence[GpuProcess]) -> str:
    """The cell. Rows of one GPU stand together, as the probe gives them."""
    if isinstance(rows, RecordedGpus):
        return rows.text
    return json.dumps(
        [[gpu, [[p.pid, *p[2:]] for p in group]] for gpu, group in groupby(rows, attrgetter("gpu"))],
        separators=(",", ":"),
    )


class RecordedGpus(Sequence[GpuProcess]):
    """Rows of a recorded sample; decoded at the first look. What is no row is left out."""

    __slots__ = ("_rows", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._rows: tuple[GpuProcess, ...] | None = None

    def _all(self) -> tuple[GpuProcess, ...]:
        if self._rows is None:
            self._rows = tuple(_decode(self.text))
        return self._rows

    @overload
    def __getitem__(self, i: int) -> GpuProcess: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[GpuProcess, ...]: ...
    def __getitem__(self, i: int | slice) -> GpuProcess | tuple[GpuProcess, ...]:
        return self._all()[i]

    def __len__(self) -> int:
        return len(self._all())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._all() == tuple(other)

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return repr(self._all())


def _decode(text: str) -> Iterator[GpuProcess]:
    try:
        groups = json.loads(text)
    except (ValueError, RecursionError):
        return
    for group in groups if isinstance(groups, list) else ():
        if not (isinstance(group, list) and len(group) == 2 and isinstance(group[0], str)):
            continue
        uuid, rows = group
        for row in rows if isinstance(rows, list) else ():
            if not isinstance(row, list) or len(row) < 2 or row[1] not in _KINDS:
                continue
            numbers = row[2 : len(GpuProcess._fields) - 1]
            if isinstance(row[0], int) and all(n is None or isinstance(n, int) for n in numbers):
                yield GpuProcess(row[0], uuid, row[1], *(numbers or (None,)))
