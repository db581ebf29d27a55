"""The formulas of M/D/1 against a queue that is played through."""

from __future__ import annotations

import random

import pytest

from dctop.engine.rules.queueing import least_replicas, mean_wait, most_rate, p99_wait


def played(rho: float, requests: int = 200_000) -> list[float]:
    """Waits of requests with a service of 1 s, sorted."""
    rng, wait, out = random.Random(7), 0.0, []
    for _ in range(requests):
        out.append(wait)
        wait = max(0.0, wait + 1.0 - rng.expovariate(rho))
    return sorted(out)


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.7, 0.85])
def test_waits_are_those_of_a_queue_that_is_played(rho: float) -> None:
    waits = played(rho)
    assert mean_wait(rho, 1.0) == pytest.approx(sum(waits) / len(waits), rel=0.08)
    assert p99_wait(rho, 1.0) == pytest.approx(waits[int(0.99 * len(waits))], rel=0.12)


def test_an_overloaded_server_has_no_wait_and_an_idle_one_none_to_speak_of() -> None:
    assert mean_wait(1.0, 1.0) is None and p99_wait(2.0, 1.0) is None
    assert p99_wait(0.001, 1.0) == 0.0


def test_the_rate_that_keeps_a_limit_just_keeps_it() -> None:
    rate = most_rate(0.005, 0.020)
    assert rate is not None and 0 < rate < 200
    wait = p99_wait(rate, 0.005)
    assert wait is not None and wait + 0.005 == pytest.approx(0.020, rel=1e-3)
    assert most_rate(0.02, 0.02) is None and most_rate(0.0, 1.0) is None


def test_replicas_are_busy_at_most_the_target() -> None:
    assert least_replicas(180.0, 0.005, 0.7) == 2 and least_replicas(10.0, 0.001, 0.7) == 1
