from __future__ import annotations

import errno
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.probes.clock import STA_NANO, STA_UNSYNC, Adjtimex, ClockProbe, Timex
from tests.fakes.nodes import check_declared

I64 = st.integers(-(1 << 63), (1 << 63) - 1)


def timex(**fields: int) -> Timex:
    t = Timex()
    for name, value in fields.items():
        setattr(t, name, value)
    return t


class Clocks:
    """A wall and a steady clock that go as the test says."""

    def __init__(self) -> None:
        self.mono, self.apart = 10**9, 1_700_000_000 * 10**9

    def steady(self) -> int:
        self.mono += 200
        return self.mono

    def wall(self) -> int:
        return self.mono + self.apart


def test_the_real_clock_gives_every_declared_id() -> None:
    probe = ClockProbe()
    assert probe.read().values["clock.step_ns"] is None, "no step without a reading before"
    sample = probe.read()
    check_declared(sample, full=not sample.problems)
    assert sample.values["clock.step_ns"] == 0
    if not sample.problems:
        assert (
            sample.values["clock.max_error_us"] == Adjtimex()().maxerror or sample.values["clock.synced"] == 1
        )


def test_the_structure_is_the_kernels() -> None:
    t = Adjtimex()()
    assert abs(t.time_sec - time.time()) < 5, "the time of day stands where the kernel put it"
    assert 9000 <= t.tick <= 11000
    assert t.tai in range(100)


def test_the_offset_is_microseconds_in_both_units() -> None:
    micro = ClockProbe(adjtimex=lambda: timex(offset=1500, freq=65536 * 12, maxerror=77)).read().values
    nano = ClockProbe(adjtimex=lambda: timex(offset=-1_500_000, status=STA_NANO)).read().values
    assert (micro["clock.offset_us"], nano["clock.offset_us"]) == (1500.0, -1500.0)
    assert micro["clock.freq_ppm"] == 12.0 and micro["clock.max_error_us"] == 77
    assert micro["clock.synced"] == 1
    assert ClockProbe(adjtimex=lambda: timex(status=STA_UNSYNC)).read().values["clock.synced"] == 0


def test_where_adjtimex_is_refused_steps_are_still_seen() -> None:
    def refuse() -> Timex:
        raise OSError(errno.EPERM, "Operation not permitted")

    sample = ClockProbe(adjtimex=refuse).read()
    check_declared(sample)
    assert sample.values["clock.synced"] is None
    assert sample.problems[0].startswith("adjtimex: not permitted here (container)")


@pytest.mark.parametrize("step", [3_600 * 10**9, -3_600 * 10**9, 1_000_000, -200_000])
def test_a_clock_that_is_set_is_one_step(step: int) -> None:
    clocks = Clocks()
    probe = ClockProbe(adjtimex=timex, wall=clocks.wall, steady=clocks.steady)
    probe.read()
    clocks.mono += 10**9
    assert probe.read().values["clock.step_ns"] == 0
    clocks.apart += step
    assert probe.read().values["clock.step_ns"] == pytest.approx(step, abs=1000)
    assert probe.read().values["clock.step_ns"] == 0


def test_a_reading_that_was_interrupted_is_no_step() -> None:
    clocks = Clocks()
    slow = iter([0, 40_000_000, 0, 0, 0, 0])

    def steady() -> int:
        clocks.mono += next(slow, 0)
        return clocks.steady()

    probe = ClockProbe(adjtimex=timex, wall=clocks.wall, steady=steady)
    probe.read()
    assert probe.read().values["clock.step_ns"] == 0


@given(offset=I64, freq=I64, maxerror=I64, status=st.integers(-(1 << 31), (1 << 31) - 1))
def test_any_answer_of_the_kernel_gives_values(offset: int, freq: int, maxerror: int, status: int) -> None:
    check_declared(
        ClockProbe(adjtimex=lambda: timex(offset=offset, freq=freq, maxerror=maxerror, status=status)).read()
    )
