"""Real disasters of a training run: each leaves a true record with its cause, and loses nothing logged."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from dctop.engine import paths
from dctop.engine.training import control
from dctop.engine.training.runstate import RunState
from dctop.engine.training.watcher import RunWatcher, load_run
from tests.fakes.cgroups import group
from tests.fakes.runs import find, kinds, start, start_in_child, tmpfs, wait, wait_end, write_idx

ENDLESS = {"batch_size": 8, "epochs": 10**6, "eval_every": 10**9, "checkpoint_every": 10**9}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_idx(tmp_path_factory.mktemp("idx")))


DRILLS: dict[str, dict[str, Any]] = {
    "nan": {"fault": ["nan@12"], "checkpoint_every": 10, "eval_every": 10**6},
    "nan-continue": {"fault": ["nan@3"], "on_nan": "continue", "max_steps": 30},
    "kill": {"fault": ["kill@9"]},
    "crash": {"fault": ["crash@7"]},
    "seen": {"fault": ["slow-data:30@11-20", "leak:8@21-40", "lr:50@5-6"], "max_steps": 50},
    "hang": {"fault": ["hang@4"]},
}


@pytest.fixture(scope="module")
def drills(data: str) -> dict[str, Path]:
    """Those that need no preparation, all at once: most of a run's time is the import of torch."""
    return {
        name: start(**{"data": data, "batch_size": 8, "max_steps": 60, **c}) for name, c in DRILLS.items()
    }


def truths(state: RunState) -> list[dict[str, Any]]:
    return [json.loads(x) for x in (Path(state.directory) / "truth.jsonl").read_text().splitlines()]


def test_a_nan_ends_the_run_after_20_steps_and_spares_the_checkpoint(drills: dict[str, Path]) -> None:
    state = wait_end(drills["nan"])
    assert (state.status, state.exit_code) == ("failed", 1)
    assert state.reason == "loss is not finite since step 12 (20 steps)"
    first = find(state, "nonfinite")
    assert first.step == 12 and first.data["last_finite_step"] == 11
    assert first.data["last_finite_loss"] == pytest.approx(state.columns["loss"][10], rel=1e-4)
    assert first.data["loss"] == "nan" and first.data["lr"] == 0.001 and first.data["origin"] == "input"
    assert state.step == 32 and [math.isnan(x) for x in state.columns["loss"]] == [i >= 11 for i in range(32)]
    saved = [e.data["ok"] for e in state.events if e.kind == "checkpoint"]
    assert saved == [True, False, False]  # steps 10, 20, 30
    assert [
        p.name for p in Path(state.directory, "checkpoints").iterdir() if p.is_file() and not p.is_symlink()
    ] == ["step-00000010.pt"]
    assert [(t["id"], t["step0"], t["step1"]) for t in truths(state)] == [("nan", 12, None), ("nan", 12, 32)]


def test_a_nan_may_be_ignored(drills: dict[str, Path]) -> None:
    state = wait_end(drills["nan-continue"])
    assert state.status == "finished" and kinds(state).count("nonfinite") == 1


def test_sigkill_leaves_the_signal_and_no_word_of_memory(drills: dict[str, Path]) -> None:
    state = wait_end(drills["kill"])
    assert (state.status, state.exit_code, state.reason) == ("killed", -9, "killed by SIGKILL")
    end = state.events[-1]
    assert (
        end.data["signal"] == "SIGKILL" and end.data["oom_kill_delta"] in (0, None) and "oom" not in end.data
    )


def test_a_kill_of_the_kernel_for_memory_is_told_with_limit_and_peak(data: str) -> None:
    with group("memory", memory__limit_in_bytes=str(700 << 20)) as cgroup:
        join = f"open({os.fspath(cgroup / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"
        state = wait_end(start_in_child(join, data=data, fault=["oom:64@5"], max_steps=60, batch_size=8))
        until = time.monotonic() + 10
        while (cgroup / "cgroup.procs").read_text() and time.monotonic() < until:
            time.sleep(0.05)  # the supervisor is about to leave
    assert (state.status, state.exit_code) == ("killed", -9)
    assert state.reason == "killed by the kernel: out of memory (cgroup limit 700 MiB)"
    end = state.events[-1].data
    assert end["oom"] == "cgroup" and end["oom_kill_delta"] == 1 and end["node_oom_kill_delta"] >= 1
    assert end["cgroup_limit_bytes"] == 700 << 20
    assert end["cgroup_peak_bytes"] > 650 << 20 and end["cgroup_failcnt"] > 0
    assert find(state, "fault").data["id"] == "oom" and truths(state)[0]["id"] == "oom"


def test_an_allocation_refused_is_an_exception_of_the_host(data: str) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1800 << 20, 1800 << 20))"
    state = wait_end(start_in_child(limit, data=data, fault=["oom:128@5"], max_steps=60, batch_size=8))
    assert (state.status, state.exit_code) == ("failed", 1)
    said = find(state, "exception")
    assert said.data["kind"] == "oom-host" and said.data["class"] == "RuntimeError"
    assert said.data["asked_bytes"] == 128 << 20 and "can't allocate memory" in said.text
    assert state.reason == said.text and "\n" not in said.text


def test_an_exception_has_its_traceback_and_one_line(drills: dict[str, Path]) -> None:
    state = wait_end(drills["crash"])
    assert (state.status, state.reason) == ("failed", "PlantedCrash: the crash drill raised this")
    said = find(state, "exception")
    assert said.data["traceback"].startswith("Traceback") and "wplanter.py" in said.data["traceback"]
    assert said.step == 6 and list(state.columns["step"]) == [1, 2, 3, 4, 5, 6]


def test_a_hung_step_ignores_a_stop_and_obeys_force(drills: dict[str, Path]) -> None:
    directory = drills["hang"]
    state = wait(directory, lambda s: "fault" in kinds(s))
    control.stop(state)
    time.sleep(0.3)
    now = load_run(directory)
    assert now is not None and now.status == "running" and now.step == 3
    control.stop(now, force=True)
    assert wait_end(directory).reason == "killed by SIGKILL"


def test_slow_storage_and_a_leak_and_a_high_rate_are_seen_in_the_steps(drills: dict[str, Path]) -> None:
    state = wait_end(drills["seen"])
    assert state.status == "finished", state.reason
    columns = state.columns
    assert all(x >= 0.03 for x in columns["data_s"][10:20]) and max(columns["data_s"][25:]) < 0.03
    assert list(columns["lr"][3:7]) == pytest.approx([0.001, 0.05, 0.05, 0.001])
    memory = {int(s): x for s, x in zip(columns["step"], columns["rss_anon_bytes"]) if not math.isnan(x)}
    assert memory[40] - memory[20] > 150 << 20 and memory[50] < memory[40]
    assert [t["id"] for t in truths(state) if t["t1"]] == ["lr", "slow-data", "leak"]


@pytest.mark.parametrize("window", ["@20", "@20-40"], ids=["for-good", "for-a-while"])
def test_a_full_disk_stops_no_training_and_loses_nothing_logged(
    data: str, window: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tmpfs(tmp_path / "disk", "3m") as disk:
        monkeypatch.setenv("XDG_STATE_HOME", str(disk))
        state = wait_end(
            start(
                data=data,
                # Slow enough for several writes in the window, whatever the machine.
                fault=[f"fill:50{window}", "slow-data:30@20-40"],
                max_steps=150,
                batch_size=8,
                checkpoint_every=10**6,
                eval_every=10**6,
            )
        )
        assert (state.status, state.exit_code) == ("finished", 0), state.reason
        assert state.reason == "reached its last step, 150"
        note = find(state, "note")
        assert note.data["error"] == "disk-full" and "no space left on device" in note.text
        steps = [int(x) for x in state.columns["step"]]
        checkpoint = find(state, "checkpoint")
        lines = (Path(state.directory) / "steps.jsonl").read_bytes().splitlines()
        assert all(json.loads(line) for line in lines)
    if window == "@20":
        assert steps[:19] == list(range(1, 20)) and len(steps) < 150
        assert not checkpoint.data["ok"] and checkpoint.data["errno"] == 28
        assert "no space left on device" in checkpoint.text
    else:
        assert steps == list(range(1, 151)) and checkpoint.data["ok"]


def test_a_disk_full_from_the_start_is_one_line(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dctop.engine.training import launcher

    with tmpfs(tmp_path / "disk", "64k") as disk:
        with pytest.raises(OSError, match="No space"), (disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(b"x" * 4096)
        monkeypatch.setenv("XDG_STATE_HOME", str(disk))
        result = launcher.launch({"data": data, "max_steps": 2})
    assert result.run_id is None and "no space left on device" in str(result.error)


def test_a_removed_directory_ends_the_worker(data: str) -> None:
    directory = start(data=data, **ENDLESS)
    state = wait(directory, lambda s: (s.step or 0) > 3)
    watch = RunWatcher(paths.runs_dir())
    watch.poll()
    assert state.pid is not None
    worker = os.pidfd_open(state.pid)
    shutil.rmtree(directory)
    import select

    gone, _, _ = select.select([worker], [], [], 60)
    os.close(worker)
    assert gone, "the worker goes on where nobody can see it"
    watch.poll()
    (lost,) = [s for s in watch.states() if s.id == directory.name]
    assert lost.status == "lost" and "its directory was removed" in str(lost.reason)
    watch.close()


def test_worker_and_supervisor_killed_together_is_lost(data: str) -> None:
    directory = start(data=data, **ENDLESS)
    state = wait(directory, lambda s: (s.step or 0) > 3)
    for name in ("supervisor_pid", "pid"):
        os.kill(state.config[name], signal.SIGKILL)
    state = wait_end(directory)
    assert state.status == "lost" and state.exit_code is None and "left no word" in str(state.reason)
    assert (state.step or 0) > 3


def test_a_truncated_dataset_is_named(tmp_path: Path) -> None:
    folder = write_idx(tmp_path)
    images = folder / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:100_000])
    state = wait_end(start(data=str(folder), max_steps=2))
    assert (state.status, state.exit_code) == ("failed", 1)
    assert state.reason == f"{images}: expected 401,424 bytes for shape (512, 28, 28), found 100,000"


def test_no_space_for_a_checkpoint_is_an_event_and_training_goes_on(data: str, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "2m") as disk:
        state = wait_end(start(data=data, checkpoint_dir=str(disk), checkpoint_every=2, max_steps=6))
        assert [p.name for p in disk.iterdir() if p.is_file() and not p.is_symlink()] == ["step-00000002.pt"]
    assert state.status == "finished"
    assert [e.data["ok"] for e in state.events if e.kind == "checkpoint"] == [True, False, False]
