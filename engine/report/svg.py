"""Charts as SVG: curves with their envelope, incidents and gaps behind them, moments as lines. Colours are
CSS classes, so that one picture serves light, dark and paper. No scripts, nothing from outside."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from dctop.engine.report.blocks import Chart, Curve, Point
from dctop.engine.report.say import Say
from dctop.engine.report.units import number, quantity, utc

WIDTH, HEIGHT = 760, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 10, 24
_STEPS = (1, 2, 2.5, 5, 10)


def draw(chart: Chart, index: int, say: Say) -> str:
    """One `<svg>`; `index` makes its ids unique in the page."""
    lo, hi, ticks = scale(chart)
    span = max(1, chart.t1_ns - chart.t0_ns)

    def x(t_ns: int) -> float:
        part = (t_ns - chart.t0_ns) / span
        return round(_LEFT + min(1.0, max(0.0, part)) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(v: float) -> float:
        part = (min(hi, max(lo, v)) - lo) / (hi - lo)
        return round(HEIGHT - _BOTTOM - part * (HEIGHT - _TOP - _BOTTOM), 1)

    floor, ceiling = HEIGHT - _BOTTOM, _TOP
    spoken = escape(_spoken(chart, say), quote=True)
    out = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{spoken}" '
        f'preserveAspectRatio="xMidYMid meet">',
        f'<defs><pattern id="h{index}" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>',
    ]
    for band in chart.bands:
        a, z = x(band.t0_ns), x(band.t1_ns)
        fill = f' fill="url(#h{index})"' if band.kind == "gap" else ""
        place = f'x="{a}" width="{max(1.5, round(z - a, 1))}"'
        kind, title = escape(band.kind), f"<title>{escape(band.text)}</title>"
        out.append(
            f'<rect class="band {kind}"{fill} {place} y="{ceiling}" height="{floor - ceiling}">{title}</rect>'
        )
        if band.kind != "gap":
            out.append(f'<rect class="lane {kind}" {place} y="{ceiling - 7}" height="4">{title}</rect>')
    for v in ticks:
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(v)}" y2="{y(v)}"/>')
        place = f'x="{_LEFT - 6}" y="{y(v) + 3.5}" text-anchor="end"'
        out.append(f'<text class="tick" {place}>{_tick(v, chart.unit)}</text>')
    for t in time_ticks(chart.t0_ns, chart.t1_ns):
        out.append(f'<line class="tickmark" x1="{x(t)}" x2="{x(t)}" y1="{floor}" y2="{floor + 4}"/>')
        out.append(
            f'<text class="tick" x="{x(t)}" y="{HEIGHT - 6}" text-anchor="middle">{_clock(t, span)}</text>'
        )
    for t, text in chart.marks:
        out.append(
            f'<line class="mark" x1="{x(t)}" x2="{x(t)}" y1="{ceiling}" y2="{floor}">'
            f"<title>{escape(f'{utc(t)} {text}')}</title></line>"
        )
    if chart.focus is not None:
        out.append(
            f'<line class="focus" x1="{x(chart.focus)}" x2="{x(chart.focus)}" y1="{ceiling}" y2="{floor}"/>'
        )
    if chart.limit is not None and lo <= chart.limit <= hi:
        at = y(chart.limit)
        out.append(f'<line class="limit" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>')
    for n, curve in enumerate(chart.curves):
        for part in unbroken(curve.points, chart):
            out += _stroke(part, n, x, y)
    out.append("</svg>")
    return "\n".join(out)


def _stroke(part: Sequence[Point], n: int, x: object, y: object) -> Iterator[str]:
    fx, fy = x, y
    assert callable(fx) and callable(fy)
    means = [(fx(p.t_ns), fy(p.mean)) for p in part]
    if any(p.low != p.high for p in part):
        top = [f"{fx(p.t_ns)},{fy(p.high)}" for p in part]
        bottom = [f"{fx(p.t_ns)},{fy(p.low)}" for p in reversed(part)]
        yield f'<polygon class="env c{n}" points="{" ".join(top + bottom)}"/>'
    if len(means) == 1:
        yield f'<circle class="dot c{n}" cx="{means[0][0]}" cy="{means[0][1]}" r="1.8"/>'
    else:
        yield f'<polyline class="line c{n}" points="{" ".join(f"{a},{b}" for a, b in means)}"/>'


def unbroken(points: Sequence[Point], chart: Chart) -> Iterator[list[Point]]:
    """Stretches without a hole: a missing value, or a recorded gap between two."""
    gaps = [(b.t0_ns, b.t1_ns) for b in chart.bands if b.kind == "gap"]
    part: list[Point] = []
    for p in points:
        broken = p.mean is None or (part and any(part[-1].t_ns <= a and z <= p.t_ns for a, z in gaps))
        if broken and part:
            yield part
            part = []
        if p.mean is not None:
            part.append(p)
    if part:
        yield part


def scale(chart: Chart) -> tuple[float, float, list[float]]:
    """(bottom, top, ticks) of the value axis: round numbers, from zero unless all values are far from it."""
    values = [v for c in chart.curves for p in c.points for v in (p.low, p.high) if v is not None]
    if chart.limit is not None:
        values.append(chart.limit)
    lo, hi = (min(values), max(values)) if values else (0.0, 1.0)
    if chart.top is not None:
        hi = max(hi, chart.top)
    if lo >= 0 and (lo < 0.6 * hi or chart.top is not None):
        lo = 0.0
    if hi <= lo:
        hi = lo + (abs(lo) * 0.1 or 1.0)
    base = 1024.0 if chart.unit.startswith("bytes") else 1000.0
    factor = base ** max(0, math.floor(math.log(max(abs(hi), abs(lo), 1e-300), base)))
    rough = (hi - lo) / factor / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s for s in _STEPS if s * power >= rough * 0.999) * power * factor
    first, last = math.floor(lo / step), math.ceil(hi / step - 1e-9)
    if chart.top is not None and hi == chart.top:
        last = max(first + 1, math.floor(hi / step + 1e-9))
    ticks = [i * step for i in range(first, last + 1)]
    return ticks[0], max(ticks[-1], hi if chart.top is not None else ticks[-1]), ticks


_TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800)


def time_ticks(t0_ns: int, t1_ns: int) -> list[int]:
    """Round UTC times, at most eight."""
    span = (t1_ns - t0_ns) / 1e9
    step = next((s for s in _TIMES if span / s <= 8), max(1, math.ceil(span / 8 / 86400)) * 86400)
    ns = step * 1_000_000_000
    first = -(-t0_ns // ns) * ns
    return list(range(first, t1_ns + 1, ns))


def _clock(t_ns: int, span_ns: int) -> str:
    text = utc(t_ns, day=True)
    if span_ns > 2 * 86_400 * 1_000_000_000:
        return text[5:16]
    return text[11:19] if span_ns < 600 * 1_000_000_000 else text[11:16]


def _tick(v: float, unit: str) -> str:
    if unit.startswith("bytes") or unit == "s":
        return escape(quantity(v, unit).replace(" ", "\u202f"))
    if abs(v) >= 10_000:
        for size, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(v) >= size:
                return f"{number(v / size)}{suffix}"
    return f"{number(v)}%" if unit == "%" else number(v)


def _spoken(chart: Chart, say: Say) -> str:
    """For those who cannot see it."""
    parts = [say("chart.spoken", title=chart.title, t0=utc(chart.t0_ns, True), t1=utc(chart.t1_ns, True))]
    for curve in chart.curves:
        stats = numbers(curve)
        if stats is not None:
            low, mean, high = (quantity(v, chart.unit) for v in stats)
            told = say("chart.numbers", low=low, high=high, mean=mean)
            parts.append(f"{curve.name}: {told}")
    return "; ".join(parts)


def numbers(curve: Curve) -> tuple[float, float, float] | None:
    """Smallest, mean and largest value."""
    means = [p.mean for p in curve.points if p.mean is not None]
    lows = [p.low for p in curve.points if p.low is not None]
    highs = [p.high for p in curve.points if p.high is not None]
    if not means or not lows or not highs:
        return None
    return min(lows), sum(means) / len(means), max(highs)
