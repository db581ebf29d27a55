"""Problem 4, runs that learn too slowly or not steadily: step size, swings between evaluations, capacity."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import partial
from operator import mul
from typing import ClassVar

from dctop.engine.metrics.trend import theil_sen
from dctop.engine.rules.base import (
    INFO,
    NOT_APPLICABLE,
    WARNING,
    Details,
    Ev,
    Needs,
    Outcome,
    Reading,
    Rule,
    RunRule,
    num,
)
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.turning import turning
from dctop.engine.rules.window import finite, median


def autocorrelation(values: Sequence[float]) -> float | None:
    """Lag-1 autocorrelation; None of fewer than three values or a constant."""
    n = len(values)
    if n < 3:
        return None
    mean = sum(values) / n
    off = [v - mean for v in values]
    spread = math.fsum(map(mul, off, off))
    return math.fsum(map(mul, off, off[1:])) / spread if spread > 0 else None


class LrTooLow(RunRule):
    """Update ratio u = max over weight tensors of |change| / |value| (L2), median of the last 3 (a fast run
    measures one in 10 to 100 steps), each taken times the rate now over the rate then, below 1e-4 while the
    loss is still above 0.9 ln C; clear above 3e-4 (healthy about 1e-3). lr_new = lr x min(10, 3e-3 / u).
    Verified: by step 90 on Adam 1e-6 and SGD 1e-3, never on healthy runs. Not judged: resumed runs
    (fine-tuning), and a network that a high rate has killed, which updates as little: no ReLU layer may be
    nearly dead (where that is measured), and no loss of the run may have been below 0.7 or above 1.5 ln C
    (measured: without this it was said of 9 of 15 runs after a rate of 0.15 or one raised 150 to 800 times).
    A warm-up is waited for, but no longer than a quarter of the planned steps. One that is longer than the
    whole plan never gets to the rate that was asked for: it is told once a quarter is over and the loss still
    above 0.9 ln C, whatever u. And a rate below 0.005 of the one asked for, for a tenth of the plan, while
    more than a quarter is left, the loss above a quarter of ln C and u low, has fallen too early (schedules
    of tenths end at 0.01 or 0.001 in their last tenth or two; a cosine is below 0.005 in its last 5 %, as is
    each of its cycles where it begins anew)."""

    id = "lr-too-low"
    problem = "convergence"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "ratio": 1e-4, "clear_ratio": 3e-4, "loss_share": 0.9, "after_step": 60.0, "wanted_ratio": 3e-3,
        "low": 0.7, "high": 1.5, "dead": 0.9, "plan_share": 0.25, "fell": 0.005, "fell_share": 0.25,
        "fell_for": 0.1, "warmup_share": 0.05, "hold_s": 0.0,
    }  # fmt: skip
    source = "verified on 25 runs; Karpathy's update ratio of 1e-3"

    def judge(self, run: RunWindow) -> Outcome:
        if run.resumed:
            return NOT_APPLICABLE
        ln = run.ln_classes
        if ln is None:
            return Needs("classes")
        warm, plan, step = _warmup(run), run.run.total_steps, run.step or 0
        begin = self._begin(warm, plan)
        if step < begin:
            return Needs("steps", f"{begin:g}")
        ratio, loss = _ratio_now(run), run.median("loss", 20)
        endless = plan is not None and warm > plan
        if loss is None or (ratio is None and not endless):
            return Needs("field", "update_ratio")
        ignorant = loss > self.t["loss_share"] * ln
        variant = "warmup" if step <= warm else None
        low = endless and ignorant and self._alive(run, ln)
        if not low and ratio is not None:
            if ratio > self.t["clear_ratio"]:  # as nearly always
                return ()
            fell = self._fell(run, warm, loss, ln)
            if not fell and loss < 0.8 * self.t["loss_share"] * ln:
                return ()
            small = 0 < ratio < self.t["ratio"]
            variant = "fell" if fell and not ignorant else variant
            low = small and (fell or ignorant) and self._alive(run, ln, learned=fell)
        level = WARNING if low else 0
        details = partial(self._details, run, ratio, loss, ln, variant)
        return (Reading(run.id, level, False, details, step=run.step),)

    def _begin(self, warm: int, plan: int | None) -> float:
        """The first step that is judged."""
        after = self.t["after_step"]
        if plan is not None and warm > self.t["plan_share"] * plan:
            return max(after, self.t["plan_share"] * plan)
        return after + warm

    def _fell(self, run: RunWindow, warm: int, loss: float, ln: float) -> bool:
        """The rate is next to nothing of what was asked for, long before the end of the plan."""
        lr, asked = run.median("lr", 5, 1), _asked(run)
        step, plan = run.step or 0, run.run.total_steps
        if lr is None or asked is None or plan is None or step <= warm:
            return False
        early = step < (1 - self.t["fell_share"]) * plan
        least = self.t["fell"] * asked
        if not early or lr >= least or loss <= self.t["fell_share"] * ln:
            return False
        since = run.index(step - self.t["fell_for"] * plan)  # restarts end each of their cycles as low
        return max(finite(run.column("lr")[since:]), default=asked) < least

    def _alive(self, run: RunWindow, ln: float, learned: bool = False) -> bool:
        """No high rate has killed it: neither its layers nor the losses of the whole run say so. `learned`:
        before its rate fell, so that low losses are its own."""
        if any(share > self.t["dead"] for share in run.known("dead_share").values[-1:]):
            return False
        losses = finite(run.column("loss"))
        return (learned or min(losses) > self.t["low"] * ln) and max(losses) < self.t["high"] * ln

    def _details(
        self, run: RunWindow, ratio: float | None, loss: float, ln: float, variant: str | None
    ) -> Details:
        lr, asked, warm, plan = run.median("lr", 5, 1), _asked(run), _warmup(run), run.run.total_steps
        factor = 10.0 if not ratio else self.t["wanted_ratio"] / ratio
        new = None if lr is None else lr * (factor if variant == "fell" else min(10.0, factor))
        if variant == "fell" and new is not None and asked is not None:
            new = min(asked, new)  # it learned with that one
        ac1 = autocorrelation(run.train("loss", 200))
        share = self.t["fell_share"] if variant == "fell" else self.t["loss_share"]
        small = ratio is not None and ratio < self.t["ratio"]
        evidence = [
            Ev("ratio", ratio, "", f"< {self.t['ratio']:g}" if small else None),
            Ev("loss", loss, "", f"> {share * ln:.3g}"),
            Ev("lr", lr, "", f"< {num(self.t['fell'] * asked)}" if variant == "fell" and asked else None),
            Ev("asked", asked if variant else None),
            Ev("warmup", warm if variant == "warmup" else None, "steps"),
            Ev("plan", plan if variant else None, "steps"),
            Ev("grad", run.median("grad_norm", 20, 1)),
            Ev("ac1", None if ac1 is None else round(ac1, 3)),
        ]
        short = None if plan is None else max(1, round(self.t["warmup_share"] * plan))
        facts = {"run": run.id, "ratio": num(ratio), "loss": num(loss), "ln": num(ln), "lr": num(lr),
                 "new": num(new), "asked": num(asked), "warm": num(warm, 9), "plan": num(plan, 9),
                 "step": num(run.step, 9), "short": num(short, 9),
                 "left": num(None if plan is None else plan - (run.step or 0), 9),
                 "part": num(None if lr is None or not asked else 100 * lr / asked)}  # fmt: skip
        remedy = {"warmup": "shorter", "fell": "restore"}.get(variant or "", "raise")
        return Details(evidence, facts, [remedy, "frozen"], variant=variant)


def _warmup(run: RunWindow) -> int:
    """Steps over which the rate rises, as the run was asked to; 0 where nothing is said of it."""
    warm = run.config("config", "warmup_steps")
    return warm if isinstance(warm, int) and not isinstance(warm, bool) and warm > 0 else 0


def _asked(run: RunWindow) -> float | None:
    """The learning rate the run was asked to have."""
    lr = run.config("config", "lr")
    return float(lr) if isinstance(lr, (int, float)) and not isinstance(lr, bool) and lr > 0 else None


def _ratio_now(run: RunWindow) -> float | None:
    """Median of the last three update ratios, as they were at the rate of now: a change is proportional to
    the rate, and between two measurements may lie hundreds of steps."""
    known, rates = run.known("update_ratio"), run.known("lr")
    if len(known.values) < 3:
        return None
    found = []
    for step, ratio in zip(known.steps[-3:], known.values[-3:]):
        i = bisect_left(rates.steps, step)
        then = rates.values[i] if i < len(rates.steps) and rates.steps[i] == step else 0.0
        found.append(ratio * rates.values[-1] / then if then > 0 else ratio)
    return median(found)


class LrCouldRise(RunRule):
    """Lag-1 autocorrelation of the loss over 200 steps above 0.5 while it falls and u < 1e-3: each step
    goes the way of the last, so longer ones would do. Verified: 0.69 at Adam 1e-5, -0.15 to 0.12 on healthy
    runs. Batches of the whole set are smooth anyway and not judged."""

    id = "lr-could-rise"
    problem = "convergence"
    kind = "state"
    severities = "i"
    in_training = True
    thresholds: ClassVar[Mapping[str, float]] = {
        "ac1": 0.5, "clear_ac1": 0.35, "ratio": 1e-3, "steps": 200.0, "wanted_ratio": 3e-3,
        "every_steps": 20.0, "hold_s": 10.0,
    }  # fmt: skip
    source = "verified on 25 runs"

    def judge(self, run: RunWindow) -> Outcome:
        if run.config("config", "optimizer") == "batch-gd":
            return NOT_APPLICABLE
        n = int(self.t["steps"])
        loss = run.train("loss", n)
        if len(loss) < n:
            return Needs("steps", str(n))
        ratios = run.known("update_ratio").values[-5:]
        ratio = median(ratios) if len(ratios) == 5 else None
        if ratio is None:
            return Needs("field", "update_ratio")
        if ratio >= 1.5 * self.t["ratio"]:
            return ()
        ac1 = autocorrelation(loss)
        if ac1 is None or ac1 < self.t["clear_ac1"]:
            return ()
        trend = theil_sen(loss, 1.0)
        falls = trend is not None and trend.slope < 0 and trend.tau < -0.2
        level = INFO if ac1 > self.t["ac1"] and ratio < self.t["ratio"] and falls else 0
        return (Reading(run.id, level, False, lambda: self._details(run, ac1, ratio), step=run.step),)

    def _details(self, run: RunWindow, ac1: float, ratio: float) -> Details:
        lr = run.median("lr", 5, 1)
        factor = min(10.0, max(2.0, self.t["wanted_ratio"] / max(ratio, 1e-9)))
        evidence = [
            Ev("ac1", round(ac1, 3), "", f"> {self.t['ac1']:g}"),
            Ev("ratio", ratio, "", f"< {self.t['ratio']:g}"),
            Ev("lr", lr),
        ]
        facts = {"run": run.id, "ac1": num(ac1), "ratio": num(ratio), "lr": num(lr),
                 "new": num(None if lr is None else lr * factor), "steps": int(self.t["steps"])}  # fmt: skip
        return Details(evidence, facts, ["raise"])


class LossOscillation(RunRule):
    """Accuracy of the evaluations swings to and fro: at least a fifth of them are turning points at least 3
    points from both neighbours (AutoTrainer zeta 0.03, eta 0.2), of at least five evaluations, and at least
    two: one dip while learning begins is none (measured: 0.758, 0.713, 0.765 in a run that went on well).
    Noise of single batches is no oscillation: steps do not open it. Nor does the cosine of successive
    gradients, which is evidence and gives the rate: 1 / L where it is below -0.3 (plain SGD), else half.
    Measured: -0.68 in SGD 0.5 at batch 512 and -0.81 in descent on the whole set, both learning well (the
    edge of stability); 0.2 to -0.2 at batch 32, good and bad alike."""

    id = "loss-oscillation"
    problem = "convergence"
    kind = "state"
    severities = "w"
    of_events = True
    thresholds: ClassVar[Mapping[str, float]] = {
        "swing": 0.03, "share": 0.2, "clear_share": 0.1, "evals": 5.0, "least": 2.0, "hold_s": 0.0,
    }  # fmt: skip
    source = "AutoTrainer (ICSE'21)"

    def judge(self, run: RunWindow) -> Outcome:
        found = list(run.accuracies()[-20:])
        if len(found) < self.t["evals"]:
            return Needs("evals", f"{self.t['evals']:g}")
        swings = turning_points(found, self.t["swing"])
        share = len(swings) / len(found)
        if share < self.t["clear_share"]:
            return ()
        level = WARNING if share >= self.t["share"] and len(swings) >= self.t["least"] else 0
        return (Reading(run.id, level, False, lambda: self._details(run, found, swings), step=run.step),)

    def _details(self, run: RunWindow, found: list[float], swings: list[float]) -> Details:
        lr, batch, turned = run.median("lr", 5, 1), run.batch, turning(run.run)
        stable = None if turned is None else turned.stable
        size = 100 * (median(swings) or 0.0)
        evidence = [
            Ev("share", round(100 * len(swings) / len(found), 1), "%", f">= {100 * self.t['share']:g} %"),
            Ev("swing", round(size, 2), "%", f">= {100 * self.t['swing']:g} %"),
            Ev("best", round(100 * max(found), 2), "%"),
            Ev("now", round(100 * found[-1], 2), "%"),
            Ev("lr", lr),
            Ev("cos", None if turned is None else round(turned.cos, 3)),
            Ev("stable", stable),
        ]
        facts = {"run": run.id, "swing": num(size), "n": len(swings), "of": len(found), "lr": num(lr),
                 "new": num(None if lr is None else min(lr / 2, stable or lr)), "batch": num(batch, 9),
                 "more": num(None if batch is None else 2 * batch, 9)}  # fmt: skip
        return Details(evidence, facts, ["lower", "batch", "best"])


def turning_points(values: Sequence[float], least: float) -> list[float]:
    """Sizes of the swings at local extremes at least `least` from both neighbours."""
    out: list[float] = []
    for a, b, c in zip(values, values[1:], values[2:], strict=False):
        if (b - a) * (b - c) > 0 and min(abs(b - a), abs(b - c)) >= least:
            out.append(min(abs(b - a), abs(b - c)))
    return out


class Underfitting(RunRule):
    """Three evaluations without 0.5 points more, training and validation accuracy within 2 points of each
    other, and the training loss still above 0.5 ln C: the model (or its regularisation) is the limit, not
    the data seen."""

    id = "underfitting"
    problem = "convergence"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "gap": 0.02, "gain": 0.005, "evals": 4.0, "loss_share": 0.5, "clear_share": 0.45, "hold_s": 0.0,
    }  # fmt: skip
    source = "handbook, problem 5; AutoTrainer"

    def judge(self, run: RunWindow) -> Outcome:
        ln = run.ln_classes
        if ln is None:
            return Needs("classes")
        n = int(self.t["evals"])
        found, loss = run.accuracies(), run.median("loss", 100)
        if len(found) < n:
            return Needs("evals", str(n))
        right: Sequence[float] = run.train("accuracy", 200)
        if len(right) < 100:  # a fast run measures every tenth or so: on a plateau older ones do as well
            right = run.known("accuracy").values[-100:]
        if len(right) < 100 or loss is None:
            return Needs("field", "accuracy")
        if loss < self.t["clear_share"] * ln:
            return ()
        train, val = sum(right) / len(right), found[-1]
        stuck = max(found[-n + 1 :]) < found[-n] + self.t["gain"]
        low = stuck and abs(train - val) < self.t["gap"] and loss > self.t["loss_share"] * ln
        level = WARNING if low else 0
        return (
            Reading(run.id, level, False, lambda: self._details(run, train, val, loss, ln), step=run.step),
        )

    def _details(self, run: RunWindow, train: float, val: float, loss: float, ln: float) -> Details:
        decay = run.config("config", "weight_decay")
        evidence = [
            Ev("train", round(100 * train, 2), "%"),
            Ev("val", round(100 * val, 2), "%"),
            Ev("gap", round(100 * abs(train - val), 2), "%", f"< {100 * self.t['gap']:g} %"),
            Ev("loss", loss, "", f"> {self.t['loss_share'] * ln:.3g}"),
            Ev("decay", decay if isinstance(decay, (int, float)) else None),
        ]
        facts = {"run": run.id, "train": f"{100 * train:.1f}", "val": f"{100 * val:.1f}", "loss": num(loss),
                 "decay": num(decay) if isinstance(decay, (int, float)) else "?"}  # fmt: skip
        regularised = isinstance(decay, (int, float)) and decay > 0
        return Details(evidence, facts, ["decay", "wider", "longer"] if regularised else ["wider", "longer"])


RULES: tuple[type[Rule], ...] = (LrTooLow, LrCouldRise, LossOscillation, Underfitting)
