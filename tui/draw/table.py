"""Tables: columns that give way by priority when the room shrinks, sort marks, exact widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import fit


@dataclass(frozen=True, slots=True)
class Column:
    """`width` is exact, or the least for the one `flex` column, which takes what is left over.
    `drop`: 0 stays always; the highest number goes first."""

    id: str
    title: str
    width: int
    align: str = ">"
    drop: int = 0
    flex: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns that fit `w` cells, one space between them."""

    columns: tuple[Column, ...]
    widths: tuple[int, ...]
    ids: tuple[str, ...]
    w: int
    used: int
    """Cells of a full line; smaller or larger than `w` where not even the indispensable columns fit."""

    def line(self, cells: Sequence[str], ellipsis: str = "…") -> str:
        """One line of exactly `w` cells. A cell that already has its column's width is taken as it is."""
        text = " ".join(
            [
                c if len(c) == n and c.isascii() else fit(c, n, col.align, ellipsis)
                for c, n, col in zip(cells, self.widths, self.columns)
            ]
        )
        if self.used == self.w:
            return text
        return text + " " * (self.w - self.used) if self.used < self.w else fit(text, self.w, "<", ellipsis)

    def column_at(self, x: int) -> str | None:
        """Id of the column under cell `x` (for clicks on the header)."""
        left = 0
        for col, n in zip(self.columns, self.widths):
            if left <= x < left + n:
                return col.id
            left += n + 1
        return None


@lru_cache(256)
def layout(columns: tuple[Column, ...], w: int) -> Layout:
    """The columns that fit, in their order."""
    kept = list(columns)

    def total() -> int:
        return sum(c.width for c in kept) + len(kept) - 1

    while kept and total() > w:
        worst = max(kept, key=lambda c: c.drop)
        if worst.drop == 0:
            break
        kept.remove(worst)
    spare = max(0, w - total())
    widths = tuple(c.width + (spare if c.flex else 0) for c in kept)
    used = sum(widths) + max(0, len(widths) - 1)
    return Layout(tuple(kept), widths, tuple(c.id for c in kept), w, used)


@lru_cache(256)
def header(table: Layout, sort: str | None, reverse: bool, look: Look) -> str:
    """The titles; the sorted column carries a mark (`▾` largest first) at the title's side."""
    g = glyphs(look)
    mark = g.ascending if reverse else g.descending
    cells = [c.title + mark if c.id == sort else c.title for c in table.columns]
    return table.line([fit(c, n, col.align, "") for c, n, col in zip(cells, table.widths, table.columns)])
