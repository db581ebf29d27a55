"""The list of alerts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dctop.engine.metrics.model import Snapshot
from dctop.engine.rules.alert import RANK, Alert
from dctop.tui.draw import units
from dctop.tui.draw.glyphs import Glyphs, glyphs
from dctop.tui.draw.graph import spark
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row, width
from dctop.tui.intents import AckAlert, Intent, MuteAlert, Notice, ShowAlert
from dctop.tui.keys import Action
from dctop.tui.panes import board, evidence
from dctop.tui.panes.base import View
from dctop.tui.panes.parts import DataPane, message, outside, text_rows

DAY_S = 86400
NUMBERS_W, SPARK_W = 76, 8
"""From this width of the list on each alert shows its leading number; cells of its graph."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What the rule engine is doing, for the empty list: set `AlertsPane.watch` from it."""

    rules: int
    """Rules in force."""
    blind: Sequence[tuple[str, str]] = ()
    """(rule id, what it needs) of those that cannot be checked now."""


def severity_mark(alert: Alert, g: Glyphs) -> tuple[str, S]:
    """Glyph and style; what is over or only pending is never coloured."""
    if alert.state == "closed":
        return g.closed, S.DIM
    if alert.state == "pending":
        return g.info, S.DIM
    return {"critical": (g.critical, S.CRIT), "warning": (g.warning, S.WARN)}.get(
        alert.severity, (g.info, S.INFO)
    )


def muted(alert: Alert, now_ns: int) -> bool:
    return alert.muted_until_ns is not None and alert.muted_until_ns > now_ns


def under_roots(alerts: Sequence[Alert]) -> list[tuple[Alert, bool]]:
    """(alert, is it a symptom shown under its root), roots in the order given. A symptom whose root is not
    there stands alone."""
    symptoms: dict[str, list[Alert]] = {}
    for a in alerts:
        if a.suppressed_by is not None:
            symptoms.setdefault(a.suppressed_by, []).append(a)
    if not symptoms:
        return [(a, False) for a in alerts]
    out: list[tuple[Alert, bool]] = []

    def add(a: Alert, symptom: bool) -> None:
        out.append((a, symptom))
        for s in symptoms.pop(a.rule, ()):  # the symptom of a symptom stands under the same root
            add(s, True)

    for a in alerts:
        if a.suppressed_by is None:
            add(a, False)
    return out + [(s, False) for rest in symptoms.values() for s in rest]


def symptoms_under(alerts: Sequence[Alert], root: Alert) -> list[Alert]:
    """What stands under `root` in the list."""
    out: list[Alert] = []
    inside = False
    for a, symptom in under_roots(alerts):
        if not symptom:
            inside = a.id == root.id
        elif inside:
            out.append(a)
    return out


class AlertsPane(DataPane):
    key = "alerts"
    name = "ALERTS"
    probes = ()
    actions = (
        Action(
            "alerts.show", ("enter",), "diagnosis", "Why, evidence, what was ruled out, cost, what to do."
        ),
        Action("alerts.ack", ("a",), "ack", "Acknowledge: it stays listed, but asks for nothing more."),
        Action("alerts.mute", ("s",), "mute 1h", "Silence this alert for an hour."),
        Action("alerts.down", ("down",), "down", "Select the next alert.", footer=False),
        Action("alerts.up", ("up",), "up", "Select the previous alert.", footer=False),
        Action("alerts.page_down", ("pagedown",), "page down", "A page down.", footer=False),
        Action("alerts.page_up", ("pageup",), "page up", "A page up.", footer=False),
        Action("alerts.home", ("home",), "first", "The first alert.", footer=False),
        Action("alerts.end", ("end",), "last", "The last alert.", footer=False),
    )
    about = (
        "Open alerts, the gravest and newest first, then those that are over. Each is one incident of one "
        "rule at one place: x3 means that it came back three times within it. A symptom stands indented "
        "under the alert that explains it and is not counted. A rule whose measurements are missing is not "
        "silently well: what is not checked is listed with what is missing. The alerts view leads with how "
        "the five problems and four resources stand: well, suspect (something has not held long enough, or a "
        "note), firing, unknown. Enter shows the diagnosis. The strip at the bottom has a cell for each "
        "quarter of an hour of the last day."
    )

    def __init__(self) -> None:
        self.selected: int | None = None
        """Alert id."""
        self.watch: Watch | None = None
        self.whole = False
        """The alerts view, not a corner of the dashboard: led by the status board."""
        self._standings = board.Standings()
        self._head = 0
        """Rows above the list."""
        self._top = 0
        self._page = 1
        self._rows: tuple[int, ...] = ()

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        alerts = view.source.alerts()
        open_ = [a for a in alerts if a.open and a.suppressed_by is None]
        left: list[Span] = [(self.name, S.TITLE)]
        if w >= 30 and alerts:
            left.append((f" {len(open_)} open, {len(alerts) - len(open_)} more", S.DIM))
        g = glyphs(view.look)
        now = view.snap.frame.wall_ns if view.snap is not None else 0
        loud = [a.severity for a in open_ if not muted(a, now)]
        critical, warning = loud.count("critical"), loud.count("warning")
        if not critical and not warning:
            return left, ((f"{g.closed} none open" if not open_ else f"{g.info} {len(open_)}", S.GOOD),)
        right: list[Span] = []
        if critical:
            right.append((f"{g.critical}{critical}", S.CRIT))
        if warning:
            right.append(((" " if right else "") + f"{g.warning}{warning}", S.WARN))
        return left, right

    def rests_on(self, view: View) -> tuple[object, ...] | None:
        if view.snap is None or self.whole or view.zoomed or view.source.alerts():
            return None
        return (self.watch,)

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        listed = under_roots(view.source.alerts())
        self._rows = tuple(a.id for a, _ in listed)
        head, blind = self._board(view, w, h)
        self._head = len(head)
        h -= len(head)
        if not listed:
            return [*head, *self._empty(view, w, h, blind)]
        now = snap.frame.wall_ns
        strip = h >= 12 and w >= 30
        room = h - (2 if strip else 0)
        self._page = max(1, room)
        at = self._at()
        if at is not None:
            self._top = at if at < self._top else max(self._top, at - room + 1)
        self._top = max(0, min(self._top, len(listed) - room))
        chosen = S.SELECT if view.focused else S.SELECT_DIM
        rows: list[Row] = []
        visible = listed[self._top : self._top + room]
        notes = [self._notes(view, a, now) for a, _ in visible]
        side = min(max(len(n) for n in notes), w // 3)
        for (a, symptom), note in zip(visible, notes):
            row = self._row(view, a, symptom, now, w, note, side)
            if at is not None and a.id == self.selected:
                row = (("".join(t for t, _ in row), chosen),)
            rows.append(row)
        if self._head:
            unusual = board.mark_rows(view.source, view.look, w, room - len(rows) - 1)
            rows += [fit_row((), w), *unusual] if unusual else []
        below = board.blind_rows(blind, view.look, w, room - len(rows) - 1, board.lang_of(view.source))
        rows += [fit_row((), w), *below] if below else []
        if strip:
            rows += [fit_row((), w)] * (room - len(rows))
            rows += self._day(view, [a for a, _ in listed], now, w)
        return [*head, *rows]

    def _board(self, view: View, w: int, h: int) -> tuple[list[Row], Sequence[tuple[str, str]]]:
        """(the status board, what is not checked), where there is room for it."""
        if not (self.whole or view.zoomed) or w < 40 or h < 5:
            return [], ()
        standings, blind = self._standings.of(view.source)
        if not standings:
            return [], blind
        long = w >= board.LONG_W and h >= board.LONG_H
        rows = board.rows(standings, view.look, w, long, board.lang_of(view.source))
        return ([*rows, fit_row((), w)] if long else rows), blind

    def _notes(self, view: View, a: Alert, now: int) -> str:
        """`x3 acked`: what else there is to say about an alert."""
        notes = [f"{glyphs(view.look).times}{a.count}"] if a.count > 1 else []
        if a.state in ("pending", "clearing", "closed"):
            notes.append(a.state)
        if a.acked:
            notes.append("acked")
        if muted(a, now):
            notes.append("muted")
        return " ".join(notes)

    def _row(self, view: View, a: Alert, symptom: bool, now: int, w: int, notes: str, side: int) -> Row:
        """`▲  2m10s  GPU3 thermal slowdown            GPU3               x3 acked`"""
        g, look = glyphs(view.look), view.look
        sign, style = severity_mark(a, g)
        quiet = a.acked or muted(a, now) or symptom or not a.open
        body = S.DIM if quiet else S.TEXT
        age = max(0, now - (a.closed_wall_ns or a.opened_wall_ns)) / 1e9
        lead = f" {g.tree_last} " if symptom else ""
        head: list[Span] = [
            (sign, S.DIM if symptom else style),
            (units.duration(age, 7) + "  " + lead, S.DIM),
        ]
        entity = outside(a.entity, look) if a.entity != "node" else ""
        title = outside(a.title, look)
        numbers = self._numbers(view, a) if w >= NUMBERS_W else []
        size = min(18, w // 4) if w >= 54 and (not numbers or w >= 100) else 0
        if not size and "/" not in entity and title.startswith(entity):
            title = title[len(entity) :].lstrip(":： ") or title  # a run's long name: the diagnosis tells it
        taken = 10 + len(lead) + sum(width(text) for text, _ in numbers)
        room = w - taken - (size + 1 if size else 0) - (side + 1 if side else 0)
        head.append((fit(title, max(0, room), "<", look.ellipsis), body))
        if size:
            head.append((" " + fit(entity, size, "<", look.ellipsis), S.DIM))
        head += numbers
        if side:
            head.append((" " + fit(notes, side, "<", look.ellipsis), S.DIM))
        return fit_row(head, w)

    def _numbers(self, view: View, a: Alert) -> list[Span]:
        """`       91 %  > 90 %   ▆▆▆▆▇▇▇▇`: the leading number, its threshold, its last minutes."""
        look, e = view.look, evidence.leading(a)
        value = limit = lane = ""
        if e is not None:
            value, limit = outside(evidence.value(e), look), outside(e.threshold, look, "")
            if e.series and a.open:
                values = evidence.lane(view.source, e.series, 4 * SPARK_W * view.source.interval_s, SPARK_W)
                lane = spark(values, SPARK_W, look, *evidence.scale(e.series, values))
        return [
            (" " + fit(value, 11, ">", look.ellipsis), S.VALUE if a.open else S.DIM),
            ("  " + fit(limit, 9, "<", look.ellipsis) + " ", S.DIM),
            (fit(lane, SPARK_W), S.GRAPH),
        ]

    def _day(self, view: View, alerts: Sequence[Alert], now: int, w: int) -> list[Row]:
        """How many alerts were opened in each part of the last 24 hours."""
        cells = min(96, w - 2)
        counts = [0.0] * cells
        for a in alerts:
            ago = (now - a.opened_wall_ns) / 1e9
            if 0 <= ago < DAY_S and a.suppressed_by is None:
                counts[cells - 1 - int(ago * cells / DAY_S)] += 1.0
        top = max(counts)
        text = spark([c if c else float("nan") for c in counts], cells, view.look, 0.0, max(top, 1.0))
        base = glyphs(view.look).dot
        line = "".join(c if c != " " else base for c in text)
        labels = fit("-24h", cells // 2) + fit("now", cells - cells // 2, ">")
        return [fit_row(((line, S.GRAPH),), w), fit_row(((labels, S.DIM),), w)]

    def _empty(self, view: View, w: int, h: int, blind: Sequence[tuple[str, str]] = ()) -> list[Row]:
        g = glyphs(view.look)
        head = f"{g.closed} No alert is open."
        if self.watch is None or h < 2:
            return message((head,), w, h, head=S.GOOD)
        rows = [fit_row(((head, S.GOOD),), w)]
        if blind:  # the board above has said the rest
            return [*rows, *board.blind_rows(blind, view.look, w, h - 1, board.lang_of(view.source))][:h]
        about = (
            f"{self.watch.rules} rules watch memory, utilisation, convergence, storage, network and the "
            "training's own health."
        )
        rows += text_rows(about, w, S.DIM)
        if self.watch.blind:
            text = f"{len(self.watch.blind)} cannot be checked here:"
            rows += text_rows(text, w, S.TEXT, first=(f"{g.warning} ", S.WARN))
            for rule, needs in self.watch.blind:
                if len(rows) >= h:
                    break
                rows += text_rows(outside(f"{rule}: {needs}", view.look), w, S.DIM, indent=2)
        return rows[:h]

    # -- keys -----------------------------------------------------------------------------------------

    def _at(self) -> int | None:
        """Place of the selected alert in the list."""
        if self.selected in self._rows:
            return self._rows.index(self.selected)
        return None

    def act(self, action_id: str, view: View) -> Intent | None:
        what = action_id.removeprefix("alerts.")
        listed = under_roots(view.source.alerts())
        self._rows = tuple(a.id for a, _ in listed)
        if not listed:
            return Notice("There is no alert.") if what in ("show", "ack", "mute") else None
        at = self._at()
        steps = {"down": 1, "up": -1, "page_down": self._page, "page_up": -self._page}
        if what in steps or what in ("home", "end"):
            if at is None:
                at = 0 if what != "end" else len(listed) - 1
            else:
                at = at + steps[what] if what in steps else 0 if what == "home" else len(listed) - 1
            self.selected = self._rows[max(0, min(at, len(listed) - 1))]
            return None
        if at is None:
            # The first is the gravest: enter without a selection means it.
            at = 0
            self.selected = self._rows[0]
        chosen = self._rows[at]
        if what == "show":
            return ShowAlert(chosen)
        if view.source.mode == "replay":
            return Notice("This is a recording: its alerts are what they were.", "warning")
        return AckAlert(chosen) if what == "ack" else MuteAlert(chosen)

    def scroll(self, rows: int) -> bool:
        top = max(0, min(self._top + rows, len(self._rows) - self._page))
        moved, self._top = top != self._top, top
        if moved:
            self.selected = None
        return moved

    def click(self, x: int, y: int, view: View, double: bool = False) -> Intent | None:
        y -= self._head
        at = self._top + y
        if 0 <= y < self._page and at < len(self._rows):
            self.selected = self._rows[at]
            if double:
                return ShowAlert(self._rows[at])
        return None


def gravest(alerts: Sequence[Alert]) -> Alert | None:
    """The open, unsuppressed alert that matters most (for headers and ribbons)."""
    found = [a for a in alerts if a.open and a.suppressed_by is None]
    return min(found, key=lambda a: (RANK.get(a.severity, 9), -a.opened_wall_ns), default=None)
