"""How many descriptors the process probe may keep, so that it never starves the rest of the program."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable

RESERVE = 256
"""Descriptors left to everybody else: terminal, recording, runs, sockets, child pipes."""
LISTING = 1
"""What finds new processes keeps /proc/loadavg open: the probe's own, so not out of `RESERVE`."""
MOST = 1 << 17
"""The soft limit is not raised beyond this: more processes than that are read without keeping."""
SHED = 64
"""Descriptors given back when the system has run out."""


def raise_limit() -> int:
    """Raise the soft RLIMIT_NOFILE towards the hard one; the soft limit now in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    goal = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY:
        return MOST
    if soft < goal:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
        except (OSError, ValueError):
            return soft
        return goal
    return soft


class FdBudget:
    """Opens files and decides which descriptors may be kept.

    `limit`: how many at most; None: the process's limit, raised as far as allowed, less `RESERVE` and
    `LISTING`.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._kept = 0
        self.short: str | None = None
        """One line once descriptors could not be kept for all."""

    def open(self, path: str, shed: Callable[[int], None]) -> int:
        """A descriptor that `keep` or `close` must follow. Out of descriptors: `shed` gives some back,
        one more try. Raises OSError."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            return os.open(path, flags)
        except OSError as e:
            self.relieve(e, shed)
            return os.open(path, flags)

    def relieve(self, e: OSError, shed: Callable[[int], None]) -> None:
        """Where `e` says that there are no descriptors left (somebody else used them up), have some given
        back and keep fewer from now on. Raises any other `e`."""
        if e.errno not in (errno.EMFILE, errno.ENFILE):
            raise e
        self._limit = max(0, self._kept - SHED)
        self.short = f"out of file descriptors ({e.strerror})"
        shed(SHED)

    def keep(self, fd: int) -> bool:
        """True: the descriptor may stay open and counts. False: it has been closed."""
        limit = self._limit
        if limit is None:
            limit = self._limit = max(0, raise_limit() - RESERVE - LISTING)
        if self._kept >= limit:
            self.short = self.short or f"file descriptor limit {limit + RESERVE + LISTING}"
            os.close(fd)
            return False
        self._kept += 1
        return True

    def close(self, fd: int) -> None:
        """Close a kept descriptor."""
        self._kept -= 1
        os.close(fd)
