"""Problem 4, single layers: gradients that vanish on their way back, dead ReLUs, parameters that stand still,
the gradient scale of mixed precision. The worker measures (docs/RUNLOG.md), these rules judge."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

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
    Reading,
    Rule,
    RunRule,
    num,
)
from dctop.engine.rules.deaths import age
from dctop.engine.rules.runsteps import TAIL
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import finite, median
from dctop.engine.training.runstate import RunEvent

Remedies = list[str | tuple[str, Mapping[str, object]]]


class GradVanishing(RunRule):
    """Median over the last 20 measured steps (at least 5) of |gradient of the first weight tensor| / |of the
    last| below 1e-3, and that of the first below 1e-4 (AutoTrainer beta 1 and 2); clear above 1e-2. A model
    that has converged has small gradients, too: only while the loss is above 0.5 ln C, where C is not known
    above half of the first loss. Attenuation a layer is ratio^(1 / (layers - 1)); so many layers stay above
    1e-2. Measured: 12 sigmoid layers 1.4e-12 to 2.2e-12, told by step 66-106 in 6 of 6 runs; two sigmoid
    convolutions 0.036-0.057, ReLU 0.04-0.36, tanh 0.25-0.29, gpt above 1: never in 40 healthy runs."""

    id = "grad-vanishing"
    problem = "convergence"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "ratio": 1e-3, "norm": 1e-4, "clear_ratio": 1e-2, "loss_share": 0.5, "clear_share": 0.4,
        "steps": 20.0, "least": 5.0, "last_share": 0.02, "hold_s": 0.0,
    }  # fmt: skip
    source = "AutoTrainer (ICSE'21)"

    def judge(self, run: RunWindow) -> Outcome:
        fresh = ignorant_loss(run)
        if fresh is None:
            return Needs("classes")
        loss, clear_loss = run.median("loss", 20), self.t["clear_share"] * fresh
        if loss is not None and loss < clear_loss and run.knows("grad_first", int(self.t["least"])):
            return (Reading(run.id, 0, True, step=run.step),)  # it learns
        rows = self._pairs(run)
        if len(rows) < self.t["least"] or loss is None:
            return Needs("field", "grad_first")
        ratios = [first / end for first, end in rows if end > 0]
        norm, ratio = median([first for first, _ in rows]), median(ratios)
        end = median([end for _, end in rows]) or 0.0
        reaches = end > max(self.t["norm"], self.t["last_share"] * (first_norm(run) or 0.0))
        if norm is None or ratio is None or len(ratios) < self.t["least"] or not reaches:
            return ()  # nothing reaches even the last layer: that is another trouble
        clear = ratio > self.t["clear_ratio"] or loss < self.t["clear_share"] * fresh
        low = ratio < self.t["ratio"] and norm < self.t["norm"] and loss > self.t["loss_share"] * fresh
        level = WARNING if low else 0
        return (
            Reading(
                run.id, level, clear, lambda: self._details(run, ratio, norm, loss, fresh), step=run.step
            ),
        )

    def _pairs(self, run: RunWindow) -> list[tuple[float, float]]:
        """Norms of the gradient of the first and last weight tensor, at the newest steps that have both."""
        n = int(self.t["steps"])
        a, b = run.known("grad_first"), run.known("grad_last")
        oldest = bisect_left(a.steps, max((run.step or 0) - TAIL, run.learning_begin()))
        begin = max(oldest, len(a.steps) - n)
        count = len(a.steps) - begin
        if (
            count and a.steps[begin:].tobytes() == b.steps[-count:].tobytes()
        ):  # measured together, as they are
            return list(zip(a.values[begin:], b.values[-count:], strict=True))
        last = dict(zip(b.steps, b.values))
        found = ((v, last.get(step)) for step, v in zip(a.steps[oldest:], a.values[oldest:]))
        return [(first, end) for first, end in found if end is not None][-n:]

    def _details(self, run: RunWindow, ratio: float, norm: float, loss: float, fresh: float) -> Details:
        facts, last = layer_facts(run), run.median("grad_last", 20, 1)
        layers = facts.get("weights")
        each = deep = None
        if isinstance(layers, int) and layers > 1 and 0 < ratio < 1:
            each = ratio ** (1 / (layers - 1))
            deep = 1 + math.floor(math.log(self.t["clear_ratio"]) / math.log(each))
        activation = run.config("config", "activation")
        names = layer_name(run, facts.get("first")), layer_name(run, facts.get("last"))
        evidence = [
            Ev("ratio", ratio, "", f"< {self.t['ratio']:g}"),
            Ev("first", norm, "", f"< {self.t['norm']:g}"),
            Ev("last", last),
            Ev("first_layer", names[0]),
            Ev("last_layer", names[1]),
            Ev("loss", loss, "", f"> {self.t['loss_share'] * fresh:.3g}"),
        ]
        said = {"run": run.id, "ratio": num(ratio), "norm": num(norm), "last": num(last), "loss": num(loss),
                "first_layer": names[0] or "?", "last_layer": names[1] or "?", "layers": num(layers, 9),
                "each": num(each), "deep": num(deep, 9),
                "activation": activation if isinstance(activation, str) else "?"}  # fmt: skip
        remedies: Remedies = ["skip", "norm"] if activation == "relu" else ["relu", "skip", "norm"]
        return Details(evidence, said, remedies)


class DeadRelu(RunRule):
    """A ReLU layer of which more than 90 % of the units (channels of an image, features of a vector) were
    never above 0 in 5 steps, 10 apart, while the loss is above 0.9 ln C (C not known: of the first loss);
    clear below 70 %. Between two rounds of looks lie 50 to 500 steps, so that they cost nothing; a loss that
    jumps brings the next one on. 44-50 % of the dense layer of the handbook's network is normal, on one batch
    as on 2,048 samples (verified; 9-59 % in 40 healthy runs here), and Adam at 1e-2 kills 92-97 % of the
    second convolution and still learns with what is left (measured: loss 0.63 after 450 steps): hence the
    loss. Measured: hidden biases at -5: 100 %, told at step 51 in 6 of 6 runs; a rate raised 150 and 800
    times in a run: told 60-170 steps later in 6 of 6."""

    id = "dead-relu"
    problem = "convergence"
    kind = "state"
    severities = "c"
    thresholds: ClassVar[Mapping[str, float]] = {
        "share": 0.9, "clear_share": 0.7, "loss_share": 0.9, "clear_loss": 0.75, "hold_s": 0.0,
    }  # fmt: skip
    source = "AutoTrainer gamma 0.7, SageMaker 50 %, raised: 44-50 % is normal (verified)"

    def judge(self, run: RunWindow) -> Outcome:
        known = run.known("dead_share")
        if not known.values:
            return NOT_APPLICABLE if layer_facts(run).get("relus") == [] else Needs("field", "dead_share")
        at, share = known.steps[-1], known.values[-1]
        loss, fresh = run.median("loss", 20), ignorant_loss(run)
        learns = loss is not None and fresh is not None and loss <= self.t["loss_share"] * fresh
        better = loss is not None and fresh is not None and loss < self.t["clear_loss"] * fresh
        level = CRITICAL if share > self.t["share"] and not learns else 0
        clear = share < self.t["clear_share"] or better
        return (Reading(run.id, level, clear, lambda: self._details(run, share, int(at)), step=run.step),)

    def _details(self, run: RunWindow, share: float, step: int) -> Details:
        layers = run.known("dead_layer")
        layer = relu_name(run, dict(zip(layers.steps, layers.values)).get(step))
        lr = run.median("lr", 5, 1)
        evidence = [
            Ev("share", round(100 * share, 1), "%", f"> {100 * self.t['share']:g} %"),
            Ev("layer", layer),
            Ev("step", step),
            Ev("lr", lr),
            Ev("ratio", run.median("update_ratio", 5, 1)),
            Ev("loss", run.median("loss", 20, 1)),
        ]
        facts = {"run": run.id, "share": f"{100 * share:.0f}", "layer": layer or "?", "step": step,
                 "lr": num(lr), "new": num(None if lr is None else lr / 10),
                 "clear": f"{100 * self.t['clear_share']:g}"}  # fmt: skip
        return Details(evidence, facts, ["lr", "reinit", "leaky"])


class ParamNotUpdating(RunRule):
    """The worker's own comparison of every parameter with itself 100 steps before (by norm each 50 steps,
    then value by value): not one value moved while the learning rate was above 0 (SageMaker UnchangedTensor).
    Freezing on purpose is left alone where it can be told: layers without `requires_grad` in a run that goes
    on from another. In a fresh one they stay at their random values: a warning, all else is critical. Nor is
    the end of a schedule judged, where the rate is below a hundredth of what was asked for. Measured: one or
    three layers frozen or detached, told at step 101 in 12 of 12 runs (on CUDA 100 steps later); in healthy
    runs never."""

    id = "param-not-updating"
    problem = "convergence"
    kind = "event"
    severities = "wc"
    of_events = True
    after_end = True
    thresholds: ClassVar[Mapping[str, float]] = {"lr_share": 0.01}
    source = "SageMaker UnchangedTensor"

    def judge(self, run: RunWindow) -> Outcome:
        out: list[Item] = []
        for e in run.new_events:
            if e.kind != "frozen" or self._meant(run, e):
                continue
            old = age(run.node, e.wall_ns) if not run.active else "fresh"
            if old != "gone":
                details, key = self._details(run, e), ("frozen", e.step)
                level = WARNING if set(_reasons(e)) <= {"requires_grad"} else CRITICAL
                out.append(Occurrence(run.id, level, key, e.wall_ns, details, e.step, old == "old"))
        if not out and not layer_facts(run):
            return Needs("field", "layers")
        return out

    def _meant(self, run: RunWindow, e: RunEvent) -> bool:
        if run.resumed and set(_reasons(e)) <= {"requires_grad"}:
            return True
        lr, asked = e.data.get("lr"), run.config("config", "lr")
        if not isinstance(lr, (int, float)) or not isinstance(asked, (int, float)):
            return False
        return lr < self.t["lr_share"] * asked

    def _details(self, run: RunWindow, e: RunEvent) -> Details:
        names = e.data.get("parameters")
        names = [str(n) for n in names] if isinstance(names, Sequence) and not isinstance(names, str) else []
        count, of, lr = e.data.get("count"), e.data.get("of"), e.data.get("lr")
        rate = lr if isinstance(lr, (int, float)) else None
        reasons = _reasons(e)
        shown = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
        evidence = [
            Ev("names", shown or None),
            Ev("count", count if isinstance(count, int) else None, "", f"of {of}"),
            *(Ev(reason, n) for reason, n in reasons.items()),
            Ev("step", e.step),
            Ev("lr", rate),
        ]
        facts = {"run": run.id, "names": shown or "?", "count": count, "of": of, "step": num(e.step, 9),
                 "steps": e.data.get("steps"), "lr": num(rate)}  # fmt: skip
        remedies: Remedies = [(reason, {"n": n}) for reason, n in reasons.items()]
        return Details(evidence, facts, remedies)


def _reasons(e: RunEvent) -> dict[str, int]:
    """Reason -> how many parameters, most first."""
    why = e.data.get("why")
    found = {k: v for k, v in why.items() if isinstance(v, int)} if isinstance(why, Mapping) else {}
    known = {k: v for k, v in found.items() if k in ("requires_grad", "no-gradient", "optimizer", "gradient")}
    return dict(sorted(known.items(), key=lambda item: -item[1]))


class AmpScaleCollapse(RunRule):
    """fp16 with a gradient scaler: more than 5 % of the last 200 steps were skipped (the scale fell behind
    them), or the scale is below 1: there is nothing left that it could do against gradients too large for
    fp16. It finds its scale by skipping steps: the first 20 are not judged. Clear below 2 % and above 1.
    Tried on a stand-in for CUDA only."""

    id = "amp-scale-collapse"
    problem = "convergence"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "share": 0.05, "clear_share": 0.02, "scale": 1.0, "steps": 200.0, "least": 50.0, "hold_s": 0.0,
    }  # fmt: skip
    source = "OPT-175B chronicles; PyTorch GradScaler"

    def judge(self, run: RunWindow) -> Outcome:
        scales = run.train("amp_scale", int(self.t["steps"]) + 1) if run.known("amp_scale").values else []
        if not scales:
            precision = run.config("precision") or run.config("config", "precision")
            return NOT_APPLICABLE if precision in ("fp32", "bf16", "tf32") else Needs("field", "amp_scale")
        if len(scales) < self.t["least"]:
            return Needs("steps", f"{self.t['least']:g}")
        skipped = sum(after < before for before, after in itertools.pairwise(scales))
        share, scale = skipped / (len(scales) - 1), scales[-1]
        level = WARNING if share > self.t["share"] or scale < self.t["scale"] else 0
        clear = share < self.t["clear_share"] and scale >= self.t["scale"]
        return (
            Reading(
                run.id, level, clear, lambda: self._details(run, skipped, share, scale, len(scales) - 1),
                step=run.step,
            ),
        )  # fmt: skip

    def _details(self, run: RunWindow, skipped: int, share: float, scale: float, steps: int) -> Details:
        lr = run.median("lr", 5, 1)
        evidence = [
            Ev("share", round(100 * share, 1), "%", f"> {100 * self.t['share']:g} %"),
            Ev("skipped", skipped),
            Ev("scale", scale, "", f"< {self.t['scale']:g}"),
            Ev("grad", run.median("grad_norm", 50, 1)),
            Ev("lr", lr),
        ]
        facts = {"run": run.id, "share": f"{100 * share:.0f}", "skipped": skipped, "steps": steps,
                 "scale": num(scale), "lr": num(lr), "new": num(None if lr is None else lr / 10)}  # fmt: skip
        return Details(evidence, facts, ["bf16", "lr", "eps"], cost="skipped" if skipped else None)


def layer_facts(run: RunWindow) -> Mapping[str, Any]:
    """What the run says of its layers: run.json, else the `start` event (a full disk); {} if nothing."""
    found = run.config("layers")
    if not isinstance(found, Mapping):
        found = next((e.data.get("layers") for e in run.run.events if e.kind == "start"), None)
    return found if isinstance(found, Mapping) else {}


def layer_name(run: RunWindow, number: object) -> str | None:
    """Name of a parameter by its number, as in `grad_top`."""
    return _name(layer_facts(run).get("names"), number)


def relu_name(run: RunWindow, number: object) -> str | None:
    return _name(layer_facts(run).get("relus"), number)


def _name(names: object, number: object) -> str | None:
    if not isinstance(names, Sequence) or isinstance(names, str) or not isinstance(number, (int, float)):
        return None
    return str(names[int(number)]) if number - number == 0 and 0 <= number < len(names) else None


def layer_at(run: RunWindow, i: int) -> str | None:
    """The parameter with the largest gradient at kept step i, or the nearest measured one just before."""
    column = run.column("grad_top")
    known = finite(column[max(0, i - 20) : i + 1]) if i < len(column) else []
    return layer_name(run, known[-1]) if known else None


def first_norm(run: RunWindow) -> float | None:
    """Norm of the gradient of the last weight tensor in the first step of a fresh run."""
    norm = _at_birth(run, "grad_last")
    return norm if norm is not None and norm > 0 else None


def ignorant_loss(run: RunWindow) -> float | None:
    """The loss of a model that knows nothing: ln C, else that of a fresh run's first step."""
    return run.ln_classes if run.ln_classes is not None else _at_birth(run, "loss")


def _at_birth(run: RunWindow, name: str) -> float | None:
    """The finite value of a field in the first step of a fresh run."""
    first = run.first(name)
    if run.resumed or first is None or (run.first("step") or 0) > 1 or not math.isfinite(first):
        return None
    return first


RULES: tuple[type[Rule], ...] = (GradVanishing, DeadRelu, ParamNotUpdating, AmpScaleCollapse)
