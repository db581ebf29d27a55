"""Processes on one device: lists by kind, memory, and the driver's utilisation samples.

The samples come out of a ring of the driver: asked for everything it hands out junk (old time stamps, shares
above 100 %), so it is asked for the last second or so and what cannot be is left out.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence

from dctop.probes.base import GpuProcess
from dctop.probes.nvml import INSUFFICIENT_SIZE, NEVER, NOT_AVAILABLE, NOT_FOUND, OK, Function, Library
from dctop.probes.nvml_readings import Trouble

PID_MAX = 1 << 22
"""Linux hands out no higher one (PID_MAX_LIMIT)."""
SAMPLES_SINCE_US = 1_500_000
_LISTS = (
    ("C", "nvmlDeviceGetComputeRunningProcesses"),
    ("G", "nvmlDeviceGetGraphicsRunningProcesses"),
    ("M", "nvmlDeviceGetMPSComputeRunningProcesses"),
)
_V1, _V2 = struct.Struct("<I4xQ"), struct.Struct("<I4xQII")
_SAMPLE = struct.Struct("<I4xQIIII")
_ROOM, _ROOM_MAX = 128, 65536
Row = tuple[int, int, int, int]
"""pid, bytes, GPU instance, compute instance."""
Shares = tuple[int, int | None, int | None, int | None]
"""SM, memory, encoder, decoder in percent."""


class _List:
    """One kind of process. The oldest function is asked for what only it knows: rows without instances."""

    __slots__ = ("_buffer", "_calls", "_count", "_pointer", "_room", "kind", "name")

    def __init__(self, lib: Library, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        forms = ((f"{name}_v3", _V2), (f"{name}_v2", _V2), (name, _V1))
        self._calls = [(call, form) for n, form in forms if (call := lib.function(n)) is not None]
        self._count = ctypes.c_uint()
        self._pointer = ctypes.byref(self._count)
        self._size(_ROOM)

    def _size(self, room: int) -> None:
        self._room = room
        self._buffer = ctypes.create_string_buffer(_V2.size * room)

    def read(self, handle: ctypes.c_void_p) -> tuple[int, list[Row]]:
        """(code, rows). A code of NEVER: no function of this kind is there, or it is not supported."""
        code: int = min(NEVER)
        while self._calls:
            call, form = self._calls[0]
            self._count.value = self._room
            code = call(handle, self._pointer, self._buffer)
            if code == INSUFFICIENT_SIZE and self._room < _ROOM_MAX:
                self._size(min(max(2 * self._room, self._count.value + 16), _ROOM_MAX))
                continue
            if code in NEVER:
                self._calls.pop(0)
                continue
            break
        if code != OK:
            return code, []
        n = min(self._count.value, self._room)
        if not n:
            return OK, []
        rows = form.iter_unpack(memoryview(self._buffer)[: n * form.size])
        return OK, [r if len(r) == 4 else (*r, 0xFFFFFFFF, 0xFFFFFFFF) for r in rows]


class Processes:
    """Reads all lists of one device."""

    def __init__(self, lib: Library, handle: ctypes.c_void_p, uuid: str) -> None:
        self._handle, self._uuid = handle, uuid
        self._lists = [_List(lib, kind, name) for kind, name in _LISTS]
        self._sample: Function | None = lib.function("nvmlDeviceGetProcessUtilization")
        self._count = ctypes.c_uint()
        self._before: dict[int, GpuProcess] = {}
        self._size(_ROOM)
        self.calling = ""

    def _size(self, room: int) -> None:
        self._room = room
        self._buffer = ctypes.create_string_buffer(_SAMPLE.size * room)

    def read(self, now_us: int, total: int | None, trouble: Trouble, apart: Sequence[tuple[int, int]] = ()) \
            -> list[GpuProcess] | None:  # fmt: skip
        """Most memory first; None where no list could be read. `total`: memory of the device, the most that
        can be held; `apart`: instances (GPU, compute) that are devices of their own, with their processes."""
        rows: dict[int, tuple[str, int | None]] = {}
        known = False
        for one in tuple(self._lists):
            self.calling = one.name
            code, found = one.read(self._handle)
            if trouble.code:
                return None
            if code in NEVER:
                self._lists.remove(one)
                continue
            if code != OK:
                if trouble.note("processes", one.name, code):
                    return None
                continue
            known = True
            for pid, memory, gpu_instance, compute_instance in found:
                if not 0 < pid <= PID_MAX or (apart and (gpu_instance, compute_instance) in apart):
                    continue
                held = None if memory == NOT_AVAILABLE or (total and memory > total) else memory
                before = rows.get(pid)
                rows[pid] = (one.kind, held) if before is None else _both(before, one.kind, held)
        if not known:
            return None
        if not rows:
            self._before = {}
            return []
        shares = self._shares(now_us, trouble)
        out = [
            GpuProcess(pid, self._uuid, kind, held, *shares.get(pid, (None, None, None, None)))
            for pid, (kind, held) in rows.items()
        ]
        out.sort(key=_by_memory)
        # Rows that did not change are the same objects: frames that are kept share them.
        earlier = self._before
        out = [q if (q := earlier.get(p.pid)) is not None and q == p else p for p in out]
        self._before = {p.pid: p for p in out}
        return out

    def _shares(self, now_us: int, trouble: Trouble) -> dict[int, Shares]:
        """pid -> its latest believable sample."""
        since = now_us - SAMPLES_SINCE_US
        while self._sample is not None:
            self.calling = "nvmlDeviceGetProcessUtilization"
            self._count.value = self._room
            code = self._sample(
                self._handle, self._buffer, ctypes.byref(self._count), ctypes.c_ulonglong(max(0, since))
            )
            if code == OK or trouble.code:
                break
            if code == INSUFFICIENT_SIZE and self._room < _ROOM_MAX:
                self._size(min(max(2 * self._room, self._count.value + 16), _ROOM_MAX))
                continue
            if code in NEVER:
                self._sample = None
            elif code != NOT_FOUND:  # nothing new is no failure
                trouble.note("process utilisation", self.calling, code)
            return {}
        if self._sample is None:
            return {}
        out: dict[int, Shares] = {}
        latest: dict[int, int] = {}
        n = min(self._count.value, self._room)
        for pid, stamp, sm, memory, enc, dec in _SAMPLE.iter_unpack(
            memoryview(self._buffer)[: n * _SAMPLE.size]
        ):
            if sm > 100 or stamp <= since or stamp < latest.get(pid, 0):
                continue
            latest[pid] = stamp
            out[pid] = (sm, _share(memory), _share(enc), _share(dec))
        return out


def _share(value: int) -> int | None:
    return value if value <= 100 else None


def _both(before: tuple[str, int | None], kind: str, held: int | None) -> tuple[str, int | None]:
    """A process in two lists: compute and graphics is CG; through MPS is M; the memory is the same one."""
    kinds, memory = before
    if kind == "M" or kinds == "M":
        kinds = "M"
    elif kind not in kinds:
        kinds += kind
    return kinds, held if memory is None else memory if held is None else max(memory, held)


def _by_memory(p: GpuProcess) -> tuple[int, int]:
    return -(p.mem_bytes or 0), p.pid
