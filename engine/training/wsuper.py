"""The supervisor: a tiny process that waits for the training one and writes how it truly ended.

Worker side, no torch. It survives what kills the training (the kernel takes the largest process), so a
SIGKILL, an out-of-memory kill or a crash in native code leaves an `end` record like any other end.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dctop.engine.training import wlog, wmem, wpower
else:
    import wlog
    import wmem
    import wpower

_TAIL = 64 << 10


def start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks after boot: with the pid it names a process for good."""
    try:
        return int(wmem.read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def identity() -> dict[str, object]:
    """What tells this node and its process numbers from others."""
    facts: dict[str, object] = {"host": socket.gethostname()}
    try:
        facts["boot_id"] = wmem.read("/proc/sys/kernel/random/boot_id").strip()
        facts["pid_namespace"] = os.readlink("/proc/self/ns/pid")
    except OSError:
        pass
    return facts


def last_line(path: str) -> str | None:
    """The last line with text in it among the last 64 KiB."""
    try:
        with open(path, "rb") as source:
            source.seek(0, os.SEEK_END)
            source.seek(max(0, source.tell() - _TAIL))
            lines = source.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    return next((line.strip()[:500] for line in reversed(lines) if line.strip()), None)


def supervise(directory: str, train: Callable[[int], int]) -> int:
    """Fork a supervisor which forks `train(report_fd)`; return here as soon as both are known.

    0: run.json has the pids and the training is off. 1: it could not be started (one line on stderr).
    The caller is a throw-away process, so the supervisor belongs to init: never a zombie of dctop.
    """
    ready_r, ready_w = os.pipe()
    if os.fork() == 0:
        os.close(ready_r)
        code = 1
        try:
            code = _supervisor(directory, train, ready_w)
        except OSError as error:
            print(f"{directory}: {error.strerror or error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    os.close(ready_w)
    said = os.read(ready_r, 1)
    return 0 if said == b"+" else 1


def _supervisor(directory: str, train: Callable[[int], int], ready: int) -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch = wmem.KillWatch()
    report_r, report_w = os.pipe()
    go_r, go_w = os.pipe()
    # A signal that comes between the two forks must not be lost: it waits until a handler is there.
    forwarded = {signal.SIGTERM, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, forwarded | {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        os.close(report_r)
        os.close(go_w)
        os.close(ready)
        code = 1
        try:
            if os.read(go_r, 1) == b"+":
                os.close(go_r)
                code = train(report_w)
        finally:
            os._exit(code)
    os.close(report_w)
    os.close(go_r)
    for number in forwarded:
        signal.signal(number, lambda n, _frame: _forward(child, n))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
    meter = wpower.Meter()
    wlog.make_reserve(directory, wlog.END_RESERVE)
    known = wlog.update_run(
        directory, **identity(), pid=child, start_ticks=start_ticks(child),
        supervisor_pid=os.getpid(), supervisor_start_ticks=start_ticks(os.getpid()),
    )  # fmt: skip
    if not known:
        os.close(go_w)  # the child reads the end of file and leaves
        os.waitpid(child, 0)
        print(f"{directory}: run.json cannot be written (disk full?)", file=sys.stderr, flush=True)
        return 1
    os.write(go_w, b"+")
    os.close(go_w)
    os.write(ready, b"+")
    os.close(ready)
    while signal.sigtimedwait({signal.SIGCHLD}, wmem.LOOK_S) is None:
        watch.look()
        meter.look()
    _, status = os.waitpid(child, 0)
    end_record(directory, child, os.waitstatus_to_exitcode(status), _report(report_r), watch, meter)
    return 0


def _forward(child: int, number: int) -> None:
    try:
        os.kill(child, number)
    except ProcessLookupError:
        pass


def _report(fd: int) -> dict[str, object]:
    """The training process's own last word, {} if it left none. Loader processes may still hold the
    pipe open, so this never waits."""
    os.set_blocking(fd, False)
    try:
        said = json.loads(os.read(fd, 65536) or b"{}")
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def end_record(
    directory: str,
    pid: int,
    code: int,
    report: dict[str, object],
    watch: wmem.KillWatch,
    meter: wpower.Meter,
) -> None:
    """Judge and append the `end` record, whatever state the disk is in."""
    data: dict[str, object] = {"exit_code": code}
    text = str(report.get("reason") or "")
    status = str(report.get("status") or "failed")
    rank = report.get("rank")
    if code < 0:
        status, text = "killed", _killed(pid, code, watch, data)
    elif status == "killed" and isinstance(rank, int):
        # One of several processes was: it counts as the death of the run, with its own evidence.
        data["rank"], data["rank_pid"] = rank, report.get("rank_pid")
        died = int(str(report.get("rank_exit_code")))
        data["exit_code"] = died
        text = f"rank {rank} {_killed(int(str(report.get('rank_pid'))), died, watch, data)}"
    elif not report:
        text = f"ended with exit code {code} and no word" if code else "ended without a word"
    data["status"] = status
    try:
        data.update(meter.taken(wlog.read_json(os.path.join(directory, "run.json"))))
    except (OSError, ValueError):
        pass  # run.json is gone: nobody will ask
    if status in ("failed", "killed"):
        data["stderr"] = last_line(os.path.join(directory, "stdout.log"))
    step = report.get("step")
    wmem.sweep_drills(pid)
    line = wlog.encode_event("end", text, step if isinstance(step, int) else None, data)
    _append(directory, line)
    wlog.drop_reserve(directory, wlog.END_RESERVE)
    wlog.drop_reserve(directory, wlog.LOG_RESERVE)


def _killed(pid: int, code: int, watch: wmem.KillWatch, data: dict[str, object]) -> str:
    """The reason for death by a signal, and its evidence into `data`."""
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    data["signal"] = name
    if code != -signal.SIGKILL:
        return f"killed by {name}"
    verdict = watch.judge(pid)
    data.update(verdict.data)
    if verdict.oom == "likely":
        return "killed by SIGKILL while the kernel was killing for memory on this node"
    if verdict.oom is None:
        return "killed by SIGKILL"
    text = "killed by the kernel: out of memory"
    if verdict.oom == "node" or verdict.limit_bytes is None:
        return f"{text} ({'whole node' if verdict.oom == 'node' else 'cgroup limit'})"
    return f"{text} (cgroup limit {verdict.limit_bytes / 2**20:,.0f} MiB)"


def _append(directory: str, line: bytes) -> None:
    """Append a whole line; on a full disk give up the reserve first."""
    path = os.path.join(directory, "steps.jsonl")
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        print(f"{path}: {error.strerror}", file=sys.stderr, flush=True)
        return
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            line = b"\n" + line  # the killed writer left half a line
        for attempt in (1, 2):
            try:
                while line:
                    line = line[os.write(fd, line) :]
                return
            except OSError as error:
                if attempt == 2 or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    print(f"{path}: {error.strerror}: {line!r}", file=sys.stderr, flush=True)
                    return
                wlog.drop_reserve(directory, wlog.END_RESERVE)
                wlog.drop_reserve(directory, wlog.LOG_RESERVE)
    finally:
        os.close(fd)
