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
from pathlib import Path

from dctop.engine.recording.facts import RecEvent
from dctop.engine.recording.reader import Recording
from dctop.engine.report.blocks import Block, Bullets, Chart, Commands, Document, Heading, Output, Para, Table
from dctop.engine.report.charts import curves_of, limits, node_charts, run_charts
from dctop.engine.report.factors import unit_of
from dctop.engine.report.facts import Facts, Incident, S, gather
from dctop.engine.report.impact import ENDED_BADLY, impact
from dctop.engine.report.quality import quality
from dctop.engine.report.say import Say
from dctop.engine.report.units import number, offset, quantity, span, spark, utc
from dctop.engine.rules.alert import Alert, Evidence
from dctop.engine.training.runstate import RunState
from dctop.engine.version import version

ROWS = 200
"""Rows of the timeline at most."""
OUTPUTS = 6
"""Runs whose last lines are shown, the newest."""
_KINDS = frozenset(("start", "checkpoint", "nonfinite", "frozen", "exception", "fault", "stop", "end"))


def report(
    recording: Recording,
    t0_ns: int | None = None,
    t1_ns: int | None = None,
    shown_as: Path | None = None,
    lang: str = "en",
) -> Document:
    """The whole report. `shown_as`: the file that its commands name (the recording's own); `lang`: of what it
    says of its own, en or zh. Raises RecordingError where no frame can be read."""
    return Report(gather(recording, t0_ns, t1_ns, lang), shown_as).document()


class Report:
    """The facts and how they are put."""

    def __init__(self, facts: Facts, shown_as: Path | None = None) -> None:
        self.facts = facts
        self.recording, self.say = facts.recording, facts.say
        self.begin, self.end = self.recording.time_range or (0, 0)
        self.path = shown_as or self.recording.path
        self.command = f"dctop replay {shlex.quote(os.path.relpath(self.path))}"
        if self.command.startswith("dctop replay ../.."):
            self.command = f"dctop replay {shlex.quote(str(self.path))}"

    def at(self, wall_ns: int) -> str:
        """The command that shows a moment: the frame after it, for that one knows of it."""
        frame = min(wall_ns + int(self.recording.interval_s * S), self.end)
        return f"`{self.command} --at {offset(frame - self.begin)}`"

    def document(self) -> Document:
        f, say = self.facts, self.say
        host = self.recording.meta.get("host", "?")
        title = say("title.incident", title=_title(f)) if f.incidents else say("title.none", host=host)
        when = say("when", t0=utc(f.t0_ns, True), t1=utc(f.t1_ns, True), span=span((f.t1_ns - f.t0_ns) / S))
        lessons: list[Block] = [_ask(say(f"ask.{key}")) for key in ("well", "wrong", "lucky")]
        sections: tuple[tuple[str, list[Block]], ...] = (
            ("summary", self.summary()),
            ("impact", impact(f)),
            ("detection", self.detection()),
            ("timeline", self.timeline()),
            ("factors", self.factors()),
            ("resolution", self.resolution()),
            ("evidence", self.evidence()),
            ("lessons", lessons),
            ("actions", self.actions()),
            ("quality", quality(f, self.command)),
        )
        blocks: list[Block] = [self.header()]
        for name, found in sections:
            blocks += [Heading(2, say(name)), *found]
        return Document(title, f"{host}, {when}", blocks, say.lang)

    def header(self) -> Table:
        meta, say, f = self.recording.meta, self.say, self.facts
        tz = meta.get("tz", say("tz.unknown"))
        made = {k: meta.get(k, "?") for k in ("uuid", "app")}
        rows = [
            [say("status"), say("status.draft")],
            [say("author"), "____"],
            [say("host"), " ".join(meta[k] for k in ("host", "kernel", "boot_id") if k in meta)],
            [say("window"), say("window.is", t0=utc(f.t0_ns, True), t1=utc(f.t1_ns, True), tz=tz)],
            [say("recording"), say("recording.is", name=self.path.name, **made)],
            [say("report"), f"dctop {version()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"],
        ]  # fmt: skip
        return Table(("", ""), rows)

    # -- summary ------------------------------------------------------------------------------------

    def summary(self) -> list[Block]:
        f, say = self.facts, self.say
        blocks: list[Block] = list(self._warnings())
        if not f.incidents:
            what = _runs_told(f) or say("no_training")
            blocks.append(Para(say("no_alert", span=span((f.t1_ns - f.t0_ns) / S), runs=what)))
            return [*blocks, *self._earlier()]
        top = f.incidents[0]
        a = top.top
        until = (
            say("until.open", span=span((f.t1_ns - a.opened_wall_ns) / S))
            if a.closed_wall_ns is None
            else say("until.closed", span=span((a.closed_wall_ns - a.opened_wall_ns) / S))
        )
        when = utc(a.opened_wall_ns, True)
        blocks.append(
            Para(say("top", time=when, title=_sentence(a.title, say), why=_sentence(a.why, say), until=until))
        )
        rest = [i for i in f.incidents if i is not top]
        if rest:
            told = [
                say("besides.item", title=i.top.title, severity=say(i.severity), time=utc(i.t0_ns))
                for i in rest[:8]
            ]
            more = say("besides.named", n=len(told)) if len(rest) > len(told) else ""
            blocks.append(Para(say.many("besides", len(rest), named=more)))
            blocks.append(Bullets(told))
        if f.runs:
            blocks.append(Para(_runs_told(f)))
        blocks += self._earlier()
        blocks.append(_ask(say("ask.noticed")))
        return blocks

    def _earlier(self) -> list[Block]:
        """What had happened before the recording began, as the rules found it then."""
        told = [
            self.say("earlier.item", time=utc(a.opened_wall_ns, True), title=a.title)
            for a in self.facts.history[-8:]
        ]
        return [Para(self.say("earlier")), Bullets(told)] if told else []

    def _warnings(self) -> list[Para]:
        f = self.facts
        out = []
        for incident in f.detailed:
            t0, t1 = incident.t0_ns - 60 * S, incident.t1_ns or f.t1_ns
            for gap in f.gaps:
                if gap.t1 >= t0 and gap.t0 <= t1:
                    text = self.say("hole", t0=utc(gap.t0), t1=utc(gap.t1), reason=gap.reason)
                    out.append(Para(text, "warning"))
        drills = [e.text for r in f.runs for e in r.events if e.kind == "fault"]
        if drills:
            planted = "; ".join(dict.fromkeys(drills))
            out.append(Para(self.say("planted", faults=planted), "warning"))
        return list({p.text: p for p in out}.values())[:6]

    # -- detection ----------------------------------------------------------------------------------

    def detection(self) -> list[Block]:
        f, say = self.facts, self.say
        if not f.incidents:
            return [Para(say("detection.none"))]
        rows, marks = [], []
        for incident in f.detailed:
            for a in incident.alerts:
                sign = incident.first_sign
                early = sign is not None and sign[0] < a.opened_wall_ns
                first = (
                    f"{utc(sign[0], fraction=True)} {sign[1]}"
                    if sign is not None and early
                    else say("detection.itself")
                )
                lag = span((a.opened_wall_ns - sign[0]) / S) if sign is not None and early else "-"
                rows.append(
                    [
                        utc(a.opened_wall_ns, fraction=True),
                        f"`{a.rule}`",
                        a.entity,
                        _threshold(a, say),
                        first,
                        lag,
                    ]
                )
                marks.append(a.severity)
        blocks: list[Block] = [
            Table(say.columns("detection.head"), rows,
                  frozenset((5,)), marks)
        ]  # fmt: skip
        if len(f.incidents) > len(f.detailed):
            blocks.append(Para(say("detection.rest", n=len(f.incidents) - len(f.detailed))))
        blocks += self._flapping()
        check = self.command.replace("dctop replay", "dctop check", 1)
        blocks.append(Para(say("detection.anew", check=check)))
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
                    self.say.many("flapping.item", len(alerts), rule=rule, entity=entity, times=times)
                )
        return [Para(self.say("flapping")), Bullets(told)] if told else []

    # -- timeline -----------------------------------------------------------------------------------

    def timeline(self) -> list[Block]:
        f, say = self.facts, self.say
        rows: list[tuple[int, int, str, str, str]] = []
        for a in f.alerts:
            rank = 2 if a.suppressed_by else 0
            title = say("symptom_of", title=a.title, root=a.suppressed_by) if a.suppressed_by else a.title
            rows.append((a.opened_wall_ns, rank, say("alert", rule=a.rule), title, a.severity))
            if a.closed_wall_ns is not None and a.closed_wall_ns <= f.t1_ns:
                over = say("over", entity=a.entity)
                rows.append((a.closed_wall_ns, rank, say("closed", rule=a.rule), over, ""))
        for e in f.events:
            if e.kind == "gap":
                continue
            if e.kind != "alert" and f.t0_ns <= e.t0 <= f.t1_ns:
                rows.append((e.t0, _rank(e), _kind(e, say), e.title, ""))
        rows += self._peaks()
        rows += [
            (g.t0, 1, say("gap"), say("gap.is", span=span((g.t1 - g.t0) / S), reason=g.reason), "")
            for g in f.gaps
        ]
        for run in f.runs:
            for said in run.events:
                if said.kind in _KINDS and f.t0_ns <= said.wall_ns <= f.t1_ns:
                    step = "" if said.step is None else say("at_step", step=number(said.step))
                    rank = 3 if said.kind == "checkpoint" else 1
                    text = f"{run.id}: {said.text}{step}"
                    rows.append((said.wall_ns, rank, say(f"run.{said.kind}"), text, ""))
        rows = [r for r in rows if f.t0_ns - 60 * S <= r[0] <= f.t1_ns]
        if not rows:
            return [Para(say("timeline.none"))]
        kept = sorted(sorted(rows, key=lambda r: (r[1], r[0]))[:ROWS])
        table = Table(
            say.columns("timeline.head"),
            [[utc(t, fraction=True), what, text, self.at(t)] for t, _, what, text, _ in kept],
            marks=[severity for *_, severity in kept],
        )
        left = len(rows) - len(kept)
        more: list[Block] = [Para(say("timeline.left", n=left))] if left else []
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
            text = self.say(
                "peak.low" if low else "peak.high",
                entity=a.entity, series=e.series, value=value, threshold=e.threshold,
            )  # fmt: skip
            out.append((worst.t_ns, 1, self.say("peak", rule=a.rule), text, ""))
        return out

    # -- factors ------------------------------------------------------------------------------------

    def factors(self) -> list[Block]:
        f, say = self.facts, self.say
        if not f.incidents:
            return [Para(say("factors.none"))]
        blocks: list[Block] = [Para(say("factors.are"))]
        for incident in f.detailed:
            blocks.append(Heading(3, f"{utc(incident.t0_ns)} {incident.top.title}"))
            if incident.factors:
                blocks.append(self._factor_table(incident))
            if incident.factors_note:
                blocks.append(Para(say("factors.note", why=incident.factors_note)))
            if incident.before:
                told = [
                    say(
                        "factors.before.item",
                        time=utc(e.t0),
                        span=span((incident.t0_ns - e.t0) / S),
                        title=e.title,
                    )
                    for e in incident.before[-8:]
                ]
                blocks += [Para(say("factors.before")), Bullets(told)]
            if incident.grown:
                blocks += [
                    Para(say("factors.grown")),
                    _grown(incident, say),
                ]
        blocks.append(_ask(say("ask.contributed")))
        return blocks

    def _factor_table(self, incident: Incident) -> Table:
        rows = []
        for n, x in enumerate(incident.factors, 1):
            own = self.say("factors.own") if x.own else ""
            rows.append([
                str(n), f"`{x.key}`{own}", quantity(x.before, x.unit), quantity(x.after, x.unit),
                span(x.lead_s), spark(x.values[-160:], 16), self.at(x.onset_ns),
            ])  # fmt: skip
        return Table(self.say.columns("factors.head"), rows, frozenset((2, 3, 4)))

    def resolution(self) -> list[Block]:
        f, say = self.facts, self.say
        blocks: list[Block] = [_ask(say("ask.trigger"))]
        closed = [a for a in f.alerts if a.suppressed_by is None and a.closed_wall_ns is not None]
        if closed:
            told = []
            for a in closed[:20]:
                assert a.closed_wall_ns is not None
                after = span((a.closed_wall_ns - a.opened_wall_ns) / S)
                told.append(
                    say(
                        "recovered.item", time=utc(a.closed_wall_ns), rule=a.rule, entity=a.entity, span=after
                    )
                )
            blocks += [Para(say("recovered")), Bullets(told)]
        left = [a for a in f.alerts if a.suppressed_by is None and a.closed_wall_ns is None]
        if left:
            told = [say("still_open.item", rule=a.rule, entity=a.entity) for a in left[:20]]
            blocks += [Para(say("still_open")), Bullets(told)]
        blocks.append(_ask(say("ask.resolution")))
        return blocks

    # -- evidence -----------------------------------------------------------------------------------

    def evidence(self) -> list[Block]:
        f = self.facts
        blocks: list[Block] = []
        for incident in f.detailed:
            blocks += self._incident_evidence(incident)
        blocks.append(Heading(3, self.say("whole")))
        blocks += run_charts(f, f.runs, f.t0_ns, f.t1_ns)
        blocks += node_charts(f, f.t0_ns, f.t1_ns)
        if not any(isinstance(b, Chart) for b in blocks):
            blocks.append(Para(self.say("short")))
        return [*blocks, *_outputs(f), *_config_diff(f.runs, self.say)]

    def _incident_evidence(self, incident: Incident) -> list[Block]:
        f, say = self.facts, self.say
        blocks: list[Block] = [Heading(3, f"{utc(incident.t0_ns)} {incident.top.title}")]
        for a in incident.alerts:
            blocks.append(
                Para(
                    say(
                        "evidence.of",
                        rule=a.rule,
                        severity=say(a.severity),
                        entity=a.entity,
                        why=_sentence(a.why, say),
                    )
                )
            )
            rows = [[e.label, _value(e), e.threshold or ""] for e in a.evidence]
            if any(row[2] for row in rows):
                blocks.append(Table(say.columns("evidence.head"), rows))
            elif rows:
                blocks.append(Table(say.columns("evidence.head")[:2], [row[:2] for row in rows]))
            if a.ruled_out:
                blocks.append(Para(say("ruled_out", texts="; ".join(a.ruled_out))))
            if a.cost:
                blocks.append(Para(say("cost", text=_sentence(a.cost, say))))
        if incident.symptoms:
            told = [
                say("symptoms.item", rule=a.rule, time=utc(a.opened_wall_ns), title=a.title)
                for a in incident.symptoms
            ]
            blocks += [Para(say("symptoms")), Bullets(told)]
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
        rows, say = [], self.say
        seen = set()
        for incident in self.facts.detailed:
            for a in incident.alerts:
                for r in a.remedies[:3]:
                    text = r.text if r.quantity is None else f"{r.text} ({r.quantity})"
                    if text not in seen:
                        seen.add(text)
                        rows.append([text, f"`{a.rule}`", say("prevent"), "____", "____"])
        rows += [["____", "", say(kind), "____", "____"] for kind in ("detect", "mitigate", "process")]
        return [Table(say.columns("actions.head"), rows)]


def _ask(text: str) -> Para:
    return Para(text, "human")


def _title(f: Facts) -> str:
    return f.incidents[0].top.title


def _sentence(text: str, say: Say) -> str:
    """With the stop of the report's language, if it has none."""
    text = text.strip()
    return text if text.endswith((".", "!", "?", "。")) else text + say("stop")


def _runs_told(facts: Facts) -> str:
    say, runs, told = facts.say, facts.runs, []
    for r in runs[:6]:
        step = "" if r.step is None else say("runs.at", step=number(r.step))
        told.append(f"{r.id} {r.status}{step}")
    more = say("runs.more", n=len(runs) - 6) if len(runs) > 6 else ""
    return say("runs", runs=", ".join(told), more=more) if told else ""


def _threshold(a: Alert, say: Say) -> str:
    told = [f"{e.label} {_value(e)} ({e.threshold})" for e in a.evidence if (e.threshold or " ")[0] in "<>=!"]
    return "; ".join(told[:2]) or (say("detection.happened") if a.kind == "event" else "-")


def _value(e: Evidence) -> str:
    if e.value is None:
        return "-"
    return e.value if isinstance(e.value, str) else quantity(float(e.value), e.unit)


_TOLD_KINDS = frozenset(("kernel", "marker", "note", "clock", "config", "run"))


def _kind(e: RecEvent, say: Say) -> str:
    return say(f"kind.{e.kind}") if e.kind in _TOLD_KINDS else e.kind


def _rank(e: RecEvent) -> int:
    return {"kernel": 1, "marker": 1, "note": 1, "clock": 1, "config": 2, "run": 2}.get(e.kind, 2)


def _grown(incident: Incident, say: Say) -> Table:
    rows = []
    for g in incident.grown:
        p = g.process
        born = g.rss_before is None and g.cpu_before is None
        rows.append([
            f"{p.name} ({p.pid})", p.user or "-", say("grown.new") if born else quantity(g.cpu_before, "%"),
            quantity(g.cpu_at, "%"), say("grown.new") if born else quantity(g.rss_before, "bytes"),
            quantity(g.rss_at, "bytes"), f"`{_shortened(p.cmdline)}`" if p.cmdline else "",
        ])  # fmt: skip
    return Table(say.columns("grown.head"), rows, frozenset((2, 3, 4, 5)))


def _shortened(text: str) -> str:
    text = text.replace("`", "'")
    return text if len(text) <= 90 else f"{text[:89]}…"


def _outputs(facts: Facts) -> list[Block]:
    """What runs that did not end well, or that an incident is about, printed last."""
    about = {i.top.entity for i in facts.incidents}
    told = [r for r in facts.runs if r.log_tail and (r.status in ENDED_BADLY or r.id in about)]
    blocks: list[Block] = []
    for run in told[-OUTPUTS:]:
        blocks += [Heading(3, facts.say("output", run=run.id)), Output(run.log_tail)]
    return blocks


def _config_diff(runs: Sequence[RunState], say: Say) -> list[Block]:
    """What differs in configuration and environment between each run and the one before it."""
    blocks: list[Block] = []
    for before, run in pairwise(runs):
        if before.workload != run.workload:
            continue
        a, b = _flat(before.config), _flat(run.config)
        rows = [[f"`{k}`", a.get(k, "-"), b.get(k, "-")] for k in sorted({*a, *b}) if a.get(k) != b.get(k)]
        blocks.append(Heading(3, say("configuration", a=before.id, b=run.id)))
        blocks.append(Table(("", before.id, run.id), rows) if rows else Para(say("same")))
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
