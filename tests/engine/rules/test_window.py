"""Robust statistics and trails."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.rules.window import MAD_SCALE, NS, Trail, mad, median, quantile
from tests.engine.rules.scene import Scene

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


@given(NUMBERS)
def test_median_is_the_median(values: list[float]) -> None:
    assert median(values) == pytest.approx(statistics.median(values))


@given(NUMBERS)
def test_mad_is_not_moved_by_one_outlier(values: list[float]) -> None:
    middle = statistics.median(values)
    expected = MAD_SCALE * statistics.median(abs(v - middle) for v in values)
    assert mad(values) == pytest.approx(expected)


@given(NUMBERS, st.floats(0, 1))
def test_quantiles_are_values_in_order(values: list[float], q: float) -> None:
    found = quantile(values, q)
    assert found in values
    assert sum(v <= found for v in values) >= q * len(values) - 1e-9


def test_nothing_has_no_statistics() -> None:
    assert median([]) is None
    assert mad([]) is None
    assert quantile([], 0.5) is None


def test_a_trail_is_thinned_and_spans_its_window() -> None:
    trail = Trail(60.0, 10.0)
    for i in range(200):
        trail.push(i * NS, float(i))
    assert len(trail) <= 8
    found = trail.delta(200 * NS, 200.0)
    assert found is not None
    seconds, (d,) = found
    assert 60 <= seconds <= 71
    assert d == pytest.approx(seconds)


def test_a_counter_that_was_reset_has_no_difference() -> None:
    trail = Trail(60.0, 1.0)
    trail.push(0, 100.0, None)
    assert trail.delta(10 * NS, 5.0, 7.0) == (10.0, (None, None))


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0, 1e9)), max_size=100))
def test_trails_stay_small_whatever_the_intervals(points: list[tuple[int, float]]) -> None:
    trail, now = Trail(600.0, 30.0), 0
    for seconds, value in points:
        now += seconds * NS
        trail.push(now, value)
        assert len(trail) <= 23
        assert trail.delta(now, value) is None or trail.covered_s() >= 0


def test_lookups_by_process_and_mount() -> None:
    s = Scene()
    s.set({"fs.used_bytes{mount=/}": 1.0, "fs.used_bytes{mount=/database}": 1.0}).go()
    w = s.engine._window
    assert w.mount_of("/data/x") == "/data"
    assert w.mount_of("/database") == "/database"
    assert w.mount_of("/dat") == "/"
    assert w.process(4242) is not None
    assert w.process(1) is None
    assert [p.pid for p in w.largest(1)] == [4242]
    assert w.mean("memory.used_pct", 10) is None or w.mean("memory.used_pct", 1) == pytest.approx(40.0)
