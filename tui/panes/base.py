"""`PaneModel`: what a pane shows and how it answers keys. No Textual here.

A pane is a model (this class: data -> rows, its own cursor, sort, filter) inside one widget
(`tui/pane.py`: border, focus, painting). So every pane can be tested as text at any size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from dctop.engine.metrics.model import Snapshot
from dctop.engine.metrics.source import Source
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, Span
from dctop.tui.intents import Intent
from dctop.tui.keys import Action


@dataclass(frozen=True, slots=True)
class View:
    """Everything a pane may look at while drawing. Made once a tick by the app."""

    source: Source
    snap: Snapshot | None
    """None until the first tick."""
    look: Look
    size: Literal["s", "m", "l"] = "m"
    """Size class of the screen: 80x24, 120x40, 200x60."""
    focused: bool = False
    zoomed: bool = False
    readonly: bool = False
    paused: bool = False


class PaneModel:
    """Base of all panes. `body` must return exactly `h` rows of exactly `w` cells, for any w, h >= 0,
    any data (None everywhere, thousands of rows, hostile text), and must be cheap: it runs every tick."""

    key: ClassVar[str]
    """cpu, gpu, memory, disk, network, processes, training, alerts"""
    name: ClassVar[str]
    """As in the title."""
    probes: ClassVar[tuple[str, ...]] = ()
    """Probes whose staleness marks the pane."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Catalogue ids that the help of this pane explains."""
    actions: ClassVar[tuple[Action, ...]] = ()
    """Keys it answers while focused."""
    about: ClassVar[str] = ""
    """A paragraph for its help page: what it shows, how to read it."""

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        """(left, right) parts of the border's top line; the right one carries the current value."""
        raise NotImplementedError

    def body(self, view: View, w: int, h: int) -> list[Row]:
        raise NotImplementedError

    def rests_on(self, view: View) -> tuple[object, ...] | None:
        """All that title and body depend on besides the view's own flags and the size: while it is equal
        nothing is drawn anew. None: they are drawn every tick. For what a pane shows while it has nothing to
        show, which on many nodes is for ever."""
        return None

    def act(self, action_id: str, view: View) -> Intent | None:
        """Answer one of `actions`; state changes are drawn at once by the caller."""
        return None

    def click(self, x: int, y: int, view: View, double: bool = False) -> Intent | None:
        """A click at body cell (x, y)."""
        return None

    def scroll(self, rows: int) -> bool:
        """Wheel or page keys; True if something moved."""
        return False

    def set_filter(self, text: str) -> None:
        """Live while the user types."""

    def set_sort(self, column: str) -> None: ...


class LaterPane(NamedTuple):
    """A pane whose model is made, and its module imported, when it is first shown or asked for something."""

    key: str
    make: Callable[[], PaneModel]
