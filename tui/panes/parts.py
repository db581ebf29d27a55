"""What all panes are put together from: items in a row, blocks side by side, padding, stale marking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from dctop.engine.metrics.model import Snapshot
from dctop.probes.base import series
from dctop.tui.draw import units
from dctop.tui.draw.levels import mark
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, blank, fit_row, width
from dctop.tui.draw.text import clean, wrap
from dctop.tui.panes.base import PaneModel, View

_MOST = float("inf")
_LEAST = -_MOST
Item = tuple[Span, ...]
"""Spans that belong together: a label and its value."""


class DataPane(PaneModel):
    """A pane that draws a snapshot: handles no room, no data yet, padding and staleness for all of them."""

    def body(self, view: View, w: int, h: int) -> list[Row]:
        if w <= 0 or h <= 0:
            return [()] * max(0, h)
        snap = view.snap
        if snap is None:
            return plain(view.look, message(("waiting for the first sample",), w, h))
        rows = plain(view.look, fill(self.draw(view, snap, w, h), w, h))
        if self.probes and snap.stale(self.probes[0]):
            return [faded(row) for row in rows]
        return rows

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        """At most `h` rows of exactly `w` cells (`w`, `h` >= 1)."""
        raise NotImplementedError

    def right(self, view: View, text: str, style: S = S.VALUE) -> tuple[Span, ...]:
        """The current value for the title; stale: dim, with `~` and the age of what is shown."""
        snap = view.snap
        if snap is not None and self.probes and snap.stale(self.probes[0]):
            age = snap.frame.status[self.probes[0]].age_s
            old = f" {units.duration(age, 0)} old" if age is not None else ""
            return ((f"~{text}{old}", S.FAINT),)
        return ((text, style),)


def num(snap: Snapshot, key: str) -> float | None:
    """A finite number or None."""
    v = snap.values.get(key)
    return v if v.__class__ in (int, float) and _LEAST < v < _MOST else None


@lru_cache(2048)
def keys_of(metric: str, label: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """Series keys of one metric for many instances; kept, because they are asked for every tick."""
    return tuple(series(metric, **{label: v}) for v in values)


@lru_cache(8192)
def key_of(metric: str, label: str, value: str) -> str:
    """Key of one series."""
    return series(metric, **{label: value})


def instances(snap: Snapshot, *metrics: str) -> tuple[str, ...]:
    """Label values of the first of `metrics` that has any."""
    for metric in metrics:
        found = snap.labels.get(metric)
        if found:
            return found if isinstance(found, tuple) else tuple(found)
    return ()


def fill(rows: list[Row], w: int, h: int) -> list[Row]:
    """Exactly `h` rows: cut, or padded with blank ones."""
    if len(rows) < h:
        rows = rows + [blank(w)] * (h - len(rows))
    return rows if len(rows) == h else rows[:h]


_PLAIN = {ord("…"): "~"}


def plain(look: Look, rows: list[Row]) -> list[Row]:
    """Where only ASCII may be drawn: the mark of a cut replaced, which is all that `rows.fit` adds."""
    if look.unicode:
        return rows
    return [tuple([(t if t.isascii() else t.translate(_PLAIN), s) for t, s in row]) for row in rows]


def faded(row: Row) -> Row:
    return (("".join([text for text, _ in row]), S.FAINT),)


def item(name: str, value: str, style: S = S.TEXT) -> Item:
    """`load 41.2`: label dim, value plain."""
    return ((name + " ", S.DIM), (value, style))


def item_width(it: Item) -> int:
    return sum([len(text) if text.isascii() else width(text) for text, _ in it])


def items_row(items: Iterable[Item], w: int, gap: int = 2) -> Row:
    """Items from the left as far as they fit whole (the first is cut if it must be); `w` cells."""
    out: list[Span] = []
    used = 0
    for it in items:
        n = item_width(it)
        if not out and n > w:
            return fit_row(it, w)
        lead = gap if out else 0
        if used + lead + n > w:
            break
        if lead:
            out.append((" " * lead, S.TEXT))
        out.extend(it)
        used += lead + n
    if used < w:
        out.append((" " * (w - used), S.TEXT))
    return tuple(out)


def flow(items: Sequence[Item], w: int, h: int, gap: int = 2) -> list[Row]:
    """Items over as many rows as they need, at most `h`."""
    rows: list[Row] = []
    at = 0
    while at < len(items) and len(rows) < h:
        used, start = 0, at
        while at < len(items):
            n = item_width(items[at]) + (gap if at > start else 0)
            if at > start and used + n > w:
                break
            used += n
            at += 1
        rows.append(items_row(items[start:at], w, gap))
    return rows


def beside(left: Sequence[Row], right: Sequence[Row], lw: int, rw: int, gap: int = 1) -> list[Row]:
    """Two blocks of known widths side by side, the shorter one padded below."""
    space: Span = (" " * gap, S.TEXT)
    n = max(len(left), len(right))
    return [(*a, space, *b) for a, b in zip(fill(list(left), lw, n), fill(list(right), rw, n))]


def message(lines: Sequence[str], w: int, h: int, style: S = S.DIM, head: S = S.DIM) -> list[Row]:
    """Paragraphs, wrapped, from the first third of the room; the first line of the first one in `head`."""
    return list(_message(tuple(lines), w, h, style, head))


@lru_cache(32)
def _message(lines: tuple[str, ...], w: int, h: int, style: S, head: S) -> tuple[Row, ...]:
    rows: list[Row] = []
    room = max(1, min(w - 2, 76)) if w > 4 else w
    pad = " " * ((w - room) // 2)
    for i, paragraph in enumerate(lines):
        for text in wrap(paragraph, room):
            rows.append(fit_row(((pad, S.TEXT), (text, head if i == 0 else style)), w))
    top = max(0, (h - len(rows)) // 3)
    return tuple(fill([blank(w)] * top + rows, w, h))


def text_rows(text: str, w: int, style: S, indent: int = 0, first: Span | None = None) -> list[Row]:
    """A paragraph, wrapped; `first` is put before its first line, `indent` cells before the others."""
    return list(_text_rows(text, w, style, indent, first))


@lru_cache(256)
def _text_rows(text: str, w: int, style: S, indent: int, first: Span | None) -> tuple[Row, ...]:
    lead = width(first[0]) if first else indent
    lines = wrap(text, max(1, w - max(lead, indent))) or ("",)
    rows: list[Row] = []
    for i, line in enumerate(lines):
        head: Span = first if i == 0 and first else (" " * max(lead, indent), S.TEXT)
        rows.append(fit_row((head, (line, style)), w))
    return tuple(rows)


def outside(text: str | None, look: Look, missing: str = "-") -> str:
    """Text that came from the node, safe to draw."""
    return clean(text, look.unicode) if text else missing


def pressure_item(view: View, snap: Snapshot, resource: str, kind: str = "some") -> Item | None:
    """`psi cpu 1.2 0.8` (10 s and 60 s averages, %); None where the kernel has none."""
    ten = num(snap, f"pressure.{resource}.{kind}_avg10_pct")
    sixty = num(snap, f"pressure.{resource}.{kind}_avg60_pct")
    if ten is None and sixty is None:
        return None
    stale = "~" if snap.stale("pressure") else ""
    style = S.FAINT if stale else S.CRIT if (ten or 0) >= 40 else S.WARN if (ten or 0) >= 10 else S.TEXT
    sign = mark(ten, view.look, 10, 40).strip()
    name = "psi" if kind == "some" else f"psi {kind}"
    return (
        (f"{name} {resource} ", S.DIM),
        (f"{sign}{stale}{units.fixed(ten, 1, 4)}", style),
        (units.fixed(sixty, 1, 5) + "%", S.DIM),
    )
