"""Getting a readable connection to a recording: closed, being written, left behind by a kill, on read-only
media, damaged. The file itself is never changed."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dctop.engine.recording import registry
from dctop.engine.recording.schema import APPLICATION_ID, MAJOR, MINOR, RecordingError, SqlValue

if TYPE_CHECKING:
    import tempfile

_MAGIC = b"SQLite format 3\x00"
_LOCK_START, _LOCK_LENGTH = 0x40000000, 512
"""SQLite's lock bytes (os_unix.c: PENDING_BYTE and what follows)."""


@dataclass(slots=True)
class Opened:
    """A connection and how it came about. `close` when done."""

    path: Path
    db: sqlite3.Connection
    identity: tuple[int, int]
    live: bool
    """Somebody is writing it now."""
    minor: int
    copy: tempfile.TemporaryDirectory[str] | None = None
    """Where it had to be copied to be opened."""
    notes: list[str] = field(default_factory=list)

    def close(self) -> None:
        try:
            self.db.close()
        except sqlite3.Error:
            pass
        registry.read(self.identity)
        if self.copy is not None:
            self.copy.cleanup()


def open_database(path: Path) -> Opened:
    """Raises RecordingError, one line: what is wrong and what to do."""
    try:
        st = path.stat()
        identity = (st.st_dev, st.st_ino)
        if path.is_dir():
            raise RecordingError(f"{path} is a directory: name a .dctop file in it")
        if not stat.S_ISREG(st.st_mode):
            raise RecordingError(f"{path} is not a file: copy the recording into one")
        live = registry.is_written_here(identity)
        wal_mode = True
        if not registry.is_open_here(identity):
            wal_mode, live = _look(path)
    except FileNotFoundError:
        raise RecordingError(f"{path} does not exist: check the name") from None
    except OSError as e:
        raise RecordingError(f"{path} cannot be read ({e.strerror or e}): check its permissions") from None
    registry.reading(identity)
    copy: tempfile.TemporaryDirectory[str] | None = None
    db: sqlite3.Connection | None = None
    try:
        db, copy = _connect(path, wal_mode, live)
        minor = _check(db, path)
        notes = []
        if minor > MINOR:
            notes.append(f"written by a newer dctop (format {MAJOR}.{minor}): what is new in it is not shown")
        return Opened(path, db, identity, live, minor, copy, notes)
    except BaseException as e:
        if db is not None:
            db.close()
        if copy is not None:
            copy.cleanup()
        registry.read(identity)
        if isinstance(e, sqlite3.Error):
            raise RecordingError(_damage(path, e)) from None
        if isinstance(e, OSError):
            raise RecordingError(
                f"{path} cannot be opened here ({e.strerror or e}): copy it elsewhere"
            ) from None
        raise


def _damage(path: Path, e: sqlite3.Error) -> str:
    return f"{path} is damaged ({' '.join(str(e).split())}): take an earlier copy of it"


def _look(path: Path) -> tuple[bool, bool]:
    """(in WAL mode, being written by another process). Never called on a file this process has open."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.pread(fd, 100, 0)
        if not head:
            raise RecordingError(f"{path} is empty: recording had not begun")
        if head[:16] != _MAGIC:
            raise RecordingError(f"{path} is not a dctop recording: its first bytes are something else")
        return head[18] == 2 or head[19] == 2, _locked(fd)
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    """Does another process hold an SQLite lock on it?"""
    query = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _LOCK_START, _LOCK_LENGTH, 0)
    try:
        return bool(struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_GETLK, query))[0] != fcntl.F_UNLCK)
    except OSError:
        return False


def _size(path: Path, suffix: str) -> int:
    try:
        return Path(f"{path}{suffix}").stat().st_size
    except OSError:
        return 0


def _connect(
    path: Path, wal_mode: bool, live: bool
) -> tuple[sqlite3.Connection, tempfile.TemporaryDirectory[str] | None]:
    real = Path(os.path.realpath(path))
    if not live and _size(real, "-journal"):
        return _copied(real, ("-journal",))  # a rollback is due, and may not happen in the original
    if wal_mode and not live and not os.access(real.parent, os.W_OK):
        # Without a place for its shared memory SQLite cannot read a WAL here.
        if _size(real, "-wal"):
            return _copied(real, ("-wal",))
        return _uri(real, "mode=ro&immutable=1"), None
    return _uri(real, "mode=ro"), None


def _copied(
    real: Path, suffixes: tuple[str, ...]
) -> tuple[sqlite3.Connection, tempfile.TemporaryDirectory[str]]:
    import shutil  # with tempfile and urllib 1 MB, which whoever only records has no use for
    import tempfile

    folder = tempfile.TemporaryDirectory(prefix="dctop-")
    try:
        target = Path(folder.name) / "recording.dctop"
        for suffix in ("", *suffixes):
            shutil.copyfile(f"{real}{suffix}", f"{target}{suffix}")
        return _uri(target, "mode=rw"), folder
    except BaseException:
        folder.cleanup()
        raise


class _Connection(sqlite3.Connection):
    """An error message may quote a damaged schema, which is no text: that too is an error of the database."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError:
            raise sqlite3.DatabaseError("its schema is no text any more") from None


def _uri(path: Path, options: str) -> sqlite3.Connection:
    from urllib.parse import quote

    db = sqlite3.connect(
        f"file:{quote(str(path))}?{options}",
        uri=True,
        timeout=2.0,
        isolation_level=None,
        check_same_thread=False,
        factory=_Connection,
    )
    # Text that is not UTF-8 any more must fail its checksum, not raise.
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    db.execute("PRAGMA cell_size_check=ON")
    db.execute("PRAGMA trusted_schema=OFF")
    db.execute("PRAGMA query_only=ON")
    db.execute("PRAGMA cache_size=-4096")
    db.execute("PRAGMA wal_autocheckpoint=0")
    return db


def _check(db: sqlite3.Connection, path: Path) -> int:
    """The minor version. Raises RecordingError where this dctop cannot read it."""
    (app,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if app != APPLICATION_ID:
        raise RecordingError(f"{path} is an SQLite database but not a dctop recording")
    major, minor = divmod(version, 1000)
    if major > MAJOR:
        raise RecordingError(
            f"{path} is of format {major}.{minor}, this dctop reads up to {MAJOR}.{MINOR}: use a newer dctop"
        )
    if major < 1:
        raise RecordingError(f"{path} is damaged (format version {version}): take an earlier copy of it")
    db.execute("SELECT k FROM meta LIMIT 1").fetchall()
    db.execute("SELECT seq0 FROM chunk LIMIT 1").fetchall()
    return int(minor)


def scan(
    db: sqlite3.Connection, table: str, columns: str, order: str, where: str = ""
) -> tuple[list[tuple[SqlValue, ...]], bool]:
    """All rows that can be reached, in order, and whether some could not (then from both ends inwards)."""
    clause = f" WHERE {where}" if where else ""
    rows, whole = _until_damage(db.execute, f"SELECT {columns} FROM {table}{clause} ORDER BY {order}")
    if whole:
        return rows, False
    back = ",".join(f"{column} DESC" for column in order.split(","))
    tail, _ = _until_damage(db.execute, f"SELECT {columns} FROM {table}{clause} ORDER BY {back}")
    seen = set(rows)
    return rows + [row for row in reversed(tail) if row not in seen], True


def _until_damage(execute: object, sql: str) -> tuple[list[tuple[SqlValue, ...]], bool]:
    rows: list[tuple[SqlValue, ...]] = []
    try:
        cursor: Iterator[tuple[SqlValue, ...]] = execute(sql)  # type: ignore[operator]
        for row in cursor:
            rows.append(row)
    except sqlite3.DatabaseError as e:
        if (
            isinstance(e, sqlite3.OperationalError)
            and getattr(e, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY
        ):
            raise
        return rows, False
    return rows, True
