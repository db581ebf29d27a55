"""Problem 1 before it happens: memory of the GPU, or of the run's memory cgroup, that will not last.

The allocator's numbers come from the run's log, every tenth step; the capacity from the GPU's own reading.
Allocated, not reserved, is what a trend is looked for in: the allocator's cache grows by itself and stops.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, NamedTuple

from dctop.engine.rules import gpu_devices as d
from dctop.engine.rules.base import (
    CRITICAL,
    NOT_APPLICABLE,
    WARNING,
    Details,
    Ev,
    Needs,
    Outcome,
    Prediction,
    Reading,
    Rule,
    RunRule,
    num,
    size,
)
from dctop.engine.rules.memory import MIB, Remedies, batch_that_fits
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import Trend, theil_sen

EVERY = 10
"""Steps from one reading of the allocator to the next (docs/RUNLOG.md)."""


class Memory(NamedTuple):
    """Of the device a run computes on, bytes."""

    gpu: str
    cap: float
    allocated: list[float]
    """Past warm-up, oldest first."""
    reserved: float
    peak: float
    """The highest of the last 50 steps, for batches of different lengths."""
    taken: float
    """What is not our allocator's: other processes, and the contexts."""


def memory_of(run: RunWindow, steps: int = 50) -> Memory | Needs:
    """Needs: the log or the GPU does not say."""
    allocated = run.train("mem_allocated_bytes")
    peaks, reserved = run.train("mem_peak_bytes", steps // EVERY), run.train("mem_reserved_bytes", 1)
    if not allocated or not peaks or not reserved:
        return Needs("field", "mem_peak_bytes")
    w = run.node
    caps = [(cap, g) for g in run.gpus() if (cap := d.num(w, g, "gpu.mem_total_bytes"))]
    if not caps:
        return Needs("series", "gpu.mem_total_bytes")
    cap, gpu = min(caps)
    used = d.num(w, gpu, "gpu.mem_used_bytes") or 0.0
    return Memory(gpu, cap, allocated, reserved[0], max(peaks), max(0.0, used - reserved[0]))


def rising(allocated: list[float], least: float, tau: float) -> Trend | None:
    """Bytes a reading, if it is a slope: that of a step (the buffers of a first evaluation) is none, where
    one rise makes more than half of the growth."""
    growth = allocated[-1] - allocated[0]
    if growth <= least:
        return None
    jump = max(b - a for a, b in pairwise(allocated))
    trend = theil_sen(allocated, 1.0) if jump <= growth / 2 else None
    return trend if trend is not None and trend.tau > tau and trend.slope > 0 else None


class OomPredictedGpu(RunRule):
    """Peak of the last 50 steps >= 92 % of the device's memory warning, >= 97 % critical, clear below 88 %
    (TraceML 0.92/0.97); or allocated memory rises (Theil-Sen over at least 50 steps, Kendall's tau > 0.5) and
    reaches the capacity within 500 steps and before the run's last step. B_fit as in oom-cuda, with what
    others hold of the device taken off."""

    id = "oom-predicted-gpu"
    problem = "oom"
    kind = "state"
    severities = "wc"
    probes = ("gpu",)
    in_training = True
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn_pct": 92.0, "crit_pct": 97.0, "clear_pct": 88.0, "tau": 0.5, "steps": 50.0, "within": 500.0,
        "least_mib": 16.0, "fill": 0.90, "every_steps": 50.0, "hold_s": 0.0,
    }  # fmt: skip
    source = "TraceML 0.92/0.97, 50 steps; torch cuda/memory.py"

    def judge(self, run: RunWindow) -> Outcome:
        if run.on_cpu:
            return NOT_APPLICABLE
        m = memory_of(run, int(self.t["steps"]))
        if isinstance(m, Needs):
            return m
        share = 100.0 * m.peak / m.cap
        trend, steps = None, None
        if len(m.allocated) > self.t["steps"] / EVERY:
            trend = rising(m.allocated, self.t["least_mib"] * MIB, self.t["tau"])
        if trend is not None:
            steps = max(0.0, m.cap - m.taken - m.peak) / (trend.slope / EVERY)
        left = None if run.run.total_steps is None else run.run.total_steps - (run.step or 0)
        soon = steps is not None and steps < min(self.t["within"], self.t["within"] if left is None else left)
        level = CRITICAL if share >= self.t["crit_pct"] else 0
        if not level and (soon or share >= self.t["warn_pct"]):
            level = WARNING
        if not level and share < self.t["clear_pct"]:
            return ()
        return (
            Reading(run.id, level, False, lambda: self._details(run, m, trend, steps, soon), step=run.step),
        )

    def _details(
        self, run: RunWindow, m: Memory, trend: Trend | None, steps: float | None, soon: bool
    ) -> Details:
        slope = None if trend is None else trend.slope / EVERY / MIB
        evidence = [
            Ev("peak", m.peak, "bytes"),
            Ev("share", round(100.0 * m.peak / m.cap, 1), "%", f">= {self.t['warn_pct']:g} %"),
            Ev("cap", m.cap, "bytes"),
            Ev("allocated", m.allocated[-1], "bytes"),
            Ev("reserved", m.reserved, "bytes"),
            Ev("taken", m.taken or None, "bytes"),
            Ev("slope", None if slope is None else round(slope, 3), "MiB/step", "> 0"),
            Ev("tau", None if trend is None else round(trend.tau, 2), "", f"> {self.t['tau']:g}"),
            Ev("steps", None if steps is None else round(steps), "steps", f"< {self.t['within']:g} steps"),
        ]
        fit = batch_that_fits(
            m.cap, m.allocated[0 if soon else -1], m.peak, run.batch, self.t["fill"], m.taken
        )
        remedies: Remedies = [fit, "bf16", "checkpointing"]
        if soon:
            remedies.insert(0, ("creep", {"slope": num(slope)}))
        facts = {
            "run": run.id, "gpu": d.number(run.node, m.gpu), "share": f"{100.0 * m.peak / m.cap:.0f}",
            "peak": size(m.peak), "cap": size(m.cap), "batch": num(run.batch, 9),
            "steps": num(steps, 9 if steps is not None and steps < 1e9 else 3),
            "at": num(None if steps is None else (run.step or 0) + steps, 9),
        }  # fmt: skip
        promised = None if soon else Prediction("survives", float(run.step or 0))
        return Details(evidence, facts, remedies, variant="soon" if soon else None, predicts=promised)


class GpuMemCreep(RunRule):
    """Memory allocated at the same point of the step (after the gradients were freed) rises for 200 steps:
    Kendall's tau > 0.6 and growth above the larger of 1 % of the capacity and 100 MiB; from 1 GiB on it
    counts as confirmed. Buffers that a first evaluation allocates are a step, not a slope (TraceML CREEP)."""

    id = "gpu-mem-creep"
    problem = "oom"
    kind = "state"
    severities = "w"
    probes = ("gpu",)
    in_training = True
    thresholds: ClassVar[Mapping[str, float]] = {
        "steps": 200.0,
        "tau": 0.6,
        "cap_pct": 1.0,
        "least_mib": 100.0,
        "confirmed_mib": 1024.0,
        "every_steps": 100.0,
        "hold_s": 0.0,
    }
    source = "TraceML CREEP: 50 steps, 100 MiB, 1 GiB confirmed"

    def judge(self, run: RunWindow) -> Outcome:
        if run.on_cpu:
            return NOT_APPLICABLE
        m = memory_of(run)
        if isinstance(m, Needs):
            return m
        if len(m.allocated) < self.t["steps"] / EVERY:
            return Needs("steps", f"{self.t['steps']:g}")
        least = max(self.t["cap_pct"] / 100.0 * m.cap, self.t["least_mib"] * MIB)
        trend = rising(m.allocated, least, self.t["tau"])
        if trend is None:
            return ()
        return (Reading(run.id, WARNING, False, lambda: self._details(run, m, trend, least), step=run.step),)

    def _details(self, run: RunWindow, m: Memory, trend: Trend, least: float) -> Details:
        growth, slope = m.allocated[-1] - m.allocated[0], trend.slope / EVERY
        left = max(0.0, m.cap - m.taken - m.peak)
        crash = (run.step or 0) + left / slope
        first = (run.step or 0) - EVERY * (len(m.allocated) - 1)
        sure = growth >= self.t["confirmed_mib"] * MIB
        evidence = [
            Ev("slope", round(slope / MIB, 3), "MiB/step", "> 0"),
            Ev("growth", growth, "bytes", f"> {size(least)}"),
            Ev("tau", round(trend.tau, 2), "", f"> {self.t['tau']:g}"),
            Ev("since", max(1, first)),
            Ev("allocated", m.allocated[-1], "bytes"),
            Ev("left", left, "bytes"),
            Ev("sure", "yes" if sure else "no", "", f">= {self.t['confirmed_mib']:g} MiB"),
            Ev("crash", round(crash)),
        ]
        facts = {"run": run.id, "slope": num(slope / MIB), "growth": size(growth), "since": max(1, first),
                 "crash": num(crash, 12), "gpu": d.number(run.node, m.gpu)}  # fmt: skip
        return Details(evidence, facts, ["keep", "lists", "save"])


class GpuMemFragmentation(RunRule):
    """The allocator holds more than 80 % of the device and more than 30 % of that was not in use at the peak,
    clear at 20 %; or it had to give everything back and ask again at least once in 100 steps. Much held after
    a large evaluation is harmless as long as nothing has to be asked for again and 10 % of the device are
    free (torch docs; TraceML reserved/allocated)."""

    id = "gpu-mem-fragmentation"
    problem = "oom"
    kind = "state"
    severities = "w"
    probes = ("gpu",)
    in_training = True
    thresholds: ClassVar[Mapping[str, float]] = {
        "held_pct": 80.0,
        "unused_pct": 30.0,
        "clear_pct": 20.0,
        "retries": 1.0,
        "steps": 100.0,
        "free_pct": 10.0,
        "every_steps": 100.0,
        "hold_s": 0.0,
    }
    source = "torch CUDA allocator docs; TraceML reserved / allocated >= 2 from 30 % of the device on"

    def judge(self, run: RunWindow) -> Outcome:
        if run.on_cpu:
            return NOT_APPLICABLE
        m = memory_of(run)
        if isinstance(m, Needs):
            return m
        counts = run.train("mem_retries", int(self.t["steps"] / EVERY) + 1)
        retries = None if len(counts) < 2 else max(0.0, counts[-1] - counts[0])
        unused = 100.0 * (m.reserved - m.peak) / m.reserved if m.reserved > 0 else 0.0
        free = 100.0 * (m.cap - m.taken - m.reserved) / m.cap
        again = retries is not None and retries >= self.t["retries"]
        held = 100.0 * m.reserved / m.cap > self.t["held_pct"] and unused > self.t["unused_pct"]
        tight = held and free < self.t["free_pct"]
        if not again and not tight and unused < self.t["clear_pct"]:
            return ()
        level = WARNING if again or tight else 0
        if not level and not held:
            return ()
        return (
            Reading(
                run.id, level, False, lambda: self._details(run, m, unused, retries, free), step=run.step
            ),
        )

    def _details(
        self, run: RunWindow, m: Memory, unused: float, retries: float | None, free: float
    ) -> Details:
        inactive = run.train("mem_inactive_bytes", 1)
        evidence = [
            Ev("reserved", m.reserved, "bytes", f"> {self.t['held_pct']:g} % of {size(m.cap)}"),
            Ev("peak", m.peak, "bytes"),
            Ev("unused", round(unused, 1), "%", f"> {self.t['unused_pct']:g} %"),
            Ev("inactive", inactive[-1] if inactive else None, "bytes"),
            Ev("retries", retries, "", f">= {self.t['retries']:g} in {self.t['steps']:g} steps"),
            Ev("free", round(free, 1), "%", f"< {self.t['free_pct']:g} %"),
        ]
        spare = max(0.0, m.reserved - m.peak)
        facts = {"run": run.id, "spare": size(spare), "unused": f"{unused:.0f}", "reserved": size(m.reserved),
                 "retries": num(retries, 9), "gpu": d.number(run.node, m.gpu)}  # fmt: skip
        return Details(evidence, facts, ["expandable", "shapes"])


class OomPredictedHost(RunRule):
    """RssAnon of the worker (file pages can be dropped, these cannot) >= 92 % of the limit of the memory
    cgroup it began in: warning, >= 97 % critical, clear below 88 %. What its loader processes hold comes on
    top. The kernel kills at the limit; a slow rise towards it is host-mem-leak's."""

    id = "oom-predicted-host"
    problem = "oom"
    kind = "state"
    severities = "wc"
    in_training = True
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn_pct": 92.0, "crit_pct": 97.0, "clear_pct": 88.0, "headroom": 1.2,
        "every_steps": 10.0, "hold_s": 0.0,
    }  # fmt: skip
    source = "TraceML 0.92/0.97 on the cgroup's limit; verified: kills in memory cgroups"

    def judge(self, run: RunWindow) -> Outcome:
        limit = run.memory_limit
        if limit is None:
            return NOT_APPLICABLE
        used = run.train("rss_anon_bytes", 1)
        if not used:
            return Needs("field", "rss_anon_bytes")
        share = 100.0 * used[-1] / limit
        if share < self.t["clear_pct"]:
            return ()
        level = CRITICAL if share >= self.t["crit_pct"] else WARNING if share >= self.t["warn_pct"] else 0
        return (Reading(run.id, level, False, lambda: self._details(run, used[-1], limit), step=run.step),)

    def _details(self, run: RunWindow, used: float, limit: int) -> Details:
        share, batch = 100.0 * used / limit, run.batch
        evidence = [
            Ev("rss", used, "bytes"),
            Ev("limit", limit, "bytes"),
            Ev("share", round(share, 1), "%", f">= {self.t['warn_pct']:g} %"),
            Ev("workers", run.workers),
            Ev("batch", batch, "samples"),
        ]
        remedies: Remedies = [("limit", {"wanted": size(self.t["headroom"] * used)})]
        if batch and batch > 1:
            remedies.append(("half", {"half": batch // 2}))
        if run.workers:
            remedies.append(("workers", {"fewer": run.workers - 1}))
        facts = {"run": run.id, "share": f"{share:.0f}", "limit": size(limit), "left": size(limit - used),
                 "batch": num(batch, 9), "workers": num(run.workers, 9)}  # fmt: skip
        return Details(evidence, facts, remedies)


RULES: tuple[type[Rule], ...] = (OomPredictedGpu, GpuMemCreep, GpuMemFragmentation, OomPredictedHost)
