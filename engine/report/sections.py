"""The sections of a post-mortem, filled as far as a recording can: what is left is asked of people.

The order and the words follow what SRE teams write (summary, impact, detection, timeline, contributing
factors, evidence, lessons, action items); causes are never asserted, only candidates named.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

from dctop.engine.recording.facts import RecEvent
from dctop.engine.recording.reader import Recording
from dctop.engine.report.blocks import Block, Bullets, Chart, Commands, Document, Heading, Para, Table
from dctop.engine.report.charts import curves_of, limits, node_charts, run_charts
from dctop.engine.report.factors import unit_of
from dctop.engine.report.facts import Facts, Incident, S, gather
from dctop.engine.report.impact import impact
from dctop.engine.report.quality import quality
from dctop.engine.report.units import number, offset, quantity, span, spark, utc
from dctop.engine.rules.alert import Alert, Evidence
from dctop.engine.training.runstate import RunState
from dctop.engine.version import version

ROWS = 200
"""Rows of the timeline at most."""
_KINDS = frozenset(("start", "checkpoint", "nonfinite", "frozen", "exception", "fault", "stop", "end"))


def report(recording: Recording, t0_ns: int | None = None, t1_ns: int | None = None) -> Document:
    """The whole report. Raises RecordingError where no frame can be read."""
    return Report(gather(recording, t0_ns, t1_ns)).document()


class Report:
    """The facts and how they are put."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.recording = facts.recording
        self.begin, self.end = self.recording.time_range or (0, 0)
        self.command = f"dctop replay {shlex.quote(os.path.relpath(self.recording.path))}"
        if self.command.startswith("dctop replay ../.."):
            self.command = f"dctop replay {shlex.quote(str(self.recording.path))}"

    def at(self, wall_ns: int) -> str:
        """The command that shows a moment: the frame after it, for that one knows of it."""
        frame = min(wall_ns + int(self.recording.interval_s * S), self.end)
        return f"`{self.command} --at {offset(frame - self.begin)}`"

    def document(self) -> Document:
        f = self.facts
        host = self.recording.meta.get("host", "?")
        title = f"Post-mortem: {_title(f)}" if f.incidents else f"Report: {host}, no alerts"
        when = f"{utc(f.t0_ns, True)} to {utc(f.t1_ns, True)} UTC ({span((f.t1_ns - f.t0_ns) / S)})"
        sections: tuple[tuple[str, list[Block]], ...] = (
            ("Summary", self.summary()),
            ("Impact", impact(f)),
            ("Detection", self.detection()),
            ("Timeline", self.timeline()),
            ("Contributing factors", self.factors()),
            ("Trigger and resolution", self.resolution()),
            ("Evidence", self.evidence()),
            ("Lessons", [_ask("What went well?"), _ask("What went wrong?"), _ask("Where were we lucky?")]),
            ("Action items", self.actions()),
            ("Data quality", quality(f, self.command)),
        )
        blocks: list[Block] = [self.header()]
        for name, found in sections:
            blocks += [Heading(2, name), *found]
        return Document(title, f"{host}, {when}", blocks)

    def header(self) -> Table:
        meta = self.recording.meta
        rows = [
            ["Status", "draft: made by dctop, to be completed by a person"],
            ["Author", "____"],
            ["Host", " ".join(v for k in ("host", "kernel", "boot_id") if (v := meta.get(k)) is not None)],
            ["Window", f"{utc(self.facts.t0_ns, True)} to {utc(self.facts.t1_ns, True)} UTC"
                       f" (the host's clock: {meta.get('tz', 'time zone unknown')})"],
            ["Recording", f"`{self.recording.path.name}`, session {meta.get('uuid', '?')}, made by"
                          f" {meta.get('app', '?')}"],
            ["Report", f"dctop {version()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"],
        ]  # fmt: skip
        return Table(("", ""), rows)

    # -- summary ------------------------------------------------------------------------------------

    def summary(self) -> list[Block]:
        f = self.facts
        blocks: list[Block] = list(self._warnings())
        if not f.incidents:
            what = _runs_told(f.runs) or "No training ran."
            blocks.append(Para(f"No rule raised an alert in {span((f.t1_ns - f.t0_ns) / S)}. {what}"))
            return [*blocks, *self._earlier()]
        top = f.incidents[0]
        a = top.top
        until = (
            f"It was still open when the recording ends, {span((f.t1_ns - a.opened_wall_ns) / S)} later."
            if a.closed_wall_ns is None
            else f"It closed after {span((a.closed_wall_ns - a.opened_wall_ns) / S)}."
        )
        blocks.append(
            Para(f"{utc(a.opened_wall_ns, True)} UTC: {_sentence(a.title)} {_sentence(a.why)} {until}")
        )
        rest = [i for i in f.incidents if i is not top]
        if rest:
            told = [f"{i.top.title} ({i.severity}, {utc(i.t0_ns)} UTC)" for i in rest[:8]]
            more = f", of which {len(told)} are named here" if len(rest) > len(told) else ""
            blocks.append(Para(f"Besides {len(rest)} other incident{'s' if len(rest) > 1 else ''}{more}:"))
            blocks.append(Bullets(told))
        if f.runs:
            blocks.append(Para(_runs_told(f.runs)))
        blocks += self._earlier()
        blocks.append(_ask("Say in two sentences what users noticed, and confirm or correct the above."))
        return blocks

    def _earlier(self) -> list[Block]:
        """What had happened before the recording began, as the rules found it then."""
        told = [f"{utc(a.opened_wall_ns, True)} UTC: {a.title}" for a in self.facts.history[-8:]]
        return [Para("Before the recording began:"), Bullets(told)] if told else []

    def _warnings(self) -> list[Para]:
        f = self.facts
        out = []
        for incident in f.detailed:
            t0, t1 = incident.t0_ns - 60 * S, incident.t1_ns or f.t1_ns
            for gap in f.gaps:
                if gap.t1 >= t0 and gap.t0 <= t1:
                    when = f"from {utc(gap.t0)} to {utc(gap.t1)} UTC"
                    out.append(
                        Para(
                            f"Not recorded {when}, in or shortly before an incident: {gap.reason}.", "warning"
                        )
                    )
        drills = [e.text for r in f.runs for e in r.events if e.kind == "fault"]
        if drills:
            planted = "; ".join(dict.fromkeys(drills))
            out.append(Para(f"A fault was planted on purpose in this session ({planted}).", "warning"))
        return list({p.text: p for p in out}.values())[:6]

    # -- detection ----------------------------------------------------------------------------------

    def detection(self) -> list[Block]:
        f = self.facts
        if not f.incidents:
            return [
                Para("Nothing was to be detected, or no rule could see it: see what was not checked, below.")
            ]
        rows, marks = [], []
        for incident in f.detailed:
            for a in incident.alerts:
                sign = incident.first_sign
                early = sign is not None and sign[0] < a.opened_wall_ns
                first = (
                    f"{utc(sign[0], fraction=True)} {sign[1]}"
                    if sign is not None and early
                    else "the alert itself"
                )
                lag = span((a.opened_wall_ns - sign[0]) / S) if sign is not None and early else "-"
                rows.append(
                    [utc(a.opened_wall_ns, fraction=True), f"`{a.rule}`", a.entity, _threshold(a), first, lag]
                )
                marks.append(a.severity)
        blocks: list[Block] = [
            Table(("opened (UTC)", "rule", "about", "threshold", "first sign", "time to detect"), rows,
                  frozenset((5,)), marks)
        ]  # fmt: skip
        if len(f.incidents) > len(f.detailed):
            rest = f"{len(f.incidents) - len(f.detailed)} less grave incidents are in the timeline only."
            blocks.append(Para(rest))
        blocks += self._flapping()
        check = self.command.replace("dctop replay", "dctop check", 1)
        text = f"Rules that could not judge are under data quality. `{check}` judges anew with today's rules."
        blocks.append(Para(text))
        return blocks

    def _flapping(self) -> list[Block]:
        seen: dict[tuple[str, str], list[Alert]] = {}
        for a in self.facts.alerts:
            seen.setdefault((a.rule, a.entity), []).append(a)
        told = []
        for (rule, entity), alerts in seen.items():
            times = sum(a.count for a in alerts)
            if times > 1:
                told.append(
                    f"`{rule}` on {entity}: {times} times in {len(alerts)} incident{'s' * (len(alerts) > 1)}"
                )
        return [Para("Fired more than once:"), Bullets(told)] if told else []

    # -- timeline -----------------------------------------------------------------------------------

    def timeline(self) -> list[Block]:
        f = self.facts
        rows: list[tuple[int, int, str, str, str]] = []
        for a in f.alerts:
            rank = 2 if a.suppressed_by else 0
            note = f" (symptom of `{a.suppressed_by}`)" if a.suppressed_by else ""
            rows.append((a.opened_wall_ns, rank, f"alert `{a.rule}`", f"{a.title}{note}", a.severity))
            if a.closed_wall_ns is not None and a.closed_wall_ns <= f.t1_ns:
                rows.append((a.closed_wall_ns, rank, f"closed `{a.rule}`", f"{a.entity}: over", ""))
        for e in f.events:
            if e.kind == "gap":
                continue
            if e.kind != "alert" and f.t0_ns <= e.t0 <= f.t1_ns:
                rows.append((e.t0, _rank(e), e.kind, e.title, ""))
        rows += self._peaks()
        rows += [(g.t0, 1, "not recorded", f"{span((g.t1 - g.t0) / S)}: {g.reason}", "") for g in f.gaps]
        for run in f.runs:
            for said in run.events:
                if said.kind in _KINDS and f.t0_ns <= said.wall_ns <= f.t1_ns:
                    step = "" if said.step is None else f" (step {number(said.step)})"
                    rank = 3 if said.kind == "checkpoint" else 1
                    rows.append((said.wall_ns, rank, f"run {said.kind}", f"{run.id}: {said.text}{step}", ""))
        rows = [r for r in rows if f.t0_ns - 60 * S <= r[0] <= f.t1_ns]
        if not rows:
            return [Para("Nothing happened that a rule, the kernel or a run would have told of.")]
        kept = sorted(sorted(rows, key=lambda r: (r[1], r[0]))[:ROWS])
        table = Table(
            ("UTC", "what", "", "command"),
            [[utc(t, fraction=True), what, text, self.at(t)] for t, _, what, text, _ in kept],
            marks=[severity for *_, severity in kept],
        )
        left = len(rows) - len(kept)
        more: list[Block] = [Para(f"{left} less important rows were left out.")] if left else []
        return [table, *more]

    def _peaks(self) -> list[tuple[int, int, str, str, str]]:
        """When the measure of a state was farthest beyond its threshold."""
        f = self.facts
        out = []
        for a in (a for i in f.detailed for a in i.alerts if a.kind == "state"):
            e = next((e for e in a.evidence if e.series is not None and e.threshold), None)
            t0, t1 = max(f.t0_ns, a.opened_wall_ns), min(f.t1_ns, f.end_of(a))
            if e is None or e.series is None or e.threshold is None or t1 <= t0:
                continue
            found = [p for p in curves_of(self.recording, [e.series], t0, t1)[e.series] if p.mean is not None]
            if not found:
                continue
            low = e.threshold.startswith("<")
            worst = min(found, key=lambda p: p.low or 0.0) if low else max(found, key=lambda p: p.high or 0.0)
            value = quantity(worst.low if low else worst.high, unit_of(e.series))
            text = f"{a.entity}: {'lowest' if low else 'highest'}, `{e.series}` {value} ({e.threshold})"
            out.append((worst.t_ns, 1, f"peak `{a.rule}`", text, ""))
        return out

    # -- factors ------------------------------------------------------------------------------------

    def factors(self) -> list[Block]:
        f = self.facts
        if not f.incidents:
            return [Para("No alert, so nothing to explain.")]
        blocks: list[Block] = [
            Para("Candidates, not causes: series that had left their level before the alert opened, the "
                 "strongest shift first. A person decides which of them contributed.")
        ]  # fmt: skip
        for incident in f.detailed:
            blocks.append(Heading(3, f"{utc(incident.t0_ns)} {incident.top.title}"))
            if incident.factors:
                blocks.append(self._factor_table(incident))
            if incident.factors_note:
                blocks.append(Para(f"No ranking: {incident.factors_note}."))
            if incident.before:
                told = [
                    f"{utc(e.t0)} UTC, {span((incident.t0_ns - e.t0) / S)} before: {e.title}"
                    for e in incident.before[-8:]
                ]
                blocks += [Para("What happened in the ten minutes before:"), Bullets(told)]
            if incident.grown:
                blocks += [
                    Para("Processes then, against the beginning of those ten minutes:"),
                    _grown(incident),
                ]
        blocks.append(_ask("Which of these contributed, and what is not visible to a monitor?"))
        return blocks

    def _factor_table(self, incident: Incident) -> Table:
        rows = []
        for n, x in enumerate(incident.factors, 1):
            own = " (what the alert judges)" if x.own else ""
            rows.append([
                str(n), f"`{x.key}`{own}", quantity(x.before, x.unit), quantity(x.after, x.unit),
                span(x.lead_s), spark(x.values[-160:], 16), self.at(x.onset_ns),
            ])  # fmt: skip
        head = ("", "series", "before", "after", "lead", "up to the alert", "command")
        return Table(head, rows, frozenset((2, 3, 4)))

    def resolution(self) -> list[Block]:
        f = self.facts
        blocks: list[Block] = [_ask("Trigger: what set it off?")]
        closed = [a for a in f.alerts if a.suppressed_by is None and a.closed_wall_ns is not None]
        if closed:
            told = []
            for a in closed[:20]:
                assert a.closed_wall_ns is not None
                after = span((a.closed_wall_ns - a.opened_wall_ns) / S)
                told.append(f"{utc(a.closed_wall_ns)} UTC: `{a.rule}` on {a.entity} closed after {after}")
            blocks += [Para("What recovered, and when:"), Bullets(told)]
        left = [a for a in f.alerts if a.suppressed_by is None and a.closed_wall_ns is None]
        if left:
            told = [f"`{a.rule}` on {a.entity}" for a in left[:20]]
            blocks += [Para("Still open at the end of the recording:"), Bullets(told)]
        blocks.append(_ask("Resolution: who did what, and why did it help?"))
        return blocks

    # -- evidence -----------------------------------------------------------------------------------

    def evidence(self) -> list[Block]:
        f = self.facts
        blocks: list[Block] = []
        for incident in f.detailed:
            blocks += self._incident_evidence(incident)
        blocks.append(Heading(3, "The whole window"))
        blocks += run_charts(f, f.runs, f.t0_ns, f.t1_ns)
        blocks += node_charts(f, f.t0_ns, f.t1_ns)
        if not any(isinstance(b, Chart) for b in blocks):
            blocks.append(Para("Too short for a chart."))
        return [*blocks, *_config_diff(f.runs)]

    def _incident_evidence(self, incident: Incident) -> list[Block]:
        f = self.facts
        blocks: list[Block] = [Heading(3, f"{utc(incident.t0_ns)} {incident.top.title}")]
        for a in incident.alerts:
            blocks.append(Para(f"`{a.rule}` ({a.severity}), {a.entity}: {_sentence(a.why)}"))
            rows = [[e.label, _value(e), e.threshold or ""] for e in a.evidence]
            if any(row[2] for row in rows):
                blocks.append(Table(("measure", "value", "threshold"), rows))
            elif rows:
                blocks.append(Table(("measure", "value"), [row[:2] for row in rows]))
            if a.ruled_out:
                blocks.append(Para(f"Ruled out: {'; '.join(a.ruled_out)}."))
            if a.cost:
                blocks.append(Para(f"Cost: {_sentence(a.cost)}"))
        if incident.symptoms:
            told = [f"`{a.rule}` {utc(a.opened_wall_ns)} UTC: {a.title}" for a in incident.symptoms]
            blocks += [Para("Symptoms of it:"), Bullets(told)]
        end = incident.t1_ns or f.t1_ns
        margin = max(30 * S, (end - incident.t0_ns) // 4)
        t0, t1 = max(f.t0_ns, incident.t0_ns - margin), min(f.t1_ns, end + margin)
        whole = t1 - t0 > 0.8 * (f.t1_ns - f.t0_ns)
        if t1 > t0 and not whole:
            extra = [e.series for a in incident.alerts for e in a.evidence if e.series is not None]
            extra += [x.key for x in incident.factors[:3] if not x.key.startswith("train.")]
            found = limits(incident)
            charts = node_charts(f, t0, t1, list(dict.fromkeys(extra)))
            charts = run_charts(f, [r for r in f.runs if r.id == incident.top.entity], t0, t1) + charts
            blocks += [replace(c, focus=incident.t0_ns, limit=found.get(c.title)) for c in charts]
        blocks.append(Commands([self.at(incident.t0_ns).strip("`")]))
        return blocks

    def actions(self) -> list[Block]:
        """Remedies the rules propose, as a beginning; the rest is people's."""
        rows = []
        seen = set()
        for incident in self.facts.detailed:
            for a in incident.alerts:
                for r in a.remedies[:3]:
                    text = r.text if r.quantity is None else f"{r.text} ({r.quantity})"
                    if text not in seen:
                        seen.add(text)
                        rows.append([text, f"`{a.rule}`", "prevent", "____", "____"])
        rows += [["____", "", kind, "____", "____"] for kind in ("detect", "mitigate", "process")]
        return [Table(("action", "proposed by", "type", "owner", "ticket"), rows)]


def _ask(text: str) -> Para:
    return Para(text, "human")


def _title(f: Facts) -> str:
    return f.incidents[0].top.title


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?", "。")) else f"{text}."


def _runs_told(runs: Sequence[RunState]) -> str:
    told = []
    for r in runs[:6]:
        step = "" if r.step is None else f" at step {number(r.step)}"
        told.append(f"{r.id} {r.status}{step}")
    more = f" and {len(runs) - 6} more" if len(runs) > 6 else ""
    return f"Training: {', '.join(told)}{more}." if told else ""


def _threshold(a: Alert) -> str:
    told = [f"{e.label} {_value(e)} ({e.threshold})" for e in a.evidence if (e.threshold or " ")[0] in "<>=!"]
    return "; ".join(told[:2]) or ("happened" if a.kind == "event" else "-")


def _value(e: Evidence) -> str:
    if e.value is None:
        return "-"
    return e.value if isinstance(e.value, str) else quantity(float(e.value), e.unit)


def _rank(e: RecEvent) -> int:
    return {"kernel": 1, "marker": 1, "note": 1, "clock": 1, "config": 2, "run": 2}.get(e.kind, 2)


def _grown(incident: Incident) -> Table:
    rows = []
    for g in incident.grown:
        p = g.process
        born = g.rss_before is None and g.cpu_before is None
        rows.append([
            f"{p.name} ({p.pid})", p.user or "-", "new" if born else quantity(g.cpu_before, "%"),
            quantity(g.cpu_at, "%"), "new" if born else quantity(g.rss_before, "bytes"),
            quantity(g.rss_at, "bytes"), f"`{_shortened(p.cmdline)}`" if p.cmdline else "",
        ])  # fmt: skip
    head = ("process", "user", "CPU before", "CPU", "memory before", "memory", "command line")
    return Table(head, rows, frozenset((2, 3, 4, 5)))


def _shortened(text: str) -> str:
    text = text.replace("`", "'")
    return text if len(text) <= 90 else f"{text[:89]}…"


def _config_diff(runs: Sequence[RunState]) -> list[Block]:
    """What differs in configuration and environment between each run and the one before it."""
    blocks: list[Block] = []
    for before, run in pairwise(runs):
        if before.workload != run.workload:
            continue
        a, b = _flat(before.config), _flat(run.config)
        rows = [[f"`{k}`", a.get(k, "-"), b.get(k, "-")] for k in sorted({*a, *b}) if a.get(k) != b.get(k)]
        blocks.append(Heading(3, f"Configuration: {before.id} against {run.id}"))
        blocks.append(Table(("", before.id, run.id), rows) if rows else Para("The same."))
    return blocks[:20]


_VOLATILE = ("id", "pid", "ticks", "wall_ns", "launcher", "supervisor", "created", "first_step")


def _flat(config: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    out: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if any(key.endswith(v) or key.startswith(v) for v in _VOLATILE):
            continue
        if isinstance(value, Mapping):
            out |= _flat(value, f"{name}.")
        else:
            out[name] = _shortened(str(value))
    return out
