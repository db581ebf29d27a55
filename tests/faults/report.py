"""docs/DIAGNOSIS.md from a judged corpus. Nothing in it depends on the day it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.faults.baselines import table
from tests.faults.corpus import NOT_HERE, Plan
from tests.faults.judge import EVERY_STEPS, judge
from tests.faults.score import (
    Scored,
    fault_rows,
    middle,
    p95,
    poisson_upper,
    rule_rows,
    score,
    wilson,
)  # fmt: skip
from tests.faults.sections import carried
from tests.faults.sets import BY_NAME

OTHERS = (
    "Other faults, other magnitudes, other seeds", "Faults that no rule was tried on",
    "Forecasts: will a run reach its target?", "Healthy runs by the hour",
)  # fmt: skip
"""Sections of the page that other programs write: they stay when it is made anew."""


def judged(plan: Plan, folder: Path) -> Scored:
    return score(judge(plan, folder / plan.id))


def judge_all(made: Sequence[Plan], folder: Path, lanes: int = 2) -> list[Scored]:
    with ProcessPoolExecutor(lanes) as pool:
        return list(pool.map(judged, made, [folder] * len(made)))


def write(
    out: Path,
    made: Sequence[Plan],
    folder: Path,
    not_made: Mapping[str, str],
    seed: int,
    remedies: Sequence[str] = (),
) -> list[Scored]:
    """`notes.txt` in `folder` is what is to be said of this drill besides."""
    scored = judge_all(made, folder)
    page, notes = text(scored, not_made, seed, remedies), folder / "notes.txt"
    if notes.exists():
        page += "\n## Notes\n\n" + notes.read_text()
    out.write_text(carried(page, out.read_text() if out.exists() else "", OTHERS))
    return scored


def text(
    scored: Sequence[Scored], not_made: Mapping[str, str], seed: int, remedies: Sequence[str] = ()
) -> str:
    parts = [
        _head(scored, seed), "## Faults\n\n" + faults(scored), _rules(scored), _controls(scored),
        _baselines(scored), _misses(scored, not_made),
    ]  # fmt: skip
    if remedies:
        parts.append("## Remedies that were applied\n\n" + "\n".join(f"- {r}" for r in remedies))
    return "\n\n".join(parts) + "\n"


def share(k: int, n: int) -> str:
    low, high = wilson(k, n)
    return f"{k}/{n} ({100 * low:.0f}-{100 * high:.0f} %)" if n else "-"


def number(x: float | None, digits: int = 0) -> str:
    return "-" if x is None else f"{x:,.{digits}f}"


def grid(head: str, rows: Sequence[Sequence[str]]) -> str:
    columns = head.split(" | ")
    return "\n".join(
        [f"| {head} |", "|" + "---|" * len(columns), *("| " + " | ".join(r) + " |" for r in rows)]
    )


def _head(scored: Sequence[Scored], seed: int) -> str:
    faults = [s for s in scored if s.judged.plan.case.roots]
    clear = [s for s in faults if s.judged.plan.size_name != "mild"]
    diagnosed = sum(s.found is not None for s in clear)
    detected = sum(s.detected or s.found is not None for s in clear)
    right = sum(r.right for r in rule_rows(scored))
    false = sum(r.false for r in rule_rows(scored))
    return f"""# How good the diagnosis is

Made by `make drill`: real faults are planted in real runs (Fashion-MNIST where it is installed, on the CPU),
the logs and the node's frames are recorded once and then judged by the shipped rule engine. The plant writes
the truth, not the detector. Seeds {seed + 1} and up; thresholds were set on others. Logs are judged at each
{EVERY_STEPS} steps, each event and each second; recordings of the node frame by frame at 1 Hz.

| | measured | aim |
|---|---|---|
| faults of clear and severe magnitude detected | {share(detected, len(clear))} | >= 95 % |
| of those, with the right root | {share(diagnosed, detected)} | >= 90 % |
| alerts that were right (of right and false) | {share(right, right + false)} | >= 95 % |
| runs judged | {len(scored)}: {len(faults)} with a fault, {len(scored) - len(faults)} healthy | |

Intervals are Wilson's, 95 %. Tier A plants the real fault of a real resource, B the real pathology inside a
training. Nothing in these tables is simulated; what was not planted is listed at the end."""


def faults(scored: Sequence[Scored]) -> str:
    """The table of faults and what was right for each."""
    rows = []
    for r in fault_rows(scored):
        case = BY_NAME[r.name]
        rows.append([
            r.name, case.tier, r.size + (f" ({r.magnitude:g})" if r.magnitude else ""),
            share(r.diagnosed, r.runs),
            str(r.detected - r.diagnosed), r.as_what or "-", number(middle(r.delays_steps)),
            number(p95(r.delays_steps)), number(middle(r.delays_s), 1), number(middle(r.clears_s)),
            str(r.chatter),
        ])  # fmt: skip
    explained = "\n".join(
        f"- `{n}`: {BY_NAME[n].help}; right: {', '.join(BY_NAME[n].roots)}"
        for n in dict.fromkeys(r.name for r in fault_rows(scored))
    )
    head = (
        "fault | tier | magnitude | diagnosed | only detected | by | delay, steps (median) | (p95) | "
        "s (median) | to clear, s | re-opened"
    )
    return f"{grid(head, rows)}\n\n{explained}"


def _rules(scored: Sequence[Scored]) -> str:
    rows = [
        [f"`{r.rule}`", str(r.right), str(r.follows), str(r.false), share(r.right, r.right + r.false)]
        for r in rule_rows(scored)
    ]
    return "## Rules\n\n`follows`: opened as a true consequence of a fault that has another root.\n\n" + grid(
        "rule | right | follows | false | precision", rows
    )


def _controls(scored: Sequence[Scored]) -> str:
    healthy = [s for s in scored if not s.judged.plan.case.roots]
    hours = sum(s.judged.seconds for s in healthy) / 3600
    steps = sum(len(s.judged.run.columns["step"]) for s in healthy if s.judged.run is not None)
    rows = []
    for severity in ("critical", "warning", "info"):
        k = sum(x.severity == severity for s in healthy for x in s.false)
        per = number(k / hours, 2) if hours else "-"
        rows.append([severity, str(k), per, number(poisson_upper(k) / hours, 1) if hours else "-"])
    said = sorted({x.rule for s in healthy for x in s.false})
    around = sorted({x.rule for s in scored for x in s.environment})
    names = ", ".join(s.judged.plan.case.name.removeprefix("healthy-") for s in healthy)
    return (
        f"## Healthy runs\n\n{len(healthy)} runs, {hours:.2f} h, {steps:,} steps: {names}.\n\n"
        + grid("severity | false alarms | an hour | upper bound (95 %, exact Poisson)", rows)
        + (f"\n\nThey were: {', '.join(said)}." if said else "")
        + (
            "\n\nAbout the machine's speed in cases of learning (two at a time, beside whatever else the "
            "machine did), or about file systems and processes of others; counted neither way: "
            f"{', '.join(around)}."
            if around else ""
        )
    )  # fmt: skip


def _baselines(scored: Sequence[Scored]) -> str:
    rows = [
        [name, f"{false} in {steps:,} steps", f"{caught}/{n}", number(delay, 0)]
        for name, false, steps, caught, n, delay in table(scored)
    ]
    return (
        "## Beside the detectors of others\n\nThe same logs: sudden faults of the loss (clear and severe), "
        "healthy runs and what lies before an onset. Re-implemented from their sources, alarms closer than "
        "20 steps count once.\n\n" + grid("detector | false alarms | caught | delay, steps (median)", rows)
    )


def _misses(scored: Sequence[Scored], not_made: Mapping[str, str]) -> str:
    lines = ["## What was missed, what was false, what was not planted", ""]
    for s in scored:
        plan = s.judged.plan
        if plan.case.roots and s.found is None:
            seen = ", ".join(x.rule for x in s.judged.sightings) or "nothing"
            lines.append(f"- missed: {plan.id} ({plan.size:g}); said instead: {seen}")
        for x in s.false:
            why = f", as symptom of {x.symptom_of}" if x.symptom_of else ""
            lines.append(f"- false: {x.rule} ({x.severity}{why}) at step {x.step} of {plan.id}")
    why_not: dict[str, list[str]] = {}
    for plan, why in sorted(not_made.items()):
        why_not.setdefault(why, []).append(plan)
    lines += [f"- not made ({why}): {', '.join(plans)}" for why, plans in why_not.items()]
    lines += [f"- not planted: {name}: {why}" for name, why in NOT_HERE.items()]
    return "\n".join(lines)
