"""The flight recorder: a bounded recording of which copies are saved when something happens."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dctop.engine.recording.schema import RecordingError, row_crc

if TYPE_CHECKING:
    from dctop.engine.recording.recorder import Recorder
    from dctop.engine.rules.alert import Alert

AFTER_S = 30.0
"""An alert's copy is saved this long after it opened: what followed belongs to the story."""
APART_S = 300.0
"""Alerts within this time after a copy save no other one: they are in the ring all the same."""


def save_copy(db: sqlite3.Connection, path: Path, reason: str) -> None:
    """A compact, closed copy of what is committed in `db`, mode 0600. For the recorder's thread, between two
    transactions. Raises OSError, sqlite3.Error or RecordingError; then nothing is left at `path`."""
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise RecordingError(f"{path} exists: a recording is never overwritten") from None
    os.fchmod(fd, 0o600)
    try:
        db.execute("VACUUM INTO ?", (str(path),))  # takes an empty file as it takes none
        copy = sqlite3.connect(path, isolation_level=None)
        try:
            copy.execute("PRAGMA synchronous=FULL")
            copy.execute("BEGIN IMMEDIATE")
            for k, v in (("closed_at", str(time.time_ns())), ("close_reason", reason)):
                copy.execute("INSERT OR REPLACE INTO meta VALUES(?,?,?)", (k, v, row_crc(k, v)))
            copy.execute("COMMIT")
        finally:
            copy.close()
        os.fsync(fd)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


class FlightRecorder:
    """Decides when copies of a ring are saved, and where. Any thread may call; `say` gets a line for each.

    `ring`: the recorder, whose caps bound it. Copies are named after its file, the time and the reason.
    """

    def __init__(self, ring: Recorder, say: Callable[[str, bool], None]) -> None:
        """`say(text, bad)`: what was saved, or why not."""
        self._ring = ring
        self._say = say
        self._lock = threading.Lock()
        self._known: set[int] = set()
        self._due: tuple[float, str] | None = None
        self._last = -APART_S

    def save(self, reason: str) -> None:
        """Save now."""
        with self._lock:
            self._last, self._due = time.monotonic(), None
        path = self._name(reason)

        def done(error: str | None) -> None:
            self._say(error or f"saved {path} ({reason})", error is not None)

        self._ring.save_copy(path, reason, done)

    def _name(self, reason: str) -> Path:
        ring = self._ring.path
        word = re.sub(r"[^A-Za-z0-9.-]+", "-", reason).strip("-")[:40]
        stem = f"{ring.stem}-{time.strftime('%Y%m%d-%H%M%S')}-{word}"
        path = ring.with_name(f"{stem}.dctop")
        n = 2
        while path.exists():
            path, n = ring.with_name(f"{stem}-{n}.dctop"), n + 1
        return path

    def watch(self, alerts: Iterable[Alert]) -> None:
        """Once a tick: an alert (no mere note) not seen before has a copy saved, `AFTER_S` later."""
        now = time.monotonic()
        with self._lock:
            fresh = [a for a in alerts if a.id not in self._known]
            self._known.update(a.id for a in fresh)
            grave = next((a for a in fresh if a.open and a.severity != "info"), None)
            if grave is not None and self._due is None and now - self._last >= APART_S:
                self._due = (now + AFTER_S, grave.rule)
            due = self._due
        if due is not None and now >= due[0]:
            self.save(f"alert {due[1]}")

    def finish(self) -> None:
        """At the end: what is still due is saved before the ring is closed."""
        with self._lock:
            due = self._due
        if due is not None:
            self.save(f"alert {due[1]}")
