"""Energy: budgets of a run, joules a sample, power that nothing is done with. Resource: compute.

Joules of a run are engine/training/energy.py's: counters of the GPUs and CPU packages, where there are none
an estimate that is called one. The factors (PUE, grams of CO2, price) are the user's and stand in the
evidence."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, TypeVar

from dctop.engine.rules import gpu_devices as d
from dctop.engine.rules.base import (
    CRITICAL,
    INFO,
    NOT_APPLICABLE,
    WARNING,
    Details,
    Ev,
    KeepingRule,
    Needs,
    Outcome,
    Reading,
    Rule,
    num,
    span,
)
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import NS, Window
from dctop.engine.training.energy import RunEnergy
from dctop.probes.base import series

M = TypeVar("M")
Remedies = list[str | tuple[str, Mapping[str, object]]]


def power_w(run: RunWindow) -> float | None:
    """W of the GPUs the run computes on and of the CPU packages, now; None where neither is metered."""
    w = run.node
    parts = [w.num(series("cpu.power_w", package=p)) for p in w.labels("cpu.power_w")]
    parts += [d.num(w, g, "gpu.power_w") for g in run.gpus()]
    known = [p for p in parts if p is not None]
    return sum(known) if known and len(known) == len(parts) else None


def progress(run: RunWindow) -> float | None:
    """Share of this run's own steps that are done, 0-1; None while it is not known how many there are."""
    total, step = run.run.total_steps, run.run.step
    if not total or step is None:
        return None
    first = run.config("first_step")
    begun = first - 1 if isinstance(first, int) else 0
    return (step - begun) / (total - begun) if total > begun else None


class _Told(NamedTuple):
    """What a budget was held against, all of one moment: power is gone through once in many seconds."""

    used: RunEnergy
    now: float
    """In the unit of the budget, as `projected` and `budget`."""
    projected: float
    budget: float
    done: float
    step: int


class _EnergyRule(KeepingRule[M]):
    """Looks at what a run uses."""

    problem = "compute"
    kind = "state"

    def unmetered(self, run: RunWindow) -> Needs | None:
        """Nothing tells power here."""
        told = run.node.labels("cpu.power_w") or run.gpus()
        return None if told else Needs("series", "cpu.power_w")


class _Budget(_EnergyRule[None]):
    """A quantity of the run so far, its projection to the last step, and what it may be."""

    severities = "wc"
    thresholds: ClassVar[Mapping[str, float]] = {
        "after_pct": 5.0,
        "warn_pct": 100.0,
        "crit_pct": 100.0,
        "clear_pct": 95.0,
        "every_s": 15.0,
        "hold_s": 30.0,
    }

    def judge(self, run: RunWindow) -> Outcome:
        budget = self.budget(run.node)
        if budget is None:
            return NOT_APPLICABLE
        used, done = run.energy(), progress(run)
        if used is None or done is None:
            return Needs("steps", "1")
        now = self.of(used)
        if now is None:
            return Needs("setting", "energy.co2_g_per_kwh")
        if 100 * done < self.t["after_pct"] and now < budget:
            return Needs("history", f"{self.t['after_pct']:g} %")
        projected = max(now, now / done) if done > 0 else now
        if 100 * projected < self.t["clear_pct"] * budget:
            return ()
        level = WARNING if 100 * projected > self.t["warn_pct"] * budget else 0
        if 100 * now > self.t["crit_pct"] * budget:
            level = CRITICAL
        told = _Told(used, now, projected, budget, done, run.step or 0)
        return (Reading(run.id, level, False, lambda: self._details(run, told), step=run.step),)

    def _details(self, run: RunWindow, told: _Told) -> Details:
        used, now, projected, budget, done, step = told
        settings, total = used.settings, run.run.total_steps or 0
        evidence = [
            Ev("now", float(f"{now:.4g}"), self.unit, f"> {budget:g} {self.unit}"),
            Ev("projected", float(f"{projected:.4g}"), self.unit, f"> {budget:g} {self.unit}"),
            Ev("done", round(100 * done, 1), "%", f">= {self.t['after_pct']:g} %"),
            Ev("per_sample", used.joules_per_sample, "J"),
            Ev("power", round(used.joules / used.seconds, 1), "W"),
            Ev("cost", None if used.cost is None else f"{used.cost:.3g} {settings.currency}"),
            Ev("pue", settings.pue),
            Ev("factor", settings.co2_g_per_kwh, "g/kWh"),
            Ev("basis", used.basis),
        ]
        per_step = (projected - now) / max(1, total - step)
        fits = step + int(max(0.0, budget - now) / per_step) if per_step > 0 else step
        facts = {
            "run": run.id, "now": num(now), "projected": num(projected), "budget": num(budget),
            "unit": self.unit, "done": num(100 * done), "fits": num(fits, 12), "total": num(total, 12),
            "saves": num(projected - now), "pue": num(settings.pue), "factor": num(settings.co2_g_per_kwh),
        }  # fmt: skip
        remedies: Remedies = []
        caps = self._caps(run)
        if caps is not None:
            remedies.append(("cap", caps))
        remedies += ["stop", "plateau", *self.more]
        return Details(evidence, facts, remedies, variant="over" if now > budget else None)

    def _caps(self, run: RunWindow) -> dict[str, object] | None:
        """Power limits to try, 10 and 20 % lower, as far as the device allows."""
        gpus = run.gpus()
        limit = d.num(run.node, gpus[0], "gpu.power_limit_w") if gpus else None
        if limit is None:
            return None
        least = d.num(run.node, gpus[0], "gpu.power_min_w") or 0.0
        ten, twenty = max(least, 0.9 * limit), max(least, 0.8 * limit)
        if ten >= limit:
            return None
        return {"limit": f"{limit:.0f}", "ten": f"{ten:.0f}", "twenty": f"{twenty:.0f}",
                "gpus": ",".join(d.number(run.node, g) for g in gpus)}  # fmt: skip

    unit = ""
    more: ClassVar[tuple[str, ...]] = ()

    def budget(self, w: Window) -> float | None:
        raise NotImplementedError

    def of(self, used: RunEnergy) -> float | None:
        raise NotImplementedError


class EnergyBudget(_Budget):
    """Energy of a run, PUE included, projected to its last step above `energy.run_budget_kwh` (from 5 % of
    the steps on): warning; used already: critical; clear below 95 %. Measured by NVML and RAPL; else
    estimated, and said to be. Energy counters begin anew with the driver: power is integrated, so that does
    not matter."""

    id = "energy-budget"
    source = "CodeCarbon; Eco2AI; DCGM 156; RULES energy.run_budget_kwh of the configuration"
    unit = "kWh"

    def budget(self, w: Window) -> float | None:
        return w.energy.run_budget_kwh

    def of(self, used: RunEnergy) -> float | None:
        return used.kwh


class Co2Budget(_Budget):
    """kWh x PUE x grams of CO2 a kWh (`energy.co2_g_per_kwh`), projected above `energy.run_budget_co2_kg`: as
    energy-budget. The factor stands beside the figure."""

    id = "co2-budget"
    source = "CodeCarbon; energy.run_budget_co2_kg and energy.co2_g_per_kwh of the configuration"
    unit = "kg"
    more: ClassVar[tuple[str, ...]] = ("region",)

    def budget(self, w: Window) -> float | None:
        return w.energy.run_budget_co2_kg

    def of(self, used: RunEnergy) -> float | None:
        return None if used.co2_g is None else used.co2_g / 1000


BUCKET_NS = 10 * NS
GAP_NS = 5 * NS


@dataclass(slots=True)
class _Meter:
    """Energy and samples of a run in training, in buckets of ten seconds."""

    at_ns: int = 0
    step: int = 0
    batch: int | None = None
    begun_ns: int = 0
    joules: float = 0.0
    samples: float = 0.0
    buckets: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=30))
    best: float | None = None
    """Least J a sample of any five minutes."""


class EnergyRegression(_EnergyRule[_Meter]):
    """Joules a sample over the last minute above 1.2 x those of the run's best five minutes; clear below 1.1.
    Another batch size begins anew. Without power counters the figure would be the step time in other words:
    not judged then."""

    id = "energy-regression"
    severities = "i"
    thresholds: ClassVar[Mapping[str, float]] = {"ratio": 1.2, "clear": 1.1, "hold_s": 60.0}
    source = "J a sample of NVML and RAPL power against the run's own best five minutes (proposed)"

    def judge(self, run: RunWindow) -> Outcome:
        if not run.training:
            self._pause(run)
            return NOT_APPLICABLE
        missing = self.unmetered(run)
        if missing is not None:
            return missing
        watts = power_w(run)
        if watts is None:
            return Needs("series", "gpu.power_w" if run.gpus() else "cpu.power_w")
        m = self._take(run, watts)
        if len(m.buckets) < 6 or m.best is None:
            return Needs("history", "5 min")
        recent = list(m.buckets)[-6:]
        samples = sum(s for _, s in recent)
        if samples <= 0:
            return ()
        now = sum(j for j, _ in recent) / samples
        if now < self.t["clear"] * m.best:
            return ()
        level, best = INFO if now > self.t["ratio"] * m.best else 0, m.best
        return (Reading(run.id, level, False, lambda: self._details(run, now, best, watts), step=run.step),)

    def _pause(self, run: RunWindow) -> None:
        m = self._kept.get(run.id)
        if m is not None:
            m.at_ns = 0

    def _take(self, run: RunWindow, watts: float) -> _Meter:
        m = self._kept.setdefault(run.id, _Meter())
        at, step, batch = run.node.mono_ns, run.step or 0, run.batch
        if m.batch is not None and batch is not None and abs(batch - m.batch) > 0.05 * m.batch:
            m = self._kept[run.id] = _Meter()
        if 0 < at - m.at_ns <= GAP_NS and m.at_ns:
            ranks = run.config("ranks")
            m.joules += watts * (at - m.at_ns) / NS
            m.samples += max(0, step - m.step) * (batch or 0) * (ranks if isinstance(ranks, int) else 1)
            if at - m.begun_ns >= BUCKET_NS:
                m.buckets.append((m.joules, m.samples))
                m.joules = m.samples = 0.0
                m.begun_ns = at
                self._learn(m)
        elif not m.at_ns or at - m.at_ns > GAP_NS:
            m.joules = m.samples = 0.0
            m.begun_ns = at
        m.at_ns, m.step, m.batch = at, step, batch or m.batch
        return m

    def _learn(self, m: _Meter) -> None:
        if len(m.buckets) == m.buckets.maxlen:
            samples = sum(s for _, s in m.buckets)
            if samples > 0:
                mean = sum(j for j, _ in m.buckets) / samples
                m.best = mean if m.best is None else min(m.best, mean)

    def _details(self, run: RunWindow, now: float, best: float, watts: float) -> Details:
        evidence = [
            Ev("now", float(f"{now:.4g}"), "J", f"> {self.t['ratio'] * best:.4g} J"),
            Ev("best", float(f"{best:.4g}"), "J"),
            Ev("ratio", round(now / best, 2), "", f"> {self.t['ratio']:g}"),
            Ev("power", round(watts, 1), "W"),
            Ev("rate", run.run.samples_per_s, "samples/s"),
        ]
        facts = {"run": run.id, "now": num(now), "best": num(best), "pct": f"{100 * (now / best - 1):.0f}",
                 "extra": num((now - best) / 3.6)}  # fmt: skip
        return Details(evidence, facts, ["cause"])


@dataclass(slots=True)
class _Idle:
    since_ns: int
    at_ns: int
    joules: float = 0.0


class IdleBurn(_EnergyRule[_Idle]):
    """A run that is idle, or in training without a step, for more than 10 minutes while its devices draw
    power: watt hours since then. In an evaluation, a checkpoint or before its first step no steps are
    expected."""

    id = "idle-burn"
    severities = "i"
    every_tick = True
    thresholds: ClassVar[Mapping[str, float]] = {"after_s": 600.0, "quiet_s": 30.0, "hold_s": 0.0}
    source = "power while nothing is trained: NVML, RAPL (proposed)"

    def judge(self, run: RunWindow) -> Outcome:
        at = run.node.mono_ns
        mode = run.run.mode
        quiet = (at - run.changed_mono_ns) / NS >= self.t["quiet_s"]
        if not (mode == "idle" or (quiet and mode in ("train", "warmup", None))):
            self._kept.pop(run.id, None)
            return NOT_APPLICABLE
        missing = self.unmetered(run)
        if missing is not None:
            return missing
        begun = at if mode == "idle" else run.changed_mono_ns
        idle = self._kept.setdefault(run.id, _Idle(begun, begun))
        watts = power_w(run)
        if watts is not None:
            idle.joules += watts * (at - idle.at_ns) / NS
        idle.at_ns = at
        seconds = (at - idle.since_ns) / NS
        if seconds < self.t["after_s"]:
            return (Reading(run.id, 0, False, step=run.step),)
        return (
            Reading(
                run.id, INFO, False, lambda: self._details(run, watts, idle.joules, seconds), step=run.step
            ),
        )

    def _details(self, run: RunWindow, watts: float | None, joules: float, seconds: float) -> Details:
        hours = joules / 3600
        evidence = [
            Ev("for", span(seconds), "", f"> {span(self.t['after_s'])}"),
            Ev("energy", round(hours, 1), "Wh"),
            Ev("power", None if watts is None else round(watts, 1), "W"),
            Ev("mode", run.run.mode),
        ]
        facts = {"run": run.id, "for": span(seconds), "wh": num(hours), "pid": num(run.run.pid, 12),
                 "an_hour": num(None if watts is None else watts), "step": num(run.step, 9)}  # fmt: skip
        return Details(evidence, facts, ["stop"])


RULES: tuple[type[Rule], ...] = (EnergyBudget, Co2Budget, EnergyRegression, IdleBurn)
