"""Minima, maxima and means of a chunk."""

from __future__ import annotations

from dctop.engine.recording.rollup import read_roll, rollups


def test_each_series_has_its_least_greatest_and_mean() -> None:
    names, payload = rollups([{"a": 1, "b": 2.0, "t": "text"}, {"a": 3, "b": None, "t": "text"}, {"b": 6.0}])
    assert names == ["a", "b"]
    assert [read_roll(payload, i, 2) for i in range(2)] == [(1.0, 3.0, 2.0), (2.0, 6.0, 4.0)]


def test_what_no_float32_holds_is_missing_and_takes_nothing_else_with_it() -> None:
    names, payload = rollups([{"a": 1e39, "b": 1.5, "c": 10**400, "d": float("inf")}])
    found = {name: read_roll(payload, i, len(names)) for i, name in enumerate(names)}
    assert found == {"a": None, "b": (1.5, 1.5, 1.5), "d": None}
