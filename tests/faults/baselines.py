"""Detectors of others, re-implemented from their sources, on the same logs and with the same scorer's rules.

Each takes the losses (or gradient norms) of one run and gives the steps (0-based) at which it alarms; alarms
closer than 20 steps are one. They rank; they are not their authors' programs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, median, pstdev

from dctop.engine.training.runstate import RunState
from tests.faults.score import Scored

QUIET = 20
Steps = list[int]


def z_score(x: Sequence[float]) -> Steps:
    """z > 2.5 over the last 50 (TrainSight)."""
    out = []
    for i in range(50, len(x)):
        window = [v for v in x[i - 50 : i] if math.isfinite(v)]
        spread = pstdev(window) if len(window) > 1 else 0.0
        if spread > 0 and (x[i] - fmean(window)) / spread > 2.5:
            out.append(i)
    return out


def lightning(x: Sequence[float]) -> Steps:
    """Fabric's SpikeDetection, defaults: running mean, warm-up 10, rtol 2, and its check of finiteness."""
    out: Steps = []
    mean: float | None = None
    for i, v in enumerate(x):
        if not math.isfinite(v):
            out.append(i)
            continue
        if mean is not None and i >= 10 and v - mean > 2.0 * abs(mean):
            out.append(i)
            continue
        mean = v if mean is None else mean + (v - mean) / min(i + 1, 10)
    return out


def llm_foundry(x: Sequence[float]) -> Steps:
    """KillLossSpike: 5 in a row above twice the mean of the last 100, or not finite."""
    out, run = [], 0
    for i in range(100, len(x)):
        window = [v for v in x[i - 100 : i] if math.isfinite(v)]
        high = not math.isfinite(x[i]) or (bool(window) and x[i] >= 2 * fmean(window))
        run = run + 1 if high else 0
        if run >= 5:
            out.append(i)
    return out


def not_decreasing(x: Sequence[float]) -> Steps:
    """SageMaker LossNotDecreasing, defaults: looked at every 10 steps, must fall by 0.1 %."""
    return [
        i for i in range(10, len(x), 10) if not x[i] <= x[i - 10] * (1 - 0.001)
    ]  # not <=: also what is not a number


def not_finite(x: Sequence[float]) -> Steps:
    return [i for i, v in enumerate(x) if not math.isfinite(v)]


def gradient(x: Sequence[float]) -> Steps:
    """A norm above 10 x the median of the last 100."""
    out = []
    for i in range(100, len(x)):
        window = [v for v in x[i - 100 : i] if math.isfinite(v)]
        if window and x[i] > 10 * median(window):
            out.append(i)
    return out


DETECTORS: dict[str, tuple[str, Callable[[Sequence[float]], Steps]]] = {
    "z-score > 2.5, window 50 (TrainSight)": ("loss", z_score),
    "SpikeDetection defaults (Lightning)": ("loss", lightning),
    "KillLossSpike (llm-foundry)": ("loss", llm_foundry),
    "LossNotDecreasing defaults (SageMaker)": ("loss", not_decreasing),
    "loss not finite": ("loss", not_finite),
    "gradient norm > 10 x median of 100": ("grad_norm", gradient),
}
SUDDEN = ("nan", "lr", "labels-permuted", "input-scale")
"""Faults that begin in the middle of a run and show in its loss."""
OURS = ("loss-nonfinite", "loss-spike", "loss-diverging", "grad-exploding")


def episodes(steps: Iterable[int]) -> Steps:
    out: Steps = []
    last: int | None = None
    for s in steps:
        if last is None or s - last > QUIET:
            out.append(s)
        last = s
    return out


def _column(run: RunState, name: str) -> list[float]:
    return list(run.columns[name])


def table(scored: Sequence[Scored]) -> list[tuple[str, int, int, int, int, float | None]]:
    """(name, false alarms, healthy steps, caught, planted, median delay in steps)."""
    # A measurement of inference has neither loss nor gradients.
    trained = [s for s in scored if s.judged.plan.case.infer is None]
    logs = [s for s in trained if s.judged.run is not None and not s.judged.plan.case.frames]
    healthy = [s for s in logs if not s.judged.plan.case.roots]
    planted = [s for s in logs if s.judged.plan.case.name in SUDDEN and s.judged.plan.size_name != "mild"]
    rows = []
    for name, (column, detect) in DETECTORS.items():
        false = steps = caught = 0
        delays: list[float] = []
        for s in (*healthy, *planted):
            run = s.judged.run
            assert run is not None
            alarms = detect(_column(run, column))
            numbers = list(run.columns["step"])
            t0 = s.judged.truth["step0"] if s in planted else math.inf
            false += len([a for a in episodes(alarms) if numbers[a] < t0])
            steps += sum(n < t0 for n in numbers)
            hits = [numbers[a] - t0 for a in alarms if t0 <= numbers[a] <= t0 + 100]
            if s in planted and hits:
                caught += 1
                delays.append(hits[0])
        rows.append((name, false, steps, caught, len(planted), median(delays) if delays else None))
    ours = [[x for x in s.judged.sightings if x.rule in OURS] for s in (*healthy, *planted)]
    false, caught, own = 0, 0, []
    for s, seen in zip((*healthy, *planted), ours):
        t0 = s.judged.truth["step0"] if s in planted else math.inf
        false += sum((x.step or 0) < t0 for x in seen)
        hits = [(x.step or 0) - t0 for x in seen if t0 <= (x.step or 0) <= t0 + 100]
        if s in planted and hits:
            caught += 1
            own.append(min(hits))
    steps = rows[0][2] if rows else 0
    rows.insert(
        0, ("dctop: " + ", ".join(OURS), false, steps, caught, len(planted), median(own) if own else None)
    )
    return rows
