from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dctop.probes.base import Process
from dctop.tui.draw.glyphs import ASCII, UNICODE
from dctop.tui.panes.process_tree import MAX_DEPTH, Forest
from tests.fakes.screen import make_process


def family(*pairs: tuple[int, int]) -> list[Process]:
    return [make_process(pid, ppid=ppid) for pid, ppid in pairs]


def drawn(forest: Forest) -> list[str]:
    return [forest.prefix(i, UNICODE) + str(p.pid) for i, p in enumerate(forest.order)]


def test_children_follow_their_parent_in_the_given_order() -> None:
    assert drawn(Forest(family((4, 1), (1, 0), (9, 4), (2, 1), (8, 4)))) == [
        "1", "├─ 4", "│ ├─ 9", "│ └─ 8", "└─ 2",
    ]  # fmt: skip


def test_ascii_lines() -> None:
    forest = Forest(family((1, 0), (2, 1), (3, 1)))
    assert [forest.prefix(i, ASCII) for i in range(3)] == ["", "|- ", "`- "]


def test_folded_processes_say_how_many_they_hide() -> None:
    forest = Forest(family((1, 0), (2, 1), (3, 2), (4, 3), (5, 1)), {(2, 1002)})
    assert [p.pid for p in forest.order] == [1, 2, 5]
    assert forest.hidden == {2: 2}
    assert drawn(forest)[1] == "├─▸ 2"


def test_loops_and_own_parents_are_cut() -> None:
    assert sorted(p.pid for p in Forest(family((1, 2), (2, 1), (3, 3))).order) == [1, 2, 3]


def test_a_deep_chain_keeps_a_bounded_prefix() -> None:
    forest = Forest(family(*((i + 1, i) for i in range(5000))))
    assert len(forest.order) == 5000
    assert len(forest.prefix(4999, UNICODE)) <= 2 * MAX_DEPTH + 1


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40))
def test_everyone_appears_once(pairs: list[tuple[int, int]]) -> None:
    table = family(*dict(pairs).items())
    forest = Forest(table)
    assert sorted(p.pid for p in forest.order) == sorted(p.pid for p in table)
    for i in range(len(forest.order)):
        forest.prefix(i, UNICODE)
