"""A single server that requests reach at random (Poisson) and that takes about as long for each: M/D/1."""

from __future__ import annotations

import math

STEPS = 60
"""Of a bisection: beyond double precision."""


def mean_wait(rate: float, service_s: float) -> float | None:
    """Mean seconds in the queue: rho t / (2 (1 - rho)) (Pollaczek-Khinchine without variance); None: it grows
    without end."""
    rho = rate * service_s
    return None if rho >= 1 else rho * service_s / (2 * (1 - rho))


def p99_wait(rate: float, service_s: float) -> float | None:
    """The wait that one request in a hundred exceeds; None: it grows without end.

    P(W > x) = C exp(-y x / t) for long waits (Cramer-Lundberg), y the positive root of rho (exp(y) - 1) = y
    and C = (1 - rho) / (rho exp(y) - 1).
    """
    rho = rate * service_s
    if rho >= 1:
        return None
    if rho <= 0.01:  # fewer than one in a hundred finds the server busy
        return 0.0
    low, high = 2 * (1 - rho), -8 * math.log(rho) + 2
    # rho (exp(y) - 1) - y is negative up to the root.
    low = min(low, high) / 2
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if rho * math.expm1(middle) < middle else (low, middle)
    scale = (1 - rho) / (rho * math.exp(low) - 1)
    return max(0.0, service_s * math.log(100 * scale) / low)


def most_rate(service_s: float, limit_s: float) -> float | None:
    """The most requests a second whose p99, wait and service, keeps the limit; None: none does."""
    if service_s <= 0 or service_s >= limit_s:
        return None
    low, high = 0.0, 1.0 / service_s
    for _ in range(STEPS):
        middle = (low + high) / 2
        wait = p99_wait(middle, service_s)
        keeps = wait is not None and wait + service_s <= limit_s
        low, high = (middle, high) if keeps else (low, middle)
    return low


def least_replicas(rate: float, service_s: float, target: float) -> int:
    """Servers that share the load so that none is busy more than `target` of the time."""
    return max(1, math.ceil(rate * service_s / target))
