"""What follows from a run's columns, against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from dctop.engine.training import runmath
from dctop.engine.training.peaks import PEAKS, peak_flops
from dctop.engine.training.runstate import RunEvent
from tests.fakes.screen import T0, make_run


def test_time_left_is_a_range_from_fast_and_slow_stretches_and_the_pauses_to_come() -> None:
    run = make_run(500, total_steps=1500, evals=[{"step": 400, "seconds": 10.0}])
    run.events = [RunEvent(T0, 400, "checkpoint", "saved", {"ok": True, "seconds": 5.0})]
    for i in range(100):
        run.columns["step_s"][i + 300] = 0.08
    left = runmath.time_left(run)
    assert left is not None
    # 1,000 steps of 0.04 s to 0.08 s, and 15 s of pauses a 500 steps.
    assert left.low == pytest.approx(40 + 30) and left.high == pytest.approx(80 + 30)
    assert runmath.time_left(make_run(5)) is None
    assert runmath.time_left(make_run(100, total_steps=None)) is None


def test_the_seven_steps_add_up_to_the_time_of_the_run() -> None:
    run = make_run(400, started_wall_ns=T0 - 3 * 10**9, evals=[{"step": 200, "seconds": 2.0}])
    found = dict(runmath.seven_steps(run) or [])
    assert tuple(found) == runmath.SEVEN_STEPS
    assert found["preprocess"] == pytest.approx(400 * 0.006) and found["forward"] == pytest.approx(
        400 * 0.011
    )
    assert found["initialise"] == pytest.approx(3 - 0.04)
    assert found["repeat"] == pytest.approx(400 * 0.002 + 2.0)
    assert sum(found.values()) == pytest.approx(400 * 0.04 + 2.96 + 2.0)
    assert runmath.seven_steps(make_run(0)) is None


def test_thinned_steps_stand_for_those_that_were_dropped() -> None:
    run = make_run(3000, step=11_000)
    # 1,000 old rows stand for 9,000 steps, the newest 2,000 for themselves.
    assert runmath.total(run, "step_s") == pytest.approx(11_000 * 0.04)


def test_mfu_needs_flops_and_a_known_peak() -> None:
    device = {"name": "NVIDIA A100-SXM4-80GB", "chosen": "cuda:0"}
    run = make_run(config={"flops_per_sample": 1.0e9, "device": device, "precision": "bf16"})
    # 800 samples/s of 1 GFLOP on 312 TFLOP/s.
    assert runmath.mfu(run).share == pytest.approx(800 * 1e9 / 312e12)
    run = make_run(config={"macs_per_sample": 10**9, "device": device, "config": {"precision": "fp32"}})
    assert runmath.mfu(run).share == pytest.approx(800 * 6e9 / 19.5e12)
    unknown = runmath.mfu(make_run(config={"flops_per_sample": 1e9, "device": {"name": "AMD EPYC"}}))
    assert unknown.share is None and "AMD EPYC" in unknown.why
    assert runmath.mfu(make_run()).share is None


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4), ("NVIDIA H100 PCIe", 756.0), ("NVIDIA A10", 125.0),
        ("NVIDIA A100-PCIE-40GB", 312.0), ("Tesla T4", 65.0), ("Tesla V100-SXM2-16GB", 125.0),
        ("NVIDIA L4", 121.0), ("NVIDIA L40S", 362.05), ("NVIDIA GeForce RTX 4090", 165.2),
    ],
)  # fmt: skip
def test_a_device_is_found_by_the_words_of_its_name(name: str, tera: float) -> None:
    found = peak_flops(name, "bf16")
    assert found is not None and found[0] == tera * 1e12 and found[1]


def test_an_unknown_device_or_precision_has_no_peak() -> None:
    assert peak_flops("AMD EPYC", "fp32") is None and peak_flops(None, "fp32") is None
    assert peak_flops("Tesla T4", "tf32") is None and peak_flops("NVIDIA H100", "int8") is None
    for peak in PEAKS:
        assert peak.source and (peak.half or 0) >= (peak.tf32 or 0) >= 0 and peak.fp32 > 0


def test_differences_are_the_options_that_differ() -> None:
    a = make_run(config={"config": {"lr": 0.1, "seed": 0, "fault": ["nan"]}})
    b = make_run(config={"config": {"lr": 0.2, "seed": 0}}, device="cuda:0")
    assert runmath.differences(a, b) == [
        ("lr", 0.1, 0.2), ("fault", ["nan"], None), ("device", "cpu", "cuda:0")
    ]  # fmt: skip
    assert runmath.differences(a, a) == []


def test_missing_and_infinite_values_never_raise() -> None:
    run = make_run(20)
    for column in run.columns.values():
        column[3], column[5] = math.nan, math.inf
    runmath.time_left(run)
    runmath.seven_steps(run)
    runmath.mfu(run)
    assert runmath.mean_phases(run)
