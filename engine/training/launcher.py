"""Starts training runs: a detached worker under a Python that has torch."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dctop.engine import paths
from dctop.engine.training import checkpoints, pythons, wdata
from dctop.engine.training.options import (
    PYTHON,
    WORKLOAD,
    WORKLOADS,
    BadOption,
    LaunchOption,
    Value,
    for_workload,
    impossible,
    resolve,
    with_state,
)  # fmt: skip
from dctop.engine.training.runlog import FORMAT
from dctop.engine.training.watcher import start_ticks
from dctop.engine.version import version

WORKER = Path(__file__).with_name("worker.py")
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class LaunchCheck:
    """Whether a run could start now."""

    python: str
    torch_version: str | None
    reason: str | None
    """One line why not; None: it can."""
    data_source: str
    """Folder of the images, or `synthetic digits (generated)`."""
    synthetic: bool
    cuda: bool
    gpus: tuple[str, ...]
    why_no_cuda: str


@dataclass(frozen=True, slots=True)
class LaunchResult:
    """`run_id`, or `error`: one line."""

    run_id: str | None
    error: str | None = None


def check(python: str | None = None, data: str | None = None) -> LaunchCheck:
    """What is here. Asks an interpreter (seconds, unless remembered): not for the UI thread."""
    usual_python, usual_data = configured()
    found = pythons.find(python or usual_python)
    reason, folder = found.reason, None
    try:
        folder = wdata.find(data or usual_data)
    except wdata.DataError as error:
        reason = reason or str(error)
    return LaunchCheck(
        python=found.path,
        torch_version=found.torch_version,
        reason=reason,
        data_source=folder or "synthetic digits (generated)",
        synthetic=folder is None,
        cuda=found.cuda,
        gpus=found.gpus,
        why_no_cuda=found.why_no_cuda,
    )


def options(workload: str = "mnist-cnn", known: LaunchCheck | None = None) -> list[LaunchOption]:
    """The launch dialog's fields with the values used last. With `known`, what is impossible on this
    node is taken out and `why_disabled` says why. Cheap: reads one small file."""
    last = remembered().get(workload, {})
    cuda, why = (None, "") if known is None or known.reason is not None else (known.cuda, known.why_no_cuda)
    return [with_state(option, last, cuda, why) for option in (WORKLOAD, *for_workload(workload), PYTHON)]


def find_python(asked: str | Path | None = None) -> str:
    """The interpreter a run would use, found without importing torch (tenths of a second)."""
    return pythons.likely(str(asked) if asked is not None else None)


def launch(
    config: Mapping[str, object],
    python: str | None = None,
    resume: str | None = None,
    checkpoint: str = "last",
    remedy: Mapping[str, object] | None = None,
) -> LaunchResult:
    """Start a run and return at once; it goes on without us. `config`: option names and values (also
    `workload`, `python` and `resume`, as a dialog has them); `resume`: id of a run to continue, from its
    `checkpoint` (`last`, `best`, a step, a path). `remedy`: what the run is to mend, for its run.json; its
    `run` is the parent where none is continued.

    Never raises: everything that can go wrong is one line in `error`.
    """
    asked = dict(config)
    workload = str(asked.pop("workload", None) or "mnist-cnn")
    python = python or _text(asked.pop("python", None))
    resume = resume or _text(asked.pop("resume", None))
    usual_python, usual_data = configured()
    try:
        parent = _parent(resume, asked, checkpoint) if resume else None
        if parent is None and remedy is not None:
            parent = {"run": remedy.get("run"), "checkpoint": None}
        resolved = resolve(asked, workload)
        folder = None
        if workload == "mnist-cnn" and not resolved["synthetic"]:
            folder = wdata.find(_text(resolved["data"]) or usual_data)
    except (BadOption, wdata.DataError) as error:
        return LaunchResult(None, str(error))
    found = pythons.find(python or usual_python)
    if found.reason is not None:
        return LaunchResult(None, found.reason)
    no_cuda = f"{found.why_no_cuda} ({found.path})"
    refused = impossible(workload, resolved, found.cuda, no_cuda, len(found.gpus))
    if refused:
        return LaunchResult(None, refused)
    run: dict[str, object] = {
        **common(found.path, resolved, folder),
        "workload": workload,
        "parent": parent,
        "resume_from": parent["checkpoint"] if parent else None,
        **({"remedy": dict(remedy)} if remedy is not None else {}),
    }
    result = begin(found.path, WORKER, workload, run)
    if result.run_id is not None and remedy is None:
        remember(workload, {**resolved, "python": python})
    return result


def begin(python: str, script: Path, workload: str, run: Mapping[str, object]) -> LaunchResult:
    """Make the run directory with `run` as its run.json and start `script` on it. Never raises."""
    try:
        directory = _create(paths.runs_dir(), workload)
        _write_run(directory, {"id": directory.name, **run})
    except OSError as error:
        return LaunchResult(None, f"{paths.runs_dir()}: {(error.strerror or str(error)).lower()}")
    failure = _start(python, script, directory)
    return LaunchResult(None, failure) if failure is not None else LaunchResult(directory.name)


def common(python: str, config: Mapping[str, object], data_dir: str | None) -> dict[str, object]:
    """What every run.json begins with."""
    return {
        "format": FORMAT,
        "config": config,
        "created_wall_ns": time.time_ns(),
        "dctop_version": version(),
        "python": python,
        "data_dir": data_dir,
        "launcher_pid": os.getpid(),
        "launcher_start_ticks": start_ticks(os.getpid()),
    }


def configured() -> tuple[str | None, str | None]:
    """Interpreter and data folder of dctop.toml, where they are set."""
    from dctop.engine.config import load

    training = load(None)[0].training
    python, data = training.python, training.data
    return (str(python) if python is not None else None, str(data) if data is not None else None)


def _parent(run_id: str, asked: dict[str, object], which: str) -> dict[str, object]:
    """What is continued: a checkpoint of a run; its configuration fills what was not asked."""
    run = read_run(run_id, "--resume")
    config = run.get("config")
    config = config if isinstance(config, dict) else {}
    try:
        found = checkpoints.choose(paths.runs_dir() / run_id, config, which)
    except checkpoints.NoCheckpoint as error:
        raise BadOption(f"--resume {run_id}: {error}") from None
    for name, value in config.items():
        if name not in ("fault", "max_steps"):
            asked.setdefault(name, value)
    return {"run": run_id, "checkpoint": found.path}


def read_run(run_id: str, flag: str) -> dict[str, object]:
    """run.json of a run. Raises BadOption."""
    try:
        run = json.loads((paths.runs_dir() / run_id / "run.json").read_bytes())
    except (OSError, ValueError):
        run = None
    if not isinstance(run, dict):
        raise BadOption(f"{flag} {run_id}: no such run; `dctop runs` lists them".strip())
    return run


def _create(runs: Path, workload: str) -> Path:
    """A new directory whose name sorts by time (UTC)."""
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    stem = time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-" + workload
    number = 1
    while True:
        directory = runs / (stem if number == 1 else f"{stem}-{number}")
        try:
            directory.mkdir(mode=0o700)
            return directory
        except FileExistsError:
            number += 1


def _write_run(directory: Path, run: Mapping[str, object]) -> None:
    fd = os.open(directory / "run.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as out:
        json.dump(run, out, indent=1)
        out.write("\n")


def _start(python: str, script: Path, directory: Path) -> str | None:
    """Run `SCRIPT --supervise`, which returns as soon as supervisor and worker are off and belong to
    init: nothing of ours remains to be reaped, and killing us kills nothing. None, or what went wrong."""
    # -u: prints reach the log at once. faulthandler: a crash in native code leaves a traceback.
    command = [python, "-u", "-X", "faulthandler", str(script), "--supervise", "--run-dir", str(directory)]
    log = directory / "stdout.log"
    try:
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=fd, stderr=fd, cwd=directory,
                start_new_session=True, timeout=START_TIMEOUT_S, check=False,
            )  # fmt: skip
        finally:
            os.close(fd)
    except subprocess.TimeoutExpired:
        return f"{python}: the worker did not start within {START_TIMEOUT_S:.0f} s"
    except OSError as error:
        return f"{python}: {error.strerror or error}"
    if done.returncode == 0:
        return None
    try:
        said = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        said = []
    return said[-1][:300] if said else f"{python}: the worker did not start (exit code {done.returncode})"


# -- the values used last -------------------------------------------------------------------------------


_LAST = "last"


def _memory_file() -> Path:
    return paths.state_dir() / "launch.json"


def remembered() -> dict[str, dict[str, object]]:
    try:
        value = json.loads(_memory_file().read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {k: v for k, v in value.items() if isinstance(v, dict)}


def last_workload() -> str:
    """The one that was started last."""
    name = remembered().get(_LAST, {}).get("workload")
    return name if isinstance(name, str) and name in WORKLOADS else next(iter(WORKLOADS))


def remember(workload: str, config: Mapping[str, Value]) -> None:
    """For the next dialog; a drill is not repeated unasked."""
    kept = {name: value for name, value in config.items() if name != "fault"}
    file = _memory_file()
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        temporary.touch(0o600)  # paths of data and checkpoints are nobody else's
        temporary.write_text(
            json.dumps({**remembered(), workload: kept, _LAST: {"workload": workload}}, indent=1)
        )
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
