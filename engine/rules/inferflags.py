"""Problem 3, slow inference, as a measurement is set up: device, gradients, mode, single requests, a cold
start, a large model. EVENT rules: each is seen once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dctop.engine.rules.base import INFO, NOT_APPLICABLE, WARNING, Details, Ev, Needs, Outcome, Rule, num
from dctop.engine.rules.inferbase import InferFlag, Remedies, in_ms, ms, of_percent, percent
from dctop.engine.rules.measured import Measured, number_at
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.training.runstate import RunEvent


class InferColdStart(InferFlag):
    """The first request took more than 10 x a steady one. A note, no regression: the first requests are part
    of no percentile. Dummy requests at load: as many as it takes until one is within 1.2 x of steady."""

    id = "infer-cold-start"
    part = "coldstart"
    severities = "i"
    thresholds: ClassVar[Mapping[str, float]] = {"times": 10.0}
    source = "measured by the worker; PyTorch's first call allocates, plans and compiles"

    def flag(self, run: RunWindow, m: Measured, event: RunEvent) -> Outcome:
        first, steady, ratio = (number_at(event.data, k) for k in ("first_s", "steady_s", "ratio"))
        if ratio is None or ratio <= self.t["times"]:
            return ()
        calls = number_at(event.data, "calls")
        evidence = [
            Ev("ratio", round(ratio, 1), "x", f"<= {self.t['times']:g} x"),
            Ev("first", in_ms(first), "ms"),
            Ev("steady", in_ms(steady), "ms"),
            Ev("calls", calls, "requests"),
        ]
        facts = {"run": run.id, "ratio": num(ratio), "first": ms(first), "steady": ms(steady),
                 "calls": num(max(1.0, calls or 1.0), 9)}  # fmt: skip
        return self.once(run, event, INFO, Details(evidence, facts, ["dummy"]))


class InferBatch1Bound(InferFlag):
    """Eight samples take less than 1.5 x the time of one: single requests leave the device idle. A note, for
    a single stream that wants its answer at once gains nothing. Micro-batch: the largest B measured with
    t(B) + (B - 1) / rate within the limit asked for (`--slo-ms`), without one within 1.5 t(1); gain =
    B t(1) / t(B)."""

    id = "infer-batch1-bound"
    part = "throughput"
    severities = "i"
    thresholds: ClassVar[Mapping[str, float]] = {"ratio": 1.5}
    source = "throughput curve of the measurement"

    def flag(self, run: RunWindow, m: Measured, event: RunEvent) -> Outcome:
        times = {batch: seconds for batch, seconds, _ in m.points()}
        size = number_at(m.fact("flags"), "batch_size") or 1
        if 8 not in times or not times.get(1):
            return Needs("part", "throughput (--max-batch 8)")
        ratio = times[8] / times[1]
        if ratio >= self.t["ratio"] or size >= 8:
            return ()
        limit, rate = (number_at(m.fact("flags"), k) for k in ("slo_s", "rate"))
        most = limit if limit else self.t["ratio"] * times[1]
        fits = [b for b, t in times.items() if t + ((b - 1) / rate if rate else 0.0) <= most]
        best = max(fits, default=1)
        evidence = [
            Ev("ratio", round(ratio, 2), "", f">= {self.t['ratio']:g}"),
            *(Ev(f"t{b}", in_ms(times[b]), "ms") for b in (1, 2, 4, 8) if b in times),
            Ev("limit", in_ms(limit), "ms"),
        ]
        facts = {
            "run": run.id, "ratio": num(ratio), "batch": best, "gain": num(best * times[1] / times[best]),
            "took": ms(times[best]), "one": ms(times[1]), "eight": ms(times[8]), "gain8": num(8 / ratio),
        }  # fmt: skip
        return self.once(
            run, event, INFO, Details(evidence, facts, ["batch" if best > 1 else "slo", "stream"])
        )


class InferCpuFallback(InferFlag):
    """It computes on the CPU though nobody asked for that and a GPU is there: the training used one, or the
    node has one. `--device cpu`, or a node without any, is no fallback. What a GPU can shorten at best is
    the forward pass (Amdahl)."""

    id = "infer-cpu-fallback"
    part = "start"
    severities = "w"
    source = "device of the measurement against that of the training and the node"

    def flag(self, run: RunWindow, m: Measured, event: RunEvent) -> Outcome:
        chosen, asked = m.fact("device", "chosen"), m.fact("device", "asked")
        if not isinstance(chosen, str) or not chosen.startswith("cpu") or asked == "cpu":
            return NOT_APPLICABLE
        trained = m.asked("measures", "device")
        gpus = len(run.node.labels("gpu.util_pct"))
        if not gpus and not (isinstance(trained, str) and trained.startswith("cuda")):
            return NOT_APPLICABLE
        p50, forward = m.p50(), m.stage("forward")
        rest = None if p50 is None or forward is None else p50 - forward
        evidence = [
            Ev("device", chosen),
            Ev("trained", trained if isinstance(trained, str) else None),
            Ev("gpus", gpus or None),
            Ev("forward", in_ms(forward), "ms"),
            Ev("p50", in_ms(p50), "ms"),
        ]
        facts = {"run": run.id, "why": str(m.fact("device", "why") or "?"), "forward": ms(forward),
                 "p50": ms(p50), "rest": ms(rest)}  # fmt: skip
        return self.once(run, event, WARNING, Details(evidence, facts, ["cuda", "meant"]))


class InferGradOn(InferFlag):
    """`torch.is_grad_enabled()` is true where requests are served: autograd keeps every activation for a
    backward pass that never comes. The worker measures requests with and without."""

    id = "infer-grad-on"
    part = "start"
    severities = "w"
    source = "torch.is_grad_enabled(); PyTorch, autograd mechanics: inference mode"

    def flag(self, run: RunWindow, m: Measured, event: RunEvent) -> Outcome:
        grad = m.fact("flags", "grad")
        if not isinstance(grad, bool):
            return Needs("part", "start")
        if not grad:
            return ()
        with_s, without_s, cost = (m.at("autograd", k) for k in ("with_s", "without_s", "cost_s"))
        share = cost / with_s if cost is not None and with_s else None
        p50 = m.p50()
        after = None if p50 is None or cost is None else max(0.0, p50 - max(0.0, cost))
        evidence = [
            Ev("grad", "on", "", "off"),
            Ev("with", in_ms(with_s), "ms"),
            Ev("without", in_ms(without_s), "ms"),
            Ev("cost", percent(share), "%"),
            Ev("p50", in_ms(p50), "ms"),
        ]
        facts = {"run": run.id, "cost": ms(cost), "share": of_percent(share), "p50": ms(p50),
                 "after": ms(after)}  # fmt: skip
        return self.once(run, event, WARNING, Details(evidence, facts, ["inference_mode"]))


class InferTrainMode(InferFlag):
    """`model.training` is true where requests are served: dropout draws lots, batch normalisation takes the
    batch's statistics, so answers depend on chance and on their neighbours. Without such layers it changes
    nothing, and is told all the same: the next model has them. Dropout that is meant (Monte Carlo): set
    `on_purpose` to 1."""

    id = "infer-train-mode"
    part = "start"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {"on_purpose": 0.0}
    source = "model.training; PyTorch, Module.eval()"

    def flag(self, run: RunWindow, m: Measured, event: RunEvent) -> Outcome:
        training = m.fact("flags", "training")
        if not isinstance(training, bool):
            return Needs("part", "start")
        if not training or self.t["on_purpose"]:
            return ()
        layers = number_at(m.fact("flags"), "noisy_layers")
        diff = m.at("determinism", "max_diff")
        accuracy, trained = m.at("eval", "accuracy"), m.at("eval", "trained", "accuracy")
        evidence = [
            Ev("mode", "train", "", "eval"),
            Ev("layers", layers),
            Ev("diff", diff, "", "<= 0.001"),
            Ev("accuracy", percent(accuracy), "%"),
            Ev("trained", percent(trained), "%"),
        ]
        facts = {"run": run.id, "layers": num(layers, 9), "diff": num(diff), "accuracy": of_percent(accuracy),
                 "trained": of_percent(trained)}  # fmt: skip
        variant = None if layers is None or layers > 0 else "harmless"
        return self.once(run, event, WARNING, Details(evidence, facts, ["eval"], variant=variant))


class InferModelHeavy(InferFlag):
    """The forward pass is at least 60 % of the median request and takes 10 ms or more, or the limit asked for
    is missed: a report of what the model costs. Half the channels are about a quarter of the
    multiply-adds between inner layers. What the device reaches on the best batch is the roof that was
    measured, not the data sheet's. Accuracy is told with every remedy that may cost some."""

    id = "infer-model-heavy"
    part = "latency"
    severities = "i"
    thresholds: ClassVar[Mapping[str, float]] = {"share": 0.6, "least_s": 0.010, "alone": 0.5}
    source = "the handbook's third problem; multiply-adds counted from the layers"

    def flag(self, run: RunWindow, m: Measured, event: RunEvent) -> Outcome:
        p50, forward, macs = m.p50(), m.stage("forward"), number_at(m.fact("macs_per_sample"))
        if p50 is None or forward is None or forward <= 0:
            return Needs("part", "latency")
        limit = number_at(m.fact("flags"), "slo_s")
        late = limit is not None and (m.p99() or 0.0) > limit
        served = max(p50 - (m.stage("queue") or 0.0), forward)
        if forward < self.t["share"] * served or not (late or forward >= self.t["least_s"]):
            return ()
        size = number_at(m.fact("flags"), "batch_size") or 1.0
        speed = macs * size / forward if macs else None
        best = max(m.points(), key=lambda p: p[2], default=None)
        roof = macs * best[2] if macs and best is not None else None
        accuracy = m.at("eval", "accuracy")
        evidence = [
            Ev("share", percent(forward / served), "%", f"< {100 * self.t['share']:g} %"),
            Ev("forward", in_ms(forward), "ms", f"< {1000 * self.t['least_s']:g} ms"),
            Ev("macs", macs / 1e6 if macs else None, "M"),
            Ev("parameters", number_at(m.fact("parameters"))),
            Ev("speed", speed / 1e9 if speed else None, "GMAC/s"),
            Ev("roof", roof / 1e9 if roof else None, "GMAC/s"),
            Ev("accuracy", percent(accuracy), "%"),
        ]
        facts: dict[str, object] = {
            "run": run.id, "share": of_percent(forward / served), "forward": ms(forward),
            "p50": ms(served), "macs": num(macs / 1e6 if macs else None),
            "after": ms(served - 0.75 * forward), "accuracy": of_percent(accuracy), "model": m.name,
            "efficiency": of_percent(speed / roof if speed and roof else None),
            "batch": best[0] if best is not None else "?",
        }  # fmt: skip
        remedies: Remedies = ["halve", "lower"]
        if speed and roof and speed < self.t["alone"] * roof:
            remedies.insert(0, "batch")
        return self.once(run, event, INFO, Details(evidence, facts, remedies))


RULES: tuple[type[Rule], ...] = (
    InferColdStart, InferBatch1Bound, InferCpuFallback, InferGradOn, InferTrainMode, InferModelHeavy,
)  # fmt: skip
