"""Starts inference measurements (`dctop infer`). No torch here.

A measurement is a run of workload `infer`: its own directory, worker and log (docs/RUNLOG.md).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dctop.engine import paths
from dctop.engine.training import checkpoints, launcher, pythons, wdata, wfaults
from dctop.engine.training.checkpoints import NoCheckpoint
from dctop.engine.training.folder import INFER
from dctop.engine.training.launcher import LaunchResult
from dctop.engine.training.options import BadOption, LaunchOption, Value, number, resolve_table

WORKER = Path(__file__).with_name("winfer.py")
EVALS = 20
"""Evaluations of the training a measurement knows, the newest."""

OPTIONS: tuple[LaunchOption, ...] = (
    LaunchOption("checkpoint", "text", "best", "last, best, the number of a step, or a file"),
    number("batch_size", 1, "samples a request", 1),
    number("requests", 1000, "requests of the latency measurement", 1),
    number("seconds", 0.0, "measure latency at least so long (0: until the requests are done)"),
    number("rate", 0.0, "requests that arrive a second, at random (0: one after the other)"),
    number("slo_ms", 0.0, "latency that may not be exceeded (0: none)"),
    number("max_batch", 256, "largest batch of the throughput curve", 1),
    number("samples", 0, "use only so many test samples (0: all)"),
    LaunchOption("precision", "choice", "fp32", "arithmetic; tf32 and fp16 need CUDA",
                 choices=("fp32", "tf32", "bf16", "fp16")),
    LaunchOption("device", "choice", "auto", "where to compute", choices=("auto", "cpu", "cuda")),
    number("threads", 0, "CPU threads of an operation (0: PyTorch's choice)"),
    LaunchOption("data", "text", None, "test images or text (default: the training's)"),
    LaunchOption("baseline", "choice", "keep", "keep: compare with it; set: this one is the new baseline",
                 choices=("keep", "set")),
    LaunchOption("fault", "text", [], "drill: " + ", ".join(wfaults.INFER_KINDS), repeat=True),
)  # fmt: skip


def launch(run_id: str, given: Mapping[str, object], python: str | None = None) -> LaunchResult:
    """Start measuring a checkpoint of a run (or a checkpoint file) and return at once. Never raises."""
    asked = dict(given)
    usual_python, usual_data = launcher.configured()
    try:
        config = resolve_table(OPTIONS, asked, paths=("data",))
        _check_faults(config["fault"])
        measures, parent = _subject(run_id, str(config["checkpoint"]))
        config["checkpoint"] = measures["checkpoint"]
        folder = _data(config, parent, usual_data)
    except (BadOption, wdata.DataError) as error:
        return LaunchResult(None, str(error))
    own = parent.get("python")
    trained_by = own if isinstance(own, str) and Path(own).exists() else None
    found = pythons.find(python or usual_python or trained_by)
    if found.reason is not None:
        return LaunchResult(None, found.reason)
    if config["device"] == "cuda" and not found.cuda:
        return LaunchResult(None, f"--device cuda: {found.why_no_cuda} ({found.path}); use --device cpu")
    if config["precision"] in ("tf32", "fp16") and (config["device"] == "cpu" or not found.cuda):
        return LaunchResult(None, f"--precision {config['precision']} needs a CUDA device; use fp32 or bf16")
    run = {
        **launcher.common(found.path, config, folder),
        "workload": INFER,
        "measures": measures,
        "baselines_dir": str(paths.state_dir() / "baselines"),
    }
    return launcher.begin(found.path, WORKER, INFER, run)


def _check_faults(specs: Value) -> None:
    for spec in specs if isinstance(specs, list) else ():
        try:
            wfaults.parse_infer(str(spec))
        except ValueError as error:
            raise BadOption(str(error)) from None


def _subject(run_id: str, which: str) -> tuple[dict[str, Any], dict[str, object]]:
    """(`measures` of run.json, the measured run's run.json or {})."""
    try:
        if os.sep in run_id or run_id.endswith(".pt"):
            found = checkpoints.of_path(run_id)
            return {"run": None, "checkpoint": found.path, "step": found.step, "eval": None}, {}
        run = launcher.read_run(run_id, "")
        if run.get("workload") == INFER:
            raise BadOption(f"{run_id} is a measurement itself; name the run that was trained")
        config = run.get("config")
        directory = paths.runs_dir() / run_id
        found = checkpoints.choose(directory, config if isinstance(config, dict) else {}, which)
    except NoCheckpoint as error:
        raise BadOption(f"{run_id}: {error}") from None
    return {
        "run": run_id, "checkpoint": found.path, "step": found.step,
        **_training(directory, found.step), **_facts(run),
    }, run  # fmt: skip


def _training(directory: Path, step: int) -> dict[str, Any]:
    """What the training measured at this step, and its newest evaluations."""
    from dctop.engine.training.watcher import load_run

    state = load_run(directory)
    evals: Sequence[Mapping[str, Any]] = state.evals if state is not None else ()
    kept = ("step", "epoch", "accuracy", "loss")
    return {
        "eval": next((e for e in reversed(evals) if e.get("step") == step), None),
        "evals": [{name: e.get(name) for name in kept} for e in evals[-EVALS:]],
    }


def _facts(run: Mapping[str, Any]) -> dict[str, Any]:
    """Of the training: its device, its data, its precision."""
    device, data = run.get("device"), run.get("data")
    return {
        "device": device.get("chosen") if isinstance(device, dict) else None,
        "data_source": data.get("source") if isinstance(data, dict) else None,
        "precision": run.get("precision"),
    }


def _data(config: Mapping[str, Value], parent: Mapping[str, object], usual: str | None) -> str | None:
    """The test images: those asked for, else the training's own (generated ones too)."""
    asked = config["data"]
    if parent.get("workload") not in (None, "mnist-cnn"):
        return None  # a text: the worker opens it
    if asked is None and "data_dir" in parent:
        folder = parent["data_dir"]
        return folder if isinstance(folder, str) else None
    return wdata.find(asked if isinstance(asked, str) else usual)
