"""Several ranks on the CPU (gloo), started by torchrun's launcher: one log each, one end, one truth."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from dctop.engine.training import control
from dctop.engine.training.runstate import RunState
from tests.fakes.runs import find, kinds, start, wait, wait_end, write_idx

QUICK: dict[str, Any] = {"batch_size": 8, "eval_every": 10**6, "checkpoint_every": 10**6}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_idx(tmp_path_factory.mktemp("idx"), train=250))


def ranks(state: RunState) -> list[list[dict[str, Any]]]:
    """Steps of each rank's log."""
    folder = Path(state.directory)
    names = ["steps.jsonl", *sorted(p.name for p in folder.glob("steps.*.jsonl"))]
    lines = [[json.loads(x) for x in (folder / n).read_text().splitlines()] for n in names]
    return [[r for r in log if r["kind"] == "step"] for log in lines]


def weights(path: str) -> dict[str, torch.Tensor]:
    return dict(torch.load(path, weights_only=True)["model"])


def test_two_ranks_take_turns_and_the_slow_one_is_seen(data: str) -> None:
    state = wait_end(start(data=data, nproc=2, max_steps=20, fault=["straggler:60@8-14"], **QUICK))
    assert (state.status, state.exit_code) == ("finished", 0), state.reason
    assert state.config["ranks"] == 2 and state.config["parameters"] == 121_930
    first, second = ranks(state)
    assert [r["step"] for r in first] == [r["step"] for r in second] == list(range(1, 21))
    # Different samples, the same gradient after the exchange.
    assert [r["loss"] for r in first] != [r["loss"] for r in second]
    norms = [(a["grad_norm"], b["grad_norm"]) for a, b in zip(first, second, strict=True) if "grad_norm" in a]
    assert all(a == pytest.approx(b, rel=1e-4) for a, b in norms if b is not None)
    # The cause is in the last rank's data phase; the first waits for it in the exchange of the gradients.
    slow = [r for r in second if 8 <= r["step"] <= 14]
    assert all(r["data_s"] >= 0.06 for r in slow) and max(r["data_s"] for r in first) < 0.06
    assert sum(r["backward_s"] > 0.03 for r in first if 8 <= r["step"] <= 14) >= 5
    truth = [json.loads(x) for x in (Path(state.directory) / "truth.jsonl").read_text().splitlines()]
    assert truth[-1]["entity"] == f"run:{state.id} rank:1" and truth[-1]["step1"] == 15
    assert all(r["wait_s"] >= 0 for r in first)
    saved = find(state, "checkpoint").data["path"]
    assert all(not name.startswith("module.") for name in weights(saved))  # fits a run of one process


def test_four_ranks_are_stopped_together_and_resume(data: str) -> None:
    directory = start(data=data, nproc=4, epochs=10**6, **QUICK)
    state = wait(directory, lambda s: (s.step or 0) >= 2)
    control.stop(state)
    state = wait_end(directory)
    assert (state.status, state.exit_code) == ("stopped", 0), state.reason
    logs = ranks(state)
    assert len(logs) == 4 and len({log[-1]["step"] for log in logs}) == 1
    assert find(state, "checkpoint").data["ok"] and kinds(state).count("stop") == 1
    from dctop.engine.training import launcher

    again = launcher.launch(
        {"threads": 1, "nproc": 1, "epochs": 10**6, "max_steps": logs[0][-1]["step"] + 2, "data": data},
        resume=state.id,
    )
    assert again.run_id is not None, again.error
    state = wait_end(directory.parent / again.run_id)
    assert state.status == "finished" and state.step == logs[0][-1]["step"] + 2


def test_a_killed_rank_ends_the_run_with_its_number_and_signal(data: str) -> None:
    directory = start(data=data, nproc=2, epochs=10**6, **QUICK)
    wait(directory, lambda s: (s.step or 0) >= 2)
    log = (directory / "steps.1.jsonl").read_text().splitlines()
    pid = next(r["data"]["pid"] for r in map(json.loads, log) if r["kind"] == "start")
    os.kill(pid, signal.SIGKILL)
    state = wait_end(directory)
    assert (state.status, state.exit_code) == ("killed", -9)
    assert state.reason == "rank 1 killed by SIGKILL"
    assert state.events[-1].data["rank"] == 1 and state.events[-1].data["signal"] == "SIGKILL"


def test_an_exception_in_a_rank_is_the_reason(data: str) -> None:
    state = wait_end(start(data=data, nproc=2, epochs=10**6, fault=["crash@4"], **QUICK))
    assert state.status == "failed" and state.reason == "rank 1: PlantedCrash: the crash drill raised this"
