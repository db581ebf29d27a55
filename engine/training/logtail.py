"""The last lines a run printed: read again only when its stdout.log has grown."""

from __future__ import annotations

import re
from pathlib import Path

LINES = 40
_BYTES = 16 << 10
_LONGEST = 300
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")


class LogTail:
    """`lines`, oldest first: the end of a file. A poll without news is one stat."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: tuple[str, ...] = ()
        self._mark: tuple[int, int] | None = None

    def poll(self) -> bool:
        """True: there are other lines now."""
        try:
            status = self.path.stat()
            mark = (status.st_size, status.st_mtime_ns)
            if mark == self._mark:
                return False
            with self.path.open("rb") as log:
                log.seek(max(0, status.st_size - _BYTES))
                data = log.read(_BYTES)
        except OSError:
            return False
        self._mark = mark
        lines = tail_of(data, whole=status.st_size <= _BYTES)
        changed, self.lines = lines != self.lines, lines
        return changed


def tail_of(data: bytes, whole: bool = True) -> tuple[str, ...]:
    """The last lines of some output: without colours, and of a line that was written over (a progress
    bar's carriage returns) what was written last. `whole` False: the first line may be cut off."""
    text = _ESCAPE.sub("", data.decode("utf-8", "replace"))
    lines = text.split("\n")
    if not whole:
        lines = lines[1:]
    last = [line.rstrip("\r").rpartition("\r")[2].rstrip()[:_LONGEST] for line in lines]
    return tuple(line for line in last if line)[-LINES:]
