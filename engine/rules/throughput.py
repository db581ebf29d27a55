"""Problem 2, a run that is slower than it could be: starved of data, or slower than it was."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import truediv
from typing import ClassVar

from dctop.engine.rules.base import (
    CRITICAL,
    WARNING,
    Details,
    Ev,
    KeepingRule,
    Needs,
    Outcome,
    Prediction,
    Reading,
    Rule,
    RunRule,
    num,
)
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import median
from dctop.engine.training.runstate import PHASES


class InputBound(RunRule):
    """Share of a step spent waiting for data, median of 50 steps: >= 10 % warning, >= 20 % critical, clear
    below 7 % (TraceML 10/20, TF profiler 5/20); only where it is more than 1 ms a step (toy steps always look
    input-bound). W* = ceil(1.2 P / t_compute) loader processes, P = what one needs for a batch (W x t_step
    while starved, t_data without loaders), at most cores - 1 (Lightning)."""

    id = "input-bound"
    problem = "utilisation"
    kind = "state"
    severities = "wc"
    in_training = True
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn": 0.10,
        "crit": 0.20,
        "clear": 0.07,
        "least_s": 0.001,
        "steps": 50.0,
        "hold_s": 10.0,
    }
    source = "TraceML INPUT_BOUND; TF profiler; Lightning worker formula"

    def judge(self, run: RunWindow) -> Outcome:
        n = int(self.t["steps"])
        step, data = run.median("step_s", n), run.median("data_s", n)
        if step is None or data is None or step <= 0:
            return Needs("steps", str(n))
        share = data / step
        if share < self.t["clear"] or data < self.t["least_s"] * 0.7:
            return ()
        level = 0
        if data > self.t["least_s"]:
            level = CRITICAL if share >= self.t["crit"] else WARNING if share >= self.t["warn"] else 0
        return (Reading(run.id, level, False, lambda: self._details(run, step, data), step=run.step),)

    def _details(self, run: RunWindow, step: float, data: float) -> Details:
        compute = max(step - data, 1e-9)
        workers = run.workers
        p = data if not workers else workers * step
        cores = run.node.num("cpu.count")
        most = max(1, int(cores or 2) - 1)
        wanted = math.ceil(1.2 * p / compute)
        predicted = max(compute, p / min(wanted, most))
        evidence = [
            Ev("share", round(100 * data / step, 2), "%", f">= {100 * self.t['warn']:g} %"),
            Ev("data", data * 1000, "ms", f"> {1000 * self.t['least_s']:g} ms"),
            Ev("compute", compute * 1000, "ms"),
            Ev("step", step * 1000, "ms"),
            Ev("workers", workers),
            Ev("per_batch", p * 1000, "ms"),
        ]
        facts = {
            "run": run.id,
            "share": num(100 * data / step),
            "data": num(data * 1000),
            "workers": num(workers, 9),
            "wanted": min(wanted, most),
            "most": most,
            "before": num(step * 1000),
            "after": num(predicted * 1000),
        }
        if workers and min(wanted, most) <= workers:
            remedies: list[str | tuple[str, Mapping[str, object]]] = ["cache"]  # as many as the cores allow
        elif p / most > compute:
            remedies = ["cache", "workers"]
        else:
            remedies = ["workers", "cache"]
        return Details(evidence, facts, remedies, predicts=Prediction("step_s", predicted))


@dataclass(slots=True)
class _Best:
    """The best 100 steps of a run."""

    rate: float = 0.0
    batch: int | None = None
    phases: dict[str, float] = field(default_factory=dict)
    step_s: float = 0.0
    at: float = 0.0
    judged: int = -1
    """The block of steps looked at last."""


class ThroughputRegression(KeepingRule[_Best]):
    """Samples/s, median of 50 steps, below 0.80 of the run's own best median of 100 for 60 s; clear above
    0.90; below 0.5 critical (SuperBench 5 %, NVRx 0.75; verified: neighbours took 38 to 122 ms). A new batch
    size starts a new best. The remedy is that of the phase that grew most; if all grew alike it is clocks,
    contention or a co-tenant."""

    id = "throughput-regression"
    problem = "utilisation"
    kind = "state"
    severities = "wc"
    in_training = True
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn": 0.80,
        "crit": 0.50,
        "clear": 0.90,
        "steps": 50.0,
        "best_steps": 100.0,
        "hold_s": 60.0,
    }
    source = "SuperBench; NVRx 0.75; verified on a run with busy neighbours"

    def judge(self, run: RunWindow) -> Outcome:
        n, wide = int(self.t["steps"]), int(self.t["best_steps"])
        batch = run.batch
        rates = _rates(run, batch, wide)
        if len(rates) < wide:
            return Needs("steps", str(wide))
        best = self._kept.setdefault(run.id, _Best())
        if best.batch is not None and batch is not None and abs(batch - best.batch) > 0.05 * best.batch:
            best = self._kept[run.id] = _Best()
        self._learn(best, run, rates, wide, batch)
        now = median(rates[-n:])
        if now is None or best.rate <= 0:
            return ()
        ratio = now / best.rate
        if ratio > self.t["clear"]:
            return ()
        level = CRITICAL if ratio < self.t["crit"] else WARNING if ratio < self.t["warn"] else 0
        return (Reading(run.id, level, False, lambda: self._details(run, best, now, n), step=run.step),)

    def _learn(self, best: _Best, run: RunWindow, rates: list[float], wide: int, batch: int | None) -> None:
        """A new best, judged once each 25 steps (by step number, so that replay does the same)."""
        block = (run.step or 0) // 25
        if block == best.judged:
            return
        best.judged = block
        rate = median(rates[-wide:])
        if rate is not None and rate > best.rate:
            best.rate, best.batch, best.at = rate, batch, float(run.step or 0)
            best.step_s = run.median("step_s", wide, 1) or 0.0
            best.phases = _phases(run, wide)

    def _details(self, run: RunWindow, best: _Best, now: float, n: int) -> Details:
        phases = _phases(run, n)
        step = run.median("step_s", n, 1) or 0.0
        growth = {p: phases[p] - best.phases.get(p, 0.0) for p in phases}
        total = step - best.step_s
        worst = max(growth, key=lambda p: (growth[p], p)) if growth else None
        named = worst if worst is not None and total > 0 and growth[worst] > 0.5 * total else None
        evidence = [
            Ev("now", now, "samples/s", f"< {self.t['warn'] * best.rate:.4g} samples/s"),
            Ev("best", best.rate, "samples/s"),
            Ev("ratio", round(now / best.rate, 3), "", f"< {self.t['warn']:g}"),
            Ev("step", step * 1000, "ms"),
            Ev("before", best.step_s * 1000, "ms"),
            *(
                Ev(p, f"{best.phases.get(p, 0.0) * 1000:.3g} -> {v * 1000:.3g}", "ms")
                for p, v in phases.items()
            ),
        ]
        facts = {
            "run": run.id,
            "now": num(now),
            "best": num(best.rate),
            "pct": f"{100 * now / best.rate:.0f}",
            "at": num(best.at, 9),
            "grown": num(None if named is None else growth[named] * 1000),
            "gain": num(best.rate / now if now else None),
        }
        remedy = "all" if named is None else "data" if named == "data" else "phase"
        return Details(evidence, facts | {"phase": named or "-"}, [remedy])


def _rates(run: RunWindow, batch: int | None, most: int) -> list[float]:
    """Samples/s of the newest judged steps with the batch size of now (an epoch's last is often smaller)."""
    if batch is None:
        return []
    low, high = 0.95 * batch, 1.05 * batch
    times, sizes = run.known("step_s"), run.known("samples")
    newest, same = times.values[-most:], sizes.values[-most:]
    whole = len(newest) == most and times.steps[-most:].tobytes() == sizes.steps[-most:].tobytes()
    if whole and low <= min(same) and max(same) <= high and min(newest) > 0:  # as nearly always
        return list(map(truediv, same, newest))
    begin = max(bisect_left(times.steps, run.oldest("step_s")), len(times.steps) - 2 * most)
    steps, newest = times.steps[begin:], times.values[begin:]
    first = bisect_left(sizes.steps, steps[0]) if steps else 0
    size_of = dict(zip(sizes.steps[first:], sizes.values[first:]))
    found = ((size_of.get(s, 0.0), t) for s, t in zip(steps, newest))
    return [n / t for n, t in found if t > 0 and low <= n <= high][-most:]


def _phases(run: RunWindow, n: int) -> dict[str, float]:
    """Median seconds of the phases that are recorded."""
    found = ((p, run.median(f"{p}_s", n, 1)) for p in PHASES)
    return {p: v for p, v in found if v is not None}


RULES: tuple[type[Rule], ...] = (InputBound, ThroughputRegression)
