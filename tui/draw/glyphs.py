"""The marks that stand beside colours, in Unicode and in ASCII. Each is exactly one cell, or empty."""

from __future__ import annotations

from dataclasses import dataclass

from dctop.tui.draw.look import Look


@dataclass(frozen=True, slots=True)
class Glyphs:
    critical: str = "■"
    warning: str = "▲"
    info: str = "·"
    closed: str = "✓"
    live: str = "●"
    replay: str = "▶"
    paused: str = "‖"
    cursor: str = "▸"
    up: str = "↑"
    down: str = "↓"
    rising: str = "↗"
    falling: str = "↘"
    level: str = "→"
    evaluation: str = "◆"
    checkpoint: str = "◇"
    degree: str = "°"
    expanded: str = "▾"
    collapsed: str = "▸"
    ascending: str = "▴"
    descending: str = "▾"
    tree_mid: str = "├─"
    tree_last: str = "└─"
    tree_bar: str = "│ "
    dot: str = "·"
    line: str = "─"
    head: str = "┃"
    gap: str = "╱"
    times: str = "×"
    stale: str = "~"


UNICODE = Glyphs()
ASCII = Glyphs(
    critical="!",
    warning="*",
    info="-",
    closed="+",
    live="o",
    replay=">",
    paused="=",
    cursor=">",
    up="^",
    down="v",
    rising="/",
    falling="\\",
    level=">",
    evaluation="#",
    checkpoint="o",
    degree="C",
    expanded="-",
    collapsed="+",
    ascending="^",
    descending="v",
    tree_mid="|-",
    tree_last="`-",
    tree_bar="| ",
    dot=".",
    line="-",
    head="|",
    gap="/",
    times="x",
)


def glyphs(look: Look) -> Glyphs:
    return UNICODE if look.unicode else ASCII
