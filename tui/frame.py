"""A pane's box: border, title, right-hand value, stale mark around a body of rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, blank, fit_row, merge, row_width, width

_ROUND = ("╭", "╮", "╰", "╯", "─", "│")
_HEAVY = ("┏", "┓", "┗", "┛", "━", "┃")
_ASCII = ("+", "+", "+", "+", "-", "|")
_ASCII_FOCUS = ("#", "#", "#", "#", "=", "|")


def box(look: Look, focused: bool) -> tuple[str, str, str, str, str, str]:
    """Corners (tl tr bl br), horizontal, vertical. Focus shows in the shape too, not in colour alone."""
    if look.unicode:
        return _HEAVY if focused else _ROUND
    return _ASCII_FOCUS if focused else _ASCII


def top_line(left: Sequence[Span], right: Sequence[Span], w: int, look: Look, focused: bool) -> Row:
    """`╭─ left ───── right ─╮`; the right part (the current value) survives longest."""
    tl, tr, _, _, h, _ = box(look, focused)
    edge = S.BORDER_FOCUS if focused else S.BORDER
    if w < 2:
        return fit_row([(tl, edge)], w, edge)
    room = w - 4
    rw = row_width(tuple(right))
    right_w = rw + 2 if rw and rw + 2 <= room else 0
    lw = row_width(tuple(left))
    left_w = min(lw + 2, room - right_w) if lw and room - right_w >= 3 else 0
    spans: list[Span] = [(tl + h, edge)]
    if left_w:
        spans += [(" ", edge), *fit_row(left, left_w - 2), (" ", edge)]
    spans.append((h * (room - left_w - right_w), edge))
    if right_w:
        spans += [(" ", edge), *right, (" ", edge)]
    spans.append((h + tr, edge))
    return fit_row(spans, w, edge)


def bottom_line(w: int, look: Look, focused: bool) -> Row:
    _, _, bl, br, h, _ = box(look, focused)
    edge = S.BORDER_FOCUS if focused else S.BORDER
    return ((bl + h * (w - 2) + br, edge),) if w >= 2 else fit_row([(bl, edge)], w, edge)


def framed(
    left: Sequence[Span],
    right: Sequence[Span],
    body: Sequence[Row],
    w: int,
    h: int,
    look: Look,
    focused: bool = False,
) -> list[Row]:
    """`h` rows of `w` cells: the body (rows of `w - 2` cells, missing ones blank) inside a box."""
    if h <= 0 or w <= 0:
        return []
    side = box(look, focused)[5]
    edge = S.BORDER_FOCUS if focused else S.BORDER
    wall: Span = (side, edge)
    rows = [top_line(left, right, w, look, focused)]
    inner = w - 2
    for i in range(h - 2):
        row = body[i] if i < len(body) else blank(max(0, inner))
        rows.append((wall, *row, wall) if inner >= 0 else fit_row([wall], w))
    if h >= 2:
        rows.append(bottom_line(w, look, focused))
    return rows


def safe_row(row: Row, w: int, unicode: bool = True) -> Row:
    """The row as it may be sent to a terminal: exactly `w` cells, printable, and ASCII where the terminal
    has no more (`unicode` False).

    Panes promise both; a row that breaks the promise (or text that came through unclean) must not be able
    to break the screen, so it is mended here, where all rows pass.
    """
    text = "".join([t for t, _ in row])  # one question for the row, not one for each span
    if not text.isprintable():
        return safe_row(tuple((clean(t), s) for t, s in row), w, unicode)
    if not unicode and not text.isascii():
        return fit_ascii([(plain(t), s) for t, s in row], w)
    if width(text) == w:
        return row
    return fit_row(row, w) if unicode else fit_ascii(row, w)


def fit_ascii(spans: Sequence[Span], w: int) -> Row:
    """As `fit_row`, with a cut marked in ASCII."""
    return tuple((text.replace("…", "~"), style) for text, style in fit_row(spans, w))


_PLAIN = str.maketrans(
    {"…": "~", "·": ".", "←": "<", "→": ">", "↑": "^", "↓": "v", "⏎": "<", "␣": "_", "×": "x", "µ": "u",
     "■": "!", "▲": "*", "●": "*", "○": "o", "◆": "+", "✓": "v", "▶": ">", "◀": "<", "‖": "=",
     "▸": ">", "▾": "v", "−": "-", "–": "-", "°": "o"}
)  # fmt: skip


@lru_cache(2048)
def plain(text: str) -> str:
    """In ASCII, in as many cells as before."""
    text = text.translate(_PLAIN)
    return text if text.isascii() else "".join(c if c.isascii() else "?" * width(c) for c in text)


def clean(text: str) -> str:
    """Control, format and unassigned characters replaced by `?`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def notice_rows(text: str, w: int, h: int, style: S = S.TEXT) -> list[Row]:
    """One line of text in the middle of `w` x `h`."""
    rows: list[Row] = [blank(w) for _ in range(max(0, h))]
    if h > 0 and w > 0:
        line = clean(text)
        pad = max(0, (w - len(line)) // 2)
        rows[(h - 1) // 2] = fit_row(merge([(" " * pad, S.TEXT), (line, style)]), w)
    return rows
