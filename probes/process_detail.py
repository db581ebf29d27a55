"""Everything about one process, read when somebody asks for it (never on the tick)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dctop.probes.files import number, printable, read_some, read_whole
from dctop.probes.procparse import (
    Stat,
    join_args,
    kib,
    parse_fields,
    parse_nofile,
    parse_stat,
    whole,
)

MAX_THREADS = 200
MAX_CMDLINE = 1 << 17


@dataclass(frozen=True, slots=True)
class ThreadDetail:
    """One thread: `cpu_ticks` is utime + stime."""

    tid: int
    name: str
    state: str
    cpu_ticks: int


@dataclass(frozen=True, slots=True)
class ProcessDetail:
    """One process. Sizes in bytes; whatever could not be read (no permission, kernel without it) is None.

    The environment is left out on purpose: it is where secrets are.
    """

    pid: int
    start_ticks: int
    name: str
    state: str
    ppid: int
    cmdline: str | None
    exe: str | None
    cwd: str | None
    vm_peak_bytes: int | None
    rss_bytes: int | None
    rss_anon_bytes: int | None
    rss_file_bytes: int | None
    rss_shmem_bytes: int | None
    swap_bytes: int | None
    pss_bytes: int | None
    """Resident memory with shared pages divided among those who share them (smaps_rollup)."""
    voluntary_switches: int | None
    involuntary_switches: int | None
    cpus_allowed: str | None
    """`0-7,16`"""
    oom_score: int | None
    oom_score_adj: int | None
    fds: int | None
    nofile_soft: int | None
    nofile_hard: int | None
    """Limits of open files; None also where unlimited."""
    io: dict[str, int] | None
    """/proc/PID/io: rchar, wchar, syscr, syscw, read_bytes, write_bytes, cancelled_write_bytes."""
    wchan: str | None
    """Kernel function it sleeps in; None while it runs or where it may not be told."""
    thread_count: int
    threads: tuple[ThreadDetail, ...] | None
    """The first `MAX_THREADS`."""
    children: tuple[int, ...] | None


def read_detail(pid: int, start_ticks: int, proc: str | Path = "/proc") -> ProcessDetail | None:
    """The process (pid, start_ticks), or None where it has ended (or its pid is another's by now).

    May block for as long as the process's memory is locked: call it in a thread.
    """
    root = Path(proc) / str(pid)
    stat = _stat(root)
    if stat is None or stat.start_ticks != start_ticks:
        return None
    status = _fields(root / "status")
    args = _whole(root / "cmdline", MAX_CMDLINE)
    limits = parse_nofile(_whole(root / "limits") or b"")
    detail = ProcessDetail(
        pid=pid,
        start_ticks=start_ticks,
        name=printable(stat.comm, 64),
        state=stat.state,
        ppid=stat.ppid,
        cmdline=join_args(args, MAX_CMDLINE) if args else None,
        exe=_link(root / "exe"),
        cwd=_link(root / "cwd"),
        vm_peak_bytes=kib(status, "VmPeak"),
        rss_bytes=kib(status, "VmRSS"),
        rss_anon_bytes=kib(status, "RssAnon"),
        rss_file_bytes=kib(status, "RssFile"),
        rss_shmem_bytes=kib(status, "RssShmem"),
        swap_bytes=kib(status, "VmSwap"),
        pss_bytes=kib(_fields(root / "smaps_rollup"), "Pss"),
        voluntary_switches=whole(status, "voluntary_ctxt_switches"),
        involuntary_switches=whole(status, "nonvoluntary_ctxt_switches"),
        cpus_allowed=status.get("Cpus_allowed_list"),
        oom_score=number(read_some(root / "oom_score", 64)),
        oom_score_adj=_signed(read_some(root / "oom_score_adj", 64)),
        fds=_count(root / "fd"),
        nofile_soft=limits[0],
        nofile_hard=limits[1],
        io=_io(root / "io"),
        wchan=parse_wchan(read_some(root / "wchan", 256)),
        thread_count=stat.threads,
        threads=_threads(root / "task"),
        children=_children(pid, Path(proc)),
    )
    # Whatever was read after the end of the process may be another's.
    again = _stat(root)
    return detail if again is not None and again.start_ticks == start_ticks else None


def parse_wchan(text: bytes | None) -> str | None:
    """`0` (running, or not to be told) is None."""
    name = printable((text or b"").strip(), 128)
    return None if name in ("", "0") else name


def _stat(path: Path) -> Stat | None:
    data = read_some(path / "stat", 1024)
    return None if data is None else parse_stat(data)


def _whole(path: Path, limit: int = 1 << 20) -> bytes | None:
    try:
        return read_whole(path, limit)
    except OSError:
        return None


def _fields(path: Path) -> dict[str, str]:
    data = _whole(path)
    return {} if data is None else parse_fields(data)


def _io(path: Path) -> dict[str, int] | None:
    found = {k: int(v) for k, v in _fields(path).items() if v.isdecimal() and v.isascii() and len(v) <= 20}
    return found or None


def _link(path: Path) -> str | None:
    try:
        return printable(os.fsencode(path.readlink()))
    except OSError:
        return None


def _count(path: Path) -> int | None:
    try:
        return len(os.listdir(path))  # noqa: PTH208
    except OSError:
        return None


def _signed(text: bytes | None) -> int | None:
    """-1000 to 1000."""
    try:
        n = int((text or b"")[:16])
    except ValueError:
        return None
    return n if -1000 <= n <= 1000 else None


def _pids(path: Path) -> list[int] | None:
    try:
        return sorted(int(n) for n in os.listdir(path) if n.isdecimal() and n.isascii())  # noqa: PTH208
    except OSError:
        return None


def _threads(path: Path) -> tuple[ThreadDetail, ...] | None:
    """Those that end meanwhile are left out."""
    tids = _pids(path)
    if tids is None:
        return None
    stats = ((tid, _stat(path / str(tid))) for tid in tids[:MAX_THREADS])
    return tuple(
        ThreadDetail(t, printable(s.comm, 64), s.state, s.cpu_ticks) for t, s in stats if s is not None
    )


def _children(pid: int, proc: Path) -> tuple[int, ...] | None:
    """From task/*/children; where the kernel has no such files, from the parents of all processes."""
    root = proc / str(pid) / "task"
    found: set[int] = set()
    for tid in _pids(root) or ():
        text = _whole(root / str(tid) / "children")
        if text is None:
            return _by_parent(pid, proc, _pids(proc) or ())
        found.update(n for word in text.split() if (n := number(word)) is not None)
    return tuple(sorted(found))


def _by_parent(pid: int, proc: Path, pids: Iterable[int]) -> tuple[int, ...]:
    stats = (_stat(proc / str(other)) for other in pids)
    return tuple(s.pid for s in stats if s is not None and s.ppid == pid)
