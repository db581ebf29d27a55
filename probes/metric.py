"""How a metric is declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "info"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A declared metric.

    `id` dotted name with unit suffix; `unit` in words a reader knows (bytes, %, °C, ticks);
    `labels` in key order; `help` one line; `how` where the value comes from; `rate` id of the derived
    per-second series of a counter, `scale` what its difference is multiplied with.
    """

    id: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    how: str
    rate: str | None = None
    scale: float = 1.0


def metric(
    id: str,  # noqa: A002
    kind: Kind,
    unit: str,
    labels: str,
    help: str,  # noqa: A002
    how: str,
    rate: str | None = None,
    scale: float = 1.0,
) -> Metric:
    """As `Metric`, the labels as words of one string."""
    return Metric(id, kind, unit, tuple(labels.split()), help, how, rate, scale)
