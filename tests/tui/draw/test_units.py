from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.tui.draw import units

NAN, INF = math.nan, math.inf
G = 1024.0**3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "    -"), (NAN, "    -"), (INF, "    -"), (0, "    0"), (12, "  12B"), (999, " 999B"),
        (1007, "1007B"), (1024, "1.00K"), (72 * G, "72.0G"), (412 * G, " 412G"), (2 * 1024 * G, "2.00T"),
        (1007 * G, "1007G"), (1e30, "1023E"),
    ],
)  # fmt: skip
def test_sizes_are_five_cells(value: float | None, text: str) -> None:
    assert units.size(value) == text


def test_rates_carry_their_unit() -> None:
    assert units.rate(12.3 * 1024 * 1024) == "12.3M/s"
    assert units.rate(None) == "      -"


def test_sizes_in_sentences() -> None:
    assert units.iec(64 * G) == "64 GiB"
    assert units.iec(1007 * G) == "1007 GiB"
    assert units.iec(1.5 * 1024 * G) == "1.5 TiB"
    assert units.iec(None) == "-"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "     -"), (0.4, "    0s"), (59.9, "   59s"), (245, " 4m05s"), (3599, "59m59s"),
        (11520, " 3h12m"), (86399, "23h59m"), (12 * 86400 + 3 * 3600, "12d03h"), (1e12, " 9999d"),
    ],
)  # fmt: skip
def test_durations_are_six_cells(seconds: float | None, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "     -"), (0.0, "   0ms"), (0.00052, "0.52ms"), (0.0091, " 9.1ms"), (0.311, " 311ms"),
        (0.9996, " 1.00s"), (2.31, " 2.31s"), (23.1, " 23.1s"), (245, " 4m05s"),
    ],
)  # fmt: skip
def test_times_of_a_step_are_six_cells(seconds: float | None, text: str) -> None:
    assert units.ms(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (NAN, "NaN"), (INF, "inf"), (-INF, "-inf"), (0.0, "0"), (2.134, "2.134"),
        (28.0, "28.00"),
        (2.9e-4, "2.9e-04"), (118748.0, "118748"), (7.7e6, "7.7e+06"),
    ],
)  # fmt: skip
def test_losses_show_not_a_number_as_a_finding(value: float | None, text: str) -> None:
    assert units.significant(value).strip() == text


def test_counts_and_shares() -> None:
    assert units.count(999) == "  999"
    assert units.count(12_345) == "12.3k"
    assert units.count(0.4) == "  0.4"
    assert units.grouped(12_840) == "12 840"
    assert units.pct(93.6) == " 94%"
    assert units.pct(None) == "   -"
    assert units.pct1(412.3) == "  412"
    assert units.pct1(12_800.0) == "12.8k"
    assert units.watts(648.2) == " 648W"
    assert units.watts(4970.0) == "4.97kW"
    assert units.fixed(0.123) == " 0.12"


@given(st.one_of(st.none(), st.floats(min_value=0), st.integers(min_value=0, max_value=10**40)))
def test_any_amount_keeps_its_width(v: float | None) -> None:
    assert len(units.size(v)) == 5
    assert len(units.rate(v)) == 7
    assert len(units.count(v)) == 5
    assert len(units.duration(v)) == 6
    assert len(units.ms(v)) == 6
    assert len(units.pct(v, 5)) == 5
    assert len(units.pct1(v)) == 5
    assert len(units.significant(v)) == 7
    assert len(units.watts(v, 6)) == 6


@given(st.one_of(st.none(), st.floats()))
def test_no_number_raises(v: float | None) -> None:
    for f in (units.size, units.rate, units.count, units.duration, units.ms, units.pct, units.pct1,
              units.significant, units.watts, units.fixed, units.iec, units.grouped):  # fmt: skip
        assert isinstance(f(v), str)


def test_clock_of_impossible_moments_is_missing() -> None:
    assert units.clock(None) == "-"
    assert units.clock(10**40) == "-"
    assert len(units.clock(1_700_000_000_000_000_000)) == 8
