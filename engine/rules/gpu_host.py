"""Problem 2 on a GPU, by the steps of the run: what the host makes its device wait for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dctop.engine.rules import gpu_devices as d
from dctop.engine.rules.base import (
    CRITICAL,
    INFO,
    WARNING,
    Details,
    Ev,
    Needs,
    Outcome,
    Prediction,
    Reading,
    Rule,
    num,
)
from dctop.engine.rules.gpu_devices import gpu_key
from dctop.engine.rules.gpu_running import GpuRunRule, N, Remedies, ahead, bigger, blocked, busy_of, copying
from dctop.engine.rules.gpu_states import bandwidth
from dctop.engine.rules.runwindow import RunWindow


class LaunchBound(GpuRunRule):
    """Right after the host issued the update the device was already through with the loss, in >= 80 % of the
    last 50 steps (clear below 60 %), with f_data and f_h2d below 10 %: the device waits for launches. A call
    that waits for the device in each step empties its queue as well: not judged so where the host is blocked
    for 5 % of a step or more. The batch is raised until doubling it gains less than 10 %."""

    id = "launch-bound"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "ahead": 0.80, "clear": 0.60, "data": 0.10, "h2d": 0.10, "sync": 0.05, "hold_s": 10.0,
    }  # fmt: skip
    source = (
        "run-ahead probe of the worker (simulated: no GPU seen it yet); tuning playbook on throughput vs B"
    )

    def look(self, run: RunWindow) -> Outcome:
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


class SyncStall(GpuRunRule):
    """The host is blocked in `.item()`, `.cpu()` and the like for >= 5 % of a step (clear below 3 %); timed
    by the worker in every 20th step. The worker's own read-back goes through pinned memory and does not
    block."""

    id = "sync-stall"
    severities = "i"
    thresholds: ClassVar[Mapping[str, float]] = {"share": 0.05, "clear": 0.03, "hold_s": 10.0}
    source = "the worker's timed calls; PyTorch performance tuning guide (avoid synchronisation)"

    def look(self, run: RunWindow) -> Outcome:
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


class H2dBound(GpuRunRule):
    """Copying inputs to the device and preparing them there, by the device's own events, >= 10 % of a step
    warning, >= 20 % critical, clear below 7 %. What the copy takes of the host is not its cost: without the
    device's clock it is not judged (TraceML H2D_BOUND)."""

    id = "h2d-bound"
    severities = "wc"
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn": 0.10, "crit": 0.20, "clear": 0.07, "least_s": 0.0002, "hold_s": 10.0,
    }  # fmt: skip
    source = "TraceML H2D_BOUND 10/20 %; DCGM PCIE_RX"

    def look(self, run: RunWindow) -> Outcome:
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


RULES: tuple[type[Rule], ...] = (LaunchBound, SyncStall, H2dBound)
