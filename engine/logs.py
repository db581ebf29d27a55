"""Logging to `$XDG_STATE_HOME/dctop/log`: small, private, and never a reason to fail.

An own handler rather than logging.handlers.RotatingFileHandler: that module imports socket, pickle and
queue (start-up time), and two running dctops would rotate each other's file away.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from pathlib import Path

from dctop.engine import paths

MAX_BYTES = 1_000_000
KEPT_LINES = 200
FORMAT = "%(asctime)s %(process)d %(levelname)s %(threadName)s %(name)s: %(message)s"


class LogFile(logging.Handler):
    """Appends to `path`; at `MAX_BYTES` the file becomes `path.1` and a new one begins.

    Where the file cannot be written (read-only home, full disk, no home) the last lines stay in `lines`
    and the reason in `problem`; the next record tries the file again.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        super().__init__()
        self.path = path
        self.max_bytes = max_bytes
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.problem: str | None = None
        self.setFormatter(logging.Formatter(FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as e:  # a log call with wrong arguments is no reason to end
            line = f"log record of {record.name} cannot be formatted: {e}"
        self.lines.append(line)
        try:
            self._write(line.encode(errors="backslashreplace") + b"\n")
            self.problem = None
        except OSError as e:
            self.problem = f"{self.path}: {e.strerror or e}"

    def _write(self, data: bytes) -> None:
        # Opened for each record: records are rare, and another dctop may have rotated the file meanwhile.
        try:
            fd = self._open()
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = self._open()
        try:
            os.write(fd, data)
            full = os.fstat(fd).st_size >= self.max_bytes
        finally:
            os.close(fd)
        if full:
            self.path.replace(self.path.with_name(self.path.name + ".1"))

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self.path, flags, 0o600)


def setup(path: Path | None = None, level: int = logging.INFO) -> LogFile:
    """Send everything logged under `dctop` to the log file. Touches no disk before the first record."""
    logger = logging.getLogger("dctop")
    for old in [h for h in logger.handlers if isinstance(h, LogFile)]:
        logger.removeHandler(old)
    handler = LogFile(paths.log_file() if path is None else path)
    logger.addHandler(handler)
    logger.setLevel(level)
    # The screen belongs to the program: nothing may reach the root logger's stderr.
    logger.propagate = False
    return handler
