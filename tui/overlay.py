"""The one widget all dialogs are drawn in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dctop.tui.dialogs.base import Dialog
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S, Span
from dctop.tui.fast import RowsWidget
from dctop.tui.frame import clean, framed, safe_row
from dctop.tui.views.place import Box

if TYPE_CHECKING:
    from textual import events

    from dctop.tui.screen import NodeScreen


class DialogWidget(RowsWidget):
    """Shows the topmost of `stack`; not placed while that is empty."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.stack: list[Dialog] = []

    @property
    def top(self) -> Dialog | None:
        return self.stack[-1] if self.stack else None

    def box(self, w: int, h: int) -> Box | None:
        """Where the top dialog goes on a screen of `w` x `h`: centred, never larger than the screen."""
        dialog = self.top
        if dialog is None or w < 8 or h < 3:
            return None
        bw, bh = dialog.size(w, h)
        ow, oh = max(8, min(w, bw + 2)), max(3, min(h, bh + 2))
        return Box((w - ow) // 2, (h - oh) // 2, ow, oh)

    def draw(self, w: int, h: int, look: Look, quiet: bool = False) -> None:
        dialog = self.top
        if dialog is None or w < 3 or h < 3:
            return
        body = [safe_row(row, w - 2, look.unicode) for row in dialog.body(w - 2, h - 2, look)]
        rows = framed(
            [(clean(dialog.title), S.TITLE)], _hints(dialog, w, look), body, w, h, look, focused=True
        )
        rows[0] = safe_row(rows[0], w, look.unicode)
        self.put(rows, quiet)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        node: NodeScreen = self.screen  # type: ignore[assignment]
        node.clicked_dialog(int(event.x) - 1, int(event.y) - 1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.screen.scrolled_dialog(-3)  # type: ignore[attr-defined]

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.screen.scrolled_dialog(3)  # type: ignore[attr-defined]


def _hints(dialog: Dialog, w: int, look: Look) -> list[Span]:
    """Keys of the dialog for the right end of its top line, as many as fit."""
    spans: list[Span] = []
    used = len(dialog.title) + 10
    for key, label in dialog.hint:
        if not look.unicode:
            key = key.translate(_PLAIN)
        cells = len(key) + len(label) + 3
        if used + cells > w:
            break
        used += cells
        spans += [(key, S.ACCENT), (f" {label}  ", S.DIM)]
    if spans:
        spans[-1] = (spans[-1][0].rstrip(), S.DIM)
    return spans


_PLAIN = str.maketrans({"↑": "^", "↓": "v", "←": "<", "→": ">", "⏎": "enter"})
