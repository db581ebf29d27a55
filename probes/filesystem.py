"""How full the filesystems are: /proc/self/mountinfo and statvfs, which a dead server can hold for ever."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from dctop.probes.base import KeptFile, Sample, Value, series
from dctop.probes.files import printable, reason
from dctop.probes.mounts import Mount, parse_mounts

DEADLINE_S = 2.0
PATIENCE_S = 0.1
"""A filesystem that is well answers in microseconds. After this long those that still wait for their turn are
asked by threads of their own."""
TINY = 1 << 20
"""A tmpfs up to this size is some program's hiding place (credentials, sandbox roots), not storage."""
Statvfs = Callable[[str], os.statvfs_result]
_NUMBERS = ("size_bytes", "used_bytes", "avail_bytes", "inodes", "inodes_free")


class FilesystemProbe:
    """Local and network filesystems. A daemon thread calls statvfs on one after the other and ends; should
    one keep it waiting, each of the rest gets a thread of its own.

    A call that does not come back within `deadline_s` makes its mount `fs.hung` with no values; until it
    comes back no other call is made on it, and nobody else waits for it.
    """

    name = "filesystem"
    lane = "filesystem"

    def __init__(
        self,
        proc: str | Path = "/proc",
        sys: str | Path = "/sys",
        *,
        statvfs: Statvfs = os.statvfs,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.period_s = 5.0
        self._path = Path(proc) / "self" / "mountinfo"
        self._file = KeptFile(self._path, 16384)
        self._statvfs = statvfs
        self._deadline_s = deadline_s
        self._text: bytes | None = None
        self._watches: list[_Watch] = []

    def read(self) -> Sample:
        """Takes up to the deadline when a mount begins to hang, no longer than its answers otherwise."""
        mono, wall = time.monotonic_ns(), time.time_ns()
        try:
            text = self._file.read()
        except OSError as e:
            return Sample("filesystem", mono, wall, {}, problems=(reason(self._path, e),))
        if text != self._text:
            self._text = text
            self._renew(parse_mounts(text))
        self._ask([w for w in self._watches if w.begin()])
        values: dict[str, Value] = {}
        problems: list[str] = []
        for watch in self._watches:
            watch.report(values, problems, self._deadline_s)
        return Sample("filesystem", mono, wall, values, problems=tuple(problems))

    def close(self) -> None:
        self._file.close()
        self._renew([])
        self._text = None

    def _ask(self, watches: list[_Watch]) -> None:
        if not watches:
            return
        began = time.monotonic()
        left = deque(watches)
        _start(left)
        if not _all_done(watches, began + min(PATIENCE_S, self._deadline_s / 4)):
            while (watch := _next(left)) is not None:
                _start(deque((watch,)))
            _all_done(watches, began + self._deadline_s)

    def _renew(self, mounts: list[Mount]) -> None:
        """A mount that stays keeps what is known of it, and the call that is out."""
        old = {(w.mount.id, w.mount.device, w.mount.path): w for w in self._watches}
        self._watches = []
        for mount in mounts:
            watch = old.pop((mount.id, mount.device, mount.path), None) or _Watch(mount, self._statvfs)
            watch.mount = mount  # it may have become read-only
            self._watches.append(watch)


def _start(watches: deque[_Watch]) -> None:
    try:
        threading.Thread(target=_work, args=(watches,), name="dctop-statvfs", daemon=True).start()
    except RuntimeError as e:  # no more threads are to be had
        while (watch := _next(watches)) is not None:
            watch.take(OSError(errno.EAGAIN, str(e)))


def _work(watches: deque[_Watch]) -> None:
    """Ask for what is left, until nothing is: while one hangs, the reader takes the others away."""
    while (watch := _next(watches)) is not None:
        watch.ask()


def _next(watches: deque[_Watch]) -> _Watch | None:
    try:
        return watches.popleft()
    except IndexError:
        return None


def _all_done(watches: Iterable[_Watch], end: float) -> bool:
    """Whether all have answered by `end` (monotonic seconds)."""
    answered = [watch.done.wait(max(0.0, end - time.monotonic())) for watch in watches]
    return all(answered)


class _Watch:
    """One mount and what it answered. `_asked_at` is set while a question is out; the answer clears it."""

    def __init__(self, mount: Mount, statvfs: Statvfs) -> None:
        self.mount = mount
        self.done = threading.Event()
        label = printable(os.fsencode(mount.path), 1024)
        keys = {m: series(f"fs.{m}", mount=label) for m in (*_NUMBERS, "readonly", "hung", "type", "device")}
        self._label = label
        self._keys = keys
        self._statvfs = statvfs
        self._asked_at: float | None = None
        self._answer: os.statvfs_result | OSError | None = None

    def begin(self) -> bool:
        """A question is to be asked; False while the previous one is still out."""
        if self._asked_at is not None:
            return False
        self.done.clear()
        self._asked_at = time.monotonic()
        return True

    def ask(self) -> None:
        """By a thread that may wait for ever."""
        try:
            self.take(self._statvfs(self.mount.path))
        except OSError as e:
            self.take(e)
        except Exception as e:  # a path that cannot be one
            self.take(OSError(0, str(e)))

    def take(self, answer: os.statvfs_result | OSError) -> None:
        self._answer, self._asked_at = answer, None
        self.done.set()

    def report(self, values: dict[str, Value], problems: list[str], deadline_s: float) -> None:
        mount, keys = self.mount, self._keys
        asked = self._asked_at
        hung = asked is not None
        answer = None if hung else self._answer
        if mount.fstype == "tmpfs" and isinstance(answer, os.statvfs_result) and _size(answer) <= TINY:
            return
        values[keys["readonly"]] = int(mount.readonly)
        values[keys["hung"]] = int(hung)
        values[keys["type"]] = printable(os.fsencode(mount.fstype), 64)
        values[keys["device"]] = printable(os.fsencode(mount.source), 512)
        numbers: tuple[int | None, ...] = (None,) * len(_NUMBERS)
        if isinstance(answer, os.statvfs_result):
            numbers = measure(answer)
        elif isinstance(answer, OSError):
            problems.append(reason(self._label, answer))
        elif asked is not None:
            problems.append(f"{self._label}: no answer for {max(deadline_s, time.monotonic() - asked):.0f} s")
        values.update(zip((keys[m] for m in _NUMBERS), numbers))


def _size(st: os.statvfs_result) -> int:
    return st.f_blocks * (st.f_frsize or st.f_bsize)


def measure(st: os.statvfs_result) -> tuple[int | None, ...]:
    """(size, used, avail, inodes, inodes free) in bytes and inodes; None for what the filesystem does not
    know: no size at all (some FUSE), no fixed number of inodes (btrfs, network filesystems say 0)."""
    unit = st.f_frsize or st.f_bsize
    inodes = st.f_files or None
    free = None if inodes is None else min(st.f_favail, inodes)
    if not st.f_blocks:
        return None, None, None, inodes, free
    used = max(0, st.f_blocks - st.f_bfree)
    return st.f_blocks * unit, used * unit, st.f_bavail * unit, inodes, free
