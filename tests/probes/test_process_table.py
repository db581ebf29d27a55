"""The process table on nodes made of files: identity, turns, crowds, hostile changes, names of users."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.probes import process as process_module
from dctop.probes.base import Process
from dctop.probes.process import TURNS, ProcessProbe
from dctop.probes.usernames import UserNames
from tests.fakes.processes import FakeProc, probe_of, rows

NOBODY = 65534
PAGE = os.sysconf("SC_PAGE_SIZE")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to become other users and to mount")


@pytest.fixture
def fake(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Monotonic time that stands still until it is moved."""
    now = [1_000_000_000_000]

    def forward(seconds: float) -> None:
        now[0] += int(seconds * 1e9)

    monkeypatch.setattr(process_module.time, "monotonic_ns", lambda: now[0])
    return forward


def test_unchanged_processes_are_the_very_same_objects(fake: FakeProc) -> None:
    for pid in (1, 2, 3):
        fake.put(pid, utime=5)
    probe = probe_of(fake)
    first, second = probe.read(), probe.read()
    assert second.processes is first.processes
    fake.put(2, utime=6)
    third = probe.read()
    a, b = rows(first), rows(third)
    assert a[1] is b[1] and a[3] is b[3]
    assert a[2].cpu_ticks == 5 and b[2].cpu_ticks == 6
    probe.close()


def test_what_does_not_show_in_a_row_makes_no_new_one(fake: FakeProc) -> None:
    fake.put(1)
    probe = probe_of(fake)
    first = rows(probe.read())[1]
    path = fake.root / "1" / "stat"
    path.write_bytes(path.read_bytes().replace(b" 120 0 ", b" 121 0 "))  # a minor fault
    assert rows(probe.read())[1] is first
    probe.close()


def test_a_reused_pid_is_another_process(fake: FakeProc) -> None:
    fake.put(5, comm="old", start=100, cmdline=b"old\0", threads=7)
    probe = probe_of(fake)
    assert rows(probe.read())[5].cmdline == "old"
    fake.put(5, comm="new", start=200, cmdline=b"new\0", cgroup=b"0::/slurm/job_7\n")
    sample = probe.read()
    row = rows(sample)[5]
    assert (row.start_ticks, row.name, row.cmdline, row.job) == (200, "new", "new", "slurm:7")
    assert sample.values["process.threads"] == 1
    probe.close()


def test_a_process_that_ends_between_listing_and_reading_is_just_not_there(
    fake: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in (1, 2, 3):
        fake.put(pid)
    probe = probe_of(fake)
    real = os.listdir
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", lambda p: [*real(p), "77", "stat", "self", "1e3", "²"])
        sample = probe.read()
    assert set(rows(sample)) == {1, 2, 3}
    assert sample.values["process.count"] == 3
    fake.end(2)
    assert set(rows(probe.read())) == {1, 3}
    probe.close()


def test_a_stat_file_that_turns_strange_takes_its_process_with_it_and_brings_it_back(fake: FakeProc) -> None:
    fake.put(1)
    fake.put(2)
    probe = probe_of(fake)
    probe.read()
    for content in (b"", b"2 (x", b"\xff" * 50, b"2 (x) S one two"):
        (fake.root / "2" / "stat").write_bytes(content)
        assert set(rows(probe.read())) == {1}
    fake.put(2)
    assert set(rows(probe.read())) == {1, 2}
    probe.close()


def test_the_gauges_count_states_and_threads(fake: FakeProc) -> None:
    for pid, state in enumerate("RRDDDZTtSSIX", 1):
        fake.put(pid, state=state, threads=pid)
    probe = probe_of(fake)
    want = {"count": 12, "running": 2, "blocked": 3, "zombies": 1, "stopped": 2, "threads": 78}
    assert probe.read().values == {f"process.{k}": v for k, v in want.items()}
    fake.put(1, state="D", threads=3)
    fake.end(6)
    want = {"count": 11, "running": 1, "blocked": 4, "zombies": 0, "stopped": 2, "threads": 74}
    assert probe.read().values == {f"process.{k}": v for k, v in want.items()}
    probe.close()


def test_placement_is_read_from_the_cgroup(fake: FakeProc) -> None:
    fake.put(1, cgroup=f"0::/system.slice/docker-{'ab' * 32}.scope\n".encode())
    fake.put(2, cgroup=None, cmdline=None)
    fake.put(3, cgroup=b"", cmdline=b"")
    probe = probe_of(fake)
    got = rows(probe.read())
    assert got[1].container == "ab" * 6
    for pid in (2, 3):
        assert (got[pid].cgroup, got[pid].container, got[pid].job, got[pid].cmdline) == (None,) * 4
    probe.close()


def test_command_lines_of_a_crowd_come_over_several_ticks(
    fake: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "INFO_BUDGET", 10)
    for pid in range(1, 36):
        fake.put(pid, utime=pid)
    probe = probe_of(fake)
    known = []
    for _ in range(4):
        got = rows(probe.read())
        assert len(got) == 35
        known.append({p for p, row in got.items() if row.cmdline})
    assert [len(k) for k in known] == [10, 20, 30, 35]
    assert known[0] == set(range(26, 36)), "the busiest first"
    probe.close()


def test_io_is_read_of_active_and_watched_processes_only(
    fake: FakeProc, clock: Callable[[float], None]
) -> None:
    text = b"rchar: 1\nread_bytes: 100\nwrite_bytes: 200\n"
    for pid in (1, 2, 3):
        fake.put(pid, io=text)
    probe = probe_of(fake)
    probe.watched = {3, 99}
    assert [p.read_bytes for p in rows(probe.read()).values()] == [None, None, 100]
    clock(1.0)
    fake.put(1, io=text, utime=9)
    assert [p.write_bytes for p in rows(probe.read()).values()] == [200, None, 200]
    clock(1.0)
    fake.put(1, io=text.replace(b"200", b"250"), utime=9)
    assert rows(probe.read())[1].write_bytes == 250, "its stat is unchanged, its I/O is not"
    clock(11.0)
    probe.read()
    assert rows(probe.read())[1].write_bytes is None
    probe.close()


def test_idle_processes_of_a_crowd_are_read_in_turns_and_active_ones_every_tick(
    fake: FakeProc, clock: Callable[[float], None]
) -> None:
    for pid in range(1, 41):
        fake.put(pid)
    probe = probe_of(fake, crowd=20)

    def tick() -> dict[int, Process]:
        clock(1.0)
        return rows(probe.read())

    for _ in range(3):
        tick()
    for pid in range(1, 41):
        fake.put(pid, utime=100)
    seen: list[set[int]] = []
    for _ in range(TURNS):
        got = tick()
        seen.append({p for p, row in got.items() if row.cpu_ticks == 100} - set().union(*seen))
    assert set().union(*seen) == set(range(1, 41)), "all of them within the turns"
    assert len(seen[0]) <= 40 // TURNS + 2, "those of the turn and what is looked at in rotation"
    late = got[next(iter(seen[-1]))]
    assert late.span_s is not None and late.span_s > 1.5, "its CPU time took longer than a tick"
    for pid in range(1, 41):
        fake.put(pid, utime=101)
    got = tick()
    assert all(row.cpu_ticks == 101 and row.span_s is None for row in got.values())
    probe.close()


def test_five_thousand_processes(fake: FakeProc, clock: Callable[[float], None]) -> None:
    for pid in range(1, 5001):
        fake.put(pid, utime=pid % 7)
    probe = probe_of(fake)
    for _ in range(30):
        clock(1.0)
        sample = probe.read()
    got = rows(sample)
    assert len(got) == 5000 and sample.values["process.count"] == 5000
    assert all(row.cmdline == "sleep 60" for row in got.values())
    calls = {"pread": 0}
    real = os.pread

    def count(fd: int, n: int, at: int) -> bytes:
        calls["pread"] += 1
        return real(fd, n, at)

    clock(1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pread", count)
        again = probe.read()
    assert calls["pread"] <= 5000 // TURNS + 10, "a quarter of them"
    assert again.processes is sample.processes
    for pid in range(1, 5001, 2):
        fake.end(pid)
    assert len(rows(probe.read())) == 2500
    probe.close()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.dictionaries(st.integers(1, 12), st.tuples(st.integers(0, 3), st.integers(1, 3))), max_size=6)
)
def test_whatever_comes_and_goes_the_table_is_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, history: list[dict[int, tuple[int, int]]]
) -> None:
    fake = FakeProc(tmp_path_factory.mktemp("p") / "proc")
    probe = probe_of(fake)
    there: dict[int, tuple[int, int]] = {}
    for now in history:
        for pid in there.keys() - now.keys():
            fake.end(pid)
        for pid, (used, threads) in now.items():
            fake.put(pid, utime=used, threads=threads)
        there = now
        sample = probe.read()
        got = rows(sample)
        assert {p: (r.cpu_ticks, r.threads) for p, r in got.items()} == now
        assert sample.values["process.threads"] == sum(t for _, t in now.values())
    probe.close()


# -- names of users ---------------------------------------------------------------------------------------


def test_a_user_database_that_does_not_answer_delays_no_reading(fake: FakeProc) -> None:
    answer = threading.Event()

    def lookup(uid: int) -> str | None:
        answer.wait()
        return f"user{uid}"

    names = UserNames(lookup, patience_s=0.01)
    fake.put(1)
    probe = ProcessProbe(fake.root, users=names)
    row = rows(probe.read())[1]
    assert (row.uid, row.user) == (os.getuid(), None)
    assert rows(probe.read())[1] is row
    pending = names._asked[os.getuid()]
    answer.set()
    assert pending.wait(30)
    assert rows(probe.read())[1].user == f"user{os.getuid()}"
    probe.close()


def test_a_uid_without_a_name_has_none_and_a_failing_lookup_is_no_failure() -> None:
    def lookup(uid: int) -> str | None:
        if uid == 1:
            raise RuntimeError
        return None

    names = UserNames(lookup, patience_s=30)
    assert names.get(1) == (True, None)
    assert names.get(2) == (True, None)
    names.close()


def test_a_reading_takes_no_real_time_over_unknown_names() -> None:
    names = UserNames(lambda uid: time.sleep(0) or str(uid), patience_s=5)
    assert names.get(12)[1] == "12"
    names.renew()
    names.close()


def test_the_thread_that_looks_names_up_ends_when_all_are_known_and_comes_again() -> None:
    by: list[threading.Thread] = []

    def lookup(uid: int) -> str | None:
        by.append(threading.current_thread())
        return str(uid)

    names = UserNames(lookup, patience_s=30)
    for uid in (1, 2):
        assert names.get(uid) == (True, str(uid))
        assert by[-1].daemon
        by[-1].join(30)
        assert not by[-1].is_alive()
    names.close()


def test_names_asked_for_while_one_lookup_hangs_come_after_it_from_the_same_thread() -> None:
    go = threading.Event()
    by: list[threading.Thread] = []

    def lookup(uid: int) -> str | None:
        by.append(threading.current_thread())
        go.wait()
        return str(uid)

    names = UserNames(lookup, patience_s=0.01)
    assert [names.get(uid) for uid in (1, 2, 3)] == [(False, None)] * 3
    go.set()
    by[0].join(30)
    assert [names.get(uid) for uid in (1, 2, 3)] == [(True, "1"), (True, "2"), (True, "3")]
    assert len(set(by)) == 1
    names.close()


def test_arguments_that_are_not_there_yet_are_asked_for_once_more(fake: FakeProc) -> None:
    fake.put(1, cmdline=b"")
    fake.put(2, cmdline=b"")
    probe = probe_of(fake)
    assert rows(probe.read())[1].cmdline is None
    fake.put(1, cmdline=b"now there\0")
    assert rows(probe.read())[1].cmdline == "now there"
    assert not probe._waiting, "who has none is not asked for ever"
    probe.close()
