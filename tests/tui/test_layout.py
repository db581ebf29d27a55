"""Where panes go: every cell belongs to exactly one, at any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.tui.views import alerts, runs
from dctop.tui.views.dashboard import PANE_KEYS, layout
from dctop.tui.views.place import Box, Leaf, Split, fit_tree, keys_of, shares, size_class

SIZES = st.integers(0, 300)


def covered_once(boxes: dict[str, Box], body: Box) -> None:
    assert all(b.w > 0 and b.h > 0 for b in boxes.values())
    assert sum(b.w * b.h for b in boxes.values()) == body.w * body.h
    listed = list(boxes.values())
    for i, a in enumerate(listed):
        assert body.x <= a.x and a.x + a.w <= body.x + body.w
        assert body.y <= a.y and a.y + a.h <= body.y + body.h
        for b in listed[i + 1 :]:
            apart = a.x + a.w <= b.x or b.x + b.w <= a.x or a.y + a.h <= b.y or b.y + b.h <= a.y
            assert apart


@given(
    SIZES, SIZES, st.integers(0, 64), st.sets(st.sampled_from(PANE_KEYS)), st.sets(st.sampled_from(PANE_KEYS))
)
def test_the_dashboard_fills_its_body_whatever_is_shown(
    w: int, h: int, gpus: int, shown: set[str], wanted: set[str]
) -> None:
    body = Box(0, 1, w, h)
    boxes = layout(body, shown, gpus, wanted & shown)
    assert set(boxes) <= shown
    if w and h and shown:
        covered_once(boxes, body)
        assert boxes


@pytest.mark.parametrize("ribbon", [0, 1])
@pytest.mark.parametrize("gpus", [0, 1, 4, 8, 16])
def test_80x24_shows_all_resources_at_once(gpus: int, ribbon: int) -> None:
    boxes = layout(Box(0, 1, 80, 22 - ribbon), PANE_KEYS, gpus)
    assert set(PANE_KEYS) - set(boxes) == {"alerts"}
    assert boxes["processes"].h >= 5
    assert boxes["gpu"].h >= (5 if gpus >= 4 else 3)


@pytest.mark.parametrize(("w", "h"), [(120, 40), (160, 50), (200, 60), (400, 120)])
def test_larger_screens_show_every_pane(w: int, h: int) -> None:
    boxes = layout(Box(0, 1, w, h - 2), PANE_KEYS, 8)
    assert set(boxes) == set(PANE_KEYS)
    assert boxes["gpu"].h >= 10  # eight GPUs, a row each
    assert all(b.h >= 5 and b.w >= 30 for b in boxes.values())


@pytest.mark.parametrize(("w", "h", "most"), [(40, 30, 8), (59, 11, 3), (20, 3, 1)])
def test_small_screens_keep_the_most_important_panes(w: int, h: int, most: int) -> None:
    boxes = layout(Box(0, 0, w, h), PANE_KEYS, 0)
    assert 1 <= len(boxes) <= most
    assert all(b.h >= 3 for b in boxes.values())
    assert "gpu" in boxes


def test_size_classes_are_those_of_the_mock_ups() -> None:
    assert [size_class(*s) for s in ((80, 24), (120, 40), (160, 50), (200, 60))] == ["s", "m", "l", "l"]
    assert size_class(200, 24) == "s"


@given(
    st.integers(0, 200),
    st.lists(st.tuples(st.floats(0.1, 5), st.integers(0, 9), st.integers(0, 20)), min_size=1),
)
def test_shares_sum_to_the_whole_and_keep_the_minima_if_they_can(
    total: int, specs: list[tuple[float, int, int]]
) -> None:
    parts = [Leaf(str(i), weight, least, most) for i, (weight, least, most) in enumerate(specs)]
    least = [p.least for p in parts]
    sizes = shares(total, parts, least)
    assert sum(sizes) == total
    assert all(s >= 0 for s in sizes)
    if sum(least) <= total:
        assert all(s >= m for s, m in zip(sizes, least, strict=True))


@given(SIZES, SIZES)
def test_alerts_and_runs_views_fill_their_body(w: int, h: int) -> None:
    body = Box(0, 1, w, h)
    if w and h:
        covered_once(alerts.layout(body), body)
        covered_once(runs.layout(body, ["run", "run-lr", "run-grad"]), body)


def test_panes_that_do_not_fit_go_by_priority() -> None:
    node = Split("column", (Leaf("a", least=5), Leaf("b", least=5), Leaf("c", least=5)))
    fitted = fit_tree(node, ["c", "a", "b"], 40, 11)
    assert fitted is not None
    assert keys_of(fitted) == ["a", "c"]
