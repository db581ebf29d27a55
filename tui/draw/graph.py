"""Graphs as strings of one row each: braille dots, block elements or ASCII; newest value at the right.

A graph of `w` cells takes `samples(look, w)` values: two a cell in braille, else one. A missing value (NaN)
leaves its column empty; a value that was read draws at least the lowest dot, so idle and unknown differ.
Nothing here makes an object a cell: a column of cells is a cached string for its level (or pair of
levels), and a row is every n-th character of those.
"""

from __future__ import annotations

import contextlib
import math
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S

Mode = Literal["braille", "block", "ascii"]

WARN_PCT, CRIT_PCT = 70.0, 90.0
"""Where the bands of a 0-100 graph change colour."""

_LEFT = (0x40, 0x04, 0x02, 0x01)  # braille dots of a cell's left half, bottom to top
_RIGHT = (0x80, 0x20, 0x10, 0x08)
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_HALF_DOWN = " ▀█"
_ASCII_UP = " .:#"
_ASCII_DOWN = " ':#"
_ASCII_RAMP = "_.-:=+*#"
_LEVELS: dict[tuple[Mode, bool], int] = {
    ("braille", False): 4,
    ("braille", True): 4,
    ("block", False): 8,
    ("block", True): 2,
    ("ascii", False): 3,
    ("ascii", True): 3,
}
_LINE_LEVELS: dict[Mode, int] = {"braille": 4, "block": 2, "ascii": 3}


def mode_of(look: Look) -> Mode:
    return look.graph if look.unicode else "ascii"


def samples(look: Look, w: int) -> int:
    """How many values fill `w` cells."""
    return 2 * w if mode_of(look) == "braille" else w


def top_of(values: Iterable[float], least: float = 1.0) -> float:
    """A scale for values without a limit: the next of 1, 2, 5 x 10^k above the greatest.

    Steps instead of the exact maximum, so that the picture does not breathe with every value.
    """
    values = values if isinstance(values, Sequence) else list(values)
    top = max(values, default=0.0)
    if not top < math.inf:
        # NaN (where it comes first) or infinity hid the rest.
        top = max((v for v in values if v < math.inf), default=0.0)
    if top <= least:
        return least
    unit = 10.0 ** math.floor(math.log10(top))
    for step in (1.0, 2.0, 5.0, 10.0):
        if top <= step * unit * 1.0000001:
            return step * unit
    return 10.0 * unit


# -- areas ------------------------------------------------------------------------------------------


def area(
    values: Sequence[float],
    w: int,
    h: int,
    look: Look,
    lo: float = 0.0,
    hi: float = 100.0,
    down: bool = False,
    log: bool = False,
) -> list[str]:
    """A filled graph: `h` strings of `w` cells. `down` hangs it from the top (the lower half of a mirror)."""
    if w <= 0 or h <= 0:
        return [""] * max(h, 0)
    mode = mode_of(look)
    if log:
        values, lo, hi = log_values(values, lo, hi)
    need = 2 * w if mode == "braille" else w
    values = values[-need:]
    if not isinstance(values, array) or len(values) < need or values.typecode != "d":
        return _area(values, w, h, lo, hi, down, mode)
    step = need // w
    seen, what = values.tobytes(), (w, h, lo, hi, down, mode)
    before = _drawn.pop((seen[: -8 * step], what), None)
    if before is None:
        lines = _area(values, w, h, lo, hi, down, mode)
    else:
        cells = _area(values[-step:], 1, h, lo, hi, down, mode)
        lines = [line[1:] + cell for line, cell in zip(before, cells)]
    _drawn[seen[8 * step :], what] = lines
    if len(_drawn) > _MOST_DRAWN:
        with contextlib.suppress(KeyError, StopIteration, RuntimeError):  # drawn elsewhere meanwhile
            del _drawn[next(iter(_drawn))]
    return lines


_MOST_DRAWN = 64
_drawn: dict[tuple[bytes, tuple[object, ...]], list[str]] = {}
"""Graphs drawn last, by all but the oldest cell of their values: the picture of the next cell is this one
moved on. Most of what drawing costs is to fetch what it needs from memory, and this needs the least."""


def _area(values: Sequence[float], w: int, h: int, lo: float, hi: float, down: bool, mode: Mode) -> list[str]:
    need = 2 * w if mode == "braille" else w
    q = _levels(values, lo, hi, _LEVELS[mode, down] * h)
    if len(q) < need:
        q = [0] * (need - len(q)) + q
    if mode == "braille":
        cols = [_area2(a, b, h, down) for a, b in zip(q[::2], q[1::2])]
    else:
        cols = [_area1(a, h, down, mode) for a in q]
    return ["".join(r) for r in zip(*cols)]


def _levels(values: Sequence[float], lo: float, hi: float, n: int) -> list[int]:
    """Heights of 1 to `n`, 0 for a missing value."""
    span = hi - lo
    if not span > 0:
        return [0 if x != x else n if x >= hi else 1 for x in values]
    k = n / span
    if values:
        total = sum(values)
        # The common case, nothing missing and nothing outside, needs no question for each value.
        if total == total and min(values) >= lo and max(values) <= hi:
            return [int((x - lo) * k + 0.9999) or 1 for x in values]
    return [
        0 if x != x else n if x >= hi else 1 if x <= lo else int((x - lo) * k + 0.9999) or 1 for x in values
    ]


@lru_cache(65536)
def _area2(left: int, right: int, h: int, down: bool) -> str:
    bits = [0] * h
    for level, mask in ((left, _LEFT), (right, _RIGHT)):
        for k in range(level):
            if down:
                bits[k >> 2] |= mask[3 - (k & 3)]
            else:
                bits[h - 1 - (k >> 2)] |= mask[k & 3]
    return "".join(chr(0x2800 + b) if b else " " for b in bits)


@lru_cache(4096)
def _area1(level: int, h: int, down: bool, mode: Mode) -> str:
    if mode == "block":
        glyphs = _HALF_DOWN if down else _EIGHTHS
    else:
        glyphs = _ASCII_DOWN if down else _ASCII_UP
    n = len(glyphs) - 1
    cells = [glyphs[min(n, max(0, level - n * i))] for i in range(h)]
    return "".join(cells if down else reversed(cells))


@lru_cache(256)
def bands(h: int) -> tuple[S, ...]:
    """Styles of the rows of a 0-100 graph, top first: a row has the colour of its middle."""
    out: list[S] = []
    for i in range(h):
        mid = 100.0 * (h - i - 0.5) / h
        out.append(S.GRAPH_CRIT if mid >= CRIT_PCT else S.GRAPH_WARN if mid >= WARN_PCT else S.GRAPH)
    return tuple(out)


def style_of(pct: float | None) -> S:
    """Graph colour of a single value on a 0-100 scale."""
    if pct is None or pct != pct or pct < WARN_PCT:
        return S.GRAPH
    return S.GRAPH_CRIT if pct >= CRIT_PCT else S.GRAPH_WARN


def area_rows(
    values: Sequence[float],
    w: int,
    h: int,
    look: Look,
    lo: float = 0.0,
    hi: float = 100.0,
    limit: bool = False,
    style: S = S.GRAPH,
    down: bool = False,
) -> list[Row]:
    """`area` with styles. `limit`: the scale is a share of something finite, colour its upper bands."""
    if w <= 0:
        return [()] * max(h, 0)
    lines = area(values, w, h, look, lo, hi, down)
    if limit and h == 1:
        return [((lines[0], style_of(values[-1] if len(values) else None)),)]
    if limit:
        return [((line, s),) for line, s in zip(lines, bands(h))]
    return [((line, style),) for line in lines]


def mirror_rows(
    upper: Sequence[float],
    lower: Sequence[float],
    w: int,
    h: int,
    look: Look,
    hi_upper: float,
    hi_lower: float,
) -> list[Row]:
    """`upper` stands on the middle line, `lower` hangs below it. With one row only `upper` is drawn."""
    up = (h + 1) // 2
    return [
        *area_rows(upper, w, up, look, hi=hi_upper),
        *area_rows(lower, w, h - up, look, hi=hi_lower, style=S.GRAPH_2, down=True),
    ]


# -- lines ------------------------------------------------------------------------------------------


def log_values(values: Sequence[float], lo: float, hi: float) -> tuple[list[float], float, float]:
    """Values and bounds on a log10 scale. What has no logarithm (0, negative) is missing there."""
    out = [math.log10(x) if 0 < x < math.inf else (x if x == math.inf else math.nan) for x in values]
    top = math.log10(hi) if hi > 0 else 0.0
    bottom = math.log10(lo) if lo > 0 else min((x for x in out if x == x), default=top - 1.0)
    return out, bottom, top


def line(
    values: Sequence[float],
    w: int,
    h: int,
    look: Look,
    lo: float,
    hi: float,
    log: bool = False,
) -> list[str]:
    """A connected line through `values`: `h` strings of `w` cells, newest at the right."""
    return envelope(values, values, w, h, look, lo, hi, log)


def envelope(
    lows: Sequence[float],
    highs: Sequence[float],
    w: int,
    h: int,
    look: Look,
    lo: float,
    hi: float,
    log: bool = False,
) -> list[str]:
    """A line through buckets of values: each column spans its bucket's minimum to maximum, so a spike
    of one step stays visible however many steps share the column."""
    if w <= 0 or h <= 0:
        return [""] * max(h, 0)
    mode = mode_of(look)
    n = _LINE_LEVELS[mode] * h - 1
    same = lows is highs
    if log:
        lows_, low, high = log_values(lows, lo, hi)
        highs_ = lows_ if same else log_values(highs, lo, hi)[0]
    else:
        lows_, highs_, low, high = list(lows), list(highs), lo, hi
    need = 2 * w if mode == "braille" else w
    a = _quantise(lows_[-need:], low, high, n)
    b = a if same else _quantise(highs_[-need:], low, high, n)
    ranges = [(-1, -1)] * (need - len(a)) + _connect(a, b)
    if mode == "braille":
        cols = [_line2(*p, *q, h) for p, q in zip(ranges[::2], ranges[1::2])]
    else:
        cols = [_line1(*p, h, mode) for p in ranges]
    return ["".join(r) for r in zip(*cols)]


def _quantise(values: Sequence[float], lo: float, hi: float, n: int) -> list[int]:
    span = hi - lo
    if (
        span == math.inf and math.isfinite(lo) and math.isfinite(hi)
    ):  # from one end of the floats to the other
        return _quantise([x / 4 for x in values], lo / 4, hi / 4, n)
    if not span > 0:
        return [-1 if x != x else n if x > hi else 0 if x < lo else n // 2 for x in values]
    k = n / span
    total = sum(values)
    if total == total and min(values, default=lo) >= lo and max(values, default=lo) <= hi:
        c = 0.5 - lo * k
        return [int(x * k + c) for x in values]
    return [-1 if x != x else n if x >= hi else 0 if x <= lo else int((x - lo) * k + 0.5) for x in values]


def _connect(lows: list[int], highs: list[int]) -> list[tuple[int, int]]:
    """Stretch each range until it touches its predecessor; -1 is a gap and connects to nothing."""
    out: list[tuple[int, int]] = []
    add = out.append
    p = q = -1
    for a, b in zip(lows, highs):
        if a < 0 or b < 0:
            add((-1, -1))
            p = q = -1
            continue
        if b < a:
            a, b = b, a
        if p < 0 or (a <= q + 1 and b >= p - 1):
            add((a, b))
        elif a > q:
            add((q + 1, b))
        else:
            add((a, p - 1))
        p, q = a, b
    return out


@lru_cache(65536)
def _line2(a: int, b: int, c: int, d: int, h: int) -> str:
    bits = [0] * h
    for lo, hi, mask in ((a, b, _LEFT), (c, d, _RIGHT)):
        if lo >= 0:
            for k in range(lo, hi + 1):
                bits[h - 1 - (k >> 2)] |= mask[k & 3]
    return "".join(chr(0x2800 + x) if x else " " for x in bits)


@lru_cache(16384)
def _line1(a: int, b: int, h: int, mode: Mode) -> str:
    n = _LINE_LEVELS[mode]
    single, many = ("▄▀", "█") if mode == "block" else (".-'", "|")
    cells = [""] * h
    if a >= 0:
        for k in range(a, b + 1):
            at = h - 1 - k // n
            cells[at] = many if cells[at] else single[k % n]
    return "".join(c or " " for c in cells)


# -- one row ----------------------------------------------------------------------------------------


def spark(values: Sequence[float], w: int, look: Look, lo: float = 0.0, hi: float = 100.0) -> str:
    """One row, one value a cell, newest at the right; a missing value is a blank."""
    if w <= 0:
        return ""
    # The last glyph twice: the top of the scale is a step of its own.
    ramp = "▁▂▃▄▅▆▇██" if look.unicode else _ASCII_RAMP + _ASCII_RAMP[-1]
    k = 8.0 / (hi - lo) if hi > lo else 0.0
    part = values if len(values) == w else values[-w:]
    total = sum(part)
    if k and total == total and len(part) and min(part) >= lo and max(part) <= hi:
        return "".join([ramp[int((x - lo) * k)] for x in part]).rjust(w)
    cells = [
        " " if x != x else ramp[8] if x >= hi > lo else ramp[0] if x <= lo else ramp[int((x - lo) * k)]
        for x in part
    ]
    return "".join(cells).rjust(w)
