"""The file format: tables, version, and the seals that make a damaged row detectable.

A recording (`*.dctop`) is one SQLite database. Frames are kept twice over their life: first singly in
`tail` (durable within a second), later 60 together, column by column, in `chunk`. What a row says is always
covered by a CRC together with its keys, so that a flipped bit anywhere is noticed, never shown.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Sequence
from typing import Final

APPLICATION_ID: Final = 0x64637470
"""'dctp'"""
MAJOR: Final = 1
MINOR: Final = 1
USER_VERSION: Final = MAJOR * 1000 + MINOR
"""major*1000+minor. Minor: additive, an older reader ignores what it does not know. Major: it refuses."""
CHUNK_FRAMES: Final = 60
STEP_CHUNK: Final = 512
BEGUN: Final = "begun"
"""The kind of the listing that says what the rules knew when recording began (begun.py)."""
STEP_THIN: Final = 16
"""Of a closed step chunk, this many evenly spaced steps are kept beside it for far views of long runs."""

SqlValue = int | float | str | bytes | None


class RecordingError(ValueError):
    """A recording cannot be opened or written: one line, what is wrong and what to do."""


class Damaged(Exception):
    """A row or blob whose contents do not fit its seal, or do not decode."""


DDL: Final = """
CREATE TABLE meta(k TEXT PRIMARY KEY, v TEXT, crc INTEGER) WITHOUT ROWID;
CREATE TABLE metric(id TEXT PRIMARY KEY, kind TEXT, unit TEXT, labels TEXT, help TEXT, how TEXT, rate TEXT,
  scale REAL, crc INTEGER) WITHOUT ROWID;
CREATE TABLE series(id INTEGER PRIMARY KEY, stream TEXT NOT NULL, name TEXT NOT NULL, metric TEXT,
  crc INTEGER, UNIQUE(stream, name));
CREATE TABLE series_set(id INTEGER PRIMARY KEY, ids BLOB);
CREATE TABLE tail(seq INTEGER PRIMARY KEY, wall_ns INTEGER, mono_ns INTEGER, set_id INTEGER, base INTEGER,
  data BLOB);
CREATE TABLE chunk(seq0 INTEGER PRIMARY KEY, seq1 INTEGER, t0 INTEGER, t1 INTEGER, m0 INTEGER, m1 INTEGER,
  n INTEGER, set_id INTEGER, roll_set INTEGER, num BLOB, proc BLOB, roll BLOB);
CREATE INDEX chunk_t ON chunk(t0);
CREATE TABLE step_tail(run TEXT, row0 INTEGER, n INTEGER, seq INTEGER, t0 INTEGER, t1 INTEGER, data BLOB,
  PRIMARY KEY(run, row0)) WITHOUT ROWID;
CREATE TABLE step_chunk(run TEXT, row0 INTEGER, n INTEGER, seq0 INTEGER, seq1 INTEGER, t0 INTEGER, t1 INTEGER,
  data BLOB, thin BLOB, PRIMARY KEY(run, row0)) WITHOUT ROWID;
CREATE TABLE run_state(n INTEGER PRIMARY KEY, run TEXT, seq INTEGER, wall_ns INTEGER, body TEXT, crc INTEGER);
CREATE TABLE run_item(n INTEGER PRIMARY KEY, run TEXT, seq INTEGER, wall_ns INTEGER, kind TEXT, body TEXT,
  crc INTEGER);
CREATE TABLE alert_log(n INTEGER PRIMARY KEY, alert INTEGER, seq INTEGER, wall_ns INTEGER, body TEXT,
  crc INTEGER);
CREATE TABLE listing(n INTEGER PRIMARY KEY, seq INTEGER, wall_ns INTEGER, kind TEXT, body TEXT, crc INTEGER);
CREATE TABLE output(run TEXT, seq INTEGER, wall_ns INTEGER, data BLOB, PRIMARY KEY(run, seq)) WITHOUT ROWID;
CREATE TABLE event(id INTEGER PRIMARY KEY, t0 INTEGER, t1 INTEGER, seq INTEGER, kind TEXT, sev TEXT,
  rule TEXT, entity TEXT, series TEXT, title TEXT, body TEXT, crc INTEGER);
CREATE INDEX event_t ON event(t0);
CREATE INDEX event_k ON event(kind, t0);
"""
"""What is where:

meta        facts on the session: host, kernel, interval, versions, start, and at a clean end `closed_at`
metric      the catalogue entries of what occurs: kind, unit, help, how it is read
series      every series ever seen, `stream` = the probe that reads it, `@` = control, `=` = derived
series_set  which series, in which order, a row or chunk holds: sealed JSON [[stream, [id ...]] ...]
tail        under 60 newest frames, each the difference to the frame `base` (NULL: complete in itself)
chunk       60 frames: num = all values, proc = process tables, roll = float32 min, max, mean of `roll_set`
step_tail, step_chunk  training steps, columnar (STEP_FIELDS and the frame each came with)
run_state   all of a run but steps, at each change; run_item: its events and evaluations
alert_log   an alert at each change; listing: which alerts and runs were shown from which frame on, and what
            the rules knew when recording began in mid-session
output      the last lines a run printed, when they had changed; since format 1.1
event       what can be jumped to: alert | marker | note | gap | run | kernel | clock | config
"""

_HEAD = struct.Struct("<BI")
CODEC_ZLIB: Final = 1
CODEC_STORED: Final = 0


def seal(payload: bytes, keys: Sequence[int], level: int = 4) -> bytes:
    """Compress and prepend codec id and CRC. `keys`: the row's own integers, covered by the CRC.
    `level` 0: as it is; 1: for rows of a few kB."""
    packed, codec = payload, CODEC_STORED
    if level == 1:
        # A state of a few kB instead of 256: setting that up costs more than packing a small row.
        packer = zlib.compressobj(1, zlib.DEFLATED, 12, 5)
        packed, codec = packer.compress(payload) + packer.flush(), CODEC_ZLIB
    elif level:
        packed, codec = zlib.compress(payload, level), CODEC_ZLIB
    if len(packed) >= len(payload):
        packed, codec = payload, CODEC_STORED
    return _HEAD.pack(codec, zlib.crc32(packed, _key_crc((codec, *keys)))) + packed


def unseal(blob: object, keys: Sequence[object]) -> bytes:
    """The payload. Raises Damaged where blob or keys are not what was written."""
    if not isinstance(blob, bytes) or len(blob) < _HEAD.size:
        raise Damaged("empty or short blob")
    codec, crc = _HEAD.unpack_from(blob)
    packed = blob[_HEAD.size :]
    if zlib.crc32(packed, _key_crc((codec, *keys))) != crc:
        raise Damaged("checksum does not fit")
    if codec == CODEC_STORED:
        return packed
    if codec != CODEC_ZLIB:
        raise Damaged(f"unknown codec {codec}: a newer dctop wrote it")
    try:
        return zlib.decompress(packed)
    except zlib.error as e:
        raise Damaged(str(e)) from e


def intact(blob: object, keys: Sequence[object]) -> bool:
    """Whether the seal fits; nothing is unpacked."""
    if not isinstance(blob, bytes) or len(blob) < _HEAD.size:
        return False
    codec, crc = _HEAD.unpack_from(blob)
    return bool(zlib.crc32(memoryview(blob)[_HEAD.size :], _key_crc((codec, *keys))) == crc)


def _key_crc(keys: Sequence[object]) -> int:
    return zlib.crc32(",".join(map(str, keys)).encode())


def row_crc(*columns: SqlValue) -> int:
    """CRC over a row's columns, types included."""
    return zlib.crc32(repr(columns).encode("utf-8", "backslashreplace"))


def checked(row: tuple[SqlValue, ...]) -> tuple[SqlValue, ...]:
    """The row without its last column, the CRC. Raises Damaged where they disagree."""
    if row_crc(*row[:-1]) != row[-1]:
        raise Damaged("row checksum does not fit")
    return row[:-1]


def create(db: sqlite3.Connection, durability: str, wal: bool) -> None:
    """Lay out an empty file. `auto_vacuum` must precede the first table. Two or three tail rows share a page:
    with smaller ones nearly every commit takes a new one and writes four pages."""
    db.execute("PRAGMA page_size=8192")
    db.execute("PRAGMA auto_vacuum=INCREMENTAL")
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    db.execute(f"PRAGMA user_version={USER_VERSION}")
    db.execute(f"PRAGMA journal_mode={'WAL' if wal else 'TRUNCATE'}")
    db.execute(f"PRAGMA synchronous={'FULL' if durability == 'full' else 'NORMAL'}")
    db.execute("PRAGMA wal_autocheckpoint=128")
    db.execute("PRAGMA journal_size_limit=4194304")
    db.execute("PRAGMA cache_size=-192")
    db.execute("PRAGMA temp_store=MEMORY")
    db.execute("BEGIN IMMEDIATE")
    for statement in DDL.split(";"):
        if statement.strip():
            db.execute(statement)
    db.execute("COMMIT")
