"""After a remedy was applied: what was predicted against what is seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dctop.engine.rules.base import (
    INFO,
    NOT_APPLICABLE,
    WARNING,
    Details,
    Ev,
    Occurrence,
    Outcome,
    Rule,
    RunRule,
    num,
)
from dctop.engine.rules.remedies import MET, Verdict, verdict
from dctop.engine.rules.runwindow import RunWindow

_UNIT = {"step_s": "ms", "memory": "bytes", "loss": "", "finite": "", "steps": "steps"}


class RemedyVerdict(RunRule):
    """A successor started by `apply` says in its run.json what its remedy promised. Once so many steps are
    there (70 of a step time, the first 20 left out; 30 of memory; at most 200 of a loss) it is compared: step
    time within 20 %, memory at most 20 % above, loss at or below. A note where it came true, a warning where
    not."""

    id = "remedy-verdict"
    problem = "framework"
    kind = "event"
    severities = "iw"
    after_end = True
    thresholds: ClassVar[Mapping[str, float]] = {}
    source = "RULES 6.4: a remedy is met within 20 % of its prediction"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._said: set[str] = set()

    def forget(self, run_id: str) -> None:
        self._said.discard(run_id)

    def judge(self, run: RunWindow) -> Outcome:
        told = run.config("remedy")
        if run.id in self._said or not isinstance(told, Mapping) or "prediction" not in told:
            return NOT_APPLICABLE
        found = verdict(run.run)
        if found is None:
            return ()
        self._said.add(run.id)
        level = INFO if found.met else WARNING
        wall = int(run.run.last.get("wall_ns") or run.node.wall_ns)
        details = self._details(run, found, told)
        return (Occurrence(run.id, level, ("verdict", run.id), wall, details, run.step),)

    def _details(self, run: RunWindow, v: Verdict, told: Mapping[str, object]) -> Details:
        unit = _UNIT[v.metric]
        scale = 1000.0 if unit == "ms" else 1.0

        def shown(x: float | None) -> float | None:
            return None if x is None else x * scale

        limit = None
        if v.predicted is not None:
            sign = "+/-" if v.metric == "step_s" else "at most +"
            limit = f"{sign} {100 * MET:g} %" if v.metric != "loss" else f"<= {v.predicted:.3g}"
        evidence = [
            Ev("predicted", shown(v.predicted), unit),
            Ev("observed", shown(v.observed), unit, limit),
            Ev("before", shown(v.before), unit),
            Ev("steps", v.steps),
        ]
        options, old = told.get("options"), told.get("before")
        options = options if isinstance(options, Mapping) else {}
        old = old if isinstance(old, Mapping) else {}
        changed = ", ".join(f"{k} {old.get(k)} -> {options[k]}" for k in options) or "-"
        facts = {
            "run": run.id, "parent": told.get("run"), "rule": told.get("rule"), "changed": changed,
            "steps": num(v.steps, 9),
        }  # fmt: skip
        variant = None if v.met else "missed"
        return Details(evidence, facts, [] if v.met else ["next"], variant=variant)


RULES: tuple[type[Rule], ...] = (RemedyVerdict,)
