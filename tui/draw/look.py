"""How things are drawn in this terminal: glyph sets. Colour is the theme's business, not this file's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Graph = Literal["braille", "block", "ascii"]


@dataclass(frozen=True, slots=True)
class Look:
    """Chosen once from options, locale and TERM; handed to every draw function."""

    graph: Graph = "braille"
    unicode: bool = True
    """False: ASCII only (LANG not UTF-8, TERM=dumb, linux console): borders + - |, marks ! * >."""

    @property
    def ellipsis(self) -> str:
        return "…" if self.unicode else "~"
