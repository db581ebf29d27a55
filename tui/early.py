"""The first numbers, in plain ANSI over the skeleton's boxes, while Textual is still being imported: panes
are pure functions to rows, so the screen can be drawn before there is an application."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.engine.metrics.source import Source
from dctop.tui.bars import header, open_alerts, ribbon
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S
from dctop.tui.drawing import PaneDrawing
from dctop.tui.frame import framed, safe_row
from dctop.tui.headline import head_of
from dctop.tui.panes.base import PaneModel, View
from dctop.tui.skeleton import at, shown_of
from dctop.tui.sources import gpu_count
from dctop.tui.state import UiState
from dctop.tui.theme import Paint
from dctop.tui.views.dashboard import layout
from dctop.tui.views.place import RIBBON_H, TOO_SMALL_H, TOO_SMALL_W, Box, size_class


def numbers(
    w: int, h: int, look: Look, paint: Paint, source: Source, state: UiState, models: Sequence[PaneModel]
) -> str:
    """Terminal sequence of the dashboard with what the first tick read, as the screen will have it; but of an
    empty alert list it says nothing. Empty before that tick and on a tiny screen."""
    snap = source.snapshot()
    if snap is None or w < TOO_SMALL_W or h < TOO_SMALL_H:
        return ""
    top = [header(head_of(source, state, 0.0, False), w, look)]
    warnings = ribbon(open_alerts(source.alerts(), snap.frame.wall_ns), w, look, "A")
    if warnings is not None and h >= RIBBON_H:
        top.append(warnings)
    out = [at(0, 0, [safe_row(row, w, look.unicode) for row in top], paint)]
    panes = {m.key: m for m in models}
    shown = [k for k in shown_of(state.hidden) if k in panes]
    body = Box(0, len(top), w, h - 1 - len(top))
    boxes = layout(body, shown, gpu_count(source), state.wanted)
    focus = state.focus if state.focus in boxes else next(iter(boxes), None)
    for key, box in boxes.items():
        view = View(source, snap, look, size_class(w, h), focused=key == focus)
        if key == "alerts" and not source.alerts():  # nothing was judged yet: that all is well is not known
            rows = framed([(panes[key].name, S.TITLE)], [], (), box.w, box.h, look, view.focused)
        else:
            rows = PaneDrawing(panes[key]).draw(view, box.w, box.h)
        out.append(at(box.x, box.y, rows, paint))
    return "".join(out)
