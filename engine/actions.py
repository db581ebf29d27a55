"""What dctop does to other processes when its user asks: signal and renice.

A process is named by pid and start time. Both functions make sure that it is still that process which they
touch, and answer with one line when they could not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

from dctop.probes.files import read_some
from dctop.probes.procparse import parse_stat

SIGNALS: tuple[tuple[int, str, str], ...] = tuple(
    (int(s), s.name.removeprefix("SIG"), meaning)
    for s, meaning in (
        (signal.SIGTERM, "ask it to end; it may clean up first"),
        (signal.SIGKILL, "end it now; it cannot clean up or refuse"),
        (signal.SIGINT, "interrupt it, as Ctrl-C does"),
        (signal.SIGHUP, "its terminal is gone; many daemons read their configuration again"),
        (signal.SIGQUIT, "end it with a core dump; Java and Go print their stacks"),
        (signal.SIGSTOP, "stop it where it stands, until CONT"),
        (signal.SIGCONT, "let it go on after STOP"),
        (signal.SIGUSR1, "whatever the program made of it; a dctop worker writes a checkpoint"),
        (signal.SIGUSR2, "whatever the program made of it"),
        (signal.SIGABRT, "abort it with a core dump"),
        (signal.SIGALRM, "its alarm clock rings"),
        (signal.SIGPIPE, "its reader is gone"),
        (signal.SIGTSTP, "ask it to stop, as Ctrl-Z does"),
    )
)
"""(number, name, what it does), the usual choice first."""

_GONE = "it has ended already"


def signal_process(pid: int, start_ticks: int, sig: int) -> str | None:
    """Send `sig` to the process (pid, start_ticks). None when it was sent, else why not, in one line.

    Through a pidfd, opened before the start time is compared, so that a pid which is given away in
    between is not hit; where the kernel has none (before 5.3), kill(2) right after the comparison.
    """
    refused = _refuse(pid, "signal")
    if refused is not None:
        return refused
    try:
        number = signal.Signals(sig)
    except ValueError:
        return f"no such signal: {sig}"
    try:
        fd = os.pidfd_open(pid)
    except OverflowError:
        return f"{pid} is not a process"
    except OSError as e:
        if e.errno in (errno.ENOSYS, errno.EPERM, errno.EMFILE, errno.ENFILE):
            return _checked(pid, start_ticks, f"send {number.name} to", lambda: os.kill(pid, number))
        return _why(e, pid, f"send {number.name} to")
    try:
        return _checked(
            pid, start_ticks, f"send {number.name} to", lambda: signal.pidfd_send_signal(fd, number)
        )
    finally:
        os.close(fd)


def renice_process(pid: int, start_ticks: int, nice: int) -> str | None:
    """Set the nice value (-20 to 19) of all threads of the process. None when done, else why not.

    On Linux a nice value is a thread's: setting it for the pid alone would leave the workers as they are.
    """
    refused = _refuse(pid, "renice")
    if refused is not None:
        return refused
    if not -20 <= nice <= 19:
        return f"a nice value is between -20 and 19, not {nice}"
    return _checked(pid, start_ticks, "renice", lambda: _renice_all(pid, nice))


def _renice_all(pid: int, nice: int) -> None:
    os.setpriority(os.PRIO_PROCESS, pid, nice)
    with contextlib.suppress(OSError):
        for tid in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            if int(tid) != pid:
                with contextlib.suppress(ProcessLookupError):
                    os.setpriority(os.PRIO_PROCESS, int(tid), nice)


def _refuse(pid: int, what: str) -> str | None:
    if pid <= 0:
        return f"{pid} is not a process"
    if pid == 1:
        return f"dctop does not {what} process 1: the whole system depends on it"
    if pid == os.getpid():
        return f"dctop does not {what} itself; quit with q"
    return None


def _checked(pid: int, start_ticks: int, what: str, act: Callable[[], None]) -> str | None:
    """`act` if the process is still the one meant."""
    text = read_some(Path("/proc") / str(pid) / "stat", 1024)
    stat = None if text is None else parse_stat(text)
    if stat is None or stat.start_ticks != start_ticks:
        return f"process {pid}: {_GONE}"
    if stat.state == "Z":
        return f"process {pid} is a zombie: it has ended, only its parent (process {stat.ppid}) can remove it"
    try:
        act()
    except OSError as e:
        return _why(e, pid, what)
    return None


def _why(e: OSError, pid: int, what: str) -> str:
    if e.errno == errno.ESRCH:
        return f"process {pid}: {_GONE}"
    if e.errno in (errno.EPERM, errno.EACCES):
        who = "" if os.geteuid() == 0 else "; run dctop as its owner or with sudo"
        return f"no permission to {what} process {pid}{who}"
    return f"could not {what} process {pid}: {e.strerror or e}"
