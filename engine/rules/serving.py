"""Problem 5 as a measurement of inference shows it: fewer right answers than the training had, other answers
than before, answers that differ from themselves, the wrong checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dctop.engine.rules.base import CRITICAL, WARNING, Details, Ev, Needs, Outcome, Rule, num
from dctop.engine.rules.inferbase import InferFlag, InferRule, Remedies, of_percent, percent
from dctop.engine.rules.measured import Measured, growing, number_at, same_data, value_at
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.training.runstate import RunEvent

LABELLED = 200
"""Predictions to label by hand: tells an accuracy of 0.9 to within 4 points."""


class EvalAccuracyDrop(InferFlag):
    """Fewer right than the training's own evaluation at this checkpoint, or than the baseline, on the same
    data: one-sided two-proportion z > 3 and at least 1 percentage point. On 10,000 samples 0.3 points is
    one sigma at 90 %: less is noise. Epochs to recover = points lost / points an epoch gained lately."""

    id = "eval-accuracy-drop"
    part = "eval"
    problem = "accuracy"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {"z": 3.0, "points": 1.0}
    source = "two-proportion z test; the handbook's fifth problem"

    def flag(self, run: RunWindow, m: Measured, event: RunEvent) -> Outcome:
        trained = event.data.get("trained") if same_data(m) else None
        judged = False
        for source, data in (("trained", trained), ("baseline", m.data("baseline"))):
            z, drop = number_at(data, "z"), number_at(data, "drop_pp")
            if data is None or z is None or drop is None:
                continue
            judged = True
            if z > self.t["z"] and drop >= self.t["points"]:
                return self.once(run, event, WARNING, self._details(run, m, event, source, data))
        return () if judged else Needs("reference")

    def _details(
        self, run: RunWindow, m: Measured, event: RunEvent, source: str, data: Mapping[str, Any]
    ) -> Details:
        accuracy, n = number_at(event.data, "accuracy"), number_at(event.data, "samples")
        drop, z = number_at(data, "drop_pp") or 0.0, number_at(data, "z")
        before = None if accuracy is None else accuracy + drop / 100
        interval = event.data.get("interval")
        then, now = m.asked("measures", "precision"), m.fact("flags", "dtype")
        evidence = [
            Ev(
                "accuracy",
                percent(accuracy),
                "%",
                f">= {100 * before - self.t['points']:.4g} %" if before else None,
            ),
            Ev("before", percent(before), "%"),
            Ev("drop", round(drop, 2), "points", f"< {self.t['points']:g} points"),
            Ev("z", None if z is None else round(z, 2), "", f"<= {self.t['z']:g}"),
            Ev("samples", n),
            Ev("interval", f"{100 * interval[0]:.2f} - {100 * interval[1]:.2f}", "%")
            if interval
            else Ev("interval", None),
            Ev("hash", m.fact("model", "hash")),
            Ev("dtype", f"{then} -> {now}" if then else str(now)),
        ]
        gain, known = growing(m.asked("measures", "evals") or ()), m.data("inputs")
        facts: dict[str, object] = {
            "run": run.id, "accuracy": of_percent(accuracy), "before": of_percent(before), "drop": num(drop),
            "wrong": num(drop / 100 * n if n else None), "samples": num(n, 9),
            "hash": str(m.fact("model", "hash")), "then": str(then or "?"), "dtype": str(now),
            "baseline": str(data.get("run")), "model": m.name,
        }  # fmt: skip
        remedies: Remedies = ["precision"] if then and now and then != now else []
        remedies.append("compare")
        if gain:
            more = {"steps": num(drop / (100 * gain), 6), "points": num(1e5 * gain)}
            remedies.append(("train", more))
        ruled_out = ("inputs",) if known is not None and known.get("mismatch") is False else ()
        return Details(
            evidence,
            facts,
            [*remedies, "augment"],
            ruled_out,
            variant=None if source == "trained" else source,
        )


class TrainInferGap(InferRule):
    """Accuracy on training samples minus accuracy on test samples, both in this measurement, so in one mode
    and through one preprocessing: above 5 points and 3 sigma of the difference. Clear below 4 points. If the
    inputs are those of the training it is overfitting (AutoTrainer: 0.07-0.10)."""

    id = "train-infer-gap"
    problem = "accuracy"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {"points": 5.0, "clear": 4.0, "sigmas": 3.0, "hold_s": 0.0}
    source = "AutoTrainer 0.07-0.10; binomial standard error"

    def look(self, run: RunWindow, m: Measured) -> Outcome:
        accuracy, train = m.at("eval", "accuracy"), m.at("eval", "train_accuracy")
        n, n_train = m.at("eval", "samples"), m.at("eval", "train_samples")
        if accuracy is None or train is None or not n or not n_train:
            return Needs("part", "eval")
        gap = 100 * (train - accuracy)
        sigma = 100 * math.sqrt(accuracy * (1 - accuracy) / n + train * (1 - train) / n_train)
        limit = max(self.t["points"], self.t["sigmas"] * sigma)
        level = WARNING if gap > limit else 0
        figures = accuracy, train, gap, limit
        return self.reading(run, level, gap < self.t["clear"], lambda: self._details(run, m, figures))

    def _details(self, run: RunWindow, m: Measured, figures: tuple[float, float, float, float]) -> Details:
        accuracy, train, gap, limit = figures
        evals = [e for e in m.asked("measures", "evals") or () if isinstance(e, Mapping)]
        best = max(evals, key=lambda e: number_at(e, "accuracy") or 0.0, default=None)
        better = None if best is None else number_at(best, "accuracy")
        evidence = [
            Ev("gap", round(gap, 2), "points", f"<= {limit:.3g} points"),
            Ev("train", percent(train), "%"),
            Ev("accuracy", percent(accuracy), "%"),
            Ev("best", percent(better), "%"),
        ]
        facts: dict[str, object] = {
            "run": run.id, "gap": num(gap), "train": of_percent(train), "accuracy": of_percent(accuracy),
            "model": m.name,
        }  # fmt: skip
        remedies: Remedies = []
        step = None if best is None else number_at(best, "step")
        if better is not None and better > accuracy + 0.002 and step is not None:
            remedies.append(("restore", {"step": f"{step:.0f}", "better": of_percent(better)}))
        known = m.data("inputs")
        ruled_out = ("inputs",) if known is not None and known.get("mismatch") is False else ()
        return Details(evidence, facts, [*remedies, "regularise", "data"], ruled_out)


class PredictionDrift(InferRule):
    """Population stability index of the predicted classes against the baseline's, on at least 1,000
    predictions: above 0.1 warning, above 0.2 critical; clear below 0.05. Where the labels moved as much (at
    least half of it) the mix of classes changed and the predictions rightly with it."""

    id = "prediction-drift"
    problem = "accuracy"
    kind = "state"
    severities = "wc"
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn": 0.1, "crit": 0.2, "clear": 0.05, "samples": 1000.0, "labels": 0.5, "hold_s": 0.0,
    }  # fmt: skip
    source = "population stability index, convention 0.1 and 0.2"

    def look(self, run: RunWindow, m: Measured) -> Outcome:
        psi, n = m.at("baseline", "psi"), m.at("eval", "samples")
        if n is None:
            return Needs("part", "eval")
        if psi is None:
            return Needs("baseline")
        if n < self.t["samples"]:
            return Needs("samples", f"{self.t['samples']:,.0f}")
        labels = m.at("baseline", "support_psi")
        rightly = labels is not None and labels >= self.t["labels"] * psi
        level = CRITICAL if psi > self.t["crit"] else WARNING if psi > self.t["warn"] else 0
        clear = psi < self.t["clear"] or rightly
        return self.reading(
            run, 0 if rightly else level, clear, lambda: self._details(run, m, psi, labels, int(n))
        )

    def _details(self, run: RunWindow, m: Measured, psi: float, labels: float | None, n: int) -> Details:
        moved = (m.data("baseline") or {}).get("moved")
        index = number_at(moved, "index")
        names = value_at(m.data("eval"), "classes")
        name = "?" if index is None else f"{index:.0f}"
        if isinstance(names, Sequence) and index is not None and int(index) < len(names):
            name = str(names[int(index)])
        now, then = number_at(moved, "now"), number_at(moved, "then")
        accuracy = m.at("eval", "accuracy") or 0.9
        error = 196 * math.sqrt(accuracy * (1 - accuracy) / LABELLED)
        evidence = [
            Ev("psi", round(psi, 3), "", f"<= {self.t['warn']:g}"),
            Ev("labels", None if labels is None else round(labels, 3), "", f"< {self.t['labels'] * psi:.3g}"),
            Ev("class", name),
            Ev("now", percent(now), "%"),
            Ev("then", percent(then), "%"),
            Ev("confidence", m.at("eval", "confidence")),
            Ev("confidence_then", m.at("baseline", "confidence_then")),
            Ev("samples", n, "", f">= {self.t['samples']:g}"),
        ]
        facts = {
            "run": run.id, "psi": num(psi), "name": name, "now": of_percent(now), "then": of_percent(then),
            "count": LABELLED, "error": num(error), "baseline": str((m.data("baseline") or {}).get("run")),
            "inputs": num(m.at("inputs", "psi")),
        }  # fmt: skip
        return Details(evidence, facts, ["inputs", "label", "retrain"])


class EvalNondeterministic(InferFlag):
    """The same batch twice gives outputs that differ by more than 1e-3. TF32 and atomic additions differ by
    about 1e-4: that is none."""

    id = "eval-nondeterministic"
    part = "determinism"
    problem = "accuracy"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {"diff": 1e-3}
    source = "the same batch twice; PyTorch, reproducibility"

    def flag(self, run: RunWindow, m: Measured, event: RunEvent) -> Outcome:
        diff = number_at(event.data, "max_diff")
        if diff is None:
            return Needs("part", "determinism")
        if diff <= self.t["diff"]:
            return ()
        training = m.fact("flags", "training")
        evidence = [
            Ev("diff", diff, "", f"<= {self.t['diff']:g}"),
            Ev("mode", "train" if training else "eval"),
            Ev("layers", number_at(m.fact("flags"), "noisy_layers")),
            Ev("device", m.fact("device", "name")),
        ]
        facts = {"run": run.id, "diff": num(diff), "times": num(diff / self.t["diff"]),
                 "layers": num(number_at(m.fact("flags"), "noisy_layers"), 9)}  # fmt: skip
        remedies: Remedies = ["eval", "seed"] if training else ["kernels", "seed"]
        return self.once(run, event, WARNING, Details(evidence, facts, remedies))


class CheckpointMismatch(InferRule):
    """The checkpoint does not fit the model it is loaded into: tensors that are missing, that the model does
    not have, or of another shape (a strict load); or it is of another step than its name says."""

    id = "checkpoint-mismatch"
    problem = "accuracy"
    kind = "event"
    severities = "c"
    stands = False
    source = "PyTorch, load_state_dict(strict=True)"

    def look(self, run: RunWindow, m: Measured) -> Outcome:
        event = m.events.get("checkpoint")
        if event is not None and not event.data.get("ok", True):
            lists = [event.data.get(k) for k in ("missing", "unexpected", "shapes")]
            if any(isinstance(x, Sequence) and x for x in lists):
                return self.once(run, event, CRITICAL, self._keys(run, m, lists))
            return ()  # unreadable: another fault
        start = m.events.get("start")
        if start is None:
            return Needs("part", "start")
        named, held = number_at(m.asked("measures"), "step"), number_at(m.fact("model"), "step")
        if named is None or held is None or named == held:
            return ()
        evidence = [Ev("held", held, "", f"{named:.0f}"), Ev("path", m.fact("model", "checkpoint"))]
        facts = {**self._facts(run, m), "held": num(held, 9), "named": num(named, 9)}
        return self.once(run, start, CRITICAL, Details(evidence, facts, ["right"], variant="step"))

    def _facts(self, run: RunWindow, m: Measured) -> dict[str, object]:
        path = m.asked("measures", "checkpoint") or m.asked("config", "checkpoint")
        model = m.asked("measures", "run") or "RUN"
        return {"run": run.id, "path": str(path), "model": str(model), "missing": "0", "unexpected": "0",
                "shapes": "0", "held": "?", "named": "?"}  # fmt: skip

    def _keys(self, run: RunWindow, m: Measured, lists: Sequence[object]) -> Details:
        found = [list(x) if isinstance(x, Sequence) else [] for x in lists]
        names = ("missing", "unexpected", "shapes")
        evidence = [Ev(name, len(keys), "tensors", "0") for name, keys in zip(names, found, strict=True)]
        evidence += [
            Ev(f"{name}_names", ", ".join(map(str, keys[:5])) + (" ..." if len(keys) > 5 else ""))
            for name, keys in zip(names, found, strict=True)
            if keys
        ]
        counts = {name: str(len(keys)) for name, keys in zip(names, found, strict=True)}
        path = m.asked("measures", "checkpoint") or m.asked("config", "checkpoint")
        return Details([*evidence, Ev("path", str(path))], self._facts(run, m) | counts, ["right", "build"])


RULES: tuple[type[Rule], ...] = (
    EvalAccuracyDrop, TrainInferGap, PredictionDrift, EvalNondeterministic, CheckpointMismatch,
)  # fmt: skip
