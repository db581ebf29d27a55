"""What is too small to speak of: differences that count are held against what knowing nothing costs, and
against the noise of the evaluations themselves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import mad, median

FIRST = 20
"""Losses at the beginning that tell what knowing nothing costs, where classes do not."""


def untrained(run: RunWindow) -> float | None:
    """The loss of a model that knows nothing: ln C, else the median of the first losses."""
    if run.ln_classes is not None:
        return run.ln_classes
    return median([x for x in run.column("loss")[:FIRST] if x - x == 0])


def negligible(run: RunWindow, loss: float, share: float) -> bool:
    """Whether a loss is below that share of what knowing nothing costs: however many times another it may be,
    the model knows nearly everything with either."""
    whole = untrained(run)
    return whole is not None and loss < share * whole


def noise(values: Sequence[float]) -> float | None:
    """Standard deviation of one value about its trend, from the differences of neighbours; None of fewer than
    four."""
    if len(values) < 4:
        return None
    steps = [b - a for a, b in itertools.pairwise(values)]
    spread = mad(steps, median(steps) or 0.0)
    return None if spread is None else spread / math.sqrt(2.0)
