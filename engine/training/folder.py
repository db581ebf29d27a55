"""The folder of runs: which there are, at the price of a stat while none comes or goes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

INFER = "infer"
"""The workload of a measurement of inference, which is kept among the runs."""
_SETTLE_NS = 2 * 10**9


class RunsFolder:
    """`wall`: Unix time in ns, for tests."""

    def __init__(self, path: Path, wall: Callable[[], int] = time.time_ns) -> None:
        self.path, self._wall = path, wall
        self._mark: int | None = None

    def news(self) -> list[str] | None:
        """Ids of all runs, newest first, if the folder's time says something was created or removed in it."""
        try:
            mark = self.path.stat().st_mtime_ns
        except OSError:
            mark = 0
        if mark == self._mark:
            return None
        # Two changes within one tick of the file system's clock look like one: look again once it is old.
        self._mark = mark if self._wall() - mark > _SETTLE_NS else None
        return run_ids(self.path)


def run_ids(runs_dir: Path) -> list[str]:
    """Ids of all runs, newest first (ids begin with their time)."""
    try:
        with os.scandir(runs_dir) as entries:
            names = [
                e.name for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []
    return sorted(names, reverse=True)
