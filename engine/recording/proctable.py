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

from dctop.engine.recording.codec import Cell, decode_table, encode_table, tag, tag_all, untag_all
from dctop.engine.recording.masking import mask_cmdline
from dctop.engine.recording.schema import Damaged
from dctop.probes.base import Process

Table = tuple[Process, ...]
FIELDS = Process._fields
_WIDTH = len(FIELDS)
_GONE, _SAME, _NEW = 0, 1, 2
TOP = 40
KEPT = 60
"""With those that were among the top a moment ago."""
MAX_ROWS = 200
"""With training workers and GPU processes."""
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
        self._table: Sequence[Process] = ()
        self._by_pid: dict[int, Process] = {}
        self._big: dict[int, int] = {}
        """pid -> start of the biggest, biggest first; `_least`: the memory of the last of them."""
        self._least = 0
        self._last: dict[tuple[int, int], int] = {}
        """(pid, start) -> table in which it was last wanted."""
        self._rows: dict[tuple[int, int], Process] = {}
        """The same keys -> the row as recorded."""
        self._order: list[tuple[int, int]] = []
        """The same keys, sorted; empty: to be sorted."""
        self._gpu: set[tuple[int, int]] = set()
        self._lines: dict[str, str] = {}
        self._tables = 0

    def pick(self, table: Sequence[Process], run_pids: frozenset[int] = frozenset()) -> Table:
        """Sorted by pid. Rows that did not change are the same objects as in the table before."""
        before, now = self._by_pid, self._tables + 1
        self._tables = now
        if len(table) == len(self._table):
            changed = [p for p, q in zip(table, self._table) if p is not q]
            changed = [p for p in changed if before.get(p.pid) is not p]
        else:
            changed = [p for p in table if before.get(p.pid) is not p]
        used = _used(changed, before)
        self._table = list(table)
        # A pid that came, went, or is another process now.
        moved = len(before) != len(table) or not all(
            (q := before.get(p.pid)) is not None and q.start_ticks == p.start_ticks for p in changed
        )
        if moved:
            self._by_pid = {p.pid: p for p in table}
        else:
            before.update([(p.pid, p) for p in changed])
        rows, last = self._rows, self._last
        if moved:
            self._forget_gone()
        for p in changed:
            key = p[:2]
            if key in rows:
                rows[key] = self._mask(p)
        wanted = self._wanted(changed, used)
        if run_pids or any(p.gpu_mem_bytes is not None for p in changed):
            wanted += _mandatory(table, run_pids)
        for p in wanted:
            key = p[:2]
            last[key] = now
            if key not in rows:
                rows[key] = self._mask(p)
                self._order = []
            if p.gpu_mem_bytes is not None:
                self._gpu.add(key)
        for key in self._gpu:
            last[key] = now
        self._drop_old(now)
        if not self._order:
            self._order = sorted(rows)
        return tuple([rows[key] for key in self._order])

    def _forget_gone(self) -> None:
        alive = self._by_pid
        for key in list(self._rows):
            p = alive.get(key[0])
            if p is None or p.start_ticks != key[1]:
                self._drop(key)

    def _drop_old(self, now: int) -> None:
        """What was not wanted for long; and if there are too many, what was wanted last the longest ago."""
        last = self._last
        for key in [key for key, t in last.items() if now - t > _KEEP_TABLES]:
            self._drop(key)
        if len(last) > KEPT:
            limit = max(KEPT, min(sum(t == now for t in last.values()), MAX_ROWS))
            for key in sorted(last, key=last.__getitem__)[: len(last) - limit]:
                self._drop(key)

    def _drop(self, key: tuple[int, int]) -> None:
        del self._rows[key]
        del self._last[key]
        self._gpu.discard(key)
        self._order = []

    def _wanted(self, changed: Sequence[Process], used: list[tuple[int, int, Process]]) -> list[Process]:
        """The busiest of `used`, then the biggest."""
        alive, least = self._by_pid, self._least
        if self._tables % _RESCAN_TABLES == 1 or any(
            p.rss_bytes and p.rss_bytes > least and self._big.get(p.pid) != p.start_ticks for p in changed
        ):
            ranked = heapq.nlargest(TOP, [p for p in self._table if p.rss_bytes], key=_rss)
            self._big = {p.pid: p.start_ticks for p in ranked}
            self._least = (ranked[-1].rss_bytes or 0) if len(ranked) == TOP else 0
        chosen = {p.pid: p for _, _, p in heapq.nlargest(TOP // 2, used)}
        for pid, start in self._big.items():
            if len(chosen) >= TOP:
                break
            big = alive.get(pid)
            if big is not None and big.start_ticks == start:
                chosen[pid] = big
        return list(chosen.values())

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


def _used(changed: Sequence[Process], before: Mapping[int, Process]) -> list[tuple[int, int, Process]]:
    """(ticks used since the table before, pid, process), where any were."""
    used: list[tuple[int, int, Process]] = []
    for p in changed:
        q = before.get(p.pid)
        old = q.cpu_ticks if q is not None and q.start_ticks == p.start_ticks else 0
        if p.cpu_ticks > old:
            used.append((p.cpu_ticks - old, p.pid, p))
    return used


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


class _Entity:
    """One process over the tables of a chunk: its state in each, and its rows where they changed."""

    __slots__ = ("rows", "since", "state")

    def __init__(self, n: int) -> None:
        self.state = bytearray(n)
        self.rows: list[Process] = []
        self.since = 0

    def take(self, t: int, p: Process) -> None:
        rows = self.rows
        if not rows or (rows[-1] is not p and not (p == rows[-1] and _same_types(p, rows[-1]))):
            self.state[t] = _NEW
            rows.append(p)

    def there_until(self, t: int) -> None:
        """It stood in the tables from `since` up to `t`: as before, where nothing new was noted."""
        part = self.state[self.since : t]
        self.state[self.since : t] = part.translate(_STAYED)


_STAYED = bytes((_SAME, _SAME, _NEW, *range(3, 256)))


def encode_tables(tables: Sequence[Table]) -> bytes:
    """Consecutive tables to bytes, not yet compressed. Most rows of a table are those of the one before:
    only the others cost anything here."""
    n = len(tables)
    found: dict[tuple[int, int], _Entity] = {}
    before: Table = ()
    now: list[_Entity] = []
    for t, table in enumerate(tables):
        fresh = [i for i, (p, q) in enumerate(zip(table, before)) if p is not q]
        if len(table) == len(before) and all(table[i][:2] == before[i][:2] for i in fresh):
            for i in fresh:
                now[i].take(t, table[i])
        else:
            for entity in now:
                entity.there_until(t)
            now = []
            for p in table:
                known = found.get(p[:2])
                if known is None:
                    known = found[p[:2]] = _Entity(n)
                known.since = t
                known.take(t, p)
                now.append(known)
        before = table
    for entity in now:
        entity.there_until(n)
    states, changed = [], []
    for key in sorted(found):
        states.append(bytes(found[key].state))
        changed += found[key].rows
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


def diff_table(new: Table, old: Table) -> list[list[object]]:
    """JSON: [gone keys, changed rows as [pid, start, index, value, index, value ...], rows new in full]."""
    pairs = [(p, q) for p, q in zip(new, old) if p is not q]
    if len(new) == len(old) and all(p[0] == q[0] and p[1] == q[1] for p, q in pairs):
        return [[], _changes(pairs), []]
    before = {q[:2]: q for q in old}
    pairs = [(p, q) for p in new if (q := before.pop(p[:2], None)) is not None]
    known = {q[:2] for _, q in pairs}
    return [[list(key) for key in before], _changes(pairs), [tag_all(p) for p in new if p[:2] not in known]]


def _changes(pairs: Sequence[tuple[Process, Process]]) -> list[object]:
    changed: list[object] = []
    for p, q in pairs:
        if p is q:
            continue
        cells: list[object] = [p[0], p[1]]
        for i, v in enumerate(p):
            w = q[i]
            if v is not w and (v != w or v.__class__ is not w.__class__ or v == 0):
                cells.append(i)
                cells.append(tag(v) if v.__class__ is float else v)
        if len(cells) > 2:
            changed.append(cells)
    return changed


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
