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
from dctop.engine.rules.runsteps import WARMUP_STEPS
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import median
from dctop.engine.training.runstate import RunState

SPAN = 50
"""Steps of the moving average."""
BEGUN = 0.8
"""The newest average is below this share of the highest: before, it has not begun to learn."""
FIRST, SHARE = 200, 4
"""Steps, and part of the plan, before which no curve can be told."""
FASTER = 0.95
"""The mean of the newest third below this share of its fit: the curve falls faster than a power law."""
SPACING = 1.1
"""From one fit to the next so much further on: fits of nearly the same steps would say the same."""
POINTS = 60
RATIO = 1.2
EXPONENTS = tuple(0.05 * RATIO**k for k in range(21))
"""0.05 to 1.9: below, a power law is a logarithm, above, it is over."""
FAR = 20.0
"""More than so many times the plan: not by training on."""


class Power(NamedTuple):
    """y = a + b t^-c, a and b not negative."""

    a: float
    b: float
    c: float

    def at(self, t: float) -> float:
        return self.a + self.b * math.pow(t, -self.c)

    def reaches(self, y: float) -> float | None:
        """The t at which it has come down to `y`; None: never."""
        if y <= self.a or self.b <= 0:
            return None
        exponent = math.log(self.b / (y - self.a)) / self.c
        return math.exp(exponent) if exponent < 100 else None


class Fits(NamedTuple):
    """The curve that fits best, and all that fit about as well."""

    best: Power
    likely: list[Power]
    tells: bool
    """It has begun to fall (`BEGUN`) and does not fall faster than the fit (`FASTER`): only then its end can
    be told."""


class Projection(NamedTuple):
    """In the unit of what is compared with the target: the test loss, or the share that is wrong."""

    final: float
    least: float
    """Where the lowest of the curves that fit about as well ends."""
    target: float
    reached_at: float | None
    """Step; None: the curve ends above the target."""
    curve: Power
    gap: float
    """Evaluation above training."""
    tells: bool
    """Of the fit."""
    step: int


def smoothed(values: Sequence[float], at: Sequence[int]) -> list[float]:
    """Exponential moving average over about `SPAN` values, at the indices `at` alone; what is more than two
    spans ago weighs nothing."""
    out = []
    for i in at:
        window = values[max(0, i + 1 - 2 * SPAN) : i + 1]
        weights = _WEIGHTS[-len(window) :]
        out.append(math.fsum(w * v for w, v in zip(weights, window)) / math.fsum(weights))
    return out


_WEIGHTS = [(1.0 - 2.0 / (SPAN + 1)) ** k for k in reversed(range(2 * SPAN))]


def fit(steps: Sequence[float], values: Sequence[float]) -> Fits | None:
    """Least squares over the average at indices evenly spaced in log t: a and b in closed form for each
    exponent. The power law is averaged as the values are, so that the average bends neither. Likely is what
    lies within the 95 % interval of the exponent (its likelihood ratio; a span is one independent value).
    None of fewer than three spans."""
    n = len(steps)
    if n < 3 * SPAN or steps[0] <= 0:
        return None
    logs = [math.log(t) for t in steps]
    at = _spaced(logs)
    ys = smoothed(values, at)
    third = sum(i < 2 * n // 3 for i in at)
    tried = [_try(c, logs, at, ys, third) for c in EXPONENTS]
    middle = min(tried)[1].c
    tried += [_try(middle * RATIO ** (k / 3), logs, at, ys, third) for k in (-2, -1, 1, 2)]
    least, best, end = min(tried)
    limit = least * (1.0 + 4.0 / max(1.0, n / SPAN - 3.0))
    tells = ys[-1] < BEGUN * max(ys) and math.fsum(ys[third:]) >= FASTER * end
    return Fits(best, [p for error, p, _ in tried if error <= limit], tells)


def _try(
    c: float, logs: Sequence[float], at: Sequence[int], ys: Sequence[float], third: int
) -> tuple[float, Power, float]:
    """(sum of squares, curve of that exponent, sum of it from the average number `third` on)."""
    xs = smoothed([math.exp(-c * t) for t in logs], at)
    mean_x, mean_y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    spread = math.fsum((x - mean_x) ** 2 for x in xs)
    b = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys)) / spread if spread else 0.0
    b = max(0.0, b)
    a = mean_y - b * mean_x
    if a < 0:
        a, b = 0.0, max(0.0, math.fsum(x * y for x, y in zip(xs, ys)) / math.fsum(x * x for x in xs))
    error = math.fsum((y - a - b * x) ** 2 for x, y in zip(xs, ys))
    return error, Power(a, b, c), math.fsum(a + b * x for x in xs[third:])


def _spaced(logs: Sequence[float]) -> list[int]:
    """At most `POINTS` indices from a span on."""
    low, high = logs[SPAN - 1], logs[-1]
    out: list[int] = []
    for i in range(SPAN - 1, len(logs)):
        if logs[i] >= low + len(out) * (high - low) / POINTS:
            out.append(i)
    return out


def project(run: RunState, at: int) -> Projection | None:
    """From what was known at step `at`. None: not enough to tell, or no plan."""
    asked, total = run.config.get("config"), run.config.get("total_steps")
    target = asked.get("target") if isinstance(asked, Mapping) else None
    of = run.config.get("target_of")
    if not isinstance(target, (int, float)) or not isinstance(total, int) or of not in ("accuracy", "loss"):
        return None
    empty: array[float] = array("d")
    steps, values = run.columns.get("step", empty), run.columns.get(of, empty)
    n = bisect_right(steps, at)
    if len(values) < n:
        return None
    rights = of == "accuracy"
    known = [i for i in range(n) if steps[i] > WARMUP_STEPS and values[i] - values[i] == 0]
    found = fit([steps[i] for i in known], [1.0 - values[i] if rights else values[i] for i in known])
    if found is None:
        return None
    gaps = [
        (1.0 - y if rights else y) - found.best.at(step)
        for e in run.evals
        if isinstance(y := e.get(of), (int, float)) and y - y == 0
        and isinstance(step := e.get("step"), int) and FIRST / 2 <= step <= at
    ]  # fmt: skip
    gap = median(gaps[-3:]) or 0.0
    wanted = 1.0 - target if rights else float(target)
    least = min(p.at(total) for p in found.likely)
    best = found.best
    reached = best.reaches(wanted - gap)
    return Projection(best.at(total) + gap, least + gap, wanted, reached, best, gap, found.tells, at)


def fits_until(step: int, total: int) -> list[int]:
    """Steps at which a curve is fitted: by number, so that live and replay do it alike."""
    at, out = float(max(FIRST, total // SHARE)), []
    while at <= step:
        out.append(int(at))
        at = max(at + 1, at * SPACING)
    return out


class SlowConvergence(KeepingRule[dict[int, Projection | None]]):
    """A curve L(t) = a + b t^-c, fitted to the moving average (50 steps) of what `--target` asks for, the
    training loss or the share of wrong answers; plus the gap between it and the last three evaluations.
    Where three fits in a row, each of 10 % more steps, miss the target at the last planned step by a tenth
    (of the loss, of the wrong answers), and so does every curve in the 95 % interval of the exponent, it will
    be missed. From step 200, a quarter of the plan and 150 measured steps on; not before it has begun to fall
    (by a fifth), nor where it falls faster than its fit. Measured on 73 curves of 38 healthy runs of 400 to
    3,000 steps: with the level each ended at as target none was given up (without interval and these limits,
    half), with a fifth less 33, the others being too short. Fashion-MNIST in 900 steps ends at 0.82-0.83:
    targets of 0.9 and 0.95 were given up at step 646-781 in 6 of 6 runs. Not guessed: without a
    target there is nothing to say. Not judged: schedules of the learning rate, whose end falls faster than
    the curve before it."""

    id = "slow-convergence"
    problem = "convergence"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {"fits": 3.0, "margin": 0.1, "hold_s": 0.0}
    source = "power law of learning curves; SageMaker LossNotDecreasing"

    def judge(self, run: RunWindow) -> Outcome:
        target = run.config("config", "target")
        if not isinstance(target, (int, float)) or target <= 0:
            return Needs("target")
        if run.config("config", "schedule") not in (None, "constant") or run.resumed:
            return NOT_APPLICABLE
        total, step, n = run.config("total_steps"), run.step or 0, int(self.t["fits"])
        if not isinstance(total, int) or run.config("target_of") not in ("accuracy", "loss"):
            return Needs("field", "target_of")
        due = fits_until(min(step, total), total)[-n:]
        if len(due) < n:
            return Needs("steps", f"{fits_until(10 * max(FIRST, total), total)[n - 1]}")
        made = self._kept.setdefault(run.id, {})
        for at in [old for old in made if old < due[0]]:
            del made[at]
        for at in due:
            if at not in made:
                made[at] = project(run.run, at)
        found = [p for at in due if (p := made[at]) is not None]
        if len(found) < n:
            return Needs("field", str(run.config("target_of")))
        margin = 1.0 + self.t["margin"]
        missed = [p.least > margin * p.target and p.tells for p in found]
        level = WARNING if all(missed) else 0
        latest = found[-1]
        return (
            Reading(
                run.id, level, not missed[-1], lambda: self._details(run, latest, float(target), total),
                step=step,
            ),
        )  # fmt: skip

    def _details(self, run: RunWindow, p: Projection, target: float, total: int) -> Details:
        rights = run.config("target_of") == "accuracy"
        final = 1.0 - p.final if rights else p.final
        per_epoch = run.config("steps_per_epoch")
        reached = p.reached_at if p.reached_at is not None and p.reached_at < FAR * total else None
        extra = None if reached is None else max(1, math.ceil(reached) - total)
        epochs = extra / per_epoch if extra is not None and isinstance(per_epoch, int) and per_epoch else None
        lr, ratio = run.median("lr", 5, 1), run.median("update_ratio", 5, 1)
        ac1 = autocorrelation(run.train("loss", 200))
        evidence = [
            Ev("final", final, "", f"{'<' if rights else '>'} {target:g}"),
            Ev("target", target),
            Ev("planned", total, "steps"),
            Ev("extra", extra, "steps"),
            Ev("epochs", None if epochs is None else round(epochs, 2)),
            Ev("exponent", round(p.curve.c, 3)),
            Ev("gap", round(p.gap, 4)),
            Ev("ac1", None if ac1 is None else round(ac1, 3)),
            Ev("ratio", ratio),
        ]
        needed = None if extra is None else total + extra
        facts = {
            "run": run.id, "final": num(final), "target": num(target), "total": num(total, 9),
            "extra": num(extra, 9), "epochs": num(epochs), "steps": num(needed, 9),
            "times": num(None if extra is None else 1 + extra / total), "step": num(p.step, 9),
            "lr": num(lr), "new": num(None if lr is None or not ratio else lr * min(10.0, 3e-3 / ratio)),
            "limit": num(1.0 - p.curve.a - p.gap if rights else p.curve.a + p.gap),
        }  # fmt: skip
        # The marks of lr-could-rise.
        rises = ac1 is not None and ac1 > 0.5 and ratio is not None and ratio < 1e-3
        remedies: list[str | tuple[str, Mapping[str, object]]] = ["raise"] if rises else []
        remedies.append("longer" if reached is not None else "larger")
        return Details(evidence, facts, remedies, variant=None if reached is not None else "never")


def steps_needed(run: RunState) -> int | None:
    """Steps the run needs to reach its target, by the latest fit; None: not to be told, or never."""
    total = run.config.get("total_steps")
    if not isinstance(total, int) or run.step is None:
        return None
    due = fits_until(min(run.step, total), total)
    found = project(run, due[-1]) if due else None
    if found is None or found.reached_at is None or found.reached_at > FAR * total:
        return None
    return math.ceil(found.reached_at)


RULES: tuple[type[Rule], ...] = (SlowConvergence,)
