"""What the dashboard that makes a recording reads from it: moments that have left its memory."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dctop.engine.recording.replay import ReplaySource

log = logging.getLogger(__name__)

RETRY_S = 5.0


class Past:
    """The recording of this session as a `Source`, opened when first asked for. Owned by the screen's thread.

    Its frames carry the engine's own numbers, so a moment is found by them. Nothing raises: what cannot be
    opened is as if it was not there, and is tried again.
    """

    def __init__(self) -> None:
        self.path: Path | None = None
        """The latest recording made; set by the engine."""
        self._source: ReplaySource | None = None
        self._opened: Path | None = None
        self._retry_at = 0.0

    def source(self) -> ReplaySource | None:
        """The recording with what was written meanwhile; None where there is none, or no frame in it yet."""
        if self._opened != self.path:
            self.close()
        if self._source is None:
            self._open()
        elif self._source.recording.live:
            self._source.refresh()
        source = self._source
        return None if source is None or source.recording.seq_range is None else source

    def _open(self) -> None:
        from dctop.engine.recording.replay import ReplaySource
        from dctop.engine.recording.schema import RecordingError

        now = time.monotonic()
        if self.path is None or now < self._retry_at:
            return
        try:
            self._source, self._opened = ReplaySource(self.path), self.path
        except RecordingError as e:
            self._retry_at = now + RETRY_S
            log.info("looking back into the recording failed: %s", e)

    def seek(self, seq: int) -> int | None:
        """Put the cursor on frame `seq`, or the nearest there is; its number, None where there is nothing."""
        source = self.source()
        if source is None:
            return None
        if source.seq != seq:
            source.seek_seq(seq)
        return source.seq

    def close(self) -> None:
        """Let go of the file; a later `source` opens it again."""
        if self._source is not None:
            from dctop.engine.recording.store import settle

            self._source.close()
            settle(self._source.recording.path)
        self._source, self._opened, self._retry_at = None, None, 0.0
