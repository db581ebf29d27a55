"""NVIDIA GPUs through NVML, keyed by UUID; and where there are none, why, and what to do about it.

NVML can hang in the driver, so this probe has a lane of its own. pynvml (nvidia-ml-py) is imported only
where the library it wraps can be loaded. A device that failed is not called again before NVML was
initialised anew: handles of lost devices have crashed monitors.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from dctop.probes.base import Sample, Value, series
from dctop.probes.files import printable, read_some

LIBRARY = "libnvidia-ml.so.1"
RETRY_S = 10.0
"""How long after a failure NVML is initialised anew, and how often devices are counted."""
_UTIL_MAX, _WATT_MAX, _CELSIUS_MAX, _MHZ_MAX = 100, 20_000, 250, 20_000
_NOT_SUPPORTED, _NO_PERMISSION, _DRIVER_NOT_LOADED = 3, 4, 9
_LIBRARY_NOT_FOUND, _FUNCTION_NOT_FOUND, _IS_LOST, _MISMATCH = 12, 13, 15, 18
_UNINITIALIZED, _RESET_REQUIRED = 1, 16
_STATUS = {
    _LIBRARY_NOT_FOUND: "no library",
    _DRIVER_NOT_LOADED: "no driver",
    _MISMATCH: "version mismatch",
    _NO_PERMISSION: "no permission",
}
_LOST = (_IS_LOST, _UNINITIALIZED, _RESET_REQUIRED)
_PER_GPU = (
    *("name", "index", "util_pct", "mem_used_bytes", "mem_total_bytes"),
    *("power_w", "power_limit_w", "temp_c", "sm_clock_mhz"),
)


class Nvml(Protocol):
    """What is used of pynvml; it has no types of its own."""

    def __getattr__(self, name: str) -> Any: ...


class _Gpu:
    """One device: its handle, its series keys, and the readings it does not support."""

    __slots__ = ("handle", "keys", "lost", "steady", "unsupported", "uuid")

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.handle: object = None
        self.keys = {name: series(f"gpu.{name}", gpu=uuid) for name in _PER_GPU}
        self.steady: dict[str, Value] = {}
        """What does not change: the name and, until devices are counted again, the index."""
        self.unsupported: set[str] = set()
        self.lost: str | None = None


class GpuProbe:
    """`nvml`: a module to use in place of pynvml; `now`: monotonic seconds. Both for tests."""

    name = "gpu"
    lane = "gpu"

    def __init__(
        self,
        proc: str | Path = "/proc",
        sys: str | Path = "/sys",
        nvml: Nvml | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.period_s = 1.0
        self._period: float | None = None
        self._proc, self._sys = Path(proc), Path(sys)
        self._nvml = nvml
        self._now = now
        self._ready = False
        self._again = -math.inf
        self._status, self._detail = "error", "NVML has not been asked yet"
        self._count: int | None = None
        self._pci = 0
        self._gpus: dict[str, _Gpu] = {}

    def read(self) -> Sample:
        if self._now() >= self._again:
            self._again = self._now() + RETRY_S
            self._enumerate()
            # Without a GPU there is nothing to read in between: one wake-up each retry is enough.
            self._period = self._period or self.period_s
            self.period_s = self._period if self._gpus else max(RETRY_S, self._period)
        mono, wall = time.monotonic_ns(), time.time_ns()
        values: dict[str, Value] = {}
        problems: list[str] = []
        for gpu in self._gpus.values():
            self._read_gpu(gpu, values)
            if gpu.lost is not None:
                problems.append(f"GPU {gpu.uuid}: {gpu.lost}")
        if self._ready and self._count is not None and self._pci > self._count:
            missing = self._pci - self._count
            problems.append(
                f"{missing} of {self._pci} NVIDIA devices on the PCI bus are not reported by the driver"
            )
        values["gpu.status"], values["gpu.detail"] = self._status, self._detail
        values["gpu.count"] = self._count
        return Sample("gpu", mono, wall, values, problems=tuple(problems))

    def close(self) -> None:
        if self._ready and self._nvml is not None:
            self._ready = False
            try:
                self._nvml.nvmlShutdown()
            except Exception:  # whatever the library does at the end is no matter any more
                return

    # -- what is there -------------------------------------------------------------------------------------

    def _enumerate(self) -> None:
        """Initialise where needed, count, and take handles. Sets the status; never raises."""
        self._pci = self._devices_on_the_bus()
        if self._nvml is None:
            self._nvml = self._load()
            if self._nvml is None:
                return
        nvml = self._nvml
        try:
            if any(gpu.lost for gpu in self._gpus.values()):
                self.close()
            if not self._ready:
                nvml.nvmlInit()
                self._ready = True
                for gpu in self._gpus.values():
                    gpu.handle = None
                    gpu.unsupported.clear()
            count = _whole(nvml.nvmlDeviceGetCount(), 4096)
        except Exception as e:
            self.close()
            self._fail(e)
            return
        self._count = count
        self._take_handles(nvml, count or 0)
        if self._gpus:
            self._status, self._detail = "ok", f"driver {self._driver()}"
        else:
            self._status = "no device"
            self._detail = self._advise("the NVIDIA driver is loaded but reports no device")

    def _take_handles(self, nvml: Nvml, count: int) -> None:
        seen: set[str] = set()
        for index in range(count):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                uuid = _text(nvml.nvmlDeviceGetUUID(handle))
            except Exception:
                continue  # a lost device keeps its row by its known UUID; an unknown one shows in the count
            if not uuid:
                continue
            seen.add(uuid)
            gpu = self._gpus.setdefault(uuid, _Gpu(uuid))
            if gpu.handle is None or gpu.lost is not None:
                gpu.handle, gpu.lost = handle, None
            gpu.steady["index"] = index
            if gpu.steady.get("name") is None:
                gpu.steady["name"] = self._name(gpu, nvml)
        for uuid, gpu in self._gpus.items():
            if uuid not in seen:
                gpu.handle, gpu.lost = None, gpu.lost or "the driver does not report it any more"

    def _name(self, gpu: _Gpu, nvml: Nvml) -> str | None:
        return _text(self._try(gpu, "name", lambda: nvml.nvmlDeviceGetName(gpu.handle)))

    def _load(self) -> Nvml | None:
        try:
            ctypes.CDLL(LIBRARY)
            module: Nvml = importlib.import_module("pynvml")
        except OSError:
            self._status = "no library"
            self._detail = self._advise(f"{LIBRARY} is not installed")
            return None
        except ImportError:
            self._status = "error"
            self._detail = "the Python module pynvml is missing: pip install nvidia-ml-py"
            return None
        return module

    def _fail(self, e: Exception) -> None:
        code = getattr(e, "value", None)
        self._status = _STATUS.get(code, "error") if isinstance(code, int) else "error"
        self._count = None
        self._detail = self._advise(f"NVML: {_text(str(e)) or type(e).__name__}")
        for gpu in self._gpus.values():
            gpu.handle, gpu.lost = None, gpu.lost or f"NVML failed: {_text(str(e))}"

    def _advise(self, what: str) -> str:
        """One line: what was found, and what to do about it."""
        on_bus = f"{self._pci} NVIDIA device{'s' if self._pci != 1 else ''} on the PCI bus"
        driver = self._driver()
        if self._status == "no library" and not self._pci and driver is None:
            return "this node has no NVIDIA GPU (none on the PCI bus, no NVML library)"
        if self._status == "no library":
            return (
                f"{on_bus}, but {what}: install the driver's libraries, or start the container with its GPUs"
            )
        if self._status == "no driver":
            todo = "load it (modprobe nvidia) or install it; after a kernel update rebuild it (dkms status)"
            return (
                f"{on_bus} but no driver loaded: {todo}"
                if self._pci
                else f"{what}; no NVIDIA device on the PCI bus"
            )
        if self._status == "version mismatch":
            loaded = f"kernel module {driver}" if driver else "the loaded kernel module"
            return f"the NVML library does not match {loaded}: reboot, or unload and load the nvidia modules"
        if self._status == "no permission":
            return f"{what}: check the rights of /dev/nvidia* and the container's device rules"
        return f"{what} ({on_bus})"

    def _driver(self) -> str | None:
        """Version of the loaded kernel module out of /proc/driver/nvidia/version."""
        text = printable((read_some(self._proc / "driver/nvidia/version") or b"").split(b"\n", 1)[0], 400)
        for word in text.split():
            if word[0].isdigit() and "." in word and word.replace(".", "").isdigit():
                return word
        return None

    def _devices_on_the_bus(self) -> int:
        """Display and 3D controllers of NVIDIA in /sys/bus/pci."""
        try:
            devices = list((self._sys / "bus/pci/devices").iterdir())
        except OSError:
            return 0
        return sum(
            (read_some(d / "vendor") or b"").strip() == b"0x10de"
            and (read_some(d / "class") or b"").startswith((b"0x0300", b"0x0302"))
            for d in devices
        )

    # -- values --------------------------------------------------------------------------------------------

    def _read_gpu(self, gpu: _Gpu, values: dict[str, Value]) -> None:
        """All keys of one device; a lost one has its name and index and otherwise nothing."""
        keys = gpu.keys
        for name, key in keys.items():
            values[key] = gpu.steady.get(name)
        nvml, handle = self._nvml, gpu.handle
        if nvml is None or handle is None or gpu.lost is not None:
            return
        used, total = self._memory(gpu, nvml)
        values[keys["mem_used_bytes"]], values[keys["mem_total_bytes"]] = used, total
        util = self._try(gpu, "util_pct", lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        values[keys["util_pct"]] = _whole(util, _UTIL_MAX)
        power = self._try(gpu, "power_w", lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        values[keys["power_w"]] = _watts(power)
        limit = self._try(gpu, "power_limit_w", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
        values[keys["power_limit_w"]] = _watts(limit)
        temp = self._try(
            gpu, "temp_c", lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
        )
        values[keys["temp_c"]] = _whole(temp, _CELSIUS_MAX)
        clock = self._try(
            gpu, "sm_clock_mhz", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)
        )
        values[keys["sm_clock_mhz"]] = _whole(clock, _MHZ_MAX)

    def _memory(self, gpu: _Gpu, nvml: Nvml) -> tuple[int | None, int | None]:
        """(used, total). Version 2 does not count what the driver reserves as used; old ones know only 1."""
        handle = gpu.handle
        info = self._try(gpu, "memory v2", lambda: nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2))
        if info is None:
            info = self._try(gpu, "memory v1", lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        used, total = _whole(getattr(info, "used", None)), _whole(getattr(info, "total", None))
        if used is not None and (total is None or used > total):
            used = None
        return used, total or None

    def _try(self, gpu: _Gpu, what: str, call: Callable[[], Any]) -> Any:
        """The call's result, or None. Not supported: not asked again; lost: the device is not asked again."""
        if gpu.lost is not None or what in gpu.unsupported:
            return None
        try:
            return call()
        except Exception as e:
            code = getattr(e, "value", None)
            if code in _LOST:
                gpu.lost = _text(str(e)) or "lost"
                self._again = min(self._again, self._now() + RETRY_S)
            elif code in (_NOT_SUPPORTED, _FUNCTION_NOT_FOUND) or isinstance(e, (AttributeError, TypeError)):
                gpu.unsupported.add(what)
            return None


class GpuHealthProbe:
    """What changes rarely or costs the driver more, of the same makers on the same lane."""

    name = "gpuhealth"
    lane = "gpu"

    def __init__(self, gpus: GpuProbe) -> None:
        self.period_s = 5.0
        self._gpus = gpus

    def read(self) -> Sample:
        return Sample("gpuhealth", time.monotonic_ns(), time.time_ns(), {})

    def close(self) -> None:
        return


def _whole(value: object, largest: int = 1 << 62) -> int | None:
    """A whole number 0..largest; anything else is nonsense and None."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
        return None
    return value


def _watts(milliwatts: object) -> float | None:
    n = _whole(milliwatts, _WATT_MAX * 1000)
    return None if n is None else n / 1000


def _text(value: object) -> str | None:
    if isinstance(value, str):
        value = value.encode("utf-8", "replace")
    return printable(value, 200) if isinstance(value, bytes) else None
