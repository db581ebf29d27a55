from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from dctop.tui.draw.look import Look
from dctop.tui.panes.timeline import TimelinePane, TimelineState, maxima
from tests.fakes.screen import T0, FakeSource, as_lines, check, view_of

MIN = 60 * 10**9


def pane() -> TimelinePane:
    p = TimelinePane()
    p.state = TimelineState(
        T0, T0 + 180 * MIN, T0 + 120 * MIN, 8.0, True,
        [(T0 + 30 * MIN, "", "info"), (T0 + 30 * MIN, "", "critical"), (T0 + 90 * MIN, "", "mark")],
        [(T0 + 45 * MIN, T0 + 60 * MIN)],
        {"cpu": [float(i) for i in range(100)], "loss": [4.0, 3.0, math.nan, 1.0]},
    )  # fmt: skip
    return p


def test_golden() -> None:
    view = view_of(FakeSource())
    rows = pane().body(view, 48, 5)
    check(rows, 48, 5)
    assert as_lines(rows) == [
        "cpu  ▁▁▁▁▁▁▂▂▂▂▂▃▃▃▃▃▄▄▄▄▄▅▅▅▅▅▅▆▆▆▆▆▇▇▇▇▇▇█████",
        "loss ▇▇▇▇▇▇▇▇▇▇▇▅▅▅▅▅▅▅▅▅▅▅           ▂▂▂▂▂▂▂▂▂▂",
        "evt         ■             ◆                     ",
        "     ──────────╱╱╱╱╱─────────────┃──────────────",
        "     22:13                   00:13:20      01:13",
    ]
    assert "".join(t for t, _ in pane().title(view, 60)[1]) == "▶ ×8  00:13:20"


def test_golden_ascii() -> None:
    view = view_of(FakeSource(), Look(unicode=False))
    assert as_lines(pane().body(view, 48, 3)) == [
        "evt         !             #                     ",
        "     ----------/////-------------|--------------",
        "     22:13                   00:13:20      01:13",
    ]


def test_a_click_is_a_moment() -> None:
    p = pane()
    p.body(view_of(FakeSource()), 65, 5)
    assert p.time_at(5) == T0
    assert p.time_at(64) == T0 + 180 * MIN
    assert p.time_at(2) is None


def test_lanes_are_kept_while_only_the_cursor_moves() -> None:
    p, view = pane(), view_of(FakeSource())
    p.body(view, 60, 6)
    lanes = p._lanes
    p.state.cursor_ns += MIN
    p.body(view, 60, 6)
    assert p._lanes is lanes


def test_nothing_recorded() -> None:
    assert "nothing recorded" in "".join(as_lines(TimelinePane().body(view_of(FakeSource()), 60, 4)))


@given(st.lists(st.floats(), max_size=100), st.integers(0, 60))
def test_maxima_have_the_asked_length(values: list[float], n: int) -> None:
    assert len(maxima(values, n)) == n


@given(
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.integers(0, 120),
    st.integers(0, 12),
)
def test_any_times_are_drawn(t0: int, t1: int, cursor: int, w: int, h: int) -> None:
    p = TimelinePane()
    p.state = TimelineState(t0, t1, cursor, marks=[(cursor, "", "warning")], gaps=[(cursor, t0)])
    check(p.body(view_of(FakeSource()), w, h), w, h)
