"""What a probe is: the one interface between the node and everything above it.

A probe reads one resource and returns a `Sample`: raw values keyed by series, raw table rows and
kernel events. It never derives a rate, never keeps history, never substitutes a number for something
it could not read: missing is None.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

Value = int | float | str | None
"""A raw value. Numbers are in the unit the catalogue gives; str for `info` metrics; None = not read."""


def series(metric: str, **labels: str) -> str:
    """The key of one series: `disk.read_bytes{disk=nvme0n1}`; labels in the catalogue's order.

    Characters that would break the form (`{ } = ,` and control characters) in a label's value are
    replaced by `_`, so `split_series` always inverts the key's shape.
    """
    if not labels:
        return metric
    inner = ",".join(f"{k}={_clean(v)}" for k, v in labels.items())
    return f"{metric}{{{inner}}}"


def split_series(key: str) -> tuple[str, dict[str, str]]:
    """`disk.read_bytes{disk=sda}` -> ("disk.read_bytes", {"disk": "sda"})."""
    name, brace, rest = key.partition("{")
    if not brace:
        return key, {}
    pairs = (part.partition("=") for part in rest.removesuffix("}").split(","))
    return name, {k: v for k, _, v in pairs}


_BAD = {ord(c): "_" for c in "{}=,"} | dict.fromkeys((*range(32), 127), "_")


def _clean(value: str) -> str:
    return value.translate(_BAD)


class Process(NamedTuple):
    """One process as read, raw. The same object is handed out again while nothing in it changed."""

    pid: int
    start_ticks: int
    """Start time in clock ticks after boot: (pid, start_ticks) identifies a process, pid alone does not."""
    ppid: int
    uid: int | None
    user: str | None
    name: str
    """comm, printable (control and undecodable bytes replaced)."""
    cmdline: str | None
    """Arguments joined by spaces, printable; None for kernel threads and where it may not be read."""
    state: str
    """One letter as in /proc/PID/stat: R S D Z T t X I."""
    cpu_ticks: int
    """utime + stime."""
    rss_bytes: int | None
    threads: int
    nice: int
    majflt: int
    read_bytes: int | None
    """Storage bytes read (/proc/PID/io); None without permission or not among those sampled."""
    write_bytes: int | None
    cgroup: str | None
    container: str | None
    """Short container id (12 hex digits) or name found in the cgroup path; None on the host."""
    job: str | None
    """`slurm:123456` or `k8s:pod-uid`; None outside a job."""
    gpu_mem_bytes: int | None
    gpu_sm_pct: float | None
    span_s: float | None = None
    """How long the counters of this row took to grow from those of the row before it, where that is longer
    than between two samples (idle processes of a crowded node are read in turns); else None."""


class GpuProcess(NamedTuple):
    """What one process holds and does on one GPU. Keyed by (pid, gpu): a pid may be on several."""

    pid: int
    """As the driver gives it; `gpu.pid_space` says whether it is one of /proc here or the host's."""
    gpu: str
    """The `gpu=` label of the device: on MIG devices theirs, not their parent's."""
    kind: str
    """Letters: C compute, G graphics, CG both, M compute through the multi-process service (MPS)."""
    mem_bytes: int | None
    """Device memory; None where the driver does not say (a MIG parent, no permission)."""
    sm_pct: int | None = None
    """Share of time its kernels ran, 0-100, over the latest second or so; None: no sample of it."""
    mem_util_pct: int | None = None
    """Share of time it read or wrote device memory."""
    enc_pct: int | None = None
    dec_pct: int | None = None


@dataclass(frozen=True, slots=True)
class KernelEvent:
    """One kernel-facility record of /dev/kmsg that matters, or an Xid the GPU driver reported itself.

    Those have the kind `xid`, the fields `code`, `pci`, `gpu` (UUID) and `source` = "nvml"; an Xid that came
    both ways is one event.
    """

    seq: int
    wall_ns: int
    kind: str
    """oom-kill | xid | hung-task | soft-lockup | mce | io-error | fs-readonly | other"""
    text: str
    """The line, printable."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What could be parsed: pid, task, constraint, code, pci, device ..."""


@dataclass(slots=True)
class Sample:
    """What one probe read at one moment."""

    probe: str
    mono_ns: int
    wall_ns: int
    values: dict[str, Value]
    processes: Sequence[Process] | None = None
    events: Sequence[KernelEvent] = ()
    problems: tuple[str, ...] = ()
    """One line each: what could not be read and why (`/proc/pressure/cpu: not available (psi=0)`)."""
    gpu_processes: Sequence[GpuProcess] | None = None
    """Of the probe `gpu` only: by GPU, then most memory first; None: nothing could be asked."""


class Probe(Protocol):
    """A reader of one resource. `read` may raise: the hub backs off and shows the message."""

    name: str
    """cpu, pressure, memory, container, disk, filesystem, network, links, process, kernel, clock, gpu"""
    period_s: float
    lane: str
    """Probes of one lane share a thread. `proc` is for reads that cannot block (plain /proc files);
    whatever can hang (a driver, statvfs, a process's memory map) has a lane of its own."""

    def read(self) -> Sample: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class MakerSample:
    """What one maker's reader found at one moment: merged with the other makers' into one sample."""

    status: str
    """As `gpu.status`."""
    detail: str
    count: int | None
    values: dict[str, Value]
    """Series of the catalogue's group (GPU or GPU_HEALTH), without gpu.status, gpu.detail, gpu.count."""
    processes: Sequence[GpuProcess] = ()
    events: Sequence[KernelEvent] = ()
    problems: tuple[str, ...] = ()


class GpuMaker(Protocol):
    """A reader of one maker's GPUs: a file of its own, listed in `gpu.makers`. It keeps to the catalogue's
    ids and never blocks for more than about two seconds: what can hang it gives up on by itself."""

    vendor: str
    """nvidia | amd | intel"""

    def read(self) -> MakerSample:
        """The series of the catalogue's GPU. Called every tick, first."""

    def read_health(self) -> MakerSample:
        """The series of GPU_HEALTH, at their own pace, by the same thread as `read`."""

    def close(self) -> None: ...


class KeptFile:
    """A file kept open and re-read with pread: half the cost of open-read-close (measured).

    Raises OSError as the kernel gives it, and opens anew on the next `read` after one (ENODEV, ESRCH on a
    re-created file). One pread is not the whole file: /proc files made of records (diskstats, vmstat,
    net/dev, mountinfo) hand out at most a page at a time, so reading goes on until nothing comes. A
    file shorter than half a page is taken as read at once: only a single record longer than that could
    break this rule, which none of the statistics files has.
    """

    __slots__ = ("_fd", "_path", "_size")

    def __init__(self, path: str | Path, size: int = 4096) -> None:
        self._path = os.fspath(path)
        self._fd = -1
        self._size = size

    def read(self) -> bytes:
        fd = self._fd
        if fd < 0:
            fd = self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(fd, self._size, 0)
            if len(data) < 2048 and len(data) < self._size:
                return data
            parts, total = [data], len(data)
            while data:
                data = os.pread(fd, self._size, total)
                parts.append(data)
                total += len(data)
        except OSError:
            self.close()
            raise
        if total >= self._size:
            self._size = total + total // 2
        return b"".join(parts)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        self.close()
