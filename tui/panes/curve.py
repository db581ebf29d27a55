"""Curves of a training run: the loss with its evaluations, and small ones of everything else."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

from dctop.tui.draw import units
from dctop.tui.draw.buckets import Buckets, bridge, stretch
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.graph import area_rows, envelope, samples
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, blank
from dctop.tui.panes.parts import fill

if TYPE_CHECKING:
    from dctop.engine.training.runstate import RunState


AXIS = 8
"""Cells of the scale at the left of a large curve."""


class Curve:
    """One column of one run, drawn as a line over its whole length, oldest left, newest right."""

    def __init__(self) -> None:
        self._buckets = Buckets()
        self._made: tuple[object, ...] = ()
        self._rows: list[Row] = []

    def rows(
        self,
        run: RunState,
        column: str,
        w: int,
        h: int,
        look: Look,
        log: bool = False,
        evaluations: bool = True,
        style: S = S.GRAPH,
    ) -> list[Row]:
        """`h` rows of `w` cells, with a scale at the left where there is room for one. Made again only when
        the run has changed."""
        values = run.columns.get(column)
        made = (
            run.id,
            run.seq,
            values,
            len(values or ()),
            column,
            w,
            h,
            look,
            log,
            evaluations,
            len(run.evals),
        )
        if len(made) != len(self._made) or any(a is not b and a != b for a, b in zip(made, self._made)):
            self._made, self._rows = made, self._draw(run, column, w, h, look, log, evaluations, style)
        return list(self._rows)

    def _draw(
        self,
        run: RunState,
        column: str,
        w: int,
        h: int,
        look: Look,
        log: bool,
        evaluations: bool,
        style: S,
    ) -> list[Row]:
        if w <= 0 or h <= 0:
            return [()] * max(0, h)
        values = run.columns.get(column)
        if values is None or not len(values):
            return fill([], w, h)
        axis = AXIS if w >= 40 and h >= 3 else 0
        room = w - axis
        need = samples(look, room)
        lows, highs = self._buckets.update((run.id, column), values, need)
        n_buckets = len(lows)
        known = [v for v in lows if v == v] + [v for v in highs if v == v]
        if not known:
            return fill([], w, h)
        lo, hi = bounds(known, log)
        lines = envelope(
            stretch(bridge(lows), need), stretch(bridge(highs), need), room, h, look, lo, hi, log
        )
        marks: dict[int, list[tuple[int, int]]] = {}
        if evaluations:
            for x, y in self._evaluations(run, n_buckets, room, h, lo, hi, log):
                marks.setdefault(y, []).append((x, x + 1))
        glyph = glyphs(look).evaluation
        rows: list[Row] = []
        for i, text in enumerate(lines):
            head = label(i, h, lo, hi, look, log) if axis else ()
            rows.append((*head, *_with_marks(text, sorted(set(marks.get(i, ()))), glyph, style)))
        return rows

    def _evaluations(
        self, run: RunState, n: int, w: int, h: int, lo: float, hi: float, log: bool
    ) -> list[tuple[int, int]]:
        """Cells of the evaluation losses."""
        steps = run.columns.get("step")
        if steps is None or not len(steps) or not n:
            return []
        out: list[tuple[int, int]] = []
        for ev in run.evals:
            step, loss = ev.get("step"), ev.get("loss")
            if (
                not isinstance(step, (int, float))
                or not isinstance(loss, (int, float))
                or not units.known(loss)
            ):
                continue
            at = min(bisect_left(steps, step), len(steps) - 1) // self._buckets.size
            share = position(loss, lo, hi, log)
            if share is not None:
                y = min(h - 1, int((1.0 - share) * h))
                out.append((min(w - 1, at * w // n), y))
        return out


def small(run: RunState, column: str, buckets: Buckets, w: int, h: int, look: Look, style: S) -> list[Row]:
    """A filled graph of a column from 0 to its maximum, without a scale."""
    values = run.columns.get(column)
    if values is None or w <= 0 or h <= 0:
        return [blank(max(0, w))] * max(0, h)
    need = samples(look, w)
    _, highs = buckets.update((run.id, column), values, need)
    top = max((v for v in highs if v == v), default=1.0)
    # What is measured every tenth step only is no comb of gaps.
    return area_rows(stretch(bridge(highs), need), w, h, look, hi=top if top > 0 else 1.0, style=style)


def bounds(known: list[float], log: bool) -> tuple[float, float]:
    """Lower and upper end of a scale for these values, never equal; `log`: above 0."""
    lo, hi = min(known), max(known)
    if log:
        positive = [v for v in known if v > 0]
        return (min(positive), hi) if positive else (1e-3, 1.0)
    return (lo, hi) if hi > lo else (lo - abs(lo) * 0.05 - 1e-9, hi + abs(hi) * 0.05 + 1e-9)


def position(v: float, lo: float, hi: float, log: bool) -> float | None:
    """Position of `v` between the bounds, 0 to 1."""
    if log:
        if v <= 0 or lo <= 0 or hi <= lo:
            return None
        v, lo, hi = math.log(v), math.log(lo), math.log(hi)
    if hi <= lo:
        return 0.5
    return min(1.0, max(0.0, (v - lo) / (hi - lo)))


def label(i: int, h: int, lo: float, hi: float, look: Look, log: bool, kind: str = "") -> tuple[Span, ...]:
    """The scale's part beside row `i`. `kind`: `size` (bytes), `ms` (seconds), `count`, else a number."""
    side = "┤" if look.unicode else "|"
    if i == 0:
        return ((_scale_text(hi, kind) + side, S.DIM),)
    if i == h - 1:
        return ((_scale_text(lo, kind) + side, S.DIM),)
    if i == h // 2 and h >= 7:
        # Row i covers values around this share of the height.
        share = 1.0 - (i + 0.5) / h
        mid = lo * (hi / lo) ** share if log and lo > 0 else lo + (hi - lo) * share
        return ((_scale_text(mid, kind) + side, S.DIM),)
    return ((" " * (AXIS - 1) + ("│" if look.unicode else "|"), S.FAINT),)


def _scale_text(v: float, kind: str) -> str:
    write = {"size": units.size, "ms": units.ms, "count": units.count}.get(kind, units.significant)
    return write(v, AXIS - 1)[: AXIS - 1]


def _with_marks(text: str, at: list[tuple[int, int]], glyph: str, style: S) -> Row:
    if not at:
        return ((text, style),)
    spans: list[Span] = []
    done = 0
    for x, end in at:
        if x > done:
            spans.append((text[done:x], style))
        spans.append((glyph, S.GRAPH_2))
        done = end
    if done < len(text):
        spans.append((text[done:], style))
    return tuple(spans)
