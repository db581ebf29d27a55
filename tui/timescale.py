"""How much time a graph spans: every pane sees the source through this, so all graphs follow one zoom."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from dctop.engine.metrics.source import Source

if TYPE_CHECKING:
    from dctop.engine.metrics.model import Snapshot
    from dctop.engine.rules.alert import Alert
    from dctop.engine.training.runstate import RunState

SCALES = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
"""Ticks a value of a graph stands for: with 150 values across, from minutes to twelve days at 1 Hz."""


class Scaled:
    """A source whose windows are `k` times as long: each value is the mean over `k` ticks. All else is the
    source's own."""

    def __init__(self, source: Source, k: int) -> None:
        self.source = source
        self.k = k
        self.mode: Literal["live", "replay"] = source.mode
        self.interval_s = source.interval_s

    def window(self, key: str, n: int) -> array[float]:
        return self.source.wide(key, n, self.k)  # type: ignore[attr-defined, no-any-return]

    def snapshot(self) -> Snapshot | None:
        return self.source.snapshot()

    def alerts(self) -> Sequence[Alert]:
        return self.source.alerts()

    def runs(self) -> Sequence[RunState]:
        return self.source.runs()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)


def scaled(source: Source, k: int) -> Source:
    """`source` with graphs `k` times as wide in time; itself where it cannot."""
    return Scaled(source, k) if k > 1 and hasattr(source, "wide") else source


def by_tick(source: Source) -> Source:
    """The source whose windows are single ticks, for figures reckoned from them."""
    return source.source if isinstance(source, Scaled) else source


def next_scale(k: int, by: int) -> int:
    """The next wider (`by` > 0) or narrower of SCALES; `k` itself at the ends."""
    nearest = min(range(len(SCALES)), key=lambda i: abs(SCALES[i] - k))
    return SCALES[max(0, min(len(SCALES) - 1, nearest + by))]
