"""Signals go to the run's own process and to no other."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dctop.engine.training import control
from dctop.engine.training.runstate import RunState
from dctop.engine.training.watcher import Here, load_run, start_ticks
from tests.fakes.runs import make_run, step


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as child:
        yield child
        child.kill()


def run_of(runs: Path, pid: int, ticks: int | None, name: str = "r") -> RunState:
    place = Here()
    facts = {"host": place.host, "boot_id": place.boot_id, "pid": pid, "start_ticks": ticks}
    # The supervisor's numbers keep it active whatever `pid` is.
    me = {"supervisor_pid": os.getpid(), "supervisor_start_ticks": start_ticks(os.getpid())}
    state = load_run(make_run(runs, name, step(1), **facts, **me))
    assert state is not None
    return state


@pytest.mark.parametrize("old_kernel", [False, True])
def test_stop_terminates_and_force_kills(
    tmp_path: Path, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, old_kernel: bool
) -> None:
    if old_kernel:

        def no_handles(_pid: int) -> int:
            raise OSError(errno.ENOSYS, "not implemented")

        monkeypatch.setattr(os, "pidfd_open", no_handles)
    run = run_of(tmp_path, process.pid, start_ticks(process.pid))
    control.stop(run, force=old_kernel)
    assert process.wait() == (-signal.SIGKILL if old_kernel else -signal.SIGTERM)
    with pytest.raises(control.ControlError, match="is gone"):
        control.stop(run)


def test_a_process_that_got_the_number_since_is_left_alone(
    tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    run = run_of(tmp_path, process.pid, 1)
    for act in (control.stop, control.checkpoint):
        with pytest.raises(control.ControlError, match="is gone"):
            act(run)
    assert process.poll() is None


def test_runs_are_found_by_id_beginning_or_as_the_last(tmp_path: Path) -> None:
    for name in ("20260101-a", "20260102-b"):
        make_run(tmp_path, name)
    assert control.find("20260101-a", tmp_path).id == "20260101-a"
    assert control.find("20260102", tmp_path).id == "20260102-b"
    assert control.find("last", tmp_path).id == "20260102-b"
    for name, why in (
        ("2026", "2 runs begin so"),
        ("", "no such run"),
        ("x", "no such run"),
        ("../", "no such"),
    ):
        with pytest.raises(control.ControlError, match=why):
            control.find(name, tmp_path)
