"""The alerts view: the list beside (or above) the diagnosis of the selected one. Pure."""

from __future__ import annotations

from dctop.tui.views.place import Box

LIST, DETAIL = "alerts", "alert-detail"


def layout(body: Box) -> dict[str, Box]:
    """List and detail side by side from 110 columns on, else one above the other; tiny: the list alone."""
    x, y, w, h = body
    if w >= 110:
        left = max(44, int(w * 0.4))
        return {LIST: Box(x, y, left, h), DETAIL: Box(x + left, y, w - left, h)}
    if h < 9:
        return {LIST: body}
    top = max(4, int(h * 0.4))
    return {LIST: Box(x, y, w, top), DETAIL: Box(x, y + top, w, h - top)}
