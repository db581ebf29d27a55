"""Problem 2 on a GPU: it could do more, as its own figures show over a minute.

`gpu-underutilised` is only the symptom. Its children look at one thing each: the host issues too slowly
(`launch-bound`), stands still for the device (`sync-stall`) or copies (`h2d-bound`; all three in
gpu_host.py), one thread burns a core (`cpu-single-core`), the work is unequally spread (gpu_spread.py). A run
that is not on the GPU at all, or in the wrong arithmetic, is gpu_choice.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dctop.engine.rules import gpu_devices as d
from dctop.engine.rules.base import (
    CRITICAL,
    WARNING,
    Details,
    Ev,
    Needs,
    Outcome,
    Reading,
    Rule,
    num,
)
from dctop.engine.rules.gpu_devices import gpu_key
from dctop.engine.rules.gpu_running import (
    GpuRunRule,
    N,
    Remedies,
    ahead,
    bigger,
    blocked,
    busy_of,
    copying,
    not_told,
)
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import NS


class GpuUnderutilised(GpuRunRule):
    """Busy SMs (GPM; where there is none the utilisation, which is 100 % with a single busy SM) of the run's
    GPUs below 50 % on average over 60 s of training: warning, below 30 % after 5 minutes critical; clear
    above 60 % (TensorBoard plugin 0.5, TraceML 30/70). A symptom: it names the largest child, or says that it
    found none and what it ruled out."""

    id = "gpu-underutilised"
    severities = "wc"
    every_tick = True
    probes = ("gpu",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn_pct": 50.0, "crit_pct": 30.0, "clear_pct": 60.0, "crit_s": 300.0,
        "every_s": 5.0, "hold_s": 30.0,
    }  # fmt: skip
    source = "TensorBoard plugin 0.5; TraceML 30/70; SageMaker LowGPUUtilization"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._low: dict[str, int] = {}
        """Run -> since when it has been below the critical threshold."""

    def forget(self, run_id: str) -> None:
        self._low.pop(run_id, None)

    def judge(self, run: RunWindow) -> Outcome:
        found = super().judge(run)
        if isinstance(found, Needs):
            self._low.pop(run.id, None)
        return found

    def look(self, run: RunWindow) -> Outcome:
        w = run.node
        still = (w.mono_ns - run.changed_mono_ns) / NS > max(5.0, 3 * (run.median("step_s", N, 1) or 0.0))
        used = None if still else busy_of(run)  # that it stands still is another rule's
        if used is None:
            return not_told(run)
        if used >= self.t["crit_pct"]:
            self._low.pop(run.id, None)
        if used > self.t["clear_pct"]:
            return ()
        since = self._low.setdefault(run.id, w.mono_ns) if used < self.t["crit_pct"] else w.mono_ns
        level = WARNING if used < self.t["warn_pct"] else 0
        # Of this stretch of training: in an evaluation before it nothing was judged.
        if min((w.mono_ns - since) / NS, run.mode_s()) >= self.t["crit_s"]:
            level = CRITICAL
        return (Reading(run.id, level, False, lambda: self._details(run, used), step=run.step),)

    def _details(self, run: RunWindow, used: float) -> Details:
        w = run.node
        utils = [u for g in run.gpus() if (u := w.mean(gpu_key("gpu.util_pct", g), 60.0)) is not None]
        actives = [a for g in run.gpus() if (a := w.mean(gpu_key("gpu.sm_active_pct", g), 60.0)) is not None]
        throttled = [g for g in run.gpus() if int(d.num(w, g, "gpu.throttle_mask") or 0) & 0xEC]
        scores = self.scores(run)
        # In the order of `scores`: where several are over their limit, the first explains those after it.
        child = next(
            (c for c, (value, limit) in scores.items() if value is not None and value >= limit), None
        )
        evidence = [
            Ev("util", round(sum(utils) / len(utils), 1) if utils else None, "%"),
            Ev("active", round(sum(actives) / len(actives), 1) if actives else None, "%"),
            Ev("used", round(used, 1), "%", f"< {self.t['warn_pct']:g} %"),
            *(
                Ev(c, None if v is None else round(100 * v, 1), "%", f">= {100 * limit:g} %")
                for c, (v, limit) in scores.items()
            ),
            Ev("throttled", len(throttled) or None),
        ]
        ruled = tuple(c for c, (value, limit) in scores.items() if value is not None and value < limit)
        if not throttled:
            ruled += ("throttle",)
        facts = {
            "run": run.id,
            "used": num(used),
            "gpus": len(run.gpus()),
            "headroom": num(100.0 / max(used, 1.0)),
            "value": num(None if child is None else 100 * (scores[child][0] or 0.0)),
        }
        return Details(evidence, facts, [child or "unexplained"], ruled, variant=child or "unexplained")

    def scores(self, run: RunWindow) -> dict[str, tuple[float | None, float]]:
        """Child -> (its share, from which on it counts), causes before what follows from them."""
        return {
            "input": (run.share("data_s"), 0.10),
            "copy": (copying(run), 0.10),
            "sync": (blocked(run), 0.05),
            "launch": (ahead(run), 0.80),
            "core": (run.share("cpu_s"), 0.95),
        }


class CpuSingleCore(GpuRunRule):
    """CPU time of the training thread >= 95 % of wall time (one core) while its GPUs are below 50 % and
    waiting for data below 10 % of a step, for 60 s. A thread that spins while it waits for the device burns a
    core as well: then the device is behind, so it counts only where the device was waiting for the host in
    most steps (SageMaker CPUBottleneck)."""

    id = "cpu-single-core"
    severities = "w"
    probes = ("gpu",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "core": 0.95, "clear_core": 0.90, "util_pct": 50.0, "data": 0.10, "ahead": 0.50,
        "every_s": 5.0, "hold_s": 60.0,
    }  # fmt: skip
    source = "SageMaker CPUBottleneck; cudaDeviceScheduleSpin"

    def look(self, run: RunWindow) -> Outcome:
        core, data, waits = run.share("cpu_s"), run.share("data_s"), ahead(run)
        if core is None or data is None:
            return Needs("steps", str(N))
        if waits is None:
            return Needs("field", "gpu_ahead")
        if core < self.t["clear_core"] or waits < self.t["ahead"]:
            return ()
        used = busy_of(run)
        if used is None:
            return not_told(run)
        if used > self.t["util_pct"] + 10:
            return ()
        met = core >= self.t["core"] and used < self.t["util_pct"] and data < self.t["data"]
        level = WARNING if met else 0
        return (Reading(run.id, level, False, lambda: self._details(run, core, used, waits), step=run.step),)

    def _details(self, run: RunWindow, core: float, used: float, waits: float) -> Details:
        step, batch = run.median("step_s", N) or 0.0, run.batch
        evidence = [
            Ev("core", round(100 * core, 1), "%", f">= {100 * self.t['core']:g} %"),
            Ev("used", round(used, 1), "%", f"< {self.t['util_pct']:g} %"),
            Ev("ahead", round(100 * waits), "%", f">= {100 * self.t['ahead']:g} %"),
            Ev("step", 1000 * step, "ms"),
        ]
        larger = bigger(batch, used)
        facts = {"run": run.id, "core": num(100 * core), "used": num(used), "batch": num(batch, 9),
                 "larger": num(larger, 9), "step": num(1000 * step),
                 "gain": num(None if not batch or larger is None else larger / batch)}  # fmt: skip
        remedies: Remedies = ["graphs", "batch", "fused"] if larger else ["graphs", "fused"]
        return Details(evidence, facts, remedies)


RULES: tuple[type[Rule], ...] = (GpuUnderutilised, CpuSingleCore)
