"""How far a recording can be trusted: what is missing in it, damaged, stale, or was never looked at."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dctop.engine.recording.reader import Recording
from dctop.engine.recording.replay import ReplaySource
from dctop.engine.report.blocks import Block, Bullets, Para, Table
from dctop.engine.report.facts import Facts, S
from dctop.engine.report.say import Say
from dctop.engine.report.units import number, offset, quantity, span, utc
from dctop.engine.rules.engine import RuleEngine

LOOKED_AT = 1800
"""Newest frames that are looked at one by one for late frames and stale probes."""


def quality(facts: Facts, command: str) -> list[Block]:
    """`command`: how to replay the recording."""
    recording, say = facts.recording, facts.say
    recording.verify()
    info = recording.info
    if info.live:
        state = say("file.live")
    elif info.closed:
        state = say("file.closed", reason=info.close_reason or say("file.no_reason"))
    else:
        state = say("file.recovered", recovered=info.recovered)
    rows = [
        [say("file"), state],
        [say("frames"), say("frames.are", n=number(info.frames), interval=f"{info.interval_s:g}")],
        *_intervals(recording, say),
        [say("missing"), _missing(facts)],
        [say("damaged"), "; ".join(info.problems) or say("damaged.none")],
        [say("clock"), _clock(facts)],
        *_overhead(facts),
        [say("secrets"), recording.meta.get("redaction", say("secrets.unknown"))],
    ]
    if "derived" in recording.meta:
        rows.insert(1, [say("derived"), recording.meta["derived"]])
    blocks: list[Block] = [Table(("", ""), rows)]
    shown = facts.gaps[:20]
    if shown:
        blocks.append(
            Table(
                say.columns("gaps.head"),
                [
                    [utc(g.t0, True), utc(g.t1), span((g.t1 - g.t0) / S), g.reason,
                     f"`{command} --at {offset(g.t0 - (recording.time_range or (0, 0))[0])}`"]
                    for g in shown
                ],
            )
        )  # fmt: skip
    if len(facts.gaps) > len(shown):
        blocks.append(Para(say("gaps.more", n=len(facts.gaps) - len(shown))))
    return [*blocks, *_probes(recording, say), *_unchecked(facts)]


def _intervals(recording: Recording, say: Say) -> list[list[str]]:
    span_seq = recording.seq_range
    if span_seq is None:
        return []
    monos = [f.mono_ns for f in recording.frames(span_seq[1] - LOOKED_AT, span_seq[1], procs_from=1 << 62)]
    steps = sorted((b - a) / 1e9 for a, b in pairwise(monos))
    if not steps:
        return [[say("between"), say("between.one")]]
    p50, p99 = steps[len(steps) // 2], steps[min(len(steps) - 1, int(len(steps) * 0.99))]
    of = "" if span_seq[1] - span_seq[0] < LOOKED_AT else say("between.newest", n=LOOKED_AT)
    text = say("between.are", p50=f"{p50:.3f}", p99=f"{p99:.3f}", longest=f"{steps[-1]:.1f}")
    return [[say("between"), text + of]]


def _missing(facts: Facts) -> str:
    if not facts.gaps:
        return facts.say("missing.none")
    total = sum(g.t1 - g.t0 for g in facts.gaps) / S
    share = total / max(1e-9, (facts.t1_ns - facts.t0_ns) / S) * 100
    return facts.say.many("missing.gaps", len(facts.gaps), span=span(total), share=number(share))


def _clock(facts: Facts) -> str:
    steps = [e for e in facts.events if e.kind == "clock"]
    if not steps:
        return facts.say("clock.steady")
    return "; ".join(f"{utc(e.t0)} {e.title}" for e in steps[:5]) + (" ..." if len(steps) > 5 else "")


def _overhead(facts: Facts) -> list[list[str]]:
    found = facts.recording.overviews(("dctop.cpu_pct", "dctop.rss_bytes"), 60)
    cpu = [b.mean for b in found.get("dctop.cpu_pct", ()) if b.mean is not None]
    rss = [b.max for b in found.get("dctop.rss_bytes", ()) if b.max is not None]
    if not cpu or not rss:
        return []
    say = facts.say
    text = say("itself.is", cpu=number(sum(cpu) / len(cpu)), rss=quantity(max(rss), "bytes"))
    return [[say("itself"), text]]


def _probes(recording: Recording, say: Say) -> list[Block]:
    """Stale readings and errors among the newest frames, and whether there were any before."""
    last = recording.seq_range
    if last is None:
        return []
    stale: dict[str, int] = {}
    errors: dict[str, dict[str, int]] = {}
    problems: dict[str, int] = {}
    n = 0
    for frame in recording.frames(last[1] - LOOKED_AT, last[1], procs_from=1 << 62):
        n += 1
        for name, status in frame.status.items():
            if status.stale:
                stale[name] = stale.get(name, 0) + 1
            if status.error is not None:
                found = errors.setdefault(name, {})
                found[status.error] = found.get(status.error, 0) + 1
            for problem in status.problems:
                problems[problem] = problems.get(problem, 0) + 1
    lines = [say("probe.stale", probe=name, k=k, n=n) for name, k in sorted(stale.items())]
    for name, texts in sorted(errors.items()):
        lines += [say("probe.failed", probe=name, k=k, n=n, text=text) for text, k in texts.items()]
    lines += [
        say("probe.problem", k=k, n=n, text=text)
        for text, k in sorted(problems.items(), key=lambda x: -x[1])[:10]
    ]
    where = "" if last[1] - last[0] < LOOKED_AT else say("probe.newest", n=n)
    if not lines:
        return [Para(say("probe.well", newest=where))]
    return [Para(say("probe.could_not", newest=where)), Bullets(lines)]


def not_checked(recording: Recording, moments: Sequence[int], lang: str = "en") -> dict[str, list[str]]:
    """What is needed -> rules that could judge at none of the moments (wall ns) for want of it."""
    source = ReplaySource(recording, history=1200)
    rules = RuleEngine(lang=lang)
    lacking: dict[str, tuple[int, str]] = {}
    for at in moments:
        rules.reset()
        source.seek(at)
        source.step(-1)
        rules.tick(source)
        source.step(1)
        rules.tick(source)
        for rule, what in rules.not_checked():
            lacking[rule] = (lacking.get(rule, (0, ""))[0] + 1, what)
    out: dict[str, list[str]] = {}
    for rule, (n, what) in lacking.items():
        if n == len(moments):
            out.setdefault(what, []).append(rule)
    return out


def _unchecked(facts: Facts) -> list[Block]:
    say = facts.say
    moments = [facts.t0_ns + (facts.t1_ns - facts.t0_ns) * k // 4 for k in (1, 2, 3)]
    moments += [i.t0_ns for i in facts.detailed[:2]]
    moments += [(r.started_wall_ns + (r.ended_wall_ns or facts.t1_ns)) // 2 for r in facts.runs[-2:]]
    found = not_checked(facts.recording, sorted({*moments, facts.t1_ns}), facts.say.lang)
    if not found:
        return [Para(say("unchecked.none"))]
    lines = [
        say("unchecked.item", what=what, rules=", ".join(f"`{r}`" for r in rules))
        for what, rules in found.items()
    ]
    return [Para(say("unchecked")), Bullets(lines)]
