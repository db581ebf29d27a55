"""What a chunk's columns hold is what its frames held, whatever comes, goes and changes its type."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from itertools import chain

from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.engine.recording.codec import ABSENT, Cell
from dctop.engine.recording.flatten import CONTROL, Cells, new_key
from dctop.engine.recording.openchunk import Kept, SetKey, streams
from dctop.engine.recording.proctable import Table
from dctop.engine.recording.tailrow import TailCoder
from tests.engine.recording.test_codec import same
from tests.fakes.frames import process

PROBES = ("cpu", "disk", "process")
CELL = st.one_of(st.none(), st.integers(), st.integers(-99, 99), st.floats(), st.text(max_size=3))
READING = st.dictionaries(st.sampled_from("abcd"), CELL, min_size=1, max_size=4)
"""It has its time at least."""
FRAME = st.dictionaries(st.sampled_from(PROBES), st.tuples(READING, st.booleans()), max_size=3)
"""Probe -> its reading, and whether the one of the frame before stands instead, if there is one."""


def packed(frames: Sequence[dict[str, Cells]], tables: Sequence[Table | None]) -> list[Kept]:
    """As a store keeps them."""
    coder, before, out = TailCoder(), dict[str, Cells](), list[Kept]()
    known: SetKey = ()
    for i, (readings, table) in enumerate(zip(frames, tables)):
        control: Cells = {"@seq": i}
        for probe, cells in readings.items():
            control[new_key(probe)] = 0 if before.get(probe) is cells else 1
        rows = {CONTROL: control, **readings}
        layout = tuple((stream, tuple(cells)) for stream, cells in rows.items())
        known = known if known == layout else layout
        coder.encode(hash(layout), list(chain(*(c.values() for c in rows.values()))), table)
        out.append(Kept(i, i, i, known, coder.row, table, None))
        before = readings
    return out


def expected(frames: Sequence[dict[str, Cells]]) -> dict[str, list[Cells]]:
    """Stream -> its rows: each new reading once."""
    rows: dict[str, list[Cells]] = {}
    before: dict[str, Cells] = {}
    for readings in frames:
        for probe, cells in readings.items():
            if before.get(probe) is not cells:
                rows.setdefault(probe, []).append(cells)
        before = readings
    return rows


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAME, min_size=1, max_size=8), st.integers(0, 7))
def test_columns_hold_each_new_reading_once(drawn: list[dict[str, tuple[Cells, bool]]], cut: int) -> None:
    frames: list[dict[str, Cells]] = []
    for some in drawn:
        last = frames[-1] if frames else {}
        frames.append({p: last.get(p, own) if carried else own for p, (own, carried) in some.items()})
    tables: list[Table | None] = [None] * len(frames)
    kept, cut = packed(frames, tables), min(cut, len(frames) - 1)
    found, _ = streams(kept[cut:])
    control = found.pop(CONTROL)
    assert list(control["@seq"]) == list(range(cut, len(frames)))
    # The chunk's first frame brings along what it goes on with.
    want = expected(frames[cut:])
    assert set(found) == set(want)
    for probe, rows in want.items():
        names = dict.fromkeys(chain(*rows))
        assert list(found[probe]) == list(names)
        for name in names:
            column = [row.get(name, ABSENT) for row in rows]
            assert len(found[probe][name]) == len(column)
            assert all(map(same, found[probe][name], column))


def test_a_table_goes_with_each_reading_that_has_one() -> None:
    def reading(has: int) -> Cells:
        return {"@mono": 1, "@procs": has}

    a, b = (process(1),), (process(2),)
    first, second, without = reading(1), reading(1), reading(0)
    frames = [{"process": r} for r in (first, first, second, without, without)]
    kept = packed(frames, [a, a, b, None, None])
    assert streams(kept)[1] == [a, b]
    assert streams(kept[1:])[1] == [a, b]
    assert streams(kept[3:])[1] == []


def test_a_frame_of_numbers_is_kept_in_little_more_than_their_bytes() -> None:
    def frame(i: int) -> dict[str, Cells]:
        return {"cpu": {f"n{k}": i + k / 3 for k in range(300)}}

    tracemalloc.start()
    try:
        packed([frame(0)], [None])
        before, _ = tracemalloc.get_traced_memory()
        kept = packed([frame(i) for i in range(60)], [None] * 60)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == 60
    cells: list[Cell] = list(streams(kept)[0]["cpu"]["n7"])
    assert cells == [i + 7 / 3 for i in range(60)]
    assert after - before < 60 * 300 * 8 * 2.5
