"""The one timer: wakes when the source has something new, sleeps in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from dctop.engine.metrics.source import Source
from dctop.tui.sources import is_live, is_replay
from dctop.tui.state import UiState

AFTER_TICK_S = 0.0005
"""How long after the engine's tick is usually done to look for its result: later the CPU would have gone to
sleep in between, and forgotten what drawing needs of what the tick has just made."""
AGAIN_S = 0.004
"""When to look again if it is not there: it takes longer today."""
RETRY_S = 0.02
STALL_TICKS = 3
"""Intervals without a tick after which the header says so."""


class Ticker:
    """Calls `draw(new)` after each tick of the engine, or at the playing speed of a replay.

    Live it follows the engine's own clock (`next_tick_mono`), so a frame is drawn once and as soon as it
    exists; nothing is called from the engine's thread.
    """

    def __init__(
        self, source: Source, state: UiState, draw: Callable[[float], None], busy: Callable[[], bool]
    ) -> None:
        """`draw` gets the seconds the engine is late (0: a new tick); `busy`: the terminal is not taking
        what was written, so drawing must wait."""
        self._source = source
        self._state = state
        self._draw = draw
        self._busy = busy
        self._seq = -1
        self._tries = 0
        self._last_new = time.monotonic()
        self._last_play = 0.0
        self._last_look = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arm(0.0)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._loop = None

    def poke(self) -> None:
        """Something (speed, play, seek) changed: look now."""
        if self._handle is not None:
            self._handle.cancel()
        self._last_play = time.monotonic()
        self._arm(0.0)

    def _arm(self, delay: float) -> None:
        if self._loop is not None:
            self._handle = self._loop.call_later(max(0.0, delay), self._fire)

    def _fire(self) -> None:
        if self._busy():
            self._arm(0.25)
        elif is_replay(self._source):
            self._play()
        else:
            self._follow()

    def _follow(self) -> None:
        source = self._source
        assert is_live(source)
        now = time.monotonic()
        interval = source.interval_s
        if source.tick_seq != self._seq:
            self._seq = source.tick_seq
            self._last_new, self._tries = now, 0
            self._draw(0.0)
            due = source.next_tick_mono - time.monotonic()
            self._arm(min(due, interval) + AFTER_TICK_S if due > 0 else RETRY_S)
            return
        self._tries += 1
        late = now - self._last_new
        if late > STALL_TICKS * interval + 1.0:
            self._draw(late)
            self._arm(min(1.0, interval))
        else:
            soon = AGAIN_S if self._tries == 1 else RETRY_S
            self._arm(soon if self._tries < 10 else min(0.25, interval / 4))

    def _play(self) -> None:
        source, state = self._source, self._state
        assert is_replay(source)
        now = time.monotonic()
        live = source.live
        if live and now - self._last_look >= min(1.0, source.interval_s):
            self._last_look = now
            if source.refresh():
                self._last_new = now
                if state.following:
                    source.seek(source.t1_ns)
        state.silent_s = now - self._last_new if live else 0.0
        if not state.playing:
            self._draw(0.0)
            self._handle = None
            if live:
                self._arm(min(1.0, source.interval_s))
            else:
                state.following = False
            return
        passed = min(2.0, now - self._last_play)
        self._last_play = now
        if passed > 0:
            source.advance(passed * state.speed)
        if source.at_end:
            state.playing, state.following = False, source.live
        self._draw(0.0)
        # Faster playing shows more often, up to four times a second; slower never less than once.
        if state.playing or state.following:
            self._arm(max(0.25, min(1.0, source.interval_s / state.speed)))
