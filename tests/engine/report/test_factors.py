"""Contributing factors: what shifted before the alert is found, with its onset; noise is not."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.engine.report.factors import Column, Factor, rank, shift, unit_of

S = 1_000_000_000
TIMES = [i * S for i in range(300)]


def noisy(level: float, spread: float, seed: int, n: int = 300) -> list[float | None]:
    r = random.Random(seed)
    return [level + r.gauss(0, spread) for _ in range(n)]


def ranked(**columns: list[float | None]) -> list[Factor]:
    named = {k.replace("__", "."): Column(TIMES, v) for k, v in columns.items()}
    return rank(named, 300 * S, frozenset(("memory.used_pct",)))


def test_a_step_is_found_at_its_onset_with_the_levels_on_both_sides() -> None:
    values = noisy(40, 1, 1)
    values[250:] = noisy(80, 1, 2, 50)
    (f,) = ranked(disk__util_pct=values)
    assert abs(f.onset_ns - 250 * S) <= 2 * S and abs(f.lead_s - 50) <= 2
    assert f.before == pytest.approx(40, abs=1) and f.after == pytest.approx(80, abs=1)


def test_noise_a_spike_and_what_came_back_are_no_factors() -> None:
    spike = noisy(40, 1, 3)
    spike[200:203] = [90.0, 90.0, 90.0]
    back = noisy(40, 1, 4)
    back[180:220] = noisy(80, 1, 5, 40)
    assert ranked(a__x_pct=noisy(40, 5, 6), b__x_pct=spike, c__x_pct=back, d__x_pct=[7.0] * 300) == []


def test_the_stronger_and_earlier_shift_comes_first_and_the_alert_s_own_measure_is_named() -> None:
    strong, weak = noisy(10, 1, 7), noisy(10, 1, 8)
    strong[200:] = noisy(90, 1, 9, 100)
    weak[290:] = noisy(20, 1, 10, 10)
    found = ranked(memory__used_pct=strong, net__util_pct=weak)
    assert [f.key for f in found] == ["memory.used_pct", "net.util_pct"]
    assert [f.own for f in found] == [True, False]


def test_a_topic_is_named_twice_at_most_and_the_monitor_itself_never() -> None:
    step = [1.0] * 250 + [50.0] * 50
    found = ranked(
        cpu__a_pct=step, cpu__b_pct=step, cpu__c_pct=step, dctop__cpu_pct=step, host__uptime_s=step,
        pressure__io__some_avg60_pct=step,
    )  # fmt: skip
    assert [f.key for f in found] == ["cpu.a_pct", "cpu.b_pct"]


def test_holes_do_not_hide_a_shift_and_too_few_values_say_nothing() -> None:
    values: list[float | None] = [1.0] * 250 + [50.0] * 50
    holes = [None if i % 3 == 0 else v for i, v in enumerate(values)]
    hit = shift(holes, "%")
    assert hit is not None and abs(hit[0] - 250) <= 2
    assert shift([1.0] * 10 + [90.0] * 5, "%") is None
    assert shift([None] * 300, "%") is None


def test_a_rounding_is_no_shift_in_its_unit() -> None:
    assert shift([40.0] * 250 + [40.4] * 50, "%") is None
    assert shift([1e9] * 250 + [1e9 + 2**20] * 50, "bytes") is None
    assert shift([0.0] * 250 + [3.0] * 50, "") is not None


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), max_size=80))
@settings(max_examples=60, deadline=None)
def test_no_series_is_too_strange(values: list[float | None]) -> None:
    hit = shift(values, "%")
    assert hit is None or (0 <= hit[0] < len(values) and math.isfinite(hit[3]))


def test_units_of_training_series() -> None:
    assert unit_of("train.step_s{run=x}") == "s" and unit_of("train.loss{run=x}") == ""
    assert unit_of("train.rss_anon_bytes{run=x}") == "bytes" and unit_of("cpu.util_pct") == "%"
