"""The whole program on a driver that misbehaves (simulated): the screen goes on and the end is immediate."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fakes.standin import State
from tests.terminal import Terminal

DCTOP = [sys.executable, "-c", "import sys; from dctop.tui.cli import main; sys.exit(main([]))"]


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        ("* * sleep forever", ["No GPU: hung", "NET"]),
        ("nvmlDeviceGetPowerUsage 1 sleep forever", ["87%", "NET"]),
        ("nvmlShutdown * sleep forever", ["87%", "NET"]),
    ],
)
def test_whatever_hangs_the_screen_goes_on_and_q_ends_it(
    tmp_path: Path, fault: str, shown: list[str]
) -> None:
    state = State(tmp_path / "gpus", 2)
    state.fault(fault)
    with Terminal(DCTOP, 160, 50, env=state.env()) as terminal:
        terminal.wait(*shown)
        terminal.send("q")
        assert terminal.wait_exit() == 0


def test_a_library_that_is_none_is_no_end_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"\x7fELF and then nothing of the kind")
    with Terminal(DCTOP, 160, 50, env={"LD_LIBRARY_PATH": str(tmp_path)}) as terminal:
        terminal.wait("GPU", "NET")
        terminal.send("q")
        assert terminal.wait_exit() == 0
