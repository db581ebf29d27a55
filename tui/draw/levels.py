"""From which share on a number is a warning: its style, and the glyph that stands beside the colour."""

from __future__ import annotations

from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S

MEMORY_PCT = (80.0, 92.0)
"""(warning, critical) of memory in use."""


def state_style(pct: float | None, warn: float = 70.0, crit: float = 90.0) -> S:
    """Text style of a share of something finite."""
    if pct is None or not pct >= warn:
        return S.VALUE
    return S.CRIT if pct >= crit else S.WARN


def mark(pct: float | None, look: Look, warn: float = 70.0, crit: float = 90.0) -> str:
    """The glyph that goes with `state_style`, or a blank."""
    if pct is None or not pct >= warn:
        return " "
    g = glyphs(look)
    return g.critical if pct >= crit else g.warning
