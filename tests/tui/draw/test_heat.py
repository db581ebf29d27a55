from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dctop.tui.draw.heat import grid, per_row, strip
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S, row_width

UNI, ASC = Look(), Look(unicode=False)


def test_one_cell_a_core_with_the_colour_of_its_state() -> None:
    assert strip([0, 50, 75, 100, None], UNI) == (
        ("▁▅", S.GRAPH),
        ("▇", S.GRAPH_WARN),
        ("█", S.GRAPH_CRIT),
        ("?", S.FAINT),
    )
    assert "".join(t for t, _ in strip([0, 50, 75, 100, None], ASC)) == "0579?"


def test_rows_hold_powers_of_two() -> None:
    assert per_row(128, 40) == 32
    assert per_row(20, 40) == 20
    assert len(grid([1.0] * 128, 40, 10, UNI)) == 4


def test_too_many_cores_share_cells_and_the_busiest_stays_visible() -> None:
    values = [0.0] * 1000
    values[777] = 100.0
    rows = grid(values, 20, 2, ASC)
    assert len(rows) <= 2
    assert any("9" in t for row in rows for t, _ in row)


@given(
    st.lists(st.one_of(st.none(), st.floats(), st.floats(0, 100)), max_size=600),
    st.integers(0, 80),
    st.integers(0, 10),
    st.booleans(),
)
def test_a_grid_stays_in_its_room(values: list[float | None], w: int, h: int, unicode: bool) -> None:
    rows = grid(values, w, h, Look(unicode=unicode))
    assert len(rows) <= h
    assert all(row_width(r) == w for r in rows)
