"""Runs for tests: small IDX data, real workers started by the real launcher, hand-written run logs."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dctop.engine import paths
from dctop.engine.training import control, launcher
from dctop.engine.training.runstate import RunState
from dctop.engine.training.watcher import RunFollower

FASHION = Path("/usr/share/datasets/fashion-mnist")
LONG = 90.0
"""Seconds after which a worker is given up: only reached when something is wrong."""


def write_idx(folder: Path, train: int = 512, test: int = 64) -> Path:
    """Raw IDX files: each class is a bright block at a place of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", train), ("t10k", test)):
        labels = bytes(i % 10 for i in range(count))
        blank = bytes(784)
        images = b"".join(blank[: 70 * k] + b"\xc8" * 60 + blank[70 * k + 60 :] for k in labels)
        head = struct.pack(">IIII", 0x803, count, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels)
    return folder


def start(**config: Any) -> Path:
    """Launch a real run; its directory. One thread: two that wait for each other crawl on a busy node."""
    result = launcher.launch({"threads": 1, **config})
    assert result.run_id is not None, result.error
    return paths.runs_dir() / result.run_id


def wait(directory: Path, until: Callable[[RunState], bool]) -> RunState:
    """The first state that satisfies, or the last one before the run is given up."""
    follower = RunFollower(directory)
    deadline = time.monotonic() + LONG
    try:
        while time.monotonic() < deadline:
            state = follower.poll()
            if state is not None and until(state):
                return state
            time.sleep(0.05)
    finally:
        follower.close()
    raise AssertionError(f"{directory.name}: {state and (state.status, state.step, state.reason)}")


def wait_end(directory: Path) -> RunState:
    return wait(directory, lambda s: s.status not in control.ACTIVE)


def in_child(code: str, before: str = "") -> str:
    """Run code in a Python of its own (after `before`, e.g. limits); its standard output."""
    done = subprocess.run(
        [sys.executable, "-c", f"import os\n{before}\n{code}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def start_in_child(before: str, **config: Any) -> Path:
    """Launch from a child that has prepared itself by `before`: the worker inherits it."""
    code = (
        "from dctop.engine.training import launcher\n"
        f"r = launcher.launch({dict(config, threads=1)!r})\nassert r.run_id, r.error\nprint(r.run_id)"
    )
    return paths.runs_dir() / in_child(code, before)


@contextmanager
def everybodys() -> Iterator[Path]:
    """A directory everybody may enter (pytest closes its own to others whenever a session begins)."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o711)
        if not all(folder.stat().st_mode & 0o001 for folder in place.resolve().parents):
            pytest.skip("the temporary directory is private")
        yield place


@contextmanager
def tmpfs(path: Path, size: str) -> Iterator[Path]:
    """A real file system of a fixed size."""
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a tmpfs")
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def step(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "kind": "step", "step": number, "epoch": 1, "wall_ns": 10**18 + number * 10**7, "step_s": 0.01,
        "samples": 32, "loss": 1.0 / number, "mode": "train", **fields,
    }  # fmt: skip


def event(kind: str, text: str = "", number: int | None = None, **data: Any) -> dict[str, Any]:
    return {"kind": kind, "wall_ns": 10**18, "step": number, "text": text, "data": data}


def append(directory: Path, *records: dict[str, Any]) -> None:
    with (directory / "steps.jsonl").open("a") as log:
        log.writelines(json.dumps(r, separators=(",", ":")) + "\n" for r in records)


def make_run(runs: Path, name: str, *records: dict[str, Any], **facts: Any) -> Path:
    """A run directory as another program may write it."""
    directory = runs / name
    directory.mkdir(parents=True)
    run = {"format": 1, "id": name, "workload": "mnist-cnn", "config": {"epochs": 1}, **facts}
    (directory / "run.json").write_text(json.dumps(run))
    append(directory, *records)
    return directory


def kinds(state: RunState) -> list[str]:
    return [e.kind for e in state.events]


def find(state: RunState, kind: str) -> Any:
    return next(e for e in state.events if e.kind == kind)
