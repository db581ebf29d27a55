"""A single server that requests reach at random (Poisson) and that takes about as long for each: M/D/1."""

from __future__ import annotations

import math


def mean_wait(rate: float, service_s: float) -> float | None:
    """Mean seconds in the queue: rho t / (2 (1 - rho)) (Pollaczek-Khinchine without variance); None: it grows
    without end."""
    rho = rate * service_s
    return None if rho >= 1 else rho * service_s / (2 * (1 - rho))


def p99_wait(rate: float, service_s: float) -> float | None:
    """The wait that one request in a hundred exceeds: P(W > x) = rho exp(-2 (1 - rho) x / t), the decay of
    heavy traffic (Kingman); None: it grows without end."""
    rho = rate * service_s
    if rho >= 1:
        return None
    return max(0.0, service_s * math.log(100 * rho) / (2 * (1 - rho))) if rho > 0 else 0.0


def most_rate(service_s: float, limit_s: float) -> float | None:
    """The most requests a second whose p99, wait and service, keeps the limit; None: none does."""
    if service_s <= 0 or service_s >= limit_s:
        return None
    low, high = 0.0, 1.0 / service_s
    for _ in range(50):
        middle = (low + high) / 2
        wait = p99_wait(middle, service_s)
        if wait is not None and wait + service_s <= limit_s:
            low = middle
        else:
            high = middle
    return low


def least_replicas(rate: float, service_s: float, target: float) -> int:
    """Servers that share the load so that none is busy more than `target` of the time."""
    return max(1, math.ceil(rate * service_s / target))
