"""The files of one process: strange names, strange numbers, never an exception."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from dctop.probes.procparse import (
    is_thread,
    join_args,
    kib,
    parse_fields,
    parse_io,
    parse_nofile,
    parse_stat,
    whole,
)
from tests.fakes.processes import stat_line

comms = st.binary(min_size=1, max_size=64).filter(lambda b: b"\0" not in b)
STRANGE = (b"a b", b") S 1", b") (", b"x\ny", b"\xff\xfe", b"((", b"))", b" ", b"(sd-pam)", b") R 9 9 9")


@given(comms | st.sampled_from(STRANGE), st.integers(1, 2**22), st.integers(0, 2**22))
def test_any_name_leaves_the_fields_behind_it_right(comm: bytes, pid: int, ppid: int) -> None:
    stat = parse_stat(stat_line(pid, comm, ppid=ppid, utime=3, stime=4, nice=-5, threads=9, start=77, rss=5))
    assert stat is not None
    assert (stat.pid, stat.comm, stat.state, stat.ppid) == (pid, comm, "S", ppid)
    assert (stat.cpu_ticks, stat.nice, stat.threads, stat.start_ticks, stat.rss_pages) == (7, -5, 9, 77, 5)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_stat_line_or_none(data: bytes) -> None:
    check(data)


@given(comms, st.integers(0, 300), st.binary(max_size=8))
def test_a_stat_line_cut_or_overwritten_anywhere_is_whole_numbers_or_none(
    comm: bytes, at: int, noise: bytes
) -> None:
    line = stat_line(7, comm)
    check(line[:at])
    check(line[:at] + noise + line[at + len(noise) :])


def check(data: bytes) -> None:
    stat = parse_stat(data)
    assert isinstance(is_thread(data), bool)
    if stat is not None:
        for value in stat:
            assert type(value) in (int, bytes, str)
        assert stat.rss_pages >= 0 and stat.cpu_ticks >= 0 and stat.threads >= 0


def test_a_negative_number_of_resident_pages_is_none_resident() -> None:
    stat = parse_stat(stat_line(7, rss=-3))
    assert stat is not None and stat.rss_pages == 0


def test_the_own_stat_line_reads_as_the_kernel_says() -> None:
    with open("/proc/self/stat", "rb") as f:
        data = f.read()
    stat = parse_stat(data)
    assert stat is not None
    assert (stat.pid, stat.ppid, stat.nice) == (os.getpid(), os.getppid(), os.nice(0))
    assert stat.start_stack > 0
    assert not is_thread(data)


def test_a_thread_is_told_from_a_process() -> None:
    assert is_thread(stat_line(7, exit_signal=-1))
    assert not is_thread(stat_line(7, exit_signal=0))


def test_arguments_are_joined_and_made_printable() -> None:
    assert join_args(b"python\0-c\0import os\n\tprint()\0") == "python -c import os  print()"
    assert join_args(b"nginx: worker process\0\0\0\0") == "nginx: worker process"
    assert join_args(b"\0\0") is None and join_args(b"") is None
    assert join_args(b"a\xff\x1b[2J\0") == "a��[2J"
    assert join_args(b"x" * 9000, 100) == "x" * 100


@given(st.binary(max_size=300))
def test_any_arguments_are_one_printable_line(data: bytes) -> None:
    text = join_args(data)
    assert text is None or (text and text.isprintable())


def test_io_counts_storage_not_the_page_cache() -> None:
    text = b"rchar: 9\nwchar: 8\nsyscr: 7\nsyscw: 6\nread_bytes: 4096\nwrite_bytes: 12288\n"
    text += b"cancelled_write_bytes: 5\n"
    assert parse_io(text) == (4096, 12288)
    assert parse_io(text[:38]) == (None, None)


@given(st.binary(max_size=200))
def test_io_limits_and_fields_of_any_bytes(data: bytes) -> None:
    for text in (data, b"\nread_bytes: " + data, b"\nwrite_bytes: " + data):
        assert all(v is None or (type(v) is int and v >= 0) for v in parse_io(text))
    for text in (data, b"Max open files " + data):
        assert all(v is None or type(v) is int for v in parse_nofile(text))
    fields = parse_fields(b"VmPeak:" + data)
    assert all(k.isprintable() and v.isprintable() for k, v in fields.items())
    assert kib(fields, "VmPeak") is None or type(kib(fields, "VmPeak")) is int
    assert whole(fields, "VmPeak") is None or type(whole(fields, "VmPeak")) is int


def test_limits_of_open_files() -> None:
    text = b"Limit  Soft Limit Hard Limit Units\nMax open files      1024          unlimited   files\n"
    assert parse_nofile(text) == (1024, None)
