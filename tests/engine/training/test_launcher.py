"""Real runs, started as a user starts them: on Fashion-MNIST, detached, stopped, resumed."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dctop.engine import paths
from dctop.engine.training import control, launcher, wckpt
from dctop.engine.training.folder import run_ids
from dctop.engine.training.runstate import PHASES, RunState
from dctop.engine.training.watcher import RunWatcher, start_ticks
from tests.fakes.runs import FASHION, find, kinds, make_run, start, wait, wait_end, write_idx


@pytest.fixture(scope="module")
def fashion() -> RunState:
    """60 steps on the real data, evaluated in between."""
    return wait_end(
        start(data=str(FASHION), max_steps=60, eval_every=30, checkpoint_every=20, test_samples=1000)
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_idx(tmp_path_factory.mktemp("idx")))


def test_the_reference_run_learns_fashion_mnist(fashion: RunState) -> None:
    assert (fashion.status, fashion.exit_code, fashion.step, fashion.total_steps) == ("finished", 0, 60, 60)
    assert fashion.reason == "reached its last step, 60"
    loss = fashion.columns["loss"]
    assert 2.2 < loss[0] < 2.4 and sum(loss[-10:]) / 10 < 1.2
    assert [e["step"] for e in fashion.evals] == [30, 60]
    last = fashion.evals[-1]
    assert last["accuracy"] > 0.55 and last["samples"] == 1000 and len(last["recall"]) == 10
    assert fashion.data_source == f"Fashion-MNIST ({FASHION})" and not fashion.synthetic
    assert fashion.config["parameters"] == 121_930 and fashion.device == "cpu"


def test_phases_of_every_step_add_up(fashion: RunState) -> None:
    columns = fashion.columns
    phases = [columns[f"{name}_s"] for name in PHASES]
    for i, whole in enumerate(columns["step_s"]):
        parts = sum(column[i] for column in phases)
        assert 0 < parts <= whole * 1.0001
        assert all(column[i] >= 0 for column in phases)
    norms = [n for n in columns["grad_norm"] if not math.isnan(n)]
    assert all(c > 0 for c in columns["cpu_s"]) and len(norms) >= 20 and all(n > 0 for n in norms)
    known = [not math.isnan(x) for x in columns["update_ratio"]]
    assert known[9] and known[19] and all(i % 10 == 9 for i, there in enumerate(known) if there)
    assert min(x for x in columns["rss_anon_bytes"] if not math.isnan(x)) > 50e6


def test_the_log_tells_the_whole_story(fashion: RunState) -> None:
    told = [k for k in kinds(fashion) if k != "mode"]
    assert told == ["start", "checkpoint", "eval", "checkpoint", "eval", "checkpoint", "end"]
    assert [e.data["path"].rpartition("/")[2] for e in fashion.events if e.kind == "checkpoint"] == [
        f"step-{n:08d}.pt" for n in (20, 40, 60)
    ]
    directory = Path(fashion.directory)
    assert sorted(p.name for p in directory.iterdir()) == [
        "checkpoints",
        "run.json",
        "stdout.log",
        "steps.jsonl",
    ]
    assert "Test accuracy: 0." in (directory / "stdout.log").read_text()
    modes = [oct(p.stat().st_mode & 0o777) for p in (directory, directory / "checkpoints")]
    assert modes == ["0o700", "0o700"]
    assert {
        oct(p.stat().st_mode & 0o777) for p in directory.rglob("*") if p.is_file() and not p.is_symlink()
    } == {"0o600"}


def test_a_run_outlives_its_launcher_saves_on_request_stops_and_resumes(small: str) -> None:
    config = {"data": small, "batch_size": 8, "epochs": 500, "eval_every": 10**6, "checkpoint_every": 10**6}
    code = (
        "import sys\nfrom dctop.engine.training import launcher\n"
        f"print(launcher.launch({config!r}).run_id, flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        directory = paths.runs_dir() / parent.stdout.readline().strip()
        os.killpg(parent.pid, signal.SIGHUP)
        os.killpg(parent.pid, signal.SIGKILL)
    state = wait(directory, lambda s: (s.step or 0) > 5)
    watch = RunWatcher(paths.runs_dir())
    watch.poll()
    assert watch.states()[0].id == directory.name and watch.states()[0].status == "running"
    watch.close()

    control.checkpoint(state)
    state = wait(directory, lambda s: "checkpoint" in kinds(s))
    assert find(state, "checkpoint").data["ok"]
    with pytest.raises(control.ControlError, match="stop it first"):
        control.remove(state)
    control.stop(state)
    state = wait_end(directory)
    assert (state.status, state.exit_code) == ("stopped", 0)
    assert state.reason == f"stopped by SIGTERM after step {state.step:,}"
    newest = wckpt.latest(str(directory / "checkpoints"))
    assert newest is not None and newest.endswith(f"step-{state.step:08d}.pt")
    # Its last line is written a moment before the supervisor is gone.
    deadline = time.monotonic() + 20
    while start_ticks(state.config["supervisor_pid"]) == state.config["supervisor_start_ticks"]:
        assert time.monotonic() < deadline, "the supervisor goes on"
        time.sleep(0.02)

    further = launcher.launch({"max_steps": (state.step or 0) + 3}, resume=directory.name)
    assert further.error is None
    resumed = wait_end(paths.runs_dir() / str(further.run_id))
    assert resumed.status == "finished" and resumed.config["parent"]["run"] == directory.name
    assert list(resumed.columns["step"]) == [(state.step or 0) + n for n in (1, 2, 3)]
    assert resumed.config["config"]["batch_size"] == 8
    done = launcher.launch({"max_steps": 1}, resume=directory.name)
    assert "nothing is left to do" in str(wait_end(paths.runs_dir() / str(done.run_id)).reason)

    control.remove(resumed)
    assert not Path(resumed.directory).exists()
    with pytest.raises(control.ControlError, match="has ended"):
        control.stop(state)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "batch-gd", "loss": "mse", "activation": "tanh", "batch_size": 200, "max_steps": 2},
        {
            "optimizer": "adamw",
            "precision": "bf16",
            "weight_decay": 0.1,
            "l1": 1e-4,
            "workers": 1,
            "max_steps": 6,
        },
    ],
    ids=["batch-gd", "workers"],
)
def test_options_do_what_they_say(small: str, options: dict[str, object]) -> None:
    state = wait_end(start(data=small, **options))
    assert state.status == "finished", state.reason
    samples = set(state.columns["samples"])
    assert samples == ({512.0} if options["optimizer"] == "batch-gd" else {32.0})
    assert state.config["threads"] == 1 and len(state.columns["step"]) == options["max_steps"]


def test_without_data_digits_are_generated_and_called_synthetic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dctop.engine.training.wdata.candidates", list)
    assert launcher.check().data_source == "synthetic digits (generated)"
    state = wait_end(start(max_steps=2, train_samples=64, test_samples=32))
    assert state.status == "finished" and state.synthetic
    assert state.data_source == "synthetic digits (generated)"


def test_what_cannot_be_started_is_said_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    before = run_ids(paths.runs_dir())
    for config, why in (
        ({"device": "cuda"}, "--device cuda: torch"),
        ({"precision": "fp16"}, "--precision fp16 needs a CUDA device"),
        ({"workload": "chess"}, "no workload 'chess'"),
        ({"lr": "fast"}, "--lr fast: a number is needed"),
        ({"data": str(tmp_path)}, f"{tmp_path}: no train-images"),
        ({"python": "/nowhere/python"}, "/nowhere/python: no such Python"),
        ({"resume": "yesterday"}, "--resume yesterday: no such run"),
    ):
        result = launcher.launch(config)
        assert result.run_id is None and str(result.error).startswith(why), result.error
        assert "\n" not in str(result.error)
    assert run_ids(paths.runs_dir()) == before


def test_a_state_folder_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    result = launcher.launch({"max_steps": 1})
    assert result.run_id is None and "not a directory" in str(result.error)


def test_a_run_without_a_checkpoint_cannot_be_resumed() -> None:
    make_run(paths.runs_dir(), "19990101-000000-mnist-cnn")
    assert launcher.launch({}, resume="19990101-000000-mnist-cnn").error == (
        "--resume 19990101-000000-mnist-cnn: it has no checkpoint"
    )


def test_the_dialog_starts_with_the_values_used_last(fashion: RunState) -> None:
    launcher.remember("mnist-cnn", {"epochs": 3, "fault": ["nan"], "lr": 0.5})
    known = launcher.check()
    assert known.reason is None and known.torch_version
    shown = {o.name: o for o in launcher.options(known=known)}
    assert shown["epochs"].default == 3 and shown["lr"].default == 0.5 and shown["fault"].default == ""
    assert shown["device"].choices == ("auto", "cpu") and shown["workload"].choices == (
        "mnist-cnn",
        "gpt",
        "linear",
    )
    assert str(shown["device"].why_disabled).startswith("cuda: torch")
    assert (paths.state_dir() / "launch.json").stat().st_mode & 0o777 == 0o600
    (paths.state_dir() / "launch.json").write_text("[]")
    assert {o.name: o.default for o in launcher.options()}["epochs"] == 10


def test_run_json_is_what_the_documentation_says(fashion: RunState) -> None:
    text = Path(__file__).parents[3].joinpath("docs/RUNLOG.md").read_text()
    run = json.loads((Path(fashion.directory) / "run.json").read_text())
    for name in run:
        assert f"`{name}`" in text, name
    assert run["format"] == 1
    for line in (Path(fashion.directory) / "steps.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert next(iter(record)) == "kind"
        for name in record if record["kind"] == "step" else record.get("data", {}):
            assert f"`{name}`" in text, (record["kind"], name)


def test_python_and_data_of_the_configuration_are_the_usual_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_idx(tmp_path / "idx")
    (tmp_path / "dctop").mkdir()
    (tmp_path / "dctop" / "dctop.toml").write_text(
        f'[training]\npython = "{sys.executable}"\ndata = "{data}"\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    known = launcher.check()
    assert (known.python, known.data_source) == (sys.executable, str(data))
    assert launcher.check(data=str(FASHION)).data_source == str(FASHION)
