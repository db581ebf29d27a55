"""Text from outside made safe to draw: printable, of known width, cut or wrapped by cells."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rich.cells import get_character_cell_size

from dctop.tui.draw.rows import fit, width

_DROP = ("Mn", "Me", "Cf")
"""Zero-width categories. Terminals disagree about what a base with joiners measures, and the format
characters can reverse the order of a whole row, so they are not drawn."""


def clean(text: str, unicode: bool = True) -> str:
    """`text` as one line whose width `rows.width` knows: control characters, lone surrogates and
    unassigned characters become `?`, zero-width ones are dropped; without `unicode` all but ASCII become `?`.
    """
    if text.isascii() and text.isprintable():
        return text
    return _clean(text, unicode)


@lru_cache(4096)
def _clean(text: str, unicode: bool) -> str:
    out: list[str] = []
    for c in text:
        if " " <= c <= "~":
            out.append(c)
        elif c in "\t\n\r\v\f":
            out.append(" ")
        elif not unicode:
            out.append("?" * (not _zero_width(c)))
        elif _zero_width(c):
            continue
        elif c.isprintable():
            out.append(c)
        else:
            out.append(" " if c.isspace() else "?")
    return "".join(out)


def _zero_width(c: str) -> bool:
    # Both questions: a control character measures 0 too, but it must leave a mark.
    return unicodedata.category(c) in _DROP or (c.isprintable() and get_character_cell_size(c) == 0)


def middle(text: str, cells: int, ellipsis: str = "…") -> str:
    """At most `cells` wide, cut in the middle: the ends of a path tell more than its middle."""
    if width(text) <= cells:
        return text
    room = cells - width(ellipsis)
    if room < 2:
        return fit(text, max(0, cells), "<", "")
    left = (room + 1) // 2
    head = fit(text, left, "<", "").rstrip()
    return head + ellipsis + _tail(text, cells - width(head) - width(ellipsis))


def _tail(text: str, cells: int) -> str:
    if text.isascii():
        return text[len(text) - cells :]
    start = len(text)
    used = 0
    while start > 0:
        w = width(text[start - 1])
        if used + w > cells:
            break
        used += w
        start -= 1
    return text[start:]


@lru_cache(1024)
@lru_cache(256)
def wrap(text: str, cells: int) -> tuple[str, ...]:
    """Lines of at most `cells`, broken at spaces, longer words wherever they reach the edge.

    A double-width character that does not fit one cell is drawn as `?`. No text gives no lines.
    """
    if cells <= 0:
        return ()
    lines: list[str] = []
    line, used = "", 0
    for word in text.split():
        w = width(word)
        if line and used + 1 + w <= cells:
            line, used = f"{line} {word}", used + 1 + w
            continue
        if line:
            lines.append(line)
        # A language without spaces is one long word: break it at the edge.
        while w > cells:
            head = fit(word, cells, "<", "").rstrip(" ")
            if not head:
                head, word = "?", word[1:]
            else:
                word = word[len(head) :]
            lines.append(head)
            w = width(word)
        line, used = word, w
    if line:
        lines.append(line)
    return tuple(lines)
