"""Closer looks are as rare as their cost demands, and no rarer."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.training import wsample


@given(st.floats(1e-7, 1.0), st.floats(1e-5, 100.0))
def test_a_look_stays_within_its_budget_unless_it_is_at_its_rarest(cost: float, step_s: float) -> None:
    for budget, least, most in zip(wsample.BUDGET, wsample.LEAST, wsample.MOST, strict=True):
        every = wsample.interval(cost, step_s, budget, least, most)
        assert least <= every <= most and every % least == 0
        assert every > most - least or cost / (every * step_s) <= budget * 1.000001
        assert every == least or cost / ((every - least) * step_s) > budget * 0.999999


def test_nothing_is_known_at_first_so_everything_is_measured() -> None:
    sampling = wsample.Sampling(norm_is_free=False)
    seen = []
    for number in range(1, 21):
        sampling.begin(number)
        seen.append(sampling.taken())
        sampling.end(0.001)
    assert seen == [(True, True, n % 10 == 0) for n in range(1, 21)]


def test_a_dear_look_at_a_short_step_becomes_rare_and_a_cheap_one_stays() -> None:
    sampling = wsample.Sampling(norm_is_free=False)
    for number in range(1, 41):
        sampling.begin(number)
        now = time.perf_counter_ns()
        sampling.cost(wsample.NORM, now - round(9.5e9 * wsample.BUDGET[wsample.NORM]))
        sampling.cost(wsample.ACCURACY, now)
        sampling.end(1.0)
    assert sampling.every == [1, 10, 10]
    free = wsample.Sampling(norm_is_free=True)
    free.every = [1, 20, 10]
    free.begin(3)
    assert free.norm  # clipping computes it
