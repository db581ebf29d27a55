"""Whether something lies on a server. Imports nothing: also asked before anything else is loaded."""

from __future__ import annotations

import os

_NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "beegfs", "gpfs", "glusterfs",
     "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.juicefs", "virtiofs")
)  # fmt: skip


def network_fs(path: str, mountinfo: str = "/proc/self/mountinfo") -> str | None:
    """The type of the network file system that holds `path`; None on a local one."""
    real = os.path.realpath(path)
    best, kind = -1, ""
    try:
        with open(mountinfo, encoding="utf-8", errors="replace") as f:
            for line in f:
                left, _, right = line.partition(" - ")
                fields, words = left.split(), right.split()
                if len(fields) < 5 or not words:
                    continue
                mount = fields[4].replace("\\040", " ").rstrip("/")
                if (real == mount or real.startswith(f"{mount}/")) and len(mount) >= best:
                    best, kind = len(mount), words[0]
    except OSError:
        return None
    return kind if kind in _NETWORK else None
