from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import width
from dctop.tui.draw.table import Column, header, layout

COLS = (
    Column("pid", "PID", 7),
    Column("user", "USER", 8, "<", 2),
    Column("cpu", "CPU%", 5),
    Column("thr", "THR", 4, ">", 5),
    Column("cmd", "COMMAND", 10, "<", 0, flex=True),
)


def test_columns_give_way_by_priority() -> None:
    assert layout(COLS, 60).ids == ("pid", "user", "cpu", "thr", "cmd")
    assert layout(COLS, 37).ids == ("pid", "user", "cpu", "cmd")
    assert layout(COLS, 30).ids == ("pid", "cpu", "cmd")
    assert layout(COLS, 5).ids == ("pid", "cpu", "cmd")


def test_the_flexible_column_takes_the_rest() -> None:
    table = layout(COLS, 60)
    assert table.widths[-1] == 60 - 7 - 8 - 5 - 4 - 4
    assert table.column_at(0) == "pid" and table.column_at(7) is None and table.column_at(59) == "cmd"


def test_header_marks_the_sorted_column() -> None:
    table = layout(COLS, 40)
    assert header(table, "cpu", False, Look()).split() == ["PID", "USER", "CPU%▾", "THR", "COMMAND"]
    assert "CPU%^" in header(table, "cpu", True, Look(unicode=False))


@given(st.lists(st.text(max_size=20), min_size=5, max_size=5), st.integers(0, 80))
def test_lines_are_exact_for_any_text(cells: list[str], w: int) -> None:
    from dctop.tui.draw.text import clean

    table = layout(COLS, w)
    assert width(table.line([clean(c) for c in cells][: len(table.ids)])) == w
    assert width(header(table, "cpu", False, Look())) == w
