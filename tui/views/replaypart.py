"""What the screen shows of a replay beside the panes: the two-line bar and what the timeline is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row
from dctop.tui.sources import ReplayLike
from dctop.tui.state import UiState
from dctop.tui.views import replaybar

if TYPE_CHECKING:
    from dctop.tui.panes.timeline import TimelinePane

SEVERITIES = ("critical", "warning", "info")


class ReplayPart:
    """Keeps what is dear to make (marks, overview) until the recording has grown."""

    def __init__(self) -> None:
        self._told = -1
        self._marks: tuple[int, list[replaybar.Mark]] = (-1, [])

    def marks(self, source: ReplayLike) -> list[replaybar.Mark]:
        """Alerts and markers on the time axis."""
        if self._marks[0] != source.t1_ns:
            found = [replaybar.Mark(e.t0, e.sev or e.kind) for e in source.events() if e.kind != "gap"]
            self._marks = (source.t1_ns, found)
        return self._marks[1]

    def tell(self, model: TimelinePane, source: ReplayLike, state: UiState, values: int) -> None:
        """`values`: how many of them the graphs show."""
        if self._told != source.t1_ns:
            from dctop.tui.panes.timeline import TimelineState

            self._told = source.t1_ns
            marks = [
                (m.wall_ns, "", "mark" if m.kind not in SEVERITIES else m.kind) for m in self.marks(source)
            ]
            model.state = TimelineState(
                source.t0_ns, source.t1_ns, marks=marks, gaps=source.gaps(), lanes=source.overview()
            )
        now = model.state
        now.cursor_ns, now.speed = source.position_ns, state.speed
        now.playing = state.playing or state.following
        now.window_ns = int(values * state.scale * source.interval_s * 1e9)

    def rows(self, source: ReplayLike, w: int, look: Look) -> list[Row]:
        """The bar on `w` cells."""
        return replaybar.rows(
            source.t0_ns, source.t1_ns, source.position_ns, self.marks(source), source.gaps(), w, look
        )
