"""The status board over the list of alerts: five problems, four resources. Pure: standings in, rows out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dctop.engine.rules.base import PROBLEMS
from dctop.tui.draw.glyphs import Glyphs, glyphs
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row
from dctop.tui.panes.parts import outside, text_rows

if TYPE_CHECKING:
    from dctop.engine.metrics.source import Source
    from dctop.engine.rules.board import Standing

NAMES: Mapping[str, tuple[str, str]] = {
    "oom": ("1 out of memory", "1 memory"),
    "utilisation": ("2 low utilisation", "2 util"),
    "inference": ("3 slow inference", "3 inference"),
    "convergence": ("4 slow convergence", "4 convergence"),
    "accuracy": ("5 accuracy at inference", "5 accuracy"),
    "compute": ("compute", "compute"),
    "storage": ("storage", "storage"),
    "network": ("network", "network"),
    "framework": ("framework", "framework"),
}
"""(long, short)"""
LONG_W, LONG_H = 44, 24
"""From this size of the list on each has a line of its own."""


def mark(s: Standing, g: Glyphs) -> tuple[str, S]:
    """Glyph and style: colour never stands alone."""
    if s.status == "firing":
        return (g.critical, S.CRIT) if s.severity == "critical" else (g.warning, S.WARN)
    return {"well": (g.closed, S.GOOD), "suspect": (g.info, S.INFO)}.get(s.status, ("?", S.DIM))


def said(s: Standing) -> str:
    """What there is to say beside the status."""
    if s.status == "firing":
        return ", ".join(s.open)
    if s.status == "suspect":
        return ", ".join([*s.open, *(f"{rule} pending" for rule in s.pending)])
    if not s.rules:
        return "no rule about it yet"
    needs = f"needs {s.needs[0][0]}" if s.needs else ""
    if s.status == "unknown":
        return needs
    return f"{s.judged}/{s.rules} rules, {needs}" if needs else f"{s.rules} rules"


def rows(standings: Sequence[Standing], look: Look, w: int, long: bool) -> list[Row]:
    """The board: a line each, or two lines for all."""
    g = glyphs(look)
    if not long:
        split = sum(s.problem in PROBLEMS for s in standings)
        return [_line(standings[:split], g, w), _line(standings[split:], g, w)]
    out: list[Row] = []
    for s in standings:
        sign, style = mark(s, g)
        name = fit(NAMES[s.problem][0], 23)
        spans: list[Span] = [(name + " ", S.TEXT), (f"{sign} {fit(s.status, 8)} ", style)]
        spans.append((fit(said(s), max(0, w - 35), "<", look.ellipsis), S.DIM))
        out.append(fit_row(spans, w))
    return out


def _line(standings: Sequence[Standing], g: Glyphs, w: int) -> Row:
    spans: list[Span] = []
    for s in standings:
        sign, style = mark(s, g)
        quiet = S.TEXT if s.status == "firing" else S.DIM
        spans += [(sign, style), (f" {NAMES[s.problem][1]}  ", quiet)]
    return fit_row(spans, w)


def mark_rows(source: Source, look: Look, w: int, room: int) -> list[Row]:
    """Series that are unusual just now, each alone and so no alert; a recording does not know them."""
    marks = getattr(source, "marks", None)
    found = marks() if marks is not None else {}
    if not found or room < 2:
        return []
    text = ", ".join(f"{kind} of {key}" for key, kind in found.items())
    rows = text_rows(outside(text, look), w, S.DIM, 2, ("  ", S.DIM))
    return [fit_row((("UNUSUAL NOW", S.HEADER),), w), *rows][:room]


def blind_rows(blind: Sequence[tuple[str, str]], look: Look, w: int, room: int) -> list[Row]:
    """What is not checked, by what is missing: at most `room` rows."""
    if not blind or room < 2:
        return []
    by_need: dict[str, list[str]] = {}
    for rule, what in blind:
        by_need.setdefault(what, []).append(rule)
    out = [fit_row(((f"NOT CHECKED {len(blind)} rule{'s' * (len(blind) > 1)}", S.HEADER),), w)]
    for what, rules in sorted(by_need.items(), key=lambda item: -len(item[1])):
        out += text_rows(f"needs {what}: {', '.join(rules)}", w, S.DIM, 4, ("  ", S.DIM))
    if len(out) > room:
        out = [*out[: room - 1], fit_row((("  ...", S.DIM),), w)]
    return out


@dataclass(slots=True)
class Standings:
    """Asks a source how the problems stand; a recording's rules are asked about the moment at the cursor."""

    _at: object = None
    _found: tuple[Sequence[Standing], Sequence[tuple[str, str]]] = ((), ())

    def of(self, source: Source) -> tuple[Sequence[Standing], Sequence[tuple[str, str]]]:
        """(the board, what is not checked)."""
        board, lacking = getattr(source, "board", None), getattr(source, "not_checked", None)
        if board is not None and lacking is not None:
            return board(), lacking()
        snap = source.snapshot()
        if snap is None:
            return (), ()
        if snap is not self._at:
            self._at, self._found = snap, _recorded(source)
        return self._found


def _recorded(source: Source) -> tuple[Sequence[Standing], Sequence[tuple[str, str]]]:
    """The alerts are the recording's; what could be judged is told by rules that see this one moment."""
    from dctop.engine.rules.board import board
    from dctop.engine.rules.engine import RuleEngine

    engine = RuleEngine()
    engine.tick(source)
    passing = engine.passing()
    lacking = [(rule, what) for rule, what in engine.not_checked() if rule not in passing]
    rules = [(r.id, r.problem) for r in engine.rules]
    return board(rules, dict(lacking), source.alerts()), lacking
