"""Single frames as differences: exact, and a lost row costs only what hangs on it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.engine.recording.codec import Cell
from dctop.engine.recording.schema import Damaged
from dctop.engine.recording.tailrow import KEY_EVERY, TailCoder, TailDecoder
from tests.engine.recording.test_codec import same
from tests.fakes.frames import process

CELL = st.one_of(st.none(), st.integers(), st.integers(-99, 99), st.floats(), st.text(max_size=5))
ROWS = st.integers(0, 6).flatmap(
    lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), min_size=1, max_size=6)
)


@settings(max_examples=300, deadline=None)
@given(ROWS, st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_rows_come_back_whatever_their_types_do(rows: list[list[Cell]], sets: list[int]) -> None:
    coder, decoder = TailCoder(), TailDecoder()
    for row, set_id in zip(rows, sets):
        _, payload = coder.encode(set_id, row, None)
        cells, _ = decoder.feed(payload)
        assert len(cells) == len(row) and all(map(same, cells, row))


def test_only_the_first_of_like_rows_is_complete_and_another_follows_in_time() -> None:
    coder = TailCoder()
    kinds = [coder.encode(1, [i, 0.5 * i, "x"], None)[0] for i in range(KEY_EVERY * 2)]
    assert kinds == [i % KEY_EVERY == 0 for i in range(KEY_EVERY * 2)]


def test_after_a_missing_row_nothing_decodes_until_a_complete_one() -> None:
    coder = TailCoder()
    payloads = [coder.encode(1, [i], None)[1] for i in range(3)]
    decoder = TailDecoder()
    with pytest.raises(Damaged):
        decoder.feed(payloads[1])
    assert decoder.feed(payloads[0])[0] == [0]
    with pytest.raises(Damaged):
        decoder.feed(b"\x00rubbish")
    with pytest.raises(Damaged):
        decoder.feed(payloads[2])


def test_a_process_table_is_carried_along() -> None:
    coder, decoder = TailCoder(), TailDecoder()
    a, b = process(1), process(2)
    seen = []
    for table in ((a, b), (a, b), (a._replace(cpu_ticks=77), b), (b,), None, (a,)):
        seen.append(decoder.feed(coder.encode(1, [0], table)[1])[1])
    assert seen == [(a, b), (a, b), (a._replace(cpu_ticks=77), b), (b,), None, (a,)]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_damaged(data: bytes) -> None:
    try:
        TailDecoder().feed(data)
    except Damaged:
        pass
