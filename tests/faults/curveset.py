"""Learning curves for trying forecasts on: runs that end, of many shapes, with evaluations all along.

    python -m tests.faults.curveset DIR --seed N [--only NAME ...]

`slow-convergence` is judged on them with targets that each did and did not reach
(`tests/faults/forecasts.py`). Thresholds were set on the seeds from 700 on; those from 800 on were looked at
when nothing was changed any more.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dctop.engine.training import control, launcher
from dctop.engine.training.watcher import load_run

EVALS = 15
"""Evaluations of a run, evenly spaced."""
GIVE_UP_S = 600.0
_GPT: dict[str, Any] = {"workload": "gpt", "size": "nano", "test_samples": 30_000}
_FLAT: dict[str, Any] = {**_GPT, "schedule": "constant"}

CURVES: dict[str, Mapping[str, Any]] = {
    "cnn-600": {"max_steps": 600}, "cnn-1500": {"max_steps": 1500}, "cnn-5000": {"max_steps": 5000},
    "cnn-adam-1e-4": {"lr": 1e-4, "max_steps": 3000}, "cnn-adam-1e-2": {"lr": 1e-2, "max_steps": 2000},
    "cnn-sgd-0.1": {"optimizer": "sgd", "lr": 0.1, "max_steps": 3000},
    "cnn-sgd-0.01": {"optimizer": "sgd", "lr": 0.01, "max_steps": 3000},
    "cnn-batch-8": {"batch_size": 8, "max_steps": 3000},
    "cnn-batch-128": {"batch_size": 128, "max_steps": 1200},
    "cnn-digits": {"synthetic": True, "max_steps": 1500},
    "cnn-sigmoid": {"activation": "sigmoid", "max_steps": 3000},
    "cnn-few": {"train_samples": 2000, "max_steps": 2000},
    "cnn-cosine-600": {"schedule": "cosine", "max_steps": 600},
    "cnn-cosine-2000": {"schedule": "cosine", "warmup_steps": 100, "max_steps": 2000},
    "cnn-cosine-5000": {"schedule": "cosine", "max_steps": 5000, "lr": 2e-3},
    "cnn-cosine-sgd": {"schedule": "cosine", "optimizer": "sgd", "lr": 0.2, "max_steps": 2000},
    "cnn-cosine-hot": {"schedule": "cosine", "lr": 6e-3, "batch_size": 8, "max_steps": 2500},
    "cnn-cosine-sgd-hot": {"schedule": "cosine", "optimizer": "sgd", "lr": 0.4, "max_steps": 1500},
    "gpt-cosine-hot": {**_GPT, "lr": 1e-2, "batch_size": 8, "max_steps": 1500},
    "cnn-deep": {"fault": ["deep-sigmoid:3"], "max_steps": 3000},
    "cnn-steps-1500": {"schedule": "step", "max_steps": 1500},
    "cnn-steps-5000": {"schedule": "step", "max_steps": 5000, "lr": 2e-3},
    "gpt-500": {**_FLAT, "max_steps": 500}, "gpt-1500": {**_FLAT, "max_steps": 1500},
    "gpt-4000": {**_FLAT, "max_steps": 4000}, "gpt-lr-3e-4": {**_FLAT, "lr": 3e-4, "max_steps": 1500},
    "gpt-cosine-500": {**_GPT, "max_steps": 500}, "gpt-cosine-1500": {**_GPT, "max_steps": 1500},
    "gpt-cosine-4000": {**_GPT, "max_steps": 4000},
    "gpt-cosine-3e-3": {**_GPT, "lr": 3e-3, "max_steps": 1500},
    "gpt-cosine-dropout": {**_GPT, "dropout": 0.1, "max_steps": 1500},
    "gpt-steps-1500": {**_GPT, "schedule": "step", "max_steps": 1500},
}  # fmt: skip


def make(folder: Path, name: str, seed: int) -> str | None:
    """One run into `folder/NAME-SEED`; None, or what went wrong."""
    own = folder / f"{name}-{seed}"
    if (own / "done").exists():
        return None
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    os.environ["XDG_STATE_HOME"] = str(own)
    steps = CURVES[name]["max_steps"]
    common = {"threads": 1, "seed": seed, "epochs": 10**5, "checkpoint_every": 10**6, "test_samples": 2000}
    result = launcher.launch({**common, "eval_every": steps // EVALS, **CURVES[name]})
    if result.run_id is None:
        return result.error
    directory, until = own / "dctop" / "runs" / result.run_id, time.monotonic() + GIVE_UP_S
    while (state := load_run(directory)) is None or state.status in control.ACTIVE:
        if time.monotonic() > until and state is not None:
            control.stop(state, force=True)
        time.sleep(1.0)
    for file in directory.rglob("*.pt"):
        file.unlink()
    if state.status != "finished":
        return state.reason or state.status
    (own / "done").touch()
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="curveset", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=800)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--lock", type=Path, help="a file to be locked for each run")
    args = parser.parse_args()
    for name in args.only or CURVES:
        lock = args.lock.open("w") if args.lock else None
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        print(name, args.seed, make(args.folder.absolute(), name, args.seed) or "made", flush=True)
        if lock is not None:
            lock.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
