"""What is wrong with a run that has not ended, with real processes and files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dctop.engine.training.logtail import LogTail, tail_of
from dctop.engine.training.watcher import RunFollower, RunWatcher, start_ticks
from tests.fakes.runs import append, event, make_run, step

NOW = 10**18 + 10**9


@pytest.fixture
def sleeper() -> Iterator[int]:
    child = subprocess.Popen(["sleep", "600"])
    yield child.pid
    child.send_signal(signal.SIGCONT)
    child.kill()
    child.wait()


def run_of(folder: Path, pid: int, *records: object, **facts: object) -> Path:
    begun = event("mode", "train", 0, mode="train")
    return make_run(
        folder, "20200101-000000-x", event("start", "s", 0, total_steps=99), begun, *records,  # type: ignore[arg-type]
        pid=pid, start_ticks=start_ticks(pid), **facts,
    )  # fmt: skip


def test_a_stopped_worker_is_called_stopped_with_the_way_out(tmp_path: Path, sleeper: int) -> None:
    follower = RunFollower(run_of(tmp_path, sleeper, step(1)), lambda: NOW)
    state = follower.poll()
    assert state is not None and state.status == "running" and state.trouble is None
    os.kill(sleeper, signal.SIGSTOP)
    os.waitid(os.P_PID, sleeper, os.WSTOPPED | os.WNOWAIT)
    state = follower.poll()
    assert state is not None and state.trouble is not None
    assert state.trouble.startswith("stopped by a signal since ")
    assert state.trouble.endswith(f": kill -CONT {sleeper} continues it")
    seq = state.seq
    again = follower.poll()
    assert again is not None and again.seq == seq, "the line may not change from poll to poll"
    os.kill(sleeper, signal.SIGCONT)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and follower.poll().trouble:  # type: ignore[union-attr]
        time.sleep(0.02)
    assert follower.poll().trouble is None  # type: ignore[union-attr]


def test_silence_is_said_after_half_a_minute_and_ten_times_the_usual_step(
    tmp_path: Path, sleeper: int
) -> None:
    now = [NOW]
    directory = run_of(tmp_path, sleeper, *(step(i, step_s=4.0, wall_ns=10**18) for i in range(1, 9)))
    follower = RunFollower(directory, lambda: now[0])
    for age, silent in ((29, False), (39, False), (41, True), (300, True)):
        now[0] = 10**18 + age * 10**9
        state = follower.poll()
        assert state is not None and (state.trouble is not None) == silent, age
    assert "no word in mode train since" in str(state.trouble) and "(usually one in 4 s)" in str(
        state.trouble
    )
    assert f"process {sleeper} sleeps (state S)" in str(state.trouble)
    append(directory, step(9, wall_ns=now[0]))
    assert follower.poll().trouble is None  # type: ignore[union-attr]


def test_an_evaluation_may_take_longer(tmp_path: Path, sleeper: int) -> None:
    directory = run_of(tmp_path, sleeper, step(1), event("mode", "eval", 1, mode="eval"))
    state = RunFollower(directory, lambda: NOW + 100 * 10**9).poll()
    assert state is not None and state.trouble is None


def test_a_full_disk_is_said_until_there_is_space_again(tmp_path: Path, sleeper: int) -> None:
    full = event("note", "run log: no space left on device: steps wait", error="disk-full")
    directory = run_of(tmp_path, sleeper, step(1), full)
    follower = RunFollower(directory, lambda: NOW)
    assert "no space left on device" in str(follower.poll().trouble)  # type: ignore[union-attr]
    append(directory, event("note", "run log: space again", lost=0))
    assert follower.poll().trouble is None  # type: ignore[union-attr]
    append(directory, event("checkpoint", "checkpoint failed: no space", 1, ok=False))
    assert follower.poll().trouble == "checkpoint failed: no space"  # type: ignore[union-attr]


def test_a_newer_format_is_shown_and_said_so_in_one_line(tmp_path: Path) -> None:
    directory = make_run(
        tmp_path, "20200101-000000-x", step(1), event("end", "done", status="finished"), format=7
    )
    state = RunFollower(directory, lambda: NOW).poll()
    assert state is not None and state.status == "finished" and state.step == 1
    assert "its log has format 7, this dctop knows 1" in str(state.trouble)


def test_a_run_whose_directory_is_removed_stays_on_the_screen_as_lost(tmp_path: Path, sleeper: int) -> None:
    directory = run_of(tmp_path, sleeper, step(1), step(2))
    now = [NOW]
    watcher = RunWatcher(tmp_path, lambda: now[0])
    watcher.poll()
    assert [s.status for s in watcher.states()] == ["running"]
    shutil.rmtree(directory)
    now[0] = time.time_ns()
    assert watcher.poll()
    (state,) = watcher.states()
    assert state.status == "lost" and "its directory was removed while it went on" in str(state.reason)
    assert state.step == 2 and list(state.columns["step"]) == [1, 2]


def test_an_ended_run_that_is_removed_is_gone(tmp_path: Path) -> None:
    directory = make_run(tmp_path, "20200101-000000-x", step(1), event("end", "done", status="finished"))
    watcher = RunWatcher(tmp_path, lambda: NOW)
    watcher.poll()
    assert len(watcher.states()) == 1
    shutil.rmtree(directory)
    watcher.poll()
    assert watcher.states() == ()


def test_the_tail_has_no_colours_and_only_the_last_state_of_a_bar() -> None:
    said = b"\x1b[32mok\x1b[0m\nepoch 1\r10 %\r90 %\nlast\xff line\r\n\n"
    assert tail_of(said) == ("ok", "90 %", "last\ufffd line")
    assert tail_of(said, whole=False) == ("90 %", "last\ufffd line")
    assert len(tail_of(b"x\n" * 500)) == 40 and tail_of(b"") == ()


def test_the_tail_is_read_again_only_when_the_file_has_grown(tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    tail = LogTail(log)
    assert not tail.poll() and tail.lines == ()
    log.write_text("one\n")
    assert tail.poll() and tail.lines == ("one",)
    assert not tail.poll()
