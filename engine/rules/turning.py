"""What gradients that turn from one step to the next say: whether steps jump across the valley, and how long
they may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dctop.engine.rules.window import median
from dctop.engine.training.runstate import RunState

PAIRS, LEAST = 10, 3
"""The newest so many comparisons count, and at least so many are needed."""
FAR_BACK = 5_000
"""Kept steps in which they are looked for."""
ACROSS = -0.3
"""A mean cosine below it: steps jump across. Batches of few samples are noise, and theirs is near 0."""
PLAIN = ("sgd", "batch-gd")
"""Optimizers whose step is the gradient times the rate; others divide it by its own size first."""


class Turning(NamedTuple):
    """Medians over the newest comparisons of neighbouring gradients."""

    cos: float
    growth: float
    stable: float | None
    """1 / L, L the curvature along the gradient: steps of a plain gradient g_1 = (1 - rate L) g_0, so that
    growth x cos = 1 - rate L. Told only where steps jump across: noise would give the rate itself."""


def turning(run: RunState) -> Turning | None:
    """None: fewer than three comparisons are known."""
    steps, cosines, growths = (run.columns.get(n) for n in ("step", "grad_cos", "grad_growth"))
    if not steps or not cosines or not growths:
        return None
    found: list[tuple[float, float]] = []
    n = min(len(steps), len(cosines), len(growths))
    for i in range(n - 1, max(-1, n - 1 - FAR_BACK), -1):
        cos, growth = cosines[i], growths[i]
        if cos - cos == 0 and growth - growth == 0:
            found.append((cos, growth))
            if len(found) == PAIRS:
                break
    if len(found) < LEAST:
        return None
    cos, growth = median([c for c, _ in found]) or 0.0, median([g for _, g in found]) or 0.0
    return Turning(cos, growth, _stable(run, cos, growth))


def _stable(run: RunState, cos: float, growth: float) -> float | None:
    asked, lr = run.config.get("config"), run.last.get("lr")
    plain = isinstance(asked, Mapping) and asked.get("optimizer") in PLAIN
    return lr / (1.0 - growth * cos) if lr and plain and cos < ACROSS else None
