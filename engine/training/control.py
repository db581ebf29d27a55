"""Acts on a run: stop it, have it write a checkpoint, remove it."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path

from dctop.engine import paths
from dctop.engine.training.folder import run_ids
from dctop.engine.training.runstate import RunState
from dctop.engine.training.watcher import load_run, start_ticks

ACTIVE = frozenset(("starting", "running", "stopping"))


class ControlError(Exception):
    """One line: why it was not done and what to do."""


def find(run_id: str, runs_dir: Path | None = None, skip: str | None = None) -> RunState:
    """A run by its id or an unambiguous beginning of it; `last` is the newest (ids that end in `skip` are
    left out then). Raises ControlError."""
    folder = runs_dir or paths.runs_dir()
    names = run_ids(folder)
    if skip and run_id not in names:
        names = [name for name in names if skip not in name.split("-")[2:3]]
    if run_id == "last" and names:
        names = names[:1]
    elif run_id in names:
        names = [run_id]
    else:
        names = [name for name in names if run_id and name.startswith(run_id)]
    if len(names) > 1:
        raise ControlError(f"{run_id}: {len(names)} runs begin so; give more of the id")
    state = load_run(folder / names[0]) if names else None
    if state is None:
        raise ControlError(f"{run_id}: no such run; `dctop runs` lists them")
    return state


def stop(run: RunState, force: bool = False) -> None:
    """Ask it to finish the step, checkpoint and end; `force` kills it (SIGKILL). Raises ControlError."""
    _signal(run, signal.SIGKILL if force else signal.SIGTERM)


def checkpoint(run: RunState) -> None:
    """Ask it to write a checkpoint after this step. Raises ControlError."""
    _signal(run, signal.SIGUSR1)


def remove(run: RunState) -> None:
    """Delete its directory with everything in it. Raises ControlError while it is active."""
    if run.status in ACTIVE:
        raise ControlError(f"{run.id} is {run.status}; stop it first: dctop runs stop {run.id}")
    try:
        shutil.rmtree(run.directory)
    except OSError as error:
        raise ControlError(
            f"{error.filename or run.directory}: {(error.strerror or str(error)).lower()}"
        ) from None


def _signal(run: RunState, number: signal.Signals) -> None:
    """To the worker itself, and to no other process that may have got its number since."""
    if run.status not in ACTIVE:
        raise ControlError(f"{run.id} has ended ({run.status})")
    pid, ticks = run.pid, run.config.get("start_ticks")
    if pid is None:
        raise ControlError(f"{run.id}: its process is not known (yet)")
    if run.host not in (None, os.uname().nodename):
        raise ControlError(f"{run.id} runs on {run.host}; act there")
    try:
        handle = _pin(pid)
        try:
            # The handle pins the process first; then its start time says whether it is the right one.
            if start_ticks(pid) != ticks:
                raise ProcessLookupError
            if handle is None:
                os.kill(pid, number)
            else:
                signal.pidfd_send_signal(handle, number)
        finally:
            if handle is not None:
                os.close(handle)
    except PermissionError:
        raise ControlError(f"{run.id}: process {pid} belongs to another user") from None
    except ProcessLookupError:
        raise ControlError(f"{run.id}: its process {pid} is gone") from None
    except OSError as error:
        raise ControlError(f"{run.id}: process {pid}: {(error.strerror or str(error)).lower()}") from None


def _pin(pid: int) -> int | None:
    """A handle that means this very process; None where the kernel has none (before 5.3)."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return None
        raise
