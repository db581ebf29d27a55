"""Hot, held back, on a slow link, held but idle: fire on their cause, silent in their traps, and clear."""

from __future__ import annotations

import pytest

from tests.engine.rules.gpus import A, B, GpuScene, held
from tests.engine.rules.scene import values
from tests.fakes.source import process


def closed(s: GpuScene, rule: str) -> None:
    assert s.alert(rule).state == "closed"


def test_corrected_errors_become_a_note_at_more_than_ten_an_hour() -> None:
    s = GpuScene()
    s.gpu(A, ecc_corrected=5000).go(120)  # old ones
    s.gpu(A, ecc_corrected=5009).go(5)
    s.quiet("ecc-correctable-rate")
    s.gpu(A, ecc_corrected=5011).go(5)
    a = s.alert("ecc-correctable-rate")
    assert (a.severity, values(a)["New errors"]) == ("info", 11)
    s.source.tick(3700)
    s.go(60)
    closed(s, "ecc-correctable-rate")


def test_a_reset_count_of_corrected_errors_is_no_rate() -> None:
    s = GpuScene()
    s.gpu(A, ecc_corrected=5000).go(100)
    s.gpu(A, ecc_corrected=8).go(100)
    s.quiet("ecc-correctable-rate")


def test_an_idle_gpu_at_gen_1_is_not_judged() -> None:
    s = GpuScene()
    s.gpu(A, util_pct=0, pcie_gen=1).go(120)
    s.quiet("pcie-degraded")


@pytest.mark.parametrize(
    ("changes", "severity"), [({"pcie_gen": 3}, "warning"), ({"pcie_width": 8}, "critical")]
)
def test_a_worse_link_under_load(changes: dict[str, int], severity: str) -> None:
    s = GpuScene()
    s.gpu(A, **changes).go(25)
    s.quiet("pcie-degraded")
    s.go(10)
    a = s.alert("pcie-degraded")
    assert (a.entity, a.severity) == (A, severity)
    s.gpu(A, util_pct=1, pcie_gen=5, pcie_width=16).go(60)
    assert s.alert("pcie-degraded").state == "firing"  # idle: nothing is known of it
    s.gpu(A, util_pct=90).go(60)
    closed(s, "pcie-degraded")


def test_the_loss_of_bandwidth_is_computed() -> None:
    s = GpuScene()
    s.gpu(A, pcie_width=8).go(40)
    a = s.alert("pcie-degraded")
    assert a.remedies[0].quantity == "31.5 of 63 GB/s"
    assert "gen 5 x8 instead of gen 5 x16" in a.title


def test_replays_are_judged_against_the_link_s_error_rate() -> None:
    s = GpuScene()
    s.grow(A, {"pcie_replays": 25 / 60}).go(150)  # gen 5 x16 allows 31 a minute
    s.quiet("pcie-replay")
    s.grow(A, {"pcie_replays": 40 / 60}).go(90)
    assert s.alert("pcie-replay").severity == "warning"
    s.grow(A, {"pcie_replays": 0.0}).go(150)
    closed(s, "pcie-replay")


def test_a_replay_counter_that_wraps_is_no_burst() -> None:
    s = GpuScene()
    s.gpu(A, pcie_replays=2**32 - 5).go(90)
    s.gpu(A, pcie_replays=3).go(120)
    s.quiet("pcie-replay")


def test_hot_is_near_the_device_s_own_threshold() -> None:
    s = GpuScene()
    s.gpu(A, temp_c=84).go(100)
    s.quiet("gpu-hot")
    s.gpu(A, temp_c=85).go(50)
    s.quiet("gpu-hot")
    s.go(20)
    a = s.alert("gpu-hot")
    assert (a.entity, a.severity) == (A, "warning")
    assert values(a)["Median of the other GPUs"] == 60
    s.gpu(A, temp_c=80).go(60)
    assert s.alert("gpu-hot").state == "firing"
    s.gpu(A, temp_c=74).go(60)
    closed(s, "gpu-hot")


def test_hot_without_a_threshold_is_85() -> None:
    s = GpuScene().without("temp_slowdown_c")
    s.gpu(A, temp_c=84).go(80)
    s.quiet("gpu-hot")
    s.gpu(A, temp_c=85).go(80)
    assert s.alert("gpu-hot")


def test_a_power_cap_alone_is_nothing_and_with_low_clocks_a_note() -> None:
    s = GpuScene()
    s.gpu(A, throttle_mask=0x4, sm_clock_mhz=1900).go(100)
    s.quiet("gpu-throttle-power")
    s.gpu(A, sm_clock_mhz=1500).go(100)
    a = s.alert("gpu-throttle-power")
    assert a.severity == "info"
    assert values(a)["Time at the limit"] == 100
    s.gpu(A, throttle_mask=0, sm_clock_mhz=1980).go(120)
    closed(s, "gpu-throttle-power")


def test_a_power_cap_that_slows_a_training_is_a_warning() -> None:
    s = GpuScene()
    run = s.run()
    run.publish(device="cuda:0")
    s.train(run, 2000, step_s=0.02)
    s.gpu(A, throttle_mask=0x4, sm_clock_mhz=1500)
    s.train(run, 5000, step_s=0.02)
    assert s.alert("gpu-throttle-power").severity == "info"
    s.train(run, 150, 5, step_s=0.025)
    assert s.alert("gpu-throttle-power").severity == "warning"


@pytest.mark.parametrize(("bit", "severity"), [(0x20, "warning"), (0x40, "critical"), (0x48, "critical")])
def test_heat_that_holds_the_clocks_back(bit: int, severity: str) -> None:
    s = GpuScene()
    s.go(60)
    s.gpu(B, throttle_mask=bit).go(5)
    s.quiet("gpu-throttle-thermal")
    s.go(10)
    a = s.alert("gpu-throttle-thermal")
    assert (a.entity, a.severity) == (B, severity)
    s.gpu(B, throttle_mask=0).go(50)
    assert s.alert("gpu-throttle-thermal").state == "firing"
    s.go(60)
    closed(s, "gpu-throttle-thermal")


def test_the_driver_s_own_times_count_where_the_mask_missed_it() -> None:
    s = GpuScene()
    s.gpu(A, throttle_thermal_ns=0).go(2)
    s.grow(A, {"throttle_thermal_ns": 4e8}).go(60)
    assert s.alert("gpu-throttle-thermal").severity == "warning"


def test_heat_explains_a_hot_gpu() -> None:
    s = GpuScene()
    s.gpu(A, throttle_mask=0x20, temp_c=89).go(90)
    assert s.alert("gpu-hot").suppressed_by == "gpu-throttle-thermal"


def test_hardware_slowdown_in_six_of_ten_minutes() -> None:
    s = GpuScene()
    for minute in range(5):
        s.gpu(A, throttle_mask=0x80).go(2)
        s.gpu(A, throttle_mask=0).go(58)
        assert not s.found("gpu-hw-slowdown"), minute
    for _ in range(2):
        s.gpu(A, throttle_mask=0x80).go(2)
        s.gpu(A, throttle_mask=0).go(58)
    a = s.alert("gpu-hw-slowdown")
    assert (a.severity, values(a)["Reasons"]) == ("critical", "HwPowerBrake")
    s.go(660)
    closed(s, "gpu-hw-slowdown")


def test_a_slowdown_for_heat_is_not_the_supply_s() -> None:
    s = GpuScene()
    s.gpu(A, throttle_mask=0x48).go(700)
    s.quiet("gpu-hw-slowdown")


def test_memory_held_without_work_for_fifteen_minutes() -> None:
    s = GpuScene()
    s.source.processes.append(process(99, "jupyter"))
    s.rows = [held(99, 20), held(77, 0.5, B)]
    s.gpu(A, util_pct=0).gpu(B, util_pct=0).go(800)
    s.quiet("gpu-idle-held")
    s.go(200)
    a = s.alert("gpu-idle-held")
    assert (a.entity, a.severity) == (A, "info")
    assert "20 GiB held" in a.title
    assert "jupyter (99)" in a.why
    s.gpu(A, util_pct=50).go(120)
    closed(s, "gpu-idle-held")


def test_who_holds_it_is_not_known_where_processes_cannot_be_asked() -> None:
    s = GpuScene()
    s.rows = None
    s.gpu(A, util_pct=0).go(1100)
    s.quiet("gpu-idle-held", but_checked=False)
