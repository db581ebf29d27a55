"""Horizontal bars: eighths of a cell in Unicode, `#` in ASCII. All results have exactly the asked width."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S, Span, merge

_PARTS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


def bar(share: float | None, w: int, look: Look) -> tuple[str, str]:
    """(filled, empty) parts of a bar for `share` of 1. A share above 0 shows at least its smallest mark;
    a missing one is all empty."""
    if w <= 0:
        return "", ""
    if share is None or share != share:
        return _bar(0, w, look.unicode)
    share = 0.0 if share < 0 else 1.0 if share > 1 else share
    steps = w * 8 if look.unicode else w
    filled = int(share * steps + 0.5)
    if filled == 0 and share > 0:
        filled = 1
    return _bar(filled, w, look.unicode)


@lru_cache(8192)
def _bar(filled: int, w: int, unicode: bool) -> tuple[str, str]:
    if not unicode:
        return "#" * filled, "." * (w - filled)
    head = "█" * (filled >> 3) + _PARTS[filled & 7]
    return head, "·" * (w - len(head))


def bar_spans(
    pct: float | None, w: int, look: Look, style: S | None = None, warn: float = 70.0, crit: float = 90.0
) -> tuple[Span, ...]:
    """A bar for 0-100 in the colour of its state, or in `style`."""
    full, rest = bar(None if pct is None else pct / 100.0, w, look)
    if style is None:
        if pct is None or not pct >= warn:
            style = S.GRAPH
        else:
            style = S.GRAPH_CRIT if pct >= crit else S.GRAPH_WARN
    if not full:
        return ((rest, S.FAINT),) if rest else ()
    return ((full, style), (rest, S.FAINT)) if rest else ((full, style),)


def shares(values: Sequence[float], w: int) -> list[int]:
    """`w` cells divided in proportion (largest remainders), so that the parts add up to exactly `w`.

    What is not a positive number gets nothing; with nothing positive at all every part is 0.
    """
    clean = [v if v == v and 0 < v < float("inf") else 0.0 for v in values]
    top = max(clean, default=0.0)
    if top <= 0 or w <= 0:
        return [0] * len(clean)
    # Scaled first: the sum of values near the end of the float range would be infinite.
    clean = [v / top for v in clean]
    total = sum(clean)
    exact = [v * w / total for v in clean]
    cells = [int(x) for x in exact]
    order = sorted(range(len(exact)), key=lambda i: cells[i] - exact[i])
    for i in order[: max(0, w - sum(cells))]:
        cells[i] += 1
    return cells


def stacked(parts: Sequence[tuple[float, str, S]], w: int, look: Look) -> tuple[Span, ...]:
    """(value, glyph, style) parts in one bar of `w` cells; an empty bar where there is nothing to divide."""
    cells = shares([p[0] for p in parts], w)
    if not any(cells):
        return bar_spans(None, w, look)
    return merge((glyph * n, style) for n, (_, glyph, style) in zip(cells, parts))
