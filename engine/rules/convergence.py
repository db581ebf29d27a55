"""Problem 4, convergence: what a loss or a gradient must not do. Windows were checked on 8,000 healthy steps
and 25 runs (RULES 6.3); they rank, they do not certify."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar

from dctop.engine.rules.base import (
    CRITICAL,
    NOT_APPLICABLE,
    WARNING,
    Details,
    Ev,
    Item,
    KeepingRule,
    Needs,
    Occurrence,
    Outcome,
    Prediction,
    Reading,
    Rule,
    RunRule,
    num,
)
from dctop.engine.rules.deaths import age
from dctop.engine.rules.floors import untrained
from dctop.engine.rules.layers import layer_at
from dctop.engine.rules.runsteps import TAIL
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.turning import turning
from dctop.engine.rules.window import finite, mad, median, quantile
from dctop.engine.training.runstate import RunEvent

Remedies = list[str | tuple[str, Mapping[str, object]]]
BLOCK = 25
"""Steps judged against one base window: by step number, so that live and replay cut alike."""


class LossNonfinite(RunRule):
    """The worker's own check of every loss (isfinite, on the device): fires at once, 0 steps of delay
    (verified). An infinite gradient alone is no fault with a gradient scaler, which skips it. Clip at the
    90th percentile of healthy gradient norms; lr x 0.1 (Composer NaNMonitor, SageMaker ExplodingTensor)."""

    id = "loss-nonfinite"
    problem = "convergence"
    kind = "event"
    severities = "c"
    after_end = True
    of_events = True
    source = "Composer NaNMonitor; SageMaker ExplodingTensor; verified, 0 steps of delay"

    def judge(self, run: RunWindow) -> Outcome:
        out: list[Item] = []
        for e in run.new_events:
            if e.kind != "nonfinite":
                continue
            old = age(run.node, e.wall_ns) if not run.active else "fresh"
            if old != "gone":
                details = self._details(run, e)
                out.append(
                    Occurrence(
                        run.id, CRITICAL, (e.wall_ns, e.step), e.wall_ns, details, e.step, old == "old"
                    )
                )
        return out

    def _details(self, run: RunWindow, e: RunEvent) -> Details:
        def number(name: str) -> float | None:
            v = e.data.get(name)
            return float(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else None

        lr = number("lr")
        last, last_step = number("last_finite_loss"), number("last_finite_step")
        healthy = [g for g in finite(run.train("grad_norm", 200)) if g < 1e30]
        clip = quantile(healthy, 0.90)
        good = _last_checkpoint(run, e.step)
        value = e.data.get("loss")
        evidence = [
            Ev("loss", value if isinstance(value, str) else "nan" if value is None else float(value)),
            Ev("step", e.step),
            Ev("last", last),
            Ev("last_step", last_step),
            Ev("lr", lr),
            Ev("grad", _shown(e.data.get("grad_norm"))),
            Ev("healthy_grad", clip, "", "p90"),
            Ev("layer", e.data.get("layer") if isinstance(e.data.get("layer"), str) else None),
            Ev("scale", number("amp_scale")),
        ]
        remedies: Remedies = []
        if good is not None:
            at, path = good
            remedies.append(("reload", {"at": num(at, 9), "age": num((e.step or at) - at, 9), "path": path}))
        if lr:
            remedies.append(("lr", {"old": num(lr), "new": num(lr / 10)}))
        remedies.append(("clip", {"clip": num(clip)}) if clip is not None else "clip1")
        origin = e.data.get("origin")
        where = origin if origin in ("input", "parameter", "activation") else None
        remedies.append(where or "bisect")
        facts = {"run": run.id, "step": num(e.step, 9), "last": num(last), "last_step": num(last_step, 9)}
        facts |= {"workload": run.run.workload, "layer": str(e.data.get("layer") or "?"),
                  "layers": num(number("layers"), 9)}  # fmt: skip
        return Details(
            evidence, facts, remedies, (), "useless", where,
            predicts=Prediction("survives", e.step or 0),
        )  # fmt: skip


def _shown(value: object) -> float | str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return value if isinstance(value, str) else None


def _last_checkpoint(run: RunWindow, before: int | None) -> tuple[int, str] | None:
    """(step, path) of the newest checkpoint that was saved while the loss was finite."""
    for e in reversed(run.events("checkpoint")):
        if e.data.get("ok", True) and e.step is not None and (before is None or e.step < before):
            return e.step, str(e.data.get("path") or run.run.directory)
    return None


class InitLossMismatch(RunRule):
    """|L0 - ln C| > 0.5 ln C at the first step: a fresh classifier must know nothing, and say so (Karpathy's
    recipe). Verified: fires on raw pixels (8.49) and an initialisation x10 (334), never on healthy runs.
    Not judged for a resumed run or another loss than cross-entropy."""

    id = "init-loss-mismatch"
    problem = "convergence"
    kind = "event"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {"share": 0.5}
    source = "Karpathy, A Recipe for Training Neural Networks (2019); verified"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._said: set[str] = set()

    def forget(self, run_id: str) -> None:
        self._said.discard(run_id)

    def judge(self, run: RunWindow) -> Outcome:
        if run.id in self._said or run.resumed:
            return NOT_APPLICABLE
        ln = run.ln_classes
        if ln is None:
            return Needs("classes")
        first = run.first("loss")
        if first is None:
            return Needs("field", "loss")
        self._said.add(run.id)
        if (run.first("step") or 0) > 1 or abs(first - ln) <= self.t["share"] * ln:
            return ()
        evidence = [
            Ev("first", first, "", f"ln C ± {100 * self.t['share']:g} %"),
            Ev("expected", ln),
            Ev("classes", run.classes),
        ]
        facts = {"run": run.id, "first": num(first), "expected": num(ln), "classes": run.classes,
                 "times": num(first / ln)}  # fmt: skip
        remedies: Remedies = ["inputs", "bias", "init"] if first > ln else ["leak", "bias"]
        at = int(run.first("wall_ns") or run.node.wall_ns)
        return (Occurrence(run.id, WARNING, "first", at, Details(evidence, facts, remedies), 1),)


class EarlyDivergence(KeepingRule[int]):
    """L > 2 L0 within the first 100 steps, where L0 was near ln C (else it is init-loss-mismatch). Verified:
    fires at step 1 of Adam 3e-2, 1e-1, 1; never on healthy runs; misses SGD 1.0 (1.6x)."""

    id = "early-divergence"
    problem = "convergence"
    kind = "event"
    severities = "c"
    thresholds: ClassVar[Mapping[str, float]] = {"times": 2.0, "steps": 100.0, "near": 0.5}
    source = "verified on 25 runs"

    def judge(self, run: RunWindow) -> Outcome:
        if run.resumed:
            return NOT_APPLICABLE
        ln = run.ln_classes
        if ln is None:
            return Needs("classes")
        done = self._kept.get(run.id, 0)
        """The step up to which it was judged."""
        if done >= self.t["steps"]:
            return ()
        first = run.first("loss")
        if first is None:
            return Needs("field", "loss")
        if (run.first("step") or 0) > 1 or abs(first - ln) > self.t["near"] * ln:
            return NOT_APPLICABLE
        steps, losses = run.column("step"), run.column("loss")
        end = min(bisect_left(steps, self.t["steps"] + 1), len(losses))
        begin = bisect_left(steps, done + 1)
        if end > begin:
            self._kept[run.id] = int(steps[end - 1])
        for i in range(begin, end):
            if losses[i] > self.t["times"] * first:
                self._kept[run.id] = int(self.t["steps"])
                return (self._say(run, i, losses[i], first),)
        return ()

    def _say(self, run: RunWindow, i: int, loss: float, first: float) -> Occurrence:
        lrs, walls = run.column("lr"), run.column("wall_ns")
        lr = lrs[i] if i < len(lrs) and lrs[i] == lrs[i] else None
        step = int(run.column("step")[i])
        evidence = [
            Ev("loss", loss, "", f"> {self.t['times']:g} x {first:.3g}"),
            Ev("first", first),
            Ev("lr", lr),
            Ev("step", step),
        ]
        facts = {"run": run.id, "loss": num(loss), "first": num(first), "step": step, "lr": num(lr),
                 "new": num(None if lr is None else lr / 10)}  # fmt: skip
        at = int(walls[i]) if i < len(walls) and walls[i] == walls[i] else run.node.wall_ns
        return Occurrence(run.id, CRITICAL, "early", at, Details(evidence, facts, ["lr", "warmup"]), step)


@dataclass(slots=True)
class _Medians:
    """Rolling medians of one run's loss, taken once each quarter of a window."""

    mark: int = -1
    now: float | None = None
    best: float | None = None
    best_step: int = 0


class LossDiverging(KeepingRule[_Medians]):
    """Median of the last n = max(20, 640 / B) losses > 1.5 x the best such median and > best + 0.3, after
    step 120; clear below 1.2 x. n counts samples: 20 steps at batch 8 gave 22 false episodes in 4,000 steps,
    80 none (verified). New rate: a tenth, and at most 1/L where successive gradients of plain SGD point
    against each other (cosine below -0.3), so that L is not the noise of batches: SGD is stable only for
    lr < 2/L (tuning playbook, llm-foundry; verified: 1/90.7 on the handbook's three samples)."""

    id = "loss-diverging"
    problem = "convergence"
    kind = "state"
    severities = "c"
    thresholds: ClassVar[Mapping[str, float]] = {
        "times": 1.5,
        "more": 0.3,
        "clear": 1.2,
        "after_step": 120.0,
        "samples": 640.0,
        "least": 20.0,
        "hold_s": 0.0,
    }
    source = "google tuning_playbook; llm-foundry HighLoss; verified on 8,000 healthy steps"

    def judge(self, run: RunWindow) -> Outcome:
        batch = run.batch
        if batch is None:
            return Needs("field", "samples")
        n = int(min(400, max(self.t["least"], self.t["samples"] / batch)))
        step, m = run.step, self._kept.get(run.id) or _Medians()
        if step is None:
            return Needs("steps", str(n))
        mark = step // max(1, n // 4)
        if mark != m.mark:
            latest = run.median("loss", n)
            if latest is None:
                return Needs("steps", str(n))
            self._kept[run.id] = m
            m.mark, m.now = mark, latest
            if m.now is not None and (m.best is None or m.now < m.best):
                m.best, m.best_step = m.now, step
        now, best = m.now, m.best
        if now is None or best is None or step <= self.t["after_step"] or now < self.t["clear"] * best:
            return ()
        level = CRITICAL if now > self.t["times"] * best and now > best + self.t["more"] else 0
        return (
            Reading(run.id, level, False, lambda: self._details(run, now, best, m.best_step, n), step=step),
        )

    def _details(self, run: RunWindow, now: float, best: float, best_step: int, n: int) -> Details:
        lr, turned = run.median("lr", 1, 1), turning(run.run)
        stable = None if turned is None else turned.stable
        evidence = [
            Ev("now", now, "", f"> {self.t['times'] * best:.3g}"),
            Ev("best", best),
            Ev("best_step", best_step),
            Ev("window", n, "steps"),
            Ev("lr", lr),
            Ev("grad", run.median("grad_norm", 50, 1)),
            Ev("cos", None if turned is None else round(turned.cos, 3)),
            Ev("stable", stable),
        ]
        good = _last_checkpoint(run, best_step + n)
        remedies: Remedies = ["lr"]
        if good is not None:
            remedies.insert(0, ("reload", {"at": num(good[0], 9), "path": good[1]}))
        facts = {
            "run": run.id,
            "now": num(now),
            "best": num(best),
            "times": num(now / best if best else None),
            "best_step": num(best_step, 9),
            "lr": num(lr),
            "new": num(None if lr is None else min(lr / 10, stable or lr)),
        }
        return Details(evidence, facts | {"workload": run.run.workload}, remedies)


@dataclass(slots=True)
class _Scan:
    """Where an episode detector stands in one run."""

    step: float = 0.0
    """Judged up to here."""
    quiet_until: float = -1.0
    hits: list[float] = field(default_factory=list)
    """Steps that were too high, of the last five."""
    recent: list[float] = field(default_factory=list)


class _Episodes(KeepingRule[_Scan]):
    """Goes over the new steps in blocks of 25, each against the 100 known ones before it."""

    kind = "event"
    problem = "convergence"
    field_name: ClassVar[str] = "loss"
    least: ClassVar[int] = 100
    """Known values before a step is judged."""
    within: ClassVar[int | None] = TAIL
    """Kept steps back that are looked at; None: as far as the field is known."""

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._base: dict[str, tuple[tuple[float, int], float]] = {}
        """Run -> what the latest block is judged against: (its last step, how many), median."""

    def forget(self, run_id: str) -> None:
        super().forget(run_id)
        self._base.pop(run_id, None)

    def judge(self, run: RunWindow) -> Outcome:
        known = run.known(self.field_name)
        if not run.count:
            return Needs("field", self.field_name)
        scan = self._kept.get(run.id)
        if scan is None:
            scan = self._kept[run.id] = _Scan()
        oldest = bisect_left(known.steps, run.oldest(self.field_name, self.within))
        # Of the past only the 100 steps before a block are needed.
        past = bisect_right(known.steps, scan.step) - 100 - BLOCK
        first = max(0, oldest, past)
        steps, values = known.steps[first:], known.values[first:]
        if len(steps) <= self.least:
            return Needs("steps", str(self.least))
        out: list[Item] = []
        at = max(self.least, bisect_right(steps, scan.step))
        while at < len(steps):
            block = BLOCK * (int(steps[at]) // BLOCK)
            begin = max(self.least, bisect_left(steps, block))
            end = bisect_left(steps, block + BLOCK)
            base = values[max(0, begin - 100) : begin]
            mark = (steps[begin - 1], len(base))
            if self._base.get(run.id, ((),))[0] != mark:
                self._base[run.id] = (mark, median(base) or 0.0)
            out += self.scan(run, scan, steps[at:end], values[at:end], base, self._base[run.id][1])
            at = end
        scan.step = steps[-1]
        return out

    def scan(
        self, run: RunWindow, scan: _Scan, steps: array[float], values: list[float], base: list[float],
        middle: float,
    ) -> list[Item]:  # fmt: skip
        """Judge some steps of one block against those before it, of which `middle` is the median."""
        raise NotImplementedError


class LossSpike(_Episodes):
    """3 of the last 5 steps with L > med100 + 5 MAD, L > 1.5 med100 and L above a tenth of what knowing
    nothing costs (ln C, else the first losses); then 20 steps of silence. 0 false alarms in 8,000 healthy
    steps, 10 of 10 injections found 2-3 steps late; a z-score of 2.5 gave 149 false ones (verified). Late
    training has tiny medians: hence all terms (PaLM; llm-foundry; Lightning), and below a median of 0.2,
    where one sample in a batch is most of its loss, the highest of the 100 steps before as well (measured on
    digits, 99 % right: 57 false ones in 9,000 steps without). Not within 30 steps after the rate rose to
    twice or more, up to what the run was asked for: a schedule that begins anew (SGDR) pays with such a rise
    (measured: 3 steps, 6 after the restart); one that lasts is told 30 steps later."""

    id = "loss-spike"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "mads": 5.0, "times": 1.5, "of5": 3.0, "quiet_steps": 20.0, "small": 0.2, "floor": 0.1,
        "restart": 2.0, "restart_steps": 30.0,
    }  # fmt: skip
    source = "PaLM section 5.1; llm-foundry; verified: 0 false alarms in 8,000 steps"

    def scan(
        self, run: RunWindow, scan: _Scan, steps: array[float], values: list[float], base: list[float],
        middle: float,
    ) -> list[Item]:  # fmt: skip
        if max(values) <= self.t["times"] * middle:  # as nearly always
            scan.recent = [*scan.recent, *steps[-5:]][-5:]
            return []
        floor = self.t["floor"] * (untrained(run) or 0.0)
        limit = max(middle + self.t["mads"] * (mad(base, middle) or 0.0), self.t["times"] * middle, floor)
        if middle < self.t["small"]:
            limit = max(limit, *base)
        out: list[Item] = []
        for step, loss in zip(steps, values):
            scan.recent = [*scan.recent[-4:], step]
            if loss > limit:
                scan.hits.append(step)
            scan.hits = [s for s in scan.hits if s >= scan.recent[0]]
            if len(scan.hits) >= self.t["of5"]:
                if step > scan.quiet_until and self._restarted(run, step):
                    scan.hits.clear()
                    continue
                if step > scan.quiet_until:
                    out.append(self._say(run, run.index(step), scan.hits, middle, limit))
                scan.quiet_until = step + self.t["quiet_steps"]
        return out

    def _restarted(self, run: RunWindow, step: float) -> bool:
        """The schedule has just raised the rate again, and not above what was asked for."""
        asked, rates = run.config("config", "lr"), run.column("lr")
        if not isinstance(asked, (int, float)) or not rates:
            return False
        i = run.index(step)
        near = finite(rates[run.index(step - self.t["restart_steps"]) : i + 1])
        return bool(near) and min(near) * self.t["restart"] <= near[-1] <= 1.001 * asked

    def _say(self, run: RunWindow, i: int, hits: list[float], middle: float, limit: float) -> Occurrence:
        column, steps = run.column("loss"), run.column("step")
        peak = max(column[j] for j in range(max(0, i - 4), i + 1) if column[j] == column[j])
        grads = run.column("grad_norm")
        before = finite(grads[max(0, i - 105) : max(0, i - 5)])
        clip = quantile(before, 0.9)
        first = int(hits[0])
        evidence = [
            Ev("peak", peak, "", f"> {limit:.3g}"),
            Ev("median", middle),
            Ev("steps", f"{first}-{int(steps[i])}"),
            Ev("grad", grads[i] if i < len(grads) and grads[i] == grads[i] else None),
            Ev("healthy_grad", clip, "", "p90"),
        ]
        facts = {
            "run": run.id,
            "times": num(peak / middle if middle else None),
            "step": first,
            "batches": f"{first}-{int(steps[i])}",
            "back": max(0, first - 100),
            "clip": num(clip),
        }
        walls = run.column("wall_ns")
        details = Details(evidence, facts, ["wait", "skip", "clip"] if clip is not None else ["wait", "skip"])
        return Occurrence(run.id, WARNING, ("spike", first), int(walls[i]), details, first)


class GradExploding(_Episodes):
    """Unclipped gradient norm > 10 x the median of the 100 steps before and twice their highest (late in
    training, and on few samples, most norms are near nothing and some are not: measured, one false alarm),
    and above the median of the run's first 30 norms (what is learned to the end has norms of 0.008, and one
    of 1.96 is 252 times as much: measured, a second), or
    the median of the last 20 > 5 x the median of up to 500, at least 100 over 500 steps; on the 30 to 100
    known norms before (a fast run measures every fifth to twentieth). 0 and 1 false alarms in 8,000
    steps. Clip at p90 (healthy: p50 3.55, p90 5.5, p99 7.8); where that would clip more than half of the
    steps, the rate is too high (AutoTrainer, OPT)."""

    id = "grad-exploding"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "times": 10.0,
        "slow_times": 5.0,
        "above_peak": 2.0,
        "quiet_steps": 20.0,
    }
    source = "AutoTrainer; OPT-175B chronicles; google tuning_playbook"
    field_name = "grad_norm"
    least = 30
    within = None  # a fast run measures so few that they lie over thousands of steps

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._least: dict[str, float] = {}
        """No norm of the run that is still known is below this."""
        self._firsts: dict[str, float] = {}

    def forget(self, run_id: str) -> None:
        super().forget(run_id)
        self._least.pop(run_id, None)
        self._firsts.pop(run_id, None)

    def scan(
        self, run: RunWindow, scan: _Scan, steps: array[float], values: list[float], base: list[float],
        middle: float,
    ) -> list[Item]:  # fmt: skip
        if run.id in self._least:
            self._least[run.id] = min(self._least[run.id], *values)
        if not middle:
            return []
        out: list[Item] = []
        if max(values) > self.t["times"] * middle:
            limit = max(self.t["times"] * middle, self.t["above_peak"] * max(base), self._first(run))
            for step, norm in zip(steps, values):
                if norm > limit:
                    if step > scan.quiet_until:
                        out.append(self._say(run, step, norm, middle, self.t["times"], base))
                    scan.quiet_until = step + self.t["quiet_steps"]
        return out or self._rising(run, scan, steps[-1])

    def _first(self, run: RunWindow) -> float:
        """Median of the first 30 norms, those of the warm-up left out; 0 where the run's beginning is not
        known."""
        known = self._firsts.get(run.id)
        if known is None:
            norms = run.column("grad_norm")[run.index(run.learning_begin()) :]
            firsts = list(islice((v for v in norms if v - v == 0), self.least))
            known = self._firsts[run.id] = median(firsts) or 0.0
        return known

    def _rising(self, run: RunWindow, scan: _Scan, step: float) -> list[Item]:
        """The newest 20 norms up to `step` against the newest 500; not where there are fewer than 100, or
        less than 500 steps."""
        known = run.known(self.field_name)
        end = bisect_right(known.steps, step)
        first = max(end - 500, bisect_left(known.steps, run.oldest(self.field_name, None)))
        if end - first < 100 or known.steps[end - 1] - known.steps[first] < 499:
            return []
        recent = median(known.values[end - 20 : end]) or 0.0
        # As nearly always: the median is no less than the least there has been for a long while.
        if recent <= self.t["slow_times"] * self._least.get(run.id, -math.inf):
            return []
        self._least[run.id] = min(known.values)
        slow = known.values[first:end]
        middle, out = median(slow), list[Item]()
        if middle and recent > max(self.t["slow_times"] * middle, self._first(run)):
            if step > scan.quiet_until:
                out.append(self._say(run, step, recent, middle, self.t["slow_times"], slow))
            scan.quiet_until = step + self.t["quiet_steps"]
        return out

    def _say(
        self, run: RunWindow, step: float, norm: float, middle: float, times: float, base: list[float]
    ) -> Occurrence:
        i = run.index(step)
        clip = quantile(base, 0.9) or middle
        clipped = sum(g > clip for g in base[-20:]) / max(1, len(base[-20:]))
        lr = run.median("lr", 1, 1)
        evidence = [
            Ev("norm", norm, "", f"> {times * middle:.3g}"),
            Ev("median", middle),
            Ev("ratio", round(norm / middle, 2), "", f"> {times:g}"),
            Ev("p90", clip),
            Ev("layer", layer_at(run, i)),
            Ev("lr", lr),
        ]
        facts = {"run": run.id, "norm": num(norm), "times": num(norm / middle), "step": int(step),
                 "clip": num(clip), "lr": num(lr), "new": num(None if lr is None else lr / 10)}  # fmt: skip
        remedies: Remedies = ["lr", "clip"] if clipped > 0.5 else ["clip", "lr"]
        details = Details(evidence, facts, [*remedies, "warmup"])
        at = int(run.column("wall_ns")[i])
        return Occurrence(run.id, WARNING, ("grad", int(step)), at, details, int(step))


RULES: tuple[type[Rule], ...] = (
    LossNonfinite, InitLossMismatch, EarlyDivergence, LossDiverging, LossSpike, GradExploding,
)  # fmt: skip
