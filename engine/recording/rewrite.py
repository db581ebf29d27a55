"""A recording written anew into another file: a part of it (`cut`), without names (`redact`), or what can
still be read of a damaged one (`repair`).

Frames are decoded and encoded again, so nothing of what was left out stays in a free page, and every
checksum of the new file is fresh. The original is only read.
"""

from __future__ import annotations

import sqlite3
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.model import Frame
from dctop.engine.recording import begun, runlines
from dctop.engine.recording.codec import Cell
from dctop.engine.recording.flatten import Flattener
from dctop.engine.recording.opening import scan
from dctop.engine.recording.plain import load
from dctop.engine.recording.reader import Recording
from dctop.engine.recording.runtake import Changes
from dctop.engine.recording.schema import (
    BEGUN,
    CHUNK_FRAMES,
    STEP_CHUNK,
    Damaged,
    SqlValue,
    checked,
    row_crc,
    seal,
    unseal,
)
from dctop.engine.recording.steps import StepColumns, decode_steps, encode_steps, thin, wall_range
from dctop.engine.recording.store import Item, Store
from dctop.engine.training.runstate import STEP_FIELDS
from dctop.engine.version import version

FOREVER = 1 << 62
_OWN_META = frozenset(
    ("uuid", "format", "durability", "journal", "sqlite", "closed_at", "close_reason", "start_wall_ns",
     "start_mono_ns")
)  # fmt: skip
"""Facts of a file, not of the session in it."""
_WARM_UP = 30
"""Frames before the first one, so that its rates are known in the rollups."""


class Changer(Protocol):
    """What may be changed on the way (`redaction.Redactor`)."""

    def frame(self, frame: Frame) -> Frame: ...

    def meta(self, k: str, v: str) -> str: ...

    def text(self, text: str) -> str: ...

    def body(self, table: str, body: str) -> str:
        """A JSON body of `alert_log`, `run_state`, `run_item`, `event`."""
        ...

    def series(self, key: str) -> str: ...


@dataclass(slots=True)
class Rewritten:
    """What went into the new file."""

    path: Path
    frames: int = 0
    events: int = 0
    steps: int = 0
    t0_ns: int = 0
    t1_ns: int = 0
    left_out: list[str] = field(default_factory=list)
    """What could not be read."""


def rewrite(
    recording: Recording,
    target: Path,
    *,
    what: str,
    t0_ns: int | None = None,
    t1_ns: int | None = None,
    changer: Changer | None = None,
) -> Rewritten:
    """Write `recording` (from `t0_ns` to `t1_ns` where given) to `target`, which must not exist.

    `what`: word for the new file's `derived` fact (cut | redacted | repaired). Raises RecordingError, OSError
    or sqlite3.Error; then there is no `target`.
    """
    part = _Part.of(recording, t0_ns, t1_ns)
    meta = {k: v for k, v in recording.meta.items() if k not in _OWN_META}
    if changer is not None:
        meta = {k: changer.meta(k, v) for k, v in meta.items()}
    meta["derived"] = f"{what} from {_identity(recording, changer)} by dctop {version()}"
    if (reason := recording.meta.get("close_reason")) is not None:
        meta["source_close_reason"] = reason
    first, _ = recording.time_range or (0, 0)
    meta["start_wall_ns"] = str(max(first, part.t0) if t0_ns is not None else first)
    store = Store(target, interval_s=recording.interval_s, meta=meta, durability="relaxed")
    out = Rewritten(target)
    try:
        _frames(recording, store, part, changer, out)
        _beside(recording, store, part, changer, out)
        store.close(what)
    except BaseException:
        store.release()
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{target}{suffix}").unlink(missing_ok=True)
        raise
    if part.whole:
        recording.check()  # the frames of a part were looked at just now, others do not matter
    out.left_out = list(recording.info.problems)
    return out


def _identity(recording: Recording, changer: Changer | None) -> str:
    return "a recording" if changer is not None else recording.meta.get("uuid", "a recording")


@dataclass(frozen=True, slots=True)
class _Part:
    """Frames and times that go into the new file."""

    seq0: int
    seq1: int
    t0: int
    t1: int
    whole: bool

    @staticmethod
    def of(recording: Recording, t0_ns: int | None, t1_ns: int | None) -> _Part:
        if t0_ns is None and t1_ns is None:
            return _Part(0, FOREVER, -FOREVER, FOREVER, True)
        t0 = -FOREVER if t0_ns is None else t0_ns
        t1 = FOREVER if t1_ns is None else t1_ns
        seq0, seq1 = recording.seqs_between(t0, t1)
        return _Part(seq0, seq1, t0, t1, False)


# -- frames -------------------------------------------------------------------------------------------------


def _frames(recording: Recording, store: Store, part: _Part, changer: Changer | None, out: Rewritten) -> None:
    flattener, builder = Flattener(), SnapshotBuilder(recording.tick_hz)
    items: list[Item] = []
    for frame in recording.frames(max(0, part.seq0 - _WARM_UP), part.seq1):
        changed = frame if changer is None else changer.frame(frame)
        values = builder.push(changed).values
        if frame.seq < part.seq0:
            continue
        sample = changed.samples.get("process")
        table = None if sample is None or sample.processes is None else tuple(sample.processes)
        if sample is not None and table is not None:
            sample.processes = table  # the same tuple each time: it is told by identity whether it is new
        hot: dict[str, Cell] = {k: v for k, v in recording.control(frame.seq).items() if "|" in k}
        flat = flattener.flatten(changed, table, hot)
        items.append(Item(changed.wall_ns, changed.seq, flat, values, Changes()))
        out.t0_ns = out.t0_ns or frame.wall_ns
        out.t1_ns = frame.wall_ns
        if len(items) >= CHUNK_FRAMES:
            store.write(items)
            out.frames += len(items)
            items = []
    if items:
        store.write(items)
        out.frames += len(items)


# -- what is beside them ------------------------------------------------------------------------------------


def _beside(recording: Recording, store: Store, part: _Part, changer: Changer | None, out: Rewritten) -> None:
    source, target = recording.database, store.db
    target.execute("BEGIN IMMEDIATE")
    try:
        out.events = _events(recording, target, part, changer)
        listed = _listings(source, target, part, changer)
        _logs(source, target, part, changer, listed)
        _outputs(source, target, part, changer, listed["runs"])
        t0, t1 = (None, None) if part.whole else (part.t0, part.t1)
        for block in _joined(k for b in step_blocks(source, t0, t1) if (k := _kept(b, part)) is not None):
            _write_steps(target, block)
            out.steps += len(block.columns["step"])
        target.execute("COMMIT")
    except BaseException:
        if target.in_transaction:
            target.execute("ROLLBACK")
        raise


def _insert(db: sqlite3.Connection, table: str, row: tuple[SqlValue, ...]) -> None:
    places = ",".join("?" * (len(row) + 1))
    db.execute(f"INSERT INTO {table} VALUES({places})", (*row, row_crc(*row)))


def _events(recording: Recording, target: sqlite3.Connection, part: _Part, changer: Changer | None) -> int:
    rows: list[tuple[SqlValue, ...]] = []
    for e in recording.events():
        open_end = e.kind == "alert" and e.t1 is None
        if e.t0 > part.t1 or (not open_end and (e.t0 if e.t1 is None else e.t1) < part.t0):
            continue
        t1 = None if e.kind == "alert" and e.t1 is not None and e.t1 > part.t1 else e.t1
        text = (lambda s: s) if changer is None else changer.text
        body = e.body if e.body is None or changer is None else changer.body("event", e.body)
        entity = None if e.entity is None else text(e.entity)
        series = e.series if e.series is None or changer is None else changer.series(e.series)
        rows.append((e.t0, t1, e.seq, e.kind, e.sev, e.rule, entity, series, text(e.title), body))
    for gap in recording.gaps:
        if gap.reason.startswith("damaged") and gap.t1 >= part.t0 and gap.t0 <= part.t1:
            seq = recording.seq_at(gap.t0) or 0
            rows.append((gap.t0, gap.t1, seq, "gap", None, None, None, None, gap.reason, None))
    rows.sort(key=lambda row: (row[0], row[2]))
    for n, row in enumerate(rows, 1):
        _insert(target, "event", (n, *row))
    return len(rows)


Row = tuple[SqlValue, ...]


def _rows(db: sqlite3.Connection, table: str, columns: str) -> Iterator[Row]:
    """Good rows of a log table in order."""
    rows, _ = scan(db, table, f"n,{columns},crc", "n")
    for row in rows:
        try:
            yield checked(row)
        except Damaged:
            continue


def _in_force(rows: list[Row], key_at: int, seq_at: int, part: _Part) -> list[Row]:
    """The rows within the part, and before them the latest of each key."""
    before: dict[SqlValue, Row] = {}
    within = []
    for row in rows:
        seq = row[seq_at]
        if not isinstance(seq, int) or seq > part.seq1:
            continue
        if seq < part.seq0:
            before[row[key_at]] = row
        else:
            within.append(row)
    return sorted(before.values(), key=lambda r: r[0]) + within  # type: ignore[arg-type, return-value]


def _names(changer: Changer) -> Callable[[str], str]:
    return lambda text: changer.series(text) if "{" in text else changer.text(text)


def _listings(
    source: sqlite3.Connection, target: sqlite3.Connection, part: _Part, changer: Changer | None
) -> dict[str, set[object]]:
    """Which alerts and runs are shown in the part."""
    listed: dict[str, set[object]] = {"alerts": set(), "runs": set()}
    found = list(_rows(source, "listing", "seq,wall_ns,kind,body"))
    rows = _in_force([row for row in found if row[3] != BEGUN], 3, 1, part)
    # What the rules knew at the beginning holds for a part only if that is in it.
    rows += [row for row in found if row[3] == BEGUN and part.seq0 <= int(row[1] or 0) <= part.seq1]
    for n, row in enumerate(rows, 1):
        if row[3] == BEGUN:
            if changer is not None:
                row = (*row[:4], begun.changed(row[4], _names(changer)))
            _insert(target, "listing", (n, *row[1:]))
            continue
        try:
            listed.setdefault(str(row[3]), set()).update(load(row[4]))
        except (Damaged, TypeError):
            continue
        _insert(target, "listing", (n, *row[1:]))
    return listed


def _logs(
    source: sqlite3.Connection,
    target: sqlite3.Connection,
    part: _Part,
    changer: Changer | None,
    listed: dict[str, set[object]],
) -> None:
    asked = (
        ("alert_log", "alert,seq,wall_ns,body", "alerts", 4),
        ("run_state", "run,seq,wall_ns,body", "runs", 4),
        ("run_item", "run,seq,wall_ns,kind,body", "runs", 5),
    )
    for table, columns, kind, body_at in asked:
        rows = list(_rows(source, table, columns))
        if table == "run_item":  # all that happened to the run up to then
            kept = [row for row in rows if isinstance(row[2], int) and row[2] <= part.seq1]
        else:
            kept = _in_force(rows, 1, 2, part)
        kept = [row for row in kept if part.whole or row[1] in listed[kind]]
        for n, row in enumerate(kept, 1):
            body = row[body_at]
            if changer is not None and isinstance(body, str):
                body = changer.body(table, body)
            _insert(target, table, (n, *row[1:body_at], body))


def _outputs(
    source: sqlite3.Connection,
    target: sqlite3.Connection,
    part: _Part,
    changer: Changer | None,
    runs: set[object],
) -> None:
    """What runs printed: all within the part, and what was last before it."""
    lines = runlines.RunLines(source)
    lines.refresh()
    for run, seqs in lines.every():
        if not part.whole and run not in runs:
            continue
        first = bisect_right(seqs, part.seq0)
        for seq in seqs[max(0, first - 1) : bisect_right(seqs, part.seq1)]:
            told = lines.at(run, seq)
            if changer is not None:
                told = tuple(map(changer.text, told))
            if told:
                runlines.write(target, run, seq, lines.wall_ns(run, seq), told)


# -- steps --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepBlock:
    """Steps of a run as they lie in the file: `row0` is the number of the first, `seq0` and `seq1` the frames
    they came with."""

    run: str
    row0: int
    seq0: int
    seq1: int
    columns: StepColumns


def step_blocks(
    db: sqlite3.Connection, t0_ns: int | None = None, t1_ns: int | None = None, run_id: str | None = None
) -> Iterator[StepBlock]:
    """Steps of all runs (or one), each run's in order, without damaged blocks and those wholly outside of
    a range of wall time."""

    def wanted(run: object, t0: object, t1: object) -> bool:
        if run_id is not None and run != run_id:
            return False
        if not (isinstance(t0, int) and isinstance(t1, int)) or t0 <= 0:
            return True  # not known: look
        return (t0_ns is None or t1 >= t0_ns) and (t1_ns is None or t0 <= t1_ns)

    chunks, _ = scan(db, "step_chunk", "run,row0,n,seq0,seq1,t0,t1", "run,row0")
    ends: dict[SqlValue, int] = {}
    for run, *keys in chunks:
        if isinstance(keys[0], int) and isinstance(keys[1], int):
            ends[run] = keys[0] + keys[1]
        if not wanted(run, keys[4], keys[5]):
            continue
        try:
            found = db.execute(
                "SELECT data FROM step_chunk WHERE run=? AND row0=?", (run, keys[0])
            ).fetchone()
            columns = decode_steps(unseal(None if found is None else found[0], keys))
        except (Damaged, sqlite3.DatabaseError):
            continue
        row0, n, seq0, seq1 = keys[:4]
        if isinstance(row0, int) and isinstance(n, int) and isinstance(seq0, int) and isinstance(seq1, int):
            yield StepBlock(str(run), row0, seq0, seq1, columns)
    tail, _ = scan(db, "step_tail", "run,row0,n,seq,t0,t1,data", "run,row0")
    for run, *tail_keys, data in tail:
        if not wanted(run, tail_keys[3], tail_keys[4]):
            continue
        try:
            columns = decode_steps(unseal(data, tail_keys))
        except Damaged:
            continue
        row0, _, seq = tail_keys[:3]
        if isinstance(row0, int) and isinstance(seq, int) and row0 >= ends.get(run, 0):
            yield StepBlock(str(run), row0, seq, seq, columns)


def _kept(block: StepBlock, part: _Part) -> StepBlock | None:
    if part.whole:
        return block
    if block.seq0 > part.seq1:
        return None
    walls = block.columns["wall_ns"]
    a = bisect_left(walls, part.t0)
    z = bisect_right(walls, part.t1)
    if a >= z:
        return None
    columns = {name: column[a:z] for name, column in block.columns.items()}
    return replace(block, row0=block.row0 + a, seq1=min(block.seq1, part.seq1), columns=columns)


def _joined(blocks: Iterable[StepBlock]) -> Iterator[StepBlock]:
    """The single batches of the newest steps as one block."""
    open_block: StepBlock | None = None
    for b in blocks:
        o = open_block
        if o is not None and o.run == b.run and o.row0 + len(o.columns["step"]) == b.row0 and _small(o, b):
            columns = {name: column + b.columns[name] for name, column in o.columns.items()}
            open_block = replace(o, seq1=b.seq1, columns=columns)
            continue
        if o is not None:
            yield o
        open_block = b
    if open_block is not None:
        yield open_block


def _small(a: StepBlock, b: StepBlock) -> bool:
    return len(a.columns["step"]) + len(b.columns["step"]) <= STEP_CHUNK


def _write_steps(target: sqlite3.Connection, block: StepBlock) -> None:
    columns: list[array[float]] = [block.columns[name] for name in STEP_FIELDS]
    keys = (block.row0, len(columns[0]), block.seq0, block.seq1, *wall_range(columns))
    data, far = seal(encode_steps(columns), keys), seal(encode_steps(thin(columns)), keys)
    target.execute("INSERT INTO step_chunk VALUES(?,?,?,?,?,?,?,?,?)", (block.run, *keys, data, far))
