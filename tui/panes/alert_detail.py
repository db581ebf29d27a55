"""The diagnosis of one alert: why, evidence, what was ruled out, what it costs, what to do."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.engine.metrics.model import Snapshot
from dctop.engine.rules.alert import Alert
from dctop.tui.draw import units
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.graph import spark
from dctop.tui.draw.rows import Row, S, Span, blank, fit, fit_row, width
from dctop.tui.intents import AckAlert, ApplyRemedy, CopyText, Intent, MuteAlert, Notice
from dctop.tui.keys import Action
from dctop.tui.panes import evidence
from dctop.tui.panes.alerts import muted, severity_mark, symptoms_under, under_roots
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
        Action("diagnosis.apply", ("p",), "apply", "Apply a remedy: end the run, start its successor."),
        Action("diagnosis.ack", ("a",), "ack", "Acknowledge the alert."),
        Action("diagnosis.mute", ("s",), "mute 1h", "Silence the alert for an hour."),
        Action("diagnosis.down", ("down", "pagedown"), "down", "Scroll down.", footer=False),
        Action("diagnosis.up", ("up", "pageup"), "up", "Scroll up.", footer=False),
    )
    about = (
        "WHY is the chain of causes. EVIDENCE lists the numbers it rests on, each beside its threshold, the "
        "series drawn over one time axis and a mark where it began. RULED OUT is what else was looked at. "
        "COST is what it takes. DO ranks what helps: the quantity is computed from this node's numbers, the "
        "effect is what to expect from it. Symptoms explained by this alert are listed under it."
    )

    def __init__(self) -> None:
        self.alert_id: int | None = None
        self.price_per_kwh: float | None = None
        self.currency = ""
        self._scroll = 0
        self._lines = 0
        self._page = 1

    def alert(self, view: View) -> Alert | None:
        alerts = view.source.alerts()
        for a in alerts:
            if a.id == self.alert_id:
                return a
        # The first of the list: a root, not the symptom that came last.
        return under_roots(alerts)[0][0] if alerts and self.alert_id is None else None

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
        rows = self._all(view, snap, a, w, h)
        self._lines, self._page = len(rows), h
        self._scroll = max(0, min(self._scroll, len(rows) - h))
        shown = rows[self._scroll : self._scroll + h]
        if len(rows) - self._scroll > h and h > 2:
            more = f"{glyphs(view.look).down} {len(rows) - self._scroll - h + 1} more lines"
            shown[-1] = fit_row(((fit(more, w, ">"), S.DIM),), w)
        return fill(shown, w, h)

    def _all(self, view: View, snap: Snapshot, a: Alert, w: int, h: int) -> list[Row]:
        look, g = view.look, glyphs(view.look)
        sign, style = severity_mark(a, g)
        rows = text_rows(outside(a.title, look), w, S.BOLD, first=(sign + " ", style))
        rows += self._section("WHY", outside(a.why, look), w)
        if a.evidence:
            rows += self._evidence(view, snap, a, w)
        if a.ruled_out:
            rows += self._section("RULED OUT", outside(f" {g.dot} ".join(a.ruled_out), look), w, S.DIM)
        cost = self._cost(view, snap, a)
        if cost:
            rows += self._section("COST", cost, w)
        rows += self._remedies(view, a, w)
        if a.verdict:
            rows += self._section("VERDICT", outside(a.verdict, look), w)
        rows += self._symptoms(view, a, w)
        rows += self._around(view, snap, a, w, h - len(rows) - 3)
        rows.append(blank(w))
        rows += text_rows(self._history(snap, a), w, S.DIM, indent=2, first=("  ", S.DIM))
        return rows

    def _section(self, name: str, text: str, w: int, style: S = S.TEXT) -> list[Row]:
        if w < 40:
            return [fit_row(((name, S.HEADER),), w), *text_rows(text, w, style, 1, (" ", S.TEXT))]
        return text_rows(text, w, style, HEAD, (name.ljust(HEAD), S.HEADER))

    def _evidence(self, view: View, snap: Snapshot, a: Alert, w: int) -> list[Row]:
        """`  clock     1410 MHz   > 1900   ▇▇▇▇▅▅▅`, and under the lanes where it began."""
        look = view.look
        values = [
            (outside(e.label, look, ""), outside(evidence.value(e), look), outside(e.threshold, look, ""))
            for e in a.evidence
        ]
        label_w = min(max(width(v[0]) for v in values), max(8, w // 3))
        value_w = min(max(width(v[1]) for v in values), max(8, w // 4))
        limit_w = min(max(width(v[2]) for v in values), max(6, w // 4))
        lead = label_w + value_w + limit_w + 8
        room = min(w - lead, 100)
        drawn = room >= 8 and any(e.series for e in a.evidence)
        age = max(0.0, (snap.frame.wall_ns - a.opened_wall_ns) / 1e9)
        seconds = evidence.span_s(age, view.source.interval_s, room)
        head = f"EVIDENCE (last {units.duration(seconds, 0)})" if drawn else "EVIDENCE"
        rows: list[Row] = [fit_row(((head, S.HEADER),), w)]
        for e, (label, value, limit) in zip(a.evidence, values):
            spans: list[Span] = [
                ("  " + fit(label, label_w, "<", look.ellipsis) + "  ", S.DIM),
                (fit(value, value_w, ">", look.ellipsis) + "  ", S.VALUE),
                (fit(limit, limit_w, "<", look.ellipsis) + "  ", S.DIM),
            ]
            if e.series and drawn:
                lane = evidence.lane(view.source, e.series, seconds, room)
                spans.append((spark(lane, room, look, *evidence.scale(e.series, lane)), S.GRAPH))
            rows.append(fit_row(spans, w))
        at = evidence.onset_cell(age, seconds, room) if drawn else None
        if at is not None:
            began = f" began {units.clock(a.opened_wall_ns)}"
            mark = glyphs(look).head
            line = " " * at + mark + began if at + len(began) < room else fit(began[1:] + " ", at, ">") + mark
            rows.append(fit_row(((" " * lead, S.DIM), (line, S.DIM)), w))
        return rows

    def _cost(self, view: View, snap: Snapshot, a: Alert) -> str:
        """What the rule says it costs, and the energy used meanwhile where a meter is read."""
        parts = [outside(a.cost, view.look)] if a.cost else []
        end = a.closed_wall_ns or snap.frame.wall_ns
        seconds = (end - a.opened_wall_ns) / 1e9
        if a.open and seconds >= 60.0 and a.severity != "info":
            used = evidence.energy(view.source, seconds, self.price_per_kwh, self.currency)
            parts += [used] if used else []
        return f" {glyphs(view.look).dot} ".join(parts)

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
        """What stands under it in the list, symptoms of symptoms too."""
        look, g = view.look, glyphs(view.look)
        found = symptoms_under(view.source.alerts(), a)
        if not found:
            return []
        rows: list[Row] = [fit_row((("EXPLAINS", S.HEADER),), w)]
        for s in found:
            text = f"{outside(s.title, look)} ({s.rule})"
            rows += text_rows(text, w, S.DIM, 5, (f"  {g.tree_last} ", S.DIM))
        return rows

    def _around(self, view: View, snap: Snapshot, a: Alert, w: int, room: int) -> list[Row]:
        """Where there is room to spare: the samples around the onset, one row each."""
        keys = list(dict.fromkeys(e.series for e in a.evidence if e.series))[: max(0, (w - HEAD) // 20)]
        ago = round((snap.frame.wall_ns - a.opened_wall_ns) / 1e9 / view.source.interval_s)
        if room < 8 or not keys or not 0 <= ago <= evidence.LONG_S:
            return []
        found = evidence.around(view.source, keys, ago, 5, min(room - 2, 16))
        if not found:
            return []
        look = view.look
        # By the series' own names: an alert may tell the free share where the series is the used one.
        names = "".join("  " + fit(outside(k.partition("{")[0], look), 18, ">", look.ellipsis) for k in keys)
        rows: list[Row] = [blank(w), fit_row((("AROUND".ljust(HEAD - 1), S.HEADER), (names, S.DIM)), w)]
        for after, values in found:
            line = "".join("  " + fit(evidence.of_series(k, v), 18, ">") for k, v in zip(keys, values))
            when = units.clock(a.opened_wall_ns + round(after * view.source.interval_s * 1e9))
            style = S.VALUE if after >= 0 else S.TEXT
            rows.append(fit_row(((fit(when, HEAD - 1), S.DIM), (line, style)), w))
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
        if what == "apply":
            return ApplyRemedy(a.id)
        return AckAlert(a.id) if what == "ack" else MuteAlert(a.id)

    def scroll(self, rows: int) -> bool:
        top = max(0, min(self._scroll + rows, self._lines - self._page))
        moved, self._scroll = top != self._scroll, top
        return moved


def as_text(a: Alert) -> str:
    """The diagnosis for a ticket or a chat."""
    lines = [f"[{a.severity}] {a.title} ({a.entity}, rule {a.rule})", f"why: {a.why}"]
    for e in a.evidence:
        limit = f"  threshold {e.threshold}" if e.threshold else ""
        lines.append(f"evidence: {e.label} {evidence.value(e)}{limit}")
    if a.ruled_out:
        lines.append("ruled out: " + "; ".join(a.ruled_out))
    if a.cost:
        lines.append(f"cost: {a.cost}")
    for i, r in enumerate(a.remedies, 1):
        extra = "; ".join(x for x in (r.quantity, r.effect, r.command) if x)
        lines.append(f"do {i}: {r.text}" + (f" ({extra})" if extra else ""))
    if a.verdict:
        lines.append(f"verdict: {a.verdict}")
    return "\n".join(lines)
