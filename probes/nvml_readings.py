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
    to the results; `layout` of the results; `apart`: every result has a pointer of its own, and `unused` more
    follow that are none of ours; `version` is written in front, where the structure begins with one."""

    functions: tuple[str, ...]
    parts: tuple[Part, ...]
    args: tuple[int, ...] = ()
    layout: str = "<I"
    apart: bool = False
    version: int | None = None
    unused: int = 0


class Reading(NamedTuple):
    """A Spec bound to a device."""

    spec: Spec
    call: Function
    keys: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.spec.functions[-1]


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
    """The readings of one device that it supports, made one after the other.

    All of them write into one buffer, which is unpacked at once; while the numbers are those of the time
    before, so is what they mean.
    """

    def __init__(
        self, lib: Library, handle: ctypes.c_void_p, specs: Sequence[Spec], keys: Mapping[str, str]
    ) -> None:
        """`keys`: metric id without `gpu.` -> series key."""
        readings = []
        for spec in specs:
            call = lib.function(*spec.functions)
            if call is not None:
                readings.append(Reading(spec, call, tuple(keys[part.id] for part in spec.parts)))
        self._handle = handle
        self._prepare(readings)
        self.calling = ""
        """The function that is being called: what hangs, if it does."""

    def _prepare(self, readings: Sequence[Reading]) -> None:
        """Arguments and buffer of what is still asked for. Each has a room of its own: whole words, and
        never less than sixteen bytes."""
        sizes = [max(16, -(-struct.calcsize(r.spec.layout) // 8) * 8) for r in readings]
        self._readings = tuple(readings)
        self._buffer = ctypes.create_string_buffer(max(16, sum(sizes)))
        self._calls: list[tuple[str, Function, tuple[object, ...]]] = []
        at, layout = 0, "<"
        for reading, room in zip(readings, sizes):
            spec = reading.spec
            size = struct.calcsize(spec.layout)
            pointers = len(spec.parts) + spec.unused if spec.apart else 1
            places = [ctypes.byref(self._buffer, at + i * (size // pointers)) for i in range(pointers)]
            if spec.version is not None:
                struct.pack_into("<I", self._buffer, at, spec.version)
            self._calls.append((reading.name, reading.call, (self._handle, *spec.args, *places)))
            layout += spec.layout[1:] + f"{room - size}x"
            at += room
        self._unpack = struct.Struct(layout).unpack_from
        self._parts = [pair for r in readings for pair in zip(r.keys, r.spec.parts)]
        self._before: tuple[int, ...] = ()
        self._values: dict[str, Value] = {}
        """What the numbers of the time before mean, where all could be read and be believed."""

    def read(self, out: dict[str, Value], trouble: Trouble) -> bool:
        """Adds to `out`, in the catalogue's units; False where the device must not be called any more."""
        failed: dict[int, int] = {}
        for i, (name, call, args) in enumerate(self._calls):
            self.calling = name
            code = call(*args)
            if code or trouble.code:
                if trouble.code:
                    return False  # it hung, and the device was given up meanwhile
                failed[i] = code
                if code in GONE:
                    break
        if failed:
            return self._take_some(failed, out, trouble)
        numbers = self._unpack(self._buffer)
        if numbers != self._before:
            doubtful = len(trouble.nonsense)
            self._values = {}
            _believe(self._parts, numbers, self._values, trouble)
            self._before = numbers if len(trouble.nonsense) == doubtful else ()
        out.update(self._values)
        return True

    def _take_some(self, failed: Mapping[int, int], out: dict[str, Value], trouble: Trouble) -> bool:
        """Some of them did not succeed: `failed`, place -> code."""
        numbers = iter(self._unpack(self._buffer))
        for i, reading in enumerate(self._readings):
            pairs = [(pair, next(numbers)) for pair in zip(reading.keys, reading.spec.parts)]
            code = failed.get(i, OK)
            if code == OK:
                _believe([pair for pair, _ in pairs], [n for _, n in pairs], out, trouble)
            elif code not in NEVER:
                out.update(dict.fromkeys(reading.keys))
                if trouble.note(reading.spec.parts[0].id, reading.name, code):
                    return False
        if not NEVER.isdisjoint(failed.values()):
            self._prepare([r for i, r in enumerate(self._readings) if failed.get(i) not in NEVER])
        return True


def _believe(
    parts: Sequence[tuple[str, Part]], numbers: Sequence[int], out: dict[str, Value], trouble: Trouble
) -> None:
    """Adds what `numbers` mean; what cannot be is missing."""
    for (key, (name, largest, divisor, names)), raw in zip(parts, numbers):
        if not 0 <= raw <= largest:
            out[key] = None
            trouble.nonsense[name] = raw
        elif divisor != 1:
            out[key] = raw / divisor
        else:
            out[key] = raw if names is None else named(names, raw)


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
