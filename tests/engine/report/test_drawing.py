"""Charts and numbers of a report."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.engine.report.blocks import Band, Chart, Curve, Point
from dctop.engine.report.say import Say
from dctop.engine.report.svg import draw, scale, time_ticks, unbroken
from dctop.engine.report.units import number, offset, quantity, span, spark
from dctop.tui.dialogs.times import moment_ns

S = 1_000_000_000
T0 = 1_790_000_000 * S


def chart(values: list[float | None], unit: str = "%", **more: object) -> Chart:
    points = [Point(T0 + i * S, v, v, v) for i, v in enumerate(values)]
    return Chart("x", unit, T0, T0 + max(1, len(values)) * S, [Curve("a", points)], **more)  # type: ignore[arg-type]


def test_a_hole_is_left_open_and_a_gap_hatched() -> None:
    c = chart([1, 2, None, 3, 4, 5], bands=[Band(T0 + 4 * S, T0 + 5 * S, "gap", "lost")])
    assert [len(part) for part in unbroken(c.curves[0].points, c)] == [2, 2, 1]
    svg = draw(c, 1, Say())
    assert svg.count("<polyline") == 2 and svg.count("<circle") == 1 and 'fill="url(#h1)"' in svg
    ET.fromstring(svg)


def test_every_point_lies_within_the_picture() -> None:
    svg = draw(chart([0.0, 100.0, 50.0], top=100.0), 1, Say())
    for xs in re.findall(r'points="([^"]+)"', svg):
        for pair in xs.split():
            x, y = map(float, pair.split(","))
            assert 64 <= x <= 748 and 10 <= y <= 166


@pytest.mark.parametrize(("values", "unit", "first", "last"), [
    ([0.0, 100.0], "%", 0.0, 100.0),
    ([3.0, 96.0], "%", 0.0, 100.0),
    ([95.0, 99.0], "", 95.0, 99.0),
    ([0.0, 3.0 * 2**30], "bytes", 0.0, 3.0 * 2**30),
    ([5.0], "", 5.0, 5.5),
    ([], "", 0.0, 1.0),
])  # fmt: skip
def test_axes_have_round_ends(values: list[float | None], unit: str, first: float, last: float) -> None:
    lo, hi, ticks = scale(chart(values, unit))
    assert lo <= first and hi >= last and 2 <= len(ticks) <= 7
    if unit == "bytes":
        assert all((t / 2**30 * 2).is_integer() for t in ticks)


@given(
    st.lists(st.one_of(st.none(), st.floats(-1e15, 1e15)), max_size=40),
    st.sampled_from(["", "%", "bytes", "bytes/s", "s"]),
)
@settings(max_examples=80, deadline=None)
def test_whatever_the_values_it_is_a_picture(values: list[float | None], unit: str) -> None:
    ET.fromstring(draw(chart(values, unit), 1, Say()))


@pytest.mark.parametrize("seconds", [1, 7, 59, 600, 3600, 86_400, 7 * 86_400, 90 * 86_400])
def test_times_on_the_axis_are_few_and_round(seconds: int) -> None:
    ticks = time_ticks(T0, T0 + seconds * S)
    assert len(ticks) <= 9 and all(T0 <= t <= T0 + seconds * S for t in ticks)


@given(st.integers(0, 10**15))
def test_an_offset_is_understood_by_at_and_never_before_the_moment(ns: int) -> None:
    at = moment_ns(offset(ns), T0, T0, T0 + 10**16)
    assert at is not None and 0 <= at - T0 - ns < S // 10 + 1000


@pytest.mark.parametrize(("value", "unit", "text"), [
    (None, "%", "-"), (12.345, "%", "12.3 %"), (0.0, "%", "0 %"), (1536, "bytes", "1.5 KiB"),
    (3 * 2**30, "bytes/s", "3 GiB/s"), (0.0052, "s", "5.2 ms"), (75, "s", "1m15s"),
    (1234567, "", "1,234,567"), (-2048, "bytes", "-2 KiB"), (0.000012, "", "1.2e-05"),
    (float("nan"), "", "nan"),
])  # fmt: skip
def test_quantities(value: float | None, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_spans_and_sparks() -> None:
    assert [span(s) for s in (0.4, 59, 192, 14_700, 183_600)] == ["0.4 s", "59 s", "3m12s", "4h05m", "2d03h"]
    assert spark([0, 1, 2, None, 7], 5) == "▁▂▃ █" and spark([None]) == "" and spark([3, 3]) == "▁▁"
    assert number(12.0) == "12" and number(0.5) == "0.5"
