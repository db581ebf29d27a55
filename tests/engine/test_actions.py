"""Signals and nice values, on real processes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine import actions
from dctop.engine.actions import SIGNALS, renice_process, signal_process
from dctop.probes.procparse import parse_stat
from tests.fakes.processes import in_child

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to become another user")


def start_of(pid: int) -> int:
    stat = parse_stat(Path(f"/proc/{pid}/stat").read_bytes())
    assert stat is not None
    return stat.start_ticks


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_reaches_a_real_process(child: subprocess.Popen[bytes], sig: int) -> None:
    assert signal_process(child.pid, start_of(child.pid), sig) is None
    assert child.wait(30) == -sig


def test_stop_and_continue(child: subprocess.Popen[bytes]) -> None:
    start = start_of(child.pid)
    assert signal_process(child.pid, start, signal.SIGSTOP) is None
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    assert signal_process(child.pid, start, signal.SIGCONT) is None
    os.waitid(os.P_PID, child.pid, os.WCONTINUED)
    assert child.poll() is None


def test_a_pid_that_is_anothers_by_now_is_left_alone(child: subprocess.Popen[bytes]) -> None:
    start = start_of(child.pid)
    for wrong in (start - 1, start + 1, 0):
        assert (
            signal_process(child.pid, wrong, signal.SIGKILL) == f"process {child.pid}: it has ended already"
        )
        assert renice_process(child.pid, wrong, 5) == f"process {child.pid}: it has ended already"
    assert child.poll() is None


def test_a_process_that_ended_is_said_to_have_ended(child: subprocess.Popen[bytes]) -> None:
    start = start_of(child.pid)
    child.kill()
    child.wait()
    assert signal_process(child.pid, start, signal.SIGTERM) == f"process {child.pid}: it has ended already"
    assert renice_process(child.pid, start, 5) == f"process {child.pid}: it has ended already"


def test_a_zombie_cannot_be_killed_and_its_parent_is_named() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    answer = signal_process(pid, start_of(pid), signal.SIGKILL)
    assert answer is not None and "zombie" in answer and f"process {os.getpid()}" in answer
    os.waitpid(pid, 0)


@pytest.mark.parametrize("pid", [0, 1, -1, -5, os.getpid()])
def test_what_must_not_be_touched_is_refused_without_a_call(
    pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in (
        (os, "kill"),
        (os, "pidfd_open"),
        (os, "setpriority"),
        (signal, "pidfd_send_signal"),
    ):
        monkeypatch.setattr(module, name, lambda *a: pytest.fail("called"))
    start = 0 if pid < 1 else start_of(pid)
    for answer in (signal_process(pid, start, signal.SIGKILL), renice_process(pid, start, 5)):
        assert answer and "\n" not in answer


@pytest.mark.parametrize("sig", [0, -1, 200, 32])
def test_a_number_that_is_no_signal_is_refused(child: subprocess.Popen[bytes], sig: int) -> None:
    assert signal_process(child.pid, start_of(child.pid), sig) == f"no such signal: {sig}"
    assert child.poll() is None


@pytest.mark.parametrize("problem", [errno.ENOSYS, errno.EPERM, errno.EMFILE])
def test_without_pidfd_it_is_a_plain_kill(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, problem: int
) -> None:
    def missing(pid: int, flags: int = 0) -> int:
        raise OSError(problem, os.strerror(problem))

    monkeypatch.setattr(os, "pidfd_open", missing)
    start = start_of(child.pid)
    assert signal_process(child.pid, start + 1, signal.SIGTERM) is not None
    assert child.poll() is None
    assert signal_process(child.pid, start, signal.SIGTERM) is None
    assert child.wait(30) == -signal.SIGTERM


def test_no_descriptor_is_left_open(child: subprocess.Popen[bytes]) -> None:
    start = start_of(child.pid)

    def pidfds() -> int:
        return sum("pidfd" in str(p.readlink()) for p in Path("/proc/self/fd").iterdir() if p.is_symlink())

    before = pidfds()
    for wrong in (0, 1):
        signal_process(child.pid, start + wrong, signal.SIGCONT)
    assert pidfds() == before


@as_root
def test_another_users_process_is_not_ours_to_touch(child: subprocess.Popen[bytes]) -> None:
    start = start_of(child.pid)
    answer = in_child(lambda: signal_process(child.pid, start, signal.SIGTERM), NOBODY)
    assert answer is not None and answer.startswith(f"no permission to send SIGTERM to process {child.pid}")
    assert "sudo" in answer
    answer = in_child(lambda: renice_process(child.pid, start, 5), NOBODY)
    assert answer is not None and answer.startswith(f"no permission to renice process {child.pid}")
    assert child.poll() is None and os.getpriority(os.PRIO_PROCESS, child.pid) == 0


@as_root
def test_an_ordinary_user_may_lower_but_not_raise_the_priority_of_an_own_process() -> None:
    def look() -> tuple[str | None, str | None, int]:
        pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
        try:
            start = start_of(pid)
            return renice_process(pid, start, 10), renice_process(pid, start, -5), os.getpriority(0, pid)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    lower, higher, nice = in_child(look, NOBODY)
    assert lower is None and nice == 10
    assert higher is not None and higher.startswith("no permission to renice")


def test_all_threads_get_the_nice_value() -> None:
    code = (
        "import threading,sys\ne=threading.Event()\n"
        "[threading.Thread(target=e.wait,daemon=True).start() for _ in range(4)]\n"
        "print(flush=True)\nsys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdout.readline()
        assert renice_process(process.pid, start_of(process.pid), 7) is None
        tids = [int(p.name) for p in Path(f"/proc/{process.pid}/task").iterdir()]
        assert len(tids) == 5
        assert {os.getpriority(os.PRIO_PROCESS, tid) for tid in tids} == {7}
    finally:
        process.kill()
        process.communicate()


@given(st.integers().filter(lambda n: not -20 <= n <= 19))
def test_a_nice_value_out_of_range_is_refused(nice: int) -> None:
    assert (
        renice_process(os.getppid() + 10_000_000, 0, nice)
        == f"a nice value is between -20 and 19, not {nice}"
    )


@given(st.integers(2, 2**40), st.integers(-3, 2**70), st.integers(-3, 80))
def test_any_numbers_are_answered_in_one_line(pid: int, start: int, sig: int) -> None:
    pid += 2**23  # beyond every pid there can be
    for answer in (signal_process(pid, start, sig), renice_process(pid, start, 3)):
        assert answer and answer.isprintable()


def test_the_list_of_signals_starts_with_the_polite_one() -> None:
    assert SIGNALS[0][:2] == (15, "TERM")
    assert len({n for n, _, _ in SIGNALS}) == len(SIGNALS)
    for number, name, meaning in SIGNALS:
        assert signal.Signals[f"SIG{name}"] == number
        assert meaning and len(meaning) < 80


def test_it_works_from_any_thread(child: subprocess.Popen[bytes]) -> None:
    answers: list[str | None] = []
    start = start_of(child.pid)
    thread = threading.Thread(target=lambda: answers.append(actions.signal_process(child.pid, start, 15)))
    thread.start()
    thread.join()
    assert answers == [None] and child.wait(30) == -15
