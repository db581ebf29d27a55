"""The recorder: a thread that owns the file. The engine hands it frames and never waits for a disk."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.model import Frame
from dctop.engine.netfs import network_fs
from dctop.engine.recording.flatten import Flattener
from dctop.engine.recording.masking import mask_text
from dctop.engine.recording.proctable import ProcessPicker, Table
from dctop.engine.recording.retention import Caps, evict, low_space
from dctop.engine.recording.ring import save_copy
from dctop.engine.recording.runtake import Changes, Taker
from dctop.engine.recording.schema import RecordingError
from dctop.engine.recording.store import Item, Mark, Store
from dctop.engine.rules.alert import Alert
from dctop.engine.training.runstate import RunState
from dctop.probes.base import Sample, Value

log = logging.getLogger(__name__)

QUEUE = 120
"""Frames between engine and recorder."""
RING = 600
"""Frames kept in memory while the disk is full: ten minutes at 1 Hz."""
RETRY_S = 5.0
COMMIT_S = 0.9
"""At most one commit in this time, whatever the sampling rate; what is urgent does not wait."""
GUARD_S = 10.0
STUCK_S = 300.0
"""An I/O error that is not a full disk is retried this long, then recording has failed."""
State = Literal["recording", "disk-full", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """What the screen shows of a recording."""

    state: State
    path: Path
    size_bytes: int
    """On disk now, WAL included."""
    bytes_per_hour: float | None
    """At the present rate; None during the first minute."""
    lost_frames: int
    since_wall_ns: int
    error: str | None
    """One line: why it is not recording, or what is reduced (process tables dropped, no WAL)."""


@dataclass(frozen=True, slots=True)
class _Copy:
    path: Path
    reason: str
    done: Callable[[str | None], None]


@dataclass(slots=True, eq=False)
class _Raw:
    """As handed over: the frame, and copies of what changed beside it."""

    frame: Frame | None
    seq: int
    wall_ns: int
    changes: Changes
    values: Mapping[str, Value] | None
    marks: list[Mark]


class Recorder:
    """Records frames, alerts and runs into `path` until `stop`.

    `durability`: full (a commit survives a power cut) or relaxed (the last 30 s may not); `max_bytes`,
    `max_age_s`: caps, oldest frames go first; `min_free_bytes`: below this (or 2 %) free, process tables and
    then old frames are given up. `on_saved(seq)` is called in the recorder's thread after each commit,
    `on_news()` there when `state` or `error` of its status became another. No method raises.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        interval_s: float,
        meta: Mapping[str, str],
        durability: Literal["full", "relaxed"] = "full",
        max_bytes: int | None = 2 << 30,
        max_age_s: float | None = 7 * 86400.0,
        min_free_bytes: int | None = None,
        on_saved: Callable[[int], None] | None = None,
        on_news: Callable[[], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self.interval_s = interval_s
        self.on_saved = on_saved
        self.on_news = on_news
        self.caps = Caps(max_bytes, max_age_s) if min_free_bytes is None else Caps(
            max_bytes, max_age_s, min_free_bytes
        )  # fmt: skip
        self._meta = {k: mask_text(v) for k, v in meta.items()}
        self._durability = durability
        self._taker = Taker()
        self._wake = threading.Condition()
        self._queue: deque[_Raw] = deque()
        self._framed = 0
        self._gaps = Gaps()
        self._copies: list[_Copy] = []
        self._stop_reason: str | None = None
        self._urgent = False
        self.first_seq: int | None = None
        """The first frame that was put; None: none yet."""
        self._begun: bytes | None = None
        """Of a recording without frames before its first one: goes with that."""
        self._opened = threading.Event()
        self._thread: threading.Thread | None = None
        # Written by the recorder's thread, read by anybody.
        self._state: State = "recording"
        self._error: str | None = None
        self._notice: str | None = None
        self._told: tuple[State, str | None] = ("recording", None)
        self._size = 0
        self._lost = 0
        self._since_wall_ns = time.time_ns()
        self._worker: _Worker | None = None

    # -- what others call ---------------------------------------------------------------------------

    def start(self) -> None:
        """Open the file, in the recorder's thread. Trouble shows in `status`."""
        self._thread = threading.Thread(target=self._run, name="dctop-recorder", daemon=True)
        self._thread.start()

    def wait_opened(self, timeout: float | None = None) -> bool:
        """Block until the file is open or that failed; True while recording."""
        self._opened.wait(timeout)
        return self._state in ("recording", "disk-full")

    def begin(self, frames: Sequence[Frame], alerts: Sequence[Alert], begun: bytes | None) -> None:
        """Before the first `put`: what was before it. `frames`: context, with the `alerts` open in them;
        `begun`: what the rules know now. Not lost, however many there are."""
        if self._state in ("failed", "stopped"):
            return
        raws = []
        for frame in frames:
            known = [a for a in alerts if a.opened_wall_ns <= frame.wall_ns]
            changes = self._taker.take(known, (), frame.wall_ns)
            raws.append(_Raw(frame, frame.seq, frame.wall_ns, changes, None, []))
        if raws:
            raws[-1].changes.begun = begun
        elif begun is not None:
            self._begun = begun
        with self._wake:
            self._queue.extend(raws)
            self._wake.notify()

    def put(
        self,
        frame: Frame,
        alerts: Sequence[Alert],
        runs: Sequence[RunState],
        values: Mapping[str, Value] | None = None,
    ) -> None:
        """Take this tick. Never blocks: when the recorder is 120 frames behind, the oldest is lost.

        To be called in the thread that owns `alerts` and `runs`. `values`: the tick's Snapshot.values, saves
        deriving them again for the rollups.
        """
        if self._state in ("failed", "stopped") or self._stop_reason is not None:
            return
        try:
            changes = self._taker.take(alerts, runs, frame.wall_ns)
        except Exception:
            log.exception("alerts and runs of a tick could not be recorded")
            changes = Changes()
        changes.begun, self._begun = self._begun, None
        if self.first_seq is None:
            self.first_seq = frame.seq
        with self._wake:
            self._queue.append(_Raw(frame, frame.seq, frame.wall_ns, changes, values, []))
            self._framed += 1
            if self._framed > QUEUE:
                self._lose_oldest()
            self._urgent |= changes.urgent
            self._wake.notify()

    def _lose_oldest(self) -> None:
        """The lock is held. Alerts, events and run states of the tick stay, its steps only for a while."""
        raw = next(raw for raw in self._queue if raw.frame is not None)
        self._gaps.lose(raw.seq, raw.wall_ns, "the recorder could not keep up")
        raw.frame, raw.values = None, None
        self._framed -= 1
        self._lost += 1
        if len(self._queue) > RING:
            raw.changes.steps.clear()
        if raw.changes.empty and not raw.marks:
            self._queue.remove(raw)

    def mark(self, text: str, kind: str = "marker", wall_ns: int | None = None) -> None:
        """An event of the user's or of the program's: marker | note | phase | config."""
        wall = time.time_ns() if wall_ns is None else wall_ns
        with self._wake:
            mark = Mark(kind, wall, None, mask_text(text))
            self._queue.append(_Raw(None, -1, wall, Changes(), None, [mark]))
            self._urgent = True
            self._wake.notify()

    def save_copy(self, path: Path, reason: str, done: Callable[[str | None], None]) -> None:
        """Write all that is recorded by now into another file, closed and complete, and go on recording.
        `done` is called in the recorder's thread with one line of what went wrong, or None."""
        with self._wake:
            if self._state in ("failed", "stopped") or self._stop_reason is not None:
                done(self._error or "nothing is being recorded")
                return
            self._copies.append(_Copy(path, reason, done))
            self._urgent = True
            self._wake.notify()

    def stop(self, reason: str = "stopped", timeout: float = 10.0) -> None:
        """Close the file cleanly and wait for that, at most `timeout` seconds."""
        with self._wake:
            if self._stop_reason is None:
                self._stop_reason = reason
            self._wake.notify()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        if self._state in ("recording", "disk-full") and (thread is None or not thread.is_alive()):
            self._state = "stopped"

    @property
    def saved_seq(self) -> int:
        """The newest frame that is safely on disk; -1 before the first."""
        worker = self._worker
        return -1 if worker is None else worker.store.saved_seq

    @property
    def status(self) -> RecorderStatus:
        worker = self._worker
        return RecorderStatus(
            self._state, self.path, self._size, None if worker is None else worker.bytes_per_hour(),
            self._lost, self._since_wall_ns, self._error or self._notice,
        )  # fmt: skip

    # -- the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            worker = self._worker = _Worker(self._open(), self)
        except (OSError, sqlite3.Error, RecordingError) as e:
            if isinstance(e, FileNotFoundError) and self.path.parent.is_dir():  # /proc and the like
                self._fail(f"no file can be made in {self.path.parent}: record elsewhere with -o")
            else:
                self._fail(_why(e, self.path))
            return
        finally:
            self._opened.set()
        try:
            worker.loop()
        except Exception as e:  # a bug here must not end in silence
            log.exception("recorder failed")
            self._fail(f"internal error: {type(e).__name__}: {e}; report it with the log")
            worker.store.release()
        self._tell()

    def _tell(self) -> None:
        """Call `on_news` where there is any."""
        news = self._state, self._error or self._notice
        if news != self._told:
            self._told = news
            if self.on_news is not None:
                self.on_news()

    def _open(self) -> Store:
        folder = str(self.path.parent)
        # A WAL needs shared memory, which no server gives to two hosts.
        network = network_fs(folder)
        if network is not None:
            self._notice = f"{folder} is on {network}: recording without WAL, readers may delay it"
        return Store(
            self.path,
            interval_s=self.interval_s,
            meta=self._meta,
            durability=self._durability,
            wal=network is None,
        )

    def _fail(self, why: str) -> None:
        self._state, self._error = "failed", why
        with self._wake:
            copies, self._copies = self._copies, []
            self._lost += sum(raw.frame is not None for raw in self._queue)
            self._queue.clear()
            self._framed = 0
        log.warning("recording failed: %s", why)
        for copy in copies:
            copy.done(why)

    def _drain(self, pause: float | None) -> tuple[list[_Raw], str | None]:
        """What has come, waiting for it at most `pause` seconds (None: as long as it takes)."""
        with self._wake:
            if not self._queue and not self._copies and self._stop_reason is None:
                self._wake.wait(pause)
            out = [_Raw(None, m.seq or 0, m.t0, Changes(), None, [m]) for m in self._gaps.marks]
            self._gaps.marks.clear()
            out += self._queue
            self._queue.clear()
            self._framed = 0
            return out, self._stop_reason

    def _hold(self, until: float) -> None:
        """Let more frames gather until monotonic `until`; something urgent or the end comes first."""
        with self._wake:
            while self._stop_reason is None and not self._urgent:
                left = until - time.monotonic()
                if left <= 0 or not self._wake.wait(left):
                    break
            self._urgent = False


class _Worker:
    """The recorder's thread: its frames on their way, its store, its retries."""

    def __init__(self, store: Store, owner: Recorder) -> None:
        self.store = store
        self.owner = owner
        self.pending: deque[Item] = deque()
        self._flattener = Flattener()
        self._picker = ProcessPicker()
        self._builder = SnapshotBuilder()
        self._process_sample: Sample | None = None
        self._table: Table | None = None
        self._gaps = Gaps()
        self._low = False
        self._guard_at = 0.0
        self._last_commit = 0.0
        self._retry_at: float | None = None
        self._stuck_since: float | None = None
        self._chunks = 0

    def loop(self) -> None:
        owner = self.owner
        while True:
            pause = None if self._retry_at is None else max(0.05, self._retry_at - time.monotonic())
            raws, stop = owner._drain(pause)
            self.pending.extend(map(self._take, raws))
            if stop is not None:
                self._finish(stop)
                return
            now = time.monotonic()
            if self._retry_at is not None:
                self._trim()
                if now < self._retry_at:
                    continue
            elif self.pending and now - self._last_commit < COMMIT_S:
                owner._hold(self._last_commit + COMMIT_S)
                more, _ = owner._drain(0.0)
                self.pending.extend(map(self._take, more))
            if self.pending and not self._save():
                return
            self._copy()
            self._guard()
            owner._tell()

    def _take(self, raw: _Raw) -> Item:
        """Flatten once: whether a sample is new is told by its identity, and only the first look can."""
        frame = raw.frame
        if frame is None:
            return Item(raw.wall_ns, raw.seq, None, None, raw.changes, (), raw.marks)
        sample = frame.samples.get("process")
        if sample is not self._process_sample:
            self._process_sample = sample
            table = None if sample is None else sample.processes
            keep = table is not None and not self._low
            self._table = self._picker.pick(table or (), raw.changes.pids) if keep else None
        flat = self._flattener.flatten(frame, self._table, raw.changes.hot)
        values = raw.values
        if values is None:
            values = self._builder.push(frame).values
        return Item(raw.wall_ns, raw.seq, flat, values, raw.changes, frame.events, raw.marks)

    def _save(self) -> bool:
        """Write all that is pending; False where recording has ended for good."""
        owner = self.owner
        try:
            owner._size = self.store.sizes()[1]
            self.store.write([*self._gaps.items(), *self.pending])
        except (sqlite3.Error, OSError) as e:
            return self._trouble(e)
        self.pending.clear()
        self._gaps.marks.clear()
        self._last_commit = time.monotonic()
        self._retry_at = self._stuck_since = None
        if owner._state != "recording":
            owner._state, owner._error = "recording", None
            log.info("recording goes on")
        if owner.on_saved is not None:
            owner.on_saved(self.store.saved_seq)
        return True

    def _trouble(self, e: Exception) -> bool:
        owner = self.owner
        now = time.monotonic()
        kind = _classify(e, self.store)
        if kind == "busy":  # a reader in rollback mode: simply later
            self._retry_at = now + 0.5
            return True
        if kind == "io":
            self._stuck_since = self._stuck_since or now
            kind = "failed" if now - self._stuck_since > STUCK_S else "full"
        if kind == "full":
            if owner._state != "disk-full":
                log.warning("recording paused: %s", e)
            owner._state = "disk-full"
            owner._error = f"no space for {owner.path}: free some, recording goes on by itself"
            self._retry_at = now + RETRY_S
            self._trim()
            return True
        owner._lost += sum(item.flat is not None for item in self.pending)
        owner._fail(_why(e, owner.path))
        self.store.release()
        return False

    def _trim(self) -> None:
        """Keep the newest 600 frames; alerts, events and run states stay longer than frames."""
        over = sum(item.flat is not None for item in self.pending) - RING
        if over <= 0:
            return
        kept: deque[Item] = deque()
        for item in self.pending:
            if over > 0 and item.flat is not None:
                over -= 1
                self.owner._lost += 1
                self._gaps.lose(item.seq, item.wall_ns, "no space on the disk")
                item.flat, item.values = None, None
                item.changes.steps.clear()
            if item.flat is not None or item.marks or item.kernel or not item.changes.empty:
                kept.append(item)
        self.pending = kept

    def _guard(self) -> None:
        """Once in ten seconds: how much room is left; once a chunk: caps."""
        now = time.monotonic()
        if now < self._guard_at or self._retry_at is not None:
            return
        self._guard_at = now + GUARD_S
        owner = self.owner
        try:
            low = low_space(owner.path.parent, owner.caps)
            if low != self._low:
                self._low = low
                self._process_sample = None
                text = "disk space is low: process tables are not recorded" if low else "process tables again"
                owner._notice = text if low else None
                self.pending.append(Item(time.time_ns(), -1, None, None, Changes(), (), [
                    Mark("config", time.time_ns(), None, text)
                ]))  # fmt: skip
            chunks = self.store.chunks
            if chunks != self._chunks:
                self._chunks = chunks
                evict(self.store.db, owner.caps, low)
        except (sqlite3.Error, OSError) as e:
            log.warning("keeping the recording within its caps failed: %s", e)

    def _copy(self) -> None:
        """Save the copies that were asked for."""
        with self.owner._wake:
            asked, self.owner._copies = self.owner._copies, []
        for copy in asked:
            error: str | None = None
            try:
                save_copy(self.store.db, copy.path, copy.reason)
            except (sqlite3.Error, OSError, RecordingError) as e:
                error = _why(e, copy.path)
                log.warning("saving a copy failed: %s", error)
            try:
                copy.done(error)
            except Exception:
                log.exception("telling of a saved copy failed")

    def _finish(self, reason: str) -> None:
        owner = self.owner
        if self.pending and not self._save():
            return
        self._copy()
        if self.pending:  # the disk is full to the end
            owner._lost += sum(item.flat is not None for item in self.pending)
        try:
            evict(self.store.db, owner.caps, False)
            self.store.close(reason)
            owner._size = owner.path.stat().st_size
        except (sqlite3.Error, OSError) as e:
            log.warning("recording not closed cleanly (it can be read all the same): %s", e)
            owner._error = _why(e, owner.path)
        owner._state = "stopped"

    def bytes_per_hour(self) -> float | None:
        """From what chunks took so far; None before the first one (the WAL says nothing about the rate)."""
        done = self.store.chunk_seconds
        return self.store.payload_bytes / done * 3600 if done > 0 else None


class Gaps:
    """Events for frames that were lost; consecutive ones are one gap."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self._first = self._last = 0

    def lose(self, seq: int, wall_ns: int, why: str) -> None:
        if self.marks and seq == self._last + 1:
            mark = self.marks[-1]
        else:
            mark = Mark("gap", wall_ns, wall_ns, "", seq=seq)
            self.marks.append(mark)
            self._first = seq
        self._last = seq
        n = seq - self._first + 1
        mark.t1, mark.title = wall_ns, f"{n} frame{'s' if n > 1 else ''} lost: {why}"
        mark.body = f"{self._first}-{seq}"

    def items(self) -> list[Item]:
        return [Item(m.t0, m.seq or 0, None, None, Changes(), (), [m]) for m in self.marks]


_CONSTRAINED = (errno.ENOSPC, errno.EDQUOT)


def _classify(e: Exception, store: Store) -> Literal["full", "busy", "io", "failed"]:
    """What to do about an error while writing."""
    if isinstance(e, OSError):
        return "full" if e.errno in _CONSTRAINED else "failed"
    code = getattr(e, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    basic = code & 0xFF
    if basic == sqlite3.SQLITE_FULL:
        return "full"
    if basic in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "busy"
    if basic == sqlite3.SQLITE_IOERR:
        # A quota shows as a plain write error, a full tmpfs as one on shared memory.
        try:
            store.sizes()
        except OSError:
            return "failed"
        return "io"
    return "failed"


def _why(e: Exception, path: Path) -> str:
    """One line: what is wrong and what to do."""
    if isinstance(e, RecordingError):
        return str(e)
    folder = path.parent
    if not folder.is_dir():
        return f"{folder} does not exist: make it, or record elsewhere with -o"
    if isinstance(e, FileNotFoundError):
        return f"{path} was removed while it was written: start a new recording"
    code = getattr(e, "sqlite_errorcode", None)
    read_only = isinstance(e, OSError) and e.errno == errno.EROFS
    if read_only or (code is not None and code & 0xFF == sqlite3.SQLITE_READONLY):
        return f"{folder} is read-only: record elsewhere with -o"
    if isinstance(e, PermissionError) or not os.access(folder, os.W_OK):
        return f"{folder} is not writable: record elsewhere with -o"
    full = code is not None and code & 0xFF == sqlite3.SQLITE_FULL
    if full or (isinstance(e, OSError) and e.errno in _CONSTRAINED):
        return f"no space for {path}: free some, or record elsewhere with -o"
    return f"{path} cannot be written ({' '.join(str(e).split())}): record elsewhere with -o"
