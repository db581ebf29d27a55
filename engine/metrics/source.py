"""`Source`: the one thing panes, rules and commands read, live or replayed."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from dctop.engine.metrics.model import Snapshot
    from dctop.engine.rules.alert import Alert
    from dctop.engine.training.runstate import RunState


class Source(Protocol):
    """Where everything shown comes from. Panes never read /proc, clocks or files.

    Thread rule: live, the engine thread writes and the UI thread reads; every attribute handed out is
    either immutable or replaced whole.
    """

    mode: Literal["live", "replay"]
    interval_s: float

    def snapshot(self) -> Snapshot | None:
        """The current one (live: the latest tick, or the looked-back one; replay: at the cursor)."""

    def window(self, key: str, n: int) -> array[float]:
        """The last `n` ticks of a numeric series up to the current one, newest last, exactly `n` long;
        NaN where it was not read or did not exist. Unknown series: all NaN."""

    def alerts(self) -> Sequence[Alert]:
        """Open and recently closed, gravest and newest first, as of the current moment."""

    def runs(self) -> Sequence[RunState]:
        """Training runs known at the current moment, active first, newest first."""
