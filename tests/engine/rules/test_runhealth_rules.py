"""Run health: stalls, checkpoints, loader processes, a log that cannot be written."""

from __future__ import annotations

import errno

import pytest

from tests.engine.rules.scene import Scene, values
from tests.fakes.source import FakeRun


def state(s: Scene, letter: str) -> None:
    s.source.processes[0] = s.source.processes[0]._replace(state=letter)


def trained(s: Scene, steps: int = 200) -> FakeRun:
    run = s.run()
    s.train(run, steps)
    return run


def test_silence_of_thirty_seconds_is_a_stall_and_ends_with_a_step() -> None:
    s = Scene()
    run = trained(s)
    s.go(28)
    s.quiet("training-stalled")
    s.go(5)
    a = s.alert("training-stalled")
    assert (a.severity, a.first_step) == ("warning", 220)
    s.go(270)
    assert s.alert("training-stalled").severity == "critical"
    s.train(run, 3000)
    assert s.alert("training-stalled").state == "closed"


@pytest.mark.parametrize("mode", ["eval", "checkpoint", "init", "idle"])
def test_pauses_are_no_stall(mode: str) -> None:
    s = Scene()
    run = trained(s)
    run.mode(mode)
    s.go(400)
    s.quiet("training-stalled")


def test_a_debugger_is_no_stall() -> None:
    s = Scene()
    trained(s)
    state(s, "t")
    s.go(400)
    s.quiet("training-stalled")


@pytest.mark.parametrize(("letter", "remedy"), [("T", "kill -CONT 4,242"), ("D", "cat /proc/4,242/stack")])
def test_the_process_state_names_the_remedy(letter: str, remedy: str) -> None:
    s = Scene()
    trained(s)
    state(s, letter)
    s.go(40)
    assert s.alert("training-stalled").remedies[0].command == remedy.replace(",", "")


def test_long_steps_are_given_ten_times_their_length() -> None:
    s = Scene()
    run = s.run()
    for _ in range(60):
        s.source.tick(5.0)
        run.steps(1, 5.0, step_s=5.0)
        s.judge()
    s.go(45)
    s.quiet("training-stalled")
    s.go(10)
    assert s.alert("training-stalled").severity == "warning"


def test_a_clock_that_was_set_is_no_stall() -> None:
    s = Scene()
    run = trained(s)
    s.source.wall_ns += 3600 * 10**9
    s.set({"clock.step_ns": 3600 * 10**9}).go()
    s.set({"clock.step_ns": 0}).go(10)
    s.quiet("training-stalled")
    s.train(run, 100)
    s.go(60)
    assert s.alert("training-stalled").open


@pytest.mark.parametrize("off_s", [-3600, 3600])
def test_a_worker_whose_clock_is_off_stalls_only_when_its_steps_stop(off_s: int) -> None:
    s = Scene()
    run = s.run()
    for _ in range(60):
        s.source.tick(1.0)
        s.source.wall_ns += off_s * 10**9
        run.steps(10, 1.0)
        s.source.wall_ns -= off_s * 10**9
        s.judge()
    s.quiet("training-stalled")
    s.go(25)
    s.quiet("training-stalled")
    s.go(15)
    a = s.alert("training-stalled")
    silence = values(a)["Silence"]
    assert a.severity == "warning" and isinstance(silence, float) and 30 <= silence <= 40


def test_a_finished_run_is_silent_by_right() -> None:
    s = Scene()
    run = trained(s)
    s.go(40)
    assert s.alert("training-stalled").open
    run.end("finished", 0, "done")
    s.go(60)
    assert s.alert("training-stalled").state == "closed"


def test_a_failed_checkpoint_on_a_full_disk() -> None:
    s = Scene()
    run = s.run()
    run.now.config["config"]["checkpoint_dir"] = "/data/ckpt"
    s.train(run, 100)
    run.event("checkpoint", "saved", 100, ok=True, path="/data/ckpt/step-100.pt", bytes=10**9)
    s.set({"fs.used_bytes{mount=/data}": 99.9e9, "fs.avail_bytes{mount=/data}": 1e8}).go(2)
    run.event("checkpoint", "checkpoint failed: no space left", 200, ok=False, error="/data/ckpt: full",
              errno=errno.ENOSPC, directory="/data/ckpt")  # fmt: skip
    s.go()
    a = s.alert("checkpoint-failed")
    assert a.suppressed_by == "disk-fill"
    assert values(a)["System error"] == "ENOSPC"
    assert "1.86 GiB needed" in (a.remedies[0].quantity or "")


def test_a_full_disk_elsewhere_explains_no_checkpoint() -> None:
    s = Scene()
    run = s.run()
    s.set({"fs.used_bytes{mount=/other}": 99.9e9, "fs.avail_bytes{mount=/other}": 1e8,
           "fs.readonly{mount=/other}": 0}).go(2)  # fmt: skip
    run.event("checkpoint", "checkpoint failed", 50, ok=False, error="no space left", errno=errno.ENOSPC,
              directory="/data/ckpt")  # fmt: skip
    s.go()
    assert s.alert("disk-fill").entity == "/other"
    assert s.alert("checkpoint-failed").suppressed_by is None


def test_a_checkpoint_refused_for_nan_has_not_failed() -> None:
    s = Scene()
    run = trained(s)
    text = "no checkpoint: the loss is not finite; the last good one stays"
    run.event("checkpoint", text, 200, ok=False, error=text)
    s.go(2)
    s.quiet("checkpoint-failed")


def test_a_checkpoint_that_never_comes() -> None:
    s = Scene()
    run = s.run()
    run.now.config["checkpoint_every"] = 100  # type: ignore[index]
    s.train(run, 80)
    run.event("checkpoint", "saved", 100, ok=True, bytes=1000)
    s.train(run, 150)
    s.quiet("checkpoint-failed")
    s.train(run, 150)
    a = s.alert("checkpoint-failed")
    assert a.count == 1
    assert "no checkpoint since step 100" in a.title


def test_a_dead_loader_process() -> None:
    s = Scene()
    run = s.run(workers=4)
    s.train(run, 60)
    text = "RuntimeError: DataLoader worker (pid(s) 77) exited unexpectedly"
    run.event("exception", text, 80)
    run.end("failed", 1, text)
    s.go(2)
    a = s.alert("loader-worker-died")
    assert a.remedies[0].quantity == "workers 4 -> 3"
    assert s.alert("worker-crashed").suppressed_by == "loader-worker-died"


def test_a_run_log_without_room() -> None:
    s = Scene()
    run = trained(s)
    run.event("note", "run log: no space left on device: steps wait", error="disk-full", errno=28)
    s.go(2)
    assert s.alert("run-log-blocked").severity == "critical"
    run.event("note", "run log: space again", lost=0)
    s.train(run, 3000)
    assert s.alert("run-log-blocked").state == "closed"
