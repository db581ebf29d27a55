"""The terminal driver: Textual's, but it sleeps until there is something to read.

The stock driver wakes ten times a second to look for keys, asks for every mouse movement (2 ms of CPU each),
spins when its terminal has gone, and blocks the whole program when the terminal does not take output. This
one sleeps in poll, asks for clicks, drags and the wheel only, and reports a terminal that is gone. What the
terminal takes at once is written without waking the thread that waits for it when it does not.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import select
import sys
import termios
import time
from codecs import getincrementaldecoder
from collections.abc import Callable
from threading import Thread
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from textual.app import App

T = TypeVar("T")
log = logging.getLogger(__name__)

ESCAPE_POLL_MS = 100
"""While a lone ESC may still become a sequence, or the driver is leaving: the only times it polls."""
CLOSE_WAIT_S = 2.0
"""How long leaving waits for a terminal that does not take its output."""


class PatientFile:
    """The terminal as a text file that survives the terminal's end: later writes go nowhere."""

    def __init__(self, file: IO[str], lost: Callable[[], None]) -> None:
        self._file = file
        self._lost = lost
        self.broken = False
        self._taken = 0
        self.done = 0
        """Writes that are through to the terminal, or lost."""

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, text: str | bytes) -> int:
        """`bytes`: the end of something whose beginning was written past this file."""
        self._taken += 1
        if isinstance(text, str):
            return self._try(lambda: self._file.write(text)) or 0
        return self._try(lambda: self._rest(text)) or 0

    def _rest(self, data: bytes) -> int:
        self._file.flush()
        return self._file.buffer.write(data)  # type: ignore[attr-defined,no-any-return]

    def flush(self) -> None:
        self._try(self._file.flush)
        self.done = self._taken

    def _try(self, call: Callable[[], T]) -> T | None:
        if self.broken:
            return None
        try:
            return call()
        except (OSError, ValueError):
            self.broken = True
            self._lost()
            return None


class SleepingDriver(LinuxDriver):
    """See the module. `wakeups` counts returns from poll."""

    def __init__(
        self,
        app: App[Any],
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        out = sys.__stdout__
        assert out is not None
        # Standard output, not standard error: `dctop 2>err.log` must still show a screen. A character the
        # terminal's encoding lacks becomes `?` instead of ending the writer.
        self._out = os.dup(out.fileno())
        text = open(  # noqa: SIM115
            self._out, "w", encoding=out.encoding, errors="replace", newline=""
        )
        self._file = PatientFile(text, self._terminal_gone)  # type: ignore[assignment]
        self._encoding = out.encoding
        self._direct = -1
        """The terminal opened anew, so that only this descriptor does not wait; -1: it could not be."""
        self._queued = 0
        """Writes given to the writer thread."""
        self.wakeups = 0
        self.stuck = False
        """True after the terminal stopped taking output; cleared by the next write it takes."""
        self._leaving = False
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    # -- output -------------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """Writes the terminal has not taken yet: while there are several, drawing more is useless."""
        writer = self._writer_thread
        return 0 if writer is None else writer._queue.qsize()

    def write(self, data: str) -> None:
        """Write what the terminal takes at once, queue the rest for the writer thread. The thread that draws
        and answers keys must not hang on a stuck terminal: after a while the data is dropped (the app
        repaints once the terminal reads again)."""
        writer = self._writer_thread
        assert writer is not None, "not in application mode"
        rest: str | bytes = data
        if self._direct >= 0 and self._queued == cast(PatientFile, self._file).done:
            rest = self._at_once(data)
            if not rest:
                self.stuck = False
                return
        with contextlib.suppress(queue.Full):
            writer._queue.put(rest, timeout=0 if self.stuck else CLOSE_WAIT_S)  # type: ignore[arg-type]
            self._queued += 1
            self.stuck = False
            return
        self.stuck = True

    def _at_once(self, data: str) -> bytes:
        """Write without waiting; what is left over."""
        whole = data.encode(self._encoding, "replace")
        try:
            return whole[os.write(self._direct, whole) :]
        except OSError:  # it takes nothing just now; or it is gone, as the writer thread will find
            return whole

    def close(self) -> None:
        direct, self._direct = self._direct, -1
        if direct >= 0:
            os.close(direct)
        writer = self._writer_thread
        if writer is None or not writer.is_alive():
            return
        with contextlib.suppress(queue.Full):
            writer._queue.put(None, timeout=0 if self.stuck else CLOSE_WAIT_S)
        writer.join(CLOSE_WAIT_S)
        if writer.is_alive():
            self._abandon(writer)

    def _abandon(self, writer: Thread) -> None:
        """The terminal still takes nothing: throw away what waits in it, so that the writer comes back.
        A thread left hanging in a write would hang the interpreter's end too."""
        file = cast(PatientFile, self._file)
        file.broken = True
        end = time.monotonic() + CLOSE_WAIT_S
        while writer.is_alive() and time.monotonic() < end:
            with contextlib.suppress(termios.error, OSError):
                termios.tcflush(self._out, termios.TCOFLUSH)
            with contextlib.suppress(queue.Full):
                writer._queue.put(None, timeout=0)  # type: ignore[attr-defined]
            writer.join(0.05)

    def start_application_mode(self) -> None:
        self._leaving = False
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            self._direct = os.open(os.ttyname(self._out), flags)
        super().start_application_mode()  # type: ignore[no-untyped-call]
        # What the stock driver found is the terminal already without echo: see `terminal.no_echo`.
        self.attrs_before = getattr(self._app, "terminal_before", None) or self.attrs_before

    def _get_terminal_size(self) -> tuple[int, int]:
        """From the terminal itself: COLUMNS and LINES in the environment go stale with the first resize."""
        try:
            width, height = os.get_terminal_size(self._out)
        except OSError:
            width = height = 0
        return width or 80, height or 24

    def _enable_mouse_support(self) -> None:
        if self._mouse:
            # Buttons and wheel, motion while a button is held, coordinates beyond column 223.
            self.write("\x1b[?1000h\x1b[?1002h\x1b[?1006h")

    def _disable_mouse_support(self) -> None:
        if self._mouse:
            self.write("\x1b[?1006l\x1b[?1002l\x1b[?1000l")

    def _enable_mouse_pixels(self) -> None:
        """Positions in cells are all that is needed; pixels are off."""

    # -- input --------------------------------------------------------------------------------------

    def disable_input(self) -> None:
        self._leaving = True
        self._wake()
        super().disable_input()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake_w, b".")

    def _run_input_thread(self) -> None:
        """As the stock driver's, but the fault reaches the log."""
        try:
            self.run_input_thread()
        except BaseException as e:
            log.critical("reading keys failed", exc_info=e)
            with contextlib.suppress(RuntimeError):  # the loop has already ended
                self._loop.call_soon_threadsafe(self._app.panic)

    def run_input_thread(self) -> None:
        """Wait for input and pass it on until the driver leaves or the terminal has gone."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        # poll, not select: with thousands of processes watched, descriptors go beyond select's 1,023.
        poll = select.poll()
        for fd in (self.fileno, self._wake_r):
            poll.register(fd, select.POLLIN)
        try:
            while not self.exit_event.is_set():
                timeout = ESCAPE_POLL_MS if self._leaving or parser._timeout_time is not None else None
                ready = {fd for fd, _ in poll.poll(timeout)}
                self.wakeups += 1
                if self._wake_r in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_r, 64)
                if self.fileno in ready:
                    try:
                        data = os.read(self.fileno, 4096)
                    except OSError:  # EIO: the other end of the terminal was closed
                        data = b""
                    if not data:
                        self._terminal_gone()
                        return
                    for event in parser.feed(decode(data)):
                        self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
        finally:
            with contextlib.suppress(EOFError, ParseError):
                for _ in parser.feed(""):
                    pass

    def _terminal_gone(self) -> None:
        """Called in a driver thread."""
        gone = getattr(self._app, "terminal_gone", None)
        if gone is not None:
            with contextlib.suppress(RuntimeError):  # the loop has already ended
                self._loop.call_soon_threadsafe(gone)

    def stop_application_mode(self) -> None:
        with contextlib.suppress(termios.error, OSError):
            super().stop_application_mode()
