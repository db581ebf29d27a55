"""Energy over a session and the kernel's words about GPUs."""

from __future__ import annotations

import pytest

from dctop.engine.metrics.gpulog import GpuLog
from tests.fakes.source import FakeSource


def log_of(*counts: int | None, **more: float) -> tuple[GpuLog, FakeSource]:
    log, source = GpuLog(), FakeSource()
    source.set({"gpu.name{gpu=a}": "H100", **{f"gpu.{k}{{gpu=a}}": v for k, v in more.items()}})
    for mj in counts:
        log.tick(source.set({"gpu.energy_mj{gpu=a}": mj}).tick())
    return log, source


def joules(log: GpuLog, source: FakeSource) -> float | None:
    assert source.current is not None
    found = log.energy("a", source.current.frame)
    return None if found is None else found.joules


def test_energy_counts_from_the_first_reading() -> None:
    assert joules(*log_of(5_000, 6_000, 9_500)) == 4.5


def test_a_counter_that_starts_anew_goes_on_from_what_was_counted() -> None:
    assert joules(*log_of(5_000, 9_000, 200, 700)) == pytest.approx(4.7)


def test_a_reading_that_failed_loses_nothing() -> None:
    assert joules(*log_of(5_000, None, 9_000)) == 4.0
    assert joules(*log_of(5_000, 7_000, None)) == 2.0


def test_without_a_counter_power_times_time_is_an_estimate() -> None:
    log, source = log_of(None, None, None, power_w=200.0)
    assert source.current is not None
    found = log.energy("a", source.current.frame)
    assert found is not None and found.estimated
    assert found.joules == pytest.approx(400.0)


def test_without_both_nothing_is_known() -> None:
    assert joules(*log_of(None, None)) is None


def test_xids_are_kept_in_order_up_to_a_moment() -> None:
    log, source = log_of(None)
    for code in ("31", "79"):
        log.tick(source.tick(1.0, [source.event("xid", code=code)]))
    log.tick(source.tick(1.0, [source.event("oom-kill")]))
    assert [e.fields["code"] for e in log.events()] == ["31", "79"]
    assert [e.fields["code"] for e in log.events(log.events()[0].wall_ns)] == ["31"]
