"""One call into NVML each: what it is called, what it writes, what is believed of it.

A reading that is not supported is not made again before the library is initialised anew; one that failed for
another reason is. A number beyond what can be is nonsense: missing, and said so.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dctop.probes.base import Value
from dctop.probes.nvml import FUNCTION_NOT_FOUND, GONE, NEVER, OK, Function, Library, words

PERCENT, MILLIWATT, CELSIUS, MHZ, FLAG = 100, 20_000_000, 250, 20_000, 1
U32 = 0xFFFFFFFE
"""The largest 32-bit count: all bits set is how drivers say that they do not know."""
COUNT = 1 << 62
LEFT = -1


class Part(NamedTuple):
    """One number of a reading. `id`: of the metric, without `gpu.`; `names`: words in place of numbers."""

    id: str
    largest: int
    divisor: int = 1
    names: Sequence[str] | Mapping[int, str] | None = None


class Spec(NamedTuple):
    """A call to be made of every device: `functions`, newest first; `args` between the handle and the pointer
    to the results; `layout` of the results; `apart`: every result has a pointer of its own; `version` is
    written in front, where the structure begins with one."""

    functions: tuple[str, ...]
    parts: tuple[Part, ...]
    args: tuple[int, ...] = ()
    layout: str = "<I"
    apart: bool = False
    version: int | None = None


class Reading:
    """A Spec bound to a device, arguments and buffer prepared."""

    __slots__ = ("args", "buffer", "call", "keys", "name", "parts", "unpack", "what")

    def __init__(self, spec: Spec, call: Function, handle: ctypes.c_void_p, keys: Sequence[str]) -> None:
        layout = struct.Struct(spec.layout)
        self.buffer = ctypes.create_string_buffer(max(layout.size, 16))
        pointers = [ctypes.byref(self.buffer)]
        if spec.apart:
            step = layout.size // len(spec.parts)
            pointers = [ctypes.byref(self.buffer, i * step) for i in range(len(spec.parts))]
        if spec.version is not None:
            struct.pack_into("<I", self.buffer, 0, spec.version)
        self.call, self.args = call, (handle, *spec.args, *pointers)
        self.unpack = layout.unpack_from
        self.keys = tuple(keys)
        self.parts = tuple(zip(keys, spec.parts))
        self.name = spec.functions[-1]
        self.what = spec.parts[0].id


class Trouble:
    """What went wrong while one device was read."""

    __slots__ = ("code", "failed", "function", "nonsense")

    def __init__(self) -> None:
        self.code = OK
        """A code of GONE: the device is not called any more."""
        self.function = ""
        self.failed: dict[str, int] = {}
        """What could not be read now -> code."""
        self.nonsense: dict[str, int | float] = {}

    def leave(self) -> None:
        """From another thread, while a call hangs: when it comes back, nothing more is called."""
        self.code = LEFT

    @property
    def left(self) -> bool:
        return self.code == LEFT

    def note(self, what: str, function: str, code: int) -> bool:
        """Keep a failure in mind; True if nothing more may be called."""
        if self.code == LEFT:
            return True
        if code in GONE:
            self.code, self.function = code, function
            return True
        self.failed[what] = code
        return False

    def line(self) -> str | None:
        """All of it as one line; None where all is well."""
        if self.code:
            return f"{words(self.code)} in {self.function}"
        parts = []
        by_code: dict[int, list[str]] = {}
        for what, code in self.failed.items():
            by_code.setdefault(code, []).append(what)
        for code, whats in by_code.items():
            more = f" and {len(whats) - 3} more" if len(whats) > 3 else ""
            parts.append(f"{words(code)}: {', '.join(whats[:3])}{more}")
        if self.nonsense:
            said = ", ".join(f"{what} = {value:g}" for what, value in list(self.nonsense.items())[:3])
            parts.append(f"the driver answers nonsense: {said}")
        return "; ".join(parts) or None


class Readings:
    """The readings of one device that it supports, made one after the other."""

    def __init__(
        self, lib: Library, handle: ctypes.c_void_p, specs: Sequence[Spec], keys: Mapping[str, str]
    ) -> None:
        """`keys`: metric id without `gpu.` -> series key."""
        self._readings: list[Reading] = []
        for spec in specs:
            call = lib.function(*spec.functions)
            if call is not None:
                names = [keys[part.id] for part in spec.parts]
                self._readings.append(Reading(spec, call, handle, names))
        self.calling = ""
        """The function that is being called: what hangs, if it does."""

    def read(self, out: dict[str, Value], trouble: Trouble) -> bool:
        """Adds to `out`, in the catalogue's units; False where the device must not be called any more."""
        dead: list[Reading] = []
        for reading in self._readings:
            self.calling = reading.name
            code = reading.call(*reading.args)
            if trouble.code:
                return False  # it hung, and the device was given up meanwhile
            if code == OK:
                for (key, part), raw in zip(reading.parts, reading.unpack(reading.buffer)):
                    if not 0 <= raw <= part.largest:
                        out[key] = None
                        trouble.nonsense[part.id] = raw
                    elif part.divisor != 1:
                        out[key] = raw / part.divisor
                    elif part.names is None:
                        out[key] = raw
                    else:
                        out[key] = named(part.names, raw)
            elif code in NEVER:
                dead.append(reading)
                for key in reading.keys:
                    out.pop(key, None)
            else:
                for key in reading.keys:
                    out[key] = None
                if trouble.note(reading.what, reading.name, code):
                    return False
        if dead:
            self._readings = [r for r in self._readings if r not in dead]
        return True


def named(names: Sequence[str] | Mapping[int, str], number: int) -> str | None:
    """The word for a number; the number itself where it has none, None for `nothing there`."""
    if isinstance(names, Mapping):
        return names.get(number)
    return names[number] if number < len(names) else str(number)


def read_versioned(
    lib: Library, functions: tuple[str, ...], version: int | None, layout: str, handle: ctypes.c_void_p
) -> tuple[int, tuple[int, ...]]:
    """(code, fields) of a structure read once; `version` is written in front where it has one."""
    call = lib.function(*functions)
    if call is None:
        return FUNCTION_NOT_FOUND, ()
    form = struct.Struct(layout)
    buffer = ctypes.create_string_buffer(max(form.size, 64))
    if version is not None:
        struct.pack_into("<I", buffer, 0, version)
    code = call(handle, ctypes.byref(buffer))
    return (code, form.unpack_from(buffer)) if code == OK else (code, ())
