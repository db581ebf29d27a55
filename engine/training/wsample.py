"""Which steps are looked at more closely: as many as cost next to nothing.

Worker side, no torch. The gradient norm, the accuracy of the batch and the update ratio cost the same whether
a step takes 2 ms or 2 s. Each is measured as often as its share of the time stays below its budget, and the
log has no value for the steps between.
"""

from __future__ import annotations

import math
import time

ACCURACY, NORM, RATIO = range(3)
LEAST = (1, 1, 10)
MOST = (10, 20, 100)
"""Steps from one measurement to the next. At the most, rules that look at windows of 100 steps see enough."""
BUDGET = (0.0005, 0.0005, 0.0005)
"""Share of the run's time for each."""
LEARN = 20
"""Steps after which the intervals are set anew; the first are all measured."""
_WEIGHT = 0.2


class Sampling:
    """`begin` a step, read `accuracy`, `norm`, `ratio`, tell what they `cost` (ns), `end` the step."""

    def __init__(self, norm_is_free: bool) -> None:
        """`norm_is_free`: clipping computes it anyway."""
        self.every = list(LEAST)
        self.accuracy = self.norm = self.ratio = True
        self._norm_is_free = norm_is_free
        self._costs: list[float | None] = [None, None, None]
        self._step_s: float | None = None
        self._steps = 0

    def begin(self, number: int) -> None:
        every = self.every
        self.accuracy = number % every[ACCURACY] == 0
        self.norm = self._norm_is_free or number % every[NORM] == 0
        self.ratio = number % every[RATIO] == 0

    def taken(self) -> tuple[bool, bool, bool]:
        return self.accuracy, self.norm, self.ratio

    def cost(self, what: int, since_ns: int) -> None:
        """It was measured from `since_ns` (perf_counter_ns) until now."""
        self._costs[what] = _smooth(self._costs[what], (time.perf_counter_ns() - since_ns) * 1e-9)

    def end(self, step_s: float) -> None:
        self._step_s = _smooth(self._step_s, step_s)
        self._steps += 1
        if self._steps % LEARN == 0:
            self.every = [
                interval(cost, self._step_s, BUDGET[i], LEAST[i], MOST[i])
                for i, cost in enumerate(self._costs)
            ]


def interval(cost: float | None, step_s: float, budget: float, least: int, most: int) -> int:
    """Steps from one measurement to the next so that it takes at most `budget` of the time: a multiple of
    `least`, at most `most`."""
    if cost is None or step_s <= 0:
        return least
    return least * max(1, min(most // least, math.ceil(cost / (budget * step_s) / least)))


def _smooth(before: float | None, now: float) -> float:
    return now if before is None else before + _WEIGHT * (now - before)
