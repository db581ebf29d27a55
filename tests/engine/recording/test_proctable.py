"""Which processes are recorded, and that their tables come back."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.engine.recording.proctable import (
    KEPT,
    MAX_ROWS,
    TOP,
    ProcessPicker,
    Table,
    apply_diff,
    decode_tables,
    diff_table,
    encode_tables,
)
from dctop.engine.recording.schema import Damaged
from dctop.probes.base import Process
from tests.fakes.frames import Stream, process

ROW = st.builds(
    process,
    st.integers(1, 6),
    start_ticks=st.integers(1, 2),
    cpu_ticks=st.integers(0, 3),
    rss_bytes=st.one_of(st.none(), st.integers(0, 2**45)),
    cmdline=st.one_of(st.none(), st.text(max_size=4)),
    gpu_sm_pct=st.one_of(st.none(), st.floats(allow_nan=False), st.just(0.0), st.just(-0.0)),
    uid=st.one_of(st.none(), st.integers(0, 9)),
)
TABLE = st.lists(ROW, max_size=6, unique_by=lambda p: p[:2]).map(lambda rows: tuple(sorted(rows, key=_key)))


def _key(p: Process) -> tuple[int, int]:
    return p.pid, p.start_ticks


def exact(table: Table) -> list[list[object]]:
    return [[struct.pack("<d", v).hex() if isinstance(v, float) else v for v in p] for p in table]


@settings(max_examples=200, deadline=None)
@given(st.lists(TABLE, max_size=8))
def test_tables_come_back(tables: list[Table]) -> None:
    assert [exact(t) for t in decode_tables(encode_tables(tables))] == [exact(t) for t in tables]


@settings(max_examples=200, deadline=None)
@given(TABLE, TABLE)
def test_a_table_follows_from_the_one_before_and_the_difference(old: Table, new: Table) -> None:
    before = {p[:2]: p for p in old}
    after = apply_diff(json.loads(diff_table(new, old)), before)
    assert exact(tuple(sorted(after.values(), key=_key))) == exact(new)


def test_an_unchanged_process_is_the_same_object_after_decoding() -> None:
    a, b = process(1), process(2)
    tables = decode_tables(encode_tables([(a, b), (a, b._replace(cpu_ticks=99)), (a,)]))
    assert tables[0][0] is tables[1][0] is tables[2][0]
    assert tables[0][1] is not tables[1][1]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        decode_tables(data + b"\xff")


def test_the_busiest_and_the_biggest_are_chosen() -> None:
    table = [process(i, rss_bytes=i << 20, cpu_ticks=0) for i in range(1, 500)]
    picker = ProcessPicker()
    picker.pick(table)
    busy = {3, 5, 7}
    table = [p._replace(cpu_ticks=50) if p.pid in busy else p for p in table]
    chosen = {p.pid for p in picker.pick(table)}
    assert busy <= chosen and set(range(470, 500)) <= chosen
    assert TOP <= len(chosen) <= KEPT


def test_a_process_that_grows_between_scans_is_noticed() -> None:
    table = [process(i, rss_bytes=i << 20, cpu_ticks=0) for i in range(1, 200)]
    picker = ProcessPicker()
    picker.pick(table)
    table[0] = table[0]._replace(rss_bytes=1 << 40)
    assert 1 in {p.pid for p in picker.pick(table)}


def test_runs_their_children_and_gpu_users_are_always_chosen() -> None:
    table = [process(i, rss_bytes=1 << 30) for i in range(1, 300)]
    table += [process(1000, rss_bytes=1, cpu_ticks=0), process(1001, ppid=1000, rss_bytes=1, cpu_ticks=0)]
    table += [process(1002, ppid=1001, rss_bytes=1, cpu_ticks=0)]
    table += [process(2000, rss_bytes=1, cpu_ticks=0, gpu_mem_bytes=1 << 30)]
    picker = ProcessPicker()
    for _ in range(15):
        chosen = {p.pid for p in picker.pick(table, frozenset((1000,)))}
        assert {1000, 1001, 1002, 2000} <= chosen


def test_the_number_of_rows_is_bounded_also_with_many_workers() -> None:
    table = [process(1)] + [process(i, ppid=1) for i in range(2, 900)]
    assert len(ProcessPicker().pick(table, frozenset((1,)))) == MAX_ROWS


def test_command_lines_are_masked_and_rows_stay_the_same_object() -> None:
    secret = "hun" + "ter2x"
    table = [process(1, cmdline=f"app --password {secret}"), process(2, cmdline=None)]
    picker = ProcessPicker()
    first = picker.pick(table)
    second = picker.pick(list(table))
    assert first[0].cmdline == "app --password ***" and first[1].cmdline is None
    assert first[0] is second[0]


def test_a_reused_pid_is_another_process() -> None:
    picker = ProcessPicker()
    picker.pick([process(1, name="old")])
    (row,) = picker.pick([process(1, start_ticks=99, name="new", cpu_ticks=0)])
    assert (row.name, row.start_ticks) == ("new", 99)


def test_one_goes_while_another_comes() -> None:
    picker = ProcessPicker()
    picker.pick([process(1), process(2), process(3)])
    for _ in range(3):
        assert [p.pid for p in picker.pick([process(1), process(3), process(4)])] == [1, 3, 4]
    assert [p.pid for p in picker.pick([process(2), process(3), process(4)])] == [2, 3, 4]


def test_what_is_gone_is_not_recorded_any_more() -> None:
    picker = ProcessPicker()
    picker.pick([process(1), process(2)])
    assert [p.pid for p in picker.pick([process(2)])] == [2]
    assert picker.pick([]) == ()


def test_every_picked_row_is_the_masked_current_row() -> None:
    picker = ProcessPicker()
    for frame in Stream(seed=3, processes=120).take(120):
        by_pid = {p.pid: p for p in frame.processes}
        for row in picker.pick(frame.processes):
            assert row == by_pid[row.pid]
