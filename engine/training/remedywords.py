"""A remedy's change, promise and outcome as words: for the confirmation, `dctop runs apply` and `dctop runs
show`."""

from __future__ import annotations

from dctop.engine.rules.base import num, size, span
from dctop.engine.rules.remedies import Change, Metric, Prediction, Verdict


def change_words(change: Change) -> str:
    """`batch_size 4096 -> 512, accumulate 1 -> 8, from the last checkpoint`"""
    changed = [f"{name} {change.before.get(name)} -> {_value(v)}" for name, v in change.options.items()]
    if change.start is None:
        where = "from the beginning"
    else:
        which = "the last checkpoint" if change.start == "last" else f"the checkpoint of step {change.start}"
        where = f"from {which}"
    return ", ".join([*changed, where])


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def promise_words(p: Prediction) -> str:
    """`step 54 -> 30 ms`"""
    if p.metric == "step_s":
        return f"a step takes {span(p.before)} now, then {span(p.value)}"
    if p.metric == "memory":
        return f"at most {size(p.value)} of anonymous memory"
    if p.metric == "loss":
        return f"loss at or below {num(p.value)} within {p.after_steps} steps"
    return "the loss stays finite" if p.metric == "finite" else "it runs"


def verdict_words(v: Verdict) -> str:
    """`met: predicted 30 ms, observed 31.2 ms (before 54 ms)`"""
    said = "met" if v.met else "not met"
    if v.metric in ("steps", "finite"):
        return f"{said} after {v.steps} steps"
    if v.metric == "memory":
        fits = "it ran" if v.met else "it did not run"
        return f"{said}: predicted a peak of {size(v.predicted)}; {fits}, {size(v.observed)} between steps"
    before = "" if v.before is None else f" (before {_shown(v.metric, v.before)})"
    return (
        f"{said}: predicted {_shown(v.metric, v.predicted)}, observed {_shown(v.metric, v.observed)}{before}"
    )


def _shown(metric: Metric, x: float | None) -> str:
    return span(x) if metric == "step_s" else size(x) if metric == "memory" else num(x)
