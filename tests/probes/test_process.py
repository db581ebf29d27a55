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
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from dctop.probes import process as process_module
from dctop.probes.process import ProcessProbe
from dctop.probes.procfds import RESERVE
from dctop.probes.procparse import parse_stat
from tests.fakes.nodes import check_declared
from tests.fakes.processes import FakeProc, in_child, rows

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


# -- this node --------------------------------------------------------------------------------------------


def test_the_own_process_reads_as_psutil_says() -> None:
    probe = ProcessProbe()
    probe.read()
    for thread in threading.enumerate():
        if thread.name == "dctop-users":
            thread.join(30)  # it ends when all names are known: not between two counts
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
        assert got[os.getpid()].threads == len(list(Path("/proc/self/task").iterdir()))
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
        # More processes than descriptors may be kept for, whatever else runs here.
        others = [os.posix_spawn("/bin/sleep", ["sleep", "60"], {}) for _ in range(hard - RESERVE)]
        try:
            for _ in range(3):
                sample = probe.read()
        finally:
            for pid in others:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        assert sample.problems and "descriptor" in sample.problems[0]
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
