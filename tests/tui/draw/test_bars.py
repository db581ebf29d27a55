from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from dctop.tui.draw.bars import bar, bar_spans, shares, stacked
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S, width

UNI, ASC = Look(), Look(unicode=False)


def test_eighths_and_ascii() -> None:
    assert bar(0.5, 5, UNI) == ("██▌", "··")
    assert bar(0.5, 4, ASC) == ("##", "..")
    assert bar(1.0, 3, UNI) == ("███", "")


def test_a_little_is_not_nothing_and_missing_is_empty() -> None:
    assert bar(1e-6, 4, UNI) == ("▏", "···")
    assert bar(0.0, 4, UNI) == ("", "····")
    assert bar(None, 4, UNI) == ("", "····")
    assert bar(math.nan, 4, ASC) == ("", "....")


def test_colour_is_the_state() -> None:
    assert bar_spans(50, 4, UNI)[0][1] is S.GRAPH
    assert bar_spans(75, 4, UNI)[0][1] is S.GRAPH_WARN
    assert bar_spans(95, 4, UNI)[0][1] is S.GRAPH_CRIT
    assert bar_spans(95, 4, UNI, S.GRAPH_2)[0][1] is S.GRAPH_2


def test_stacked_parts_share_the_bar() -> None:
    parts = [(1.0, "d", S.PHASE_1), (2.0, "f", S.PHASE_3), (1.0, "b", S.PHASE_5)]
    assert stacked(parts, 8, ASC) == (("dd", S.PHASE_1), ("ffff", S.PHASE_3), ("bb", S.PHASE_5))
    assert stacked([], 3, ASC) == (("...", S.FAINT),)


@given(st.one_of(st.none(), st.floats()), st.integers(0, 60), st.booleans())
def test_bars_have_the_asked_width(share: float | None, w: int, unicode: bool) -> None:
    full, rest = bar(share, w, Look(unicode=unicode))
    assert width(full) + width(rest) == w


@given(st.lists(st.floats(), max_size=8), st.integers(0, 200))
def test_shares_add_up(values: list[float], w: int) -> None:
    cells = shares(values, w)
    assert sum(cells) == (w if any(0 < v < math.inf for v in values) else 0)
    assert all(c >= 0 for c in cells)
