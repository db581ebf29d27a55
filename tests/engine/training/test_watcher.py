"""What state a run is in, from its log and its processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dctop.engine.training import watcher
from dctop.engine.training.watcher import Here, RunWatcher, load_run, start_ticks
from tests.fakes.runs import append, event, make_run, step

NOW = 10**18 + 10**9
STARTED = (event("mode", "train", 0, mode="train"), step(1))


def here(**facts: Any) -> dict[str, Any]:
    place = Here()
    return {"host": place.host, "boot_id": place.boot_id, "pid_namespace": place.pid_namespace, **facts}


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as child:
        yield child
        child.kill()


def of(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    return here(pid=child.pid, start_ticks=start_ticks(child.pid))


def status(runs: Path, name: str = "r", wall: int = NOW) -> tuple[str, str | None]:
    state = load_run(runs / name, lambda: wall)
    assert state is not None
    return state.status, state.reason


def test_a_living_process_makes_a_run_active(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    run = make_run(tmp_path, "r", **of(process))
    assert status(tmp_path) == ("starting", None)
    append(run, *STARTED)
    assert status(tmp_path) == ("running", None)
    append(run, event("stop", "stopping", 1))
    assert status(tmp_path) == ("stopping", None)


def test_a_dead_zombie_or_other_process_makes_it_lost(
    tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    make_run(tmp_path, "r", *STARTED, **{**of(process), "start_ticks": 1})
    assert status(tmp_path)[0] == "lost"  # the pid belongs to another process now
    make_run(tmp_path, "z", *STARTED, **of(process))
    assert status(tmp_path, "z")[0] == "running"
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, not reaped
    assert status(tmp_path, "z")[0] == "lost"


def test_a_living_supervisor_has_the_last_word_to_come(
    tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    ticks = start_ticks(process.pid)
    run = make_run(
        tmp_path, "r", *STARTED,
        **here(pid=2**22 + 1, start_ticks=1, supervisor_pid=process.pid, supervisor_start_ticks=ticks),
    )  # fmt: skip
    assert status(tmp_path)[0] == "running"
    append(run, event("end", "killed by SIGKILL", 1, status="killed", exit_code=-9))
    assert status(tmp_path) == ("killed", "killed by SIGKILL")


def test_an_exception_without_an_end_is_a_failure(tmp_path: Path) -> None:
    make_run(
        tmp_path, "r", *STARTED, event("exception", "ValueError: x", 1), **here(pid=2**22 + 1, start_ticks=1)
    )
    assert status(tmp_path) == ("failed", "ValueError: x")


def test_a_reboot_ends_every_run(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    make_run(tmp_path, "r", *STARTED, **{**of(process), "boot_id": "another"})
    assert status(tmp_path)[0] == "lost"


def test_a_run_of_another_host_lives_while_it_is_heard(tmp_path: Path) -> None:
    make_run(tmp_path, "r", *STARTED, host="elsewhere", pid=1, start_ticks=1)
    assert status(tmp_path) == ("running", None)
    assert status(tmp_path, wall=NOW + 61 * 10**9) == (
        "lost", "nothing heard for a minute from elsewhere, where it ran",
    )  # fmt: skip


def test_a_run_whose_launcher_died_before_it_started_is_lost(tmp_path: Path) -> None:
    make_run(tmp_path, "r", **here(launcher_pid=2**22 + 1, launcher_start_ticks=1))
    assert status(tmp_path)[0] == "lost"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"status": "finished", "exit_code": 0}, "finished"),
        ({"status": "stopped", "exit_code": 0}, "stopped"),
        ({"exit_code": 0}, "finished"), ({"exit_code": 3}, "failed"), ({"exit_code": -9}, "killed"),
        ({}, "finished"),
        ({"status": "sunny", "exit_code": 1}, "failed"),
    ],
)  # fmt: skip
def test_the_end_record_decides(tmp_path: Path, data: dict[str, Any], expected: str) -> None:
    make_run(tmp_path, "r", *STARTED, event("end", "why", 1, **data))
    assert status(tmp_path) == (expected, "why")


def test_the_state_has_what_the_log_says(tmp_path: Path) -> None:
    total = {"total_steps": 9}
    make_run(
        tmp_path, "r",
        event("start", "s", 0, data={"source": "X", "synthetic": True}, device={"chosen": "cpu"}, **total),
        *(step(i) for i in range(1, 8)),
        event("end", "why", 7, status="finished", exit_code=0),
        created_wall_ns=5,
    )  # fmt: skip
    state = load_run(tmp_path / "r")
    assert state is not None
    assert (state.started_wall_ns, state.ended_wall_ns, state.step, state.total_steps) == (5, 10**18, 7, 9)
    assert (state.data_source, state.synthetic, state.device, state.exit_code) == ("X", True, "cpu", 0)
    assert state.last["loss"] == pytest.approx(1 / 7) and state.last["grad_norm"] is None
    assert state.samples_per_s == pytest.approx(3200) and state.eta_s is None and state.mode is None
    assert len(state.columns["loss"]) == 7


def test_the_end_knows_of_steps_that_found_no_space(tmp_path: Path) -> None:
    make_run(tmp_path, "r", *STARTED, step(3), event("end", "reached its last step, 9", 9, status="finished"))
    state = load_run(tmp_path / "r")
    assert state is not None and state.step == 9 and len(state.columns["step"]) < 9


def test_new_ended_and_removed_runs_are_noticed(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    wall = [NOW]
    watch = RunWatcher(tmp_path / "runs", lambda: wall[0])
    assert not watch.poll() and list(watch.states()) == []
    run = make_run(tmp_path / "runs", "20260101-a", *STARTED, **of(process))
    assert watch.poll()
    first = watch.states()[0]
    assert (first.id, first.status, first.step) == ("20260101-a", "running", 1)
    assert not watch.poll() and watch.states()[0] is first
    append(run, step(2))
    assert watch.poll()
    assert watch.states()[0].step == 2 and first.step == 1 and watch.states()[0].seq > first.seq
    append(run, event("end", "done", 2, status="finished", exit_code=0))
    assert watch.poll() and watch.states()[0].status == "finished"
    assert not watch.poll()
    shutil.rmtree(run)
    assert watch.poll() and list(watch.states()) == []


def test_active_runs_come_first_and_old_ones_are_not_loaded(
    tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    end = event("end", "done", 1, status="finished", exit_code=0)
    for i in range(30):
        make_run(tmp_path, f"202601{i:02}-x", *STARTED, end)
    make_run(tmp_path, "20260115-live", *STARTED, **of(process))
    (tmp_path / "notes.txt").write_text("not a run")
    watch = RunWatcher(tmp_path, lambda: NOW)
    assert watch.poll()
    assert [s.id for s in watch.states()] == ["20260115-live", "20260129-x"]  # one ended run a poll
    for _ in range(watcher.MAX_RUNS):
        watch.poll()
    ids = [s.id for s in watch.states()]
    assert (
        len(ids) == watcher.MAX_RUNS
        and ids[0] == "20260115-live"
        and ids[1:] == sorted(ids[1:], reverse=True)
    )
    watch.close()


def test_a_quiet_folder_costs_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path, "r", *STARTED, event("end", "done", 1, status="finished", exit_code=0))
    os.utime(tmp_path, ns=(1, 1))
    watch = RunWatcher(tmp_path, lambda: NOW)
    watch.poll()
    watch.poll()

    def forbidden(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a quiet poll must not list, open or read")

    with monkeypatch.context() as patch:
        for name in ("scandir", "open", "pread", "fstat"):
            patch.setattr(os, name, forbidden)
        changed = watch.poll()
    assert not changed


def test_a_folder_that_is_no_run_is_shown_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text("[1, 2")
    assert status(tmp_path, "odd") == ("lost", "it was never started")
