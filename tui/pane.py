"""The widget around a `PaneDrawing`: where it is on the screen, mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dctop.tui.drawing import PaneDrawing
from dctop.tui.fast import RowsWidget
from dctop.tui.panes.base import LaterPane

if TYPE_CHECKING:
    from textual import events

    from dctop.tui.panes.base import PaneModel, View
    from dctop.tui.screen import NodeScreen
    from dctop.tui.theme import Paint


class PaneWidget(RowsWidget):
    """Shows a model's rows and passes clicks on to the screen."""

    def __init__(self, model: PaneModel | LaterPane, paint: Paint) -> None:
        super().__init__(paint, id=f"pane-{model.key}")
        self._later = model
        self._drawing: PaneDrawing | None = None

    @property
    def drawing(self) -> PaneDrawing:
        made = self._drawing
        if made is None:
            later = self._later
            made = self._drawing = PaneDrawing(later.make() if isinstance(later, LaterPane) else later)
        return made

    @property
    def model(self) -> PaneModel:
        return self.drawing.model

    @property
    def made(self) -> bool:
        """Whether it has a model already; asking for it makes one."""
        return self._drawing is not None or not isinstance(self._later, LaterPane)

    def draw(self, view: View, w: int, h: int, quiet: bool = False) -> None:
        """Make the rows for `w` x `h` cells and show them."""
        self.put(self.drawing.draw(view, w, h), quiet)

    # -- mouse --------------------------------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        event.stop()
        node: NodeScreen = self.screen  # type: ignore[assignment]
        node.clicked_pane(self.model.key, int(event.x), int(event.y), event.chain > 1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.screen.scrolled_pane(self.model.key, -3)  # type: ignore[attr-defined]

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.screen.scrolled_pane(self.model.key, 3)  # type: ignore[attr-defined]
