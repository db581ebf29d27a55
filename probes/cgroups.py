"""Where the own control groups are: /proc/self/cgroup and /proc/self/mountinfo, v1, v2 and both at once.

    9:pids:/user.slice          v1: hierarchy number, controllers, path
    4:memory:/docker/0123       v1
    0::/init.scope              v2 (the unified hierarchy)

A path is relative to the root of the reader's cgroup namespace, a mount shows the part of its hierarchy
that mountinfo's 4th field names. Either may begin with `/..` where a namespace hides what is above it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dctop.probes.files import printable

UNIFIED = ""
"""The controller name under which the v2 hierarchy is listed."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted hierarchy. `controllers` is empty for v2."""

    v2: bool
    controllers: frozenset[str]
    root: str
    point: str


@dataclass(frozen=True, slots=True)
class Place:
    """The own cgroup of one controller as a directory, and the directories above it that can be seen.

    `chain` begins with the own cgroup and ends with the mount's root. `path` is as the kernel prints it.
    """

    v2: bool
    path: str
    chain: tuple[Path, ...]


def parse_cgroup(data: bytes) -> dict[str, str]:
    """/proc/self/cgroup: controller -> path; the unified hierarchy is under `UNIFIED`."""
    out: dict[str, str] = {}
    for line in data.split(b"\n"):
        parts = line.split(b":", 2)  # the path may hold colons
        if len(parts) != 3 or not parts[2].startswith(b"/"):
            continue
        path = os.fsdecode(parts[2]).removesuffix(" (deleted)")
        if "\0" in path:
            continue
        for controller in parts[1].split(b","):
            out.setdefault(printable(controller, 64), path)
    return out


def parse_mounts(data: bytes) -> list[Mount]:
    """The cgroup mounts of /proc/self/mountinfo, later ones (which lie on top) first."""
    out: list[Mount] = []
    for line in data.split(b"\n"):
        before, dash, after = line.partition(b" - ")
        fields, kind = before.split(b" "), after.split(b" ")
        if not dash or len(fields) < 6 or kind[0] not in (b"cgroup", b"cgroup2"):
            continue
        root, point = _unescape(fields[3]), _unescape(fields[4])
        if "\0" in point or "\0" in root:
            continue
        v2 = kind[0] == b"cgroup2"
        options = frozenset() if v2 or len(kind) < 3 else frozenset(printable(kind[2], 512).split(","))
        out.append(Mount(v2, options, root, point))
    out.reverse()
    return out


def locate(
    controller: str, paths: dict[str, str], mounts: list[Mount], sys: Path
) -> tuple[Place | None, str | None]:
    """Where the own cgroup of `controller` is, and a problem line where it cannot be seen.

    A controller is with v1 if a v1 hierarchy has it, else with v2. (None, None): no control groups.
    """
    v2 = controller not in paths
    path = paths.get(UNIFIED if v2 else controller)
    if path is None:
        return None, None
    hidden: str | None = None
    for mount in mounts:
        if mount.v2 != v2 or not (v2 or controller in mount.controllers):
            continue
        below = _below(path, mount.root)
        point = _at(mount.point, sys)
        if below is None:
            hidden = f"{mount.point}: shows {mount.root} of the control groups, the own one is {path}"
            continue
        dirs = [point]
        for part in PurePosixPath(below).parts:
            dirs.append(dirs[-1] / part)
        if not dirs[-1].is_dir():
            hidden = f"{dirs[-1]}: the own control group cannot be seen there"
            continue
        return Place(v2, path, tuple(reversed(dirs))), None
    return None, hidden


def _below(path: str, root: str) -> str | None:
    """`path` relative to a mount that shows `root`; None if it lies outside or cannot be known.

    A path that begins with `/..` is above the namespace's root: what a whole-namespace mount shows is then
    that root (a process that joined a container's namespaces, not its cgroup), and that is what limits
    the container.
    """
    if root.startswith("/.."):
        return None
    if root == "/":
        return "" if path.startswith("/..") else path.strip("/")
    if path == root:
        return ""
    if path.startswith(root + "/"):
        return path[len(root) + 1 :]
    return None


def _at(point: str, sys: Path) -> Path:
    """A mount point under /sys, seen from the root `sys` that stands for /sys."""
    return sys / point[5:] if point.startswith("/sys/") else Path(point)


def _unescape(text: bytes) -> str:
    """mountinfo writes space, tab, newline and backslash as \\040 and so on."""
    out = bytearray()
    i = 0
    while i < len(text):
        digits = text[i + 1 : i + 4]
        if text[i : i + 1] == b"\\" and len(digits) == 3 and all(48 <= d <= 55 for d in digits):
            out.append(int(digits, 8) & 255)
            i += 4
        else:
            out.append(text[i])
            i += 1
    return os.fsdecode(bytes(out))
