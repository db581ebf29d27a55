"""Energy a run uses, by the node's own counters from its beginning to its end.

Worker side, no torch: the supervisor looks. CPU packages count by RAPL (`/sys/class/powercap`, microjoules
that wrap around), GPUs by NVML's total energy (millijoules since the driver was loaded). What the node does
not count, or does not let us read, is None.
"""

from __future__ import annotations

import ctypes
import glob
import os
import signal
import threading
from collections.abc import Mapping

POWERCAP = "/sys/class/powercap"
NVML = "libnvidia-ml.so.1"
PATIENCE_S = 2.0
"""The driver gets so long for its last answer: a GPU that hangs must not keep the run from ending."""


class Packages:
    """CPU packages of `powercap`; intel-rapl-mmio counts the same energy again and is left out."""

    def __init__(self, powercap: str = POWERCAP) -> None:
        self._last: dict[str, int] = {}
        self._used = 0
        for folder in glob.glob(os.path.join(powercap, "intel-rapl:[0-9]*")):
            if (_text(os.path.join(folder, "name")) or "").startswith("package"):
                now = _number(os.path.join(folder, "energy_uj"))
                if now is not None:
                    self._last[folder] = now

    def look(self) -> None:
        """Before a counter can have gone round twice: at 300 W it does so every quarter of an hour."""
        for folder, before in self._last.items():
            now = _number(os.path.join(folder, "energy_uj"))
            if now is None:
                continue
            if now < before:
                before -= _number(os.path.join(folder, "max_energy_range_uj")) or before
            self._used += now - before
            self._last[folder] = now

    def joules(self) -> float | None:
        """Since they were first seen. None: there is no counter, or it may not be read."""
        self.look()
        return self._used * 1e-6 if self._last else None


class Gpus:
    """Energy counters of all GPUs of the driver, read in a thread that may hang alone."""

    def __init__(self) -> None:
        self._first: list[int | None] = []
        self._now: list[int | None] = []
        self._names: list[str] = []
        self._ask = threading.Event()
        self._answered = threading.Event()
        threading.Thread(target=self._run, name="energy", daemon=True).start()

    def joules(self, visible: list[str]) -> float | None:
        """Since the beginning, of the GPUs in `visible` (index, or UUID or its beginning) together. None: one
        of them does not count, is not there, or does not answer."""
        self._answered.clear()
        self._ask.set()
        if not visible or not self._answered.wait(PATIENCE_S):
            return None
        total = 0
        for wanted in visible:
            index = next(
                (i for i, n in enumerate(self._names) if wanted == str(i) or n.startswith(wanted)), None
            )
            first = None if index is None else self._first[index]
            now = None if index is None else self._now[index]
            if first is None or now is None or now < first:
                return None
            total += now - first
        return total * 1e-3

    def _run(self) -> None:
        # Signals are the main thread's: here they would wake nobody.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            nvml = ctypes.CDLL(NVML)
            if nvml.nvmlInit_v2():
                return
            handles = self._handles(nvml)
            self._first = [_energy(nvml, handle) for handle in handles]
            while self._ask.wait():
                self._ask.clear()
                self._now = [_energy(nvml, handle) for handle in handles]
                self._answered.set()
        except (OSError, AttributeError):
            return  # no driver, or one older than these calls

    def _handles(self, nvml: ctypes.CDLL) -> list[ctypes.c_void_p | None]:
        count = ctypes.c_uint()
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        handles: list[ctypes.c_void_p | None] = []
        for index in range(count.value):
            handle = ctypes.c_void_p()
            name = ctypes.create_string_buffer(96)
            lost = nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
            if not lost:
                nvml.nvmlDeviceGetUUID(handle, name, len(name))
            handles.append(None if lost else handle)
            self._names.append(name.value.decode("ascii", "replace"))
        return handles


def visible_gpus(device: object, ranks: int, environment: Mapping[str, str]) -> list[str]:
    """Which GPUs of the driver a run computes on: `cuda:0` is the first of CUDA_VISIBLE_DEVICES. Empty: on
    none. CUDA and the driver count alike only by bus id, which CUDA_DEVICE_ORDER asks for; machines with
    GPUs of one kind count alike anyway."""
    if not isinstance(device, str) or not device.startswith("cuda"):
        return []
    first = int(device.partition(":")[2] or 0)
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(i) for i in range(first, first + ranks)]
    return [name.strip() for name in named.split(",") if name.strip()][first : first + ranks]


class Meter:
    """Begins to count when it is made."""

    def __init__(self, powercap: str = POWERCAP) -> None:
        self._packages = Packages(powercap)
        self._gpus = Gpus()

    def look(self) -> None:
        self._packages.look()

    def taken(self, run: Mapping[str, object]) -> dict[str, float | None]:
        """`cpu_j` and `gpu_j` (of the GPUs that run.json says it trained on) since the beginning."""
        device, ranks = run.get("device"), run.get("ranks")
        chosen = device.get("chosen") if isinstance(device, dict) else None
        gpus = visible_gpus(chosen, ranks if isinstance(ranks, int) else 1, os.environ)
        return {"cpu_j": self._packages.joules(), "gpu_j": self._gpus.joules(gpus) if gpus else None}


def _energy(nvml: ctypes.CDLL, handle: ctypes.c_void_p | None) -> int | None:
    """Millijoules. None: it cannot be read (before Volta nothing is counted)."""
    value = ctypes.c_ulonglong()
    if handle is None or nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value)):
        return None
    return value.value


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as source:
            return source.read().strip()
    except OSError:
        return None


def _number(path: str) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.isdigit() else None
