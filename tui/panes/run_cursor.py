"""Which part of the large plot is shown and where its cursor stands. Positions are steps, or seconds since a
run's start."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.engine.training.runstate import RunState
from dctop.tui.panes import run_plot

LEAST = 10.0
"""Steps (or seconds) that stay in sight at the closest."""


class PlotCursor:
    """`zoom` halves the range each time; it stays around the cursor, else at the newest end."""

    def __init__(self) -> None:
        self.at: float | None = None
        """None: there is no cursor."""
        self.zoom = 0
        self.columns = 1
        """Of the plot as it was drawn last: how far one press of a key goes."""

    def clear(self) -> None:
        self.at, self.zoom = None, 0

    def window(self, runs: Sequence[RunState], axis: run_plot.Axis) -> tuple[float, float] | None:
        """Both ends of what is shown. None: the whole of it."""
        span = run_plot.span_of(runs, axis)
        if span is None or not self.zoom:
            return None
        low, high = span
        size = (high - low) / 2**self.zoom
        first = high - size if self.at is None else min(max(low, self.at - size / 2), high - size)
        return first, first + size

    def nearer(self, runs: Sequence[RunState], axis: run_plot.Axis) -> None:
        span = run_plot.span_of(runs, axis)
        if span is not None and (span[1] - span[0]) / 2 ** (self.zoom + 1) >= LEAST:
            self.zoom += 1

    def wider(self) -> None:
        self.zoom = max(0, self.zoom - 1)

    def move(self, runs: Sequence[RunState], axis: run_plot.Axis, columns: int) -> None:
        """By columns of the plot, at least a step each. It appears at the newest end and leaves there."""
        span = run_plot.span_of(runs, axis)
        if span is None:
            return
        low, high = self.window(runs, axis) or span
        size = (high - low) / max(1, self.columns)
        size = max(1.0, round(size)) if axis == "step" else size
        if self.at is None:
            self.at = span[1] if columns < 0 else None
            return
        to = self.at + columns * size
        self.at = None if to > span[1] else max(span[0], to)

    def point(self, runs: Sequence[RunState], axis: run_plot.Axis, share: float) -> None:
        """To a share of what is shown, as a click says; a step, where the axis counts them."""
        span = run_plot.span_of(runs, axis)
        if span is not None:
            low, high = self.window(runs, axis) or span
            to = low + share * (high - low)
            self.at = min(span[1], max(span[0], float(round(to)) if axis == "step" else to))
