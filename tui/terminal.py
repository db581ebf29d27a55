"""What kind of terminal this is: colours, glyphs, size. No Textual."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from dctop.tui.draw.look import Graph, Look

PLAIN_TERMS = ("dumb", "unknown", "vt100", "vt102", "vt220")
CONSOLE_TERMS = ("linux", "cons25", "sun")
"""Kernel consoles: colours, but hardly any glyph beyond the code page."""


def is_utf8(env: Mapping[str, str]) -> bool:
    """By the locale, as libc would choose it. Nothing set at all counts as UTF-8: over ssh that is the
    usual case, and every terminal of this century reads UTF-8."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = env.get(name, "")
        if value:
            return "utf8" in value.lower().replace("-", "")
    return True


def look_of(graph: str | None, env: Mapping[str, str]) -> Look:
    """The glyphs to draw with: as asked for, else what locale and TERM can show."""
    term = env.get("TERM", "").lower()
    unicode = is_utf8(env) and term not in PLAIN_TERMS and term not in CONSOLE_TERMS
    if graph in ("braille", "block") and unicode:
        return Look("block" if graph == "block" else "braille", True)
    if graph == "ascii" or not unicode:
        return Look("ascii", unicode)
    style: Graph = "braille"
    return Look(style, True)


def size_of(fd: int) -> tuple[int, int]:
    """Columns and rows; 80x24 where the terminal does not say (0x0 on serial lines and bare ptys)."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        columns = rows = 0
    return columns or 80, rows or 24


@contextlib.contextmanager
def no_echo(fd: int) -> Iterator[list[Any] | None]:
    """Keys typed while the program starts are kept for it and not shown: the terminal would write them into
    the middle of what is being drawn. Yields the attributes as they were (None: no terminal), which are
    restored at the end."""
    try:
        before = termios.tcgetattr(fd)
    except termios.error:
        yield None
        return
    quiet = [*before]
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    try:
        termios.tcsetattr(fd, termios.TCSANOW, quiet)
        yield before
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSANOW, before)


@contextlib.contextmanager
def ended_by_signals(failing: bool = False) -> Iterator[None]:
    """SIGTERM and SIGHUP end the program by way of its `finally` clauses, until it has its own handlers for
    them: a terminal must not be left on the other screen, nor a temporary file behind. With status 0; where
    `failing`, as something that was not done, with the shell's 128 + number."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number if failing else 0)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {n: signal.signal(n, end) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
