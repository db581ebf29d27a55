"""Faults of real resources, planted by `--fault` in real runs: the cause is there, and the truth says so.

Every fault is run by tests/benchmarks/drill_all.py; here are those that only a process of its own can show.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from dctop.engine.training import control
from dctop.engine.training.runstate import RunState
from tests.fakes.runs import find, start, wait, wait_end, write_idx

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: control groups and mounts")

RUNS: dict[str, dict[str, Any]] = {
    "cgroup-oom": {"fault": ["cgroup-oom:80@5"]},
    "alloc-fail": {"fault": ["alloc-fail:80@5"]},
    "bad-sample": {"fault": ["bad-sample@5"]},
    "loader-kill": {"fault": ["loader-kill@5"], "workers": 1},
    "shm": {"fault": ["shm:4@8"], "workers": 1, "batch_size": 128, "epochs": 1000, "max_steps": 2000},
    "windows": {
        "fault": [
            "cpu-quota:30@6-15", "stop:1@17-17", "slow-transform:20@20-22", "neighbour:1@24-25",
            "mem-pressure:32@27-28", "labels-permuted@30-31", "lr-low@33-34",
        ],
        "max_steps": 40,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    data = str(write_idx(tmp_path_factory.mktemp("idx")))
    usual = {"data": data, "batch_size": 8, "max_steps": 60, "eval_every": 10**6, "checkpoint_every": 10**6}
    return {name: start(**{**usual, **config}) for name, config in RUNS.items()}


def truths(state: RunState) -> list[dict[str, Any]]:
    return [json.loads(x) for x in (Path(state.directory) / "truth.jsonl").read_text().splitlines()]


def test_a_worker_beyond_the_limit_of_its_own_group_is_killed_for_memory(runs: dict[str, Path]) -> None:
    state = wait_end(runs["cgroup-oom"])
    assert (state.status, state.exit_code) == ("killed", -9)
    assert str(state.reason).startswith("killed by the kernel: out of memory (cgroup limit ")
    end = state.events[-1].data
    assert end["oom"] == "cgroup" and end["oom_kill_delta"] == 1 and "dctop-drill-" in end["cgroup"]
    assert not Path(end["cgroup"]).exists()  # nothing is left behind
    assert truths(state) and truths(state)[0]["id"] == "cgroup-oom" and state.step == 4


def test_a_worker_beyond_its_address_space_raises(runs: dict[str, Path]) -> None:
    state = wait_end(runs["alloc-fail"])
    assert state.status == "failed" and find(state, "exception").data["kind"] == "oom-host"
    assert [t["step1"] for t in truths(state)] == [None, 4]


def test_a_bad_sample_is_the_reason(runs: dict[str, Path]) -> None:
    state = wait_end(runs["bad-sample"])
    assert state.reason == "PlantedSample: the bad-sample drill: sample cannot be decoded"


def test_a_killed_loader_is_told_as_one(runs: dict[str, Path]) -> None:
    state = wait_end(runs["loader-kill"])
    said = find(state, "exception")
    assert state.status == "failed" and said.data.get("kind") == "loader-died", said
    # Which of them PyTorch says depends on what the loader was doing; the last: handing a batch on.
    told = ("killed by signal: Killed", "exited unexpectedly", "a loader process died: ")
    assert any(words in said.text for words in told), said
    assert [(t["id"], t["step0"]) for t in truths(state)] == [("loader-kill", 5)]


def test_a_full_shm_stalls_the_run_and_the_loader_says_why(runs: dict[str, Path]) -> None:
    """The batch is lost in the loader's own thread: PyTorch waits for it for ever."""
    said = "unable to allocate shared memory"
    state = wait(runs["shm"], lambda _: said in (runs["shm"] / "stdout.log").read_text())
    assert truths(state)[0]["id"] == "shm"
    assert not Path("/dev/shm/dctop-drill-ballast").exists()  # ours is another one
    control.stop(state, force=True)
    state = wait_end(runs["shm"])
    assert state.reason == "killed by SIGKILL"


def test_windows_begin_and_end_and_their_cause_is_in_the_steps(runs: dict[str, Path]) -> None:
    state = wait_end(runs["windows"])
    assert state.status == "finished", state.reason
    begun = {t["id"]: t for t in truths(state)}
    asked = {spec.partition("@")[0].partition(":")[0]: spec for spec in RUNS["windows"]["fault"]}
    assert set(begun) == set(asked) and all(t["t1"] > t["t0"] for t in begun.values())
    windows = {n: tuple(map(int, s.partition("@")[2].split("-"))) for n, s in asked.items()}
    assert {n: (t["step0"], t["step1"]) for n, t in begun.items()} == {
        n: (first, last + 1) for n, (first, last) in windows.items()
    }
    columns = state.columns
    assert columns["step_s"][16] >= 0.9  # stopped for a second
    assert all(columns["data_s"][i] >= 0.02 for i in (19, 20, 21))
    assert list(columns["lr"][31:36]) == pytest.approx([1e-3, 1e-6, 1e-6, 1e-3, 1e-3])
    assert [e.data["id"] for e in state.events if e.kind == "fault"] == list(asked)
    assert not any(math.isnan(x) for x in columns["loss"])
