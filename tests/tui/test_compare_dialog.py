"""The table of what differs between two moments."""

from __future__ import annotations

import pytest

from dctop.engine.recording.compare import Change, Difference, ProcessChange
from dctop.probes.base import Value
from dctop.tui.dialogs.compare import MOST, compare_dialog, difference, rows, value
from dctop.tui.draw.rows import row_width

S = 10**9


@pytest.mark.parametrize(
    ("unit", "before", "after", "text"),
    [
        ("%", 20.0, 70.0, "+50 pt"), ("bytes", 100, 250, "x2.5"), ("bytes", 100, 80, "-20%"),
        ("bytes", 0, 64 << 20, "+64.0M"), ("", None, 3, "new"), ("", 3, None, "gone"),
        ("", "a", "b", "other"), ("W", -1.0, 2.0, "+3 W"),
    ],
)  # fmt: skip
def test_a_difference_is_told_as_its_unit_asks(unit: str, before: Value, after: Value, text: str) -> None:
    assert difference(Change("x", unit, before, after, 0.5)) == text


def test_values_are_short_and_in_their_unit() -> None:
    assert value(1 << 30, "bytes") == "1.00G" and value(None, "%") == "-"
    assert value(1234.5, "W") == "1,234 W" and value("hostile\x1b[2J", "") != "hostile\x1b[2J"


@pytest.mark.parametrize("w", [60, 110])
def test_no_row_is_wider_than_the_box(w: int) -> None:
    metrics = [Change(f"some.metric_{i}{{label=long long name}}", "%", 1.0, 90.0, 0.9) for i in range(100)]
    processes = [
        ProcessChange(i, "name" * 9, what, (1.0, None), (None, 1 << 30), 1.0)
        for i, what in enumerate(("new", "gone", "changed"))
    ]  # fmt: skip
    made = rows(Difference(5 * S, 9 * S, metrics, processes, 7), w)
    assert all(row_width(row) <= w for row in made)
    text = "\n".join("".join(t for t, _ in row) for row in made)
    assert f"{100 - MOST} more changed, 7 as they were" in text and "gone 1 name" in text


def test_nothing_that_changed_is_said() -> None:
    text = "\n".join("".join(t for t, _ in row) for row in rows(Difference(5 * S, 9 * S, [], [], 7), 80))
    assert "none changed by 2 % or more" in text and "none came, went or changed" in text


def test_the_time_between_is_that_between_the_clocks_shown() -> None:
    dialog = compare_dialog(Difference(5 * S + 900_000_000, 35 * S + 800_000_000, [], [], 7))
    assert dialog.title.endswith("(30s later)")
