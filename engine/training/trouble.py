"""What is wrong with a run that has not ended: one line, the same while it lasts.

The line is part of the run's state, so it may not change from second to second: it says since when, not for
how long.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from dctop.engine.training.runlog import FORMAT, RunReader

NS = 10**9
SILENT_S, SILENT_TIMES = 30.0, 10.0
"""A run is called silent after the longer of 30 s and 10 times its 99th percentile step (RULES.md 1.6)."""
PAUSE_S = 300.0
"""An evaluation or a checkpoint may take so long without a word."""
_STATES = {
    "D": "waits for a disk or a device (state D)",
    "S": "sleeps (state S)",
    "R": "computes (state R)",
}


def process_state(pid: Any, ticks: Any, proc: Path = Path("/proc")) -> str | None:
    """State letter of the process that has this pid and start time; None: gone, or not known."""
    if not isinstance(pid, int):
        return None
    try:
        fields = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        same = not isinstance(ticks, int) or int(fields[19]) == ticks
        return fields[0].decode("ascii", "replace") if same else None
    except (OSError, ValueError, IndexError):
        return None


class TroubleWatch:
    """One a run; keeps when a condition was first seen."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._stopped_ns: int | None = None
        self._silent: str | None = None

    def look(self, reader: RunReader, now_ns: int, active: bool, here: bool) -> str | None:
        """The gravest of what is wrong now. `here`: the process can be seen from this host."""
        if not active:
            return newer(reader)
        state = process_state(reader.fact("pid"), reader.fact("start_ticks"), self._proc) if here else None
        return (
            self._stop(reader, state, now_ns)
            or self._silence(reader, state, now_ns)
            or unwritable(reader)
            or newer(reader)
        )

    def _stop(self, reader: RunReader, state: str | None, now_ns: int) -> str | None:
        if state not in ("T", "t"):
            self._stopped_ns = None
            return None
        if self._stopped_ns is None:
            self._stopped_ns = now_ns
        pid = reader.fact("pid")
        if state == "t":
            return f"held by a debugger since {_clock(self._stopped_ns)}"
        return f"stopped by a signal since {_clock(self._stopped_ns)}: kill -CONT {pid} continues it"

    def _silence(self, reader: RunReader, state: str | None, now_ns: int) -> str | None:
        heard = reader.last_wall_ns
        if heard is None or now_ns - heard < silence_limit_s(reader) * NS:
            self._silent = None
        elif self._silent is None:
            usual = percentile(reader, 0.5)
            often = f" (usually one in {usual:.2g} s)" if usual else ""
            doing = _STATES.get(state or "", "")
            doing = f"; process {reader.fact('pid')} {doing}" if doing else ""
            self._silent = f"no word in mode {reader.mode or '?'} since {_clock(heard)}{often}{doing}"
        return self._silent


def silence_limit_s(reader: RunReader) -> float:
    if reader.mode in ("train", "warmup") and reader.store.total:
        return max(SILENT_S, SILENT_TIMES * (percentile(reader, 0.99) or 0.0))
    return PAUSE_S


def percentile(reader: RunReader, share: float) -> float | None:
    """Of the last 500 step times."""
    times = sorted(t for t in reader.store.columns["step_s"][-500:] if math.isfinite(t))
    return times[min(len(times) - 1, int(share * len(times)))] if times else None


def unwritable(reader: RunReader) -> str | None:
    """The log waits for space, or the last checkpoint could not be written."""
    for event in reversed(reader.events):
        if event.kind == "note" and "lost" in event.data:
            break  # there is space again
        if event.kind == "note" and event.data.get("error") in ("disk-full", "io"):
            return event.text
    last = next((e for e in reversed(reader.events) if e.kind == "checkpoint"), None)
    return last.text if last is not None and last.data.get("ok") is False else None


def newer(reader: RunReader) -> str | None:
    number = reader.newer
    if number is None:
        return None
    return f"its log has format {number}, this dctop knows {FORMAT}: what is shown may be incomplete or wrong"


def _clock(wall_ns: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(wall_ns / NS))
