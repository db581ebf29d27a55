"""Runs every fault of the catalogue for real and shows what it left: status, truth, change of the steps.

    .venv/bin/python tests/benchmarks/drill_all.py [NAME ...]

`oom` is left out unless it is named: without a limit around it, it takes all memory of the node (tests/faults
runs it in a control group; `cgroup-oom` makes its own). Needs root for those that make control groups and
mounts. Faults that never end are stopped by force.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("XDG_STATE_HOME", tempfile.mkdtemp(prefix="dctop-drills-"))

from dctop.engine.training import control, wfaults  # noqa: E402
from tests.fakes.runs import find, start, wait, wait_end, write_idx  # noqa: E402

ENDLESS = ("hang", "stop", "loader-hang", "shm")
FIRST, LAST = 30, 40


def drill(name: str, data: str) -> str:
    kind = wfaults.KINDS[name]
    spec = name if kind.from_start else f"{name}@{FIRST}-{LAST}"
    config: dict[str, Any] = {
        "data": data, "batch_size": 8, "max_steps": 60, "eval_every": 35, "checkpoint_every": 10**6,
        "fault": [spec], **{k: int(v) for k, v in kind.needs.items()},
    }  # fmt: skip
    if name == "shm":
        config["batch_size"], config["epochs"] = 64, 1000
    directory = start(**config)
    if name in ENDLESS:
        state = wait(
            directory, lambda s: (s.step or 0) >= FIRST - 3 and "fault" in [e.kind for e in s.events]
        )
        time.sleep(2.0)
        control.stop(wait(directory, lambda s: True), force=True)
    state = wait_end(directory)
    truth = [json.loads(x) for x in (directory / "truth.jsonl").read_text().splitlines()]
    steps = list(state.columns["step_s"])
    inside = [t for s, t in zip(state.columns["step"], steps, strict=True) if FIRST <= s <= LAST]
    slower = f"{median(inside) / median(steps[5:25]):5.1f}x" if inside and len(steps) > 25 else "     -"
    planted = find(state, "fault").data["id"] if any(e.kind == "fault" for e in state.events) else "?"
    closed = "closed" if truth and truth[-1]["t1"] else "open"
    return (
        f"{name:18} {kind.tier}  {state.status:9} step {slower}  truth {planted} {closed:6}  {state.reason}"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = str(write_idx(Path(folder)))
        for name in sys.argv[1:] or [n for n in wfaults.KINDS if n != "oom"]:
            try:
                print(drill(name, data), flush=True)
            except Exception as error:
                print(f"{name:18} FAILED: {error}", flush=True)


if __name__ == "__main__":
    main()
