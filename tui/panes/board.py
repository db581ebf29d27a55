"""The status board over the list of alerts: five problems, four resources. Pure: standings in, rows out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dctop.engine.rules.base import PROBLEMS
from dctop.engine.rules.texts import catalogue
from dctop.tui.draw.glyphs import Glyphs, glyphs
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row
from dctop.tui.panes.parts import outside, text_rows

if TYPE_CHECKING:
    from dctop.engine.metrics.source import Source
    from dctop.engine.rules.board import Standing

LONG_W, LONG_H = 44, 24
"""From this size of the list on each has a line of its own."""


def lang_of(source: Source) -> str:
    """The language its alerts are told in."""
    lang = getattr(source, "lang", "en")
    return lang if isinstance(lang, str) else "en"


def mark(s: Standing, g: Glyphs) -> tuple[str, S]:
    """Glyph and style: colour never stands alone."""
    if s.status == "firing":
        return (g.critical, S.CRIT) if s.severity == "critical" else (g.warning, S.WARN)
    return {"well": (g.closed, S.GOOD), "suspect": (g.info, S.INFO)}.get(s.status, ("?", S.DIM))


def said(s: Standing, w: Mapping[str, str]) -> str:
    """What there is to say beside the status. `w`: the words of a language."""
    if s.status == "firing":
        return ", ".join(s.open)
    if s.status == "suspect":
        return ", ".join([*s.open, *(w["board.pending"].format(rule=rule) for rule in s.pending)])
    if not s.rules:
        return w["board.none"]
    needs = w["needs"].format(what=s.needs[0][0]) if s.needs else ""
    if s.status == "unknown":
        return needs
    if needs:
        return w["board.judged"].format(judged=s.judged, n=s.rules, needs=needs)
    return w["board.rules"].format(n=s.rules)


def rows(standings: Sequence[Standing], look: Look, w: int, long: bool, lang: str = "en") -> list[Row]:
    """The board: a line each, or two lines for all."""
    g, words = glyphs(look), catalogue(lang).words
    if not long:
        split = sum(s.problem in PROBLEMS for s in standings)
        return [_line(part, g, w, words) for part in (standings[:split], standings[split:])]
    out: list[Row] = []
    for s in standings:
        sign, style = mark(s, g)
        name = fit(words[f"board.{s.problem}"], 23)
        spans: list[Span] = [(name + " ", S.TEXT), (f"{sign} {fit(words[f'status.{s.status}'], 8)} ", style)]
        spans.append((fit(said(s, words), max(0, w - 35), "<", look.ellipsis), S.DIM))
        out.append(fit_row(spans, w))
    return out


def _line(standings: Sequence[Standing], g: Glyphs, w: int, words: Mapping[str, str]) -> Row:
    spans: list[Span] = []
    for s in standings:
        sign, style = mark(s, g)
        quiet = S.TEXT if s.status == "firing" else S.DIM
        spans += [(sign, style), (f" {words[f'short.{s.problem}']}  ", quiet)]
    return fit_row(spans, w)


def mark_rows(source: Source, look: Look, w: int, room: int) -> list[Row]:
    """Series that are unusual just now, each alone and so no alert; a recording does not know them."""
    marks = getattr(source, "marks", None)
    found = marks() if marks is not None else {}
    if not found or room < 2:
        return []
    words = catalogue(lang_of(source)).words
    told = words["board.mark"]
    text = ", ".join(told.format(kind=words[f"mark.{kind}"], key=key) for key, kind in found.items())
    rows = text_rows(outside(text, look), w, S.DIM, 2, ("  ", S.DIM))
    return [fit_row(((words["board.unusual"], S.HEADER),), w), *rows][:room]


def blind_rows(
    blind: Sequence[tuple[str, str]], look: Look, w: int, room: int, lang: str = "en"
) -> list[Row]:
    """What is not checked, by what is missing: at most `room` rows."""
    if not blind or room < 2:
        return []
    by_need: dict[str, list[str]] = {}
    for rule, what in blind:
        by_need.setdefault(what, []).append(rule)
    words = catalogue(lang).words
    head = words["board.blind" if len(blind) > 1 else "board.blind.one"].format(n=len(blind))
    out = [fit_row(((head, S.HEADER),), w)]
    for what, rules in sorted(by_need.items(), key=lambda item: -len(item[1])):
        out += text_rows(
            f"{words['needs'].format(what=what)}: {', '.join(rules)}", w, S.DIM, 4, ("  ", S.DIM)
        )
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

    engine = RuleEngine(lang=lang_of(source))
    engine.tick(source)
    passing = engine.passing()
    lacking = [(rule, what) for rule, what in engine.not_checked() if rule not in passing]
    rules = [(r.id, r.problem) for r in engine.rules]
    return board(rules, dict(lacking), source.alerts()), lacking
