"""The facts of the header line: who, which mode, how many alerts, recording, own cost, time."""

from __future__ import annotations

import time

from dctop.engine.metrics.model import Snapshot
from dctop.engine.metrics.source import Source
from dctop.tui import bars
from dctop.tui.sources import is_live, is_replay, recorder_status
from dctop.tui.state import UiState
from dctop.tui.views import replaybar

SILENT_S = 10.0
"""A followed recording that did not grow for so long is said to be silent."""
_VIEWS = {"dashboard": "", "gpu": "GPUS", "alerts": "ALERTS", "runs": "RUNS", "processes": "PROCESSES"}


def wall_clock() -> str:
    now = time.localtime()  # strftime would ask for the zone's file each time
    return f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"


def head_of(
    source: Source, state: UiState, stalled_s: float, readonly: bool, now: str | None = None
) -> bars.Head:
    """`stalled_s`: seconds the engine is late, 0 while it ticks. `now`: the time of day to show."""
    snap = source.snapshot()
    mode, detail, clock = _mode(source, state, snap, stalled_s, now or wall_clock())
    counts: dict[str, int] = {}
    for a in bars.open_alerts(source.alerts(), now_ns(snap)):
        counts[a.severity] = counts.get(a.severity, 0) + 1
    rec, bad = _recording(source)
    return bars.Head(
        host=(snap and snap.text("host.name")) or "",
        mode=mode,
        detail=detail,
        view=_VIEWS[state.view],
        counts=counts,
        rec=rec,
        rec_bad=bad,
        self_pct=None if snap is None else snap.num("dctop.cpu_pct"),
        clock=clock,
        flags="read-only" if readonly and source.mode == "live" else "",
    )


def now_ns(snap: Snapshot | None) -> int:
    """The moment looked at."""
    return time.time_ns() if snap is None else snap.frame.wall_ns


def _recording(source: Source) -> tuple[str | None, bool]:
    """(size, or what is wrong; is it wrong); None where nothing is recorded."""
    status = recorder_status(source)
    if status is None:
        return None, False
    if status.error:
        return str(status.error), True
    n = status.size_bytes or 0
    size = _megabytes(n)
    if status.bytes_per_hour:
        size += f" {_megabytes(status.bytes_per_hour)}/h"
    lost = status.lost_frames
    return (f"{size} lost {lost}" if lost else size), bool(lost)


def _megabytes(n: float) -> str:
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.0f} kB"


def _mode(
    source: Source, state: UiState, snap: Snapshot | None, stalled_s: float, clock: str
) -> tuple[str, str, str]:
    """(mode, detail, clock)"""
    if is_replay(source):
        at = replaybar.clock(source.position_ns)
        detail = f"x{state.speed:g}"
        if state.following:
            detail = "following" if state.silent_s < SILENT_S else f"nothing new for {state.silent_s:.0f}s"
        running = state.playing or state.following
        return ("REPLAY" if running else "REPLAY PAUSED"), _with_scale(detail, source, state), at
    if snap is None:
        return "STARTING", "", clock
    if stalled_s > 0:
        return "STALLED", f"{stalled_s:.0f}s", clock
    back = source.back if is_live(source) else 0
    ago = f"-{replaybar.span_text(int(back * source.interval_s * 1e9))}" if back else ""
    if state.paused_at is not None:
        return "PAUSED", _with_scale(ago, source, state), clock
    mode, detail = ("BACK", ago) if back else ("LIVE", f"{source.interval_s:g}s")
    return mode, _with_scale(detail, source, state), clock


def _with_scale(detail: str, source: Source, state: UiState) -> str:
    """How much time a value of the graphs stands for, where it is more than a tick."""
    if state.scale <= 1:
        return detail
    each = replaybar.span_text(int(state.scale * source.interval_s * 1e9))
    return f"{detail} [{each}]".lstrip()
