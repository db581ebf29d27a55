"""What the process probe keeps of one process between two readings."""

from __future__ import annotations

from dctop.probes.base import Process
from dctop.probes.cgroup_names import NOWHERE, Placement

CLOSED, NONE = -1, -2
"""In place of a descriptor: none is kept; there is none to be had."""


class Entry:
    """What is kept of one process. Replaced when its pid is reused."""

    __slots__ = (
        "activity", "args", "asked", "awake_until", "comm", "denied_io", "exec_key", "fd",
        "hot_until", "index", "io", "io_fd", "io_until", "kernel", "name", "path", "pid", "placed",
        "raw", "read_at", "row", "sched", "sched_fd", "turn", "uid", "user",
    )  # fmt: skip

    def __init__(self, pid: int, path: str, turn: int) -> None:
        self.pid = pid
        self.path = path
        self.turn = turn
        self.fd = self.sched_fd = self.io_fd = CLOSED
        self.raw = b""
        self.sched = b""
        self.row: Process
        self.index = 0
        self.kernel = False
        self.comm = b""
        self.name = ""
        self.exec_key: tuple[bytes, int, int] | None = None
        self.uid: int | None = None
        self.user: str | None = None
        self.args: str | None = None
        self.asked = False
        self.placed: Placement = NOWHERE
        self.io: tuple[int | None, int | None] = (None, None)
        self.denied_io = False
        self.hot_until = self.awake_until = self.io_until = 0.0
        self.activity = 0.0
        self.read_at = 0.0
