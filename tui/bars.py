"""The single lines around the panes: header, alert ribbon, footer. Pure: facts in, rows out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from dctop.engine.rules.alert import RANK, Alert
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row, merge, row_width, width
from dctop.tui.frame import clean

_MARKS = {"critical": ("■", "!", S.CRIT), "warning": ("▲", "*", S.WARN), "info": ("·", ".", S.INFO)}
_ZEROS = str.maketrans("123456789", "000000000")
_SEVERITY = {"information": ("●", "-", S.INFO), "warning": ("▲", "*", S.WARN), "error": ("■", "!", S.CRIT)}


@dataclass(frozen=True, slots=True)
class Head:
    """What the header line says; None: not known, left out."""

    host: str
    mode: str
    """LIVE | PAUSED | BACK | REPLAY | STALLED"""
    detail: str = ""
    """Interval, how far back, speed."""
    view: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    rec: str | None = None
    rec_bad: bool = False
    self_pct: float | None = None
    clock: str = ""
    flags: str = ""


_MODES = {
    "LIVE": ("●", "*", S.GOOD), "PAUSED": ("‖", "=", S.WARN), "BACK": ("◀", "<", S.WARN),
    "REPLAY": ("▶", ">", S.INFO), "REPLAY PAUSED": ("‖", "=", S.INFO), "STALLED": ("■", "!", S.CRIT),
    "STARTING": ("○", "o", S.DIM),
}  # fmt: skip


def glyph(fancy: str, plain: str, look: Look) -> str:
    return fancy if look.unicode else plain


def header(head: Head, w: int, look: Look) -> Row:
    """One line: what does not fit is left out, least important first; mode, alerts and clock stay longest.

    From one second to the next only the clock differs: it is put into what was laid out before.
    """
    own = None if head.self_pct is None else f"{head.self_pct:.1f}%"
    like = head.clock.translate(_ZEROS)
    known = (
        head.host, head.mode, head.detail, tuple(head.counts.items()), head.rec, head.rec_bad, head.view,
        head.flags, own, w, look,
    )  # fmt: skip
    row = _header(like, *known)
    if row[-1:] == ((like + " ", S.VALUE),):
        return (*row[:-1], (head.clock + " ", S.VALUE))
    return _header(head.clock, *known)  # no clock, or no room for it


@lru_cache(64)
def _header(
    clock: str,
    host: str,
    mode_name: str,
    detail: str,
    counts: tuple[tuple[str, int], ...],
    rec: str | None,
    rec_bad: bool,
    view: str,
    flags: str,
    own: str | None,
    w: int,
    look: Look,
) -> Row:
    fancy, plain, style = _MODES.get(mode_name, ("●", "*", S.TEXT))
    mode: list[Span] = [(f"{glyph(fancy, plain, look)} {mode_name}", style)]
    if detail:
        mode.append((f" {detail}", S.DIM))
    left: list[tuple[int, list[Span]]] = [
        (3, [(" dctop", S.TITLE)]),
        (4, [(clean(host), S.VALUE)]),
        (0, mode),
        (1, alert_counts(dict(counts), look)),
    ]
    if rec is not None:
        mark = glyph("●", "*", look)
        left.append((2, [(f"{mark} REC ", S.REC), (rec, S.WARN if rec_bad else S.DIM)]))
    if view:
        left.append((5, [(view, S.HEADER)]))
    right: list[tuple[int, list[Span]]] = []
    if flags:
        right.append((4, [(flags, S.DIM)]))
    if own is not None:
        right.append((6, [("self ", S.DIM), (own, S.TEXT)]))
    if clock:
        right.append((1, [(clock + " ", S.VALUE)]))
    parts = [p for p in left if p[1]] + right
    while parts and _total(parts) > w:
        worst = max(range(len(parts)), key=lambda i: (parts[i][0], i))
        if len(parts) == 1:
            break
        parts.pop(worst)
    kept_left = [s for p in left if p in parts for s in (*p[1], ("  ", S.TEXT))]
    kept_right = [s for p in right if p in parts for s in (("  ", S.TEXT), *p[1])]
    gap = w - row_width(tuple(kept_left)) - row_width(tuple(kept_right))
    return fit_row(merge([*kept_left, (" " * max(0, gap), S.TEXT), *kept_right]), w)


def _total(parts: Iterable[tuple[int, list[Span]]]) -> int:
    return sum(row_width(tuple(spans)) + 2 for _, spans in parts)


def alert_counts(counts: dict[str, int], look: Look) -> list[Span]:
    """`■ 1 ▲ 2`: always both, dim when there are none, so nothing jumps."""
    spans: list[Span] = []
    for severity in ("critical", "warning"):
        fancy, plain, style = _MARKS[severity]
        n = counts.get(severity, 0)
        spans.append((f"{glyph(fancy, plain, look)} {n} ", style if n else S.FAINT))
    return [*spans[:-1], (spans[-1][0].rstrip(), spans[-1][1])]


def open_alerts(alerts: Sequence[Alert], now_ns: int) -> list[Alert]:
    """Those that count: firing, not muted, no mere symptom of another; gravest and newest first."""
    return sorted(
        (a for a in alerts if a.open and a.suppressed_by is None and not (a.muted_until_ns or 0) > now_ns),
        key=lambda a: (RANK.get(a.severity, 9), -a.opened_wall_ns),
    )


def ribbon(alerts: Sequence[Alert], w: int, look: Look, hint: str) -> Row | None:
    """The gravest alerts on one line, None without any. Acknowledged ones are not shouted again."""
    fresh = [a for a in alerts if not a.acked and a.severity != "info"]
    if not fresh:
        return None
    spans: list[Span] = [(" ", S.TEXT)]
    tail = f"  {hint} " if hint else " "
    room = w - width(tail) - 1
    for i, a in enumerate(fresh):
        fancy, plain, style = _MARKS.get(a.severity, _MARKS["info"])
        times = f" x{a.count}" if a.count > 1 else ""
        text = f"{glyph(fancy, plain, look)} {clean(a.title)}{times}"
        more = f" +{len(fresh) - i}"
        used = row_width(tuple(spans))
        if i and used + 3 + width(text) > room:
            spans.append((more, S.DIM))
            break
        if i:
            spans.append((" · " if look.unicode else " | ", S.DIM))
        spans.append((fit(text, min(width(text), max(1, room - used)), "<", look.ellipsis), style))
    return fit_row([*fit_row(spans, max(0, w - width(tail))), (tail, S.ACCENT)], w)


@dataclass(frozen=True, slots=True)
class Hint:
    """A key of the footer."""

    key: str
    label: str
    action: str


def footer(
    hints: Sequence[Hint], w: int, always: Collection[str] = ()
) -> tuple[Row, list[tuple[int, int, str]]]:
    """The line and where on it which action can be clicked: (from, to, action id).

    Hints of the actions in `always` are kept, at the end, when others have to go.
    """
    spans: list[Span] = []
    places: list[tuple[int, int, str]] = []
    kept = [h for h in hints if h.action in always]
    while kept and sum(map(_cells, kept)) > w:
        kept.pop(0)
    room = w - sum(map(_cells, kept))
    shown: list[Hint] = []
    for hint in hints:
        if hint.action in always:
            continue
        room -= _cells(hint)
        if room < 0:
            break
        shown.append(hint)
    x = 0
    for hint in (*shown, *kept):
        text = f" {hint.key}"
        cells = _cells(hint)
        spans += [(text, S.ACCENT), (f" {hint.label} ", S.DIM)]
        places.append((x, x + cells, hint.action))
        x += cells
    return fit_row(merge(spans), w), places


def _cells(hint: Hint) -> int:
    return width(hint.key) + width(hint.label) + 3


def notice_line(text: str, severity: str, w: int, look: Look) -> Row:
    fancy, plain, style = _SEVERITY.get(severity, _SEVERITY["information"])
    return fit_row([(f" {glyph(fancy, plain, look)} ", style), (clean(text), style)], w)


def filter_line(name: str, edit: Row, w: int) -> Row:
    """The open filter line; `edit` is the editor's row."""
    head = f" filter {name}: "
    tail = "  enter keep · esc clear "
    tail = tail if w > width(head) + width(tail) + 20 else ""
    room = max(0, w - width(head) - width(tail))
    return fit_row([(head, S.ACCENT), *fit_row(edit, room, S.INPUT), (tail, S.DIM)], w)
