"""Single keys while `dctop record` runs in the foreground of a terminal."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Mapping
from typing import Any

JOIN_S = 0.5
"""It ends at once; a terminal that hangs must not keep the program."""


class Keys:
    """Calls `answers[key]` in a thread of its own; use it in `with`, in the main thread. Elsewhere than in
    the foreground of a terminal it does nothing: a background job that read from it would be stopped by the
    kernel. It sleeps until a key comes or the job is continued (SIGCONT, also when brought to the front)."""

    def __init__(self, answers: Mapping[str, Callable[[], None]]) -> None:
        self._answers = answers
        self._fd = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else -1
        self._before: list[Any] | None = None
        self._ending = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Keys:
        if self._fd >= 0:
            self._woken, self._waker = os.pipe()
            os.set_blocking(self._waker, False)
            self._continued = signal.signal(signal.SIGCONT, lambda *_: self._wake())
            self._thread = threading.Thread(target=self._run, name="dctop-keys", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._thread is None:
            return
        self._ending = True
        self._wake()
        self._thread.join(JOIN_S)
        signal.signal(signal.SIGCONT, self._continued)
        if self._before is not None and self._foreground():
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is being woken as it is
            os.write(self._waker, b".")

    def _foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return False

    def _run(self) -> None:
        try:
            while not self._ending:
                here = self._foreground()
                if here:
                    self._single_keys()
                ready, _, _ = select.select([self._woken, self._fd] if here else [self._woken], [], [])
                if self._woken in ready:
                    os.read(self._woken, 64)
                elif self._foreground() and not self._answer(os.read(self._fd, 32)):
                    return
        except (OSError, termios.error, ValueError):
            return

    def _answer(self, data: bytes) -> bool:
        """False: the terminal is gone."""
        for char in data.decode(errors="replace"):
            answer = self._answers.get(char)
            if answer is not None:
                answer()
        return bool(data)

    def _single_keys(self) -> None:
        """Keys come without enter (also again after a stop); ctrl+c stays what it is."""
        modes = termios.tcgetattr(self._fd)
        if modes[3] & termios.ICANON:
            self._before = modes
            tty.setcbreak(self._fd, termios.TCSADRAIN)
