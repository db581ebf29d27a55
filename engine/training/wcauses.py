"""Faults of tier A: real causes on real resources, and how to take them away again.

Worker side, no torch needed to import. What needs rights that are missing raises CannotPlant with the reason:
a drill that did not happen must not look as if it had.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dctop.engine.training import wmem
else:
    import wmem

_NEW_MOUNTS = 0x00020000
_PRIVATE = 0x40000 | 0x4000
_PIECE = b"\xa5" * (1 << 20)
_ALIGN = 4096
SPARE = "slow-disk.bin"
IN_LOADER = ("loader-kill", "loader-exit", "loader-hang")


class CannotPlant(Exception):
    """One line: which fault and why not."""


class PlantedSample(RuntimeError):
    """What the `bad-sample` drill raises."""


# -- causes that last from onset to clearing ----------------------------------------------------------


def limit_memory(mib: float, _directory: str) -> Callable[[], None]:
    """Move into a memory cgroup whose limit is what this process has and `mib` more."""
    has = _status_bytes("VmRSS") + int(mib * (1 << 20))
    folder, old = _own_group("memory")
    file = "memory.limit_in_bytes" if old else "memory.max"
    _write(folder, file, str(has))
    if old:
        # Swapping would make a slow death of a quick one; where swap is not accounted there is no file.
        with contextlib.suppress(OSError, CannotPlant):
            _write(folder, "memory.memsw.limit_in_bytes", str(has))
    else:
        with contextlib.suppress(OSError, CannotPlant):
            _write(folder, "memory.swap.max", "0")
    _enter(folder)
    return lambda: _leave(folder)


def limit_cpu(quota_ms: float, _directory: str) -> Callable[[], None]:
    """Move into a CPU cgroup with that much of every 100 ms."""
    folder, old = _own_group("cpu")
    quota = max(1000, int(quota_ms * 1000))
    if old:
        _write(folder, "cpu.cfs_period_us", "100000")
        _write(folder, "cpu.cfs_quota_us", str(quota))
    else:
        _write(folder, "cpu.max", f"{quota} 100000")
    _enter(folder)
    return lambda: _leave(folder)


def limit_addresses(mib: float, _directory: str) -> Callable[[], None]:
    """Lower the address space limit to what is mapped and `mib` more (needs no rights)."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = _status_bytes("VmSize") + int(mib * (1 << 20))
    resource.setrlimit(resource.RLIMIT_AS, (size, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_AS, before)


def neighbours(count: float, _directory: str) -> Callable[[], None]:
    """Busy loops beside us; they die with us (and when their parent changes, whatever happens)."""
    code = "import os\np = os.getppid()\nwhile os.getppid() == p:\n    for _ in range(10**6): pass"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(max(1, int(count)))]

    def end() -> None:
        for process in started:
            process.kill()
            process.wait()

    return end


def fill(megabytes: float, directory: str) -> Callable[[], None]:
    """Ballast in the run directory, as much as fits."""
    path = os.path.join(directory, "ballast")
    _ballast(path, megabytes)
    return lambda: _unlink(path)


def fill_shm(megabytes: float, _directory: str) -> Callable[[], None]:
    """Fill the /dev/shm that `private_shm` made."""
    path = "/dev/shm/dctop-drill-ballast"
    _ballast(path, megabytes + 1)
    return lambda: _unlink(path)


def spare_file(mib: float, directory: str) -> Callable[[], None]:
    """The file that `slow-disk` reads from: past the page cache, so size does not matter."""
    path = os.path.join(directory, SPARE)
    try:
        with open(path, "wb") as out:
            for _ in range(max(1, int(mib))):
                out.write(_PIECE)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise CannotPlant(f"fault slow-disk: {path}: {error.strerror}") from None
    return lambda: _unlink(path)


LASTING: dict[str, Callable[[float, str], Callable[[], None]]] = {
    "cgroup-oom": limit_memory, "mem-pressure": limit_memory, "cpu-quota": limit_cpu,
    "alloc-fail": limit_addresses, "neighbour": neighbours, "fill": fill, "shm": fill_shm,
    "slow-disk": spare_file,
}  # fmt: skip


def private_shm(megabytes: float) -> None:
    """A /dev/shm of that size for this thread and what it starts from now on. Before the loaders start."""
    libc = ctypes.CDLL(None, use_errno=True)
    size = f"size={max(1, int(megabytes))}m".encode()
    if (
        libc.unshare(_NEW_MOUNTS)
        or libc.mount(b"none", b"/", None, _PRIVATE, None)
        or libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, size)
    ):
        why = os.strerror(ctypes.get_errno()).lower()
        raise CannotPlant(f"fault shm: a /dev/shm of its own cannot be mounted: {why} (needs root)")


# -- causes in the path of reading (also in loader processes) -------------------------------------------


def while_reading(name: str, size: float, onset: bool, directory: str) -> None:
    """One batch under a fault of the data path. `onset`: the first step of the fault."""
    if name in ("slow-data", "straggler"):
        time.sleep(size / 1000)
    elif name == "slow-transform":
        compute(size)
    elif name == "slow-disk":
        _read_directly(os.path.join(directory, SPARE), size)
    elif name == "bad-sample":
        raise PlantedSample("the bad-sample drill: sample cannot be decoded")
    elif name in IN_LOADER and onset and in_loader():
        if name == "loader-kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif name == "loader-exit":
            os._exit(3)
        hang(size)


def compute(milliseconds: float) -> None:
    """Keep one core busy: CPU time, not wall time, as a transform would."""
    end = time.thread_time() + milliseconds / 1000
    while time.thread_time() < end:
        pass


def in_loader() -> bool:
    from torch.utils.data import get_worker_info

    return get_worker_info() is not None


def _read_directly(path: str, mib: float) -> None:
    """Read past the page cache where the file system can (tmpfs cannot), else drop the pages first."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except FileNotFoundError:
        return  # not written yet: this batch is fetched ahead of the onset
    except OSError:
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    buffer = mmap.mmap(-1, 1 << 20)  # page aligned, as O_DIRECT needs
    try:
        at = 0
        for _ in range(max(1, int(mib))):
            got = os.preadv(fd, [buffer], at)
            at = at + got if got else 0
    finally:
        buffer.close()
        os.close(fd)


# -- causes that act at each step ------------------------------------------------------------------------


def each_step(name: str, size: float) -> None:
    if name == "straggler-compute":
        compute(size)
        return
    # Page cache in our cgroup: what was read before must go for what is read now.
    library = os.path.dirname(os.__file__)
    done, limit = 0, int(size * 4) << 20
    for file in sorted(os.listdir(library)):
        path = os.path.join(library, file)
        with contextlib.suppress(OSError), open(path, "rb", buffering=0) as source:
            os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while done < limit and (data := source.read(1 << 20)):
                done += len(data)


def be_first_victim() -> None:
    """The out-of-memory drill must take this process, never a neighbour's."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as out:
        out.write("1000")


def hang(seconds: float) -> None:
    end = time.monotonic() + seconds
    while not seconds or time.monotonic() < end:
        time.sleep(min(1.0, max(0.0, end - time.monotonic())) if seconds else 3600.0)


def stop(seconds: float) -> None:
    """SIGSTOP to ourselves; after `seconds` a child that is not stopped continues us."""
    if seconds:
        code = f"import os, time, signal\ntime.sleep({seconds})\nos.kill({os.getpid()}, signal.SIGCONT)"
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    os.kill(os.getpid(), signal.SIGSTOP)


# -- control groups ---------------------------------------------------------------------------------------


def _own_group(controller: str) -> tuple[str, bool]:
    """(a new cgroup for this process, whether it is v1). Raises CannotPlant."""
    parent, old = wmem.controller_cgroup(controller)
    if parent is None:
        raise CannotPlant(f"no {controller} cgroup can be found here")
    folder = os.path.join(parent, wmem.drill_group(os.getpid()))
    try:
        if not old:
            # A v2 group with processes gives no controllers to its children; the root may.
            with open(os.path.join(parent, "cgroup.subtree_control"), "w") as out:
                out.write(f"+{controller}")
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise CannotPlant(f"no {controller} cgroup can be made: {error.strerror} (needs root)") from None
    return folder, old


def _enter(folder: str) -> None:
    _write(folder, "cgroup.procs", str(os.getpid()))


def _leave(folder: str) -> None:
    """Back to the parent. The group goes when nobody is in it (else the supervisor removes it)."""
    with contextlib.suppress(OSError, CannotPlant):
        _write(os.path.dirname(folder), "cgroup.procs", str(os.getpid()))
        os.rmdir(folder)


def _write(folder: str, file: str, text: str) -> None:
    path = os.path.join(folder, file)
    try:
        with open(path, "w") as out:
            out.write(text)
    except OSError as error:
        raise CannotPlant(f"{path}: {error.strerror} (needs root)") from None


def _status_bytes(field: str) -> int:
    for line in wmem.read("/proc/self/status").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise CannotPlant(f"/proc/self/status has no {field}")


def _ballast(path: str, megabytes: float) -> None:
    left = int(megabytes * 1_000_000)
    try:
        with open(path, "wb", buffering=0) as out:
            while left > 0:
                left -= out.write(_PIECE[:left])
    except OSError:
        pass  # Full before the ballast was complete: what the drill is for.


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
