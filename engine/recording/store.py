"""The writer of a recording: one connection, one transaction a batch, everything or nothing of it.

Not thread-safe: it belongs to the recorder's thread. Each `write` is acknowledged by returning; what was
acknowledged survives kill -9, and with `durability="full"` a power cut. All checkpoints run on this
connection too (SQLite up to 3.51.2 can corrupt a WAL when a second connection checkpoints during a write).
"""

from __future__ import annotations

import os
import sqlite3
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from dctop.engine.metrics.derived import CATALOGUE
from dctop.engine.recording import registry, runlines, schema
from dctop.engine.recording.codec import encode_table
from dctop.engine.recording.flatten import CONTROL, DERIVED, Cells, FlatFrame, clean, mark_new
from dctop.engine.recording.masking import mask_text, mask_tree
from dctop.engine.recording.openchunk import Kept, SetKey, streams
from dctop.engine.recording.plain import alert_text, dump
from dctop.engine.recording.proctable import encode_tables
from dctop.engine.recording.retention import shrink
from dctop.engine.recording.rollup import NumberTaker, rollups
from dctop.engine.recording.runtake import Changes, StepBatch
from dctop.engine.recording.schema import (
    BEGUN,
    CHUNK_FRAMES,
    STEP_CHUNK,
    RecordingError,
    SqlValue,
    row_crc,
    seal,
)
from dctop.engine.recording.steps import encode_steps, join, thin, wall_range
from dctop.engine.recording.tailrow import TailCoder
from dctop.engine.version import version
from dctop.probes.base import KernelEvent, Value

CLOCK_STEP_NS = 500_000_000
_PACK_BYTES = 3800


@dataclass(slots=True)
class Mark:
    """An event that is neither alert, run nor kernel record: marker, note, gap, clock, config."""

    kind: str
    t0: int
    t1: int | None
    title: str
    body: str | None = None
    seq: int | None = None


@dataclass(slots=True)
class Item:
    """One tick on its way to the file. Without `flat` the frame was lost; the rest is still written."""

    wall_ns: int
    seq: int
    flat: FlatFrame | None
    values: Mapping[str, Value] | None
    """Derived values (Snapshot.values) for the rollups."""
    changes: Changes
    kernel: Sequence[KernelEvent] = ()
    marks: list[Mark] = field(default_factory=list)


@dataclass(slots=True)
class _State:
    """All that a failed transaction must take back."""

    frames: list[Kept] = field(default_factory=list)
    """Of the open chunk."""
    readings: dict[str, Cells] = field(default_factory=dict)
    """Latest written reading a stream."""
    # What follows only grows and is large: shared by copies, and `Store._undo` takes back what was added.
    series: dict[tuple[str, str], int] = field(default_factory=dict)
    metrics: set[str] = field(default_factory=set)
    sets: dict[SetKey, int] = field(default_factory=dict)
    steps: dict[str, list[tuple[int, StepBatch]]] = field(default_factory=dict)
    alerts: dict[int, int] = field(default_factory=dict)
    last_seq: int = -1
    clock: int | None = None
    payload: int = 0
    chunks: int = 0
    covered_ns: int = 0

    def copy(self) -> _State:
        return _State(
            self.frames[:], self.readings, self.series, self.metrics, self.sets,
            {run: batches[:] for run, batches in self.steps.items()},
            self.alerts.copy(), self.last_seq, self.clock, self.payload, self.chunks,
            self.covered_ns,
        )  # fmt: skip


def _uuid4() -> str:
    """A random UUID (RFC 9562); `uuid` is 0.2 MB with what it imports."""
    bits = int.from_bytes(os.urandom(16), "big")
    bits = bits & ~(0xF000 << 64 | 0xC000 << 48) | 0x4000 << 64 | 0x8000 << 48
    text = f"{bits:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


class Store:
    """Creates `path` (which must not exist) and writes to it.

    `wal` False: rollback journal, for file systems on which a WAL is not safe. The constructor raises
    OSError, sqlite3.Error or RecordingError; `write` sqlite3.Error, with nothing of the batch kept.
    """

    def __init__(
        self,
        path: Path,
        *,
        interval_s: float,
        meta: Mapping[str, str],
        durability: str = "full",
        wal: bool = True,
        chunk_frames: int = CHUNK_FRAMES,
    ) -> None:
        self.path = path
        self._wal_path = Path(f"{path}-wal")
        self.saved_seq = -1
        self._chunk_frames = chunk_frames
        self._interval_s = interval_s
        self._state = _State()
        self._added: list[Callable[[], object]] = []
        """What takes back each series, metric and series set that the running transaction brought."""
        self._tail = TailCoder()
        self._numbers = NumberTaker()
        self._last_key: SetKey = ()
        self._last_set = 0
        self.with_processes = True
        self.closed = False
        self._identity = _create_file(path)
        registry.writing(self._identity)
        try:
            self.db = sqlite3.connect(path, timeout=2.0, isolation_level=None, cached_statements=64)
            schema.create(self.db, durability, wal)
            self._write_meta(interval_s, meta, durability, wal)
        except BaseException:
            registry.done(self._identity)
            path.unlink(missing_ok=True)  # it is ours, and empty
            raise

    # -- the batch ----------------------------------------------------------------------------------

    def write(self, items: Sequence[Item]) -> None:
        """All items in one durable transaction, or none of them."""
        saved = self._state.copy()
        db = self.db
        try:
            db.execute("BEGIN IMMEDIATE")
            for item in items:
                self._write_side(item)
                if item.flat is not None and item.flat.seq > self._state.last_seq:
                    self._write_frame(item.flat, item.values)
            db.execute("COMMIT")
        except BaseException:
            self._undo(saved)
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._added.clear()
        self.saved_seq = max(self.saved_seq, self._state.last_seq)

    def _undo(self, saved: _State) -> None:
        """As it was before the transaction."""
        for take_back in self._added:
            take_back()
        self._added.clear()
        self._state = saved
        self._tail.reset()
        self._last_key = ()

    def _write_frame(self, flat: FlatFrame, values: Mapping[str, Value] | None) -> None:
        st = self._state
        mark_new(flat, st.readings)
        self._check_clock(flat)
        try:
            self._write_tail(flat)
        except TypeError:  # a probe gave something that is no plain number or text
            clean(flat)
            self._tail.reset()
            self._write_tail(flat)
        numbers = None if values is None else self._numbers.take(values)
        key = self._last_key
        st.frames.append(Kept(flat.seq, flat.wall_ns, flat.mono_ns, key, self._tail.row, flat.procs, numbers))
        st.readings, st.last_seq = flat.readings, flat.seq
        if len(st.frames) >= self._chunk_frames:
            self._close_chunk()

    def _write_tail(self, flat: FlatFrame) -> None:
        key: SetKey = (
            (CONTROL, tuple(flat.control)),
            *((probe, tuple(cells)) for probe, cells in flat.readings.items()),
        )
        if key != self._last_key:
            self._last_set = self._set_id(key)
            self._last_key = key
        set_id = self._last_set
        cells = [*flat.control.values(), *chain.from_iterable(map(dict.values, flat.readings.values()))]
        complete, payload = self._tail.encode(set_id, cells, flat.procs)
        base = None if complete else self._state.last_seq
        keys = (flat.seq, flat.wall_ns, flat.mono_ns, set_id, base)
        # A small row lives a minute and fits its page: packing it would cost more than writing it.
        level = 0 if len(payload) < _PACK_BYTES else 1
        blob = seal(payload, keys, level)  # type: ignore[arg-type]
        self.db.execute("INSERT INTO tail VALUES(?,?,?,?,?,?)", (*keys, blob))

    def _check_clock(self, flat: FlatFrame) -> None:
        offset = flat.wall_ns - flat.mono_ns
        was, self._state.clock = self._state.clock, offset
        if was is not None and abs(offset - was) > CLOCK_STEP_NS:
            title = f"the clock was set by {(offset - was) / 1e9:+.1f} s"
            self._event(Mark("clock", flat.wall_ns, None, title, seq=flat.seq))

    # -- chunks -------------------------------------------------------------------------------------

    def _close_chunk(self) -> None:
        """The open frames become one chunk; their tail rows go, in the same transaction."""
        st = self._state
        frames = st.frames
        if not frames:
            return
        found, tables = streams(frames)
        key = tuple((name, tuple(columns)) for name, columns in found.items())
        set_id = self._set_id(key)
        names, roll_payload = rollups([f.numbers for f in frames if f.numbers is not None])
        roll_set = self._set_id(((DERIVED, tuple(names)),)) if names else None
        a, z = frames[0], frames[-1]
        keys = (a.seq, z.seq, a.wall_ns, z.wall_ns, a.mono_ns, z.mono_ns, len(frames), set_id, roll_set)
        # Sixty frames in columns are 0.3 MB, and so is coding them: not more of it at once than needed.
        num = seal(encode_table([c for columns in found.values() for c in columns.values()]), keys)  # type: ignore[arg-type]
        found.clear()
        proc = seal(encode_tables(tables), keys) if tables else None  # type: ignore[arg-type]
        rolled = seal(roll_payload, keys) if names else None  # type: ignore[arg-type]
        self.db.execute("INSERT INTO chunk VALUES(?,?,?,?,?,?,?,?,?,?,?,?)", (*keys, num, proc, rolled))
        self.db.execute("DELETE FROM tail WHERE seq<=?", (z.seq,))
        st.frames = []
        st.payload += len(num) + len(proc or b"") + len(rolled or b"")
        st.chunks += 1
        st.covered_ns += z.mono_ns - a.mono_ns + int(self._interval_s * 1e9)
        self._tail.reset()

    def _set_id(self, key: SetKey) -> int:
        st = self._state
        known = st.sets.get(key)
        if known is None:
            ids = [[stream, [self._series_id(stream, name) for name in names]] for stream, names in key]
            known = st.sets[key] = len(st.sets) + 1
            self._added.append(partial(st.sets.pop, key))
            self.db.execute("INSERT INTO series_set VALUES(?,?)", (known, seal(dump(ids).encode(), (known,))))
        return known

    def _series_id(self, stream: str, name: str) -> int:
        st = self._state
        known = st.series.get((stream, name))
        if known is None:
            known = st.series[stream, name] = len(st.series) + 1
            self._added.append(partial(st.series.pop, (stream, name)))
            metric_id = name.partition("{")[0]
            metric = CATALOGUE.get(metric_id)
            row: tuple[SqlValue, ...] = (known, stream, name, None if metric is None else metric_id)
            self.db.execute("INSERT INTO series VALUES(?,?,?,?,?)", (*row, row_crc(*row)))
            if metric is not None and metric_id not in st.metrics:
                st.metrics.add(metric_id)
                self._added.append(partial(st.metrics.discard, metric_id))
                labels = " ".join(metric.labels)
                row = (metric.id, metric.kind, metric.unit, labels, metric.help, metric.how, metric.rate,
                       float(metric.scale))  # fmt: skip
                self.db.execute("INSERT INTO metric VALUES(?,?,?,?,?,?,?,?,?)", (*row, row_crc(*row)))
        return known

    # -- what is beside the frames ------------------------------------------------------------------

    def _write_side(self, item: Item) -> None:
        for mark in item.marks:
            self._event(mark)
        for k in item.kernel:
            body = dump(mask_tree(k.fields))
            self._insert_event(k.wall_ns, None, item.seq, "kernel", None, k.kind, None, None, k.text, body)
        changes = item.changes
        for alert in changes.alerts:
            text = alert_text(alert)
            self._log("alert_log", (alert.id, item.seq, item.wall_ns, text))
            self._alert_event(alert.id, item.seq, (
                alert.opened_wall_ns, alert.closed_wall_ns, item.seq, "alert", alert.severity, alert.rule,
                alert.entity, next((e.series for e in alert.evidence if e.series), None), alert.title, None,
            ))  # fmt: skip
        if changes.alert_ids is not None:
            self._log("listing", (item.seq, item.wall_ns, "alerts", dump(changes.alert_ids)))
        for batch in changes.steps:
            self._write_steps(batch, item.seq)
        for run, body in changes.run_states:
            self._log("run_state", (run, item.seq, item.wall_ns, body))
        for run, wall_ns, kind, body in changes.run_items:
            self._log("run_item", (run, item.seq, wall_ns, kind, body))
        for run, status, title in changes.turns:
            self._insert_event(item.wall_ns, None, item.seq, "run", None, status, run, None, title, None)
        if changes.run_ids is not None:
            self._log("listing", (item.seq, item.wall_ns, "runs", dump(changes.run_ids)))
        for run, lines in changes.logs:
            runlines.write(self.db, run, item.seq, item.wall_ns, lines)
        if changes.begun is not None:
            self._log("listing", (item.seq, item.wall_ns, BEGUN, changes.begun))

    def _log(self, table: str, row: tuple[SqlValue, ...]) -> None:
        """Append to a log table. The CRC covers the row's number, so a missing row shows."""
        (n,) = self.db.execute(f"SELECT coalesce(max(n),0)+1 FROM {table}").fetchone()
        places = ",".join("?" * (len(row) + 2))
        self.db.execute(f"INSERT INTO {table} VALUES({places})", (n, *row, row_crc(n, *row)))

    def _event(self, mark: Mark) -> None:
        seq = self._state.last_seq if mark.seq is None else mark.seq
        self._insert_event(mark.t0, mark.t1, seq, mark.kind, None, None, None, None, mark.title, mark.body)

    def _insert_event(self, *row: SqlValue) -> int:
        """t0, t1, seq, kind, sev, rule, entity, series, title, body -> its id."""
        row = (*row[:8], *(mask_text(v) if isinstance(v, str) else v for v in row[8:]))
        (n,) = self.db.execute("SELECT coalesce(max(id),0)+1 FROM event").fetchone()
        self.db.execute("INSERT INTO event VALUES(?,?,?,?,?,?,?,?,?,?,?,?)", (n, *row, row_crc(n, *row)))
        return int(n)

    def _alert_event(self, alert_id: int, seq: int, row: tuple[SqlValue, ...]) -> None:
        """One event an incident: `seq` and t0 stay those of its opening."""
        known = self._state.alerts.get(alert_id)
        if known is None:
            self._state.alerts[alert_id] = self._insert_event(*row)
            return
        old = self.db.execute("SELECT seq FROM event WHERE id=?", (known,)).fetchone()
        row = (*row[:2], old[0] if old else seq, *row[3:8], mask_text(str(row[8])), row[9])
        self.db.execute(
            "INSERT OR REPLACE INTO event VALUES(?,?,?,?,?,?,?,?,?,?,?,?)",
            (known, *row, row_crc(known, *row)),
        )

    def _write_steps(self, batch: StepBatch, seq: int) -> None:
        st = self._state
        if len(batch) >= STEP_CHUNK:  # a run's history on attaching: straight into chunks
            self._close_steps(batch.run)
            for at in range(0, len(batch), STEP_CHUNK):
                part = [c[at : at + STEP_CHUNK] for c in batch.columns]
                self._step_chunk(batch.run, batch.row0 + at, part, seq, seq)
            return
        t0, t1 = wall_range(batch.columns)
        keys = (batch.row0, len(batch), seq, t0, t1)
        blob = seal(encode_steps(batch.columns), keys)
        self.db.execute("INSERT INTO step_tail VALUES(?,?,?,?,?,?,?)", (batch.run, *keys, blob))
        fresh = st.steps.setdefault(batch.run, [])
        fresh.append((seq, batch))
        if sum(len(b) for _, b in fresh) >= STEP_CHUNK:
            self._close_steps(batch.run)

    def _close_steps(self, run: str) -> None:
        fresh = self._state.steps.pop(run, [])
        if fresh:
            row0 = fresh[0][1].row0
            self._step_chunk(run, row0, join([b for _, b in fresh]), fresh[0][0], fresh[-1][0])
            self.db.execute("DELETE FROM step_tail WHERE run=?", (run,))

    def _step_chunk(self, run: str, row0: int, columns: list[array[float]], seq0: int, seq1: int) -> None:
        t0, t1 = wall_range(columns)
        keys = (row0, len(columns[0]), seq0, seq1, t0, t1)
        data, far = seal(encode_steps(columns), keys), seal(encode_steps(thin(columns)), keys)
        self.db.execute("INSERT INTO step_chunk VALUES(?,?,?,?,?,?,?,?,?)", (run, *keys, data, far))
        if seq0 != seq1:  # a history taken over at once says nothing about the rate
            self._state.payload += len(data) + len(far)

    # -- life ---------------------------------------------------------------------------------------

    def _write_meta(self, interval_s: float, meta: Mapping[str, str], durability: str, wal: bool) -> None:
        facts = {
            "uuid": _uuid4(),
            "app": f"dctop {version()}",
            "format": f"{schema.MAJOR}.{schema.MINOR}",
            "interval_s": repr(float(interval_s)),
            "tick_hz": str(os.sysconf("SC_CLK_TCK")),
            "tz": time.strftime("%Z %z"),
            "start_wall_ns": str(time.time_ns()),
            "start_mono_ns": str(time.monotonic_ns()),
            "durability": durability,
            "journal": "wal" if wal else "truncate",
            "redaction": "secrets masked in command lines, configurations and all texts",
            "sqlite": sqlite3.sqlite_version,
            **meta,
        }
        self.db.execute("BEGIN IMMEDIATE")
        for k, v in facts.items():
            self._meta(k, v)
        self.db.execute("COMMIT")

    def _meta(self, k: str, v: str) -> None:
        self.db.execute("INSERT OR REPLACE INTO meta VALUES(?,?,?)", (k, v, row_crc(k, v)))

    def sizes(self) -> tuple[int, int]:
        """(bytes of the database, bytes with its WAL). Raises FileNotFoundError where the file is no longer
        the one being written: SQLite itself would not notice."""
        st = self.path.stat()
        if (st.st_dev, st.st_ino) != self._identity:
            raise FileNotFoundError(f"{self.path} is another file now")
        try:
            wal = self._wal_path.stat().st_size
        except FileNotFoundError:
            wal = 0
        return st.st_size, st.st_size + wal

    @property
    def payload_bytes(self) -> int:
        """Bytes put into chunks so far."""
        return self._state.payload

    @property
    def chunks(self) -> int:
        """How many were written."""
        return self._state.chunks

    @property
    def chunk_seconds(self) -> float:
        """Time covered by them."""
        return self._state.covered_ns / 1e9

    def close(self, reason: str) -> None:
        """Compact, checkpoint, leave WAL mode, so that it is one file. Raises sqlite3.Error, released
        nevertheless."""
        if self.closed:
            return
        self.closed = True
        try:
            saved = self._state.copy()
            try:
                self.db.execute("BEGIN IMMEDIATE")
                self._close_chunk()
                for run in list(self._state.steps):
                    self._close_steps(run)
                self._meta("closed_at", str(time.time_ns()))
                self._meta("close_reason", reason)
                self.db.execute("COMMIT")
            except BaseException:
                self._undo(saved)
                raise
            shrink(self.db)
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            try:
                self.db.execute("PRAGMA journal_mode=DELETE")
            except sqlite3.OperationalError:
                pass  # a reader has it open: the file stays in WAL mode, which is as complete
        finally:
            self.release()

    def release(self) -> None:
        """Close the connection without the last rites (the disk is full, the file is gone)."""
        self.closed = True
        try:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            self.db.close()
        except sqlite3.Error:
            pass
        registry.done(self._identity)


def settle(path: Path) -> None:
    """Make one file of a recording that was closed while somebody read it, which left its (empty) `-wal`
    beside it. Does nothing while anybody still has it open; raises nothing."""
    try:
        identity = registry.identity_of(path)
        if registry.is_open_here(identity) or not Path(f"{path}-wal").exists():
            return
        registry.writing(identity)
    except OSError:
        return
    try:
        db = sqlite3.connect(path, timeout=0.0, isolation_level=None)
        try:
            if db.execute("SELECT 1 FROM meta WHERE k='closed_at'").fetchone():
                db.execute("PRAGMA journal_mode=DELETE")
        finally:
            db.close()
    except sqlite3.Error:
        pass
    finally:
        registry.done(identity)


def _create_file(path: Path) -> tuple[int, int]:
    """An empty file, mode 0600 whatever the umask. -> (device, inode)."""
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise RecordingError(
            f"{path} exists: a recording is never overwritten, choose another name"
        ) from None
    try:
        os.fchmod(fd, 0o600)
        st = os.fstat(fd)
        return st.st_dev, st.st_ino
    finally:
        os.close(fd)
