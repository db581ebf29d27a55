"""The last lines a run printed, in the recording: what a dead worker said is half of its post-mortem.

A row of the table `output` holds them packed, secrets masked. It is written when they changed, at most every
EVERY_NS, and at once when the run ended. Files of format 1.0 have no such table.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Sequence
from itertools import chain

from dctop.engine.recording.masking import mask_text
from dctop.engine.recording.schema import Damaged, seal, unseal

LINES = 20
WIDTH = 200
EVERY_NS = 10_000_000_000


def newest(lines: Sequence[str]) -> tuple[str, ...]:
    """What is recorded of a run's tail."""
    return tuple(lines[-LINES:])


def write(db: sqlite3.Connection, run: str, seq: int, wall_ns: int, lines: Sequence[str]) -> None:
    # Masked before they are cut: half a secret is not recognised as one.
    text = json.dumps([mask_text(line)[:WIDTH] for line in lines], separators=(",", ":"))
    blob = seal(text.encode("utf-8", "replace"), (seq, wall_ns))
    db.execute("INSERT OR REPLACE INTO output VALUES(?,?,?,?)", (run, seq, wall_ns, blob))


def forget(db: sqlite3.Connection, seq: int) -> None:
    """Rows that say nothing about frames from `seq` on."""
    db.execute(
        "DELETE FROM output WHERE seq<? AND EXISTS (SELECT 1 FROM output AS later "
        "WHERE later.run=output.run AND later.seq>output.seq AND later.seq<=?)",
        (seq, seq),
    )


class RunLines:
    """Reads them."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._there = False
        self._last = -1
        self._seqs: dict[str, list[int]] = {}
        self._read: tuple[str, int, tuple[str, ...]] = ("", -1, ())
        self.damaged = False

    def refresh(self) -> None:
        from dctop.engine.recording.opening import scan  # who writes needs nothing of it

        if not self._there:
            sql = "SELECT 1 FROM sqlite_master WHERE type='table' AND name='output'"
            self._there = self._db.execute(sql).fetchone() is not None
        if not self._there:
            return
        rows, damaged = scan(self._db, "output", "run,seq", "run,seq", f"seq>{self._last}")
        self.damaged |= damaged
        for run, seq in rows:
            if isinstance(run, str) and isinstance(seq, int):
                self._seqs.setdefault(run, []).append(seq)
        self._last = max(chain([self._last], *self._seqs.values()))

    def at(self, run: str, seq: int) -> tuple[str, ...]:
        """What `run` had printed last at frame `seq`."""
        seqs = self._seqs.get(run, [])
        i = bisect_right(seqs, seq)
        if not i:
            return ()
        if self._read[:2] != (run, seqs[i - 1]):
            self._read = (run, seqs[i - 1], self._lines(run, seqs[i - 1]))
        return self._read[2]

    def _lines(self, run: str, seq: int) -> tuple[str, ...]:
        try:
            sql = "SELECT wall_ns,data FROM output WHERE run=? AND seq=?"
            row = self._db.execute(sql, (run, seq)).fetchone()
            lines = json.loads(unseal(None if row is None else row[1], (seq, row and row[0])))
            if not isinstance(lines, list):
                raise Damaged("no lines")
            return tuple(str(line) for line in lines[-LINES:])
        except (Damaged, ValueError, RecursionError, sqlite3.DatabaseError):
            self.damaged = True
            return ()

    def wall_ns(self, run: str, seq: int) -> int:
        """When that was written."""
        row = self._db.execute("SELECT wall_ns FROM output WHERE run=? AND seq=?", (run, seq)).fetchone()
        return row[0] if row is not None and isinstance(row[0], int) else 0

    def every(self) -> list[tuple[str, list[int]]]:
        """(run, frames from which its rows were in force)"""
        return list(self._seqs.items())
