"""Which processes are recorded, and their tables as columns.

A chunk holds some sixty tables of some forty processes, most of them unchanged from one to the next. So a
process's row is stored only where it changed; between, its state is one byte a table: absent, as before,
new. Restored tables hand out the same `Process` object while nothing changed, as the probe does.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from dctop.engine.recording.codec import Cell, decode_table, encode_table, tag_all, untag_all
from dctop.engine.recording.masking import mask_cmdline
from dctop.engine.recording.schema import Damaged
from dctop.probes.base import Process

Table = tuple[Process, ...]
FIELDS = Process._fields
_WIDTH = len(FIELDS)
_GONE, _SAME, _NEW = 0, 1, 2
TOP = 40
MAX_ROWS = 200
"""Also with many training workers."""
_KEEP_TABLES = 10
"""A process stays recorded for so many tables after it last was among the top: its rate needs the row
before, and steady rows pack well."""
_RESCAN_TABLES = 10
"""All processes are ranked by memory this often; between, only those that changed."""

_rss = attrgetter("rss_bytes")


class ProcessPicker:
    """Chooses and masks the recorded part of each process table: the top 40 (half by CPU time since the
    table before, the rest by resident memory), all of training runs (three generations) and all on a GPU."""

    def __init__(self) -> None:
        self._before: dict[int, Process] = {}
        self._big: list[Process] = []
        self._kept: dict[tuple[int, int], int] = {}
        self._masked: dict[tuple[int, int], tuple[Process, Process]] = {}
        self._lines: dict[str, str] = {}
        self._tables = 0

    def pick(self, table: Sequence[Process], run_pids: frozenset[int] = frozenset()) -> Table:
        """Sorted by pid. Rows that did not change are the same objects as in the table before."""
        before = self._before
        changed = [p for p in table if before.get(p.pid) is not p]
        if changed or len(before) != len(table):
            self._before = {p.pid: p for p in table}
        self._tables += 1
        now = self._tables
        for p in self._wanted(table, changed, before):
            self._kept[p.pid, p.start_ticks] = now
        if run_pids or any(p.gpu_mem_bytes is not None for p in changed):
            for p in _mandatory(table, run_pids):
                self._kept[p.pid, p.start_ticks] = now
        return self._finish(now)

    def _wanted(
        self, table: Sequence[Process], changed: Sequence[Process], before: Mapping[int, Process]
    ) -> list[Process]:
        if self._tables % _RESCAN_TABLES == 1 or not self._big:
            pool = [p for p in table if p.rss_bytes]
        else:
            alive = self._before
            pool = [q for p in self._big if (q := alive.get(p.pid)) is not None and q.rss_bytes]
            pool += [p for p in changed if p.rss_bytes]
        self._big = heapq.nlargest(TOP, {p.pid: p for p in pool}.values(), key=_rss)
        used: list[tuple[int, int, Process]] = []
        for p in changed:
            q = before.get(p.pid)
            old = q.cpu_ticks if q is not None and q.start_ticks == p.start_ticks else 0
            if p.cpu_ticks > old:
                used.append((p.cpu_ticks - old, p.pid, p))
        chosen = {p.pid: p for _, _, p in heapq.nlargest(TOP // 2, used)}
        for p in self._big:
            if len(chosen) >= TOP:
                break
            chosen[p.pid] = p
        return list(chosen.values())

    def _finish(self, now: int) -> Table:
        alive = self._before
        rows: list[Process] = []
        masked: dict[tuple[int, int], tuple[Process, Process]] = {}
        ranked = sorted(self._kept.items(), key=lambda item: -item[1])
        self._kept = {}
        for (pid, start), last in ranked:
            p = alive.get(pid)
            if p is None or p.start_ticks != start:
                continue
            if p.gpu_mem_bytes is not None:
                last = now
            if now - last > _KEEP_TABLES:
                continue
            if len(rows) >= (MAX_ROWS if last == now else TOP):
                continue
            self._kept[pid, start] = last
            known = self._masked.get((pid, start))
            row = known[1] if known is not None and known[0] is p else self._mask(p)
            masked[pid, start] = (p, row)
            rows.append(row)
        self._masked = masked
        rows.sort()
        return tuple(rows)

    def _mask(self, p: Process) -> Process:
        line = p.cmdline
        if line is None:
            return p
        clean = self._lines.get(line)
        if clean is None:
            if len(self._lines) > 2000:
                self._lines.clear()
            clean = self._lines[line] = mask_cmdline(line)
        return p if clean == line else p._replace(cmdline=clean)


def _mandatory(table: Sequence[Process], run_pids: frozenset[int]) -> list[Process]:
    """Processes on a GPU; those of runs, their children (torchrun's ranks) and theirs (data workers)."""
    family = set(run_pids)
    out = [p for p in table if p.gpu_mem_bytes is not None]
    if family:
        for _ in range(2):
            family.update([p.pid for p in table if p.ppid in family])
        out += [p for p in table if p.pid in family]
    return out


# -- a chunk's tables -------------------------------------------------------------------------------


def encode_tables(tables: Sequence[Table]) -> bytes:
    """Consecutive tables to bytes, not yet compressed."""
    found: dict[tuple[int, int], list[tuple[int, Process]]] = {}
    for t, table in enumerate(tables):
        for p in table:
            rows = found.get(p[:2])
            if rows is None:
                found[p[:2]] = [(t, p)]
            else:
                rows.append((t, p))
    n = len(tables)
    states, changed = [], []
    for key in sorted(found):
        state = bytearray(n)
        last: Process | None = None
        for t, p in found[key]:
            if p is last or (last is not None and p == last and _same_types(p, last)):
                state[t] = _SAME
            else:
                state[t] = _NEW
                changed.append(p)
            last = p
        states.append(bytes(state))
    body = encode_table(list(zip(*changed)) if changed else [()] * _WIDTH)
    head = json.dumps([n, len(states), list(FIELDS)]).encode()
    return len(head).to_bytes(2, "little") + head + b"".join(states) + body


def _same_types(p: Process, q: Process) -> bool:
    """1 and 1.0, 0.0 and -0.0 are equal but not the same."""
    return all(a is b or (a.__class__ is b.__class__ and a != 0) for a, b in zip(p, q))


def decode_tables(data: bytes) -> list[Table]:
    """The inverse of `encode_tables`. Raises Damaged. Fields of a newer version are left out, missing ones
    are None."""
    try:
        size = int.from_bytes(data[:2], "little")
        n, entities, names = json.loads(data[2 : 2 + size])
        at = 2 + size
        states = [data[at + i * n : at + (i + 1) * n] for i in range(entities)]
        columns = decode_table(data[at + n * entities :])
        rows = _rows(columns, names)
    except (ValueError, TypeError, IndexError, AttributeError) as e:
        raise Damaged("process table does not decode") from e
    tables: list[list[Process]] = [[] for _ in range(n)]
    take = iter(rows)
    try:
        for state in states:
            row: Process | None = None
            for t, s in enumerate(state):
                if s == _NEW:
                    row = next(take)
                if s != _GONE:
                    if row is None:
                        raise Damaged("process table does not decode")
                    tables[t].append(row)
    except StopIteration as e:
        raise Damaged("process table does not decode") from e
    return [tuple(t) for t in tables]


def _rows(columns: Sequence[Sequence[Cell]], names: Sequence[str]) -> list[Process]:
    if list(names) == list(FIELDS):
        return list(map(Process._make, zip(*columns)))
    known = {name: i for i, name in enumerate(names) if name in FIELDS}
    count = len(columns[0]) if columns else 0
    picked = [columns[known[f]] if f in known else [None] * count for f in FIELDS]
    return list(map(Process._make, zip(*picked)))


# -- one table against the one before (tail rows) ----------------------------------------------------


def diff_table(new: Table, old: Mapping[tuple[int, int], Process]) -> list[object]:
    """JSON: [gone keys, changed rows as [pid, start, index, value, index, value ...], rows new in full]."""
    changed: list[object] = []
    added: list[object] = []
    seen = 0
    for p in new:
        q = old.get(p[:2])
        if q is None:
            added.append(tag_all(p))
            continue
        seen += 1
        if q is not p:
            cells: list[object] = [p.pid, p.start_ticks]
            for i, (v, w) in enumerate(zip(p, q)):
                if v is not w and (v != w or v.__class__ is not w.__class__ or v == 0):
                    cells += (i, *tag_all((v,)))
            if len(cells) > 2:
                changed.append(cells)
    gone: list[object] = []
    if seen != len(old):
        keys = {p[:2] for p in new}
        gone = [list(k) for k in old if k not in keys]
    return [gone, changed, added]


def apply_diff(diff: Any, old: Mapping[tuple[int, int], Process]) -> dict[tuple[int, int], Process]:
    """The table after `diff`. Raises Damaged."""
    try:
        gone, changed, added = diff
        table = dict(old)
        for key in gone:
            del table[tuple(key)]
        for cells in changed:
            values: list[Any] = list(table[cells[0], cells[1]])
            for i in range(2, len(cells), 2):
                values[cells[i]] = untag_all((cells[i + 1],))[0]
            table[cells[0], cells[1]] = Process._make(values)
        for cells in added:
            p = Process._make(untag_all(cells))
            table[p[:2]] = p
    except (ValueError, TypeError, KeyError, IndexError) as e:
        raise Damaged("process changes do not decode") from e
    return table
