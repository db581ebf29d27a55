"""Columns come back exactly: type, sign, bits, None and absence."""

from __future__ import annotations

import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.engine.recording import codec
from dctop.engine.recording.codec import ABSENT, Cell, decode_table, encode_table
from dctop.engine.recording.schema import Damaged, seal, unseal

CELL = st.one_of(
    st.none(), st.just(ABSENT), st.integers(), st.floats(), st.text(), st.integers(-9, 9).map(float)
)
COLUMN = st.one_of(
    st.lists(CELL, max_size=9),
    st.lists(st.integers(-(2**63), 2**64)),
    st.lists(st.integers(0, 60)),
    st.lists(st.floats()),
    st.lists(st.integers(-(10**6), 10**6).map(lambda k: k / 1000)),
    st.lists(st.one_of(st.none(), st.just(ABSENT), st.integers(0, 9))),
    st.lists(st.one_of(st.none(), st.floats(allow_nan=False))),
    st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "\ud800 lone", "\0"]))),
)


def same(a: Cell, b: Cell) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    return a == b


@settings(max_examples=400, deadline=None)
@given(st.lists(COLUMN, max_size=6))
def test_a_table_comes_back_bit_for_bit(columns: list[list[Cell]]) -> None:
    out = decode_table(encode_table(columns))
    assert [len(c) for c in out] == [len(c) for c in columns]
    for a, b in zip(columns, out):
        assert all(map(same, a, b)), (a, b)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1)))
def test_lanes_come_back(lanes: list[int]) -> None:
    packed = codec.pack_lanes(lanes)
    assert codec.take_lanes(b"x" + packed, 1, len(lanes)) == (lanes, 1 + len(packed))


@given(st.lists(st.integers(-(2**62), 2**62)))
def test_zigzag_inverts(values: list[int]) -> None:
    assert codec.unzigzag(codec.zigzag(values)) == values


def test_what_hardly_changes_takes_hardly_anything() -> None:
    steady: list[list[Cell]] = [[7] * 60, ["text"] * 60, [None] * 60, [0.25] * 60]
    counter: list[list[Cell]] = [[10**12 + 100 * i for i in range(60)] for _ in range(20)]
    packed = zlib.compress(encode_table(steady * 50 + counter), 4)
    assert len(packed) < 1500


def test_decimals_are_kept_as_integers() -> None:
    column: list[Cell] = [round(0.01 * random.Random(i).randrange(900), 2) for i in range(60)]
    assert len(encode_table([column])) < 60 * 2 + 60


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_damaged_never_a_crash(data: bytes) -> None:
    try:
        decode_table(data)
    except Damaged:
        pass


@settings(max_examples=200, deadline=None)
@given(st.lists(COLUMN, min_size=1, max_size=4), st.data())
def test_a_table_cut_short_is_damaged_or_refused(columns: list[list[Cell]], data: st.DataObject) -> None:
    raw = encode_table(columns)
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    with pytest.raises(Damaged):
        decode_table(cut)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(), max_size=4), st.sampled_from([0, 1, 4, 6]), st.data())
def test_a_seal_notices_any_changed_byte_or_key(
    payload: bytes, keys: list[int], level: int, data: st.DataObject
) -> None:
    blob = seal(payload, keys, level)
    assert unseal(blob, keys) == payload
    at = data.draw(st.integers(0, len(blob) - 1))
    bad = bytearray(blob)
    bad[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        unseal(bytes(bad), keys)
    with pytest.raises(Damaged):
        unseal(blob, [*keys, 1])


def test_a_damaged_count_does_not_take_all_memory() -> None:
    with pytest.raises(Damaged, match="planes do not fit"):
        codec.join_planes(bytes(11), 10, 4_060_086_272)
    whole = encode_table([[7] * 60])
    size = whole.index((60).to_bytes(4, "little"))
    with pytest.raises(Damaged, match="cut short"):
        decode_table(whole[:size] + (0xF0000000).to_bytes(4, "little") + whole[size + 4 :])


@pytest.mark.parametrize("nothing", [None, ABSENT])
def test_a_column_without_any_value_takes_no_room_a_row(nothing: Cell) -> None:
    few, many = (encode_table([[nothing] * n]) for n in (2, 2000))
    assert len(many) == len(few)
    assert decode_table(many) == [[nothing] * 2000]
