"""Problem 2 on several GPUs: their work is unequally spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dctop.engine.rules import gpu_devices as d
from dctop.engine.rules.base import (
    NOT_APPLICABLE,
    WARNING,
    Details,
    Ev,
    Outcome,
    Prediction,
    Reading,
    Rule,
    num,
)
from dctop.engine.rules.gpu_devices import gpu_key
from dctop.engine.rules.gpu_running import LEAST_S, GpuRunRule, N, Remedies, not_told
from dctop.engine.rules.ranks import balanced
from dctop.engine.rules.runwindow import RunWindow


class GpuImbalance(GpuRunRule):
    """GPUs of one run: largest and smallest utilisation more than 30 points apart over 60 s of training, or
    one rank computes 1.3 times as long as another, for 60 s; clear below 20 points and 1.2. Memory 20 % apart
    counts only where the fullest is above 30 %. In an evaluation only rank 0 works: not judged; MIG slices
    differ by design: left out (TraceML skew 20/30, pressure 30/50; TensorBoard plugin)."""

    id = "gpu-imbalance"
    severities = "w"
    probes = ("gpu",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "points": 30.0, "ratio": 1.3, "mem_points": 20.0, "mem_pct": 30.0, "every_s": 5.0, "hold_s": 60.0,
    }  # fmt: skip
    source = "TraceML skew 20/30 with pressure 30/50; TensorBoard plugin (use DDP)"

    def look(self, run: RunWindow) -> Outcome:
        gpus = run.gpus()
        if len(gpus) < 2:
            return NOT_APPLICABLE
        seconds = min(60.0, run.mode_s())
        w = run.node
        utils = [w.mean(gpu_key("gpu.util_pct", g), seconds) for g in gpus]
        if seconds < LEAST_S or any(u is None for u in utils):
            return not_told(run)
        known = [u for u in utils if u is not None]
        apart = max(known) - min(known)
        works = [r.compute_s for r in run.run.ranks if r.compute_s]
        ratio = max(works) / min(works) if len(works) == len(gpus) else 1.0
        fill = [m for g in gpus if (m := memory_pct(run, g)) is not None]
        uneven = len(fill) == len(gpus) and max(fill) - min(fill) >= self.t["mem_points"]
        full = uneven and max(fill) >= self.t["mem_pct"]
        met = apart > self.t["points"] or ratio > self.t["ratio"] or full
        if not met and apart < self.t["points"] - 10 and ratio < self.t["ratio"] - 0.1:
            return ()
        level = WARNING if met else 0
        return (
            Reading(
                run.id, level, False, lambda: self._details(run, known, apart, ratio, fill), step=run.step
            ),
        )

    def _details(
        self, run: RunWindow, utils: list[float], apart: float, ratio: float, fill: list[float]
    ) -> Details:
        names = [d.number(run.node, g) for g in run.gpus()]
        low = names[utils.index(min(utils))]
        evidence = [
            Ev("utils", ", ".join(f"{n}: {u:.0f}" for n, u in zip(names, utils, strict=True)), "%"),
            Ev("apart", round(apart, 1), "pp", f"> {self.t['points']:g} pp"),
            Ev("ratio", round(ratio, 2), "", f"> {self.t['ratio']:g}"),
            Ev("memory", ", ".join(f"{n}: {m:.0f}" for n, m in zip(names, fill, strict=False)) or None, "%"),
        ]
        split = balanced(run.run.ranks)
        step = run.median("step_s", N)
        remedies: Remedies = ["ddp", "bucket"]
        predicts = None
        if split is not None:
            sizes = ", ".join(f"{r.rank}: {b}" for r, b in zip(run.run.ranks, split[0], strict=True))
            remedies.insert(0, ("balance", {"sizes": sizes, "after": num(1000 * split[1])}))
            predicts = Prediction("step_s", split[1])
        facts = {"run": run.id, "apart": num(apart), "ratio": num(ratio), "low": low, "gpus": len(names),
                 "before": num(None if step is None else 1000 * step)}  # fmt: skip
        return Details(evidence, facts, remedies, predicts=predicts)


def memory_pct(run: RunWindow, gpu: str) -> float | None:
    used, total = d.num(run.node, gpu, "gpu.mem_used_bytes"), d.num(run.node, gpu, "gpu.mem_total_bytes")
    return None if used is None or not total else 100.0 * used / total


RULES: tuple[type[Rule], ...] = (GpuImbalance,)
