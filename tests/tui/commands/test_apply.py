"""`dctop runs apply` as typed in a shell, on logs of runs that have ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dctop.engine import paths
from tests.fakes.runs import event, make_run, step
from tests.tui.commands.test_train_and_runs import dctop


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


NAME = "20200101-000000-mnist-cnn"


def at(seconds: float, record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "wall_ns": 10**18 + int(seconds * 1e9)}


def diverged() -> None:
    make_run(
        paths.runs_dir(), NAME,
        event("start", "s", 0, total_steps=60, device={"chosen": "cpu"}),
        *(step(i, lr=0.01, grad_norm=1.0) for i in range(1, 50)),
        event("checkpoint", "saved", 40, ok=True, path="x"),
        at(0.5, event("nonfinite", "loss is not finite", 50, loss="nan", last_finite_step=49, lr=0.01)),
        at(1.0, event("end", "loss is not finite", 60, status="failed", exit_code=1)),
        config={"lr": 0.01, "batch_size": 32}, created_wall_ns=10**18,
    )  # fmt: skip


def test_the_remedies_of_a_run_are_listed_and_counted() -> None:
    diverged()
    done = dctop("runs", "apply", "last", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    names = [r["remedy"] for r in rows]
    assert "loss-nonfinite:lr" in names and "loss-nonfinite:reload" in names
    assert [r["number"] for r in rows] == list(range(1, len(rows) + 1))
    text = dctop("runs", "apply", NAME).stdout
    assert "lr 0.01 -> 0.001" in text and "loss-nonfinite:lr" in text


def test_an_unknown_remedy_names_those_there_are() -> None:
    diverged()
    done = dctop("runs", "apply", "last", "nonsense")
    assert done.returncode == 2 and "loss-nonfinite:lr" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_healthy_run_has_none() -> None:
    make_run(paths.runs_dir(), NAME, *(step(i) for i in range(1, 9)),
             event("end", "done", 8, status="finished", exit_code=0))  # fmt: skip
    done = dctop("runs", "apply", "last")
    assert done.returncode == 0 and not done.stdout and "no open alert" in done.stderr
    assert dctop("runs", "apply", "no-such-run").returncode == 1
    assert dctop("runs", "apply", "last", "1", "2").returncode == 2


def test_show_tells_what_came_of_a_remedy() -> None:
    promise = {"metric": "step_s", "value": 0.0105, "before": 0.03, "after_steps": 70}
    changed = {"options": {"workers": 1}, "before": {"workers": 0}}
    remedy = {"run": "old", "rule": "input-bound", "remedy": "workers", **changed, "prediction": promise}
    make_run(paths.runs_dir(), NAME, *(step(i) for i in range(1, 90)),
             event("end", "done", 89, status="finished", exit_code=0), remedy=remedy)  # fmt: skip
    text = dctop("runs", "show", "last").stdout
    assert (
        "input-bound:workers of old (workers=1): met: predicted 10.5 ms, observed 10 ms (before 30 ms)"
        in text
    )
