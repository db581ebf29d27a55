"""The first picture, in plain ANSI: boxes and header while Textual is still being imported."""

from __future__ import annotations

import os
import select
from collections.abc import Collection

from dctop.tui.bars import Head, header
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S
from dctop.tui.frame import framed
from dctop.tui.theme import Paint
from dctop.tui.views.dashboard import PANE_KEYS, layout
from dctop.tui.views.place import Box

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"


def picture(
    w: int, h: int, look: Look, paint: Paint, names: dict[str, str], hidden: Collection[str] = ()
) -> str:
    """Terminal sequence of the dashboard's empty boxes on a screen of `w` x `h`."""
    out = [ENTER, paint.full[S.TEXT], "\x1b[2J"]
    if w < 20 or h < 5:
        return "".join(out)

    def put(x: int, y: int, row: Row) -> None:
        out.append(f"\x1b[{y + 1};{x + 1}H" + "".join(paint.full[s] + t for t, s in row))

    put(0, 0, header(Head(host=os.uname().nodename, mode="STARTING"), w, look))
    boxes = layout(Box(0, 1, w, h - 2), [k for k in PANE_KEYS if k not in hidden], 0)
    for key, box in boxes.items():
        rows = framed([(names.get(key, key), S.TITLE)], [], (), box.w, box.h, look)
        for i, row in enumerate(rows):
            put(box.x, box.y + i, row)
    return "".join(out)


def write(text: str, fd: int, patience_s: float = 2.0) -> None:
    """To a terminal that may take it in pieces; one that is gone, or takes nothing for `patience_s`, is
    left alone."""
    data = text.encode("utf-8", "replace")
    try:
        while data and select.select([], [fd], [], patience_s)[1]:
            data = data[os.write(fd, data[:1024]) :]
    except (OSError, ValueError):
        pass
