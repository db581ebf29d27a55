"""The mounts that are worth watching, from /proc/self/mountinfo. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

LOCAL = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "vfat", "exfat", "ntfs", "ntfs3", "fuseblk",
     "bcachefs", "jfs", "reiserfs", "nilfs2")
)  # fmt: skip
NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "afs", "9p",
     "virtiofs", "orangefs", "pvfs2", "wekafs", "panfs", "ocfs2", "gfs2", "mmfs", "fuse")
)  # fmt: skip
"""May hang with a server or a network. `fuse.*` as well, but for `_FUSE_NOT`."""
_FUSE_NOT = frozenset(
    ("gvfsd-fuse", "portal", "lxcfs", "snapfuse", "squashfuse", "squashfuse_ll", "archivemount", "rar2fs",
     "vmware-vmblock", "fusectl")
)  # fmt: skip
_TMPFS_NOT = re.compile(
    r"/run/.|/sys(?:/|$)|/proc(?:/|$)|/dev(?:/(?!shm$)|$)|/var/lib/kubelet/|/var/lib/(?:docker|containers)/|/snap/"
)
_FILES = frozenset(("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log"))
"""Single files that container runtimes bind from the host."""
MAX_MOUNTS = 64
_OCTAL = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mounted filesystem."""

    id: int
    device: str
    """`major:minor` of the filesystem."""
    path: str
    fstype: str
    source: str
    readonly: bool
    """The mount or the filesystem under it: after an error the kernel makes the latter read-only."""


def unescape(text: bytes) -> str:
    """Undo the kernel's `\\040` for blanks; undecodable bytes stay recoverable (surrogateescape), because
    the result is used as a path."""
    if b"\\" in text:
        text = _OCTAL.sub(lambda m: bytes((int(m.group(1), 8) & 255,)), text)
    return text.decode("utf-8", "surrogateescape")


def parse_line(line: bytes) -> Mount | None:
    """`36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/sda rw,errors=continue` (proc_pid_mountinfo(5));
    None where it is not of that form."""
    head, dash, tail = line.partition(b" - ")
    fields, rest = head.split(b" "), tail.split(b" ")
    if not dash or len(fields) < 6 or len(rest) < 2 or not fields[4].startswith(b"/"):
        return None
    if not fields[0].isdigit() or len(fields[0]) > 18 or b"\0" in line:
        return None
    options = fields[5].split(b",") + (rest[2].split(b",") if len(rest) > 2 else [])
    return Mount(
        int(fields[0]), fields[2].decode("latin-1"), unescape(fields[4]), unescape(rest[0]),
        unescape(rest[1]), b"ro" in options,
    )  # fmt: skip


def wanted(mount: Mount) -> bool:
    """Whether its filling up, or its going read-only, is anybody's concern."""
    fstype, path = mount.fstype, mount.path
    if path in _FILES:
        return False
    if fstype in LOCAL or fstype in NETWORK:
        return True
    if fstype == "overlay":
        return path == "/"
    if fstype == "tmpfs":
        return _TMPFS_NOT.match(path) is None
    return fstype.startswith("fuse.") and fstype[5:] not in _FUSE_NOT


def parse_mounts(data: bytes) -> list[Mount]:
    """The wanted mounts, one a filesystem, at most `MAX_MOUNTS`, in the order of the table.

    A mount on top of another hides it. Bind mounts and subvolumes are one filesystem (same device):
    the one with the shortest path stands for it.
    """
    visible: dict[str, Mount] = {}
    for line in data.split(b"\n"):
        mount = parse_line(line)
        if mount is not None:
            visible.pop(mount.path, None)
            visible[mount.path] = mount
    best: dict[str, Mount] = {}
    for mount in visible.values():
        if not wanted(mount):
            continue
        other = best.get(mount.device)
        if other is None or len(mount.path) < len(other.path):
            best[mount.device] = mount
    kept = sorted(best.values(), key=lambda m: (m.fstype == "tmpfs", len(m.path)))[:MAX_MOUNTS]
    return sorted(kept, key=lambda m: m.id)
