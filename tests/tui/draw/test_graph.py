from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.tui.draw import graph
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S, width

NAN = math.nan
BRAILLE, BLOCK, ASCII = Look(), Look(graph="block"), Look(graph="braille", unicode=False)
LOOKS = (BRAILLE, BLOCK, ASCII, Look(graph="ascii", unicode=False))
VALUES = st.lists(st.one_of(st.floats(), st.floats(0, 100)), max_size=200)


def test_braille_area_golden() -> None:
    ramp = [i * 100 / 15 for i in range(16)]
    assert graph.area(ramp, 8, 2, BRAILLE) == ["    ⣀⣤⣶⣿", "⣀⣤⣶⣿⣿⣿⣿⣿"]


def test_block_area_golden() -> None:
    assert graph.area([0, 25, 50, 75, 100], 5, 2, BLOCK) == ["   ▄█", "▁▄███"]


def test_ascii_area_golden() -> None:
    assert graph.area([0, 25, 50, 75, 100], 5, 2, ASCII) == ["   :#", ".:###"]


def test_hanging_areas_mirror() -> None:
    assert graph.area([0, 50, 100], 3, 2, BLOCK, down=True) == ["▀██", "  █"]
    assert graph.area([0, 50, 100], 3, 2, ASCII, down=True) == ["'##", "  #"]
    assert graph.area([100.0, 100.0, 50.0, 50.0], 2, 2, BRAILLE, down=True) == ["⣿⣿", "⣿ "]


@pytest.mark.parametrize("look", LOOKS)
def test_missing_is_a_gap_and_zero_is_not(look: Look) -> None:
    gap = graph.area([NAN] * 20, 10, 3, look)
    zero = graph.area([0.0] * 20, 10, 3, look)
    assert gap == [" " * 10] * 3
    assert " " not in zero[2]
    assert zero[:2] == [" " * 10] * 2


@pytest.mark.parametrize("look", LOOKS)
def test_newest_is_at_the_right(look: Look) -> None:
    rows = graph.area([100.0], 10, 2, look)
    assert [r[:-1] for r in rows] == [" " * 9] * 2
    assert rows[0][-1] != " "


@given(VALUES, st.integers(1, 30), st.integers(1, 6), st.sampled_from(LOOKS), st.booleans())
def test_a_picture_moved_on_is_the_picture_drawn_anew(
    values: list[float], w: int, h: int, look: Look, down: bool
) -> None:
    n = graph.samples(look, w)
    series = [0.0] * n + values
    for end in range(n, len(series) + 1):
        window = array("d", series[end - n : end])
        for lo, hi in ((0.0, 100.0), (-7.3, 311.7)):
            moved = graph.area(window, w, h, look, lo, hi, down)
            assert moved == graph.area(list(window), w, h, look, lo, hi, down)


def test_braille_line_connects_a_jump() -> None:
    assert graph.line([0.0, 0.0, 100.0, 100.0], 2, 2, BRAILLE, 0, 100) == [" ⡏", "⣀⠇"]


def test_ascii_and_block_lines() -> None:
    assert graph.line([0.0, 50.0, 100.0], 3, 2, ASCII, 0, 100) == [" .|", ".| "]
    assert graph.line([0.0, 50.0, 100.0], 3, 2, BLOCK, 0, 100) == [" ▄▀", "▄▀ "]


def test_a_gap_cuts_the_line() -> None:
    assert graph.line([0.0, NAN, 100.0], 3, 1, ASCII, 0, 100) == [". '"]


def test_an_envelope_shows_a_spike_inside_a_bucket() -> None:
    rows = graph.envelope([10.0, 10.0, 10.0], [10.0, 100.0, 10.0], 3, 3, ASCII, 0, 100)
    assert rows[0] == " | "


def test_log_scale_halves_decades() -> None:
    rows = graph.line([1.0, 10.0, 100.0], 3, 3, ASCII, 1, 100, log=True)
    assert rows == ["  |", " |'", ".| "]


def test_log_scale_of_nothing_positive_is_empty() -> None:
    assert graph.line([0.0, -1.0, NAN], 3, 2, ASCII, 0, 1, log=True) == ["   ", "   "]


def test_bands_follow_the_scale() -> None:
    assert graph.bands(10)[0] is S.GRAPH_CRIT
    assert graph.bands(10)[2] is S.GRAPH_WARN
    assert graph.bands(10)[3] is S.GRAPH
    assert graph.bands(3) == (S.GRAPH_WARN, S.GRAPH, S.GRAPH)


def test_one_row_with_a_limit_takes_the_colour_of_now() -> None:
    assert graph.area_rows([95.0], 1, 1, BRAILLE, limit=True)[0][0][1] is S.GRAPH_CRIT
    assert graph.area_rows([95.0, 5.0], 1, 1, BRAILLE, limit=True)[0][0][1] is S.GRAPH


def test_sparks() -> None:
    assert graph.spark([0, 50, 100, NAN, 100], 5, BRAILLE) == "▁▅█ █"
    assert graph.spark([0, 50, 100, NAN, 100], 6, ASCII) == " _=# #"


def test_scales_move_in_steps() -> None:
    assert graph.top_of([0.0, NAN]) == 1.0
    assert [graph.top_of([v]) for v in (1.5, 2.0, 3, 7, 99, 101)] == [2, 2, 5, 10, 100, 200]


@given(VALUES, st.integers(0, 90), st.integers(0, 20), st.sampled_from(LOOKS), st.booleans(), st.booleans())
def test_any_series_at_any_size_keeps_the_shape(
    values: list[float], w: int, h: int, look: Look, down: bool, log: bool
) -> None:
    for rows in (
        graph.area(values, w, h, look, down=down, log=log),
        graph.line(values, w, h, look, 0, 50, log=log),
        graph.line(values, w, h, look, 5, 5, log=log),
        graph.envelope(values, [v + 1 for v in values], w, h, look, 0, graph.top_of(values), log=log),
    ):
        assert len(rows) == h
        assert all(len(r) == w == width(r) for r in rows)
        assert look.unicode or all(r.isascii() for r in rows)
    assert width(graph.spark(values, w, look)) == w
    both = graph.mirror_rows(values, values, w, h, look, 10.0, 10.0)
    assert len(both) == h
