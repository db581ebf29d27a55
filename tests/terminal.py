"""A real pseudo-terminal with a real terminal emulator (pyte) behind it, for tests that act as a user."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

import pyte

KEYS = {
    "enter": "\r", "esc": "\x1b", "tab": "\t", "space": " ", "up": "\x1b[A", "down": "\x1b[B",
    "right": "\x1b[C", "left": "\x1b[D", "home": "\x1b[H", "end": "\x1b[F", "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~", "f1": "\x1bOP", "f2": "\x1bOQ", "f3": "\x1bOR", "f5": "\x1b[15~",
    "f6": "\x1b[17~", "f7": "\x1b[18~", "f8": "\x1b[19~", "f9": "\x1b[20~", "f10": "\x1b[21~",
    "backspace": "\x7f", "ctrl+c": "\x03", "ctrl+z": "\x1a", "shift+tab": "\x1b[Z",
}  # fmt: skip


class Terminal:
    """A program in a pty. Use as a context manager; at the end its whole session is killed."""

    def __init__(
        self,
        command: Sequence[str],
        columns: int = 120,
        rows: int = 40,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> None:
        self.screen = pyte.Screen(max(1, columns), max(1, rows))
        self.stream = pyte.ByteStream(self.screen)
        self.raw = bytearray()
        self.master, slave = pty.openpty()
        self._size(columns, rows)
        full = {
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LANG": "C.UTF-8",
            **os.environ,
            **(env or {}),
        }
        self.process = subprocess.Popen(
            list(command), stdin=slave, stdout=slave, stderr=slave, env=full, cwd=cwd,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)

    def _size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def resize(self, columns: int, rows: int) -> None:
        self._size(columns, rows)
        self.screen.resize(max(1, rows), max(1, columns))

    def send(self, *keys: str) -> None:
        """Key names of KEYS, or text typed as it is."""
        for key in keys:
            os.write(self.master, KEYS.get(key, key).encode())

    def pump(self, seconds: float = 0.0) -> bool:
        """Feed what the program wrote to the emulator; False once it closed its end."""
        end = time.monotonic() + seconds
        while True:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return True
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return False
            if not data:
                return False
            self.raw += data
            self.stream.feed(data)

    def wait_written(self, needle: bytes, timeout: float = 30.0) -> None:
        """Until the program has written this, if only for a moment: what is on the screen is not asked."""
        end = time.monotonic() + timeout
        while needle not in self.raw:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"not written: {needle!r}"
            data = os.read(self.master, 65536)
            self.raw += data
            self.stream.feed(data)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait(self, *needles: str, timeout: float = 30.0, absent: bool = False) -> str:
        """Until all needles are on the screen (or none is, with `absent`); returns the screen's text."""
        end = time.monotonic() + timeout
        while True:
            alive = self.pump(0.05)
            text = self.text
            if absent and not any(n in text for n in needles):
                return text
            if not absent and all(n in text for n in needles):
                return text
            if time.monotonic() > end or (not alive and self.process.poll() is not None):
                what = "still there" if absent else "not seen"
                raise AssertionError(f"{what}: {needles}\n{text}")

    def wait_exit(self, timeout: float = 20.0) -> int:
        """The exit status once the program ends by itself."""
        end = time.monotonic() + timeout
        while self.process.poll() is None:
            if time.monotonic() > end:
                raise AssertionError(f"still running\n{self.text}")
            self.pump(0.05)
        self.pump(0.05)
        return self.process.returncode
