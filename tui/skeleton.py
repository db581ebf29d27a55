"""The first picture, in plain ANSI: boxes and header while Textual is still being imported."""

from __future__ import annotations

import os
import select
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from dctop.tui.bars import Head, header
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S
from dctop.tui.frame import framed
from dctop.tui.theme import Paint
from dctop.tui.views.dashboard import PANE_KEYS, layout
from dctop.tui.views.place import TOO_SMALL_H, TOO_SMALL_W, Box

if TYPE_CHECKING:
    from dctop.tui.firstread import Title

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"


def picture(
    w: int,
    h: int,
    look: Look,
    paint: Paint,
    names: Mapping[str, str],
    hidden: Collection[str] = (),
    titles: Mapping[str, Title] = {},
) -> str:
    """Terminal sequence of the dashboard's empty boxes on a screen of `w` x `h`; `titles`: what is known of
    some panes already."""
    out = [ENTER, paint.full[S.TEXT], "\x1b[2J"]
    if w >= TOO_SMALL_W and h >= TOO_SMALL_H:
        out.append(at(0, 0, [header(Head(host=os.uname().nodename, mode="STARTING"), w, look)], paint))
        for key, box in layout(Box(0, 1, w, h - 2), shown_of(hidden), 0).items():
            left, right = titles.get(key, ([], []))
            rows = framed([(names.get(key, key), S.TITLE), *left], right, (), box.w, box.h, look)
            out.append(at(box.x, box.y, rows, paint))
    return "".join(out)


def shown_of(hidden: Collection[str]) -> list[str]:
    return [k for k in PANE_KEYS if k not in hidden]


def at(x: int, y: int, rows: Iterable[Row], paint: Paint) -> str:
    """Rows one below the other from (x, y) on."""
    return "".join(
        f"\x1b[{y + i + 1};{x + 1}H" + "".join(paint.full[s] + t for t, s in row)
        for i, row in enumerate(rows)
    )


def write(text: str, fd: int, patience_s: float = 2.0) -> None:
    """To a terminal that may take it in pieces; one that is gone, or takes nothing for `patience_s`, is
    left alone."""
    data = text.encode("utf-8", "replace")
    try:
        while data and select.select([], [fd], [], patience_s)[1]:
            data = data[os.write(fd, data[:1024]) :]
    except (OSError, ValueError):
        pass
