"""The list of events of a recording: type to search, enter goes there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from dctop.tui.dialogs.lists import Item, ListDialog
from dctop.tui.sources import EventLike
from dctop.tui.views.replaybar import GLYPH, span_text


def event_dialog(
    events: Sequence[EventLike], here_ns: int, unicode: bool, go: Callable[[EventLike], None]
) -> ListDialog:
    """`here_ns`: the moment shown now, wall clock; the list opens at the event nearest to it."""
    ordered = sorted(events, key=lambda e: e.t0)
    days = {datetime.fromtimestamp(e.t0 / 1e9).date() for e in ordered}
    items = [
        Item(str(i), _label(e, unicode, len(days) > 1), _detail(e), _lasted(e)) for i, e in enumerate(ordered)
    ]
    nearest = min(range(len(ordered)), key=lambda i: abs(ordered[i].t0 - here_ns))
    return ListDialog(
        f"events ({len(items)})", items, lambda i: go(ordered[int(i)]), str(nearest), search=True
    )


def _label(e: EventLike, unicode: bool, with_day: bool) -> str:
    at = datetime.fromtimestamp(e.t0 / 1e9)
    glyph = GLYPH.get(e.sev or "", ("◆", "+"))
    clock = at.strftime("%m-%d %H:%M:%S" if with_day else "%H:%M:%S")
    return f"{clock} {glyph[0 if unicode else 1]} {e.kind:<7} {e.title}"


def _detail(e: EventLike) -> str:
    """Without what the title says."""
    return " ".join(x for x in (e.rule, e.entity) if x and x not in e.title)


def _lasted(e: EventLike) -> str:
    return span_text(e.t1 - e.t0) if e.t1 is not None and e.t1 > e.t0 else ""
