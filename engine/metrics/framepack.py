"""A run of frames in a few bytes, exactly: for those kept in memory to look back at (`LookBack`).

The samples of a probe stand one below the other, written by `marshal` and squeezed by zlib: both are there in
every process, and `pickle` is not. Process tables are kept the other
way round in time, each as what must be done to the next newer one: the newest is in memory as it is, what did
not change costs nothing, and a row is written once, when another takes its place. That makes a table of
thousands cheap, and means that a block's tables come from those of the block after it.
"""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress, count, repeat
from operator import add, is_, is_not, itemgetter, sub
from typing import Any, NamedTuple

from dctop.engine.metrics.model import Frame, ProbeStatus
from dctop.probes.base import GpuProcess, KernelEvent, Process, Sample, Value

_VERSION = 2
"""Of marshal: later ones look every object up in a table first, which takes twice as long."""
_PLAIN = frozenset({int, float, str, bool, type(None)})
"""Anything else is not written: marshal refuses it or, as with numbers of numpy, makes bytes of it."""
_SEQUENCES: dict[type, bool] = {list: True, tuple: False}
_FIXED = tuple(map(Process._fields.index, ("pid", *Process._fields[3:7], *Process._fields[15:18])))
"""Of a `Process` what stays the same object through its life: pid, uid to cmdline, cgroup, container, job."""
_fixed = itemgetter(*_FIXED)
_MOVING = tuple(i for i in range(len(Process._fields)) if i not in _FIXED)
_moving = itemgetter(*_MOVING)
_in_order = itemgetter(*map((*_FIXED, *_MOVING).index, range(len(Process._fields))))
"""Of both, one behind the other, the fields as they stand in a `Process`."""
_DELETE, _INSERT, _REPLACE, _CHANGE = range(4)
"""What is done at a row: the last is a replacement that keeps the columns `_FIXED`."""
_NO_SAMPLE = Sample("", 0, 0, {})
_ZEROS: Iterable[int] = repeat(0)
_Columns = tuple[tuple[Any, ...], ...]


class Block(NamedTuple):
    frames: bytes
    tables: bytes
    keys: tuple[tuple[str, ...], ...]
    """The series of its samples: the same tuples in all blocks."""
    events: tuple[Sequence[KernelEvent], ...]
    plain: tuple[Frame, ...]
    """The frames themselves, where something in them cannot be written; then nothing else is given."""
    leads: bool
    """Its first frame has a process table: the block before it begins from that one, else from none."""


class _Group(NamedTuple):
    """Samples of one probe with the same series."""

    series: tuple[str, ...]
    which: list[int]
    rows: list[tuple[Value, ...]]


def table_of(frame: Frame) -> Sequence[Process]:
    """The process table that the block before `frame` begins from."""
    return next((s.processes for s in frame.samples.values() if s.processes is not None), ())


class Packer:
    """Packs block after block."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._shared: dict[int, Sample] = {}
        """What of the newest block is in the frame after it too, by number. As the samples themselves are
        kept, no other one can get the identity of one of them meanwhile."""
        self._next = 0

    def pack(self, frames: Sequence[Frame], after: Frame) -> tuple[Block, dict[int, Sample]]:
        """`after`: the frame that follows, with which the next block will begin. Also returns what of it
        is in this block too, by number: a sample slower than the tick is in many frames, and there it
        is the object itself."""
        distinct = {id(s): s for f in frames for s in f.samples.values()}
        samples = list(distinct.values())
        place = dict(zip(distinct, count()))
        base, self._next = self._next, self._next + len(samples)
        before = {place[id(s)]: number for number, s in self._shared.items() if id(s) in place}
        both = [(place[id(s)], s) for s in after.samples.values() if id(s) in place]
        self._shared = {before.get(at, base + at): s for at, s in both}
        try:
            numbers = (base, tuple(before.items()))
            return self._written(frames, samples, place, numbers, table_of(after)), self._shared
        except (KeyError, TypeError, ValueError):  # the last is said by marshal as well
            return Block(b"", b"", (), (), tuple(frames), True), self._shared

    def _written(
        self,
        frames: Sequence[Frame],
        samples: list[Sample],
        place: dict[int, int],
        numbers: tuple[int, tuple[tuple[int, int], ...]],
        newer: Sequence[Process],
    ) -> Block:
        events: list[Sequence[KernelEvent]] = []
        names: dict[tuple[str, ...], int] = {}
        told, last = [], (-1, _ZEROS)
        for f in frames:
            name = names.setdefault(tuple(f.samples), len(names))
            parts = tuple(map(place.__getitem__, map(id, f.samples.values())))
            # Differences: one for a new sample, none for the same, and so nearly equal in all frames.
            steps = tuple(map(sub, parts, last[1] if name == last[0] else _ZEROS))
            last = name, parts
            probes = names.setdefault(tuple(f.status), len(names))
            told.append((f.seq, f.mono_ns, f.wall_ns, name, steps, _keep(f.events, events), probes))
        _check(chain.from_iterable([t[:3] for t in told]))
        keys, groups = self._groups(samples)
        extras = [
            (i, _keep(s.events, events), _text(s.problems), _devices(s.gpu_processes))
            for i, s in enumerate(samples)
            if s.events != () or s.problems != () or s.gpu_processes is not None
        ]
        with_table = [(i, s.processes) for i, s in enumerate(samples) if s.processes is not None]
        body = (
            tuple(told),
            tuple(names),
            _statuses(frames),
            numbers,
            groups,
            tuple(extras),
            tuple([i for i, _ in with_table]),
        )
        tables = _tables([table for _, table in with_table], newer)
        first = frames[0].samples.values()
        return Block(
            _squeeze(body), _squeeze(tables), keys, tuple(events), (),
            any(s.processes is not None for s in first),
        )  # fmt: skip

    def _groups(self, samples: list[Sample]) -> tuple[tuple[tuple[str, ...], ...], tuple[Any, ...]]:
        """The samples of one probe with the same series: (probe, index of the series, indexes of the samples,
        times and values of each)."""
        keys: dict[tuple[str, ...], int] = {}
        groups: dict[tuple[str, int], _Group] = {}
        newest: dict[str, _Group] = {}
        for i, s in enumerate(samples):
            series, group = tuple(s.values), newest.get(s.probe)
            if group is None or group.series != series:
                at = keys.get(series)
                if at is None:
                    at = len(keys)
                    keys[self._keys.get(series, series)] = at
                group = groups.get((s.probe, at))
                if group is None:
                    group = groups[s.probe, at] = _Group(series, [], [])
                newest[s.probe] = group
            group.which.append(i)
            group.rows.append((s.mono_ns, s.wall_ns, *s.values.values()))
        self._keys = {k: k for k in keys}
        out = []
        for (probe, at), group in groups.items():
            _check(chain.from_iterable(group.rows))
            out.append((probe, at, tuple(group.which), tuple(group.rows)))
        return tuple(keys), tuple(out)


def unpack(block: Block, tables: list[Sequence[Process]], made: dict[int, Sample]) -> list[Frame]:
    """`tables`: from `older_tables`; `made`: samples already made for the same answer, by number."""
    if block.plain:
        return list(block.plain)
    told, names, statuses, (base, others), groups, extras, with_table = _loosen(block.frames)
    numbers = list(range(base, base + sum(len(which) for _, _, which, _ in groups)))
    for i, number in others:
        numbers[i] = number
    samples: list[Sample] = [_NO_SAMPLE] * len(numbers)
    table = dict(zip(with_table, tables, strict=True))
    extra = {i: rest for i, *rest in extras}
    for probe, at, which, rows in groups:
        series = block.keys[at]
        for i, (mono, wall, *values) in zip(which, rows, strict=True):
            sample = made.get(numbers[i])
            if sample is None:
                sample = made[numbers[i]] = Sample(
                    probe, mono, wall, dict(zip(series, values, strict=True)), table.get(i)
                )
                if i in extra:
                    event, problems, devices = extra[i]
                    sample.events = () if event < 0 else block.events[event]
                    sample.problems, sample.gpu_processes = problems, _devices_again(devices)
            samples[i] = sample
    status = map(ProbeStatus._make, zip(*statuses, strict=True))
    frames, last = [], (-1, _ZEROS)
    for seq, mono, wall, name, steps, event, probes in told:
        parts = tuple(map(add, steps, last[1] if name == last[0] else _ZEROS))
        last = name, parts
        named = dict(zip(names[name], [samples[i] for i in parts], strict=True))
        by_probe = {n: next(status) for n in names[probes]}
        frames.append(Frame(seq, mono, wall, named, () if event < 0 else block.events[event], by_probe))
    return frames


def older_tables(block: Block, rows: list[Process], want: bool) -> list[Sequence[Process]]:
    """The process tables of a block, oldest first, made from `rows`, the table after it, which becomes the
    one that the block before begins from. Unless `want`ed, only this is done."""
    if block.plain:
        rows[:] = table_of(block.plain[0])
        return []
    kinds, edits, whole, changed = _loosen(block.tables)
    rows_whole, rows_changed = map(Process._make, whole), iter(changed)
    out: list[Sequence[Process]] = []
    for is_list, todo in zip(kinds, edits, strict=True):
        for code in todo:
            at, what = code >> 2, code & 3
            if what == _CHANGE:
                rows[at] = Process._make(_in_order((*_fixed(rows[at]), *next(rows_changed))))
            elif what == _DELETE:
                del rows[at]
            elif what == _INSERT:
                rows.insert(at, next(rows_whole))
            else:
                rows[at] = next(rows_whole)
        if want:
            out.append(list(rows) if is_list else tuple(rows))
    if not block.leads:
        rows.clear()
    return out[::-1]


def _tables(tables: list[Sequence[Process]], newer: Sequence[Process]) -> tuple[Any, ...]:
    """(is a list, edits of each, whole rows, what moves of changed rows), newest table first."""
    kinds, edits = [], []
    whole: list[Process] = []
    changed: list[Process] = []
    for table in reversed(tables):
        kinds.append(_SEQUENCES[type(table)])
        todo, put, moved = _edits(newer, table)
        edits.append(tuple(todo))
        whole += put
        changed += moved
        newer = table
    if not {Process}.issuperset(map(type, chain(whole, changed))):
        raise ValueError("a process row of another type")
    rows_whole, moving = tuple(map(tuple, whole)), tuple(map(_moving, changed))
    _check(chain.from_iterable(chain(rows_whole, moving)))
    return tuple(kinds), tuple(edits), rows_whole, moving


def _edits(new: Sequence[Process], old: Sequence[Process]) -> tuple[list[int], list[Process], list[Process]]:
    """What makes `old` of `new`, last row first, so that the places before it are still those of `new`;
    the rows to put there; and those that have only moved.

    By pid both are in order, as a rule; where they are not, this does more than it had to."""
    todo: list[int] = []
    rows: list[Process] = []
    moved: list[Process] = []
    i, j, n, m = 0, 0, len(new), len(old)
    while i < n and j < m:
        for same in _other(new, i, old, j):
            was, now = old[j + same], new[i + same]
            if now.pid != was.pid:
                i, j = i + same, j + same
                break
            if all(map(is_, _fixed(was), _fixed(now))):  # equal is not enough: 1, 1.0, True
                todo.append(i + same << 2 | _CHANGE)
                moved.append(was)
            else:
                todo.append(i + same << 2 | _REPLACE)
                rows.append(was)
        else:
            both = min(n - i, m - j)
            i, j = i + both, j + both
            break
        if now.pid < was.pid:
            todo.append(i << 2 | _DELETE)
            i += 1
        else:
            todo.append(i << 2 | _INSERT)
            rows.append(was)
            j += 1
    todo += [k << 2 | _DELETE for k in range(i, n)]
    todo += [n << 2 | _INSERT for _ in range(j, m)]
    rows += old[j:]
    return todo[::-1], rows[::-1], moved[::-1]


def _other(new: Sequence[Process], i: int, old: Sequence[Process], j: int) -> Iterator[int]:
    """How far from there are rows that are not the same objects in both."""
    a, b = iter(new), iter(old)
    a.__setstate__(i)  # type: ignore[attr-defined]
    b.__setstate__(j)  # type: ignore[attr-defined]
    return compress(count(), map(is_not, a, b))


def _statuses(frames: Sequence[Frame]) -> _Columns:
    columns = tuple(zip(*chain.from_iterable([f.status.values() for f in frames]), strict=True))
    for field, column in zip(ProbeStatus._fields, columns):
        if field != "problems":
            _check(column)
        elif {tuple}.issuperset(map(type, column)):
            _check(chain.from_iterable(column))
        else:
            raise ValueError("problems are a tuple")
    return columns


def _text(problems: tuple[str, ...]) -> tuple[str, ...]:
    if type(problems) is not tuple:
        raise ValueError("problems are a tuple")
    _check(problems)
    return problems


def _devices(rows: Sequence[GpuProcess] | None) -> tuple[Any, ...] | None:
    if rows is None:
        return None
    kind = _SEQUENCES[type(rows)]
    if not {GpuProcess}.issuperset(map(type, rows)):
        raise ValueError("GPU processes of another type")
    columns = tuple(zip(*rows, strict=True))
    _check(chain.from_iterable(columns))
    return kind, columns


def _devices_again(packed: tuple[bool, _Columns] | None) -> Sequence[GpuProcess] | None:
    if packed is None:
        return None
    rows = map(GpuProcess._make, zip(*packed[1], strict=True))
    return list(rows) if packed[0] else tuple(rows)


def _keep(events: Sequence[KernelEvent], kept: list[Sequence[KernelEvent]]) -> int:
    """Their place among those kept as they are, -1 for none: they are rare."""
    if events == ():
        return -1
    kept.append(events)
    return len(kept) - 1


def _check(values: Iterable[object]) -> None:
    if not _PLAIN.issuperset(map(type, values)):
        raise ValueError("a value that cannot be written")


def _squeeze(body: tuple[Any, ...]) -> bytes:
    return zlib.compress(marshal.dumps(body, _VERSION), 1)


def _loosen(packed: bytes) -> tuple[Any, ...]:
    body: tuple[Any, ...] = marshal.loads(zlib.decompress(packed))
    return body
