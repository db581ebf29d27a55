"""Bad days of a worker: the state is true, nothing logged is lost, and one line has the cause."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dctop.engine.training import control, launcher
from dctop.engine.training.options import resolve
from tests.fakes.runs import find, start, wait, wait_end, write_idx
from tests.terminal import Terminal

DCTOP = [sys.executable, "-m", "dctop.tui.cli"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_idx(tmp_path_factory.mktemp("idx")))


def worker(folder: Path, *python: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run the worker under another Python; its `end` record."""
    folder.mkdir()
    run = {"id": "x", "workload": "linear", "config": resolve({}, "linear")}
    (folder / "run.json").write_text(json.dumps(run))
    command = [sys.executable, *python, str(launcher.WORKER), "--run-dir", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    lines = (folder / "steps.jsonl").read_text().splitlines()
    return dict(json.loads(lines[-1]))


def test_a_python_without_torch_is_one_line(tmp_path: Path) -> None:
    end = worker(tmp_path / "run", "-S", environment={"PATH": "/usr/bin:/bin"})
    assert end["kind"] == "end" and end["data"]["status"] == "failed"
    assert end["text"].startswith(f"torch cannot be imported by {sys.executable}: ModuleNotFoundError")
    assert "\n" not in end["text"]


def test_a_torch_too_old_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("__version__ = '1.13.1+cu117'\n")
    end = worker(tmp_path / "run", environment={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)})
    assert end["text"] == f"torch 1.13.1+cu117 of {sys.executable} is too old: 2.1 or later is needed"


def test_a_broken_checkpoint_is_refused_by_name(data: str) -> None:
    usual = {"data": data, "batch_size": 8, "max_steps": 4}
    first = wait_end(start(**usual))
    path = Path(find(first, "checkpoint").data["path"])
    path.write_bytes(path.read_bytes()[:200_000])
    broken = launcher.launch({"threads": 1, "max_steps": 9}, resume=first.id)
    assert broken.run_id is not None
    runs = Path(first.directory).parent
    state = wait_end(runs / broken.run_id)
    assert state.status == "failed" and f"{path}: broken checkpoint (" in str(state.reason)
    assert state.step is None and "\n" not in str(state.reason)


def test_a_stopped_worker_goes_on_where_it_was(data: str) -> None:
    directory = start(data=data, batch_size=8, epochs=10**6, eval_every=10**9, checkpoint_every=10**9)
    state = wait(directory, lambda s: (s.step or 0) > 5)
    assert state.pid is not None
    os.kill(state.pid, signal.SIGSTOP)
    os.kill(state.pid, signal.SIGHUP)  # pending until it goes on, and ignored then
    seen = wait(directory, lambda s: s.status == "running")
    os.kill(state.pid, signal.SIGCONT)
    state = wait(directory, lambda s: (s.step or 0) > (seen.step or 0) + 5)
    control.stop(state)
    state = wait_end(directory)
    assert state.status == "stopped" and whole(directory)


def whole(directory: Path) -> bool:
    """Every step is in the log, once and in order."""
    records = [json.loads(line) for line in (directory / "steps.jsonl").read_text().splitlines()]
    numbers = [r["step"] for r in records if r["kind"] == "step"]
    return bool(numbers) and numbers == list(range(1, numbers[-1] + 1))


def test_ten_lost_screens_lose_no_step(data: str) -> None:
    """SIGHUP (the connection goes) and SIGKILL in turn: of the screen that started the run, and of those
    that attach to it."""
    directory = start(data=data, batch_size=8, epochs=10**6, eval_every=10**9, checkpoint_every=10**9)
    begun = wait(directory, lambda s: (s.step or 0) > 0)
    steps = []
    for i in range(10):
        with Terminal([*DCTOP, "train", "linear"] if i == 0 else DCTOP, 100, 30, {}) as terminal:
            terminal.wait("running" if i else "linear")
            os.kill(terminal.process.pid, signal.SIGKILL if i % 2 else signal.SIGHUP)
            terminal.process.wait(20)
        state = wait(directory, lambda s: (s.step or 0) > (steps[-1] if steps else 0))
        assert (state.status, state.pid) == ("running", begun.pid)
        steps.append(state.step or 0)
    control.stop(state)
    state = wait_end(directory)
    assert state.status == "stopped" and whole(directory) and len(set(steps)) == 10
    assert find(state, "checkpoint").data["ok"]
