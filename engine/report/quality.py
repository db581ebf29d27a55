"""How far a recording can be trusted: what is missing in it, damaged, stale, or was never looked at."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dctop.engine.recording.reader import Recording
from dctop.engine.recording.replay import ReplaySource
from dctop.engine.report.blocks import Block, Bullets, Para, Table
from dctop.engine.report.facts import Facts, S
from dctop.engine.report.units import number, offset, quantity, span, utc
from dctop.engine.rules.engine import RuleEngine

LOOKED_AT = 1800
"""Newest frames that are looked at one by one for late frames and stale probes."""


def quality(facts: Facts, command: str) -> list[Block]:
    """`command`: how to replay the recording."""
    recording = facts.recording
    recording.verify()
    info = recording.info
    if info.live:
        state = "being written while this report was made: what came later is not in it"
    elif info.closed:
        state = f"closed cleanly ({info.close_reason or 'no reason given'})"
    else:
        state = f"{info.recovered}: what the recorder had acknowledged is there"
    rows = [
        ["File", state],
        ["Frames", f"{number(info.frames)}, one every {info.interval_s:g} s was asked for"],
        *_intervals(recording),
        ["Not recorded", _missing(facts)],
        ["Damaged", "; ".join(info.problems) or "nothing: every checksum fits"],
        ["Clock", _clock(facts)],
        *_overhead(facts),
        ["Secrets", recording.meta.get("redaction", "not said by the recorder")],
    ]
    if "derived" in recording.meta:
        rows.insert(1, ["Derived", recording.meta["derived"]])
    blocks: list[Block] = [Table(("", ""), rows)]
    shown = facts.gaps[:20]
    if shown:
        blocks.append(
            Table(
                ("not recorded from (UTC)", "to", "for", "why", "command"),
                [
                    [utc(g.t0, True), utc(g.t1), span((g.t1 - g.t0) / S), g.reason,
                     f"`{command} --at {offset(g.t0 - (recording.time_range or (0, 0))[0])}`"]
                    for g in shown
                ],
            )
        )  # fmt: skip
    if len(facts.gaps) > len(shown):
        blocks.append(Para(f"And {len(facts.gaps) - len(shown)} more gaps."))
    return [*blocks, *_probes(recording), *_unchecked(facts)]


def _intervals(recording: Recording) -> list[list[str]]:
    span_seq = recording.seq_range
    if span_seq is None:
        return []
    monos = [f.mono_ns for f in recording.frames(span_seq[1] - LOOKED_AT, span_seq[1], procs_from=1 << 62)]
    steps = sorted((b - a) / 1e9 for a, b in pairwise(monos))
    if not steps:
        return [["Time between frames", "only one frame"]]
    p50, p99 = steps[len(steps) // 2], steps[min(len(steps) - 1, int(len(steps) * 0.99))]
    of = "" if span_seq[1] - span_seq[0] < LOOKED_AT else f" (of the newest {LOOKED_AT})"
    return [
        [
            "Time between frames",
            f"median {p50:.3f} s, 99th percentile {p99:.3f} s, longest {steps[-1]:.1f} s{of}",
        ]
    ]


def _missing(facts: Facts) -> str:
    if not facts.gaps:
        return "nothing: no gap, no lost frame"
    total = sum(g.t1 - g.t0 for g in facts.gaps) / S
    share = total / max(1e-9, (facts.t1_ns - facts.t0_ns) / S) * 100
    n = len(facts.gaps)
    return f"{n} gap{'s' if n > 1 else ''}, together {span(total)} ({number(share)} % of the time)"


def _clock(facts: Facts) -> str:
    steps = [e for e in facts.events if e.kind == "clock"]
    if not steps:
        return "was not set while recording"
    return "; ".join(f"{utc(e.t0)} {e.title}" for e in steps[:5]) + (" ..." if len(steps) > 5 else "")


def _overhead(facts: Facts) -> list[list[str]]:
    found = facts.recording.overviews(("dctop.cpu_pct", "dctop.rss_bytes"), 60)
    cpu = [b.mean for b in found.get("dctop.cpu_pct", ()) if b.mean is not None]
    rss = [b.max for b in found.get("dctop.rss_bytes", ()) if b.max is not None]
    if not cpu or not rss:
        return []
    text = f"{number(sum(cpu) / len(cpu))} % of one core, at most {quantity(max(rss), 'bytes')} resident"
    return [["dctop itself", text]]


def _probes(recording: Recording) -> list[Block]:
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
    lines = [f"`{name}` was stale in {k} of {n} frames" for name, k in sorted(stale.items())]
    for name, texts in sorted(errors.items()):
        lines += [f"`{name}` failed in {k} of {n} frames: {text}" for text, k in texts.items()]
    lines += [
        f"in {k} of {n} frames: {text}" for text, k in sorted(problems.items(), key=lambda x: -x[1])[:10]
    ]
    where = "" if last[1] - last[0] < LOOKED_AT else f" (the newest {n} frames were looked at)"
    if not lines:
        return [Para(f"Every probe answered in time{where}.")]
    return [Para(f"What probes could not read{where}:"), Bullets(lines)]


def not_checked(recording: Recording, moments: Sequence[int]) -> dict[str, list[str]]:
    """What is needed -> rules that could judge at none of the moments (wall ns) for want of it."""
    source = ReplaySource(recording, history=1200)
    rules = RuleEngine(lang="en")
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
    moments = [facts.t0_ns + (facts.t1_ns - facts.t0_ns) * k // 4 for k in (1, 2, 3)]
    moments += [i.t0_ns for i in facts.detailed[:2]]
    moments += [(r.started_wall_ns + (r.ended_wall_ns or facts.t1_ns)) // 2 for r in facts.runs[-2:]]
    found = not_checked(facts.recording, sorted({*moments, facts.t1_ns}))
    if not found:
        return [Para("Every rule had what it needs.")]
    lines = [f"for want of {what}: {', '.join(f'`{r}`' for r in rules)}" for what, rules in found.items()]
    return [Para("Not checked, so their silence means nothing:"), Bullets(lines)]
