"""What kind of terminal this is: colours, glyphs, size. No Textual."""

from __future__ import annotations

import os
from collections.abc import Mapping

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
