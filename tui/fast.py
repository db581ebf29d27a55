"""How rows reach the terminal: the compositor fast path, and the public path it falls back to.

A `RowsWidget` holds rows. The safe path hands them to Textual as strips. The fast path writes the cells
that changed as `cursor position + SGR + text`, about a tenth of the CPU, but it reaches into Textual's
compositor, so it is used only with exactly the version it was written against (`FAST_VERSION`), and only
for widgets that nothing covers. Whatever else happens (overlay, layout, full repaint) takes the safe path,
and both are fed from the same rows, so the screen is the same (tests/tui/test_paint_paths.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import textual
from rich.console import Console
from rich.segment import Segment
from textual._compositor import ChopsUpdate, Compositor, CompositorUpdate, LayoutUpdate, ReflowResult
from textual.geometry import Region, Size
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from dctop.tui.draw.rows import Row, width
from dctop.tui.lean import FAST_VERSION

if TYPE_CHECKING:
    from dctop.tui.theme import Paint


def _installed() -> str:
    """Textual's own `__version__` asks importlib.metadata, for which email, csv and zipfile are imported:
    1 MB and 10 ms. That the version we know is here can be seen from a folder's name."""
    if (Path(textual.__file__).parents[1] / f"textual-{FAST_VERSION}.dist-info").is_dir():
        return FAST_VERSION
    return textual.__version__


textual_version = _installed()


def fast_allowed(option: str = "auto") -> bool:
    """`auto` and `fast`: on with the version the fast path knows; `safe`: off."""
    return option != "safe" and textual_version == FAST_VERSION


class RowsWidget(Widget, can_focus=False):
    """A widget that is nothing but rows. Set them with `put`; no CSS box, no children, no renderable."""

    def __init__(self, paint: Paint, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.paint = paint
        self.rows: list[Row] = []
        self.shown: list[Row | None] = []
        """What the fast path last wrote, row by row; None: unknown, must be written."""
        self._strips: list[tuple[Row, Strip] | None] = []
        self._node: Screen[Any] | None = None

    # -- content ------------------------------------------------------------------------------------

    def put(self, rows: list[Row], quiet: bool = False) -> None:
        """Show these rows from the next paint on. `quiet`: within a layout, which paints anyway."""
        old, self.rows = self.rows, rows
        if quiet or old == rows:
            return
        screen = self._node
        if screen is None:
            if not self.is_attached:
                return
            screen = self._node = self.screen  # a walk up the tree; a widget never changes its screen
        if isinstance(screen, FastScreen) and screen.fast:
            screen.touch(self)
            return
        if len(old) != len(rows):
            self.refresh()
            return
        w = self.size.width
        changed = [Region(0, y, w, 1) for y, (a, b) in enumerate(zip(old, rows, strict=True)) if a != b]
        self.refresh(*changed)

    def repaint_with(self, paint: Paint) -> None:
        """Another theme: everything known about the screen is void."""
        self.paint = paint
        self._strips = []
        self.forget()

    # -- fast path ----------------------------------------------------------------------------------

    def forget(self) -> None:
        self.shown = [None] * len(self.rows)

    def emit(self, out: list[str], x: int, y: int) -> None:
        """Append what turns the shown rows into the present ones, for a widget at (x, y)."""
        self._repaint_regions.clear()
        self._strips = []  # of the full paint before: 0.2 MB that nobody asks for while the way is short
        paint, shown = self.paint, self.shown
        for i, row in enumerate(self.rows):
            old = shown[i]
            if old is not row and old != row:
                encode(out, row, old, x, y + i, paint)
        self.shown = list(self.rows)

    # -- safe path: full paints, overlays, screenshots, other versions --------------------------------

    def render_lines(self, crop: Region) -> list[Strip]:
        x, y, w, h = crop
        full = self.size.width
        if len(self._strips) != len(self.rows):
            self._strips = [None] * len(self.rows)
        out = []
        for i in range(y, y + h):
            strip = self._strip(i, full)
            out.append(strip if x == 0 and w == strip.cell_length else strip.crop(x, x + w))
        return out

    def render_line(self, y: int) -> Strip:
        return self._strip(y, self.size.width)

    def _strip(self, i: int, full: int) -> Strip:
        if not 0 <= i < len(self.rows):
            return _blank_strip(full, self.paint.clear)
        row = self.rows[i]
        kept = self._strips[i] if i < len(self._strips) else None
        if kept is not None and kept[0] is row and kept[1].cell_length == full:
            return kept[1]
        strip = Strip([Segment(text, self.paint.styles[style]) for text, style in row])
        if strip.cell_length != full:  # rows of before a resize, for one paint
            strip = strip.adjust_cell_length(full, self.paint.clear)
        if i < len(self._strips):
            self._strips[i] = (row, strip)
        return strip


def encode(out: list[str], row: Row, old: Row | None, x: int, y: int, paint: Paint) -> None:
    """Append the escape sequence that draws `row` at (x, y) over `old` (None: over anything).

    Spans equal at the beginning and at the end are not sent again. Leaves the terminal's style undefined.
    """
    start, end, skip = 0, len(row), 0
    if old is not None:
        other = len(old)
        stop = min(end, other)
        while start < stop and row[start] == old[start]:
            text = row[start][0]
            skip += len(text) if text.isascii() else width(text)
            start += 1
        while end > start and other > start and row[end - 1] == old[other - 1]:
            end -= 1
            other -= 1
    parts = [f"\x1b[{y + 1};{x + skip + 1}H"]
    group = -1
    for text, style in row[start:end]:
        g = paint.group[style]
        parts.append(paint.short[style] if g == group else paint.full[style])
        parts.append(text)
        group = g
    out.append("".join(parts))


@lru_cache(64)
def _blank_strip(w: int, style: Any) -> Strip:
    return Strip([Segment(" " * w, style)], w)


class RawUpdate(CompositorUpdate):
    """An update that is already a terminal sequence."""

    def __init__(self, sequence: str) -> None:
        self.sequence = sequence

    def render_segments(self, console: Console) -> str:
        return self.sequence


class FastCompositor(Compositor):
    """The compositor, with a short cut for `RowsWidget`s that nothing covers.

    `_clear`: those and their regions, computed once a layout; `_fast`: those to be written this frame.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clear: dict[Widget, Region] | None = None
        self._fast: list[tuple[RowsWidget, Region]] = []
        self.fast_paints = 0
        """Frames that took the short cut (tests and `--benchmark` look here)."""

    def reflow(self, parent: Widget, size: Size) -> ReflowResult:
        self._moved()
        return super().reflow(parent, size)

    def reflow_visible(self, parent: Widget, size: Size) -> set[Widget]:
        self._moved()
        return super().reflow_visible(parent, size)

    def render_full_update(self, simplify: bool = False) -> LayoutUpdate:
        self._moved()
        return super().render_full_update(simplify)

    def update_widgets(self, widgets: set[Widget]) -> None:
        if self._clear is None:
            self._clear = self._uncovered()
        regions = self._clear
        root = self.root
        fast: list[tuple[RowsWidget, Region]] = []
        if root is not None and root.app.screen is root:
            for w in widgets:
                region = regions.get(w)
                if region is None or not isinstance(w, RowsWidget) or len(w.rows) != region.height:
                    break
                fast.append((w, region))
        if len(fast) != len(widgets):
            self._slow(widgets)
            return
        for w, _ in fast:
            if len(w.shown) != len(w.rows):
                w.forget()
        known = {w for w, _ in self._fast}
        self._fast += [pair for pair in fast if pair[0] not in known]

    def render_partial_update(self) -> ChopsUpdate | None:
        if self._dirty_regions:
            self._demote()
        if not self._fast:
            return super().render_partial_update()
        out: list[str] = []
        fast, self._fast = self._fast, []
        for w, region in fast:
            w.emit(out, region.x, region.y)
        self.fast_paints += 1
        if not out:
            return None
        out.append("\x1b[0m")
        # The declared type is the base class's; App._display takes any CompositorUpdate.
        return RawUpdate("".join(out))  # type: ignore[return-value]

    def _uncovered(self) -> dict[Widget, Region]:
        """Rows widgets that are whole on the screen with nothing in front, in painting order."""
        clear: dict[Widget, Region] = {}
        above: list[Region] = []
        for w, (region, clip) in self.visible_widgets.items():  # front to back
            if (
                isinstance(w, RowsWidget)
                and clip.contains_region(region)
                and self.size.region.contains_region(region)
                and not any(region.overlaps(r) for r in above)
            ):
                clear[w] = region
            if not isinstance(w, Screen):
                above.append(region.intersection(clip))
        return clear

    def _slow(self, widgets: Iterable[Widget]) -> None:
        widgets = set(widgets)
        for w in widgets:
            if isinstance(w, RowsWidget):
                w.forget()
                w._repaint_regions.add(w.size.region)
        super().update_widgets(widgets)

    def _demote(self) -> None:
        """Give this frame's widgets back to the safe path."""
        fast, self._fast = self._fast, []
        if fast:
            self._slow(w for w, _ in fast)

    def _moved(self) -> None:
        """Positions or the whole picture change: what is where is unknown from here on."""
        self._demote()
        self._clear = None
        for w in self.widgets:
            if isinstance(w, RowsWidget):
                w.forget()


class FastScreen(Screen[None]):
    """A screen whose `RowsWidget`s may take the fast path; with `fast=False` an ordinary screen."""

    def __init__(self, paint: Paint, fast: bool) -> None:
        super().__init__()
        self.fast = fast
        self.paint = paint
        if fast:
            self._compositor = FastCompositor()

    def touch(self, widget: RowsWidget) -> None:
        """Fast path only: `widget` has new rows. Several touches make one paint: call `paint_now` after.
        What is repainted of it in case it must take the safe path, that one says itself."""
        self._dirty_widgets.add(widget)

    def paint_now(self) -> None:
        """Paint what was touched at once instead of on Textual's next frame timer (saves two wake-ups)."""
        if not self.fast:
            return
        if self.is_current and not self.app._batch_count and self._compositor.root is not None:
            self._on_timer_update()
        else:
            self.check_idle()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Whatever no widget covers is empty, in the theme's own background."""
        return [_blank_strip(crop.width, self.paint.clear)] * crop.height


def screen_text(screen: Screen[Any]) -> str:
    """The screen's text as the compositor has it, for snapshots and tests."""
    return "\n".join(strip.text.rstrip() for strip in screen._compositor.render_strips())
