"""What the panes about the selected GPU share: which one it is, stepping to the next, scrolling."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.engine.metrics.model import Snapshot
from dctop.tui.draw.rows import Row, S, Span, fit_row
from dctop.tui.intents import Intent
from dctop.tui.keys import Action
from dctop.tui.panes.base import View
from dctop.tui.panes.gpu_data import STYLES, Gpu, GpuBook
from dctop.tui.panes.parts import DataPane, message, outside


def actions_of(prefix: str) -> tuple[Action, ...]:
    """Keys of every pane about one GPU; ids differ by pane, as all ids do."""
    return (
        Action(f"{prefix}.next", ("greater_than_sign",), "next GPU", "The next GPU."),
        Action(f"{prefix}.previous", ("less_than_sign",), "GPU before", "The GPU before."),
        Action(f"{prefix}.down", ("down",), "down", "Scroll down.", footer=False),
        Action(f"{prefix}.up", ("up",), "up", "Scroll up.", footer=False),
        Action(f"{prefix}.page_down", ("pagedown",), "page down", "A page down.", footer=False),
        Action(f"{prefix}.page_up", ("pageup",), "page up", "A page up.", footer=False),
        Action(f"{prefix}.home", ("home",), "top", "To the top.", footer=False),
        Action(f"{prefix}.end", ("end",), "bottom", "To the bottom.", footer=False),
    )


class GpuSubPane(DataPane):
    """Draws the selected GPU as a list of rows of any length; shows the part that fits."""

    probes = ("gpu",)

    def __init__(self, book: GpuBook | None = None) -> None:
        self.book = book or GpuBook()
        self._top = 0
        self._page = 1
        self._total = 0

    def rows(self, view: View, snap: Snapshot, gpu: Gpu, w: int, h: int) -> list[Row]:
        """All rows, each `w` cells wide."""
        raise NotImplementedError

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        left: list[Span] = [(self.name, S.TITLE)]
        gpu = self.book.current(view) if view.snap is not None else None
        if gpu is None:
            return left, self.right(view, "") if view.snap is not None else ()
        left.append((f" GPU {gpu.label}", S.VALUE))
        if w >= 36:
            left.append((f" {gpu.name}", S.DIM))
        return left, self.right(view, gpu.mark, STYLES[gpu.level])

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        gpu = self.book.current(view)
        if gpu is None:
            status = outside(snap.text("gpu.status"), view.look, "no GPU was found yet")
            return message((f"There is no GPU to show: {status}.",), w, h)
        rows = self.rows(view, snap, gpu, w, h)
        self._page, self._total = h, len(rows)
        self._top = max(0, min(self._top, len(rows) - h))
        if len(rows) > h and h >= 2:
            rest = len(rows) - self._top - h
            if rest > 0:
                cut = rows[self._top : self._top + h - 1]
                return [*cut, fit_row(((f"+{rest + 1} rows: arrows, or e for the whole screen", S.DIM),), w)]
        return rows[self._top : self._top + h]

    def act(self, action_id: str, view: View) -> Intent | None:
        what = action_id.rpartition(".")[2]
        if what in ("next", "previous"):
            self.book.chosen = self.book.chosen or getattr(self.book.current(view), "uuid", None)
            self.book.step(view, 1 if what == "next" else -1)
        else:
            steps = {"down": 1, "up": -1, "page_down": self._page, "page_up": -self._page}
            self.scroll(steps.get(what, self._total if what == "end" else -self._total))
        return None

    def scroll(self, rows: int) -> bool:
        top = max(0, min(self._top + rows, self._total - self._page))
        moved, self._top = top != self._top, top
        return moved
