"""The table of what differs between two moments."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.engine.recording.compare import Change, Difference, ProcessChange
from dctop.probes.base import Value
from dctop.tui.dialogs.base import TextDialog, heading
from dctop.tui.draw import units
from dctop.tui.draw.rows import Row, S, fit
from dctop.tui.frame import clean
from dctop.tui.views.replaybar import span_text

MOST = 24
"""Rows of each table: both fit a screen, or nearly."""
_CELL = 11
_S = 1_000_000_000


def compare_dialog(d: Difference) -> TextDialog:
    """`d.a` is left, `d.b` right."""
    later = (d.b // _S - d.a // _S) * _S  # as the clocks beside it say: ticks are no whole seconds
    title = f"{units.clock(d.a)} against {units.clock(d.b)} ({span_text(later)} later)"
    return TextDialog(title, lambda w: rows(d, w), want=(110, 50))


def rows(d: Difference, w: int) -> list[Row]:
    """What changed most first; `w` cells wide at most."""
    a, b = units.clock(d.a), units.clock(d.b)
    name_w = max(8, w - 2 * _CELL - 10)
    out: list[Row] = [heading("Metrics (medians of ten ticks)"), _head(("metric", a, b, "change"), name_w)]
    out += [_metric(c, name_w) for c in d.metrics[:MOST]] or [((" none changed by 2 % or more", S.DIM),)]
    more = max(0, len(d.metrics) - MOST)
    out.append(((f" {f'{more} more changed, ' if more else ''}{d.unchanged} as they were", S.DIM),))
    out += [(), heading("Processes"), _head(("process: CPU at", a, b, "RSS"), name_w)]
    out += [_process(p, name_w) for p in d.processes[:MOST]] or [((" none came, went or changed", S.DIM),)]
    return out


def _head(names: Sequence[str], name_w: int) -> Row:
    text = fit(names[0], name_w) + "".join(fit(n, _CELL, ">") for n in names[1:3]) + fit(names[3], 10, ">")
    return ((text, S.HEADER),)


def _metric(c: Change, name_w: int) -> Row:
    style = S.WARN if c.score >= 0.5 else S.TEXT
    name = fit(clean(c.key), name_w)
    return (
        (name, S.TEXT), (fit(value(c.before, c.unit), _CELL, ">"), S.DIM),
        (fit(value(c.after, c.unit), _CELL, ">"), S.VALUE), (fit(difference(c), 10, ">"), style),
    )  # fmt: skip


def value(v: Value, unit: str) -> str:
    """A value in its unit, short."""
    if v is None:
        return "-"
    if isinstance(v, str):
        return clean(v)
    if unit == "bytes":
        return units.size(v).strip()
    if unit == "bytes/s":
        return units.rate(v).strip()
    text = f"{v:,.4g}" if abs(v) < 10_000 else units.count(v).strip()
    return f"{text} {unit}" if unit and len(unit) <= 3 and unit != "0|1" else text


def difference(c: Change) -> str:
    """`+12 pt` of percentages, `x2.0` or `-30%` of other numbers."""
    x, y = c.before, c.after
    if x is None or y is None:
        return "new" if x is None else "gone"
    if isinstance(x, str) or isinstance(y, str):
        return "other"
    if c.unit == "%":
        return f"{y - x:+.0f} pt"
    if x == 0 or (x < 0) != (y < 0):
        return f"{'+' if y > x else '-'}{value(abs(y - x), c.unit)}"
    ratio = y / x
    return f"x{ratio:.3g}" if ratio >= 2 else f"{100 * (ratio - 1):+.0f}%"


def _process(p: ProcessChange, name_w: int) -> Row:
    style = {"new": S.GOOD, "gone": S.DIM, "changed": S.TEXT}[p.what]
    name = f"{'' if p.what == 'changed' else p.what + ' '}{p.pid} {clean(p.name)}"
    cpu = [fit("-" if v is None else f"{v:.0f}%", _CELL, ">") for v in p.cpu]
    rss = p.rss[1] if p.rss[1] is not None else p.rss[0]
    return (
        (fit(name, name_w), style), (cpu[0], S.DIM), (cpu[1], S.VALUE),
        (fit(units.size(rss).strip() if rss is not None else "-", 10, ">"), S.TEXT),
    )  # fmt: skip
