"""Problem 4, the shape of the curves: chance level, plateau, overfitting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dctop.engine.rules.base import (
    CRITICAL,
    INFO,
    WARNING,
    Details,
    Ev,
    Needs,
    Outcome,
    Reading,
    Rule,
    RunRule,
    num,
    span,
)
from dctop.engine.rules.floors import negligible, noise
from dctop.engine.rules.layers import first_norm
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import median, theil_sen

Remedies = list[str | tuple[str, Mapping[str, object]]]


class ChanceLevel(RunRule):
    """Accuracy of 100 steps < 1/C + 0.05 and their median loss > 0.97 ln C, after step 180. A worker that
    measures the accuracy now and then (a fast run: every tenth step) is judged on what it measured of them,
    or on the newest 640 samples it measured in the last 512 steps, where those are more (standard error of
    chance at 10 classes: 1.2 points; waiting for 100 values took until step 316-396, measured). Verified:
    random labels give loss 2.304, update ratio 4.6e-3 (normal) and gradient norm 0.2 instead of 3.6; healthy
    runs never fire. Where classes are unequal, chance is the share of the largest (as the run tells of its
    training set), not 1/C. Where a weight decay draws the weights to zero, that is said: the last layer's
    gradient is below 2 % of its first and the update ratio above 0.02 (measured at a decay of 1 and of 30:
    0.15 % at most and 0.12-0.24; labels drawn by lot: 31 % at least, 0.005 at most; dead units stand still).
    """

    id = "chance-level"
    problem = "convergence"
    kind = "state"
    severities = "c"
    thresholds: ClassVar[Mapping[str, float]] = {
        "more": 0.05,
        "loss_share": 0.97,
        "after_step": 180.0,
        "samples": 640.0,
        "clear_more": 0.10,
        "last_share": 0.02,
        "decay_ratio": 0.02,
        "hold_s": 0.0,
    }
    source = "verified on random labels, 25 healthy runs"

    def judge(self, run: RunWindow) -> Outcome:
        classes, ln = run.classes, run.ln_classes
        if classes is None or ln is None:
            return Needs("classes")
        if (run.step or 0) <= self.t["after_step"]:
            return Needs("steps", f"{self.t['after_step']:g}")
        right = run.train("accuracy", within=100)
        least = math.ceil(self.t["samples"] / (run.batch or 1))
        if len(right) < least:
            right = run.train("accuracy", least)
        if len(right) < least or not run.knows("loss", 100):
            return Needs("field", "accuracy")
        accuracy = sum(right) / len(right)
        majority = run.config("data", "majority")
        chance = max(1.0 / classes, majority if isinstance(majority, float) and majority < 1 else 0.0)
        if accuracy > chance + self.t["clear_more"]:
            return ()
        loss = run.median("loss", 100) or 0.0
        level = CRITICAL if accuracy < chance + self.t["more"] and loss > self.t["loss_share"] * ln else 0
        return (
            Reading(
                run.id, level, False, lambda: self._details(run, accuracy, loss, chance, ln), step=run.step
            ),
        )

    def _details(self, run: RunWindow, accuracy: float, loss: float, chance: float, ln: float) -> Details:
        ratio, grad = run.median("update_ratio", 5, 1), run.median("grad_norm", 50, 1)
        evidence = [
            Ev("accuracy", round(100 * accuracy, 2), "%", f"< {100 * (chance + self.t['more']):.3g} %"),
            Ev("chance", round(100 * chance, 2), "%"),
            Ev("loss", loss, "", f"> {self.t['loss_share'] * ln:.3g}"),
            Ev("ratio", ratio),
            Ev("grad", grad),
        ]
        stuck = ratio is not None and ratio < 1e-4
        facts = {"run": run.id, "accuracy": f"{100 * accuracy:.1f}", "chance": f"{100 * chance:.1f}",
                 "loss": num(loss), "ln": num(ln), "ratio": num(ratio)}  # fmt: skip
        decayed = self._decayed(run)
        if decayed is None:
            return Details(evidence, facts, ["rate", "labels"] if stuck else ["labels", "overfit32"])
        decay, share = decayed
        usual = 0.01 if run.config("config", "optimizer") == "adamw" else 1e-4
        facts |= {"decay": num(decay), "less": num(min(usual, decay / 10)), "last": num(100 * share)}
        evidence += [Ev("decay", decay), Ev("last", 100 * share, "%", f"< {100 * self.t['last_share']:g} %")]
        return Details(evidence, facts, ["decay", "overfit32"], variant="decay")

    def _decayed(self, run: RunWindow) -> tuple[float, float] | None:
        """(weight decay, gradient of the last layer of its first), where the decay has taken the weights."""
        decay, first = run.config("config", "weight_decay"), first_norm(run)
        last, ratio = run.median("grad_last", 20, 5), run.median("update_ratio", 5, 1)
        if (
            not isinstance(decay, (int, float))
            or decay <= 0
            or first is None
            or last is None
            or ratio is None
        ):
            return None
        share = last / first
        return (decay, share) if share < self.t["last_share"] and ratio > self.t["decay_ratio"] else None


class Plateau(RunRule):
    """Theil-Sen slope of the loss over 200 steps (medians of 20) gains less than 1 % while L > 0.5 ln C:
    warning. Or the newest evaluations, at least three, over at least three epochs and a third of all there
    are, bring nothing: none of those of three epochs is better in accuracy by 0.001 than the best before, and
    the third is in its mean no better than the third before, neither in accuracy by 0.001 nor in loss by 1 %:
    a note, training is done or stuck. Verified: fires on dead, far too slow and random-label runs only. The
    best of three against the best before (EarlyStopping) is the noise of the evaluations: of 19 healthy runs
    it opened in 10, and all 10 went on getting better; by epochs in 1, by thirds in 2, by both in none."""

    id = "plateau"
    problem = "convergence"
    kind = "state"
    severities = "iw"
    thresholds: ClassVar[Mapping[str, float]] = {
        "gain_pct": 1.0,
        "clear_pct": 3.0,
        "steps": 200.0,
        "loss_share": 0.5,
        "min_delta": 0.001,
        "min_gain": 0.01,
        "evals": 3.0,
        "hold_s": 0.0,
    }
    source = "EarlyStopping; verified on 25 runs"

    def judge(self, run: RunWindow) -> Outcome:
        ln = run.ln_classes
        if ln is None:
            return Needs("classes")
        n = int(self.t["steps"])
        losses, limit = run.train("loss", n), self.t["loss_share"] * ln
        if len(losses) < n:
            return Needs("steps", str(n))
        stale = self._stale(run)
        if stale is None and max(losses) < limit:
            return ()  # whatever it gains
        middle = median(losses) or 0.0
        low = middle < limit
        if low and stale is None:
            return ()
        blocks = [median(losses[i : i + n // 10]) or 0.0 for i in range(0, n, n // 10)]
        trend = theil_sen(blocks, 1.0)
        if trend is None or not middle:
            return ()
        gain = -100.0 * trend.slope * len(blocks) / middle
        level, clear = 0, gain > self.t["clear_pct"] or low
        if gain < self.t["gain_pct"] and middle > self.t["loss_share"] * ln:
            level = WARNING
        if not level and stale is not None:
            level, clear = INFO, False
        if not level and clear:
            return ()
        return (
            Reading(run.id, level, clear, lambda: self._details(run, gain, middle, ln, stale), step=run.step),
        )

    def _stale(self, run: RunWindow) -> tuple[float, int] | None:
        """(best accuracy, evaluations since) where the last evaluations brought nothing."""
        evals = [e for e in run.run.evals if isinstance(e.get("accuracy"), (int, float))]
        rights = [float(e["accuracy"]) for e in evals]
        patience = self._patience(run, evals)
        if patience is None or max(rights[-patience:]) >= max(rights[:-patience]) + self.t["min_delta"]:
            return None
        k = max(int(self.t["evals"]), len(evals) // 3)
        if len(evals) < 2 * k or _gain(rights, k) >= self.t["min_delta"]:
            return None
        losses = [float(x) for e in evals if isinstance(x := e.get("loss"), (int, float))]
        if len(losses) == len(evals):
            then = sum(losses[-2 * k : -k]) / k
            if -_gain(losses, k) > self.t["min_gain"] * then:
                return None
        best = max(rights)
        return best, len(rights) - 1 - rights.index(best)

    def _patience(self, run: RunWindow, evals: Sequence[Mapping[str, Any]]) -> int | None:
        """As many evaluations as so many epochs had, at least so many; None: there are not so many yet."""
        patience = int(self.t["evals"])
        epoch = run.config("steps_per_epoch")
        if evals and isinstance(epoch, (int, float)) and epoch > 0:
            last = evals[-1].get("step") or 0
            patience = max(patience, sum((e.get("step") or 0) > last - patience * epoch for e in evals))
        return patience if patience < len(evals) else None

    def _details(
        self, run: RunWindow, gain: float, loss: float, ln: float, stale: tuple[float, int] | None
    ) -> Details:
        lr, ratio = run.median("lr", 1, 1), run.median("update_ratio", 5, 1)
        evidence = [
            Ev("gain", round(gain, 3), "%", f"< {self.t['gain_pct']:g} %"),
            Ev("loss", loss, "", f"> {self.t['loss_share'] * ln:.3g}"),
            Ev("best", None if stale is None else round(100 * stale[0], 2), "%"),
            Ev("since", None if stale is None else stale[1], "evaluations"),
            Ev("lr", lr),
            Ev("ratio", ratio),
        ]
        facts = {"run": run.id, "gain": num(gain), "loss": num(loss), "steps": f"{self.t['steps']:g}",
                 "lr": num(lr), "lower": num(None if lr is None else lr / 10),
                 "higher": num(None if lr is None or not ratio else lr * min(10.0, 3e-3 / ratio)),
                 "left": span(run.run.eta_s)}  # fmt: skip
        variant = "evals" if stale is not None else None
        facts["since"] = num(None if stale is None else stale[1], 9)
        facts["best"] = num(None if stale is None else 100 * stale[0])
        if loss < self.t["loss_share"] * ln:
            remedies: Remedies = ["stop", "lower"]
        else:
            remedies = ["raise", "lower"] if ratio is not None and ratio < 1e-3 else ["lower", "stop"]
        return Details(evidence, facts, remedies, variant=variant)


def _gain(values: Sequence[float], k: int) -> float:
    """Mean of the last `k` above the mean of the `k` before."""
    return (sum(values[-k:]) - sum(values[-2 * k : -k])) / k


class Overfitting(RunRule):
    """Validation loss above its best by 5 % for 2 evaluations while the training loss falls, and
    (L_val - L_train) / L_train > 0.5; in their mean above the three evaluations about the best by 2.5 times
    their noise (of evaluations that go up and down by chance the best is the luckiest: measured, one false
    alarm in 19 healthy runs), and above 2 % of what knowing nothing costs (ln C). Verified on the handbook's
    own run: test loss is best at epoch 8 (0.246) and 0.303 at epoch 10. SageMaker's ratio 0.1 with patience 1
    fires five epochs before the best."""

    id = "overfitting"
    problem = "convergence"
    kind = "state"
    severities = "w"
    of_events = True
    thresholds: ClassVar[Mapping[str, float]] = {
        "above_pct": 5.0,
        "evals": 2.0,
        "gap": 0.5,
        "noise": 2.5,
        "floor": 0.02,
        "clear_pct": 2.0,
        "hold_s": 0.0,
    }
    source = "SageMaker Overfit; verified on Fashion-MNIST, fires at epoch 10"

    def judge(self, run: RunWindow) -> Outcome:
        points = [
            (int(e.get("step") or 0), float(loss))
            for e in run.run.evals
            if isinstance(loss := e.get("loss"), (int, float)) and loss - loss == 0
        ]
        n = int(self.t["evals"])
        if len(points) <= n:
            return Needs("evals", str(n + 1))
        best_step, best = min(points, key=lambda p: p[1])
        above = [100.0 * (loss / best - 1.0) if best > 0 else 0.0 for _, loss in points[-n:]]
        if above[-1] < self.t["clear_pct"]:
            return ()
        train = [self._train_loss(run, points[-k][0], points[-k - 1][0]) for k in (1, 2)]
        if train[0] is None or train[1] is None:
            return Needs("field", "loss")
        gap = (points[-1][1] - train[0]) / train[0] if train[0] > 0 else 0.0
        after_best = all(step > best_step for step, _ in points[-n:])
        bad = after_best and min(above) > self.t["above_pct"] and train[0] < train[1] and gap > self.t["gap"]
        bad = bad and not negligible(run, points[-1][1], self.t["floor"])
        bad = bad and self._stands_out([loss for _, loss in points], n)
        level = WARNING if bad else 0
        return (
            Reading(
                run.id, level, False,
                lambda: self._details(run, points, best_step, best, train[0] or 0.0, gap), step=run.step,
            ),
        )  # fmt: skip

    def _stands_out(self, losses: list[float], n: int) -> bool:
        """The mean of the last `n` is higher than that about the best by more than the noise of both."""
        spread, at = noise(losses), losses.index(min(losses))
        near, now = losses[max(0, at - 1) : at + 2], losses[-n:]
        if spread is None:
            return True
        rise = sum(now) / len(now) - sum(near) / len(near)
        return rise > self.t["noise"] * spread * math.sqrt(1 / len(now) + 1 / len(near))

    def _train_loss(self, run: RunWindow, step: int, before: int) -> float | None:
        """Mean training loss up to an evaluation: of its epoch where that is logged, else of the steps since
        the evaluation before."""
        for e in reversed(run.events("epoch")):
            loss = e.data.get("loss")
            if e.step == step and isinstance(loss, (int, float)):
                return float(loss)
        return median(run.between("loss", before, step))

    def _details(
        self,
        run: RunWindow,
        points: list[tuple[int, float]],
        best_step: int,
        best: float,
        train: float,
        gap: float,
    ) -> Details:
        now = points[-1][1]
        since = sum(step > best_step for step, _ in points)
        evidence = [
            Ev("val", now, "", f"> {best * (1 + self.t['above_pct'] / 100):.3g}"),
            Ev("best", best),
            Ev("best_step", best_step),
            Ev("train", train),
            Ev("gap", round(gap, 3), "", f"> {self.t['gap']:g}"),
        ]
        saved = [
            e
            for e in run.events("checkpoint")
            if e.step is not None and e.step <= best_step and e.data.get("ok", True)
        ]
        facts = {
            "run": run.id,
            "now": num(now),
            "best": num(best),
            "at": num(best_step, 9),
            "since": since,
            "above": num(100 * (now / best - 1) if best else None),
            "path": str(saved[-1].data.get("path") or "best.pt") if saved else "checkpoints/best.pt",
        }
        return Details(evidence, facts, ["restore", "regularise", "augment"])


RULES: tuple[type[Rule], ...] = (ChanceLevel, Plateau, Overfitting)
