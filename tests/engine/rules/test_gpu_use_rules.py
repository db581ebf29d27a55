"""A GPU that could do more: each child on its cause, silent in its traps (simulated: no real GPU)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.rules.gpus import ON_GPU, A, B, GpuScene, gpu_run, held, rank
from tests.engine.rules.scene import GIB, values
from tests.fakes.source import FakeRun

CHILDREN = ("launch-bound", "sync-stall", "h2d-bound", "cpu-single-core", "input-bound")


def on_gpu(**more: Any) -> dict[str, Any]:
    return {**ON_GPU, **more}


def train(s: GpuScene, run: FakeRun, seconds: int, **fields: Any) -> None:
    s.train(run, seconds * 50, 50, **on_gpu(**fields))


def test_a_busy_gpu_is_well() -> None:
    s = GpuScene(A)
    run = gpu_run(s)
    train(s, run, 150)
    s.quiet("gpu-underutilised")
    for rule in (*CHILDREN, "gpu-imbalance", "cpu-fallback"):
        s.quiet(rule)


def test_an_idle_gpu_without_a_cause_says_what_was_ruled_out() -> None:
    s = GpuScene(A)
    s.gpu(A, util_pct=40)
    run = gpu_run(s)
    train(s, run, 100)
    a = s.alert("gpu-underutilised")
    assert a.severity == "warning" and "Unexplained" in a.why
    assert len(a.ruled_out) == 6 and "Waiting for data" in a.ruled_out
    s.gpu(A, util_pct=20)
    train(s, run, 330)
    assert s.alert("gpu-underutilised").severity == "warning", "five minutes below 30 % of the mean"
    train(s, run, 60)
    assert s.alert("gpu-underutilised").severity == "critical"
    s.gpu(A, util_pct=70)
    train(s, run, 120)
    assert s.alert("gpu-underutilised").state == "closed"


def test_full_utilisation_with_few_busy_sms_is_told_by_the_sms() -> None:
    s = GpuScene(A)
    s.gpu(A, util_pct=100, sm_active_pct=20.0)
    run = gpu_run(s)
    train(s, run, 100)
    shown = values(s.alert("gpu-underutilised"))
    assert shown["A kernel ran"] == 100 and shown["SMs busy"] == 20


def test_a_cause_explains_the_idle_gpu() -> None:
    s = GpuScene(A)
    s.gpu(A, util_pct=30)
    run = gpu_run(s)
    train(s, run, 100, gpu_ahead=1.0)
    a = s.alert("gpu-underutilised")
    assert a.suppressed_by == "launch-bound" and "waiting for the host" in a.why


def test_waiting_for_data_comes_before_what_follows_from_it() -> None:
    s = GpuScene(A)
    s.gpu(A, util_pct=30)
    run = gpu_run(s)
    train(s, run, 100, gpu_ahead=1.0, data_s=0.012)
    assert s.alert("gpu-underutilised").suppressed_by == "input-bound"
    s.quiet("launch-bound")


def test_evaluations_are_not_judged() -> None:
    s = GpuScene(A)
    run = gpu_run(s)
    train(s, run, 70)
    s.gpu(A, util_pct=5)
    run.mode("eval")
    s.go(200)
    s.quiet("gpu-underutilised")
    s.gpu(A, util_pct=95)
    run.mode("train")
    train(s, run, 30)
    s.quiet("gpu-underutilised")


def test_a_run_that_stands_still_is_another_rule_s() -> None:
    s = GpuScene(A)
    s.gpu(A, util_pct=0)
    run = gpu_run(s)
    train(s, run, 20)
    s.go(120)
    assert s.found("training-stalled") and not s.found("gpu-underutilised")


def test_launch_bound_computes_a_larger_batch() -> None:
    s = GpuScene(A)
    s.gpu(A, util_pct=20)
    run = gpu_run(s)
    train(s, run, 60, gpu_ahead=lambda n: float(n % 10 != 0))
    a = s.alert("launch-bound")
    assert a.severity == "warning" and a.remedies[0].quantity == "batch 32 -> 128"
    assert a.remedies[0].effect == "1,600 -> 6,400 samples/s at 20 ms a step"


@pytest.mark.parametrize(
    "trap", [{"sync_s": 0.003}, {"data_s": 0.004}, {"h2d_gpu_s": 0.004}, {"gpu_ahead": 0.0}]
)
def test_launch_bound_is_silent_where_something_else_empties_the_queue(trap: dict[str, float]) -> None:
    s = GpuScene(A)
    run = gpu_run(s)
    train(s, run, 60, **{"gpu_ahead": 1.0, **trap})
    s.quiet("launch-bound")


def test_a_log_that_does_not_time_blocking_calls_leaves_it_open() -> None:
    s = GpuScene(A)
    run = gpu_run(s)
    train(s, run, 60, gpu_ahead=1.0, sync_s=float("nan"))
    assert "sync_s" in s.unknown("launch-bound")
    assert "sync_s" in s.unknown("sync-stall")


def test_a_blocking_call_is_named_with_its_place() -> None:
    s = GpuScene(A)
    run = gpu_run(s)
    run.event("note", "the host waits", None, sync_site="train.py:88", sync_s=0.004)
    train(s, run, 60, sync_s=lambda n: 0.004 if n % 20 == 0 else float("nan"), gpu_ahead=1.0)
    a = s.alert("sync-stall")
    assert a.severity == "info" and values(a)["Where"] == "train.py:88"
    assert a.remedies[1].effect == "step 20 -> 16 ms"
    s.quiet("launch-bound")


def test_copies_are_judged_by_the_device_s_clock_only() -> None:
    s = GpuScene(A)
    run = gpu_run(s)
    s.grow(A, {"pcie_rx_bytes": 5e8})
    train(s, run, 60, h2d_gpu_s=0.003, h2d_s=0.0001)
    a = s.alert("h2d-bound")
    assert a.severity == "warning"
    shown = values(a)
    # 5e8 B/s x 20 ms = 10 MB a step, in 3 ms: 3.3 GB/s of a link of 63.
    assert shown["Received over PCIe"] == pytest.approx(10.0) and shown[
        "Speed while copying"
    ] == pytest.approx(10 / 3)
    assert a.remedies[0].effect == "step 20 -> 17 ms once the copy runs beside the computation"
    train(s, run, 60, h2d_gpu_s=0.005)
    assert s.alert("h2d-bound").severity == "critical"
    t = GpuScene(A)
    run = gpu_run(t)
    train(t, run, 60, h2d_gpu_s=float("nan"), h2d_s=0.01)
    assert "h2d_gpu_s" in t.unknown("h2d-bound")


def test_one_core_at_its_limit() -> None:
    s = GpuScene(A)
    s.gpu(A, util_pct=25)
    run = gpu_run(s)
    train(s, run, 130, cpu_s=0.0198, gpu_ahead=0.7)
    a = s.alert("cpu-single-core")
    assert values(a)["Training thread, of a core"] == 99


@pytest.mark.parametrize("trap", [{"gpu_ahead": 0.0}, {"data_s": 0.004}, {"cpu_s": 0.012}])
def test_a_thread_that_spins_or_waits_is_not_at_its_limit(trap: dict[str, float]) -> None:
    s = GpuScene(A)
    s.gpu(A, util_pct=25)
    run = gpu_run(s)
    train(s, run, 130, **{"cpu_s": 0.0198, "gpu_ahead": 0.7, **trap})
    s.quiet("cpu-single-core")


def test_unequal_gpus_of_one_run_get_batches_by_their_speed() -> None:
    s = GpuScene(A, B)
    s.gpu(A, util_pct=98).gpu(B, util_pct=45)
    run = gpu_run(s, 2)
    run.publish(ranks=(rank(0, 0.03, 0.004), rank(1, 0.03, 0.016)))
    train(s, run, 130)
    a = s.alert("gpu-imbalance")
    assert values(a)["Utilisation"] == "0: 98, 1: 45"
    # tau: 30 and 18 ms for 32 samples: 24 and 40 samples in 22.5 ms.
    assert a.remedies[0].quantity == "0: 24, 1: 40" and a.remedies[0].effect == "step 20 -> 22.5 ms"


def test_a_gpu_of_somebody_else_is_no_imbalance() -> None:
    s = GpuScene(A, B)
    s.rows = [held(4242, 20, A), held(99, 20, B)]
    s.gpu(B, util_pct=2)
    run = gpu_run(s, 1)
    train(s, run, 130)
    s.quiet("gpu-imbalance")


def test_rank_0_evaluating_alone_and_slices_are_no_imbalance() -> None:
    s = GpuScene(A, B)
    run = gpu_run(s, 2)
    s.gpu(B, util_pct=0)
    run.mode("eval")
    s.go(150)
    s.quiet("gpu-imbalance")
    t = GpuScene(A, B)
    t.gpu(A, mig_mode=1).gpu(B, mig_mode=1, util_pct=5)
    run = gpu_run(t, 2)
    train(t, run, 130)
    assert not t.found("gpu-imbalance")


def test_memory_apart_counts_only_where_it_is_much() -> None:
    s = GpuScene(A, B)
    s.gpu(A, mem_used_bytes=20 * GIB).gpu(B, mem_used_bytes=2 * GIB)
    run = gpu_run(s, 2)
    train(s, run, 130)
    s.quiet("gpu-imbalance")
    s.gpu(A, mem_used_bytes=60 * GIB)
    train(s, run, 130)
    assert s.alert("gpu-imbalance")


def fallback(s: GpuScene, asked: str, chosen: str = "cpu") -> None:
    run = s.run()
    why = "torch sees no CUDA device"
    config = {**run.now.config, "device": {"asked": asked, "chosen": chosen, "why": why}}
    run.publish(config=config, device=chosen)
    s.train(run, 100)


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_a_run_that_fell_back_to_the_cpu(asked: str) -> None:
    s = GpuScene(A)
    fallback(s, asked)
    a = s.alert("cpu-fallback")
    assert a.severity == "critical" and a.count == 1
    assert "CUDA_VISIBLE_DEVICES" in a.remedies[0].text


def test_no_fallback_where_the_cpu_was_asked_for_or_there_is_no_gpu() -> None:
    s = GpuScene(A)
    fallback(s, "cpu")
    s.quiet("cpu-fallback")
    t = GpuScene(A)
    t.gpu(A, state="lost")
    fallback(t, "auto")
    t.quiet("cpu-fallback")
    u = GpuScene(A)
    fallback(u, "auto", "cuda:0")
    u.quiet("cpu-fallback")


def tensor(s: GpuScene, **facts: Any) -> None:
    run = gpu_run(s, 1, flops_per_sample=1e9, **facts)
    train(s, run, 400)


def test_idle_tensor_cores_are_a_note_with_the_peaks() -> None:
    s = GpuScene(A)
    s.gpu(A, sm_active_pct=80.0, tensor_active_pct=0.0, capability="9.0")
    tensor(s, precision="fp32")
    a = s.alert("tensor-core-off")
    assert a.severity == "info" and a.remedies[0].effect == "at most x 14.8; measure it"


@pytest.mark.parametrize(
    ("gpu", "facts"),
    [
        ({"sm_active_pct": 80.0, "tensor_active_pct": 30.0}, {}),
        ({"sm_active_pct": 20.0, "tensor_active_pct": 0.0}, {}),
        ({"sm_active_pct": 80.0, "tensor_active_pct": 0.0, "capability": "6.1"}, {}),
        ({"sm_active_pct": 80.0, "tensor_active_pct": 0.0}, {"precision": "bf16"}),
        ({"sm_active_pct": 80.0, "tensor_active_pct": 0.0}, {"flops_per_sample": 15.2e6}),
    ],
)
def test_tensor_cores_are_not_missed_where_they_would_gain_nothing(
    gpu: dict[str, Any], facts: dict[str, Any]
) -> None:
    s = GpuScene(A)
    s.gpu(A, **{"capability": "9.0", **gpu})
    run = gpu_run(s, 1, **{"flops_per_sample": 1e9, "precision": "fp32", **facts})
    train(s, run, 400)
    s.quiet("tensor-core-off")


def test_without_gpm_the_tensor_cores_are_not_known() -> None:
    s = GpuScene(A)
    run = gpu_run(s, 1, precision="fp32")
    train(s, run, 30)
    assert "tensor_active" in s.unknown("tensor-core-off")
