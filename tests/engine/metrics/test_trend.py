from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.metrics.trend import fill_time, theil_sen

NAN = math.nan


def test_a_straight_line_gives_its_slope_per_second() -> None:
    trend = theil_sen([10.0 + 3.0 * i for i in range(50)], 2.0)
    assert trend is not None
    assert math.isclose(trend.slope, 1.5)
    assert trend.tau == 1.0


def test_one_outlier_does_not_move_the_slope() -> None:
    values = [float(i) for i in range(40)]
    values[20] = 1e9
    trend = theil_sen(values, 1.0)
    assert trend is not None
    assert abs(trend.slope - 1.0) < 0.05


def test_missing_values_keep_their_place_in_time() -> None:
    trend = theil_sen([0.0, NAN, NAN, NAN, 8.0], 1.0)
    assert trend is not None
    assert trend.slope == 2.0


def test_long_series_are_thinned_without_changing_the_slope() -> None:
    trend = theil_sen([0.5 * i for i in range(3600)], 1.0)
    assert trend is not None
    assert trend.points == 60
    assert math.isclose(trend.slope, 0.5)


def test_fill_time_is_what_is_left_over_the_rate() -> None:
    assert fill_time([1000.0 * i for i in range(60)], 36e6, 1.0) == (36_000.0, 1000.0)


def test_no_fill_time_without_growth_or_knowledge() -> None:
    assert fill_time([5.0] * 60, 1e6, 1.0) is None
    assert fill_time([float(-i) for i in range(60)], 1e6, 1.0) is None
    assert fill_time([1.0, 2.0, 3.0], 1e6, 1.0) is None
    assert fill_time([NAN] * 60, 1e6, 1.0) is None
    assert fill_time([float(i) for i in range(60)], None, 1.0) is None
    assert fill_time([(i * 7919 % 13) + i * 0.001 for i in range(60)], 1e6, 1.0) is None


@given(st.lists(st.floats(), max_size=150), st.floats(0.01, 100))
def test_any_series_gives_a_trend_or_none(values: list[float], dt: float) -> None:
    trend = theil_sen(values, dt)
    assert trend is None or -1.0 <= trend.tau <= 1.0
