"""Eight GPUs of the stand-in driver in a real terminal: seen, in trouble, lost; recorded and replayed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.standin import Gpu, State
from tests.terminal import Terminal

DCTOP = [sys.executable, "-m", "dctop.tui.cli"]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    folders = {f"XDG_{name}_HOME": str(tmp_path / name.lower()) for name in ("STATE", "CONFIG", "CACHE")}
    return {"HOME": str(tmp_path), **folders}


@pytest.fixture
def state(tmp_path: Path) -> State:
    gpus = [Gpu(i, links=2, util=80 + i, **{"gpm.2": 60 + i}) for i in range(8)]
    gpus[5].process(os.getpid(), memory="40G", sm=77, mem=12)
    return State(tmp_path / "gpus", gpus)


def test_eight_gpus_in_trouble_live_and_in_replay(home: dict[str, str], state: State, tmp_path: Path) -> None:
    env = {**home, **state.env()}
    recording = tmp_path / "gpus.dctop"
    recorder = subprocess.Popen(
        [*DCTOP, "record", "--quiet", "-o", str(recording)], env={**os.environ, **env}
    )
    try:
        watch(env, state)
    finally:
        recorder.terminate()
        recorder.wait(30)
    with Terminal([*DCTOP, "replay", str(recording)], 120, 40, home) as t:  # without the driver
        t.wait("REPLAY", "GPU ×8")
        t.send("G", "end")
        t.wait("GPUS", "■ 1 lost", "40.0G", "kWh", timeout=30)
        t.send("q")
        assert t.wait_exit() == 0


def watch(env: dict[str, str], state: State) -> None:
    with Terminal(DCTOP, 120, 40, env) as t:
        t.wait("LIVE", "GPU ×8")
        t.send("G")
        t.wait("GPUS", "87%", "67%", "GPU PROC", "40.0G", "kWh")
        state.gpus[1].values.update({"throttle": 0x40, "clock_sm": 1200})
        state.xids.append("1 2 48")
        state.write()
        t.wait("hw thermal", "■ xid", timeout=20)
        state.fault("* 3 error 15")
        t.wait("■ 1 lost", "■ lost since", timeout=20)
        t.send("s")
        t.wait("trouble")
        t.send("down", "down", "enter")
        t.wait("FACTS GPU", "HEALTH GPU", "HISTORY GPU")
        t.send("esc")
        t.wait("ENERGY")
        t.send("A")
        t.wait("is lost", "DIAGNOSIS")
        t.send("q")
        assert t.wait_exit() == 0
