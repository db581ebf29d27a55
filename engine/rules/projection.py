"""Problem 4, too slow for its plan: where the curve of a run will be when its planned steps are done."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from dctop.engine.rules.base import (
    NOT_APPLICABLE,
    WARNING,
    Details,
    Ev,
    KeepingRule,
    Needs,
    Outcome,
    Reading,
    Rule,
    num,
)
from dctop.engine.rules.learning import autocorrelation
from dctop.engine.rules.powerlaw import Line, Power, begun, fit, line
from dctop.engine.rules.runsteps import WARMUP_STEPS
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import median
from dctop.engine.training.runstate import RunState

FIRST, SHARE = 200, 4
"""Steps, and part of the plan, before which no curve can be told."""
SPACING = 1.1
"""From one look to the next so much further on: looks at nearly the same steps would say the same."""
RECENT, NEWEST = 0.25, 0.5
"""A line is laid through what came after this share of the steps; through evaluations also after that."""
EVALS = 4
"""Evaluations of which a line may be told; half as many more where nothing else tells."""
DECAYED = 2 / 3
"""Share of the plan after which the schedule `step` lowers the rate no more."""
FAR = 20.0
"""More than so many times the plan: not by training on."""


class Forecast(NamedTuple):
    """In the unit of what is compared with the target: the test loss, or the share that is wrong."""

    final: float
    least: float
    """The lowest any of the models leaves room for, `models` of them."""
    models: int
    begun: bool
    """It has begun to learn: only then its end can be told."""
    curve: Power | None
    """None: too few values for one, the evaluations told alone."""
    gap: float
    """Evaluation above training."""
    step: int

    def reached_at(self, target: float) -> float | None:
        """Step; None: the curve ends above the target, or there is none."""
        return None if self.curve is None else self.curve.reaches(target - self.gap)


def forecast(run: RunState, at: int) -> Forecast | None:
    """Where it ends by its plan, from what was known at step `at`. None: not enough to tell, or no plan."""
    total, of = run.config.get("total_steps"), run.config.get("target_of")
    if not isinstance(total, int) or of not in ("accuracy", "loss"):
        return None
    since = max(WARMUP_STEPS, _warmup(run))
    steps, values = _known(run, of, since, at)
    found = fit(steps, values)
    evals = [
        (step, 1.0 - y if of == "accuracy" else float(y))
        for e in run.evals
        if isinstance(y := e.get(of), (int, float)) and y - y == 0
        and isinstance(step := e.get("step"), int) and since < step <= at
    ]  # fmt: skip
    started = begun(values) or (of != "loss" and begun(_known(run, "loss", since, at)[1]))
    if found is None:
        own = _by_evaluations(evals, at, total, 1.5 * EVALS)
        if not own:
            return None
        return Forecast(own[0].middle, min(x.low for x in own), len(own), started, None, 0.0, at)
    gap = median([y - found.best.at(t) for t, y in evals if t >= FIRST / 2][-3:]) or 0.0
    lows = [min(p.at(total) for p in found.likely) + gap]
    trend = line(steps, values, total, RECENT * at)
    lows += [] if trend is None else [trend.low + gap]
    lows += [x.low for x in _by_evaluations(evals, at, total, EVALS)[:1]]
    return Forecast(found.best.at(total) + gap, min(lows), len(lows), started, found.best, gap, at)


def _by_evaluations(evals: Sequence[tuple[int, float]], at: int, total: int, least: float) -> list[Line]:
    """Lines through the evaluations; none of fewer than `least`."""
    if len(evals) < least:
        return []
    steps, values = [float(t) for t, _ in evals], [y for _, y in evals]
    found = [line(steps, values, total, share * at) for share in (RECENT, NEWEST)]
    return [x for x in found if x is not None]


def _known(run: RunState, of: str, since: int, at: int) -> tuple[list[float], list[float]]:
    """(steps, losses or shares that are wrong) after `since` up to `at`, as far as they were measured."""
    empty: array[float] = array("d")
    steps, values = run.columns.get("step", empty), run.columns.get(of, empty)
    n = min(bisect_right(steps, at), len(values))
    rows = [i for i in range(bisect_right(steps, since), n) if values[i] - values[i] == 0]
    return [steps[i] for i in rows], [1.0 - values[i] if of == "accuracy" else values[i] for i in rows]


def _warmup(run: RunState) -> int:
    asked = run.config.get("config")
    steps = asked.get("warmup_steps") if isinstance(asked, Mapping) else None
    return steps if isinstance(steps, int) else 0


def fits_until(step: int, total: int, warmup: int = 0) -> list[int]:
    """Steps at which a curve is looked at: by number, so that live and replay do it alike."""
    at, out = float(max(FIRST, total // SHARE, 2 * warmup)), []
    while at <= step:
        out.append(int(at))
        at = max(at + 1, at * SPACING)
    return out


class SlowConvergence(KeepingRule[dict[int, Forecast | None]]):
    """Models of the curve of what `--target` asks for, the training loss or the share of wrong answers, plus
    the gap between it and the last three evaluations: a power law a + b t^-c, fitted to the moving average of
    50 steps (the lowest end within the 95 % interval of its exponent), a line over the logarithm of the steps
    through the newer three quarters, and such a line through the evaluations where there are four (each at
    the lower end of its 95 % interval). Where in three looks in a row, each 10 % of the steps later, even the
    lowest of them misses the target at the last planned step by a twentieth (of the loss, of the wrong
    answers; a tenth where the rate decays by a cosine: what a decay brings is foretold by nothing before it),
    it will be missed. From step 200, a quarter of the plan and twice the warm-up on; not before it
    has begun to learn (the loss is down by a fifth). Measured on curves of seeds that no threshold was set
    on: docs/DIAGNOSIS.md, forecasts. Not guessed: without a target there is nothing to say. Not judged:
    resumed runs, and the schedule `step` before its last decay, which nothing before it foretells."""

    id = "slow-convergence"
    problem = "convergence"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "fits": 3.0, "margin": 0.05, "margin_decay": 0.1, "hold_s": 0.0,
    }  # fmt: skip
    source = "power law of learning curves; SageMaker LossNotDecreasing; docs/DIAGNOSIS.md"

    def judge(self, run: RunWindow) -> Outcome:
        target = run.config("config", "target")
        if not isinstance(target, (int, float)) or target <= 0:
            return Needs("target")
        total, step, n = run.config("total_steps"), run.step or 0, int(self.t["fits"])
        if not isinstance(total, int) or run.config("target_of") not in ("accuracy", "loss"):
            return Needs("field", "target_of")
        due = looks(run, min(step, total), total)
        if due is None:
            return NOT_APPLICABLE
        if len(due) < n:
            ahead = looks(run, 10 * max(FIRST, total), total) or [0] * n
            return Needs("steps", f"{ahead[n - 1]}")
        found = [f for at in due[-n:] if (f := self._made_at(run, at, due[-n])) is not None]
        if len(found) < n:
            return Needs("field", str(run.config("target_of")))
        wanted = 1.0 - target if run.config("target_of") == "accuracy" else float(target)
        room = 1.0 + self.t["margin_decay" if run.config("config", "schedule") == "cosine" else "margin"]
        missed = [f.begun and f.least > room * wanted for f in found]
        level = WARNING if all(missed) else 0
        latest = found[-1]
        return (
            Reading(
                run.id, level, not missed[-1], lambda: self._details(run, latest, float(target), total),
                step=step,
            ),
        )  # fmt: skip

    def _made_at(self, run: RunWindow, at: int, oldest: int) -> Forecast | None:
        """Each is made once; those from before `oldest` are let go."""
        made = self._kept.setdefault(run.id, {})
        for old in [old for old in made if old < oldest]:
            del made[old]
        if at not in made:
            made[at] = forecast(run.run, at)
        return made[at]

    def _details(self, run: RunWindow, p: Forecast, target: float, total: int) -> Details:
        rights = run.config("target_of") == "accuracy"
        final = 1.0 - p.final if rights else p.final
        per_epoch = run.config("steps_per_epoch")
        at = p.reached_at(1.0 - target if rights else target)
        reached = at if at is not None and at < FAR * total else None
        ends = None if p.curve is None else 1.0 - p.curve.a - p.gap if rights else p.curve.a + p.gap
        extra = None if reached is None else max(1, math.ceil(reached) - total)
        epochs = extra / per_epoch if extra is not None and isinstance(per_epoch, int) and per_epoch else None
        lr, ratio = run.median("lr", 5, 1), run.median("update_ratio", 5, 1)
        ac1 = autocorrelation(run.train("loss", 200))
        evidence = [
            Ev("final", final, "", f"{'<' if rights else '>'} {target:g}"),
            Ev("least", 1.0 - p.least if rights else p.least),
            Ev("models", p.models),
            Ev("target", target),
            Ev("planned", total, "steps"),
            Ev("extra", extra, "steps"),
            Ev("epochs", None if epochs is None else round(epochs, 2)),
            Ev("exponent", None if p.curve is None else round(p.curve.c, 3)),
            Ev("gap", None if p.curve is None else round(p.gap, 4)),
            Ev("ac1", None if ac1 is None else round(ac1, 3)),
            Ev("ratio", ratio),
        ]
        needed = None if extra is None else total + extra
        facts = {
            "run": run.id, "final": num(final), "target": num(target), "total": num(total, 9),
            "extra": num(extra, 9), "epochs": num(epochs), "steps": num(needed, 9),
            "times": num(None if extra is None else 1 + extra / total), "step": num(p.step, 9),
            "lr": num(lr), "new": num(None if lr is None or not ratio else lr * min(10.0, 3e-3 / ratio)),
            "limit": num(ends), "least": num(1.0 - p.least if rights else p.least), "models": p.models,
        }  # fmt: skip
        # The marks of lr-could-rise.
        rises = ac1 is not None and ac1 > 0.5 and ratio is not None and ratio < 1e-3
        remedies: list[str | tuple[str, Mapping[str, object]]] = ["raise"] if rises else []
        remedies.append("longer" if reached is not None else "larger")
        variant = None if reached is not None else "never" if ends is not None else "evaluations"
        return Details(evidence, facts, remedies, variant=variant)


def looks(run: RunWindow, step: int, total: int) -> list[int] | None:
    """Steps up to `step` at which its curve may be told; None: not of this run."""
    schedule = run.config("config", "schedule")
    if run.resumed or schedule not in (None, "constant", "cosine", "step"):
        return None
    first = DECAYED * total if schedule == "step" else 0.0
    return [at for at in fits_until(step, total, _warmup(run.run)) if at > first]


def steps_needed(run: RunState) -> int | None:
    """Steps the run needs to reach its target, by the latest fit; None: not to be told, or never."""
    total = run.config.get("total_steps")
    if not isinstance(total, int) or run.step is None:
        return None
    asked = run.config.get("config")
    target = asked.get("target") if isinstance(asked, Mapping) else None
    due = fits_until(min(run.step, total), total, _warmup(run))
    found = forecast(run, due[-1]) if due else None
    if found is None or not isinstance(target, (int, float)):
        return None
    at = found.reached_at(1.0 - target if run.config.get("target_of") == "accuracy" else float(target))
    return None if at is None or at > FAR * total else math.ceil(at)


RULES: tuple[type[Rule], ...] = (SlowConvergence,)
