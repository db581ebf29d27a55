"""Minima, maxima and means of a chunk."""

from __future__ import annotations

from collections.abc import Mapping

from dctop.engine.recording.rollup import Numbers, NumberTaker, read_roll, rollups
from dctop.probes.base import Value


def ticks(*values: Mapping[str, Value]) -> list[Numbers]:
    taker = NumberTaker()
    return [taker.take(v) for v in values]


def test_each_series_has_its_least_greatest_and_mean() -> None:
    names, payload = rollups(
        ticks({"a": 1, "b": 2.0, "t": "text"}, {"a": 3, "b": None, "t": "text"}, {"b": 6.0})
    )
    assert names == ["a", "b"]
    assert [read_roll(payload, i, 2) for i in range(2)] == [(1.0, 3.0, 2.0), (2.0, 6.0, 4.0)]


def test_what_no_float32_holds_is_missing_and_takes_nothing_else_with_it() -> None:
    names, payload = rollups(ticks({"a": 1e39, "b": 1.5, "c": 10**400, "d": float("inf")}))
    found = {name: read_roll(payload, i, len(names)) for i, name in enumerate(names)}
    assert found == {"a": None, "b": (1.5, 1.5, 1.5), "d": None}
