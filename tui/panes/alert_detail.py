"""The diagnosis of one alert: why, evidence, what was ruled out, what it costs, what to do."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.engine.metrics.derived import CATALOGUE
from dctop.engine.metrics.model import Snapshot
from dctop.engine.rules.alert import Alert, Evidence
from dctop.tui.draw import units
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.graph import spark, top_of
from dctop.tui.draw.rows import Row, S, Span, blank, fit, fit_row, width
from dctop.tui.intents import AckAlert, CopyText, Intent, MuteAlert, Notice
from dctop.tui.keys import Action
from dctop.tui.panes.alerts import muted, severity_mark
from dctop.tui.panes.base import View
from dctop.tui.panes.parts import DataPane, fill, message, outside, text_rows

HEAD = 11
"""Cells of the section names."""


class AlertDetailPane(DataPane):
    """`alert_id`: which alert (None: the first of the list)."""

    key = "alert-detail"
    name = "DIAGNOSIS"
    probes = ()
    actions = (
        Action("diagnosis.copy", ("c",), "copy", "Copy the diagnosis as text."),
        Action("diagnosis.command", ("y",), "copy command", "Copy the first remedy's command."),
        Action("diagnosis.ack", ("a",), "ack", "Acknowledge the alert."),
        Action("diagnosis.mute", ("s",), "mute 1h", "Silence the alert for an hour."),
        Action("diagnosis.down", ("down", "pagedown"), "down", "Scroll down.", footer=False),
        Action("diagnosis.up", ("up", "pageup"), "up", "Scroll up.", footer=False),
    )
    about = (
        "WHY is the chain of causes. EVIDENCE lists the numbers it rests on, each beside its threshold, with "
        "the last minutes where there is a series. RULED OUT is what else was looked at. COST is what it "
        "takes from the training. DO ranks what helps: the quantity is computed from this node's numbers, "
        "the effect is what to expect from it. Symptoms explained by this alert are listed under it."
    )

    def __init__(self) -> None:
        self.alert_id: int | None = None
        self._scroll = 0
        self._lines = 0
        self._page = 1

    def alert(self, view: View) -> Alert | None:
        alerts = view.source.alerts()
        for a in alerts:
            if a.id == self.alert_id:
                return a
        return alerts[0] if alerts and self.alert_id is None else None

    def show(self, alert_id: int | None) -> None:
        if alert_id != self.alert_id:
            self.alert_id, self._scroll = alert_id, 0

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        left: list[Span] = [(self.name, S.TITLE)]
        a = self.alert(view)
        if a is None:
            return left, ()
        sign, style = severity_mark(a, glyphs(view.look))
        return [*left, (" " + outside(a.entity, view.look), S.DIM)], ((f"{sign} {a.severity}", style),)

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        a = self.alert(view)
        if a is None:
            gone = self.alert_id is not None
            return message(("This alert is no longer kept." if gone else "No alert to explain.",), w, h)
        rows = self._all(view, snap, a, w)
        self._lines, self._page = len(rows), h
        self._scroll = max(0, min(self._scroll, len(rows) - h))
        shown = rows[self._scroll : self._scroll + h]
        if len(rows) - self._scroll > h and h > 2:
            more = f"{glyphs(view.look).down} {len(rows) - self._scroll - h + 1} more lines"
            shown[-1] = fit_row(((fit(more, w, ">"), S.DIM),), w)
        return fill(shown, w, h)

    def _all(self, view: View, snap: Snapshot, a: Alert, w: int) -> list[Row]:
        look, g = view.look, glyphs(view.look)
        sign, style = severity_mark(a, g)
        rows = text_rows(outside(a.title, look), w, S.BOLD, first=(sign + " ", style))
        rows += self._section("WHY", outside(a.why, look), w)
        if a.evidence:
            rows += self._evidence(view, a.evidence, w)
        if a.ruled_out:
            rows += self._section("RULED OUT", outside(f" {g.dot} ".join(a.ruled_out), look), w, S.DIM)
        if a.cost:
            rows += self._section("COST", outside(a.cost, look), w)
        rows += self._remedies(view, a, w)
        rows += self._symptoms(view, a, w)
        rows.append(blank(w))
        rows += text_rows(self._history(snap, a), w, S.DIM, indent=2, first=("  ", S.DIM))
        return rows

    def _section(self, name: str, text: str, w: int, style: S = S.TEXT) -> list[Row]:
        if w < 40:
            return [fit_row(((name, S.HEADER),), w), *text_rows(text, w, style, 1, (" ", S.TEXT))]
        return text_rows(text, w, style, HEAD, (name.ljust(HEAD), S.HEADER))

    def _evidence(self, view: View, evidence: Sequence[Evidence], w: int) -> list[Row]:
        """`  clock     1410 MHz   > 1900   ▇▇▇▇▅▅▅`"""
        look = view.look
        rows: list[Row] = [fit_row((("EVIDENCE", S.HEADER),), w)]
        values = [
            (outside(e.label, look, ""), outside(_value(e), look), outside(e.threshold, look, ""))
            for e in evidence
        ]
        label_w = min(max(width(v[0]) for v in values), max(8, w // 3))
        value_w = min(max(width(v[1]) for v in values), max(8, w // 4))
        limit_w = min(max(width(v[2]) for v in values), max(6, w // 4))
        room = w - 2 - label_w - 2 - value_w - 2 - limit_w - 2
        for e, (label, value, limit) in zip(evidence, values):
            spans: list[Span] = [
                ("  " + fit(label, label_w, "<", look.ellipsis) + "  ", S.DIM),
                (fit(value, value_w, ">", look.ellipsis) + "  ", S.VALUE),
                (fit(limit, limit_w, "<", look.ellipsis) + "  ", S.DIM),
            ]
            if e.series and room >= 8:
                n = min(room, 60)
                window = view.source.window(e.series, n)
                spans.append((spark(window, n, look, *_scale(e.series, window)), S.GRAPH))
            rows.append(fit_row(spans, w))
        return rows

    def _remedies(self, view: View, a: Alert, w: int) -> list[Row]:
        look, g = view.look, glyphs(view.look)
        rows: list[Row] = []
        if a.remedies:
            rows.append(fit_row((("DO", S.HEADER),), w))
        for i, r in enumerate(a.remedies, 1):
            text = outside(r.text, look)
            if r.quantity:
                text += f" ({outside(r.quantity, look)})"
            rows += text_rows(text, w, S.TEXT, 4, (f" {i:>2} ", S.ACCENT))
            if r.effect:
                rows += text_rows(outside(r.effect, look), w, S.DIM, 6, (f"    {g.level} ", S.DIM))
            if r.command:
                rows += text_rows(outside(r.command, look), w, S.ACCENT, 6, ("    $ ", S.DIM))
        return rows

    def _symptoms(self, view: View, a: Alert, w: int) -> list[Row]:
        look, g = view.look, glyphs(view.look)
        found = [s for s in view.source.alerts() if s.suppressed_by == a.rule and s.id != a.id]
        if not found:
            return []
        rows: list[Row] = [fit_row((("EXPLAINS", S.HEADER),), w)]
        for s in found:
            rows += text_rows(outside(s.title, look), w, S.DIM, 5, (f"  {g.tree_last} ", S.DIM))
        return rows

    def _history(self, snap: Snapshot, a: Alert) -> str:
        parts = [f"since {units.clock(a.opened_wall_ns)}"]
        if a.closed_wall_ns is not None:
            parts.append(f"over since {units.clock(a.closed_wall_ns)}")
        if a.first_step is not None:
            parts.append(f"first at step {a.first_step}")
        if a.count > 1:
            parts.append(f"{a.count} times")
        parts.append(f"rule {a.rule}")
        if a.state in ("pending", "clearing"):
            parts.append(a.state)
        if a.acked:
            parts.append("acknowledged")
        if muted(a, snap.frame.wall_ns):
            parts.append(f"muted until {units.clock(a.muted_until_ns, False)}")
        if a.suppressed_by:
            parts.append(f"explained by {a.suppressed_by}")
        return ", ".join(parts)

    # -- keys -----------------------------------------------------------------------------------------

    def act(self, action_id: str, view: View) -> Intent | None:
        what = action_id.removeprefix("diagnosis.")
        if what in ("down", "up"):
            self.scroll(max(1, self._page // 2) * (1 if what == "down" else -1))
            return None
        a = self.alert(view)
        if a is None:
            return Notice("There is no alert to act on.")
        if what == "copy":
            return CopyText(as_text(a))
        if what == "command":
            command = next((r.command for r in a.remedies if r.command), None)
            return CopyText(command) if command else Notice("No remedy of this alert has a command.")
        if view.source.mode == "replay":
            return Notice("This is a recording: its alerts are what they were.", "warning")
        return AckAlert(a.id) if what == "ack" else MuteAlert(a.id)

    def scroll(self, rows: int) -> bool:
        top = max(0, min(self._scroll + rows, self._lines - self._page))
        moved, self._scroll = top != self._scroll, top
        return moved


def _value(e: Evidence) -> str:
    v = e.value
    if v is None:
        return "-"
    if isinstance(v, str):
        text = v
    elif e.unit == "bytes":
        return units.iec(v)
    elif e.unit == "bytes/s":
        return units.iec(v) + "/s"
    elif e.unit == "s":
        return units.duration(v, 0)
    else:
        text = units.significant(v, 0) if not float(v).is_integer() or abs(v) >= 1e6 else f"{v:.0f}"
    return f"{text} {e.unit}".rstrip()


def _scale(key: str, values: Sequence[float]) -> tuple[float, float]:
    """0-100 for shares; else between the values' own extremes, so that a small change still shows."""
    metric = CATALOGUE.get(key.partition("{")[0])
    if metric is not None and metric.unit == "%":
        return 0.0, 100.0
    known = [v for v in values if v == v]
    if not known:
        return 0.0, 1.0
    lo, hi = min(known), max(known)
    return (lo, hi) if hi - lo > 0.05 * abs(hi) else (min(0.0, lo), top_of([hi]))


def as_text(a: Alert) -> str:
    """The diagnosis for a ticket or a chat."""
    lines = [f"[{a.severity}] {a.title} ({a.entity}, rule {a.rule})", f"why: {a.why}"]
    for e in a.evidence:
        limit = f"  threshold {e.threshold}" if e.threshold else ""
        lines.append(f"evidence: {e.label} {_value(e)}{limit}")
    if a.ruled_out:
        lines.append("ruled out: " + "; ".join(a.ruled_out))
    if a.cost:
        lines.append(f"cost: {a.cost}")
    for i, r in enumerate(a.remedies, 1):
        extra = "; ".join(x for x in (r.quantity, r.effect, r.command) if x)
        lines.append(f"do {i}: {r.text}" + (f" ({extra})" if extra else ""))
    return "\n".join(lines)
