"""Detail of one process, on real ones and on none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.probes.process_detail import MAX_THREADS, parse_wchan, read_detail
from dctop.probes.procparse import parse_stat
from tests.fakes.processes import FakeProc, in_child, stat_line

NOBODY = 65534


def start_of(pid: int) -> int:
    stat = parse_stat(Path(f"/proc/{pid}/stat").read_bytes())
    assert stat is not None
    return stat.start_ticks


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        ["sleep", "60"], env={"PASSWORD": "hunter2", "PATH": os.environ["PATH"]}, cwd="/usr"
    )
    yield process
    process.kill()
    process.wait()


def test_the_own_process_reads_as_psutil_says() -> None:
    peer = psutil.Process()
    got = read_detail(os.getpid(), start_of(os.getpid()))
    assert got is not None
    assert (got.exe, got.cwd, got.ppid, got.name) == (peer.exe(), peer.cwd(), peer.ppid(), peer.name())
    full = peer.memory_full_info()
    assert got.rss_bytes == pytest.approx(full.rss, rel=0.1)
    assert got.pss_bytes == pytest.approx(full.pss, rel=0.1)
    assert got.swap_bytes == full.swap
    assert got.rss_bytes == pytest.approx(
        (got.rss_anon_bytes or 0) + (got.rss_file_bytes or 0) + (got.rss_shmem_bytes or 0), rel=0.01
    )
    assert got.vm_peak_bytes is not None and got.vm_peak_bytes >= got.rss_bytes
    assert abs((got.fds or 0) - peer.num_fds()) <= 2
    assert (got.nofile_soft, got.nofile_hard) == peer.rlimit(psutil.RLIMIT_NOFILE)
    assert got.voluntary_switches is not None and got.involuntary_switches is not None
    assert got.cpus_allowed and set(peer.cpu_affinity() or ()) == cpus(got.cpus_allowed)
    assert got.io is not None and got.io["rchar"] > 0 and "write_bytes" in got.io
    assert got.oom_score_adj == int(Path("/proc/self/oom_score_adj").read_text())
    assert got.oom_score is not None


def cpus(text: str) -> set[int]:
    out: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        out.update(range(int(low), int(high or low) + 1))
    return out


def test_threads_and_children(child: subprocess.Popen[bytes]) -> None:
    hold = threading.Event()
    thread = threading.Thread(target=hold.wait)
    thread.start()
    try:
        got = read_detail(os.getpid(), start_of(os.getpid()))
        assert got is not None and got.threads is not None and got.children is not None
        assert {os.getpid(), thread.native_id} <= {t.tid for t in got.threads}
        assert got.thread_count == len(got.threads) == len(list(Path("/proc/self/task").iterdir()))
        assert child.pid in got.children
    finally:
        hold.set()
        thread.join()


def test_the_environment_is_never_read(child: subprocess.Popen[bytes]) -> None:
    got = read_detail(child.pid, start_of(child.pid))
    assert got is not None and got.cwd == "/usr" and got.cmdline == "sleep 60"
    assert "hunter2" not in repr(got)


def test_a_process_that_ended_or_whose_pid_is_anothers_is_none(child: subprocess.Popen[bytes]) -> None:
    start = start_of(child.pid)
    assert read_detail(child.pid, start + 1) is None
    child.kill()
    child.wait()
    assert read_detail(child.pid, start) is None


def test_a_zombie_has_little_left() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    got = read_detail(pid, start_of(pid))
    assert got is not None
    assert (got.state, got.cmdline, got.rss_bytes, got.exe, got.pss_bytes) == ("Z", None, None, None, None)
    os.waitpid(pid, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to become another user")
def test_what_another_user_may_not_see_is_missing_and_the_rest_is_there() -> None:
    got = in_child(lambda: read_detail(1, start_of(1)), NOBODY)
    assert got is not None
    assert (got.exe, got.cwd, got.fds, got.io, got.pss_bytes, got.wchan) == (None,) * 6
    assert got.rss_bytes and got.oom_score is not None and got.threads


def test_a_real_sleeper_sleeps_in_the_kernel(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    got = read_detail(child.pid, start_of(child.pid))
    assert got is not None and got.state == "T"
    assert got.wchan == parse_wchan(Path(f"/proc/{child.pid}/wchan").read_bytes())


def test_a_long_command_line_is_there_in_full() -> None:
    words = [f"word{i:05d}" for i in range(3000)]
    code = "import sys; print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        got = read_detail(process.pid, start_of(process.pid))
        assert got is not None and got.cmdline is not None and got.cmdline.endswith(" ".join(words))
    finally:
        process.kill()
        process.communicate()


def test_a_process_of_which_there_is_only_a_stat_file(tmp_path: Path) -> None:
    fake = FakeProc(tmp_path / "proc")
    fake.put(7, cmdline=None, cgroup=None, comm=b"x) (\n\xff", ppid=3, start=55)
    got = read_detail(7, 55, fake.root)
    assert got is not None
    assert (got.name, got.ppid, got.threads, got.children, got.io) == ("x) (��", 3, None, (), None)


def test_children_without_the_kernels_list_are_found_by_their_parent(tmp_path: Path) -> None:
    fake = FakeProc(tmp_path / "proc")
    fake.put(7, start=55)
    fake.put(8, ppid=7)
    fake.put(9, ppid=7)
    fake.put(10, ppid=8)
    (fake.root / "7/task/7").mkdir(parents=True)
    got = read_detail(7, 55, fake.root)
    assert got is not None and got.children == (8, 9)


def test_of_very_many_threads_the_first_are_listed(tmp_path: Path) -> None:
    fake = FakeProc(tmp_path / "proc")
    fake.put(7, start=55, threads=500)
    for tid in range(7, 507):
        folder = fake.root / "7/task" / str(tid)
        folder.mkdir(parents=True)
        (folder / "stat").write_bytes(stat_line(tid, f"w{tid}", utime=tid))
        (folder / "children").write_bytes(b"")
    got = read_detail(7, 55, fake.root)
    assert got is not None and got.threads is not None
    assert (got.thread_count, len(got.threads), got.children) == (500, MAX_THREADS, ())
    assert got.threads[0].name == "w7" and got.threads[0].cpu_ticks == 7


@given(st.binary(max_size=300))
def test_files_of_any_content(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    fake = FakeProc(tmp_path_factory.mktemp("p") / "proc")
    fake.put(7, cmdline=data, start=55, io=data)
    for name in ("status", "smaps_rollup", "limits", "oom_score", "oom_score_adj", "wchan"):
        (fake.root / "7" / name).write_bytes(data)
    got = read_detail(7, 55, fake.root)
    assert got is not None
    for text in (got.cmdline, got.cpus_allowed, got.wchan):
        assert text is None or text.isprintable()
