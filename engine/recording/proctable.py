"""Which processes are recorded, and their tables as columns.

A chunk holds some sixty tables of some forty processes, most of them unchanged from one to the next. So a
process's row is stored only where it changed; between, its state is one byte a table: absent, as before,
new. Restored tables hand out the same `Process` object while nothing changed, as the probe does.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, compress
from operator import attrgetter, is_not, itemgetter
from typing import Any

from dctop.engine.recording.codec import Cell, decode_table, encode_table, tag, tag_all, untag_all
from dctop.engine.recording.masking import mask_cmdline
from dctop.engine.recording.schema import Damaged
from dctop.probes.base import Process

Table = tuple[Process, ...]
FIELDS = Process._fields
_WIDTH = len(FIELDS)
_INDEXES = range(_WIDTH)
_GONE, _SAME, _NEW = 0, 1, 2
TOP = 40
KEPT = 60
"""With those that were among the top a moment ago."""
MAX_ROWS = 200
"""With training workers and GPU processes."""
_KEEP_TABLES = 10
"""A process stays recorded for so many tables after it last was among the top: its rate needs the row
before, and steady rows pack well."""
_RESCAN_TABLES = 30
"""All processes are ranked by memory this often; between, only those that changed."""

_json = json.JSONEncoder(separators=(",", ":")).encode
_rss = attrgetter("rss_bytes")
_pid = itemgetter(0)


@dataclass(slots=True)
class _Seen:
    """Of the rows that changed in a table."""

    used: list[tuple[int, int]] = field(default_factory=list)
    """(ticks used since the table before, pid), where any were."""
    grown: bool = False
    """One is among the biggest that was not."""
    on_gpu: bool = False


class ProcessPicker:
    """Chooses and masks the recorded part of each process table: the top 40 (half by CPU time since the
    table before, the rest by resident memory), all of training runs (three generations) and all on a GPU.

    It runs once a second, when no cache remembers it: whole tables are gone through by the standard
    library's C loops, and what is remembered of a process is found by its pid alone."""

    def __init__(self) -> None:
        self._table: Sequence[Process] = ()
        self._by_pid: dict[int, Process] = {}
        self._big: list[int] = []
        """pids of the biggest, biggest first; `_least`: the memory of the last of them."""
        self._least = 0
        self._last: dict[int, int] = {}
        """pid -> table in which it was last wanted."""
        self._rows: dict[int, Process] = {}
        """The same pids -> the row as recorded, in order of pid unless `_disorder`."""
        self._disorder = False
        self._gpu: set[int] = set()
        self._lines: dict[str, str] = {}
        self._tables = 0

    def pick(self, table: Sequence[Process], run_pids: frozenset[int] = frozenset()) -> Table:
        """Sorted by pid. Rows that did not change are the same objects as in the table before."""
        old, now = self._table, self._tables + 1
        self._table, self._tables = list(table), now
        # After one that came or went all others stand at another place: `_notice` sees that.
        changed = compress(table, map(is_not, table, old)) if len(table) == len(old) else table
        seen = self._notice(changed)
        if len(self._by_pid) != len(table):
            self._forget_gone()
        rows, last = self._rows, self._last
        wanted = self._wanted(seen)
        if run_pids or seen.on_gpu:
            wanted += self._mandatory(run_pids)
        wanted += self._gpu
        last.update(dict.fromkeys(wanted, now))
        for pid in last.keys() - rows.keys():
            rows[pid] = self._mask(self._by_pid[pid])
            self._disorder = True
        self._drop_old(now)
        if self._disorder:
            self._rows, self._disorder = dict(sorted(rows.items())), False
        return tuple(self._rows.values())

    def _notice(self, changed: Iterable[Process]) -> _Seen:
        """Take in rows that may have changed, each looked at once."""
        seen, known, rows = _Seen(), self._by_pid, self._rows
        least, big = self._least, self._big
        for p in changed:
            pid, ticks = p.pid, p.cpu_ticks
            q = known.get(pid)
            if q is p:
                continue
            known[pid] = p
            if q is not None and q.start_ticks == p.start_ticks:
                ticks -= q.cpu_ticks
                row = rows.get(pid)
                if row is not None:  # where nothing was masked, nothing is
                    rows[pid] = p if row.cmdline is p.cmdline else self._mask(p)
            elif pid in rows:
                self._drop(pid)
            if ticks > 0:
                seen.used.append((ticks, pid))
            if p.gpu_mem_bytes is not None:
                seen.on_gpu = True
            if p.rss_bytes and p.rss_bytes > least and pid not in big:
                seen.grown = True
        return seen

    def _forget_gone(self) -> None:
        alive = self._by_pid = dict(zip(map(_pid, self._table), self._table))
        for pid in self._rows.keys() - alive.keys():
            self._drop(pid)
        self._big = [pid for pid in self._big if pid in alive]

    def _drop_old(self, now: int) -> None:
        """What was not wanted for long; and if there are too many, what was wanted last the longest ago."""
        last = self._last
        if last and now - min(last.values()) > _KEEP_TABLES:
            for pid in [pid for pid, t in last.items() if now - t > _KEEP_TABLES]:
                self._drop(pid)
        if len(last) > KEPT:
            limit = max(KEPT, min(sum(t == now for t in last.values()), MAX_ROWS))
            for pid in sorted(last, key=last.__getitem__)[: len(last) - limit]:
                self._drop(pid)

    def _drop(self, pid: int) -> None:
        del self._rows[pid]
        del self._last[pid]
        self._gpu.discard(pid)

    def _wanted(self, seen: _Seen) -> list[int]:
        """The busiest, then the biggest."""
        if seen.grown or self._tables % _RESCAN_TABLES == 1:
            ranked = heapq.nlargest(TOP, [p for p in self._table if p.rss_bytes], key=_rss)
            self._big = list(map(_pid, ranked))
            self._least = (ranked[-1].rss_bytes or 0) if len(ranked) == TOP else 0
        used, half = seen.used, TOP // 2
        busiest = used if len(used) <= half else heapq.nlargest(half, used)
        return list(dict.fromkeys(chain([pid for _, pid in busiest], self._big)))[:TOP]

    def _mandatory(self, run_pids: frozenset[int]) -> list[int]:
        """Processes on a GPU; those of runs, their children (torchrun's ranks) and theirs (data workers)."""
        table, family = self._table, set(run_pids)
        self._gpu |= {p.pid for p in table if p.gpu_mem_bytes is not None}
        for _ in range(2 if family else 0):
            family.update([p.pid for p in table if p.ppid in family])
        return [p.pid for p in table if p.pid in family] if family else []

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


def diff_table(new: Table, old: Table) -> str:
    """JSON: [gone keys, changed rows as [pid, start, index, value, index, value ...], rows new in full]."""
    if len(new) == len(old):
        pairs = list(compress(zip(new, old), map(is_not, new, old)))
        if all(p[0] == q[0] and p[1] == q[1] for p, q in pairs):
            return f"[[],{_changes(pairs)},[]]"
    before = {q[:2]: q for q in old}
    pairs = [(p, q) for p in new if (q := before.pop(p[:2], None)) is not None and p is not q]
    known = {q[:2] for q in old}
    added = [tag_all(p) for p in new if p[:2] not in known]
    return f"[{_json(list(before))},{_changes(pairs)},{_json(added)}]"


def _changes(pairs: Sequence[tuple[Process, Process]]) -> str:
    """Written here and not by the JSON encoder: a second after it was last used, that costs as much as
    finding the changes."""
    rows: list[str] = []
    for p, q in pairs:
        row = ""
        for i in compress(_INDEXES, map(is_not, p, q)):
            v, w = p[i], q[i]
            if v.__class__ is int and w.__class__ is int:
                if v != w:
                    row = f"{row},{i},{v}"
            elif v.__class__ is float or v.__class__ is not w.__class__ or v != w:
                row = f"{row},{i},{_cell_text(v)}"
        if row:
            rows.append(f"[{p[0]},{p[1]}{row}]")
    return f"[{','.join(rows)}]"


@lru_cache(256)
def _text(value: str) -> str:
    return _json(value)


def _cell_text(value: Cell) -> str:
    return _text(value) if isinstance(value, str) else _json(tag(value))


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
