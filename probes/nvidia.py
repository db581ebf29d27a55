"""NVIDIA GPUs through NVML: who is there, who is lost or hangs, and their readings put together.

Any call may block for ever in the driver, so calls are made by a worker thread that is left behind when one
does not come back; the other devices go on in another thread. A device that hangs or was lost is not called
again before it was found anew.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from dctop.probes.base import GpuProcess, KernelEvent, MakerSample, Value
from dctop.probes.nvidia_node import LIBRARY, WAIT_S, NvidiaNode
from dctop.probes.nvml import (
    DRIVER_NOT_LOADED,
    GONE,
    INVALID_ARGUMENT,
    LIBRARY_NOT_FOUND,
    MISMATCH,
    NO_PERMISSION,
    NOT_FOUND,
    OK,
    Library,
    NvmlError,
    words,
)
from dctop.probes.nvml_device import Device, clean
from dctop.probes.nvml_events import XidWatch, watch
from dctop.probes.nvml_health import Health
from dctop.probes.workers import Step, Workers

ENUMERATE_S = 5.0
"""How often devices are looked for; after a failure of the library also how often it is tried again."""
REINIT_MAX_S = 60.0
"""A lost device may need the library initialised anew: tried at once, then ever more rarely."""
CALL_S = 1.0
_MOST = 4096
_STATUS = {
    LIBRARY_NOT_FOUND: "no library",
    DRIVER_NOT_LOADED: "no driver",
    MISMATCH: "version mismatch",
    NO_PERMISSION: "no permission",
}


class Facts(NamedTuple):
    """What the system calls say."""

    driver: str | None = None
    cuda: str | None = None


class NvidiaMaker:
    """`library`: what the loader is asked for; `now`: monotonic seconds, for tests."""

    vendor = "nvidia"

    def __init__(
        self,
        proc: str | Path = "/proc",
        sys: str | Path = "/sys",
        library: str = LIBRARY,
        now: Callable[[], float] = time.monotonic,
        call_s: float = CALL_S,
        wait_s: float = WAIT_S,
    ) -> None:
        self._node = NvidiaNode(Path(proc), Path(sys))
        self._name, self._now = library, now
        self._workers = Workers("dctop-nvml", call_s, wait_s)
        self._lib: Library | None = None
        self._ready = False
        self._enumerate_at = -math.inf
        self._reinit_at, self._reinit_pause = -math.inf, ENUMERATE_S
        self._fingerprint: tuple[object, ...] | None = None
        self._status, self._detail = "error", "NVML has not been asked yet"
        self._count: int | None = None
        self._facts = Facts()
        self._pid_space: str | None = None
        self._pids: frozenset[int] = frozenset()
        self._pids_are_here = False
        self._devices: dict[str, Device] = {}
        self._seen: dict[str, int] = {}
        self._finding: dict[int, str] = {}
        """Index -> the function being called to see who is there."""
        self._unnamed: dict[int, str] = {}
        """Index -> why the device there could not be identified."""
        self._watch: XidWatch | None = None
        self._watch_problem: str | None = None
        self._was_stuck: set[int] = set()
        self._health: dict[str, Health] = {}

    # -- what the probes call ----------------------------------------------------------------------------

    def read(self) -> MakerSample:
        now = self._now()
        done = self._workers.run(lambda: self._steps(now))
        self._mark_hanging()
        if not done:
            self._hanging_library()
        return self._sample(now)

    def read_health(self) -> MakerSample:
        if self._workers.running is None and self._ready:
            self._workers.run(self._health_steps)
            self._mark_hanging()
        values: dict[str, Value] = {}
        for device in tuple(self._devices.values()):
            fresh = device.state == "ok"
            values.update(device.health if fresh else dict.fromkeys(device.health))
            watched = self._watch is not None and device.uuid in self._watch.watched
            if device.parent is None:
                live = self._watch is not None and self._watch.alive and not self._watch.hangs
                values[device.keys["xid_watch"]] = int(watched and live)
        return MakerSample(self._status, self._detail, self._count, values)

    def close(self) -> None:
        """Nothing is waited for: the library is not shut down, which could hang; the process ends it."""
        if self._watch is not None:
            self._watch.leave()
        self._workers.close()

    # -- steps -------------------------------------------------------------------------------------------

    def _steps(self, now: float) -> list[Step]:
        steps: list[Step] = []
        stuck = {s.what for s in self._workers.stuck()}
        if now >= self._enumerate_at and not stuck & {"enumerate", "settle"}:
            self._enumerate_at = now + ENUMERATE_S
            steps.append(Step("library", self._open_library, exclusive=True))
        steps.append(Step("devices", lambda: self._device_steps(now)))
        return steps

    def _device_steps(self, now: float) -> list[Step]:
        """One step a device that may be called; made after the enumeration: new ones are read at once."""
        hanging = {id(s.owner) for s in self._workers.stuck()}
        return [
            Step("read", lambda d=d: self._read_device(d, now), owner=d)  # type: ignore[misc]
            for d in tuple(self._devices.values())
            if d.parent is None and self._callable(d) and id(d) not in hanging
        ]

    def _callable(self, device: Device) -> bool:
        return self._ready and device.attached and device.state in ("ok", "error")

    def _read_device(self, device: Device, now: float) -> None:
        device.read(now)
        for child in device.children:
            if device.state != "ok":
                child.fall(device.state, f"its GPU: {device.problem}")
            elif child.attached:
                child.read(now)

    def _health_steps(self) -> list[Step]:
        hanging = {id(s.owner) for s in self._workers.stuck()}
        return [
            Step("health", lambda d=d: self._read_health_of(d), owner=d)  # type: ignore[misc]
            for d in tuple(self._devices.values())
            if d.parent is None and self._callable(d) and d.state == "ok" and id(d) not in hanging
        ]

    def _read_health_of(self, device: Device) -> None:
        for one in (device, *device.children):
            health = self._health.get(one.uuid)
            if health is None or health.device is not one or health.handle is not one.handle:
                assert self._lib is not None
                health = self._health[one.uuid] = Health(self._lib, one, self._node)
            health.read()
            if one.state != "ok":
                return

    # -- the library (worker thread) ---------------------------------------------------------------------

    def _open_library(self) -> list[Step] | None:
        """Load and initialise where needed. Nothing else runs meanwhile."""
        look = self._node.look()
        self._pid_space = self._node.pid_space()
        changed = self._fingerprint is not None and look != self._fingerprint
        self._fingerprint = look
        try:
            if self._lib is None:
                self._lib = Library(self._name)
            if self._ready and self._must_start_again(changed):
                self._shut_down()
            if not self._ready:
                self._initialise(self._lib)
        except OSError:
            self._failed("no library", f"{self._name} is not installed")
            return None
        except NvmlError as e:
            self._failed(_STATUS.get(e.code, "error"), f"NVML: {e}")
            if e.code == MISMATCH:
                self._drop_library()
            return None
        return [Step("enumerate", self._enumerate)]

    def _initialise(self, lib: Library) -> None:
        lib.check(("nvmlInit_v2", "nvmlInit"))
        self._ready = True
        for device in tuple(self._devices.values()):
            device.release()
        version = ctypes.c_int()
        call = lib.function("nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion")
        cuda = None
        if call is not None and call(ctypes.byref(version)) == OK and 0 < version.value < 1_000_000:
            cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
        self._facts = Facts(clean(lib.text("nvmlSystemGetDriverVersion")), cuda)

    def _must_start_again(self, changed: bool) -> bool:
        """Whether something is there that only a new initialisation can find; never while a thread hangs."""
        if self._workers.stuck():
            return False
        bad = any(d.state != "ok" for d in tuple(self._devices.values()))
        if changed:
            self._reinit_pause = ENUMERATE_S
            return True
        now = self._now()
        if not bad:
            self._reinit_at, self._reinit_pause = -math.inf, ENUMERATE_S
            return False
        if now < self._reinit_at:
            return False
        self._reinit_at = now + self._reinit_pause
        self._reinit_pause = min(2 * self._reinit_pause, REINIT_MAX_S)
        return True

    def _shut_down(self) -> None:
        assert self._lib is not None
        if self._watch is not None:
            if not self._watch.stop():
                return  # a thread is inside the library: it stays as it is
            self._watch = None
        for device in tuple(self._devices.values()):
            device.release()
        self._ready = False
        call = self._lib.function("nvmlShutdown")
        if call is not None:
            call()

    def _drop_library(self) -> None:
        """After a driver upgrade the right library is another file: the next try loads what is there then."""
        lib, self._lib = self._lib, None
        if lib is not None and not self._workers.stuck():
            lib.unload()

    def _failed(self, status: str, what: str) -> None:
        self._ready = False
        self._count = None
        self._status, self._detail = status, self._node.advise(status, what)
        for device in tuple(self._devices.values()):
            device.release()
            if device.state in ("ok", "error"):
                device.fall("lost", what)

    # -- who is there (worker thread) --------------------------------------------------------------------

    def _enumerate(self) -> list[Step] | None:
        assert self._lib is not None
        count = ctypes.c_uint()
        try:
            self._lib.check(("nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"), ctypes.byref(count))
        except NvmlError as e:
            self._shut_down()
            self._failed(_STATUS.get(e.code, "error"), f"NVML: {e}")
            return None
        self._count = count.value if count.value <= _MOST else None
        self._seen, self._unnamed = {}, {}
        hanging = self._hanging_indexes()
        steps = [
            Step("handle", lambda i=i: self._find(i), owner=i)  # type: ignore[misc]
            for i in range(min(count.value, 64))
            if i not in hanging
        ]
        steps.append(Step("settle", self._settle))
        if not any(s.what == "watch" for s in self._workers.stuck()):
            steps.append(Step("watch", self._watch_xids))
        return steps

    def _hanging_indexes(self) -> set[int]:
        owners = [s.owner for s in self._workers.stuck()]
        return {o.index if isinstance(o, Device) else o for o in owners if isinstance(o, (Device, int))}

    def _find(self, index: int) -> None:
        """Take the handle of one index and see who it is."""
        lib = self._lib
        assert lib is not None
        handle = ctypes.c_void_p()
        names = ("nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex")
        self._finding[index] = names[-1]
        try:
            lib.check(names, index, ctypes.byref(handle))
        except NvmlError as e:
            self._cannot_open(index, e)
            return
        self._finding[index] = "nvmlDeviceGetUUID"
        uuid = clean(lib.text("nvmlDeviceGetUUID", handle))
        if not uuid or not handle.value:
            self._unnamed[index] = "it does not tell its UUID"
            return
        self._devices.pop(_place(index), None)
        device = self._devices.get(uuid)
        if device is None:
            device = self._devices[uuid] = Device(uuid, index)
        self._seen[uuid] = index
        self._finding[index] = "nvmlDeviceGetName"
        self._take(device, index, handle.value)
        self._finding[index] = "nvmlDeviceGetMigMode"
        self._find_parts(device)

    def _cannot_open(self, index: int, e: NvmlError) -> None:
        """It keeps its row; one that was never seen gets one by its index."""
        known = next(
            (d for d in tuple(self._devices.values()) if d.index == index and d.parent is None), None
        )
        if known is not None and e.code not in GONE and known.attached:
            self._unnamed[index] = str(e)
            return  # whether it is still there, its own readings say
        if known is None and e.code in (INVALID_ARGUMENT, NOT_FOUND):
            self._unnamed[index] = str(e)
            return  # the count was wrong, nothing is there
        if known is None:
            known = self._devices[_place(index)] = Device(_place(index), index)
        self._seen[known.uuid] = index
        known.fall(GONE.get(e.code, "error"), str(e))
        known.release()

    def _take(self, device: Device, index: int, handle: int) -> None:
        assert self._lib is not None
        device.index = index
        if not device.attached or device.handle.value != handle or device.state not in ("ok", "error"):
            device.release()
            device.attach(self._lib, handle)
        if device.state not in ("ok", "error"):
            device.state = "error"  # until it was read well: then it is ok
        if device.name is None:
            device.name = clean(self._lib.text("nvmlDeviceGetName", device.handle))
        if device.pci is None and device.parent is None:
            device.pci = self._address(device)

    def _address(self, device: Device) -> str | None:
        """As sysfs and the kernel log write it."""
        assert self._lib is not None
        call = self._lib.function(
            "nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2", "nvmlDeviceGetPciInfo"
        )
        buffer = ctypes.create_string_buffer(128)
        if call is None or call(device.handle, buffer) != OK:
            return None
        domain, bus, slot = (int.from_bytes(buffer.raw[i : i + 4], "little") for i in (16, 20, 24))
        if domain > 0xFFFFFFFF or bus > 0xFF or slot > 0x1F:
            return None
        return f"{domain:04x}:{bus:02x}:{slot:02x}.0"

    def _find_parts(self, device: Device) -> None:
        """MIG devices of a GPU."""
        lib, handle = self._lib, device.handle
        assert lib is not None
        mode, pending, most = ctypes.c_uint(), ctypes.c_uint(), ctypes.c_uint()
        get_mode = lib.function("nvmlDeviceGetMigMode")
        on = get_mode is not None and get_mode(handle, ctypes.byref(mode), ctypes.byref(pending)) == OK
        get_most = lib.function("nvmlDeviceGetMaxMigDeviceCount")
        get_part = lib.function("nvmlDeviceGetMigDeviceHandleByIndex")
        children: list[Device] = []
        if on and mode.value == 1 and get_most is not None and get_part is not None:
            get_most(handle, ctypes.byref(most))
            for i in range(min(most.value, 64)):
                part = ctypes.c_void_p()
                code = get_part(handle, i, ctypes.byref(part))
                if code == OK and part.value and (child := self._part(device, i, part)) is not None:
                    children.append(child)
                elif code not in (OK, NOT_FOUND):
                    break
        if [c.uuid for c in device.children] != [c.uuid for c in children]:
            # What a whole device supports, one that is partitioned may not, and the other way round.
            device.attach(lib, handle.value)
        device.children = children

    def _part(self, parent: Device, index: int, handle: ctypes.c_void_p) -> Device | None:
        assert self._lib is not None
        uuid = clean(self._lib.text("nvmlDeviceGetUUID", handle))
        if not uuid or uuid == parent.uuid:
            return None
        child = self._devices.get(uuid)
        if child is None or child.parent is not parent:
            child = self._devices[uuid] = Device(uuid, index, parent)
        self._seen[uuid] = index
        child.gpu_instance = self._small("nvmlDeviceGetGpuInstanceId", handle)
        child.compute_instance = self._small("nvmlDeviceGetComputeInstanceId", handle)
        self._take(child, index, handle.value or 0)
        return child

    def _small(self, name: str, handle: ctypes.c_void_p) -> int | None:
        assert self._lib is not None
        call, n = self._lib.function(name), ctypes.c_uint()
        return (
            n.value if call is not None and call(handle, ctypes.byref(n)) == OK and n.value < 4096 else None
        )

    def _settle(self) -> None:
        """Everything was looked at: who is missing, and what the outcome is called."""
        hanging = self._hanging_indexes()
        for uuid, device in tuple(self._devices.items()):
            owner = device.parent or device
            if uuid in self._seen or owner.index in hanging:
                continue
            if owner.index in self._unnamed:
                if not device.attached and device.state == "ok":
                    device.fall("error", self._unnamed[owner.index])
                continue
            if device.parent is not None:
                del self._devices[uuid]  # a MIG device that was taken apart is no loss
            elif uuid == _place(device.index):
                del self._devices[uuid]
            elif device.state == "ok" or device.attached:
                device.fall("lost", "the driver does not report it any more")
                device.release()
        self._expect_listed()
        if any(d.parent is None and d.attached for d in tuple(self._devices.values())) or self._devices:
            self._status, self._detail = "ok", f"driver {self._facts.driver or self._node.driver}"
        elif self._unnamed:
            why = next(iter(self._unnamed.values()))
            self._status = "no permission" if words(NO_PERMISSION) in why else "error"
            self._detail = self._node.advise(self._status, f"no GPU can be opened: {why}")
        else:
            self._status = "no device"
            what = "the NVIDIA driver is loaded but reports no device"
            self._detail = self._node.advise("no device", what)

    def _expect_listed(self) -> None:
        """A GPU that the kernel module lists and the library does not is a lost one, with its own row."""
        known = {d.pci for d in tuple(self._devices.values())}
        for pci, (uuid, model) in self._node.known.items():
            name = uuid or f"nvidia-{pci}"
            if pci in known or name in self._devices:
                continue
            place = next((n for n, d in tuple(self._devices.items()) if n == _place(d.index)), None)
            if place is not None:
                del self._devices[place]  # the same one, by a better name
            device = self._devices[name] = Device(name, len(self._devices))
            device.pci, device.name = pci, model
            device.fall("lost", "the kernel module lists it, the NVML library does not")

    def _watch_xids(self) -> None:
        wanted: Mapping[int, tuple[str, str | None]] = {
            d.handle.value: (d.uuid, d.pci)
            for d in tuple(self._devices.values())
            if d.attached and d.parent is None and d.handle.value
        }
        old = self._watch
        if old is not None and (old.alive or not old.watched) and old.handles == frozenset(wanted):
            return
        if old is not None and not old.stop():
            return
        assert self._lib is not None
        self._watch, self._watch_problem = watch(self._lib, wanted) if wanted else (None, None)

    # -- what hangs --------------------------------------------------------------------------------------

    def _mark_hanging(self) -> None:
        stuck = self._workers.stuck()
        now = time.monotonic()
        for step in stuck:
            owner, age = step.owner, now - step.since
            what = "a call"
            if isinstance(owner, int):
                what = self._finding.get(owner, what)
                owner = self._at(owner)
            elif isinstance(owner, Device):
                what = owner.calling
            if isinstance(owner, Device):
                for device in (owner, *owner.children):
                    device.hang(f"{what} has not come back for {age:.0f} s")
        present = {id(step) for step in stuck}
        if self._was_stuck - present:
            self._enumerate_at = -math.inf  # something came back: it is found anew before it is called
        self._was_stuck = present

    def _at(self, index: int) -> Device:
        """The device of an index; one that hung before it could say who it is gets a row by its index."""
        for device in tuple(self._devices.values()):
            if device.index == index and device.parent is None:
                return device
        made = self._devices[_place(index)] = Device(_place(index), index)
        return made

    def _hanging_library(self) -> None:
        step = self._workers.running
        if step is None or not step.exclusive:
            return
        age = time.monotonic() - step.since
        self._status, self._count = "hung", None
        self._detail = self._node.advise(
            "hung", f"the driver has not answered nvmlInit for {age:.0f} s; nvidia-smi will hang too"
        )
        for device in tuple(self._devices.values()):
            device.hang(f"the driver has not answered for {age:.0f} s")

    # -- the sample --------------------------------------------------------------------------------------

    def _sample(self, now: float) -> MakerSample:
        values: dict[str, Value] = {}
        processes: list[GpuProcess] = []
        problems: list[str] = []
        for device in sorted(self._devices.values(), key=_order):
            device.show(now, values, processes)
            problem = values[device.keys["problem"]]
            if problem is not None:
                problems.append(f"GPU {device.index} {device.uuid}: {problem}")
        values["gpu.driver"], values["gpu.cuda_version"] = (
            self._facts.driver or self._node.driver,
            self._facts.cuda,
        )
        values["gpu.pid_space"] = self._whose_pids(processes) if self._devices else None
        problems += self._more_problems()
        events: list[KernelEvent] = [] if self._watch is None else list(self._watch.take())
        return MakerSample(
            self._status, self._detail, self._count, values, processes, events, tuple(problems)
        )

    def _whose_pids(self, processes: list[GpuProcess]) -> str | None:
        """own | host. In a container some drivers give its own pids after all: then most of them are here."""
        if self._pid_space != "host" or not processes:
            return self._pid_space
        pids = frozenset(p.pid for p in processes)
        if pids != self._pids:
            self._pids = pids
            self._pids_are_here = 2 * sum(map(self._node.has_process, pids)) > len(pids)
        return "own" if self._pids_are_here else "host"

    def _more_problems(self) -> Iterable[str]:
        for index, why in tuple(self._unnamed.items()):
            if not any(d.index == index and d.state != "ok" for d in tuple(self._devices.values())):
                yield f"GPU {index}: {why}"
        missing = len(self._node.bus) - (self._count or 0)
        if self._ready and self._count is not None and missing > 0 and self._pid_space != "host":
            total = len(self._node.bus)
            yield f"{missing} of {total} NVIDIA devices on the PCI bus are not reported by the driver"
        if self._watch_problem is not None:
            yield self._watch_problem
        if self._watch is not None:
            if self._watch.problem is not None:
                yield self._watch.problem
            elif self._watch.hangs:
                yield "Xids are not watched: nvmlEventSetWait does not come back"


def _place(index: int) -> str:
    """The label of a device that does not say who it is."""
    return f"nvidia-{index}"


def _order(device: Device) -> tuple[int, int]:
    if device.parent is None:
        return device.index, -1
    return device.parent.index, device.index
