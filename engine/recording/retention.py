"""Caps on a recording's size and age, and the guard for a file system that runs full. One call a minute."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass

from dctop.engine.recording.runlines import forget

MIN_FREE_BYTES = 512 << 20
MIN_FREE_SHARE = 0.02
KEEP_CHUNKS = 10
"""The guard leaves the newest ten minutes (at 1 Hz) whatever happens."""


@dataclass(frozen=True, slots=True)
class Caps:
    """`max_bytes` of the file; `max_age_s` of its oldest frame. None: no such cap."""

    max_bytes: int | None = 2 << 30
    max_age_s: float | None = 7 * 86400.0
    min_free_bytes: int = MIN_FREE_BYTES


def low_space(path: str | os.PathLike[str], caps: Caps) -> bool:
    """Less than max(512 MB, 2 %) left where `path` is (on a small file system: less than a quarter)."""
    if caps.min_free_bytes <= 0:
        return False
    st = os.statvfs(path)
    size = st.f_blocks * st.f_frsize
    need = min(max(caps.min_free_bytes, MIN_FREE_SHARE * size), size / 4)
    return st.f_bavail * st.f_frsize < need


def evict(db: sqlite3.Connection, caps: Caps, low: bool) -> int:
    """Delete the oldest chunks beyond the caps, one more while space is low; the freed pages go back to the
    file system. Returns how many chunks went. Events stay as long as anything else can go."""
    gone = 0
    db.execute("BEGIN IMMEDIATE")
    try:
        if caps.max_age_s is not None:
            newest = db.execute("SELECT m1 FROM chunk ORDER BY seq0 DESC LIMIT 1").fetchone()
            limit = (newest[0] if newest else 0) - int(caps.max_age_s * 1e9)
            for (seq0,) in db.execute("SELECT seq0 FROM chunk WHERE m1<? ORDER BY seq0", (limit,)).fetchall():
                _drop(db, seq0)
                gone += 1
        if low and db.execute("SELECT count(*) FROM chunk").fetchone()[0] > KEEP_CHUNKS:
            gone += _drop_oldest(db, 2)  # more than the one that was just added
        if caps.max_bytes is not None:
            limit = caps.max_bytes - min(2 << 20, caps.max_bytes // 8)  # room for the WAL
            while _used(db) > limit:
                dropped = _drop_oldest(db, 1) or _drop_events(db)
                if not dropped:
                    break
                gone += 1
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    if gone:
        shrink(db)
    return gone


def shrink(db: sqlite3.Connection) -> None:
    """Give free pages back to the file system. (A script, because `execute` would step the pragma only
    once, which frees one page.)"""
    db.executescript("PRAGMA incremental_vacuum;")


def _used(db: sqlite3.Connection) -> int:
    pages, free, size = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _drop_oldest(db: sqlite3.Connection, n: int) -> int:
    oldest = db.execute("SELECT seq0 FROM chunk ORDER BY seq0 LIMIT ?", (n,)).fetchall()
    for (seq0,) in oldest:
        _drop(db, seq0)
    return len(oldest)


def _drop(db: sqlite3.Connection, seq0: int) -> None:
    t1, seq1 = db.execute("SELECT t1,seq1 FROM chunk WHERE seq0=?", (seq0,)).fetchone()
    db.execute("DELETE FROM chunk WHERE seq0=?", (seq0,))
    db.execute("DELETE FROM step_chunk WHERE t1<=? AND t1>0", (t1,))
    forget(db, seq1 + 1)


def _drop_events(db: sqlite3.Connection) -> int:
    for where in ("kind NOT IN ('alert','marker','note')", "kind='alert'", "1"):
        n = db.execute(
            f"DELETE FROM event WHERE id IN (SELECT id FROM event WHERE {where} ORDER BY id LIMIT 100)"
        ).rowcount
        if n:
            return n
    return 0
