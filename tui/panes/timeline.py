"""The time axis of a recording: overview lanes, events, gaps, the cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dctop.tui.draw import units
from dctop.tui.draw.glyphs import Glyphs, glyphs
from dctop.tui.draw.graph import spark, top_of
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row, merge
from dctop.tui.draw.text import clean
from dctop.tui.panes.base import PaneModel, View
from dctop.tui.panes.parts import fill, message, plain

_STYLE = {"critical": S.CRIT, "warning": S.WARN, "info": S.INFO, "mark": S.ACCENT}
_RANK = {"critical": 0, "warning": 1, "mark": 2, "info": 3}
_LABEL = 5
"""Cells of the lanes' names."""


@dataclass(slots=True)
class TimelineState:
    """What the replay tells the bar. All times are wall clock, ns."""

    t0_ns: int = 0
    t1_ns: int = 0
    cursor_ns: int = 0
    speed: float = 1.0
    playing: bool = False
    marks: Sequence[tuple[int, str, str]] = ()
    """(time, glyph or "", severity: critical | warning | info | mark), in any order."""
    gaps: Sequence[tuple[int, int]] = ()
    """Stretches in which nothing was recorded."""
    lanes: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Name -> values evenly spread from t0 to t1 (any number of them), NaN = missing; names in `percent`
    are drawn on 0-100."""
    percent: frozenset[str] = frozenset(("cpu", "gpu", "mem"))
    window_ns: int = 0
    """How far before the cursor the graphs reach; 0: not told."""


class TimelinePane(PaneModel):
    key = "timeline"
    name = "TIMELINE"
    about = (
        "The whole recording from left to right: an overview of its main series, its events (the gravest "
        "where several fall on one cell), stretches without a record hatched, and the moment that all other "
        "panes show."
    )

    def __init__(self) -> None:
        self.state = TimelineState()
        self._track = (0, 0)
        self._made: tuple[object, ...] = ()
        self._lanes: list[Row] = []

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        s, g = self.state, glyphs(view.look)
        left: list[Span] = [(self.name, S.TITLE)]
        span = (s.t1_ns - s.t0_ns) / 1e9
        if w >= 50:
            left.append((f"  {units.clock(s.t0_ns, False)} - {units.clock(s.t1_ns, False)}", S.DIM))
            left.append((f" ({units.duration(span, 0)})", S.DIM))
        sign = g.replay if s.playing else g.paused
        speed = f"{g.times}{s.speed:g}"
        return left, ((f"{sign} {speed}  ", S.DIM), (units.clock(s.cursor_ns), S.VALUE))

    def time_at(self, x: int) -> int | None:
        """The moment under body cell `x`, for clicks; None beside the track."""
        left, n = self._track
        if n <= 0 or not left <= x < left + n:
            return None
        s = self.state
        return s.t0_ns + (s.t1_ns - s.t0_ns) * (x - left) // max(1, n - 1)

    def body(self, view: View, w: int, h: int) -> list[Row]:
        if w <= 0 or h <= 0:
            return [()] * max(0, h)
        return plain(view.look, self._draw(view, w, h))

    def _draw(self, view: View, w: int, h: int) -> list[Row]:
        s = self.state
        if s.t1_ns <= s.t0_ns:
            self._track = (0, 0)
            return message(("nothing recorded yet",), w, h)
        label = _LABEL if w >= 30 else 0
        n = w - label
        self._track = (label, n)
        g = glyphs(view.look)
        axis = self._axis(g, n)
        bare = ((" " * label, S.TEXT),) if label else ()
        if h == 1:
            return [(*bare, *axis)]
        rows: list[Row] = []
        if h >= 4:
            rows += self._overview(view, label, n)[: h - 3]
        rows.append((*(((fit("evt", label), S.DIM),) if label else ()), *self._events(view, n)))
        rows.append((*bare, *axis))
        if h >= 3:
            rows.append((*bare, *self._clocks(n)))
        return fill(rows, w, h)

    def _cell(self, t: int, n: int) -> int:
        s = self.state
        return max(0, min(n - 1, (t - s.t0_ns) * (n - 1) // (s.t1_ns - s.t0_ns)))

    def _overview(self, view: View, label: int, n: int) -> list[Row]:
        """One row a lane; made again only when lanes or width change, not when the cursor moves."""
        s = self.state
        made = (s.lanes, s.t0_ns, s.t1_ns, n, label, view.look)
        if len(made) == len(self._made) and all(a is b or a == b for a, b in zip(made, self._made)):
            return self._lanes
        rows: list[Row] = []
        for name, values in s.lanes.items():
            cells = maxima(values, n)
            top = 100.0 if name in s.percent else top_of(cells, 1e-9)
            text = spark(cells, n, view.look, 0.0, top)
            style = S.GRAPH if name in s.percent else S.GRAPH_2
            head = fit(clean(name, view.look.unicode), label - 1, "<", "") + " " if label else ""
            rows.append(((head, S.DIM), (text, style)))
        self._made, self._lanes = made, rows
        return rows

    def _events(self, view: View, n: int) -> Row:
        g = glyphs(view.look)
        cells: dict[int, tuple[int, str, S]] = {}
        for wall, glyph, severity in self.state.marks:
            rank = _RANK.get(severity, 3)
            at = self._cell(wall, n)
            if at in cells and cells[at][0] <= rank:
                continue
            cells[at] = (rank, _one_cell(glyph, severity, g, view), _STYLE.get(severity, S.INFO))
        return merge((cells[i][1], cells[i][2]) if i in cells else (" ", S.TEXT) for i in range(n))

    def _axis(self, g: Glyphs, n: int) -> Row:
        s = self.state
        cells: list[Span] = [(g.line, S.BORDER)] * n
        if s.window_ns > 0:
            first = self._cell(max(s.t0_ns, s.cursor_ns - s.window_ns), n)
            for i in range(first, self._cell(s.cursor_ns, n)):
                cells[i] = (g.line, S.ACCENT)
        for a, b in self.state.gaps:
            for i in range(self._cell(min(a, b), n), self._cell(max(a, b), n) + 1):
                cells[i] = (g.gap, S.FAINT)
        cells[self._cell(self.state.cursor_ns, n)] = (g.head, S.VALUE)
        return merge(cells)

    def _clocks(self, n: int) -> Row:
        s = self.state
        short = s.t1_ns - s.t0_ns > 600 * 10**9
        first, last = units.clock(s.t0_ns, not short), units.clock(s.t1_ns, not short)
        here = units.clock(s.cursor_ns)
        text = fit(first, max(0, n - len(last))) + last if n > len(first) + len(last) else fit(first, n)
        at = max(0, min(n - len(here), self._cell(s.cursor_ns, n) - len(here) // 2))
        if len(first) < at and at + len(here) < n - len(last):
            return ((text[:at], S.DIM), (here, S.VALUE), (text[at + len(here) :], S.DIM))
        return fit_row(((text, S.DIM),), n)


def _one_cell(glyph: str, severity: str, g: Glyphs, view: View) -> str:
    default = {"critical": g.critical, "warning": g.warning, "mark": g.evaluation}.get(severity, g.info)
    text = clean(glyph, view.look.unicode)[:1]
    return fit(text, 1) if text and text != "?" else default


def maxima(values: Sequence[float], n: int) -> list[float]:
    """`n` values from any number: the greatest of those that share a cell; fewer are spread out."""
    m = len(values)
    if m == 0 or n <= 0:
        return [float("nan")] * max(0, n)
    if m <= n:
        return [values[i * m // n] for i in range(n)]
    out: list[float] = []
    for i in range(n):
        known = [v for v in values[i * m // n : (i + 1) * m // n] if v == v]
        out.append(max(known) if known else float("nan"))
    return out
