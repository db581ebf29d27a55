"""The detector of the statistical layer beside everybody's on labelled series, with one scorer.

    python tests/benchmarks/bench_anomaly.py --nab DIR [--csv FILE ...] [--synthetic] [--each]

DIR is a clone of NAB (data/<group>/<name>.csv, labels/combined_windows.json), FILE a table with a column
value (or v1, v2 ...) and, if it is labelled, a column label. Nothing is tuned to a series; no unit floors.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.baselines import ALL, Baseline
from tests.benchmarks.labelled import Series, Verdict, judge, read_csv, read_nab, synthetic, thresholds

BUDGETS = (100.0, 10.0)
"""False alarms in 86,400 samples at which recall is asked for, the threshold raised to it."""


def run(b: Baseline, series: Sequence[Series]) -> tuple[list[list[float]], float]:
    """(scores, microseconds a sample); what is not finite scores 0."""
    scores, began = [], time.thread_time_ns()
    for s in series:
        update = b.make()
        scores.append([z if z - z == 0 else 0.0 for z in map(update, s.values)])
    samples = sum(len(s.values) for s in series)
    return scores, (time.thread_time_ns() - began) / 1e3 / max(1, samples)


def raised(series: Sequence[Series], scores: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """(recall at each budget, best NAB scores), each at the threshold that is best for it."""
    verdicts = [judge(series, scores, t) for t in thresholds(scores)]
    at = [max([v.recall or 0.0 for v in verdicts if v.per_day <= b], default=0.0) for b in BUDGETS]
    return at, [max([v.nab[p] for v in verdicts], default=math.nan) for p in ("standard", "low FP")]


def share(x: float | None) -> str:
    return "-" if x is None else f"{x:.2f}"


def row(b: Baseline, v: Verdict, us: float, unit: float, at: list[float], best: list[float]) -> str:
    own = f"{v.nab['standard']:.1f} / {v.nab['low FP']:.1f}" if v.windows else "-"
    top = f"{best[0]:.1f} / {best[1]:.1f}" if v.windows else "-"
    budgets = " / ".join(f"{x:.2f}" for x in at) if v.windows else "-"
    start = f"{v.at_start / v.series:.2f}"
    found = f"{v.found} of {v.windows}" if v.windows else "-"
    cells = (b.name, found, share(v.precision), f"{v.per_day:.1f}", budgets, own, top, start, f"{us:.2f}")
    return f"| {' | '.join(cells)} | {us / unit:.1f} |"


def table(title: str, series: Sequence[Series], every: bool = False) -> None:
    """One row a detector; with `every`, what ours told in each series."""
    samples, windows = sum(len(s.values) for s in series), sum(len(s.windows) for s in series)
    print(f"\n{title}: {len(series)} series, {samples:,} samples, {windows} windows\n")
    print(
        "| detector | found | precision | false / 86,400 | recall at 100 / 10 | NAB standard / low FP "
        "| best threshold | at the start | us | x EWMA z |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    done = [(b, *run(b, series)) for b in ALL]
    unit = next(us for b, _, us in done if b.name.startswith("EWMA z"))
    for b, scores, us in done:
        print(row(b, judge(series, scores, b.threshold), us, unit, *raised(series, scores)))
    if every:
        b, scores, _ = done[0]
        for s, score in zip(series, scores, strict=True):
            v = judge([s], [score], b.threshold)
            print(f"    {s.name}: {len(s.values):,} samples, {v.found} of {v.windows} found, {v.false} false")


def compare(nab: Path | None, files: Sequence[Path], made: bool, every: bool) -> None:
    public = read_nab(nab) if nab else []
    if public:
        table("NAB", public, every)
    tables = [s for f in files for s in read_csv(f)]
    if tables:
        table("tables", tables, every)
    if public and tables:
        table("NAB and tables", [*public, *tables])
    if made:
        table("synthetic", synthetic())
