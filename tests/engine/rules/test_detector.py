"""The streaming detector: what it tells, what it keeps quiet about, what it survives."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.rules.detector import Detector, Finding


def noise(n: int, seed: int = 1, level: float = 100.0, sd: float = 1.0) -> list[float]:
    r = random.Random(seed)
    return [r.gauss(level, sd) for _ in range(n)]


def first(d: Detector, values: Sequence[float]) -> tuple[int, Finding] | None:
    """(sample, finding) of the first alarm."""
    for i, x in enumerate(values):
        if d.update(x) >= 0.5:
            return i, d.finding()
    return None


def learned(n: int = 2000, seed: int = 1) -> Detector:
    d = Detector()
    assert first(d, noise(n, seed)) is None
    return d


@pytest.mark.parametrize("seed", range(5))
def test_plain_noise_is_never_an_alarm(seed: int) -> None:
    assert first(Detector(), noise(20_000, seed)) is None


@pytest.mark.parametrize(
    ("name", "change", "kinds", "within"),
    [
        ("spike", lambda i: 12.0 if i == 0 else 0.0, {"spike"}, 1),
        ("step of ten", lambda i: 10.0, {"spike", "shift"}, 2),
        ("small step", lambda i: 5.0, {"shift"}, 20),
        ("fall", lambda i: -30.0, {"spike", "shift"}, 1),
        ("drift", lambda i: 0.012 * i, {"drift", "shift"}, 2000),
    ],
)
def test_planted_changes_are_found_and_named(
    name: str, change: Callable[[int], float], kinds: set[str], within: int
) -> None:
    d = learned()
    found = first(d, [x + change(i) for i, x in enumerate(noise(3000, 7))])
    assert found is not None, name
    assert found[0] <= within
    assert found[1].kind in kinds


def test_a_stall_is_found_within_a_minute() -> None:
    found = first(learned(), [100.0] * 100)
    assert found is not None
    assert found[0] <= 60
    assert found[1].kind == "stall"


def test_a_constant_series_is_well() -> None:
    assert first(Detector(), [5.0] * 5000) is None


def test_a_new_level_ends_the_alarm() -> None:
    d = learned()
    scores = [d.update(x + 20.0) for x in noise(400, 3)]
    assert scores[0] >= 0.5
    assert max(scores[200:]) < 0.5


def test_the_first_and_second_of_a_kind_are_told_and_the_third_is_known() -> None:
    d = learned()
    told = []
    for k in range(6):
        values = [x + (40.0 if i < 2 else 0.0) for i, x in enumerate(noise(300, 20 + k))]
        told.append(max([d.update(x) for x in values]) >= 0.5)
    assert told[:2] == [True, True]
    assert not any(told[3:])


def told(d: Detector, values: Sequence[float]) -> list[int]:
    """Samples at which an alarm begins."""
    begins, before = [], False
    for i, x in enumerate(values):
        now = d.update(x) >= 0.5
        if now and not before:
            begins.append(i)
        before = now
    return begins


def test_one_excursion_is_told_once_though_it_comes_and_goes() -> None:
    d = learned()
    values = [x + (40.0 if i % 10 == 0 and i < 100 else 0.0) for i, x in enumerate(noise(400, 11))]
    assert told(d, values) == [0]


def test_what_was_told_already_still_has_a_vote() -> None:
    d = learned()
    scores = [d.update(x + (40.0 if i in (0, 20) else 0.0)) for i, x in enumerate(noise(60, 11))]
    assert scores[0] >= 0.5
    assert 0.36 <= scores[20] < 0.5


def test_an_excursion_that_grows_is_told_again() -> None:
    d = learned()
    values = [x + {0: 40.0, 10: 42.0, 20: 80.0}.get(i, 0.0) for i, x in enumerate(noise(100, 11))]
    assert told(d, values) == [0, 20]


def test_the_slower_clocks_do_not_tell_a_spike_again_that_is_over() -> None:
    for at in range(16):  # wherever in the blocks of 4 and 16 it falls
        d = learned()
        values = [x + (60.0 if i == at else 0.0) for i, x in enumerate(noise(200, 12))]
        assert told(d, values) == [at]


def test_the_alarm_of_a_slow_clock_ends_when_the_series_is_back() -> None:
    d = learned()
    back = 12
    scores = [d.update(x + (5.0 if i < back else 0.0)) for i, x in enumerate(noise(200, 7))]
    assert max(scores[:back]) >= 0.5
    assert max(scores[back + 2 :]) < 0.5


def test_a_series_that_stands_at_zero_but_for_spikes_is_judged_by_them() -> None:
    """Without a floor there is nothing to measure by until it moves: two are told, no crash after."""
    spiky = ([0.0] * 99 + [7.0]) * 12
    assert told(Detector(), spiky)[:2] == [99, 199]
    assert len(told(Detector(), spiky)) <= 3


def test_nothing_below_the_floor_alarms() -> None:
    d = Detector(floor=50.0)
    assert first(d, noise(2000)) is None
    assert first(d, [x + 40.0 for x in noise(30, 5)]) is None
    assert first(d, [x + 140.0 for x in noise(30, 5)]) is not None


def test_the_finding_tells_the_numbers() -> None:
    d = learned()
    d.update(130.0)
    f = d.finding()
    assert f.kind == "spike"
    assert f.value == 130.0
    assert f.level == pytest.approx(100.0, abs=1.0)
    assert f.swing == pytest.approx(1.0, rel=0.2)
    assert f.z == pytest.approx(30.0, rel=0.25)
    assert f.score >= 0.5


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, -1e300, None])
def test_what_is_not_finite_or_absurd_blinds_nothing(bad: float | None) -> None:
    d = learned()
    assert math.isfinite(d.update(bad))
    for x in noise(30, 2):
        assert math.isfinite(d.update(x))
    found = first(d, [x + 11.0 for x in noise(3, 4)])
    assert found is not None
    assert found[0] <= 2


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), max_size=300))
def test_scores_are_finite_whatever_comes(values: list[float | None]) -> None:
    d = Detector()
    for x in values:
        assert 0.0 <= d.update(x) < 1.0 + 1e-9
        d.finding()


def test_it_is_silent_while_it_learns() -> None:
    d = Detector()
    assert all(d.update(x) < 0.5 for x in [*noise(30), 1000.0, *noise(29)])
    assert d.learning
    d.update(100.0)
    assert not d.learning


def test_a_saved_state_goes_on_without_a_new_life() -> None:
    d = learned()
    again = Detector()
    assert again.restore(d.state())
    assert not again.learning
    assert first(again, noise(1000, 8)) is None
    assert first(again, [120.0]) is not None
    assert not Detector().restore([1.0])
    assert not Detector().restore([math.nan] * len(d.state()))


def test_state_is_small() -> None:
    d = learned()
    parts = (d, d._s0, d._s1, d._s2, d._means, d._s0._buffer, d._s1._buffer, d._s2._buffer)
    numbers = sum(
        24 for s in (d, d._s0, d._s1, d._s2) for name in s.__slots__ if isinstance(getattr(s, name), float)
    )
    assert sum(map(sys.getsizeof, parts)) + numbers + 24 * len(d._means) <= 4096
