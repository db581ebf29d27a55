"""All rules, in the order of the handbook: problems 1 to 5, then the run's health, then the node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from dctop.engine.rules.base import Outcome, Rule, RunRule

if TYPE_CHECKING:
    from dctop.engine.rules.runwindow import RunWindow


MODULES = (
    "deaths",
    "memory",
    "gpu_memory",
    "throughput",
    "compute",
    "gpu_use",
    "gpu_host",
    "gpu_spread",
    "gpu_choice",
    "ranks",
    "gpu_events",
    "gpu_states",
    "inference",
    "inferflags",
    "convergence",
    "layers",
    "curves",
    "learning",
    "projection",
    "inputs",
    "evals",
    "serving",
    "runhealth",
    "loaders",
    "outcome",
    "storage",
    "network",
    "kernel",
    "energy",
    "exposure",
    "anomaly",
)


class Told(NamedTuple):
    """What has to be known of a rule about runs before there is one."""

    id: str
    problem: str
    subject: str


ABOUT_RUNS: Mapping[str, tuple[Told, ...]] = {
    "gpu_memory": (
        Told("oom-predicted-gpu", "oom", "training"),
        Told("gpu-mem-creep", "oom", "training"),
        Told("gpu-mem-fragmentation", "oom", "training"),
        Told("oom-predicted-host", "oom", "training"),
    ),
    "throughput": (
        Told("input-bound", "utilisation", "training"),
        Told("throughput-regression", "utilisation", "training"),
    ),
    "gpu_use": (
        Told("gpu-underutilised", "utilisation", "training"),
        Told("cpu-single-core", "utilisation", "training"),
    ),
    "gpu_host": (
        Told("launch-bound", "utilisation", "training"),
        Told("sync-stall", "utilisation", "training"),
        Told("h2d-bound", "utilisation", "training"),
    ),
    "gpu_spread": (Told("gpu-imbalance", "utilisation", "training"),),
    "gpu_choice": (
        Told("cpu-fallback", "utilisation", "training"),
        Told("tensor-core-off", "utilisation", "training"),
    ),
    "ranks": (
        Told("straggler-wait", "utilisation", "training"),
        Told("nccl-timeout", "framework", "training"),
        Told("rank-missing", "framework", "training"),
    ),
    "inference": (
        Told("infer-latency-regression", "inference", "inference"),
        Told("infer-slo", "inference", "inference"),
        Told("infer-preproc-heavy", "inference", "inference"),
        Told("infer-tail", "inference", "inference"),
        Told("infer-queueing", "inference", "inference"),
    ),
    "inferflags": (
        Told("infer-cold-start", "inference", "inference"),
        Told("infer-batch1-bound", "inference", "inference"),
        Told("infer-cpu-fallback", "inference", "inference"),
        Told("infer-grad-on", "inference", "inference"),
        Told("infer-train-mode", "inference", "inference"),
        Told("infer-model-heavy", "inference", "inference"),
    ),
    "convergence": (
        Told("loss-nonfinite", "convergence", "training"),
        Told("init-loss-mismatch", "convergence", "training"),
        Told("early-divergence", "convergence", "training"),
        Told("loss-diverging", "convergence", "training"),
        Told("loss-spike", "convergence", "training"),
        Told("grad-exploding", "convergence", "training"),
    ),
    "layers": (
        Told("grad-vanishing", "convergence", "training"),
        Told("dead-relu", "convergence", "training"),
        Told("param-not-updating", "convergence", "training"),
        Told("amp-scale-collapse", "convergence", "training"),
    ),
    "curves": (
        Told("chance-level", "convergence", "training"),
        Told("plateau", "convergence", "training"),
        Told("overfitting", "convergence", "training"),
    ),
    "learning": (
        Told("lr-too-low", "convergence", "training"),
        Told("lr-could-rise", "convergence", "training"),
        Told("loss-oscillation", "convergence", "training"),
        Told("underfitting", "convergence", "training"),
    ),
    "projection": (Told("slow-convergence", "convergence", "training"),),
    "inputs": (
        Told("preprocess-mismatch", "accuracy", "any"),
        Told("class-imbalance", "accuracy", "training"),
    ),
    "evals": (
        Told("class-recall-collapse", "accuracy", "any"),
        Told("confidence-shift", "accuracy", "any"),
        Told("labels-disagree", "accuracy", "any"),
    ),
    "serving": (
        Told("eval-accuracy-drop", "accuracy", "inference"),
        Told("train-infer-gap", "accuracy", "inference"),
        Told("prediction-drift", "accuracy", "inference"),
        Told("eval-nondeterministic", "accuracy", "inference"),
        Told("checkpoint-mismatch", "accuracy", "inference"),
    ),
    "runhealth": (
        Told("training-stalled", "framework", "training"),
        Told("checkpoint-failed", "storage", "training"),
        Told("loader-worker-died", "framework", "training"),
        Told("run-log-blocked", "storage", "any"),
    ),
    "loaders": (
        Told("loader-hang", "framework", "training"),
        Told("bad-sample", "framework", "training"),
        Told("step-jitter", "framework", "training"),
        Told("disk-bound", "utilisation", "training"),
    ),
    "outcome": (Told("remedy-verdict", "framework", "training"),),
    "energy": (
        Told("energy-budget", "compute", "training"),
        Told("co2-budget", "compute", "training"),
        Told("energy-regression", "compute", "training"),
        Told("idle-burn", "compute", "training"),
    ),
    "exposure": (Told("data-exposure", "framework", "training"),),
}
"""Modules with nothing but rules about runs: an engine can do without them until there is a run (1.2 MB)."""


class Unread(RunRule):
    """In place of a rule about runs until there is one."""

    kind = "state"

    def __init__(self, told: Told) -> None:
        super().__init__()
        vars(self).update(told._asdict())

    def judge(self, run: RunWindow) -> Outcome:
        raise RuntimeError(f"{self.id} was not imported")


def rule_classes(modules: Iterable[str] = MODULES) -> tuple[type[Rule], ...]:
    found = [import_module(f"dctop.engine.rules.{name}").RULES for name in modules]
    return tuple(rule for rules in found for rule in rules)


def rule_count() -> int:
    """How many there are; imports none of `ABOUT_RUNS`."""
    return len(rule_classes(m for m in MODULES if m not in ABOUT_RUNS)) + sum(map(len, ABOUT_RUNS.values()))


def make_rules(
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
    own: Mapping[str, Mapping[str, object]] | None = None,
    runs_later: bool = False,
) -> list[Rule]:
    """Fresh instances with the user's thresholds over their own, then the user's own rules. `runs_later`:
    most of those about runs are `Unread`, if there are no such thresholds."""
    given = thresholds or {}
    rules: list[Rule] = []
    for module in MODULES:
        if runs_later and not given and module in ABOUT_RUNS:
            rules += [Unread(told) for told in ABOUT_RUNS[module]]
        else:
            rules += [rule(given.get(rule.id)) for rule in rule_classes([module])]
    if own:
        from dctop.engine.rules.own import make_own

        rules += make_own({name: table for name, table in own.items() if all(r.id != name for r in rules)})
    return rules


def read_all(rules: Iterable[Rule]) -> dict[str, RunRule]:
    """By id, the rules that stand behind those `Unread`."""
    ids = {r.id for r in rules if isinstance(r, Unread)}
    made = [rule() for rule in rule_classes(ABOUT_RUNS) if rule.id in ids] if ids else []
    return {r.id: r for r in made if isinstance(r, RunRule)}
