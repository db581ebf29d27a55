"""Everything the screen remembers that is not a pane's own."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dctop.tui.dialogs.base import LineEdit

ViewName = Literal["dashboard", "gpu", "alerts", "runs", "processes"]
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
NOTICE_S = {"information": 4.0, "warning": 7.0, "error": 12.0}


@dataclass(slots=True)
class Filtering:
    """The filter line while it is open."""

    pane: str
    edit: LineEdit
    before: str


@dataclass(slots=True)
class UiState:
    view: ViewName = "dashboard"
    focus: str = "processes"
    zoomed: bool = False
    gpu_detail: bool = False
    """The GPU view shows one GPU instead of all."""
    hidden: set[str] = field(default_factory=set)
    wanted: list[str] = field(default_factory=list)
    """Panes asked for by their digit: they go before the others where room is short."""
    paused_at: int | None = None
    """Tick at which the screen was frozen."""
    playing: bool = False
    following: bool = False
    """Replay: at the end of a recording that is being made, and going along with it."""
    silent_s: float = 0.0
    """Replay of a recording that is being made: seconds since it last grew."""
    speed: float = 1.0
    scale: int = 1
    """Ticks each value of a graph stands for."""
    theme: str = "dctop-dark"
    filtering: Filtering | None = None
    notice: tuple[str, str, float] | None = None
    """(text, severity, monotonic time at which it goes)"""
    notices: deque[str] = field(default_factory=lambda: deque(maxlen=200))

    def say(self, text: str, severity: str = "information") -> None:
        self.notice = (text, severity, time.monotonic() + NOTICE_S.get(severity, 4.0))
        self.notices.append(f"{time.strftime('%H:%M:%S')}  {text}")

    def current_notice(self) -> tuple[str, str] | None:
        if self.notice is not None and time.monotonic() >= self.notice[2]:
            self.notice = None
        return None if self.notice is None else self.notice[:2]

    def faster(self, by: int) -> float:
        """The next of SPEEDS in this direction."""
        nearest = min(range(len(SPEEDS)), key=lambda i: abs(SPEEDS[i] - self.speed))
        self.speed = SPEEDS[max(0, min(len(SPEEDS) - 1, nearest + by))]
        return self.speed
