"""A pane in its box: title, body, focus, stale mark; a fault of the model stays inside. No Textual here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from operator import attrgetter

from dctop.tui.draw.rows import Row, S, Span, fit_row
from dctop.tui.frame import box, clean, framed, safe_row
from dctop.tui.panes.base import PaneModel, View

log = logging.getLogger(__name__)
_FLAGS = attrgetter("focused", "zoomed", "size", "look", "readonly", "paused")


class PaneDrawing:
    """Draws a model into the size it is given; rows that did not change are the same objects as before, so
    comparing, caching and painting them costs next to nothing."""

    def __init__(self, model: PaneModel) -> None:
        self.model = model
        self.error: str | None = None
        """One line while drawing fails."""
        self.rows: list[Row] = []
        """As drawn last."""
        self._body: list[Row] = []
        self._drawn: tuple[int, int, bool, bool] = (0, 0, False, True)
        self._edges: tuple[object, Row] | None = None
        self._resting: tuple[object, ...] | None = None
        """What the rows were drawn by, if by nothing else."""

    @property
    def drawn_as(self) -> tuple[int, int, bool]:
        """Width, height and focus of the latest drawing."""
        return self._drawn[:3]

    def draw(self, view: View, w: int, h: int) -> list[Row]:
        """The pane in a box of `w` x `h` cells: `h` rows, safe to send to a terminal. Never raises."""
        on = self.model.rests_on(view)
        resting = on and (*on, w, h, *_FLAGS(view))
        if resting and resting == self._resting:
            return self.rows
        self._resting = resting
        inner_w, inner_h = max(0, w - 2), max(0, h - 2)
        try:
            left: Sequence[Span]
            right: Sequence[Span]
            left, right = self.model.title(view, max(0, w - 6))
            body = self.model.body(view, inner_w, inner_h) if inner_w and inner_h else []
            self.error = None
        except Exception as e:  # one pane's fault must not take the screen down
            message = f"{type(e).__name__}: {e}"
            if message != self.error:
                log.exception("pane %s failed", self.model.key)
            self.error = message
            left, right = [(self.model.name, S.TITLE)], []
            body = [fit_row([(" cannot draw: " + clean(message), S.CRIT)], inner_w)]
        right = self._stale(view, right)
        drawn = (w, h, view.focused, view.look.unicode)
        reuse = drawn == self._drawn and len(self.rows) == h
        self.rows = self._boxed(left, right, body, view, w, h, reuse, drawn)
        return self.rows

    def _boxed(
        self,
        left: Sequence[Span],
        right: Sequence[Span],
        body: list[Row],
        view: View,
        w: int,
        h: int,
        reuse: bool,
        drawn: tuple[int, int, bool, bool],
    ) -> list[Row]:
        old_body, old_rows = self._body, self.rows
        inner_w, inner_h = max(0, w - 2), max(0, h - 2)
        edge = S.BORDER_FOCUS if view.focused else S.BORDER
        wall: Span = (box(view.look, view.focused)[5], edge)
        clean_left = safe_spans(left)
        clean_right = safe_spans(right)
        if not reuse or h < 3 or w < 3:
            safe = [safe_row(row, inner_w, view.look.unicode) for row in body[:inner_h]]
            rows = framed(clean_left, clean_right, safe, w, h, view.look, view.focused)
            if rows:
                rows[0] = safe_row(rows[0], w, view.look.unicode)
        else:
            rows = list(old_rows)
            known = len(old_body)
            for i in range(inner_h):
                row = body[i] if i < len(body) else ()
                if i < known and (row is old_body[i] or row == old_body[i]):
                    continue
                rows[i + 1] = (wall, *safe_row(row, inner_w, view.look.unicode), wall)
            titles = (tuple(clean_left), tuple(clean_right))
            if self._edges is None or self._edges[0] != titles:
                edge_row = framed(clean_left, clean_right, (), w, 1, view.look, view.focused)[0]
                self._edges = (titles, safe_row(edge_row, w, view.look.unicode))
            rows[0] = self._edges[1]
        if not reuse:
            self._edges = None
        self._body = [*body, *([()] * (inner_h - len(body)))]
        self._drawn = drawn
        return rows

    def _stale(self, view: View, right: Sequence[Span]) -> Sequence[Span]:
        """Mark the title while one of the pane's probes is late; the values stay, dimmed by the model."""
        snap = view.snap
        if snap is None:
            return right
        for probe in self.model.probes:
            if snap.stale(probe):
                status = snap.frame.status.get(probe)
                age = "" if status is None or status.age_s is None else f" {status.age_s:.0f}s"
                return [(f"~ {probe} late{age} ", S.WARN), *safe_spans(right)]
        return right


def safe_spans(spans: Sequence[Span]) -> list[Span]:
    """Title spans as they may be sent to a terminal."""
    return [(text if text.isprintable() else clean(text), style) for text, style in spans]
