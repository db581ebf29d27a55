"""Whether the kernel killed a process for memory: its own log where that may be read, else its counters.

Worker side, no torch. The log names the victim; the counters only say that somebody was killed in this
cgroup or on this node, so they are compared with what they were seconds before the death.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from typing import NamedTuple

LOOK_S = 10.0
"""Seconds between two looks at the counters, where only they are to be had."""
_INIT_PID_NAMESPACE = "pid:[4026531836]"
_VICTIM = re.compile(rb"[Kk]illed process (\d+)[ ,(]")
_PRINTK_S = 0.3


class MemoryCounts(NamedTuple):
    """What the kernel counts about killing for memory; None: not readable."""

    cgroup: str | None
    """Folder of the memory cgroup."""
    oom_kill: int | None
    node_oom_kill: int | None
    limit_bytes: int | None
    peak_bytes: int | None
    failcnt: int | None


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as source:
        return source.read()


def _number(path: str) -> int | None:
    try:
        return int(read(path))
    except (OSError, ValueError):
        return None


def _field(path: str, key: str) -> int | None:
    try:
        for line in read(path).splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    except (OSError, ValueError):
        pass
    return None


_MARKS = {"memory": ("memory.oom_control", "memory.events"), "cpu": ("cpu.cfs_quota_us", "cpu.max")}
"""A file that a group of the controller has: v1, v2."""


def memory_cgroup(root: str = "/") -> str | None:
    """Folder of this process's memory cgroup (v1 controller, else v2), where it can be seen."""
    lines = _lines(root, "cgroup")
    paths = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            paths["v1"] = path
        elif not controllers:
            paths["v2"] = path
    for version, path in sorted(paths.items()):
        for mount_root, point in _mounts(root, "memory" if version == "v1" else None):
            inner = path[len(mount_root) :] if mount_root != "/" and path.startswith(mount_root) else path
            # In a cgroup namespace the path may lie above what is mounted: then the mount itself is it.
            for place in (point + inner, point):
                folder = os.path.join(root, place.strip("/"))
                if os.path.exists(os.path.join(folder, _MARKS["memory"][version == "v2"])):
                    return folder
    return None


def controller_cgroup(controller: str, root: str = "/") -> tuple[str | None, bool]:
    """(folder in which a group of a controller can be made, whether it is v1). v2: where it is mounted, as
    only there groups and processes may be side by side."""
    for _, point in _mounts(root, controller):
        return os.path.join(root, point.strip("/")), True
    for _, point in _mounts(root, None):
        folder = os.path.join(root, point.strip("/"))
        try:
            offered = read(os.path.join(folder, "cgroup.controllers")).split()
        except OSError:
            continue
        if controller in offered:
            return folder, False
    return None, False


def drill_group(pid: int) -> str:
    """Name of the cgroup that a drill makes for a process."""
    return f"dctop-drill-{pid}"


def sweep_drills(pid: int) -> None:
    """Remove the groups that a drill of a process, now dead, has left."""
    for controller in ("memory", "cpu"):
        folder, _ = controller_cgroup(controller)
        if folder is not None:
            try:
                os.rmdir(os.path.join(folder, drill_group(pid)))
            except OSError:
                pass


def _lines(root: str, file: str) -> list[str]:
    try:
        return read(os.path.join(root, "proc/self", file)).splitlines()
    except OSError:
        return []


def _mounts(root: str, controller: str | None) -> Iterator[tuple[str, str]]:
    """(root, mount point) of the hierarchies of a v1 controller; None: of v2."""
    for mount in _lines(root, "mountinfo"):
        left, _, right = mount.partition(" - ")
        kind, _, options = [*right.split(" ", 2), "", ""][:3]
        if kind == ("cgroup2" if controller is None else "cgroup") and (
            controller is None or controller in options.split(",")
        ):
            mount_root, point = left.split(" ")[3:5]
            yield mount_root, point


def memory_counts(folder: str | None) -> MemoryCounts:
    node = _field("/proc/vmstat", "oom_kill")
    if folder is None:
        return MemoryCounts(None, None, node, None, None, None)
    if os.path.exists(os.path.join(folder, "memory.oom_control")):
        killed = _field(os.path.join(folder, "memory.oom_control"), "oom_kill")
        limit = _number(os.path.join(folder, "memory.limit_in_bytes"))
        peak = _number(os.path.join(folder, "memory.max_usage_in_bytes"))
        failures = _number(os.path.join(folder, "memory.failcnt"))
    else:
        killed = _field(os.path.join(folder, "memory.events"), "oom_kill")
        limit = _number(os.path.join(folder, "memory.max"))
        peak = _number(os.path.join(folder, "memory.peak"))
        failures = _field(os.path.join(folder, "memory.events"), "max")
    if limit is not None and limit >= 1 << 60:
        limit = None  # v1 writes "no limit" as a huge number
    return MemoryCounts(folder, killed, node, limit, peak, failures)


class Verdict(NamedTuple):
    oom: str | None
    """cgroup: at its cgroup's limit. node: the node had no memory left. likely: somebody was killed for
    memory on this node in those seconds. None: no sign of it."""
    limit_bytes: int | None
    data: dict[str, object]


class KernelLog:
    """What the kernel says after now. `authoritative`: its process numbers are ours."""

    def __init__(self) -> None:
        self._fd = -1
        self.authoritative = False
        try:
            self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
            self.authoritative = os.readlink("/proc/self/ns/pid") == _INIT_PID_NAMESPACE
        except OSError:
            pass

    def killing_of(self, pid: int) -> str | None:
        """`cgroup` or `node` if the log tells that this process was killed for memory."""
        found = None
        while self._fd >= 0:
            try:
                record = os.read(self._fd, 8192)
            except OSError as error:
                if error.errno == errno.EPIPE:
                    continue  # overwritten meanwhile: goes on with the oldest there is
                break
            victim = _VICTIM.search(record)
            if victim and int(victim[1]) == pid:
                found = "cgroup" if b"emory cgroup out of memory" in record else "node"
        return found


class KillWatch:
    """Made before the training starts, asked when it was killed."""

    def __init__(self) -> None:
        self._log = KernelLog()
        self._folder = memory_cgroup()
        self._before = self._newest = memory_counts(self._folder)

    def look(self) -> None:
        """Now and then: what happened long before a death has nothing to do with it."""
        self._before, self._newest = self._newest, memory_counts(self._folder)

    def judge(self, pid: int) -> Verdict:
        """Why a process that got SIGKILL got it."""
        after, before = memory_counts(self._folder), self._before.oom_kill
        parent, _ = controller_cgroup("memory")
        drill = os.path.join(parent, drill_group(pid)) if parent else ""
        if drill and os.path.isdir(drill):
            after, before = memory_counts(drill), 0  # a drill gave it a group of its own
        inside = _difference(before, after.oom_kill)
        node = _difference(self._before.node_oom_kill, after.node_oom_kill)
        said = self._log.killing_of(pid)
        if said is None and node and self._log.authoritative:
            time.sleep(_PRINTK_S)  # the signal comes before the message
            said = self._log.killing_of(pid)
        oom = said
        if not self._log.authoritative and said is None:
            oom = (
                ("node" if after.limit_bytes is None else "cgroup")
                if inside
                else ("likely" if node else None)
            )
        data: dict[str, object] = {
            "oom_kill_delta": inside, "node_oom_kill_delta": node, "cgroup": after.cgroup,
            "cgroup_limit_bytes": after.limit_bytes, "cgroup_peak_bytes": after.peak_bytes,
            "cgroup_failcnt": after.failcnt,
        }  # fmt: skip
        if oom is not None:
            data["oom"] = oom
        return Verdict(oom, after.limit_bytes, data)


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
