from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from dctop.tui.draw.buckets import Buckets, stretch


def fresh(values: list[float], most: int) -> tuple[list[float], list[float]]:
    return Buckets().update("x", values, most)


def test_few_values_are_kept_as_they_are() -> None:
    assert fresh([1.0, 2.0, 3.0], 4) == ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])


def test_many_values_share_buckets_of_a_power_of_two() -> None:
    assert fresh([1.0, 5.0, 2.0, 8.0, 3.0], 3) == ([1.0, 2.0, 3.0], [5.0, 8.0, 3.0])


def test_a_series_that_was_thinned_or_replaced_is_read_again() -> None:
    b = Buckets()
    b.update("x", [float(i) for i in range(10)], 5)
    assert b.update("x", [float(i) for i in range(0, 10, 2)], 5) == fresh([0.0, 2.0, 4.0, 6.0, 8.0], 5)
    assert b.update("y", [7.0], 5) == ([7.0], [7.0])


def test_what_is_not_a_number_is_left_out() -> None:
    low, high = fresh([math.nan, math.inf, 2.0, 1.0, math.nan, math.nan], 3)
    assert low[1] == 1.0 and high[1] == 2.0
    assert low[0] != low[0] and low[2] != low[2]


def test_stretch() -> None:
    assert stretch([1.0, 2.0], 4) == [1.0, 1.0, 2.0, 2.0]
    assert stretch([1.0, 2.0, 3.0], 2) == [2.0, 3.0]
    assert stretch([], 4) == []


@given(st.lists(st.floats(-1e9, 1e9), max_size=300), st.integers(1, 40), st.integers(1, 30))
def test_growing_in_pieces_equals_reading_at_once(values: list[float], most: int, piece: int) -> None:
    b = Buckets()
    for i in range(0, len(values), piece):
        b.update("x", values[: i + piece], most)
    assert b.update("x", values, most) == fresh(values, most)
    assert len(fresh(values, most)[0]) <= most
