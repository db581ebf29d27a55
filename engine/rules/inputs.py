"""Problem 5 at its root: what goes in. Inputs that are not what the model was (or is to be) trained on, and
classes that are hardly there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from dctop.engine.rules.base import (
    CRITICAL,
    NOT_APPLICABLE,
    WARNING,
    Details,
    Ev,
    Item,
    Needs,
    Occurrence,
    Outcome,
    Rule,
    RunRule,
    num,
)
from dctop.engine.rules.deaths import age
from dctop.engine.rules.inferbase import Remedies
from dctop.engine.rules.measured import number_at
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.training.wmeasure import compare_inputs, wilson

_FIGURES = ("min", "max", "mean", "std")


class PreprocessMismatch(RunRule):
    """Inputs against those of the training, as the checkpoint stores them: the largest absolute value differs
    by more than 2 x, or the mean by more than half a standard deviation of the training, on at least 32
    samples (one dark image proves nothing). Where: at inference; in the evaluations of a training; in its
    stream of batches, of which the worker reports what is beyond these limits. Accuracy is the wrong
    detector: without `/ 255` it fell by 1-5 points while the loss rose 105-118 x (verified)."""

    id = "preprocess-mismatch"
    problem = "accuracy"
    kind = "event"
    severities = "c"
    subject: ClassVar[Literal["training", "inference", "any"]] = "any"
    after_end = True
    of_events = True
    thresholds: ClassVar[Mapping[str, float]] = {"ratio": 2.0, "shift": 0.5, "samples": 32.0}
    source = "TFDV's skew of inputs; verified: `/ 255` left out"

    def judge(self, run: RunWindow) -> Outcome:
        return self._inference(run) if run.subject == "inference" else self._training(run)

    def _inference(self, run: RunWindow) -> Outcome:
        event = run.measured.events.get("inputs")
        if event is None:
            return Needs("part", "inputs")
        if not event.data.get("trained"):
            return Needs("field", "input")  # an old checkpoint stores none
        return self._found(run, event.data["now"], event.data["trained"], event.wall_ns, event.step, "serve")

    def _training(self, run: RunWindow) -> Outcome:
        data = run.config("data")
        if not isinstance(data, Mapping) or "inputs" not in data:
            return Needs("field", "data.inputs")
        reference = data["inputs"]
        if not isinstance(reference, Mapping):
            return NOT_APPLICABLE  # tokens have no scale
        out: list[Item] = []
        for e in run.new_events:
            if e.kind == "inputs":
                out += self._found(run, e.data.get("now"), reference, e.wall_ns, e.step, "stream")
            elif e.kind == "eval":
                out += self._found(run, e.data.get("inputs"), reference, e.wall_ns, e.step, "eval")
        return out

    def _found(
        self, run: RunWindow, now: Any, then: Any, wall_ns: int, step: int | None, where: str
    ) -> Sequence[Item]:
        if not isinstance(now, Mapping) or not isinstance(then, Mapping):
            return ()
        if (number_at(now, "samples") or 0) < self.t["samples"]:
            return ()
        found = compare_inputs(now, then)
        ratio, shift = found["range_ratio"], found["mean_shift"]
        ratio = ratio if isinstance(ratio, float) else None
        shift = shift if isinstance(shift, float) else None
        if (ratio or 0.0) <= self.t["ratio"] and (shift or 0.0) <= self.t["shift"]:
            return ()
        old = "fresh" if run.active else age(run.node, wall_ns)
        if old == "gone":
            return ()
        details = self._details(run, now, then, ratio, shift, where)
        return (Occurrence(run.id, CRITICAL, (run.id, where), wall_ns, details, step, old == "old"),)

    def _details(
        self, run: RunWindow, now: Mapping[str, Any], then: Mapping[str, Any], ratio: float | None,
        shift: float | None, where: str,
    ) -> Details:  # fmt: skip
        top, top_then = (
            max(abs(number_at(s, "min") or 0), abs(number_at(s, "max") or 0)) for s in (now, then)
        )
        factor = top / top_then if top and top_then else None
        evidence = [
            Ev("ratio", None if ratio is None else round(ratio, 2), "x", f"<= {self.t['ratio']:g} x"),
            Ev("shift", None if shift is None else round(shift, 2), "sigma", f"<= {self.t['shift']:g} sigma"),
            *(Ev(k, _pair(now, then, k)) for k in _FIGURES),
            Ev("dtype", now.get("dtype") if isinstance(now.get("dtype"), str) else None),
            Ev("shape", str(list(now["shape"])) if isinstance(now.get("shape"), Sequence) else None),
            Ev("samples", number_at(now, "samples"), "", f">= {self.t['samples']:g}"),
        ]
        scaled = ratio is not None and ratio > self.t["ratio"] and factor is not None
        larger = factor is not None and factor >= 1
        facts: dict[str, object] = {
            "run": run.id, "ratio": num(ratio), "shift": num(shift), "now": num(number_at(now, "mean")),
            "then": num(number_at(then, "mean")), "low": num(number_at(then, "min")),
            "high": num(number_at(then, "max")), "std": num(number_at(then, "std")),
            "factor": f"{'/' if larger else 'x'} {num(factor if larger else 1 / factor if factor else None)}",
        }  # fmt: skip
        remedies: Remedies = ["scale", "ship"] if scaled else ["compare", "ship"]
        return Details(evidence, facts, remedies, variant=None if where == "serve" else where)


def _pair(now: Mapping[str, Any], then: Mapping[str, Any], key: str) -> str | None:
    a, b = number_at(now, key), number_at(then, key)
    return None if a is None and b is None else f"{num(a, 4)} / {num(b, 4)}"


class ClassImbalance(RunRule):
    """The rarest class has less than a fifth of its even share, 0.2 / C, in the labels of the whole training
    set as it is trained on (an unshuffled stream would look so in any part of it). Of few samples only
    where chance does not explain it: the 95 % interval of the share (Wilson) lies below as well. Weights:
    N / (C n_c). Verified: with 1 % of one class its recall is 0.00 while the overall accuracy falls by
    1.4 points."""

    id = "class-imbalance"
    problem = "accuracy"
    kind = "event"
    severities = "w"
    after_end = True
    of_events = True
    thresholds: ClassVar[Mapping[str, float]] = {"share": 0.2}
    source = "verified with 1 % of one class; weights as in scikit-learn's `balanced`"

    def judge(self, run: RunWindow) -> Outcome:
        start = next((e for e in run.run.events if e.kind == "start"), None)
        data = run.config("data")
        if start is None or not isinstance(data, Mapping):
            return Needs("field", "data.labels")
        if "labels" not in data:
            return Needs("field", "data.labels")
        counts = data["labels"]
        if not isinstance(counts, Sequence) or len(counts) < 2:
            return NOT_APPLICABLE  # no classes
        total, least = sum(counts), min(counts)
        limit = self.t["share"] / len(counts)
        interval = wilson(least, total)
        if interval is None or least / total >= limit or interval[1] >= limit:
            return ()
        old = "fresh" if run.active else age(run.node, start.wall_ns)
        if old == "gone":
            return ()
        details = self._details(run, counts, limit)
        return (Occurrence(run.id, WARNING, run.id, start.wall_ns, details, start.step, old == "old"),)

    def _details(self, run: RunWindow, counts: Sequence[int], limit: float) -> Details:
        total, k = sum(counts), len(counts)
        rare = counts.index(min(counts))
        names = run.config("data", "classes")
        name = str(names[rare]) if isinstance(names, Sequence) and rare < len(names) else str(rare)
        n, usual = counts[rare], sorted(counts)[k // 2]
        evidence = [
            Ev("share", round(100 * n / total, 3), "%", f">= {100 * limit:.3g} %"),
            Ev("count", n, "samples"),
            Ev("usual", usual, "samples"),
            Ev("total", total, "samples"),
            Ev("counts", ", ".join(f"{c:,}" for c in counts[:12]) + (" ..." if k > 12 else "")),
        ]
        weight = total / (k * n) if n else None
        facts = {
            "run": run.id, "name": name, "count": num(n, 9), "share": num(100 * n / total),
            "even": num(100 / k), "weight": num(weight), "others": num(total / (k * usual)) if usual else "?",
            "times": num(usual / n if n else None), "total": num(total, 9),
        }  # fmt: skip
        return Details(
            evidence, facts, ["weights", "sample"] if n else ["collect"], variant=None if n else "none"
        )


RULES: tuple[type[Rule], ...] = (PreprocessMismatch, ClassImbalance)
