"""NVIDIA's management library, bound for cheap calls: prepared arguments, buffers decoded by `struct`.

The wrappers of pynvml build objects at every call, which at sixteen GPUs is most of the cost, and keep the
library for the life of the process, which after a driver upgrade is the wrong one. So the functions are bound
here; tests compare every structure and number in this file with pynvml's.
"""

from __future__ import annotations

import _ctypes
import ctypes
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dctop.probes.nvidia_node import LIBRARY

OK, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION = 0, 1, 2, 3, 4
NOT_FOUND, INSUFFICIENT_SIZE, DRIVER_NOT_LOADED, TIMEOUT = 6, 7, 9, 10
LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND, IS_LOST, RESET_REQUIRED, MISMATCH = 12, 13, 15, 16, 18
VERSION_UNKNOWN = 25
NEVER = frozenset((NOT_SUPPORTED, FUNCTION_NOT_FOUND, VERSION_UNKNOWN))
"""What these say of a reading holds until the library is initialised anew; any other error passes."""
GONE = {
    IS_LOST: "lost",
    RESET_REQUIRED: "reset",
    UNINITIALIZED: "error",
    DRIVER_NOT_LOADED: "error",
}
"""Codes after which no call is made with the handle any more -> `gpu.state`."""
_WORDS = {
    UNINITIALIZED: "uninitialised", INVALID_ARGUMENT: "invalid argument", NOT_SUPPORTED: "not supported",
    NO_PERMISSION: "no permission", NOT_FOUND: "not found", INSUFFICIENT_SIZE: "insufficient size",
    DRIVER_NOT_LOADED: "driver not loaded", TIMEOUT: "timeout", 11: "interrupt request issue",
    LIBRARY_NOT_FOUND: "library not found", FUNCTION_NOT_FOUND: "function not found",
    14: "corrupted infoROM", IS_LOST: "GPU is lost", RESET_REQUIRED: "GPU requires a reset",
    17: "the operating system blocked the request", MISMATCH: "driver/library version mismatch",
    19: "GPU in use", 20: "out of memory", 21: "no data", VERSION_UNKNOWN: "version not understood",
    999: "unknown error",
}  # fmt: skip

Function = Callable[..., int]
ALL_LINKS = 0xFFFFFFFF
NOT_AVAILABLE = 0xFFFFFFFFFFFFFFFF
MEMORY_V2 = 0x02000028
FABRIC_V2 = 0x02000024
MARGIN_V1 = 0x01000008
GPM_SUPPORT_VERSION = GPM_METRICS_VERSION = 1
GPM_METRICS_MAX = 477
EVENT_XID = 8
BUFFER = 96
"""Long enough for any name or UUID."""


def words(code: int) -> str:
    return f"{_WORDS.get(code, 'error')} ({code})"


class NvmlError(Exception):
    """A call failed; `code` as NVML gave it."""

    def __init__(self, function: str, code: int) -> None:
        super().__init__(f"{function}: {words(code)}")
        self.code = code


class Library:
    """The loaded library. Raises OSError where it cannot be loaded."""

    def __init__(self, name: str = LIBRARY) -> None:
        self._lib = ctypes.CDLL(name)
        self._found: dict[str, Function | None] = {}

    def function(self, *names: str) -> Function | None:
        """The first of these symbols the library has: newer versions of a function go first."""
        for name in names:
            if name not in self._found:
                try:
                    self._found[name] = getattr(self._lib, name)
                except AttributeError:
                    self._found[name] = None
            found = self._found[name]
            if found is not None:
                return found
        return None

    def check(self, names: Sequence[str], *args: Any) -> None:
        """Call; raise NvmlError on anything but success."""
        call = self.function(*names)
        code = FUNCTION_NOT_FOUND if call is None else call(*args)
        if code != OK:
            raise NvmlError(names[-1], code)

    def text(self, name: str, *args: Any) -> str | None:
        """A string the library writes into a buffer; None where it does not give it."""
        call = self.function(name)
        buffer = ctypes.create_string_buffer(BUFFER)
        if call is None or call(*args, buffer, BUFFER) != OK:
            return None
        return buffer.value.decode("utf-8", "replace")

    def unload(self) -> None:
        """Let go of the file, so that the next `Library` maps the one that is installed by then. Only where
        no thread is inside it."""
        self._found.clear()
        _ctypes.dlclose(self._lib._handle)


class Field(NamedTuple):
    """One field value to ask for. `key`: what it is called here; `scope`: a link, or ALL_LINKS."""

    key: str
    id: int
    scope: int = 0


FIELD = struct.Struct("<IIqqiiQ")
"""fieldId, scopeId, timestamp, latency, valueType, nvmlReturn, value."""
_DOUBLE, _UINT, _ULL, _SLL, _SINT, _USHORT = 0, 1, 3, 4, 5, 6


def typed(kind: int, raw: int) -> int | float:
    """The value of a field out of its eight bytes: of smaller types only theirs are written."""
    if kind == _ULL:
        return raw
    if kind == _UINT:
        return raw & 0xFFFFFFFF
    if kind == _DOUBLE:
        return float(struct.unpack("<d", struct.pack("<Q", raw))[0])
    if kind == _SINT:
        raw &= 0xFFFFFFFF
        return raw - (1 << 32) if raw >> 31 else raw
    if kind == _SLL:
        return raw - (1 << 64) if raw >> 63 else raw
    return raw & 0xFFFF if kind == _USHORT else raw


class Fields:
    """Field values of one device in one call. A field that is not supported is asked for no more."""

    __slots__ = ("_buffer", "_call", "_fine", "_format", "_handle", "_names", "_plain", "_wanted", "failed")

    def __init__(self, call: Function, handle: ctypes.c_void_p, wanted: Sequence[Field]) -> None:
        self._call, self._handle = call, handle
        self.failed: dict[str, int] = {}
        """Key -> code of those that failed at the latest reading."""
        self._prepare(wanted)

    def _prepare(self, wanted: Sequence[Field]) -> None:
        self._wanted = tuple(wanted)
        self._buffer = ctypes.create_string_buffer(FIELD.size * max(1, len(wanted)))
        for i, f in enumerate(wanted):
            FIELD.pack_into(self._buffer, i * FIELD.size, f.id, f.scope, 0, 0, 0, UNINITIALIZED, 0)
        self._format = struct.Struct("<" + "24xiiQ" * len(wanted))
        self._names = tuple(f.key for f in wanted)
        self._fine = (OK,) * len(wanted)
        self._plain = (_ULL,) * len(wanted)

    def read(self, out: dict[str, int | float]) -> int:
        """Adds what was read to `out`; the code of the call as a whole."""
        wanted = self._wanted
        if not wanted:
            return OK
        code = self._call(self._handle, len(wanted), self._buffer)
        self.failed = {}
        if code != OK:
            return code
        flat = self._format.unpack_from(self._buffer)
        if flat[1::3] == self._fine:
            kinds, numbers = flat[::3], flat[2::3]
            out.update(zip(self._names, numbers if kinds == self._plain else map(typed, kinds, numbers)))
            return OK
        unsupported = False
        for i, f in enumerate(wanted):
            kind, result, raw = flat[3 * i : 3 * i + 3]
            if result == OK:
                out[f.key] = typed(kind, raw)
            elif result in NEVER or result == INVALID_ARGUMENT:
                unsupported = True
            else:
                self.failed[f.key] = result
        if unsupported:
            left = [f for i, f in enumerate(wanted) if flat[3 * i + 1] not in (*NEVER, INVALID_ARGUMENT)]
            self._prepare(left)
        return OK

    @property
    def keys(self) -> tuple[str, ...]:
        """What is still asked for."""
        return self._names


_GPM_HEAD = struct.Struct("<IIQQ")
_GPM_METRIC = "Iid24x"
_GPM_METRIC_SIZE = struct.calcsize("<" + _GPM_METRIC)


class Gpm:
    """Activity of one device between two looks (SM, occupancy, tensor, memory). None of it at the first."""

    __slots__ = (
        "_buffer", "_fine", "_format", "_get", "_lib", "_metrics", "_names", "_samples", "_take", "_taken",
    )  # fmt: skip

    def __init__(
        self, lib: Library, take: Callable[[ctypes.c_void_p], int], metrics: Sequence[tuple[str, int]]
    ) -> None:
        """`take` fills a sample; `metrics`: (key, id of the metric). Raises NvmlError."""
        self._lib, self._take, self._metrics = lib, take, tuple(metrics)
        self._samples = [ctypes.c_void_p(), ctypes.c_void_p()]
        for sample in self._samples:
            lib.check(("nvmlGpmSampleAlloc",), ctypes.byref(sample))
        get = lib.function("nvmlGpmMetricsGet")
        if get is None:
            raise NvmlError("nvmlGpmMetricsGet", FUNCTION_NOT_FOUND)
        self._get = get
        self._taken = 0
        self._buffer = ctypes.create_string_buffer(_GPM_HEAD.size + GPM_METRICS_MAX * _GPM_METRIC_SIZE)
        for i, (_, number) in enumerate(self._metrics):
            struct.pack_into("<I", self._buffer, _GPM_HEAD.size + i * _GPM_METRIC_SIZE, number)
        self._format = struct.Struct("<" + _GPM_METRIC * len(self._metrics))
        self._names = tuple(key for key, _ in self._metrics)
        self._fine = (OK,) * len(self._metrics)

    def read(self, out: dict[str, int | float]) -> int:
        """Adds shares in percent to `out`; the code of what failed."""
        samples = self._samples
        code = self._take(samples[self._taken % 2])
        if code != OK:
            self._taken = 0  # the next sample must not be compared with one from before the gap
            return code
        self._taken += 1
        if self._taken < 2:
            return OK
        new, old = samples[(self._taken - 1) % 2].value or 0, samples[self._taken % 2].value or 0
        _GPM_HEAD.pack_into(self._buffer, 0, GPM_METRICS_VERSION, len(self._metrics), old, new)
        code = self._get(self._buffer)
        if code != OK:
            return code
        flat = self._format.unpack_from(self._buffer, _GPM_HEAD.size)
        if flat[1::3] == self._fine:
            out.update(zip(self._names, flat[2::3]))
        else:
            out.update(
                (key, share)
                for key, result, share in zip(self._names, flat[1::3], flat[2::3])
                if result == OK
            )
        return OK

    def free(self) -> None:
        release = self._lib.function("nvmlGpmSampleFree")
        for sample in self._samples:
            if release is not None and sample.value:
                release(sample)
            sample.value = None
