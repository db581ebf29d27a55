"""Processes made of files, and real ones in other people's shoes."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dctop.probes.base import Process, Sample
from dctop.probes.process import ProcessProbe
from dctop.probes.usernames import UserNames

T = TypeVar("T")


def stat_line(
    pid: int,
    comm: str | bytes = "sleep",
    state: str = "S",
    ppid: int = 1,
    flags: int = 0x400000,
    majflt: int = 0,
    utime: int = 0,
    stime: int = 0,
    nice: int = 0,
    threads: int = 1,
    start: int = 1000,
    rss: int = 300,
    stack: int = 140_000,
    exit_signal: int = 17,
) -> bytes:
    """/proc/PID/stat as Linux 6 writes it (52 fields)."""
    name = comm.encode() if isinstance(comm, str) else comm
    rest = (
        f" {state} {ppid} {pid} {pid} 0 -1 {flags} 120 0 {majflt} 0 {utime} {stime} 0 0 20 {nice} {threads} "
        f"0 {start} 5000000 {rss} 18446744073709551615 4194304 4200000 {stack} 0 0 0 0 0 0 1 0 0 "
        f"{exit_signal} 1 0 0 0 0 0 7000000 7000100 8000000 140001 140020 140020 140030 0\n"
    )
    return f"{pid} (".encode() + name + b")" + rest.encode()


class FakeProc:
    """A /proc tree. `put` writes a process's files in place, so that open descriptors see the new content."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)

    def put(
        self,
        pid: int,
        cmdline: bytes | None = b"sleep\x0060\x00",
        cgroup: bytes | None = b"0::/init.scope\n",
        io: bytes | None = None,
        **stat: Any,
    ) -> None:
        folder = self.root / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "stat").write_bytes(stat_line(pid, **stat))
        for name, content in (("cmdline", cmdline), ("cgroup", cgroup), ("io", io)):
            if content is not None:
                (folder / name).write_bytes(content)

    def end(self, pid: int) -> None:
        for path in (self.root / str(pid)).iterdir():
            path.unlink()
        (self.root / str(pid)).rmdir()


def in_child(call: Callable[[], T], uid: int | None = None) -> T:
    """Run `call` in a forked child, as user `uid`, and return what it returned; AssertionError with the
    child's traceback where it raised. For what must not happen to the test's own process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            answer: tuple[bool, Any] = (True, call())
        except BaseException:
            answer = (False, traceback.format_exc())
        with os.fdopen(writer, "wb") as out:
            out.write(pickle.dumps(answer))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as source:
        data = source.read()
    os.waitpid(pid, 0)
    well, value = pickle.loads(data)
    assert well, value
    return value  # type: ignore[no-any-return]


def users(names: dict[int, str] | None = None) -> UserNames:
    return UserNames((names or {0: "root"}).get)


def rows(sample: Sample) -> dict[int, Process]:
    assert sample.processes is not None
    by_pid = {p.pid: p for p in sample.processes}
    assert len(by_pid) == len(sample.processes), "a pid is there once"
    return by_pid


def probe_of(fake: FakeProc, **options: int) -> ProcessProbe:
    return ProcessProbe(fake.root, users=users(), **options)
