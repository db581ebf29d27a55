"""Single keys while `dctop record` runs in the foreground of a terminal."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Mapping
from typing import Any

LOOK_S = 0.25


class Keys:
    """Calls `answers[key]` in a thread of its own; use it in `with`. Elsewhere than in the foreground of a
    terminal it does nothing: a background job that read from it would be stopped by the kernel."""

    def __init__(self, answers: Mapping[str, Callable[[], None]]) -> None:
        self._answers = answers
        self._fd = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else -1
        self._before: list[Any] | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Keys:
        if self._fd >= 0:
            self._thread = threading.Thread(target=self._run, name="dctop-keys", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join(2 * LOOK_S)
        if self._before is not None and self._foreground():
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def _foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return False

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                if not self._foreground():
                    self._end.wait(LOOK_S)
                    continue
                self._single_keys()
                ready, _, _ = select.select([self._fd], [], [], LOOK_S)
                if ready and self._foreground():
                    data = os.read(self._fd, 32)
                    if not data:
                        return
                    for char in data.decode(errors="replace"):
                        answer = self._answers.get(char)
                        if answer is not None:
                            answer()
        except (OSError, termios.error, ValueError):
            return

    def _single_keys(self) -> None:
        """Keys come without enter (also again after a stop); ctrl+c stays what it is."""
        modes = termios.tcgetattr(self._fd)
        if modes[3] & termios.ICANON:
            self._before = modes
            tty.setcbreak(self._fd, termios.TCSADRAIN)
