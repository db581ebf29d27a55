"""Problem 5 as evaluations show it: a class that is lost, a test loss that jumps while training goes on as
before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeGuard

from dctop.engine.rules.base import (
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
from dctop.engine.rules.floors import negligible
from dctop.engine.rules.measured import number_at, same_data, value_at
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import median


class ClassRecallCollapse(RunRule):
    """A class of which less than 10 % is found in every evaluation of the last 10,000 samples, at least
    three, while the accuracy over all is above 60 %; or one that lost more than 50 points against its best in
    all of them. Judged after 10,000 samples, and what was best before them does not count: classes are found
    and lost again at first (measured: recalls of 0.00-0.15 up to step 180 of runs that later found all; 0.01
    in five evaluations 60 steps apart; 0.00 and 0.03 in two of a healthy SGD 0.01, 0.80 in the next). The
    handbook's own run has one class at 0.62-0.75 all along: that is no collapse (SageMaker's Confusion would
    fire always). 1 % of one class: recall 0.00, overall 0.70-0.76 (measured). At inference: 20 points below
    the training's own evaluation of that class, on at least 100 samples of it."""

    id = "class-recall-collapse"
    problem = "accuracy"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "recall": 0.1, "accuracy": 0.6, "drop": 0.5, "evals": 3.0, "samples": 10_000.0,
        "infer_drop": 0.2, "support": 100.0, "hold_s": 0.0,
    }  # fmt: skip
    subject = "any"
    after_end = True
    stands = True
    source = "SageMaker Confusion, made relative; verified on Fashion-MNIST"

    def judge(self, run: RunWindow) -> Outcome:
        if run.subject == "inference":
            return self._served(run)
        if not run.active:
            return NOT_APPLICABLE
        rows = [(e, r) for e in run.run.evals if isinstance(r := e.get("recall"), Sequence) and len(r) > 1]
        n, batch = int(self.t["evals"]), run.batch
        if len(rows) < n:
            return Needs("evals", str(n))
        first = self.t["samples"] / (batch or 32)
        if batch is None or (run.step or 0) < first:
            return Needs("steps", f"{first:.0f}")
        at = [e.get("step") or 0 for e, _ in rows]
        n = max(n, sum(step > at[-1] - first for step in at))
        worst = None
        for k in range(len(rows[-1][1])):
            seen = [r[k] for _, r in rows if isinstance(r[k], (int, float))]
            settled = [r[k] for step, (_, r) in zip(at, rows, strict=True) if step >= first and _known(r[k])]
            if len(seen) < n or not settled:
                continue
            now, best = max(seen[-n:]), max(settled)
            lost = now < self.t["recall"] or best - now > self.t["drop"]
            if lost and (worst is None or now < worst[1]):
                worst = (k, now, best)
        accuracy = [e.get("accuracy") for e, _ in rows[-n:]]
        known = [a for a in accuracy if isinstance(a, (int, float))]
        if worst is None or len(known) < n or min(known) < self.t["accuracy"]:
            return ()
        where = worst
        return (
            Reading(run.id, WARNING, False, lambda: self._details(run, *where, known[-1]), step=run.step),
        )

    def _served(self, run: RunWindow) -> Outcome:
        data = run.measured.data("eval")
        if data is None:
            return Needs("part", "eval")
        now, then = data.get("recall"), value_at(data, "trained", "recall")
        support = data.get("support")
        if not _row(now) or not _row(then) or not _row(support) or not same_data(run.measured):
            return Needs("reference")
        lost = [
            (k, recall, before)
            for k, (recall, before, n) in enumerate(zip(now, then, support, strict=False))
            if isinstance(recall, float) and isinstance(before, float) and n >= self.t["support"]
            if before - recall > self.t["infer_drop"]
        ]
        if not lost or not run.fresh:
            return ()
        worst, row = max(lost, key=lambda x: x[2] - x[1]), value_at(data, "confusion")
        accuracy = number_at(data, "accuracy") or 0.0
        return (
            Reading(
                run.id, WARNING, False, lambda: self._details(run, *worst, accuracy, row or ()),
                step=run.step,
            ),
        )  # fmt: skip

    def _details(
        self, run: RunWindow, k: int, now: float, best: float, accuracy: float, confusion: Any = None
    ) -> Details:
        names = run.config("data", "classes")
        name, served = _name(names, k), confusion is not None
        limit = (
            f">= {100 * (best - self.t['infer_drop']):.3g} %" if served else f"< {100 * self.t['recall']:g} %"
        )
        evidence = [
            Ev("recall", round(100 * now, 1), "%", limit),
            Ev("best", round(100 * best, 1), "%"),
            Ev("accuracy", round(100 * accuracy, 1), "%"),
        ]
        if _row(confusion) and k < len(confusion) and _row(confusion[k]):
            n, other = max((n, j) for j, n in enumerate(confusion[k]) if j != k)
            evidence.append(Ev("confused", f"{_name(names, other)} ({n:,} of {sum(confusion[k]):,})"))
        labels = run.config("data", "labels")
        weight = None
        if _row(labels) and k < len(labels) and labels[k]:
            weight = sum(labels) / (len(labels) * labels[k])
        facts = {"run": run.id, "name": name, "recall": f"{100 * now:.0f}", "best": f"{100 * best:.0f}",
                 "accuracy": f"{100 * accuracy:.1f}", "weight": num(weight)}  # fmt: skip
        remedies: list[str | tuple[str, Mapping[str, object]]] = ["compare"] if served else ["count"]
        return Details(evidence, facts, [*remedies, "weights", "data"], variant="infer" if served else None)


class ConfidenceShift(RunRule):
    """The test loss jumps to more than twice the best one between two evaluations while the training loss
    stays (at most 1.3 x): the model is the same, what it is shown is not. More than 20 x is the mark of a
    missing `/ 255`: accuracy fell by 1-5 points there while the loss rose 105-118 x (verified), so accuracy
    is the wrong detector. Overfitting is slow: it rises over several evaluations. Clear below 1.5 x. Not
    judged below a tenth of what knowing nothing costs (ln C): 0.001 and 0.08 are nearly the same.
    At inference: NLL more than twice that of the training's own evaluation, or of the baseline; the
    temperature that makes it least is measured (Guo et al. 2017)."""

    id = "confidence-shift"
    problem = "accuracy"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "times": 2.0, "clear": 1.5, "train_times": 1.3, "scale_times": 20.0, "floor": 0.1,
        "hold_s": 0.0,
    }  # fmt: skip
    subject = "any"
    after_end = True
    of_events = True
    stands = True
    source = "NLL against a reference; verified: 105-118 x without `/ 255`"

    def judge(self, run: RunWindow) -> Outcome:
        if run.subject == "inference":
            return self._served(run)
        if not run.active:
            return NOT_APPLICABLE
        points = [
            (int(e.get("step") or 0), float(loss), e)
            for e in run.run.evals
            if isinstance(loss := e.get("loss"), (int, float)) and loss - loss == 0
        ]
        if len(points) < 2:
            return Needs("evals", "2")
        best_at = min(range(len(points)), key=lambda i: points[i][1])
        best, now = points[best_at][1], points[-1][1]
        if best <= 0 or now < self.t["clear"] * best or negligible(run, now, self.t["floor"]):
            return ()
        # The jump is between two evaluations, not the sum of many.
        jump = next(
            (i for i in range(best_at + 1, len(points)) if points[i][1] > self.t["times"] * best), None
        )
        sudden = jump is not None and points[jump][1] > self.t["times"] * points[jump - 1][1]
        before, after = _train_loss(run, points[best_at][0]), _train_loss(run, points[-1][0])
        if before is None or after is None:
            return Needs("field", "loss")
        level = WARNING if sudden and after <= self.t["train_times"] * before else 0
        known = points[-1][2], points[best_at][2]
        return (
            Reading(
                run.id, level, False, lambda: self._details(run, now, best, before, after, *known),
                step=run.step,
            ),
        )  # fmt: skip

    def _served(self, run: RunWindow) -> Outcome:
        m = run.measured
        nll = m.at("eval", "nll")
        if nll is None:
            return Needs("part", "eval")
        trained = m.at("eval", "trained", "nll_ratio") if same_data(m) else None
        ratio = trained if trained is not None else m.at("baseline", "nll_ratio")
        if ratio is None:
            return Needs("reference")
        if ratio < self.t["clear"] or not run.fresh:
            return ()
        level = WARNING if ratio > self.t["times"] else 0
        return (Reading(run.id, level, False, lambda: self._measured(run, nll, ratio), step=run.step),)

    def _measured(self, run: RunWindow, nll: float, ratio: float) -> Details:
        data, best = run.measured.data("eval") or {}, nll / ratio
        t, after = (number_at(data, "temperature", k) for k in ("t", "nll"))
        evidence = [
            Ev("nll", nll, "", f"<= {self.t['times'] * best:.3g}"),
            Ev("nll_before", best),
            Ev("ece", number_at(data, "ece")),
            Ev("accuracy", _percent(data.get("accuracy")), "%"),
            Ev("accuracy_before", _percent(value_at(data, "trained", "accuracy")), "%"),
        ]
        facts = {"run": run.id, "times": num(ratio), "loss": num(nll), "best": num(best), "train": "?",
                 "t": num(t), "after": num(after)}  # fmt: skip
        remedies: list[str | tuple[str, Mapping[str, object]]] = ["compare"]
        if ratio > self.t["scale_times"]:
            remedies.insert(0, "scale")
        if t is not None:
            remedies.append("warm")
        return Details(evidence, facts, remedies, variant="infer")

    def _details(
        self, run: RunWindow, now: float, best: float, before: float, after: float,
        latest: Mapping[str, Any], good: Mapping[str, Any],
    ) -> Details:  # fmt: skip
        evidence = [
            Ev("loss", now, "", f"> {self.t['times'] * best:.3g}"),
            Ev("best", best),
            Ev("train", after, "", f"<= {self.t['train_times'] * before:.3g}"),
            Ev("accuracy", _percent(latest.get("accuracy")), "%"),
            Ev("accuracy_before", _percent(good.get("accuracy")), "%"),
        ]
        facts = {"run": run.id, "times": num(now / best), "loss": num(now), "best": num(best),
                 "train": num(after)}  # fmt: skip
        scale = now > self.t["scale_times"] * best
        return Details(evidence, facts, ["scale", "compare"] if scale else ["compare", "temperature"])


class LabelsDisagree(RunRule):
    """Fewer answers are right on the test data than by guessing: less than half of 1/C, and by more than
    four standard deviations of a guess, in two evaluations, with a test loss above 1.2 ln C while the
    training loss is below 0.8 ln C. Who knows nothing is right in 1/C; to be right less often one has to
    know the answers under other names. Labels one class up: accuracy 0.003-0.019 of 10 classes, loss
    6.6-8.6 (measured; it was told as overfitting). No class is found half of the time: a model that always
    gives one answer is right seldom too, where that class is rare in the test data. At inference: the same
    of one measurement, where seven classes of ten or more have an answer of their own, which holds for half
    of all (inputs that are inverted are also right in 2 %, but mostly taken for three classes)."""

    id = "labels-disagree"
    problem = "accuracy"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "share": 0.5, "sigmas": 4.0, "evals": 2.0, "wrong": 1.2, "learned": 0.8, "found": 0.5,
        "renamed": 0.7, "half": 0.5, "hold_s": 0.0,
    }  # fmt: skip
    subject = "any"
    after_end = True
    of_events = True
    stands = True
    source = "binomial test against a guess; measured with labels one class up"

    def judge(self, run: RunWindow) -> Outcome:
        classes, whole = run.classes, run.ln_classes
        if classes is None or whole is None:
            return Needs("classes")
        if run.subject == "inference":
            return self._served(run, classes, whole)
        if not run.active:
            return NOT_APPLICABLE
        n = int(self.t["evals"])
        evals = [e for e in run.run.evals if _known(e.get("accuracy")) and _known(e.get("loss"))][-n:]
        if len(evals) < n:
            return Needs("evals", str(n))
        train = _train_loss(run, int(evals[-1].get("step") or 0))
        if train is None:
            return Needs("field", "loss")
        wrong = all(self._below_guessing(e, "loss", classes, whole) for e in evals)
        if not wrong or train > self.t["learned"] * whole:
            return ()
        last = evals[-1]
        return (
            Reading(
                run.id, WARNING, False, lambda: self._details(run, last, "loss", classes, whole, train),
                step=run.step,
            ),
        )  # fmt: skip

    def _served(self, run: RunWindow, classes: int, whole: float) -> Outcome:
        data = run.measured.data("eval")
        if data is None:
            return Needs("part", "eval")
        if not (run.fresh and self._below_guessing(data, "nll", classes, whole) and self._renamed(data)):
            return ()
        return (
            Reading(
                run.id, WARNING, False, lambda: self._details(run, data, "nll", classes, whole),
                step=run.step,
            ),
        )  # fmt: skip

    def _below_guessing(self, e: Mapping[str, Any], loss: str, classes: int, whole: float) -> bool:
        accuracy, cost, samples, recall = (e.get(k) for k in ("accuracy", loss, "samples", "recall"))
        if not (_known(accuracy) and _known(cost) and _known(samples) and _row(recall)) or samples < 1:
            return False
        guess = 1 / classes
        sigma = (guess * (1 - guess) / samples) ** 0.5
        few = accuracy < self.t["share"] * guess and guess - accuracy > self.t["sigmas"] * sigma
        return (
            few
            and cost > self.t["wrong"] * whole
            and max(filter(_known, recall), default=1.0) < self.t["found"]
        )

    def _renamed(self, data: Mapping[str, Any]) -> bool:
        """Each class has an answer of its own."""
        confusion = data.get("confusion")
        rows = [row for row in confusion if _row(row)] if _row(confusion) else []
        total = sum(map(sum, rows))
        own = len({_answer(row) for row in rows}) >= self.t["renamed"] * len(rows)
        return bool(total) and own and sum(map(max, rows)) >= self.t["half"] * total

    def _details(
        self, run: RunWindow, e: Mapping[str, Any], loss: str, classes: int, whole: float,
        train: float | None = None,
    ) -> Details:  # fmt: skip
        guess = 100 / classes
        evidence = [
            Ev("accuracy", _percent(e["accuracy"]), "%", f">= {self.t['share'] * guess:.3g} %"),
            Ev("guess", round(guess, 2), "%"),
            Ev("loss", e[loss], "", f"<= {self.t['wrong'] * whole:.3g}"),
        ]
        if train is not None:
            evidence.append(Ev("train", train))
        taken = _taken_for(run, e.get("confusion"))
        if taken:
            evidence.append(Ev("taken", taken))
        facts = {"run": run.id, "accuracy": num(100 * e["accuracy"]), "guess": num(guess), "classes": classes,
                 "loss": num(e[loss]), "whole": num(whole)}  # fmt: skip
        return Details(
            evidence, facts, ["order", "file", "shift"], variant=None if train is not None else "infer"
        )


def _taken_for(run: RunWindow, confusion: object) -> str | None:
    """The first classes most of which are taken for one other, and for which."""
    names = run.config("data", "classes")
    found = []
    for k, row in enumerate(confusion if _row(confusion) else ()):
        if _row(row) and (other := _answer(row)) != k and row[other] > sum(row) / 2:
            found.append(f"{_name(names, k)} > {_name(names, other)}")
    more = f" (+ {len(found) - 3})" if len(found) > 3 else ""
    return ", ".join(found[:3]) + more if found else None


def _answer(row: Sequence[Any]) -> int:
    """What a class is most often taken for."""
    return row.index(max(row))


def _train_loss(run: RunWindow, step: int) -> float | None:
    """Median training loss of the 50 steps up to an evaluation."""
    return median(run.between("loss", step - 50, step))


def _row(x: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(x, Sequence) and not isinstance(x, str) and len(x) > 1


def _known(x: object) -> TypeGuard[float]:
    return isinstance(x, (int, float))


def _name(names: object, k: int) -> str:
    return str(names[k]) if isinstance(names, Sequence) and k < len(names) else str(k)


def _percent(x: object) -> float | None:
    return round(100 * float(x), 2) if isinstance(x, (int, float)) else None


RULES: tuple[type[Rule], ...] = (ClassRecallCollapse, ConfidenceShift, LabelsDisagree)
