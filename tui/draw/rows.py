"""Rows: the form in which everything is drawn.

A row is a tuple of spans `(text, style)`; a body is a list of rows, each exactly `width` cells wide.
Pure data: comparable, cacheable, testable without Textual. Both paint paths (fast and safe) are fed from
the same rows. Adjacent spans of the same style should be merged (`merge`), for fewer bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache

from rich.cells import cell_len, set_cell_size


class S(IntEnum):
    """Style names. A theme gives each a look; colour means state only, a glyph always stands beside it."""

    TEXT = 0
    DIM = 1
    """Secondary text, units, labels."""
    FAINT = 2
    """Grids, empty part of a bar, stale values."""
    BORDER = 3
    BORDER_FOCUS = 4
    TITLE = 5
    VALUE = 6
    """The current value in a title or row: what the eye should find first."""
    GOOD = 7
    WARN = 8
    CRIT = 9
    INFO = 10
    ACCENT = 11
    """Keys in the footer, selected tab, links."""
    SELECT = 12
    """Selected row (reverse or tinted background)."""
    SELECT_DIM = 13
    """Selected row of a pane without focus."""
    HEADER = 14
    """Table header, header line."""
    GRAPH = 15
    """Graph below 70 % (and graphs without a limit)."""
    GRAPH_WARN = 16
    GRAPH_CRIT = 17
    GRAPH_2 = 18
    """Second series: upload, write, evaluation."""
    GRAPH_3 = 19
    GRAPH_4 = 20
    PHASE_1 = 21
    """Six distinguishable fills for stacked bars: data, h2d, forward, loss, backward, update."""
    PHASE_2 = 22
    PHASE_3 = 23
    PHASE_4 = 24
    PHASE_5 = 25
    PHASE_6 = 26
    BOLD = 27
    INPUT = 28
    """Text being typed (filter)."""
    REC = 29
    """Recording mark."""


Span = tuple[str, S]
Row = tuple[Span, ...]


_one_cell_each = re.compile(
    "[ -~\xa0-\xac\xae-\u024f\u2010-\u2027\u2190-\u2199\u2500-\u25fc\u2800-\u28ff\u2713\u2717]*"
).fullmatch
"""Text of nothing but characters that take one cell: Latin, arrows, boxes and blocks, braille. Almost all
that is drawn; asking for each character's width is the dearest part of laying out a row."""


def width(text: str) -> int:
    """Cells `text` takes in a terminal."""
    return len(text) if text.isascii() or _one_cell_each(text) else cell_len(text)


@lru_cache(4096)
def fit(text: str, cells: int, align: str = "<", ellipsis: str = "…") -> str:
    """`text` cut or padded to exactly `cells`; a cut is marked by the ellipsis. align: < > ^."""
    if cells <= 0:
        return ""
    w = width(text)
    if w > cells:
        if cells <= width(ellipsis):
            return set_cell_size(text, cells)
        return set_cell_size(text, cells - width(ellipsis)) + ellipsis
    pad = cells - w
    if align == "<":
        return text + " " * pad
    if align == ">":
        return " " * pad + text
    left = pad // 2
    return " " * left + text + " " * (pad - left)


def blank(cells: int) -> Row:
    return ((" " * cells, S.TEXT),)


def row_width(row: Row) -> int:
    return sum(width(text) for text, _ in row)


def merge(spans: Iterable[Span]) -> Row:
    """Drop empty spans and join neighbours of one style."""
    out: list[Span] = []
    for text, style in spans:
        if not text:
            continue
        if out and out[-1][1] == style:
            out[-1] = (out[-1][0] + text, style)
        else:
            out.append((text, style))
    return tuple(out)


def fit_row(spans: Iterable[Span], cells: int, fill: S = S.TEXT) -> Row:
    """The spans cut or padded to exactly `cells`."""
    out: list[Span] = []
    left = cells
    for text, style in spans:
        if left <= 0:
            break
        w = len(text) if text.isascii() else width(text)
        if w > left:
            text, w = fit(text, left), left
        out.append((text, style))
        left -= w
    if left > 0:
        out.append((" " * left, fill))
    return merge(out)
