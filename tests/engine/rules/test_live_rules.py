"""The real engine on real causes: a full filesystem, kills by the kernel and by somebody, a NaN."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dctop.engine.config import Energy
from dctop.engine.live import LiveEngine
from dctop.engine.rules.alert import Alert
from dctop.engine.training import control, wlog
from tests.fakes.cgroups import group, run_inside
from tests.fakes.runs import everybodys, start, wait, wait_end, write_idx
from tests.fakes.standin import State

TRAINING = Path(wlog.__file__).parent


@contextmanager
def live(runs: Path) -> Iterator[LiveEngine]:
    engine = LiveEngine(interval_s=0.5, runs_dir=runs)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


def wait_for(engine: LiveEngine, rule: str, entity: str) -> Alert:
    """The alert, as soon as it is there (a generous number of ticks for a busy machine)."""
    for _ in range(120):
        found = [a for a in engine.now.known_alerts if (a.rule, a.entity) == (rule, entity) and a.open]
        if found:
            return found[0]
        assert engine.wait_ticks(1, 30.0), engine.problem
    raise AssertionError(f"no {rule} at {entity}: {[(a.rule, a.entity) for a in engine.now.known_alerts]}")


@contextmanager
def tmpfs(point: Path, size: str) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a tmpfs")
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


def test_a_full_filesystem(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "full", "8m") as point:
        try:
            (point / "ballast").write_bytes(bytes(9 << 20))
        except OSError as e:
            assert e.errno == 28
        with live(tmp_path / "runs") as engine:
            alert = wait_for(engine, "disk-fill", str(point))
        assert alert.severity == "critical"
        assert str(point) in alert.title


def supervised(directory: Path, body: str) -> str:
    """A program that runs `body` under the run's supervisor, as the worker does its training."""
    return f"""
import sys, signal
sys.path.insert(0, {str(TRAINING)!r})
import wlog, wsuper
def train(report):
    log = wlog.RunLog({str(directory)!r})
    log.event("start", "start", 0)
    log.event("mode", "train", 0, mode="train")
    log.step({{"step": 1, "wall_ns": __import__("time").time_ns(), "loss": 1.0, "step_s": 0.01}})
    log.flush()
    {body}
    return 0
sys.exit(wsuper.supervise({str(directory)!r}, train))
"""


def begin(runs: Path, name: str) -> Path:
    directory = runs / name
    directory.mkdir(parents=True)
    facts = {
        "format": 1,
        "id": name,
        "workload": "mnist-cnn",
        "created_wall_ns": time.time_ns(),
        "config": {},
    }
    wlog.write_json(str(directory / "run.json"), facts)
    return directory


def ended(directory: Path) -> dict[str, object]:
    """The `end` record, once the supervisor has written it."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        lines = (directory / "steps.jsonl").read_text().splitlines()
        if lines and '"kind":"end"' in lines[-1]:
            record = json.loads(lines[-1])
            assert isinstance(record, dict)
            return record
        time.sleep(0.05)
    raise AssertionError("the supervisor left no end")


def empty(cgroup: Path) -> None:
    """Its last process is gone: only then it can be removed."""
    until = time.monotonic() + 30
    while (cgroup / "cgroup.procs").read_text().strip():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_worker_the_kernel_kills_for_memory(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    directory = begin(runs, "hungry")
    with group("memory", memory__limit_in_bytes=str(150 << 20)) as cgroup:
        run_inside([cgroup], supervised(directory, "x = [bytearray(b'x' * (8 << 20)) for _ in range(100)]"))
        end = ended(directory)
        empty(cgroup)
    assert end["data"]["exit_code"] == -9  # type: ignore[index]
    with live(runs) as engine:
        alert = wait_for(engine, "oom-killed", "hungry")
        crash = wait_for(engine, "worker-crashed", "hungry")
        others = {a.rule for a in engine.now.known_alerts if a.entity == "hungry"}
    assert alert.severity == "critical"
    assert alert.remedies[0].quantity == "limit 150 MiB -> 180 MiB"
    assert crash.suppressed_by == "oom-killed"
    assert "worker-sigkilled" not in others


def test_a_worker_somebody_kills(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    directory = begin(runs, "victim")
    run_inside([], supervised(directory, "import os; os.kill(os.getpid(), signal.SIGKILL)"))
    ended(directory)
    with live(runs) as engine:
        wait_for(engine, "worker-sigkilled", "victim")
        others = {a.rule for a in engine.now.known_alerts if a.entity == "victim"}
    assert "oom-killed" not in others


def test_a_loss_that_is_not_a_number(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    directory = begin(runs, "nan")
    body = 'log.event("nonfinite", "loss is NaN", 2, loss=float("nan"), lr=0.1); log.close()'
    run_inside([], supervised(directory, body))
    ended(directory)
    with live(runs) as engine:
        alert = wait_for(engine, "loss-nonfinite", "nan")
    assert alert.first_step == 2


def test_a_run_over_its_energy_budget_on_data_everybody_can_read() -> None:
    quick = {"energy-budget": {"hold_s": 0.0, "every_s": 0.0}}
    engine = LiveEngine(interval_s=0.5, thresholds=quick, energy=Energy(run_budget_kwh=1e-6, pue=1.2))
    with everybodys() as place:
        data = write_idx(place / "idx", train=256)
        data.chmod(0o755)
        for file in data.iterdir():
            file.chmod(0o644)
        directory = start(data=str(data), epochs=10**6, eval_every=10**6, checkpoint_every=10**6)
        try:
            wait(directory, lambda s: s.status == "running")
            engine.start()
            budget = wait_for(engine, "energy-budget", directory.name)
            exposed = wait_for(engine, "data-exposure", directory.name)
        finally:
            engine.stop()
            control.stop(control.find(directory.name), force=True)
            wait_end(directory)
    assert budget.severity == "critical" and any(e.label == "PUE" and e.value == 1.2 for e in budget.evidence)
    assert exposed.severity == "info" and str(data) in (exposed.remedies[0].command or "")


def test_a_run_on_the_cpu_of_a_node_with_a_gpu(tmp_path: Path) -> None:
    """A real worker that finds no CUDA beside a simulated driver that has a GPU, judged by `dctop check`."""
    state = State(tmp_path / "gpus", 1)
    data = write_idx(tmp_path / "idx", train=256)
    directory = start(data=str(data), device="auto", epochs=10**6, eval_every=10**6, checkpoint_every=10**6)
    try:
        wait(directory, lambda s: s.status == "running")
        command = [
            sys.executable,
            "-c",
            "from dctop.tui.cli import main; main(['check', '--json', '--for', '4'])",
        ]
        env = {**os.environ, **state.env()}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    finally:
        control.stop(control.find(directory.name), force=True)
        wait_end(directory)
    told = json.loads(done.stdout)
    found = [f for f in told["findings"] if f["rule"] == "cpu-fallback"]
    assert [f["entity"] for f in found] == [directory.name], done.stdout[:2000]
    assert "without CUDA" in found[0]["why"] or "no CUDA device" in found[0]["why"]
