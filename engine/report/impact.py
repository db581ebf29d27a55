"""What an incident cost, in numbers: training lost, throughput, idle GPUs, time in each severity."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from statistics import median

from dctop.engine.recording.facts import series_keys
from dctop.engine.report.blocks import Block, Para, Table
from dctop.engine.report.facts import Facts, Incident, S
from dctop.engine.report.units import number, quantity, span
from dctop.engine.training.runstate import RunState

IDLE_PCT = 5.0
"""A GPU below this is idle."""
ENDED_BADLY = frozenset(("failed", "killed", "lost"))


def impact(facts: Facts) -> list[Block]:
    say = facts.say
    blocks: list[Block] = []
    rows = _severities(facts)
    kills = sum(e.rule == "oom-kill" for e in facts.events if e.kind == "kernel")
    if kills:
        rows.append([say("impact.kills"), number(kills)])
    idle = _gpu_idle(facts)
    if idle is not None:
        rows.append([say("impact.idle"), idle])
    blocks.append(Table(("", ""), rows))
    if facts.runs:
        blocks += [
            Table(
                say.columns("impact.runs"),
                [_run_row(facts, r) for r in facts.runs[-20:]],
                frozenset((2, 3, 4, 5, 6)),
            ),
            Para(say("impact.explained")),
        ]
    return blocks


def _severities(facts: Facts) -> list[list[str]]:
    say, rows = facts.say, []
    for severity in ("critical", "warning", "info"):
        stretches = [
            (max(a.opened_wall_ns, facts.t0_ns), min(facts.end_of(a), facts.t1_ns))
            for a in facts.alerts
            if a.severity == severity
        ]
        if stretches:
            total = covered(stretches) / S
            share = total / max(1e-9, (facts.t1_ns - facts.t0_ns) / S) * 100
            text = say.many("impact.time", len(stretches), span=span(total), share=number(min(100.0, share)))
            rows.append([say("impact.severity", severity=say(severity)), text])
    return rows or [[say("impact.alerts"), say("impact.none")]]


def covered(stretches: Iterable[tuple[int, int]]) -> int:
    """Length of the union."""
    total, end = 0, -(1 << 62)
    for a, z in sorted(stretches):
        total += max(0, z - max(a, end))
        end = max(end, z)
    return total


def _run_row(facts: Facts, run: RunState) -> list[str]:
    steps = run.columns.get("step", ())
    told = run.reason or run.status
    ended = told if told.startswith(run.status) else f"{run.status}: {told}"
    first = _first_incident(facts, run)
    before = _speed(run, facts.t0_ns, facts.t1_ns if first is None else first.t0_ns)
    lowest = None if first is None else _slowest(run, first.t0_ns, first.t1_ns or facts.t1_ns)
    lost, lost_s = _lost(run)
    return [
        run.id, ended, number(run.step) if run.step is not None else number(len(steps)),
        "-" if before is None else number(before), "-" if lowest is None else number(lowest),
        "-" if lost is None else number(lost), "-" if lost_s is None else span(lost_s),
    ]  # fmt: skip


def _first_incident(facts: Facts, run: RunState) -> Incident | None:
    end = run.ended_wall_ns or facts.t1_ns
    during = [
        i
        for i in facts.incidents
        if i.top.entity == run.id or (run.started_wall_ns <= i.t0_ns <= end and i.severity != "info")
    ]
    return min(during, key=lambda i: i.t0_ns, default=None)


def _speed(run: RunState, t0: int, t1: int) -> float | None:
    """Steps a second, by the median step."""
    walls, took = run.columns.get("wall_ns"), run.columns.get("step_s")
    if not walls or took is None:
        return None
    known = [s for s in took[bisect_left(walls, t0) : bisect_right(walls, t1)] if s == s and s > 0]
    return 1 / median(known) if known else None


def _slowest(run: RunState, t0: int, t1: int) -> float | None:
    """Steps a second in the slowest whole ten seconds from `t0` to `t1`, while the run lasted."""
    walls = run.columns.get("wall_ns")
    if not walls:
        return None
    t1 = min(t1, run.ended_wall_ns or t1)
    rates = []
    at = t0
    while at + 10 * S <= t1:
        rates.append((bisect_right(walls, at + 10 * S) - bisect_right(walls, at)) / 10)
        at += 10 * S
    return min(rates, default=None)


def _lost(run: RunState) -> tuple[int | None, float | None]:
    if run.status not in ENDED_BADLY or run.step is None:
        return None, None
    saved = [
        e.step for e in run.events if e.kind == "checkpoint" and e.step is not None and e.data.get("ok", True)
    ]
    last = max(saved, default=0)
    steps, took = run.columns.get("step", ()), run.columns.get("step_s", ())
    known = [s for n, s in zip(steps, took) if n > last and s == s]
    return max(0, run.step - last), sum(known) if known else None


def _gpu_idle(facts: Facts) -> str | None:
    """GPU-seconds below IDLE_PCT while a run was active, of all GPU-seconds then."""
    keys = sorted(k for k in series_keys(facts.recording) if k.startswith("gpu.util_pct{"))
    runs: Sequence[tuple[int, int]] = [
        (r.started_wall_ns, r.ended_wall_ns or facts.t1_ns) for r in facts.runs
    ]
    if not keys or not runs:
        return None
    idle = total = 0.0
    for buckets in facts.recording.overviews(keys, 600).values():
        for b in buckets:
            middle = (b.t0 + b.t1) // 2
            if b.mean is None or not facts.t0_ns <= middle <= facts.t1_ns:
                continue
            if any(a <= middle <= z for a, z in runs):
                total += (b.t1 - b.t0) / S
                idle += (b.t1 - b.t0) / S if b.mean < IDLE_PCT else 0.0
    if not total:
        return None
    return facts.say(
        "impact.idle.is", idle=span(idle), total=span(total), share=quantity(idle / total * 100, "%")
    )
