"""The second opinion of `dctop doctor`: pynvml and dctop on one simulated driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from dctop.probes.nvml_second import disagreements
from tests.fakes.standin import State


def doctor(state: State) -> dict[str, str]:
    code = "from dctop.tui.cli import main; main(['doctor', '--json'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **state.env()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    (found,) = [c for c in json.loads(done.stdout)["checks"] if c["id"] == "nvml"]
    return dict(found)


def test_pynvml_and_dctop_agree_on_the_same_driver(tmp_path: Path) -> None:
    found = doctor(State(tmp_path / "gpus", 2))
    assert found["status"] == "ok" and found["text"].startswith("2 GPUs are to pynvml"), found


def test_without_a_gpu_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert doctor(State(tmp_path / "gpus", 0))["status"] == "note"


def test_what_differs_is_named_and_what_one_has_not_read_is_not() -> None:
    ours = {
        "gpu.state{gpu=GPU-a}": "ok", "gpu.name{gpu=GPU-a}": "A100",
        "gpu.mem_total_bytes{gpu=GPU-a}": 5, "gpu.pcie_gen_max{gpu=GPU-a}": None,
    }  # fmt: skip
    theirs = {
        "GPU-a": {"name": "A100", "mem_total_bytes": 80, "pcie_gen_max": 4, "pcie_width_max": 16},
        "GPU-b": {"name": "A100"},
    }
    assert disagreements(ours, theirs) == [
        "GPU-a: mem_total_bytes 5 by dctop, 80 by pynvml",
        "GPU-b: not seen by dctop",
    ]
