"""The large plot of the training view: one metric of one or several runs over steps or time.

Pure: runs in, rows out. A column of the plot spans minimum to maximum of the steps it stands for, so a spike
of one step is seen. The steps of a column are found by bisection: a redraw costs a few milliseconds a run.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from dctop.engine.training import runmath
from dctop.engine.training.runstate import RunState
from dctop.tui.draw import units
from dctop.tui.draw.buckets import bridge
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.graph import envelope, samples
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, fit_row, merge
from dctop.tui.panes.curve import AXIS, bounds, label, position
from dctop.tui.panes.parts import fill

Axis = Literal["step", "time"]
NAN = math.nan
REACH = 200
"""Steps the cursor looks back for a value that is not measured in each."""


class Metric(NamedTuple):
    """Something a run can be plotted by."""

    id: str
    name: str
    column: str
    """Of the steps; `throughput` is samples / step_s."""
    evaluation: str | None = None
    """Field of the evaluations with the same meaning."""
    zero: bool = False
    """The scale begins at 0."""


METRICS: tuple[Metric, ...] = (
    Metric("loss", "loss", "loss", "loss"),
    Metric("accuracy", "accuracy", "accuracy", "accuracy"),
    Metric("lr", "learning rate", "lr", zero=True),
    Metric("grad_norm", "gradient norm", "grad_norm", zero=True),
    Metric("update_ratio", "update ratio", "update_ratio", zero=True),
    Metric("throughput", "samples/s", "throughput", zero=True),
    Metric("step_s", "step time", "step_s", zero=True),
    Metric("data_s", "data wait", "data_s", zero=True),
    Metric("memory", "memory", "memory", zero=True),
)
BY_ID: Mapping[str, Metric] = {m.id: m for m in METRICS}
STYLES = (S.GRAPH, S.GRAPH_3, S.GRAPH_4, S.GRAPH_2)
"""Of the runs in the order in which they were chosen."""
MARKS = {
    "checkpoint": ("checkpoint", S.DIM),
    "nonfinite": ("critical", S.CRIT),
    "exception": ("critical", S.CRIT),
    "fault": ("warning", S.WARN),
    "frozen": ("warning", S.WARN),
    "stop": ("paused", S.WARN),
}
"""Kind of event -> glyph and style in the lane below the plot."""


@dataclass(frozen=True, slots=True)
class Plot:
    """What to draw and how; the same plot of the same runs gives the same rows."""

    metric: Metric
    axis: Axis = "step"
    log: bool = False
    smooth: bool = False
    window: tuple[float, float] | None = None
    """Both ends of the x axis; None: all there is."""
    cursor: float | None = None
    """Where on the x axis a line stands."""


class Buckets(NamedTuple):
    """A value range and a mean a column of the plot."""

    lows: list[float]
    highs: list[float]
    means: list[float]


def value_column(run: RunState, name: str) -> Sequence[float] | None:
    """A column of a run by the name a metric has for it."""
    if name == "memory":
        name = "mem_allocated_bytes" if runmath.recent(run, "mem_allocated_bytes", 200) else "rss_anon_bytes"
    return run.columns.get(name)


def span_of(runs: Sequence[RunState], axis: Axis) -> tuple[float, float] | None:
    """First and last position on the x axis over all runs: steps, or seconds since each one's start."""
    ends: list[float] = []
    for run in runs:
        xs = run.columns.get("step" if axis == "step" else "wall_ns")
        if xs is None or not len(xs):
            continue
        shift = 0.0 if axis == "step" else float(run.started_wall_ns)
        scale = 1.0 if axis == "step" else 1e-9
        ends += [(xs[0] - shift) * scale, (xs[-1] - shift) * scale]
    known = [e for e in ends if math.isfinite(e)]
    if not known:
        return None
    low = min(0.0, *known) if axis == "time" else min(known)
    return low, max(known)


def bucketed(run: RunState, metric: Metric, axis: Axis, x0: float, x1: float, n: int) -> Buckets | None:
    """The metric in `n` equal parts of the x axis, NaN where a part has no value."""
    xs = run.columns.get("step" if axis == "step" else "wall_ns")
    if xs is None or not len(xs) or n <= 0:
        return None
    ratio = metric.column == "throughput"
    values = run.columns.get("samples") if ratio else value_column(run, metric.column)
    below = run.columns.get("step_s") if ratio else None
    if values is None or len(values) != len(xs) or (ratio and below is None):
        return None
    shift = 0.0 if axis == "step" else float(run.started_wall_ns)
    scale = 1.0 if axis == "step" else 1e9
    width = (x1 - x0) / n
    out = Buckets([], [], [])
    start = bisect_left(xs, x0 * scale + shift)
    for i in range(n):
        end = x1 if i == n - 1 else x0 + (i + 1) * width
        # A millionth more: the last step is in, however the sum was rounded.
        stop = bisect_right(xs, end * scale + shift + scale * 1e-6, start)
        low = high = mean = NAN
        if stop > start:
            part = values[start:stop]
            if below is not None:
                low = high = mean = _quotient(part, below[start:stop])
            else:
                low, high, mean = extremes(part)
        out.lows.append(low)
        out.highs.append(high)
        out.means.append(mean)
        start = stop
    return out


def extremes(part: Sequence[float]) -> tuple[float, float, float]:
    """Minimum, maximum, mean of the finite ones; NaN without any."""
    whole = sum(part)
    if math.isfinite(whole):
        return min(part), max(part), whole / len(part)
    known = [v for v in part if math.isfinite(v)]
    return (min(known), max(known), sum(known) / len(known)) if known else (NAN, NAN, NAN)


def _quotient(above: Sequence[float], below: Sequence[float]) -> float:
    a, b = runmath.known_sum(above), runmath.known_sum(below)
    return a / b if a is not None and b else NAN


def smoothed(values: list[float], weight: float) -> list[float]:
    """Exponential moving average with the start corrected (as Adam does); gaps stay gaps."""
    out: list[float] = []
    average, power = 0.0, 1.0
    for v in values:
        if v != v:
            out.append(NAN)
            continue
        average = weight * average + (1 - weight) * v
        power *= weight
        out.append(average / (1 - power))
    return out


def rows(runs: Sequence[RunState], plot: Plot, w: int, h: int, look: Look) -> list[Row]:
    """`h` rows of `w` cells: the curves, below them a lane of events (from 8 rows on) and the x axis (from
    5 on). The first run is in front and is the one whose evaluations and events are marked."""
    if w <= 0 or h <= 0:
        return [()] * max(0, h)
    span = plot.window or span_of(runs, plot.axis)
    if span is None:
        return fill([fit_row(((f"no {plot.metric.name} yet", S.DIM),), w)], w, h)
    x0, x1 = span
    x1 = x1 if x1 > x0 else x0 + max(1.0, abs(x0))
    axis = scale_width(w, h)
    room = w - axis
    lanes = (1 if h >= 8 else 0) + (1 if h >= 5 else 0)
    tall = h - lanes
    n = samples(look, room)
    found = [bucketed(run, plot.metric, plot.axis, x0, x1, n) for run in runs]
    if not any(b is not None and any(v == v for v in b.means) for b in found):
        return fill([fit_row(((f"no {plot.metric.name} was measured", S.DIM),), w)], w, h)
    marks = _evaluations(runs, plot, x0, x1)
    lo, hi = _scale(found, marks, plot)
    cells = _curves(found, plot, room, tall, look, lo, hi)
    _mark(cells, marks, room, tall, lo, hi, plot.log, look)
    if plot.cursor is not None:
        _line(cells, (plot.cursor - x0) / (x1 - x0), look)
    out: list[Row] = []
    for i, line in enumerate(cells):
        head = label(i, tall, lo, hi, look, plot.log, _formatter(plot.metric)) if axis else ()
        out.append((*head, *merge(line)))
    if lanes == 2:
        out.append(_lane(runs[0], plot.axis, x0, x1, axis, room, look))
    if lanes:
        out.append(_x_axis(plot.axis, x0, x1, axis, room))
    return out


def scale_width(w: int, h: int) -> int:
    """Cells at the left of the plot that its scale takes."""
    return AXIS if w >= 40 and h >= 3 else 0


def _formatter(metric: Metric) -> str:
    return {"memory": "size", "step_s": "ms", "data_s": "ms", "throughput": "count"}.get(metric.id, "")


def text_of(metric: Metric, value: float | None) -> str:
    """A value as the scale writes it, without padding."""
    write = {"size": units.size, "ms": units.ms, "count": units.count}.get(
        _formatter(metric), units.significant
    )
    return write(value, 0)


def place_text(axis: Axis, x: float) -> str:
    return units.grouped(x) if axis == "step" else units.duration(x, 0)


def reading(run: RunState, metric: Metric, axis: Axis, x: float) -> tuple[int, float] | None:
    """(step, value) measured last at or before `x`. None: the run has none there, or had ended before."""
    xs = run.columns.get("step" if axis == "step" else "wall_ns")
    steps = run.columns.get("step")
    ratio = metric.column == "throughput"
    values = run.columns.get("samples") if ratio else value_column(run, metric.column)
    below = run.columns.get("step_s") if ratio else None
    if xs is None or steps is None or values is None or not len(xs) or (ratio and below is None):
        return None
    scaled = x if axis == "step" else x * 1e9 + run.started_wall_ns
    apart = (xs[-1] - xs[0]) / max(1, len(xs) - 1)
    if scaled > xs[-1] + apart:
        return None
    at = bisect_right(xs, scaled) - 1
    for i in range(at, max(-1, at - REACH), -1):
        value = values[i] if below is None else values[i] / below[i] if below[i] else NAN
        if value == value:
            return int(steps[i]), value
    return None


def _line(cells: list[list[tuple[str, S]]], share: float, look: Look) -> None:
    """The cursor, behind the curves."""
    if not cells or not 0 <= share <= 1:
        return
    glyph = "│" if look.unicode else "|"
    for row in cells:
        x = min(len(row) - 1, int(share * len(row)))
        if row[x][0] == " ":
            row[x] = (glyph, S.VALUE)


def _scale(
    found: Sequence[Buckets | None], marks: Sequence[tuple[float, float, int]], plot: Plot
) -> tuple[float, float]:
    known = [v for _, v, _ in marks]
    for b in found:
        if b is None:
            continue
        sources = (b.means,) if plot.smooth else (b.lows, b.highs)
        known += [v for values in sources for v in values if v == v]
    lo, hi = bounds(known, plot.log)
    return (min(0.0, lo), hi) if plot.metric.zero and not plot.log else (lo, hi)


def _curves(
    found: Sequence[Buckets | None], plot: Plot, w: int, h: int, look: Look, lo: float, hi: float
) -> list[list[tuple[str, S]]]:
    """Cells of all runs; where two meet, the earlier one stays in front."""
    cells: list[list[tuple[str, S]]] = [[(" ", S.TEXT)] * w for _ in range(h)]
    for b, style in zip(found, STYLES, strict=False):
        if b is None:
            continue
        layers = [(b.lows, b.highs, S.FAINT if plot.smooth else style)]
        if plot.smooth:
            line = smoothed(bridge(b.means), 0.9)
            layers.insert(0, (line, line, style))
        for lows, highs, colour in layers:
            text = envelope(bridge(lows), bridge(highs), w, h, look, lo, hi, plot.log)
            for row, part in zip(cells, text, strict=False):
                for x, c in enumerate(part):
                    if c != " " and row[x][0] == " ":
                        row[x] = (c, colour)
    return cells


def _evaluations(
    runs: Sequence[RunState], plot: Plot, x0: float, x1: float
) -> list[tuple[float, float, int]]:
    """(share of the x axis, value, which run) of the evaluations."""
    name = plot.metric.evaluation
    out: list[tuple[float, float, int]] = []
    for k, run in enumerate(runs):
        for ev in run.evals if name is not None else ():
            value = ev.get(name) if name is not None else None
            x = _place(run, plot.axis, ev.get("step"), ev.get("wall_ns"))
            if isinstance(value, (int, float)) and math.isfinite(value) and x is not None and x0 <= x <= x1:
                out.append(((x - x0) / (x1 - x0), float(value), k))
    return out


def _place(run: RunState, axis: Axis, step: object, wall_ns: object) -> float | None:
    if axis == "step":
        return float(step) if isinstance(step, (int, float)) else None
    return (wall_ns - run.started_wall_ns) / 1e9 if isinstance(wall_ns, (int, float)) else None


def _mark(
    cells: list[list[tuple[str, S]]], marks: Sequence[tuple[float, float, int]], w: int, h: int,
    lo: float, hi: float, log: bool, look: Look,
) -> None:  # fmt: skip
    glyph = glyphs(look).evaluation
    for share, value, k in marks:
        height = position(value, lo, hi, log)
        if height is not None and 0 <= share <= 1:
            x = min(w - 1, int(share * w))
            y = min(h - 1, int((1 - height) * h))
            cells[y][x] = (glyph, S.GRAPH_2 if k == 0 else STYLES[min(k, len(STYLES) - 1)])


def _lane(run: RunState, axis: Axis, x0: float, x1: float, left: int, w: int, look: Look) -> Row:
    """Checkpoints, faults, failures where they happened; the gravest of a cell shows."""
    g = glyphs(look)
    lane: list[tuple[int, str, S]] = [(9, " ", S.TEXT)] * w
    rank = {"exception": 0, "nonfinite": 0, "fault": 1, "frozen": 1, "stop": 2, "checkpoint": 3}
    for e in run.events:
        if e.kind not in MARKS:
            continue
        x = _place(run, axis, e.step, e.wall_ns)
        if x is None or not x0 <= x <= x1:
            continue
        name, style = MARKS[e.kind]
        grave = rank[e.kind]
        if e.kind == "checkpoint" and e.data.get("ok") is False:
            name, style, grave = "critical", S.CRIT, 0
        cell = min(w - 1, int((x - x0) / (x1 - x0) * w))
        lane[cell] = min(lane[cell], (grave, getattr(g, name), style))
    head = (("events".ljust(left)[:left], S.DIM),) if left else ()
    return (*head, *merge((c, s) for _, c, s in lane))


def _x_axis(axis: Axis, x0: float, x1: float, left: int, w: int) -> Row:
    first, middle, last = (place_text(axis, x) for x in (x0, (x0 + x1) / 2, x1))
    line = first.ljust(w)
    if w >= len(first) + len(middle) + len(last) + 6:
        at = w // 2 - len(middle) // 2
        line = line[:at] + middle + line[at + len(middle) :]
    if w > len(first) + len(last):
        line = line[: w - len(last)] + last
    head = ((("step" if axis == "step" else "time").ljust(left)[:left], S.DIM),) if left else ()
    return (*head, (line[:w], S.DIM))
