"""All processes: identity, turns, ends, owners, descriptors; on this node and on nodes made of files."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.probes import process as process_module
from dctop.probes.base import Process, Sample
from dctop.probes.process import TURNS, ProcessProbe
from dctop.probes.procfds import RESERVE
from dctop.probes.procparse import parse_stat
from dctop.probes.usernames import UserNames
from tests.fakes.nodes import check_declared
from tests.fakes.processes import FakeProc, in_child

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


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.kill()
        child.wait()


def descriptors() -> list[str]:
    """What this process has open."""
    links = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(path.readlink()))
    return links


def rows(sample: Sample) -> dict[int, Process]:
    assert sample.processes is not None
    by_pid = {p.pid: p for p in sample.processes}
    assert len(by_pid) == len(sample.processes), "a pid is there once"
    return by_pid


def users(names: dict[int, str] | None = None) -> UserNames:
    return UserNames((names or {0: "root"}).get)


def probe_of(fake: FakeProc, **options: int) -> ProcessProbe:
    return ProcessProbe(fake.root, users=users(), **options)


# -- this node --------------------------------------------------------------------------------------------


def test_the_own_process_reads_as_psutil_says() -> None:
    probe = ProcessProbe()
    sample = probe.read()
    mine, peer = rows(sample)[os.getpid()], psutil.Process()
    assert mine.ppid == peer.ppid()
    assert (mine.name, mine.nice, mine.threads) == (peer.name(), peer.nice(), peer.num_threads())
    assert (mine.uid, mine.user) == (peer.uids().effective, peer.username())
    assert mine.cmdline == " ".join(" ".join(peer.cmdline()).replace("\n", " ").split("\t"))[:4096].rstrip()
    assert mine.rss_bytes == pytest.approx(peer.memory_info().rss, rel=0.2)
    times = peer.cpu_times()
    tick = os.sysconf("SC_CLK_TCK")
    assert mine.cpu_ticks / tick == pytest.approx(times.user + times.system, abs=1.0)
    assert mine.start_ticks / tick == pytest.approx(peer.create_time() - psutil.boot_time(), abs=1.5)
    check_declared(sample, full=True)
    probe.close()


def test_pids_are_those_that_psutil_lists() -> None:
    probe = ProcessProbe()
    before = set(psutil.pids())
    got = set(rows(probe.read()))
    after = set(psutil.pids())
    assert before & after <= got <= before | after
    probe.close()


def test_a_new_process_is_found_without_listing_and_a_thread_is_not_taken_for_one(
    children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = ProcessProbe()
    probe.read()
    monkeypatch.setattr(probe._pids, "_list", lambda now: pytest.fail("listed"))
    hold = threading.Event()
    thread = threading.Thread(target=hold.wait)
    thread.start()
    try:
        children.append(subprocess.Popen(["sleep", "60"]))
        got = rows(probe.read())
        assert got[children[0].pid].ppid == os.getpid()
        assert thread.native_id not in got
        assert got[os.getpid()].threads == threading.active_count()
    finally:
        hold.set()
        thread.join()
        probe.close()


def test_every_process_that_begins_between_two_readings_is_found(
    children: list[subprocess.Popen[bytes]],
) -> None:
    probe = ProcessProbe()
    probe.read()
    for _ in range(4):
        children += [subprocess.Popen(["sleep", "60"]) for _ in range(10)]
        got = rows(probe.read())
        assert {c.pid for c in children} <= got.keys()
    probe.close()


def test_a_process_that_ended_is_gone_and_so_are_its_descriptors(
    children: list[subprocess.Popen[bytes]],
) -> None:
    children.append(subprocess.Popen(["sleep", "60"]))
    pid = children[0].pid
    probe = ProcessProbe()
    first = probe.read()
    assert pid in rows(first)
    assert any(link.startswith(f"/proc/{pid}/") for link in descriptors())
    children[0].kill()
    children[0].wait()
    assert pid not in rows(probe.read())
    assert not any(link.startswith(f"/proc/{pid}/") for link in descriptors())
    assert pid in rows(first), "an earlier sample is not altered"
    probe.close()


def test_close_gives_all_descriptors_back() -> None:
    held = len(descriptors())
    probe = ProcessProbe()
    for _ in range(4):
        probe.read()
    assert len(descriptors()) > held
    probe.close()
    assert len(descriptors()) == held


def test_zombies_and_stopped_processes_are_counted(children: list[subprocess.Popen[bytes]]) -> None:
    stopped = subprocess.Popen(["sleep", "60"])
    children.append(stopped)
    probe = ProcessProbe()
    before = probe.read().values
    zombie = os.fork()
    if zombie == 0:
        os._exit(0)
    os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
    stopped.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
    sample = probe.read()
    got = rows(sample)
    assert got[zombie].state == "Z" and got[zombie].cmdline is None
    assert got[stopped.pid].state == "T"
    for what in ("process.zombies", "process.stopped"):
        states = "Z" if what == "process.zombies" else "Tt"
        assert sample.values[what] == sum(1 for p in got.values() if p.state in states)
        assert int(sample.values[what] or 0) > int(before[what] or 0) - 1
    os.waitpid(zombie, 0)
    assert zombie not in rows(probe.read())
    probe.close()


def test_an_idle_process_that_runs_again_is_seen_at_once(
    children: list[subprocess.Popen[bytes]], clock: Callable[[float], None]
) -> None:
    code = "import sys\nfor _ in sys.stdin:\n  sum(range(3_000_000)); print(flush=True)"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    children.append(child)
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(b"\n")
    child.stdin.flush()
    child.stdout.readline()
    probe = ProcessProbe(crowd=100_000)
    for _ in range(5):
        row = rows(probe.read())[child.pid]
        clock(11.0)  # so that it counts as idle
    assert rows(probe.read())[child.pid] is row, "it has done nothing"
    assert probe._table[str(child.pid)].fd < 0, "one descriptor is enough for an idle process"
    child.stdin.write(b"\n")
    child.stdin.flush()
    child.stdout.readline()
    clock(1.0)
    assert rows(probe.read())[child.pid].cpu_ticks > row.cpu_ticks
    probe.close()


def test_a_child_whose_parent_ends_shows_its_new_parent_although_it_never_ran(
    clock: Callable[[float], None],
) -> None:
    parent = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    probe = ProcessProbe(crowd=100_000)
    try:
        for _ in range(5):
            assert rows(probe.read())[pid].ppid == parent.pid
            clock(11.0)
        parent.kill()
        parent.wait()
        got = rows(probe.read())
        assert parent.pid not in got
        with open(f"/proc/{pid}/stat", "rb") as f:
            now = parse_stat(f.read())
        assert now is not None and got[pid].ppid == now.ppid != parent.pid
    finally:
        os.kill(pid, signal.SIGKILL)
        parent.stdout.close()
        probe.close()


def test_another_program_under_the_same_name_is_noticed(children: list[subprocess.Popen[bytes]]) -> None:
    code = "read x; exec sh -c 'echo changed; read y'"
    child = subprocess.Popen(["sh", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    children.append(child)
    assert child.stdin is not None and child.stdout is not None
    probe = ProcessProbe()
    assert rows(probe.read())[child.pid].cmdline == f"sh -c {code}"
    child.stdin.write(b"\n")
    child.stdin.flush()
    child.stdout.readline()
    row = rows(probe.read())[child.pid]
    assert (row.name, row.cmdline) == ("sh", "sh -c echo changed; read y")
    probe.close()


@pytest.mark.parametrize(
    ("raw", "shown"), [(b"a) S (b", "a) S (b"), (b"x\ny", "x�y"), (b"\xff\x1b[1m", "��[1m"), (b") (", ") (")]
)
def test_a_process_may_call_itself_anything(raw: bytes, shown: str) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(15, raw, 0, 0, 0)  # PR_SET_NAME
        os.write(writer, b"x")
        signal.pause()
        os._exit(0)
    try:
        os.read(reader, 1)
        probe = ProcessProbe()
        row = rows(probe.read())[pid]
        assert (row.name, row.ppid) == (shown, os.getpid())
        probe.close()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)


def test_kernel_threads_have_no_command_line() -> None:
    if not Path("/proc/2/stat").exists():
        pytest.skip("needs the first pid namespace: a container does not see kernel threads")
    probe = ProcessProbe()
    row = rows(probe.read())[2]
    assert (row.name, row.cmdline, row.rss_bytes) == ("kthreadd", None, 0)
    probe.close()


def test_bytes_written_are_those_of_the_kernel(
    tmp_path: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    code = (
        "import os,sys\nfd=os.open(sys.argv[1],os.O_CREAT|os.O_WRONLY)\n"
        "os.write(fd,b'x'*1048576);os.fsync(fd);print(flush=True);sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "f")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    children.append(child)
    assert child.stdout is not None
    child.stdout.readline()
    probe = ProcessProbe()
    probe.watched = {child.pid}
    row = rows(probe.read())[child.pid]
    peer = psutil.Process(child.pid).io_counters()
    assert (row.read_bytes, row.write_bytes) == (peer.read_bytes, peer.write_bytes)
    probe.watched = ()
    assert rows(probe.read())[child.pid].write_bytes is None, "nobody asks, nothing active: not read"
    probe.close()


# -- other users ------------------------------------------------------------------------------------------


@as_root
def test_another_users_io_is_missing_not_zero() -> None:
    def look() -> tuple[object, ...]:
        child = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
        try:
            probe = ProcessProbe()
            probe.watched = {1, child}
            got = rows(probe.read())
            return got[1].read_bytes, got[child].read_bytes, got[1].uid, got[child].user
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    assert in_child(look, NOBODY) == (None, 0, 0, pwd.getpwuid(NOBODY).pw_name)


@as_root
@pytest.mark.parametrize("hidepid", [1, 2])
def test_hidden_processes_are_not_there_and_it_is_said(hidepid: int) -> None:
    where = Path(tempfile.mkdtemp(prefix="dctop-hidepid-"))  # pytest's own directories are closed to others
    where.chmod(0o755)
    subprocess.run(["mount", "-t", "proc", "-o", f"hidepid={hidepid}", "proc", str(where)], check=True)
    try:

        def look() -> tuple[set[int], int, object, tuple[str, ...]]:
            probe = ProcessProbe(where)
            for _ in range(3):
                sample = probe.read()
            return set(rows(sample)), os.getpid(), sample.values["process.count"], sample.problems

        seen, pid, count, problems = in_child(look, NOBODY)
        assert pid in seen and 1 not in seen
        assert count == len(seen)
        assert len(problems) == 1 and "hidepid" in problems[0]
    finally:
        subprocess.run(["umount", str(where)], check=True)
        where.rmdir()


# -- descriptors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 3, 20])
def test_without_descriptors_to_spare_the_numbers_are_the_same(kept: int) -> None:
    plain, poor = ProcessProbe(), ProcessProbe(kept_fds=kept)
    held = len(descriptors())
    for _ in range(4):
        sample = poor.read()
    # loadavg is one more.
    assert len(descriptors()) <= held + kept + 1
    assert sample.problems and "descriptor" in sample.problems[0]
    a, b = rows(sample), rows(plain.read())
    common = a.keys() & b.keys()
    assert len(common) > 2
    assert all(a[p].start_ticks == b[p].start_ticks and a[p].cmdline == b[p].cmdline for p in common)
    plain.close()
    poor.close()


def limit_by(room: int, soft: int | None = None) -> int:
    """Leave this process `room` descriptors beyond the highest in use; the hard limit."""
    hard = max(int(p.name) for p in Path("/proc/self/fd").iterdir()) + 1 + room
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if soft is None else hard - room + soft, hard))
    return hard


def test_the_soft_limit_is_raised_and_the_rest_of_the_program_is_left_its_share() -> None:
    def look() -> tuple[bool, int, int]:
        hard = limit_by(RESERVE + 20, soft=30)
        before = len(descriptors())
        probe = ProcessProbe()
        for _ in range(3):
            sample = probe.read()
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
        return raised, hard - RESERVE - (len(descriptors()) - before), len(rows(sample))

    raised, left, seen = in_child(look)
    assert raised
    assert left >= 0
    assert seen > 2


def test_descriptors_used_up_by_others_are_no_end() -> None:
    def look() -> tuple[int, int, tuple[str, ...]]:
        limit_by(RESERVE + 100)
        probe = ProcessProbe()
        for _ in range(3):
            before = len(rows(probe.read()))
        with contextlib.suppress(OSError):
            while True:
                os.dup(2)
        child = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
        try:
            probe._pids._listed_at = None  # listing needs one, too
            for _ in range(3):
                sample = probe.read()
            assert child in rows(sample)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        return before, len(rows(sample)), sample.problems

    before, after, problems = in_child(look)
    assert after >= before - 20
    assert problems and "out of file descriptors" in problems[0]


# -- nodes made of files ----------------------------------------------------------------------------------


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


def test_arguments_that_are_not_there_yet_are_asked_for_once_more(fake: FakeProc) -> None:
    fake.put(1, cmdline=b"")
    fake.put(2, cmdline=b"")
    probe = probe_of(fake)
    assert rows(probe.read())[1].cmdline is None
    fake.put(1, cmdline=b"now there\0")
    assert rows(probe.read())[1].cmdline == "now there"
    assert not probe._waiting, "who has none is not asked for ever"
    probe.close()
