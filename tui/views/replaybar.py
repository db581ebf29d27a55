"""The replay bar: position and span of the recording, its gaps and events, on two lines. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, fit_row, merge

HEIGHT = 2


@dataclass(frozen=True, slots=True)
class Mark:
    """Something on the time axis: alert severity, `marker`, `checkpoint` ..."""

    wall_ns: int
    kind: str


GLYPH = {"critical": ("■", "!", S.CRIT), "warning": ("▲", "*", S.WARN), "info": ("·", ".", S.INFO)}
RANK = {"critical": 0, "warning": 1, "marker": 2, "note": 2, "checkpoint": 3, "info": 4}


def clock(wall_ns: int, seconds: bool = True) -> str:
    """Local time of day."""
    return datetime.fromtimestamp(wall_ns / 1e9).strftime("%H:%M:%S" if seconds else "%H:%M")


def span_text(ns: int) -> str:
    """`5h 03m`, `12m 10s`, `48s`."""
    s = max(0, int(ns / 1e9))
    if s >= 3600:
        return f"{s // 3600}h {s % 3600 // 60:02d}m"
    return f"{s // 60}m {s % 60:02d}s" if s >= 60 else f"{s}s"


def rows(
    t0: int,
    t1: int,
    at: int,
    marks: Iterable[Mark],
    gaps: Sequence[tuple[int, int]],
    w: int,
    look: Look,
) -> list[Row]:
    """Two rows of `w` cells: marks above the track, and the track with its ends and the cursor.

    `t0`, `t1`, `at`: wall clock, ns. Where several marks fall on one cell the gravest shows.
    """
    left, right = f" {clock(t0, False)} ", f" {clock(t1, False)}  {span_text(t1 - t0)} "
    track = w - len(left) - len(right)
    if track < 4:
        text = f" {clock(at)} of {clock(t0)} - {clock(t1)}"
        return [fit_row([("", S.TEXT)], w), fit_row([(text, S.DIM)], w)]
    span = max(1, t1 - t0)

    def cell(t: int) -> int:
        return max(0, min(track - 1, (t - t0) * track // span))

    above: list[tuple[int, Span]] = [(9, (" ", S.TEXT))] * track
    for mark in marks:
        rank = RANK.get(mark.kind, 4)
        i = cell(mark.wall_ns)
        if rank < above[i][0]:
            fancy, plain, style = GLYPH.get(mark.kind, ("◆", "+", S.ACCENT))
            above[i] = (rank, (fancy if look.unicode else plain, style))
    line, hole, done, head = ("─", " ", "━", "┃") if look.unicode else ("-", " ", "=", "|")
    cursor = cell(at)
    below: list[Span] = [(done, S.ACCENT) if i < cursor else (line, S.BORDER) for i in range(track)]
    for a, b in gaps:
        for i in range(cell(a), cell(b)):
            below[i] = (hole, S.TEXT)
    below[cursor] = (head, S.VALUE)
    pad = (" " * len(left), S.TEXT)
    return [
        fit_row(merge([pad, *(span for _, span in above)]), w),
        fit_row(merge([(left, S.DIM), *below, (right, S.DIM)]), w),
    ]
