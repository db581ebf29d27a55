"""Xids as the NVIDIA driver reports them, by a thread that waits for them."""

from __future__ import annotations

import ctypes
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from dctop.probes.base import KernelEvent
from dctop.probes.nvml import EVENT_XID, OK, TIMEOUT, Library, NvmlError, words

WAIT_MS = 1000
"""Each wait that ends wakes the thread for nothing. Who stops the thread waits for the end of one, within the
deadline of a worker's job (`nvidia.WAIT_S`)."""
HANG_S = 5.0
_DATA = struct.Struct("<QQQII")
"""device, type, data, GPU instance, compute instance."""
_MOST = 200


class XidWatch:
    """Waits for the Xids of `devices` (handle -> UUID, PCI address) until stopped or refused.

    Made in the worker thread: registering calls the driver. Raises NvmlError where no event set can be had.
    """

    def __init__(self, lib: Library, devices: Mapping[int, tuple[str, str | None]]) -> None:
        self.handles = frozenset(devices)
        self.watched: set[str] = set()
        """UUIDs whose Xids are reported."""
        self.problem: str | None = None
        self._lib, self._devices = lib, dict(devices)
        self._events: deque[KernelEvent] = deque(maxlen=_MOST)
        self._seq = 0
        self._stop = threading.Event()
        self._beat = time.monotonic()
        self._set = ctypes.c_void_p()
        wait = lib.function("nvmlEventSetWait_v2", "nvmlEventSetWait")
        lib.check(("nvmlEventSetCreate",), ctypes.byref(self._set))
        register = lib.function("nvmlDeviceRegisterEvents")
        for handle, (uuid, _) in devices.items():
            if register is not None and wait is not None:
                code = register(ctypes.c_void_p(handle), ctypes.c_ulonglong(EVENT_XID), self._set)
                if code == OK:
                    self.watched.add(uuid)
        self._thread: threading.Thread | None = None
        if self.watched and wait is not None:
            self._thread = threading.Thread(target=self._run, args=(wait,), name="dctop-xid", daemon=True)
            self._thread.start()

    def take(self) -> Sequence[KernelEvent]:
        """What came since the previous call."""
        out = []
        while self._events:
            out.append(self._events.popleft())
        return out

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def hangs(self) -> bool:
        """The driver does not come back to the waiting thread, though it was told for how long to wait."""
        return self.alive and time.monotonic() - self._beat > HANG_S

    def stop(self) -> bool:
        """End the thread; False if it does not: then the library must not be shut down."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(WAIT_MS / 1000 + 0.3)
            if self._thread.is_alive():
                return False
        free = self._lib.function("nvmlEventSetFree")
        if free is not None and self._set.value:
            free(self._set)
            self._set.value = None
        return True

    def leave(self) -> None:
        """Ask the thread to end and do not wait for it."""
        self._stop.set()

    def _run(self, wait: Callable[..., int]) -> None:
        data = ctypes.create_string_buffer(_DATA.size)
        pointer = ctypes.byref(data)
        while not self._stop.is_set():
            self._beat = time.monotonic()
            code = wait(self._set, pointer, WAIT_MS)
            if code == TIMEOUT:
                # A driver that answers at once instead of waiting must not keep a core busy.
                if time.monotonic() - self._beat < 0.1:
                    self._stop.wait(1.0)
                continue
            if code != OK:
                self.problem = f"Xids are not watched: {words(code)} in nvmlEventSetWait"
                return
            handle, kind, number, *_ = _DATA.unpack(data.raw)
            if kind & EVENT_XID:
                self._note(handle, number)

    def _note(self, handle: int, number: int) -> None:
        uuid, pci = self._devices.get(handle, (None, None))
        self._seq += 1
        fields = {"code": str(number), "source": "nvml", "pci": (pci or "?").partition(".")[0]}
        if uuid is not None:
            fields["gpu"] = uuid
        text = f"NVML: Xid (PCI:{fields['pci']}): {number}"
        self._events.append(KernelEvent(self._seq, time.time_ns(), "xid", text, fields))


def watch(lib: Library, devices: Mapping[int, tuple[str, str | None]]) -> tuple[XidWatch | None, str | None]:
    """(watch, why there is none)."""
    try:
        made = XidWatch(lib, devices)
    except NvmlError as e:
        return None, f"Xids are not watched: {e}"
    return made, None
