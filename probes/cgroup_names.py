"""Which container and which job a process belongs to, from the paths in /proc/PID/cgroup.

Known forms (checked against what the runtimes create, cgroup v1 and v2, cgroupfs and systemd drivers):

- Docker `/docker/ID`, `docker-ID.scope`; containerd (CRI) `cri-containerd-ID.scope`,
  `kubepods-...slice:cri-containerd:ID`, `/kubepods/burstable/podUID/ID`; CRI-O `crio-ID.scope`;
  Podman `libpod-ID.scope`; nerdctl `nerdctl-ID.scope`; any last part that is 64 hex digits.
- LXC `/lxc/NAME`, `/lxc.payload.NAME`, `/lxc.payload/NAME`; systemd-nspawn `systemd-nspawn@NAME.service`.
- Kubernetes pod `podUID` (dashes, or underscores under the systemd driver; 32 digits for static pods).
- Slurm `/slurm/uid_1000/job_123/step_0`, `/system.slice/slurmstepd.scope/job_123/...`.

The monitors that runtimes keep outside (conmon, lxc.monitor) are on the host and are not matched.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dctop.probes.files import printable

MAX_PATH = 1024


class Placement(NamedTuple):
    """Where a process is placed. `cgroup`: its path (v1: of the memory controller)."""

    cgroup: str | None
    container: str | None
    job: str | None


NOWHERE = Placement(None, None, None)

_HEX_ID = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?=/|$)")
_CONMON = re.compile(r"conmon-[0-9a-f]{64}")
_LXC = re.compile(r"(?:^|/)lxc(?:/|\.payload[./])([^/]+)")
_NSPAWN = re.compile(r"/systemd-nspawn@([^/]+)\.service")
_POD = re.compile(r"(?:^|[/-])pod([0-9a-f]{8}(?:[-_]?[0-9a-f]{4}){3}[-_]?[0-9a-f]{12})(?=\.slice|[/:]|$)")
_SLURM = re.compile(r"slurm[^\n]*?/job_([0-9]{1,20})(?=/|$)")


def parse_cgroup(data: bytes) -> Placement:
    """/proc/PID/cgroup -> placement. Lines are `id:controllers:path`; the path may hold colons."""
    unified: bytes | None = None
    memory: bytes | None = None
    other: bytes | None = None
    paths: list[bytes] = []
    for line in data.split(b"\n"):
        parts = line.split(b":", 2)
        if len(parts) != 3 or not parts[2].startswith(b"/"):
            continue
        path = parts[2].removesuffix(b" (deleted)")
        if path not in paths:
            paths.append(path)
        if not parts[1]:
            unified = path
        elif b"memory" in parts[1].split(b","):
            memory = path
        elif other is None or len(path) > len(other):
            other = path
    main = next((p for p in (memory, unified, other) if p is not None), None)
    if main is None:
        return NOWHERE
    container = job = None
    for raw in paths:
        if raw != b"/":
            text = printable(raw, MAX_PATH)
            container = container or container_of(text)
            job = job or job_of(text)
    return Placement(printable(main, MAX_PATH), container, job)


def container_of(path: str) -> str | None:
    """12 hex digits of a container id, or a container's name; None on the host."""
    if "conmon-" in path and _CONMON.search(path):
        return None
    ids = _HEX_ID.findall(path)
    if ids:
        return str(ids[-1][:12])  # nested: the innermost
    found = _LXC.search(path) or _NSPAWN.search(path)
    return found.group(1)[:64] if found else None


def job_of(path: str) -> str | None:
    """`slurm:123` or `k8s:POD-UID` (with dashes); None outside a job."""
    slurm = _SLURM.search(path)
    if slurm:
        return f"slurm:{slurm.group(1)}"
    pods = _POD.findall(path)
    if not pods:
        return None
    uid = re.sub("[-_]", "", pods[-1])
    if "-" in pods[-1] or "_" in pods[-1]:
        uid = f"{uid[:8]}-{uid[8:12]}-{uid[12:16]}-{uid[16:20]}-{uid[20:]}"
    return f"k8s:{uid}"
