"""Many small values at once: one cell each, height (or digit) and colour by value."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from dctop.tui.draw.graph import style_of
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span

_RAMP = "▁▂▃▄▅▆▇█"


def cell(pct: float | None, unicode: bool) -> tuple[str, S]:
    """Glyph and style of one value of 0-100; ASCII shows its tens (`9` from 90). Missing: `?`."""
    if pct is None or pct != pct:
        return "?", S.FAINT
    at = 0.0 if pct < 0 else 99.9 if pct >= 100 else pct
    return (_RAMP[int(at * 0.08)] if unicode else str(int(at / 10))), style_of(pct)


_TABLE: dict[bool, tuple[tuple[str, S], ...]] = {
    u: tuple(cell(float(i), u) for i in range(101)) for u in (False, True)
}


def strip(values: Sequence[float | None], look: Look) -> tuple[Span, ...]:
    """One row with a cell for each value."""
    table, unicode = _TABLE[look.unicode], look.unicode
    cells = [table[int(v)] if v is not None and 0.0 <= v <= 100.0 else cell(v, unicode) for v in values]
    return tuple(("".join(c for c, _ in run), s) for s, run in groupby(cells, key=lambda c: c[1]))


def per_row(n: int, w: int) -> int:
    """How many of `n` values a row of `w` cells should hold: the largest power of two that fits, so that
    columns mean the same core of each group; everything in one row where it fits."""
    if n <= w or w < 8:
        return max(1, min(n, w))
    size = 8
    while size * 2 <= w:
        size *= 2
    return size


def grid(values: Sequence[float | None], w: int, h: int, look: Look) -> list[Row]:
    """Values in rows, at most `h` rows of `w` cells (padded). Where they do not fit, the maximum of
    neighbours shares a cell: an overloaded core must not disappear."""
    if w <= 0 or h <= 0 or not values:
        return []
    step = per_row(len(values), w)
    if -(-len(values) // step) > h:
        k = -(-len(values) // (w * h))
        values = [
            max((v for v in values[i : i + k] if v is not None and v == v), default=None)
            for i in range(0, len(values), k)
        ]
        step = w if len(values) > w else len(values)
    rows: list[Row] = []
    for i in range(0, len(values), step):
        part = values[i : i + step]
        spans = strip(part, look)
        rows.append((*spans, (" " * (w - len(part)), S.TEXT)) if len(part) < w else spans)
    return rows[:h]
