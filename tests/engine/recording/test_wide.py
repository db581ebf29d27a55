"""Windows wider than single ticks."""

from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.recording.wide import Part, joined, mean_of, thinned

NAN = float("nan")
numbers = st.one_of(st.just(NAN), st.integers(-1000, 1000).map(float))


def naive(ticks: list[float], last: int, n: int, k: int) -> list[float]:
    """Tick number `last` is the newest of `ticks`; bucket b holds ticks b*k .. b*k+k-1."""
    first = last - len(ticks) + 1
    out = []
    for b in range(last // k - n + 1, last // k + 1):
        found = [v for i, v in enumerate(ticks) if (first + i) // k == b and v == v]
        out.append(sum(found) / len(found) if found else NAN)
    return out


def same(a: array[float], b: list[float]) -> bool:
    return len(a) == len(b) and all(
        (x != x and y != y) or math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-9) for x, y in zip(a, b)
    )


@given(st.lists(numbers, max_size=80), st.integers(0, 500), st.integers(1, 30), st.integers(1, 20))
def test_each_value_is_the_mean_of_its_ticks(values: list[float], extra: int, n: int, k: int) -> None:
    last = len(values) + extra
    assert same(thinned(array("d", values), last, n, k), naive(values, last, n, k))


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(-100, 100)), min_size=1, max_size=20),
    st.integers(0, 60), st.integers(1, 30), st.integers(1, 40),
)  # fmt: skip
def test_means_of_chunks_and_single_ticks_join_as_if_all_were_single(
    chunks: list[tuple[int, int]], fine: int, n: int, k: int
) -> None:
    ticks: list[float] = []
    parts = []
    for size, value in chunks:  # constant in each chunk, so that its mean says everything
        parts.append(Part(len(ticks), len(ticks) + size - 1, float(value)))
        ticks += [float(value)] * size
    last = len(ticks) - 1
    near = array("d", ticks[max(0, len(ticks) - fine) :])
    assert same(joined(parts, near, last, n, k), naive(ticks, last, n, k))


def test_a_gap_stays_a_gap() -> None:
    parts = [Part(0, 9, 1.0), Part(30, 39, 3.0)]
    out = joined(parts, array("d", [5.0] * 10), 49, 5, 10)
    assert [None if v != v else v for v in out] == [1.0, None, None, 3.0, 5.0]


@pytest.mark.parametrize(("values", "mean"), [([1.0, NAN, 3.0], 2.0), ([2.0, 4.0], 3.0)])
def test_the_mean_is_of_what_is_known(values: list[float], mean: float) -> None:
    assert mean_of(values) == mean
    assert mean_of([]) != mean_of([]) and mean_of([NAN]) != mean_of([NAN])
