"""Measurements with real checkpoints and real workers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dctop.engine import paths
from dctop.engine.rules.logsource import judge_run
from dctop.engine.training import infer, inferlog, wfaults
from dctop.engine.training.runstate import RunState
from tests.fakes.runs import start, wait, wait_end, write_idx

QUICK = {"requests": 220, "max_batch": 8, "threads": 1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder with one trained run in it."""
    folder = tmp_path_factory.mktemp("infer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        run = wait_end(start(data=str(write_idx(folder / "idx")), epochs=4, lr=0.003))
        assert run.status == "finished"
        yield Path(run.directory)


def measured(run: Path, **options: Any) -> RunState:
    result = infer.launch(run.name, {**QUICK, **options})
    assert result.run_id is not None, result.error
    state = wait_end(paths.runs_dir() / result.run_id)
    assert state.status == "finished", (state.reason, state.log_tail)
    return state


def test_a_measurement_has_all_its_parts_and_becomes_the_baseline(trained: Path) -> None:
    state = measured(trained)
    parts = inferlog.results(state)
    assert tuple(sorted(parts)) == tuple(sorted(inferlog.PARTS))
    latency = parts["latency"]
    stages = latency["stages"]
    assert sum(s["share"] for s in stages.values()) == pytest.approx(1.0, abs=0.2)
    assert latency["latency"]["p50_s"] <= latency["latency"]["p95_s"] <= latency["latency"]["p99_s"]
    windows = [e for e in state.events if e.kind == "latency" and e.data["window"] is not None]
    assert [e.data["requests"] for e in windows] == [200]
    assert [p["batch"] for p in parts["throughput"]["points"]] == [1, 2, 4, 8]
    quality = parts["eval"]
    assert sum(map(sum, quality["confusion"])) == quality["samples"] == 64
    # The training's own evaluation at this checkpoint is the reference: the same model, the same images.
    assert quality["trained"]["drop_pp"] == pytest.approx(0, abs=1e-9)
    assert quality["trained"]["nll_ratio"] == pytest.approx(1.0, abs=1e-3)
    assert parts["inputs"]["mismatch"] is False and parts["determinism"]["max_diff"] == 0
    assert parts["baseline"]["new"] is True and inferlog.findings(state) == []
    assert (state.step, state.total_steps) == (220, 220)
    assert len(list((paths.state_dir() / "baselines").iterdir())) == 1
    again = inferlog.results(measured(trained))["baseline"]
    assert again["new"] is False and again["run"] == state.id


def test_drills_are_found_and_leave_their_truth(trained: Path) -> None:
    state = measured(trained, fault="raw-inputs")
    parts = inferlog.results(state)
    assert parts["inputs"]["mismatch"] is True
    assert any("not what the model was trained on" in line for line in inferlog.findings(state))
    truth = [json.loads(x) for x in (Path(state.directory) / "truth.jsonl").read_text().splitlines()]
    assert [(t["id"], t["t1"] is None) for t in truth] == [("raw-inputs", True), ("raw-inputs", False)]


ABOUT_SPEED = ("infer-latency-regression", "infer-tail", "infer-slo", "infer-queueing")
"""What a busy machine may add."""


def roots(state: RunState) -> set[str]:
    """What the rules call a cause, notes and the machine's speed left out."""
    found = judge_run(state, every_steps=100)
    return {
        a.rule
        for a in found
        if a.suppressed_by is None and a.severity != "info" and a.rule not in ABOUT_SPEED
    }


@pytest.mark.parametrize("spec", [*wfaults.INFER_KINDS, "slow-preprocess:2"])
def test_every_drill_raises_exactly_the_rule_it_names(trained: Path, spec: str) -> None:
    state = measured(trained, fault=spec)
    assert roots(state) == set(wfaults.INFER_KINDS[spec.partition(":")[0]].expects)


def test_a_healthy_measurement_raises_none_and_tells_its_thread_time(trained: Path) -> None:
    state = measured(trained, requests=650)
    assert roots(state) == set()
    windows = [e.data for e in state.events if e.kind == "latency" and e.data["window"] is not None]
    assert len(windows) == 3 and all(0 < w["cpu_share"] <= 1 for w in windows)
    assert all(v >= 0 for v in state.columns["data_cpu_s"])
    quality = inferlog.results(state)["eval"]
    assert quality["temperature"]["nll"] <= quality["temperature"]["before"] + 1e-6
    assert quality["temperature"]["before"] == pytest.approx(quality["nll"], rel=1e-4)


def test_the_baseline_is_told_before_the_first_request(trained: Path) -> None:
    measured(trained)
    state = measured(trained)
    kinds = [e.kind for e in state.events]
    assert kinds.index("reference") < kinds.index("latency")
    told = next(e.data for e in state.events if e.kind == "reference")
    assert told["latency"]["p50_s"] > 0 and set(told["stages"]) >= {"pre", "forward"}


def test_gradients_are_seen_and_priced_where_they_are_tracked(trained: Path) -> None:
    state = measured(trained, fault="grad-on")
    assert state.config["flags"]["grad"] is True and state.config["flags"]["noisy_layers"] == 0
    told = next(e.data for e in state.events if e.kind == "autograd")
    assert told["cost_s"] == pytest.approx(told["with_s"] - told["without_s"])
    healthy = measured(trained)
    assert healthy.config["flags"]["grad"] is False
    assert not [e for e in healthy.events if e.kind == "autograd"]


def test_a_checkpoint_of_another_model_is_refused_with_its_keys(trained: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    wrong = tmp_path / "step-00000007.pt"
    shutil.copy(infer.checkpoints.choose(trained, {}, "last").path, wrong)
    code = (
        "import sys, torch; p = sys.argv[1]; s = torch.load(p, weights_only=True); "
        "s['model']['9.extra'] = s['model'].pop('9.bias'); torch.save(s, p)"
    )
    subprocess.run([sys.executable, "-c", code, str(wrong)], check=True)
    result = infer.launch(str(wrong), {**QUICK, "data": str(trained.parents[2] / "idx")})
    assert result.run_id is not None, result.error
    state = wait_end(paths.runs_dir() / result.run_id)
    assert state.status == "failed" and "does not fit mnist-cnn: 1 missing, 1 unexpected" in (
        state.reason or ""
    )
    event = next(e for e in state.events if e.kind == "checkpoint")
    assert event.data["missing"] == ["9.bias"] and event.data["unexpected"] == ["9.extra"]
    assert roots(state) == {"checkpoint-mismatch"}


def test_a_request_that_finds_the_server_at_rest_has_waited_for_nothing(trained: Path) -> None:
    queues = list(measured(trained, rate=40, requests=40).columns["queue_s"])
    assert len(queues) == 40 and queues.count(0.0) > 0


def test_a_stop_ends_a_measurement_in_good_order(trained: Path) -> None:
    from dctop.engine.training import control

    result = infer.launch(trained.name, {**QUICK, "requests": 10**7})
    assert result.run_id is not None, result.error
    directory = paths.runs_dir() / result.run_id
    control.stop(wait(directory, lambda s: (s.step or 0) > 10))
    state = wait_end(directory)
    assert state.status == "stopped" and "eval" not in inferlog.results(state)


@pytest.mark.parametrize(
    ("run", "options", "why"),
    [
        ("20200101-000000-none", {}, " 20200101-000000-none: no such run; `dctop runs` lists them"),
        ("/nowhere/step-1.pt", {}, "/nowhere/step-1.pt: /nowhere/step-1.pt: no such file or directory"),
        (None, {"checkpoint": "7"}, "no checkpoint '7'; there are last, best and those of steps"),
        (None, {"fault": "nan"}, "fault 'nan': there are raw-inputs, slow-preprocess, train-mode, grad-on"),
        (None, {"requests": 0}, "--requests 0: must be at least 1"),
        (None, {"precision": "fp16"}, "--precision fp16 needs a CUDA device"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(
    trained: Path, run: str | None, options: dict[str, Any], why: str
) -> None:
    result = infer.launch(run or trained.name, options)
    assert result.run_id is None and why.strip() in str(result.error)
    assert "\n" not in str(result.error)
