"""Carries a remedy out: ends the run at a checkpoint and starts its successor with what the remedy changes.

Blocks for seconds (a run ends, an interpreter starts): never for the screen's thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dctop.engine import paths
from dctop.engine.rules.alert import Alert, Remedy
from dctop.engine.rules.remedies import Change, Known, Measure, Planned, acts, plan
from dctop.engine.training import control, launcher
from dctop.engine.training.runstate import RunState
from dctop.engine.training.watcher import RunFollower

END_WAIT_S = 60.0
"""A run that was asked to stop finishes its step and writes a checkpoint."""
MEASURE_STEPS = 30
"""Of a run that only measures memory: the peak still grows after ten (measured: 598 MiB after 12, 673 after
30)."""
MEASURE_WAIT_S = 120.0
PEAK_EVERY_S = 0.003
TRIES = 5
NEVER = 10**9
Say = Callable[[str], None]


class CannotApply(Exception):
    """One line: why the remedy was not carried out."""


def actionable(alerts: Sequence[Alert], run_id: str) -> list[tuple[Alert, Remedy]]:
    """What can be applied to a run, best first: causes before symptoms, in the order of the alerts."""
    own = [a for a in alerts if a.entity == run_id]
    own.sort(key=lambda a: a.suppressed_by is not None)
    return [(a, r) for a in own for r in a.remedies if acts(a, r)]


def planned(run: RunState, alert: Alert, remedy: Remedy, say: Say = lambda _: None) -> Change:
    """What would be done. Measures memory where the log does not tell it. Raises CannotApply."""
    known = Known(cores=os.cpu_count() or 1)
    found = plan(alert, remedy, run, known)
    if isinstance(found, Measure):
        found = _measured(run, alert, remedy, found, say)
    if not isinstance(found, Change):
        raise CannotApply(str(found))
    return found


def _measured(run: RunState, alert: Alert, remedy: Remedy, first: Measure, say: Say) -> Planned:
    """Measures memory at small batches, then goes up to what fits: at most twofold at a time, since slopes
    are not straight, and what is handed on has run under the same limits (RULES finding 11)."""
    cores = os.cpu_count() or 1
    say(f"measuring memory at batch sizes {', '.join(map(str, first.batches))}")
    points = [(b, m) for b in first.batches if (m := _memory_at(run, b)) is not None]
    died: int | None = None
    for _ in range(TRIES):
        if len(points) < 2:
            raise CannotApply(f"{run.id}: memory could not be measured: even small batches do not run")
        found = plan(alert, remedy, run, Known(cores, points))
        if not isinstance(found, Change):
            return found
        fit, top = int(found.options["batch_size"]), max(b for b, _ in points)
        wanted = min(fit, 2 * top) if died is None else min(fit, (top + died) // 2)
        if wanted <= 1.1 * top:
            break
        say(f"trying a batch of {wanted}")
        memory = _memory_at(run, wanted)
        if memory is None:
            died = wanted
        else:
            points.append((wanted, memory))
    return plan(alert, remedy, run, Known(cores, points, max(b for b, _ in points)))


def apply(run: RunState, change: Change, say: Say = lambda _: None) -> str:
    """End the run where it goes on, start its successor; the successor's id. Raises CannotApply."""
    if run.status in control.ACTIVE:
        say(f"stopping {run.id} at a checkpoint")
        run = _ended(run, change.force)
    config = {**_options(run), **change.options}
    record = change.record(run.id)
    result = launcher.launch(
        {"workload": run.workload, **config},
        _python(run),
        run.id if change.start is not None else None,
        change.start or "last",
        record,
    )
    if result.run_id is None and change.start == "last" and "no checkpoint" in str(result.error):
        # It was stopped before its first one could be written.
        result = launcher.launch({"workload": run.workload, **config}, _python(run), remedy=record)
    if result.run_id is None:
        raise CannotApply(result.error or "the successor could not be started")
    return result.run_id


def _options(run: RunState) -> dict[str, Any]:
    """What the run was asked for. A planted fault stays: the successor must cope with the cause, not be
    spared it."""
    asked = run.config.get("config")
    if not isinstance(asked, Mapping):
        raise CannotApply(f"{run.id}: its options are not known")
    return dict(asked)


def _ended(run: RunState, force: bool) -> RunState:
    try:
        control.stop(run, force)
    except control.ControlError as error:
        raise CannotApply(str(error)) from None
    state = _wait(Path(run.directory), END_WAIT_S)
    if state is None or state.status in control.ACTIVE:
        raise CannotApply(f"{run.id} was asked to stop and goes on: dctop runs stop --force {run.id}")
    return state


def _wait(directory: Path, seconds: float) -> RunState | None:
    """The run once it has ended, or as it is when the time is over."""
    follower = RunFollower(directory)
    until = time.monotonic() + seconds
    try:
        while True:
            state = follower.poll()
            if state is None or state.status not in control.ACTIVE or time.monotonic() > until:
                return state
            time.sleep(0.1)
    finally:
        follower.close()


def _memory_at(run: RunState, batch: int) -> float | None:
    """Highest RssAnon of a short run that is alike but for the batch size, under the same limits; None: it
    did not run. Looked at from outside and often: the log's own value is of between the steps, when
    activations are gone. Nothing of it is kept."""
    config = {
        **_options(run), "batch_size": batch, "accumulate": 1, "max_steps": MEASURE_STEPS, "fault": [],
        "eval_every": NEVER, "checkpoint_every": NEVER, "checkpoint_dir": None,
    }  # fmt: skip
    result = launcher.launch(
        {"workload": run.workload, **config}, _python(run), remedy={"run": run.id, "measures": "memory"}
    )
    if result.run_id is None:
        return None
    directory = paths.runs_dir() / result.run_id
    peak = _peak(directory, MEASURE_WAIT_S)
    try:
        state = _wait(directory, 0.0)
        if state is not None and state.status in control.ACTIVE:
            control.stop(state, force=True)
            state = _wait(directory, END_WAIT_S)
        if state is None:
            return None
        control.remove(state)
    except control.ControlError:
        return None
    return peak if state.status == "finished" else None


def _peak(directory: Path, seconds: float) -> float | None:
    """Highest RssAnon of a run's process while it goes on."""
    follower, highest, mapped = RunFollower(directory), 0, 0
    until, look = time.monotonic() + seconds, 0.0
    pid: int | None = None
    try:
        while time.monotonic() < until:
            if time.monotonic() >= look:
                look = time.monotonic() + 0.2
                state = follower.poll()
                if state is None or state.status not in control.ACTIVE:
                    break
                # Until it has written a step the number may still be its supervisor's.
                pid = state.pid if state.step is not None or state.mode not in (None, "init") else None
            if pid is not None:
                size = _sizes(pid)
                mapped = max(mapped, size.get("RssFile", 0) + size.get("RssShmem", 0))
                # The kernel keeps the peak of all of it; what is mapped from files hardly changes.
                highest = max(highest, size.get("RssAnon", 0), size.get("VmHWM", 0) - mapped)
            time.sleep(PEAK_EVERY_S)
    finally:
        follower.close()
    return float(highest) or None


def _sizes(pid: int) -> dict[str, int]:
    """The sizes in /proc/PID/status, in bytes; none of a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    rows = (line.split() for line in text.splitlines() if line.endswith("kB"))
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}


def _python(run: RunState) -> str | None:
    python = run.config.get("python")
    return python if isinstance(python, str) else None
