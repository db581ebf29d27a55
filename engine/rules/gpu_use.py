"""Problem 2 on a GPU: it could do more, and what keeps it from that.

`gpu-underutilised` is only the symptom. Its children look at one thing each: the host issues too slowly
(`launch-bound`, `cpu-single-core`), stands still for the device (`sync-stall`), copies (`h2d-bound`), the
work is unequally spread (`gpu-imbalance`). A run that is not on the GPU at all, or in the wrong arithmetic,
is gpu_choice.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dctop.engine.rules import gpu_devices as d
from dctop.engine.rules.base import (
    CRITICAL,
    INFO,
    NOT_APPLICABLE,
    WARNING,
    Details,
    Ev,
    Needs,
    Outcome,
    PacedRule,
    Prediction,
    Reading,
    Rule,
    RunRule,
    num,
)
from dctop.engine.rules.gpu_devices import gpu_key
from dctop.engine.rules.gpu_states import bandwidth
from dctop.engine.rules.ranks import balanced
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import NS, median

Remedies = list[str | tuple[str, Mapping[str, object]]]
UNKNOWN = -1
N = 50
SYNCS = 5
"""Timed steps the time of blocking calls is a median of: one in twenty is timed."""
LEAST_S = 20.0
"""A mean over less than this since training began (or went on after an evaluation) is not judged."""


def ahead(run: RunWindow) -> float | None:
    """Share of the last 50 steps at whose end the device waited for the host, 0-1."""
    values = run.train("gpu_ahead", N)
    return sum(values) / len(values) if len(values) >= N else None


def blocked(run: RunWindow) -> float | None:
    """Share of a step in which the host is blocked in a call that waits for the device."""
    values, step = run.newest("sync_s", SYNCS), run.median("step_s", N)
    return None if len(values) < SYNCS or not step else (median(values) or 0.0) / step


def copying(run: RunWindow) -> float | None:
    """Share of a step that the device copies and prepares inputs, by its own clock: what an asynchronous copy
    takes of the host says nothing."""
    return run.share("h2d_gpu_s", "gpu_s", N)


def busy(run: RunWindow, gpu: str, seconds: float = 60.0) -> float | None:
    """Mean share of busy SMs; where the device does not tell that, of the time in which any kernel ran."""
    active = run.node.mean(gpu_key("gpu.sm_active_pct", gpu), seconds)
    return run.node.mean(gpu_key("gpu.util_pct", gpu), seconds) if active is None else active


def busy_of(run: RunWindow) -> float | None:
    """The mean over its GPUs, %; None while it has not trained for long enough, or a GPU cannot be read."""
    seconds = min(60.0, run.mode_s())
    if seconds < LEAST_S:
        return None
    values = [busy(run, g, seconds) for g in run.gpus()]
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def no_gpu(run: RunWindow) -> Outcome | None:
    """Why a rule about the GPUs of a run in training cannot judge. None: it can."""
    if not run.training or run.on_cpu:
        return NOT_APPLICABLE
    if not run.gpus():
        missing = d.missing(run.node, "gpu.util_pct")
        return Needs("series", "gpu.util_pct") if missing is None or missing is NOT_APPLICABLE else missing
    return None


class GpuUnderutilised(PacedRule):
    """Busy SMs (GPM; where there is none the utilisation, which is 100 % with a single busy SM) of the run's
    GPUs below 50 % on average over 60 s of training: warning, below 30 % after 5 minutes critical; clear
    above 60 % (TensorBoard plugin 0.5, TraceML 30/70). A symptom: it names the largest child, or says that it
    found none and what it ruled out."""

    id = "gpu-underutilised"
    problem = "utilisation"
    kind = "state"
    severities = "wc"
    every_tick = True
    probes = ("gpu",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn_pct": 50.0, "crit_pct": 30.0, "clear_pct": 60.0, "crit_s": 300.0, "hold_s": 30.0,
    }  # fmt: skip
    source = "TensorBoard plugin 0.5; TraceML 30/70; SageMaker LowGPUUtilization"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._low: dict[str, int] = {}
        """Run -> since when it has been below the critical threshold."""

    def forget(self, run_id: str) -> None:
        super().forget(run_id)
        self._low.pop(run_id, None)

    def look(self, run: RunWindow) -> Outcome:
        missing = no_gpu(run)
        if missing is not None:
            self._low.pop(run.id, None)
            return missing
        w = run.node
        still = (w.mono_ns - run.changed_mono_ns) / NS > max(5.0, 3 * (run.median("step_s", N, 1) or 0.0))
        used = None if still else busy_of(run)  # that it stands still is another rule's
        if used is None:
            return (Reading(run.id, UNKNOWN, False),)
        if used >= self.t["crit_pct"]:
            self._low.pop(run.id, None)
        if used > self.t["clear_pct"]:
            return ()
        since = self._low.setdefault(run.id, w.mono_ns) if used < self.t["crit_pct"] else w.mono_ns
        level = WARNING if used < self.t["warn_pct"] else 0
        if (w.mono_ns - since) / NS >= self.t["crit_s"]:
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


class CpuSingleCore(PacedRule):
    """CPU time of the training thread >= 95 % of wall time (one core) while its GPUs are below 50 % and
    waiting for data below 10 % of a step, for 60 s. A thread that spins while it waits for the device burns a
    core as well: then the device is behind, so it counts only where the device was waiting for the host in
    most steps (SageMaker CPUBottleneck)."""

    id = "cpu-single-core"
    problem = "utilisation"
    kind = "state"
    severities = "w"
    probes = ("gpu",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "core": 0.95, "clear_core": 0.90, "util_pct": 50.0, "data": 0.10, "ahead": 0.50, "hold_s": 60.0,
    }  # fmt: skip
    source = "SageMaker CPUBottleneck; cudaDeviceScheduleSpin"

    def look(self, run: RunWindow) -> Outcome:
        missing = no_gpu(run)
        if missing is not None:
            return missing
        core, data, waits = run.share("cpu_s"), run.share("data_s"), ahead(run)
        if core is None or data is None:
            return Needs("steps", str(N))
        if waits is None:
            return Needs("field", "gpu_ahead")
        if core < self.t["clear_core"] or waits < self.t["ahead"]:
            return ()
        used = busy_of(run)
        if used is None:
            return (Reading(run.id, UNKNOWN, False),)
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


def bigger(batch: int | None, used_pct: float | None) -> int | None:
    """The batch, in doublings, at which the device would be busy for most of a step of today's length."""
    if not batch or used_pct is None:
        return None
    n = batch
    while used_pct * 2 * n / batch <= 100.0 and n < 16 * batch:
        n *= 2
    return n if n > batch else None


class LaunchBound(RunRule):
    """Right after the host issued the update the device was already through with the loss, in >= 80 % of the
    last 50 steps (clear below 60 %), with f_data and f_h2d below 10 %: the device waits for launches. A call
    that waits for the device in each step empties its queue as well: not judged so where the host is blocked
    for 5 % of a step or more. The batch is raised until doubling it gains less than 10 %."""

    id = "launch-bound"
    problem = "utilisation"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "ahead": 0.80, "clear": 0.60, "data": 0.10, "h2d": 0.10, "sync": 0.05, "hold_s": 10.0,
    }  # fmt: skip
    source = (
        "run-ahead probe of the worker (simulated: no GPU seen it yet); tuning playbook on throughput vs B"
    )

    def judge(self, run: RunWindow) -> Outcome:
        if not run.training or run.on_cpu:
            return NOT_APPLICABLE
        waits = ahead(run)
        if waits is None:
            return Needs("field", "gpu_ahead")
        if waits < self.t["clear"]:
            return ()
        data, copy, sync = run.share("data_s"), copying(run), blocked(run)
        if data is None or copy is None:
            return Needs("field", "h2d_gpu_s")
        if sync is None:
            return Needs("field", "sync_s")
        if data >= self.t["data"] or copy >= self.t["h2d"] or sync >= self.t["sync"]:
            return ()
        level = WARNING if waits >= self.t["ahead"] else 0
        return (Reading(run.id, level, False, lambda: self._details(run, waits, data, copy), step=run.step),)

    def _details(self, run: RunWindow, waits: float, data: float, copy: float) -> Details:
        step, batch, host = run.median("step_s", N) or 0.0, run.batch, run.median("cpu_s", N)
        used = busy_of(run)
        larger = bigger(batch, used)
        evidence = [
            Ev("ahead", round(100 * waits), "%", f">= {100 * self.t['ahead']:g} %"),
            Ev("data", round(100 * data, 1), "%", f"< {100 * self.t['data']:g} %"),
            Ev("copy", round(100 * copy, 1), "%", f"< {100 * self.t['h2d']:g} %"),
            Ev("issue", None if host is None else 1000 * host, "ms"),
            Ev("step", 1000 * step, "ms"),
            Ev("used", None if used is None else round(used, 1), "%"),
            Ev("batch", batch, "samples"),
        ]
        now = None if not batch or step <= 0 else batch / step
        facts = {
            "run": run.id,
            "ahead": f"{100 * waits:.0f}",
            "step": num(1000 * step),
            "batch": num(batch, 9),
            "larger": num(larger, 9),
            "rate": num(now),
            "used": num(used),
            "rate_after": num(None if now is None or not larger or not batch else now * larger / batch),
            "two": num(None if batch is None else 2 * batch, 9),
            "four": num(None if batch is None else 4 * batch, 9),
        }
        remedies: Remedies = ["batch", "measure"] if larger else ["measure"]
        return Details(evidence, facts, [*remedies, "graphs"],
                       predicts=Prediction("step_s", step) if larger else None)  # fmt: skip


class SyncStall(RunRule):
    """The host is blocked in `.item()`, `.cpu()` and the like for >= 5 % of a step (clear below 3 %); timed
    by the worker in every 20th step. The worker's own read-back goes through pinned memory and does not
    block."""

    id = "sync-stall"
    problem = "utilisation"
    kind = "state"
    severities = "i"
    thresholds: ClassVar[Mapping[str, float]] = {"share": 0.05, "clear": 0.03, "hold_s": 10.0}
    source = "the worker's timed calls; PyTorch performance tuning guide (avoid synchronisation)"

    def judge(self, run: RunWindow) -> Outcome:
        if not run.training or run.on_cpu:
            return NOT_APPLICABLE
        share = blocked(run)
        if share is None:
            return Needs("field", "sync_s")
        if share < self.t["clear"]:
            return ()
        level = INFO if share >= self.t["share"] else 0
        return (Reading(run.id, level, False, lambda: self._details(run, share), step=run.step),)

    def _details(self, run: RunWindow, share: float) -> Details:
        step = run.median("step_s", N) or 0.0
        notes = [e for e in run.run.events if e.kind == "note" and isinstance(e.data.get("sync_site"), str)]
        site = notes[-1].data["sync_site"] if notes else None
        evidence = [
            Ev("blocked", 1000 * share * step, "ms"),
            Ev("share", round(100 * share, 1), "%", f">= {100 * self.t['share']:g} %"),
            Ev("site", site),
            Ev("step", 1000 * step, "ms"),
        ]
        after = step * (1 - share)
        facts = {
            "run": run.id,
            "blocked": num(1000 * share * step),
            "share": num(100 * share),
            "site": site or "?",
            "before": num(1000 * step),
            "after": num(1000 * after),
            "rare": num(1000 * (after + share * step / 50)),
        }
        return Details(evidence, facts, ["rare", "async"], predicts=Prediction("step_s", after))


class H2dBound(RunRule):
    """Copying inputs to the device and preparing them there, by the device's own events, >= 10 % of a step
    warning, >= 20 % critical, clear below 7 %. What the copy takes of the host is not its cost: without the
    device's clock it is not judged (TraceML H2D_BOUND)."""

    id = "h2d-bound"
    problem = "utilisation"
    kind = "state"
    severities = "wc"
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn": 0.10, "crit": 0.20, "clear": 0.07, "least_s": 0.0002, "hold_s": 10.0,
    }  # fmt: skip
    source = "TraceML H2D_BOUND 10/20 %; DCGM PCIE_RX"

    def judge(self, run: RunWindow) -> Outcome:
        if not run.training or run.on_cpu:
            return NOT_APPLICABLE
        share, copy = copying(run), run.median("h2d_gpu_s", N)
        if share is None or copy is None:
            return Needs("field", "h2d_gpu_s")
        if share < self.t["clear"] or copy < self.t["least_s"]:
            return ()
        level = CRITICAL if share >= self.t["crit"] else WARNING if share >= self.t["warn"] else 0
        return (Reading(run.id, level, False, lambda: self._details(run, share, copy), step=run.step),)

    def _details(self, run: RunWindow, share: float, copy: float) -> Details:
        w, step = run.node, run.median("step_s", N) or 0.0
        gpus = run.gpus()
        rates = [r for g in gpus if (r := w.mean(gpu_key("gpu.pcie_rx_bytes_per_s", g), 60.0)) is not None]
        rate = sum(rates) / len(rates) if rates else None
        volume = None if rate is None else rate * step
        link = (
            bandwidth(d.num(w, gpus[0], "gpu.pcie_gen"), d.num(w, gpus[0], "gpu.pcie_width"))
            if gpus
            else None
        )
        speed = None if volume is None or copy <= 0 else volume / copy / 1e9
        part = None if speed is None or not link else 100.0 * speed / link
        evidence = [
            Ev("copy", 1000 * copy, "ms"),
            Ev("share", round(100 * share, 1), "%", f">= {100 * self.t['warn']:g} %"),
            Ev("volume", None if volume is None else volume / 1e6, "MB/step"),
            Ev("speed", speed, "GB/s", None if link is None else f"link {link:.3g} GB/s"),
            Ev("part", None if part is None else round(part, 1), "%"),
            Ev("step", 1000 * step, "ms"),
        ]
        facts = {
            "run": run.id, "share": num(100 * share), "copy": num(1000 * copy), "speed": num(speed),
            "link": num(link), "volume": num(None if volume is None else volume / 1e6),
            "quarter": num(None if volume is None else volume / 4e6), "before": num(1000 * step),
            "hidden": num(1000 * (step - copy)), "less": num(1000 * (step - 0.75 * copy)),
        }  # fmt: skip
        slow = part is not None and part < 50.0
        remedies: Remedies = ["pin", "uint8"] if slow or part is None else ["uint8", "pin"]
        after = step - copy if remedies[0] == "pin" else step - 0.75 * copy
        return Details(evidence, facts, [*remedies, "stream"], predicts=Prediction("step_s", after))


class GpuImbalance(PacedRule):
    """GPUs of one run: largest and smallest utilisation more than 30 points apart over 60 s of training, or
    one rank computes 1.3 times as long as another, for 60 s; clear below 20 points and 1.2. Memory 20 % apart
    counts only where the fullest is above 30 %. In an evaluation only rank 0 works: not judged; MIG slices
    differ by design: left out (TraceML skew 20/30, pressure 30/50; TensorBoard plugin)."""

    id = "gpu-imbalance"
    problem = "utilisation"
    kind = "state"
    severities = "w"
    probes = ("gpu",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "points": 30.0, "ratio": 1.3, "mem_points": 20.0, "mem_pct": 30.0, "hold_s": 60.0,
    }  # fmt: skip
    source = "TraceML skew 20/30 with pressure 30/50; TensorBoard plugin (use DDP)"

    def look(self, run: RunWindow) -> Outcome:
        missing = no_gpu(run)
        if missing is not None:
            return missing
        gpus = run.gpus()
        if len(gpus) < 2:
            return NOT_APPLICABLE
        seconds = min(60.0, run.mode_s())
        w = run.node
        utils = [w.mean(gpu_key("gpu.util_pct", g), seconds) for g in gpus]
        if seconds < LEAST_S or any(u is None for u in utils):
            return (Reading(run.id, UNKNOWN, False),)
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


RULES: tuple[type[Rule], ...] = (
    GpuUnderutilised, CpuSingleCore, LaunchBound, SyncStall, H2dBound, GpuImbalance,
)  # fmt: skip
