"""Rings against the simplest possible model: a list per series."""

import math
from array import array

from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.metrics.history import BATCH, History

values = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.none() | st.floats(-1e9, 1e9) | st.text(max_size=2), max_size=3
)


def same(got: array, want: list[float | None]) -> bool:
    return len(got) == len(want) and all(
        math.isnan(g) if w is None else g == w for g, w in zip(got, want, strict=True)
    )


steady = st.lists(values.flatmap(lambda v: st.lists(st.just(v), max_size=6)), max_size=20).map(
    lambda groups: [v for group in groups for v in group]
)
"""The same series several ticks running, as they nearly always are."""
turning = st.lists(
    st.fixed_dictionaries({k: st.none() | st.floats(-1e9, 1e9) | st.text(max_size=2) for k in "abc"}),
    max_size=60,
)
"""The same series, of which some are not numbers at times."""


@given(
    st.lists(values, max_size=60) | steady | turning,
    st.integers(1, 12),
    st.integers(0, 30),
    st.integers(0, 8),
)
def test_a_window_is_the_last_n_ticks_with_holes_where_nothing_was_read(ticks, capacity, n, back):
    history = History(capacity)
    model: dict[str, list[float | None]] = {k: [] for k in "abc"}
    for tick in ticks:
        history.push(tick)
        for k in model:
            v = tick.get(k)
            model[k].append(None if isinstance(v, str) else v)
    reach = min(n, max(0, capacity - back))
    for k, column in model.items():
        past = column[: max(0, len(column) - back)]
        want = ([None] * reach + past)[len(past) :] if reach else []
        got = history.window(k, n, back)
        assert len(got) == n
        assert same(got[n - reach :] if reach else array("d"), want)


def test_windows_across_rows_and_rings_are_the_same_at_every_tick():
    history = History(200)
    column: list[float | None] = []
    for tick in range(3 * BATCH):
        value = None if tick % 7 == 5 else tick + 0.5
        late = {"late": float(tick)} if tick > BATCH + 3 else {}
        history.push({"text": "x", "a": value, "b": 2 * tick, **late})
        column.append(value)
        for n, back in ((1, 0), (4, 0), (BATCH, 1), (BATCH + 5, 3), (3 * BATCH, 0)):
            past = column[: max(0, len(column) - back)][-n:]
            want = [None] * (n - len(past)) + past
            assert same(history.window("a", n, back), want)
        assert history.window("b", 2)[-1] == 2 * tick
        assert math.isnan(history.window("late", 1)[0]) == (tick <= BATCH + 3)


def test_a_reader_between_two_ticks_sees_the_one_before():
    history = History(200)
    for tick in range(BATCH + 4):
        history.push({"a": tick})
        before = history.ticks
        history.ticks = before - 1  # what a reader takes that came while the row was already there
        if tick:
            assert list(history.window("a", 1)) == [tick - 1]
        history.ticks = before


def test_an_unknown_series_is_all_missing():
    assert all(math.isnan(x) for x in History().window("nothing", 5))


def test_memory_stays_bounded_however_long_it_runs():
    history = History(10)
    for i in range(1000):
        history.push({"x": i, f"gone{i}": 1})
    assert len(history._rings["x"][1]) <= 20
    assert len(history.keys()) <= 21
