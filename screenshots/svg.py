"""A terminal as SVG. Blocks, braille and box lines are drawn as shapes, so they meet at the edges."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Any

import pyte
from wcwidth import wcwidth

WIDTH, HEIGHT = 8, 16
"""Whole pixels: every cell is drawn alike, which is crisp and makes small files."""
FONT = WIDTH * 2048 / 1233
"""So that the advance of DejaVu Sans Mono is WIDTH: text runs keep to the grid by themselves."""
BASELINE = 12.4
MARGIN = 8
INK, PAPER = "#c5ccd6", "#0b0e14"
NAMED = {
    "black": "#1c1f26", "red": "#e06c75", "green": "#98c379", "brown": "#d7ba7d", "blue": "#61afef",
    "magenta": "#c678dd", "cyan": "#56b6c2", "white": "#d7dae0", "brightblack": "#5c6370",
    "brightred": "#ff7b86", "brightgreen": "#b5e890", "brightbrown": "#f0d090", "brightblue": "#82c4ff",
    "brightmagenta": "#dd94f0", "brightcyan": "#7fd5e0", "brightwhite": "#ffffff",
}  # fmt: skip
_DOTS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
"""(column, row) of each bit of a braille cell."""
_LINES = {
    "─": "lr", "━": "lr", "│": "ud", "┃": "ud", "┌": "rd", "┐": "ld", "└": "ru", "┘": "lu", "├": "rud",
    "┤": "lud", "┬": "lrd", "┴": "lru", "┼": "lrud", "╭": "rd", "╮": "ld", "╰": "ru", "╯": "lu",
    "╴": "l", "╵": "u", "╶": "r", "╷": "d",
}  # fmt: skip
_ROUND = "╭╮╰╯"


def svg_of(screen: pyte.Screen, caption: str = "") -> str:
    """The whole screen, with a margin in the colour of its first cell; `caption`: a line below it."""
    w, h = screen.columns * WIDTH + 2 * MARGIN, screen.lines * HEIGHT + 2 * MARGIN
    foot = h - MARGIN + BASELINE
    h += HEIGHT if caption else 0
    paper = _colours(screen.buffer[0][0])[1]
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w:.0f}" height="{h:.0f}" '
        f'shape-rendering="crispEdges" font-family="DejaVu Sans Mono, monospace" font-size="{FONT:.4f}">',
        f'<rect width="100%" height="100%" fill="{paper}"/>',
    ]
    for y in range(screen.lines):
        cells = [screen.buffer[y][x] for x in range(screen.columns)]
        top = MARGIN + y * HEIGHT
        out += _backgrounds(cells, top, paper)
        out += _ink(cells, top)
    if caption:
        out.append(f'<text x="{MARGIN}" y="{foot}" fill="#e6b450">{escape(caption)}</text>')
    out.append("</svg>")
    return "\n".join(out)


def _colour(name: str, default: str) -> str:
    if name == "default":
        return default
    return NAMED.get(name) or f"#{name}"


def _colours(cell: Any) -> tuple[str, str]:
    """(ink, paper) of a pyte cell."""
    ink, paper = _colour(cell.fg, INK), _colour(cell.bg, PAPER)
    return (paper, ink) if cell.reverse else (ink, paper)


def _backgrounds(cells: list[Any], top: float, paper: str) -> Iterator[str]:
    for colour, group in groupby(enumerate(cells), key=lambda c: _colours(c[1])[1]):
        if colour == paper:
            continue
        xs = [x for x, _ in group]
        left = MARGIN + xs[0] * WIDTH
        box = _rect(left, top, len(xs) * WIDTH, HEIGHT)
        yield f'<g fill="{colour}">{box}</g>'


def _kind(char: str) -> str:
    if not char.strip():
        return "blank"
    code = ord(char[0])
    if 0x2800 <= code <= 0x28FF or 0x2580 <= code <= 0x2595 or char in _LINES:
        return "shape"
    # What the font has in another width is placed on its own.
    return "text" if code < 0x2500 and wcwidth(char[0]) == 1 else "lone"


def _ink(cells: list[Any], top: float) -> Iterator[str]:
    def key(item: tuple[int, Any]) -> tuple[str, str, bool, int]:
        x, cell = item
        kind = _kind(cell.data)
        return kind, _colours(cell)[0], cell.bold, x if kind == "lone" else 0

    for (kind, ink, bold, _), group in groupby(enumerate(cells), key=key):
        run = list(group)
        x = MARGIN + run[0][0] * WIDTH
        if kind == "shape":
            shapes = "".join(_shape(c.data, MARGIN + i * WIDTH, top) for i, c in run)
            yield f'<g fill="{ink}" stroke="none">{shapes}</g>'.replace("INK", ink)
        elif kind != "blank":
            text = escape("".join(c.data for _, c in run))
            look = f'fill="{ink}"' + (' font-weight="bold"' if bold else "")
            yield f'<text x="{x:.2f}" y="{top + BASELINE:g}" {look} xml:space="preserve">{text}</text>'


def _shape(char: str, x: float, y: float) -> str:
    code = ord(char)
    if char in _LINES:
        return _line(char, x, y)
    if code >= 0x2800:
        spots = [spot for bit, spot in enumerate(_DOTS) if (code - 0x2800) >> bit & 1]
        return "".join(_rect(x + 1 + 4 * c, y + 1 + 4 * r, 2, 2) for c, r in spots)
    return _block(code, x, y)


def _rect(x: float, y: float, w: float, h: float, opacity: float = 1.0) -> str:
    faint = f' fill-opacity="{opacity}"' if opacity < 1 else ""
    return f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}"{faint}/>'


def _block(code: int, x: float, y: float) -> str:
    if code == 0x2580:
        return _rect(x, y, WIDTH, HEIGHT / 2)
    if 0x2581 <= code <= 0x2588:
        part = (code - 0x2580) / 8
        return _rect(x, y + HEIGHT * (1 - part), WIDTH, HEIGHT * part)
    if 0x2589 <= code <= 0x258F:
        return _rect(x, y, WIDTH * (0x2590 - code) / 8, HEIGHT)
    if 0x2591 <= code <= 0x2593:
        return _rect(x, y, WIDTH, HEIGHT, (code - 0x2590) / 4)
    if code == 0x2590:
        return _rect(x + WIDTH / 2, y, WIDTH / 2, HEIGHT)
    if code == 0x2594:
        return _rect(x, y, WIDTH, HEIGHT / 8)
    return _rect(x + WIDTH * 7 / 8, y, WIDTH / 8, HEIGHT)


def _line(char: str, x: float, y: float) -> str:
    mx, my = x + WIDTH / 2, y + HEIGHT / 2
    ends = {"l": (x, my), "r": (x + WIDTH, my), "u": (mx, y), "d": (mx, y + HEIGHT)}
    arms = _LINES[char]
    if char in _ROUND:
        (ax, ay), (bx, by) = (ends[a] for a in arms)
        path = f"M{ax:.2f} {ay:.2f}Q{mx:.2f} {my:.2f} {bx:.2f} {by:.2f}"
    else:
        path = "".join(f"M{mx:.2f} {my:.2f}L{ends[a][0]:.2f} {ends[a][1]:.2f}" for a in arms)
    width = 2.2 if char in "━┃" else 1.2
    return f'<path d="{path}" fill="none" stroke="INK" stroke-width="{width}" shape-rendering="auto"/>'
