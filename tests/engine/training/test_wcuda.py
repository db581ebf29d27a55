"""The path of a GPU with a recording stand-in for streams and events: never a wait, times read late."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dctop.engine.training.options import resolve
from tests.fakes.cuda import Cuda
from tests.fakes.runs import write_idx
from tests.fakes.worker import module

wtrain, wtiming, wdevice, wlog = module("wtrain"), module("wtiming"), module("wdevice"), module("wlog")
GPU = [f"{phase}_gpu_s" for phase in wtiming.PHASES]


class Wishes:
    stop = None
    checkpoint = False


def trainer(folder: Path, cuda: Cuda, patch: pytest.MonkeyPatch, **config: Any) -> Any:
    patch.setattr(wdevice, "accelerator", lambda _device: cuda)
    data = str(write_idx(folder / "idx"))
    asked = resolve({"data": data, "batch_size": 16, "max_steps": 12, "threads": 1, **config})
    run = {"id": "x", "workload": "mnist-cnn", "config": asked, "data_dir": data}
    (folder / "run.json").write_text(json.dumps(run))
    return wtrain.Trainer(str(folder), run, wlog.RunLog(str(folder)), Wishes())


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def steps(folder: Path) -> list[dict[str, Any]]:
    return [r for r in records(folder) if r["kind"] == "step"]


def test_no_step_waits_and_times_come_from_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wtrain, "TAKE_NS", 10**18)  # nothing is read before it is asked for, on slow days too
    cuda = Cuda(lag=20)
    made = trainer(tmp_path, cuda, monkeypatch, eval_every=10**6, checkpoint_every=10**6)
    batches = made._next_epoch()
    for _ in range(10):
        made.one_step(batches)
    assert "synchronize" not in cuda.calls and "event.synchronize" not in cuda.calls
    assert cuda.calls.count("put") == 20 and cuda.calls.count("fetch") == 10
    made.take()
    early = len(steps(tmp_path))
    assert 0 < early < 10  # the last ones have not passed yet
    made.take(wait=True)
    made.log.flush()
    logged = steps(tmp_path)
    assert [r["step"] for r in logged] == list(range(1, 11))
    for record in logged:
        spent = [record[name] for name in GPU]
        # Six phases of a millisecond each on the stream, in one chain; the rest is between updates.
        assert all(x >= 0.001 for x in spent) and record["gpu_s"] == pytest.approx(sum(spent), abs=0.0061)
        assert record["loss"] > 0 and 0 <= record["accuracy"] <= 1 and record["gpu_ahead"] == 0
    assert logged[-1]["mem_reserved_bytes"] == 5
    assert made.channels_last and made.model[0].weight.is_contiguous(memory_format=torch.channels_last)
    before = cuda.made
    for _ in range(10):
        made.one_step(batches)
    assert cuda.made == before  # recorded again, not made anew


def test_a_device_that_waits_for_the_host_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(tmp_path, Cuda(lag=0), monkeypatch)
    made.run()
    made.log.close()
    assert all(r["gpu_ahead"] == 1 for r in steps(tmp_path))
    note = next(r for r in records(tmp_path) if r["kind"] == "note")
    assert note["text"] == "6.0 of 80.0 GiB of cpu are taken by others"


def test_a_device_far_behind_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wtiming, "RING", 4)
    made = trainer(tmp_path, Cuda(lag=10**9), monkeypatch, eval_every=10**6, checkpoint_every=10**6)
    batches = made._next_epoch()
    for _ in range(9):
        made.one_step(batches)
    made.take()
    logged = steps(tmp_path)
    assert made.readback.dropped == 5 and [r["step"] for r in logged] == [1, 2, 3, 4, 5]
    assert all("loss" not in r and "gpu_s" not in r and r["step_s"] > 0 for r in logged)


def test_nothing_is_recorded_or_asked_while_a_graph_is_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Cuda(lag=3)
    made = trainer(tmp_path, cuda, monkeypatch)
    timer = made.timer
    cuda.capture = True
    timer.restart()
    timer.lap(wtiming.FORWARD)
    assert timer.ahead() is None and timer.finish()[1] is None
    assert made.readback.pop() == []
    cuda.capture = False
    timer.restart()
    timer.lap(wtiming.FORWARD)
    assert len(timer.finish()[1]) == 3


@pytest.mark.parametrize("precision", ["fp16", "bf16", "tf32"])
def test_mixed_precision_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    made = trainer(tmp_path, Cuda(), monkeypatch, precision=precision, clip=0.5, max_steps=20)
    made.run()
    made.log.close()
    logged = steps(tmp_path)
    assert (made.precision.scaler is not None) == (precision == "fp16")
    assert logged[-1]["loss"] < logged[0]["loss"] and logged[0]["grad_norm"] > 0
    assert [r.get("amp_scale") for r in logged] == [1024.0 if precision == "fp16" else None] * 20
    if precision == "fp16":
        assert max(r["grad_norm"] for r in logged) < 100  # unscaled: the scale is 1024


def test_skipped_steps_show_in_the_scale_and_are_no_lost_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Cuda()
    monkeypatch.setattr(cuda, "scaler", lambda: torch.amp.GradScaler("cpu", init_scale=2.0**100))
    made = trainer(tmp_path, cuda, monkeypatch, precision="fp16", max_steps=4)
    before = [p.clone() for p in made.model.parameters()]
    made.run()
    made.log.close()
    assert [r["amp_scale"] for r in steps(tmp_path)] == pytest.approx(
        [2.0**99, 2.0**98, 2.0**97, 2.0**96], rel=1e-5
    )
    assert all(torch.equal(a, b) for a, b in zip(before, made.model.parameters(), strict=True))
    assert not [r for r in records(tmp_path) if r["kind"] == "nonfinite"]


def test_layers_are_looked_at_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(lag=2)
    more = {"eval_every": 10**6, "checkpoint_every": 10**6, "fault": ["frozen:1"], "max_steps": 250}
    made = trainer(tmp_path, cuda, monkeypatch, **more)
    batches = made._next_epoch()
    for _ in range(210):
        if made.step and made.step % made.steps_per_epoch == 0:
            batches = made._next_epoch()
        made.one_step(batches)
    assert "synchronize" not in cuda.calls and "event.synchronize" not in cuda.calls
    made.take(wait=True)
    made.log.close()
    logged = steps(tmp_path)
    assert 0 < logged[0]["grad_first"] < logged[0]["grad_norm"] and logged[0]["grad_last"] > 0
    assert made.layers.facts.names[int(logged[0]["grad_top"])] != "Conv2d 0.weight"
    dead = [r for r in logged if "dead_share" in r]
    assert dead[0]["step"] == 50 and 0 <= dead[0]["dead_share"] < 1 and dead[0]["dead_layer"] in (0, 1, 2)
    told = next(r for r in records(tmp_path) if r["kind"] == "frozen")
    assert told["step"] == 201 and told["data"]["parameters"] == ["Conv2d 0.weight", "Conv2d 0.bias"]


def test_the_origin_of_a_lost_loss_is_looked_for_once_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(tmp_path, Cuda(), monkeypatch, fault=["nan@3"], max_steps=6)
    made.run()
    made.log.close()
    lost = next(r for r in records(tmp_path) if r["kind"] == "nonfinite")
    # By then the update has spread it over the weights.
    assert lost["step"] == 3 and lost["data"]["origin"] == "parameter"


def test_accumulated_batches_are_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(tmp_path, Cuda(), monkeypatch, accumulate=4, max_steps=3)
    made.run()
    made.log.close()
    assert [r["samples"] for r in steps(tmp_path)] == [64, 64, 64]
    assert all(r["forward_gpu_s"] == pytest.approx(0.004) for r in steps(tmp_path))


def test_the_timing_is_verified_against_synchronised_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Cuda()
    made = trainer(tmp_path, cuda, monkeypatch, verify_timing=True)
    before = [p.clone() for p in made.model.parameters()]
    module("wverify").verify(made)
    assert all(torch.equal(a, b) for a, b in zip(before, made.model.parameters(), strict=True))
    made.log.close()
    said = next(r for r in records(tmp_path) if r["kind"] == "timing")["data"]
    # The stand-in's clock has nothing to do with the host's: only that both were compared is shown.
    assert said["phase_error"] < 0.05 and said["step_error"] is not None
    assert cuda.calls.count("synchronize") >= 40


class Clock:
    """A perf_counter that goes on by 10 ms a look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.010
        return self.now


def subject(folder: Path, cuda: Cuda, patch: pytest.MonkeyPatch, **config: Any) -> Any:
    """A checkpoint of a run on the CPU, to be measured on the stand-in."""
    made = trainer(folder, cuda, patch, max_steps=1)
    module("wpause").checkpoint(made)
    checkpoint = str(next((folder / "checkpoints").glob("step-*.pt")))
    patch.setattr(cuda, "calls", [])
    asked = {"checkpoint": checkpoint, "batch_size": 4, "threads": 1, "device": "cpu", **config}
    wsubject = module("wsubject")
    return wsubject.Subject(wsubject.Spec({"config": asked, "data_dir": str(folder / "idx")}))


def test_a_request_waits_once_for_its_answer_and_its_events_are_read_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Cuda(lag=20)
    made = subject(tmp_path, cuda, monkeypatch)
    monkeypatch.setattr(module("wsubject").time, "perf_counter", Clock())
    events = cuda.made
    with made.guard():
        for number in range(5):
            stored = made.batch(number, 4)
            request, answer = made.serve(stored)
            expected = made.model(made.preprocess(stored)).argmax(-1).tolist()
            assert answer == expected and all(isinstance(x, int) for x in answer)
            # 10 ms each of preprocessing, pinning, and everything after it; 1 ms a place on the stream.
            assert request.total == pytest.approx(0.030) and request.pre == pytest.approx(0.010)
            assert request.h2d == pytest.approx(0.011) and request.forward == pytest.approx(0.001)
            assert request.post == pytest.approx(0.008)
    assert cuda.calls == ["put", "fetch", "event.synchronize"] * 5
    assert cuda.made == events


def test_the_stages_of_a_request_never_exceed_the_host_s_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Cuda()
    made = subject(tmp_path, cuda, monkeypatch)
    clock = Clock()
    monkeypatch.setattr(module("wsubject").time, "perf_counter", lambda: clock() / 100)  # 0.1 ms a look
    with made.guard():
        request, _ = made.serve(made.batch(0, 4))
    assert request.pre + request.h2d + request.forward + request.post == pytest.approx(request.total)
    assert request.post >= 0 and request.forward >= 0


def test_a_whole_measurement_copies_from_pinned_memory_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = Cuda(lag=3)
    made = subject(tmp_path, cuda, monkeypatch)
    winfer = module("winfer")
    asked = {
        "checkpoint": made.spec.checkpoint, "batch_size": 2, "threads": 1, "device": "cpu", "requests": 20,
        "max_batch": 4, "precision": "bf16",
    }  # fmt: skip
    run = {"id": "m", "workload": "infer", "config": asked, "data_dir": str(tmp_path / "idx")}
    folder = tmp_path / "measured"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(run))
    status, _, _ = winfer.Measurement(str(folder), run, wlog.RunLog(str(folder)), Wishes()).measure()
    assert status == "finished"
    # The stand-in refuses a copy from pageable memory, and an event that is recorded before it was read.
    assert cuda.calls.count("put") > 40 and "synchronize" not in cuda.calls
    assert cuda.calls.count("event.synchronize") == cuda.calls.count("fetch")
    assert len(steps(folder)) == 20 and all(r["h2d_s"] > 0 for r in steps(folder))


def test_cuda_without_cuda_is_refused_and_auto_says_what_it_chose() -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(Exception, match=r"device cuda: torch .* is built without CUDA; use --device cpu"):
        wdevice.choose_device("cuda")
    device, why = wdevice.choose_device("auto")
    assert device.type == "cpu" and "built without CUDA" in why
