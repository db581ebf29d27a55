"""Who is new in /proc, without listing it every time."""

from __future__ import annotations

import os

from dctop.probes.base import KeptFile
from dctop.probes.files import number, read_whole

LISTED_IN_S = 60.0
"""/proc is listed at least this often although new pids can be followed."""
LIST_KEPT_S = 5.0
"""... and where they cannot: a listing stands this long while nothing seems to have changed."""
MAX_CANDIDATES = 200
"""More new pids than this since the last time: list."""


class PidWatch:
    """Pids are given in order, and /proc/loadavg has the last one given: what is new lies between that
    and the last one before. Listing costs as much as reading the stat of a fifth of what is listed.

    Not followed but listed: another pid namespace's /proc, an imitation of loadavg, a file tree in a test.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._loadavg = KeptFile(f"{root}/loadavg", 256)
        self._in_order = own_pids(root)
        self._tasks: int | None = None
        self._last: int | None = None
        self._listed_at: float | None = None
        self._unborn: list[int] = []

    def poll(self, now: float) -> tuple[set[str] | None, list[int]]:
        """(all names in /proc, none) or (None, numbers that may be new processes; or new threads, or
        nothing). `now`: monotonic seconds. Raises OSError where /proc cannot be listed."""
        tasks, last = self._numbers()
        before, self._last = self._last, last
        tasks_before, self._tasks = self._tasks, tasks
        age = LISTED_IN_S if self._listed_at is None else now - self._listed_at
        again, self._unborn = self._unborn, []
        if last is None or before is None or age >= LISTED_IN_S:
            return self._list(now), []
        since = last - before
        if not self._in_order:
            same = since == 0 and tasks == tasks_before and age < LIST_KEPT_S
            return (None, []) if same else (self._list(now), [])
        if not 0 <= since <= MAX_CANDIDATES:
            return self._list(now), []
        new = list(range(before + 1, last + 1))
        # A pid is given a moment before its process can be seen: ask for those not found once more.
        self._unborn = new
        return None, again + new

    def settle(self, pid: int) -> None:
        """A candidate was found to be something: no need to ask for it again."""
        if pid in self._unborn:
            self._unborn.remove(pid)

    def close(self) -> None:
        self._loadavg.close()

    def _list(self, now: float) -> set[str]:
        self._listed_at = None  # should this fail, the next poll lists
        names = set(os.listdir(self._root))  # noqa: PTH208 - half the price
        self._listed_at = now
        return names

    def _numbers(self) -> tuple[int | None, int | None]:
        """(number of tasks, last pid given); None where loadavg does not say."""
        try:
            parts = self._loadavg.read().split()
        except OSError:
            return None, None
        if len(parts) != 5:
            return None, None
        return number(parts[3].rpartition(b"/")[2]), number(parts[4])


def own_pids(root: str) -> bool:
    """Whether loadavg tells the last pid of the pid namespace that `root` shows: `self` leads to the own
    pid, and no container manager (lxcfs) has mounted an imitation over the file."""
    try:
        if os.readlink(f"{root}/self") != str(os.getpid()):  # noqa: PTH115
            return False
        mounts = read_whole(f"{root}/self/mountinfo")
    except OSError:
        return False
    return f" {root}/loadavg ".encode() not in mounts
