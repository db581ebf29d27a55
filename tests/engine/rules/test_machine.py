"""The two machines: every transition, and what must never happen whatever is seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.rules.machine import (
    CLEAR_NS,
    EASE_NS,
    MIN_FIRING_NS,
    REFIRE_NS,
    EventMachine,
    S,
    StateMachine,
    same_incident,
)

HOLD = 10 * S


def fired(at: int = 0, level: int = 2) -> StateMachine:
    m = StateMachine()
    assert m.update(at, level, False) == "fired"
    return m


def test_holds_before_firing() -> None:
    m = StateMachine()
    assert m.update(0, 2, False, HOLD) == "pending"
    assert m.update(9 * S, 2, False, HOLD) is None
    assert m.update(10 * S, 2, False, HOLD) == "fired"
    assert (m.state, m.level) == ("firing", 2)


def test_without_hold_fires_at_once() -> None:
    assert StateMachine().update(5 * S, 3, False) == "fired"


def test_a_gap_starts_the_hold_anew() -> None:
    m = StateMachine()
    m.update(0, 2, False, HOLD)
    assert m.update(5 * S, 0, True, HOLD) == "dropped"
    m.update(6 * S, 2, False, HOLD)
    assert m.update(15 * S, 2, False, HOLD) is None
    assert m.update(16 * S, 2, False, HOLD) == "fired"


def test_between_the_thresholds_it_stays_as_it_is() -> None:
    m = fired()
    for t in range(1, 200):
        assert m.update(t * S, 0, False) is None
    assert m.state == "firing"


def test_clears_after_thirty_seconds_below() -> None:
    m = fired()
    assert m.update(60 * S, 0, True) == "clearing"
    assert m.update(89 * S, 0, True) is None
    assert m.update(90 * S, 0, True) == "closed"
    assert (m.state, m.level) == ("ok", 0)


def test_clears_after_twenty_steps_of_a_run() -> None:
    m = fired()
    m.update(40 * S, 0, True, 0, 100)
    assert m.update(41 * S, 0, True, 0, 119) is None
    assert m.update(42 * S, 0, True, 0, 120) == "closed"


def test_never_closes_before_it_fired_for_thirty_seconds() -> None:
    m = fired()
    m.update(1 * S, 0, True, 0, 100)
    assert m.update(2 * S, 0, True, 0, 500) is None
    assert m.update(30 * S, 0, True, 0, 501) == "closed"


def test_rising_again_while_clearing_goes_on_firing() -> None:
    m = fired()
    m.update(40 * S, 0, True)
    assert m.update(50 * S, 2, False) == "again"
    assert m.state == "firing"
    m.update(60 * S, 0, True)
    assert m.update(89 * S, 0, True) is None


def test_unknown_neither_fires_nor_clears() -> None:
    m = StateMachine()
    m.update(0, 2, False, HOLD)
    assert m.unknown() == "dropped"
    assert m.update(11 * S, 2, False, HOLD) == "pending"
    m = fired()
    m.update(40 * S, 0, True)
    assert m.unknown() == "again"
    assert m.unknown() is None
    assert m.state == "firing"


def test_gets_graver_after_the_hold_and_milder_after_thirty_seconds() -> None:
    m = StateMachine()
    m.update(0, 2, False, HOLD)
    m.update(10 * S, 2, False, HOLD)
    assert m.update(12 * S, 3, False, HOLD) is None
    assert m.update(22 * S, 3, False, HOLD) == "severity"
    assert m.level == 3
    assert m.update(23 * S, 2, False, HOLD) is None
    assert m.update(23 * S + EASE_NS, 2, False, HOLD) == "severity"
    assert m.level == 2


def test_events_latch_and_count() -> None:
    m = EventMachine()
    assert m.fire(2) == "fired"
    assert m.fire(3) == "again"
    assert (m.open, m.level) == (True, 3)
    m.release()
    assert not m.open
    assert m.fire(2) == "fired"


def test_ten_minutes_make_the_same_incident() -> None:
    assert same_incident(0, REFIRE_NS)
    assert not same_incident(0, REFIRE_NS + 1)


SIGHT = st.tuples(st.integers(1, 40), st.integers(-1, 3), st.booleans())


@given(st.lists(SIGHT, max_size=60), st.integers(0, 60))
def test_never_fires_before_hold_and_never_closes_before_min_time(
    sights: list[tuple[int, int, bool]], hold_s: int
) -> None:
    m, now, since, fired_at, clear_since = StateMachine(), 0, None, None, None
    for seconds, level, clear in sights:
        now += seconds * S
        before = m.state
        change = m.unknown() if level < 0 else m.update(now, level, clear, hold_s * S)
        since = None if level <= 0 else now if since is None else since
        if level > 0 or not clear or level < 0:
            clear_since = None
        elif before in ("firing", "clearing") and clear_since is None:
            clear_since = now
        if change == "fired":
            assert since is not None
            assert now - since >= hold_s * S
            fired_at = now
        if change == "closed":
            assert fired_at is not None
            assert clear_since is not None
            assert now - fired_at >= MIN_FIRING_NS
            assert now - clear_since >= CLEAR_NS
            since = None
        assert (m.level > 0) == (m.state in ("firing", "clearing"))
        assert change != "fired" or level > 0


@given(st.lists(SIGHT, max_size=60))
def test_the_same_sights_give_the_same_states(sights: list[tuple[int, int, bool]]) -> None:
    a, b, now = StateMachine(), StateMachine(), 0
    for seconds, level, clear in sights:
        now += seconds * S
        one = a.unknown() if level < 0 else a.update(now, level, clear, HOLD)
        two = b.unknown() if level < 0 else b.update(now, level, clear, HOLD)
        assert (one, a) == (two, b)
