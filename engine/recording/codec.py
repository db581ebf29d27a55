"""Columns of values to bytes and back, exactly: ints stay ints, floats keep every bit, None stays None.

Plain Python over the standard library's C loops (`map`, `array`, slices); measured, byte layout does the
work that a stronger compressor would. Each column is coded as differences in 64-bit lanes; the lanes of all
columns are then split into eight byte planes, planes of zeros are left out, and the caller compresses.

    table := head, lanes, masks, extras
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate, repeat
from operator import mul, sub, truediv, xor
from typing import Final

from dctop.engine.recording.schema import Damaged


class _Absent:
    """The one object that says: at this row the column did not exist (None says: it was not readable)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
Cell = int | float | str | None | _Absent

CONST: Final = 0
"""Every row holds the value in extras."""
DELTA: Final = 1
"""Ints: first value in the bases, then zig-zag differences."""
RISE: Final = 2
"""Ints that never fall: differences as they are."""
OFFSET: Final = 3
"""Ints: smallest value in the bases, then what is above it."""
XOR: Final = 4
"""Floats: first value's bits in the bases, then bits XOR those before."""
TEXT: Final = 5
"""Strings: indexes into extras, as lanes."""
MIXED: Final = 6
"""Anything else: tagged JSON in extras."""
MASKED: Final = 0x08
"""Flag: some rows are None (mask 1) or ABSENT (mask 2); their lanes repeat the value before."""
DECIMAL: Final = 0x80
"""Flag on DELTA, RISE, OFFSET: the ints are k of floats k / 10**e, e in bits 4-6."""

_POWERS: Final = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)
_LIMIT: Final = 1 << 62
MAX_LANES: Final = 1 << 24
"""Lanes of zeros take no bytes: a damaged count of them must not take all memory."""
_HEAD = struct.Struct("<IIII")
_BIG_ENDIAN = sys.byteorder == "big"


# -- lanes ------------------------------------------------------------------------------------------


def little(a: array[int] | array[float]) -> bytes:
    """The array's bytes, little-endian. The array is not to be used afterwards."""
    if _BIG_ENDIAN:
        a.byteswap()
    return a.tobytes()


def split_planes(raw: bytes | memoryview) -> bytes:
    """64-bit lanes, little-endian -> mask of planes kept (1 byte), then those planes. A plane is byte k of
    every lane; planes of zeros are left out."""
    n = len(raw) // 8
    mask, parts = 0, [b""]
    for k in range(8):
        plane = bytes(raw[k::8])
        if plane.count(0) != n:
            mask |= 1 << k
            parts.append(plane)
    parts[0] = bytes((mask,))
    return b"".join(parts)


def join_planes(data: bytes, at: int, n: int) -> tuple[bytes, int]:
    """The inverse, from data[at] on: (`n` lanes, where they end). Raises Damaged."""
    if at >= len(data):
        raise Damaged("planes do not fit")
    mask, at = data[at], at + 1
    if n > MAX_LANES or at + n * mask.bit_count() > len(data):
        raise Damaged("planes do not fit")
    raw = bytearray(8 * n)
    for k in range(8):
        if mask >> k & 1:
            raw[k::8] = data[at : at + n]
            at += n
    return bytes(raw), at


def pack_lanes(lanes: Sequence[int]) -> bytes:
    """Unsigned 64-bit integers as planes. OverflowError beyond 64 bits. An array of them is not copied, and
    not to be used afterwards."""
    words = lanes if isinstance(lanes, array) else array("Q", lanes)
    if _BIG_ENDIAN:
        words.byteswap()
    return split_planes(memoryview(words).cast("B"))


def take_lanes(data: bytes, at: int, n: int) -> tuple[list[int], int]:
    """The inverse: (lanes, where they end). Raises Damaged."""
    raw, end = join_planes(data, at, n)
    lanes = array("Q")
    lanes.frombytes(raw)
    if _BIG_ENDIAN:
        lanes.byteswap()
    return lanes.tolist(), end


def zigzag(deltas: Sequence[int]) -> list[int]:
    return [d << 1 if d >= 0 else ~(d << 1) for d in deltas]


def unzigzag(lanes: Sequence[int]) -> list[int]:
    return [-(z + 1 >> 1) if z & 1 else z >> 1 for z in lanes]


def bits_float(bits: Sequence[int]) -> list[float]:
    values = array("d")
    values.frombytes(array("Q", bits).tobytes())
    return values.tolist()


# -- encoding ---------------------------------------------------------------------------------------


class _Writer:
    """Collects the parts of a table while its columns are coded."""

    def __init__(self) -> None:
        self.kinds = bytearray()
        self.bases: list[int] = []
        self.lanes = array("Q")
        """Some twenty thousand: as integers of Python's own they would be a megabyte for a moment."""
        self.masks: list[bytes] = []
        self.extras: list[object] = []
        self.strings: dict[str, int] = {}

    def column(self, col: Sequence[Cell]) -> None:
        if isinstance(col, memoryview):  # of numbers
            col = col.tolist()
        types = set(map(type, col))
        mask = 0
        values: Sequence[Cell] = col
        if type(None) in types or _Absent in types:
            if len(types) == 1:  # what this machine has not got: whole columns of a process table
                self._const(col[0], 0)
                return
            filled = _fill(col, types)
            if filled is None:
                self._mixed(col)
                return
            values, marks = filled
            self.masks.append(marks)
            mask = MASKED
        if types == {int}:
            self._ints(values, mask)  # type: ignore[arg-type]
        elif types == {float}:
            self._floats(values, mask)  # type: ignore[arg-type]
        elif types == {str}:
            self._texts(values, mask)  # type: ignore[arg-type]
        else:
            if mask:
                self.masks.pop()
            self._mixed(col)

    def _const(self, value: Cell, mask: int) -> None:
        self.kinds.append(CONST | mask)
        self.extras.append(tag(value))

    def _ints(self, col: Sequence[int], mask: int, decimal: int = 0) -> None:
        first, n = col[0], len(col)
        if col.count(first) == n and not decimal:
            self._const(first, mask)
            return
        deltas = list(map(sub, col[1:], col))
        least = min(deltas, default=0)
        rising = least >= 0
        lo, hi = (first, col[-1]) if rising else (min(col), max(col))
        if lo <= -_LIMIT or hi >= _LIMIT:
            if mask:
                col = _unfill(col, self.masks.pop())  # type: ignore[assignment]
            self._mixed(col)
            return
        if rising:
            kind, base = RISE, first
            self.lanes.extend(deltas)
        elif hi - lo <= max(max(deltas), -least):
            kind, base = OFFSET, lo
            self.lanes.extend(map(sub, col, repeat(lo)))
        else:
            kind, base = DELTA, first
            self.lanes.extend(zigzag(deltas))
        self.kinds.append(kind | mask | decimal)
        self.bases.append(base << 1 if base >= 0 else ~(base << 1))

    def _floats(self, col: Sequence[float], mask: int) -> None:
        raw = array("d", col).tobytes()
        n = len(col)
        if raw == raw[:8] * n:
            self._const(col[0], mask)
            return
        found = _decimals(col, raw)
        if found is not None:
            self._ints(found[1], mask, DECIMAL | found[0] << 4)
            return
        bits = array("Q")
        bits.frombytes(raw)
        self.kinds.append(XOR | mask)
        self.bases.append(bits[0])
        self.lanes.extend(map(xor, bits[1:], bits))

    def _texts(self, col: Sequence[str], mask: int) -> None:
        first = col[0]
        if col.count(first) == len(col):
            self._const(first, mask)
            return
        index = self.strings
        for text in col:
            if text not in index:
                index[text] = len(index)
        self.kinds.append(TEXT | mask)
        self.lanes.extend(map(index.__getitem__, col))

    def _mixed(self, col: Sequence[Cell]) -> None:
        self.kinds.append(MIXED)
        self.extras.append([tag(v) for v in col])

    def finish(self, lengths: Sequence[int]) -> bytes:
        sizes = little(array("I", lengths))
        masks = b"".join(self.masks)
        lanes = pack_lanes(self.bases) + pack_lanes(self.lanes)
        extras = json.dumps([self.extras, list(self.strings)], separators=(",", ":")).encode()
        head = _HEAD.pack(len(lengths), len(self.bases), len(self.lanes), len(masks))
        return b"".join((head, bytes(self.kinds), sizes, lanes, masks, extras))


def _fill(col: Sequence[Cell], types: set[type]) -> tuple[list[Cell], bytes] | None:
    """Masked rows get a neighbour's value so that lanes stay smooth. None if no row has a value.

    Takes the marks' types out of `types`."""
    types.discard(type(None))
    types.discard(_Absent)
    if not types:
        return None
    marks = bytes([1 if v is None else 2 if v is ABSENT else 0 for v in col])
    last = col[marks.index(0)]
    filled: list[Cell] = []
    for v, mark in zip(col, marks):
        if not mark:
            last = v
        filled.append(last)
    return filled, marks


def _unfill(col: Sequence[Cell], marks: bytes) -> list[Cell]:
    return [v if not m else None if m == 1 else ABSENT for v, m in zip(col, marks)]


def _decimals(col: Sequence[float], raw: bytes) -> tuple[int, list[int]] | None:
    """(e, k's) with k / 10**e equal to the column bit for bit, smallest such e <= 6; None: there is none."""
    try:
        for e, power in enumerate(_POWERS):
            # Three probes reject nearly every column that does not qualify.
            if not all(round(v * power) / power == v for v in (col[0], col[-1], col[len(col) // 2])):
                continue
            ks = list(map(round, map(mul, col, repeat(power))))
            if array("d", map(truediv, ks, repeat(power))).tobytes() == raw:
                return (e, ks) if max(max(ks), -min(ks)) < 1 << 61 else None
    except (ValueError, OverflowError):  # NaN, inf
        pass
    return None


def tag(value: Cell) -> object:
    """JSON that keeps the type: floats as their bits, None as null, ABSENT as false."""
    if value.__class__ is float:
        return [struct.pack("<d", value).hex()]
    if value is ABSENT:
        return False
    return int(value) if isinstance(value, bool) else value


def _untag(value: object) -> Cell:
    if isinstance(value, list):
        return float(struct.unpack("<d", bytes.fromhex(value[0]))[0])
    if value is False:
        return ABSENT
    if value is None or isinstance(value, (int, str)):
        return value
    raise Damaged("strange constant")


def tag_all(values: Sequence[Cell]) -> list[object]:
    return [tag(v) for v in values]


def untag_all(values: Sequence[object]) -> list[Cell]:
    return [_untag(v) for v in values]


def encode_table(columns: Sequence[Sequence[Cell]]) -> bytes:
    """Columns (each of its own length) to bytes, not yet compressed."""
    w = _Writer()
    for col in columns:
        if col:
            w.column(col)
        else:
            w.kinds.append(MIXED)
            w.extras.append([])
    return w.finish([len(c) for c in columns])


# -- decoding ---------------------------------------------------------------------------------------


def decode_table(data: bytes) -> list[list[Cell]]:
    """The inverse of `encode_table`. Raises Damaged."""
    try:
        return _decode(data)
    except Damaged:
        raise
    except (ValueError, IndexError, KeyError, TypeError, struct.error, OverflowError, RecursionError) as e:
        raise Damaged(f"does not decode: {type(e).__name__}") from e


def _decode(data: bytes) -> list[list[Cell]]:
    ncols, nbases, nlanes, nmasks = _HEAD.unpack_from(data)
    at = _HEAD.size + ncols
    kinds = data[_HEAD.size : at]
    sizes = array("I")
    sizes.frombytes(data[at : at + 4 * ncols])
    if _BIG_ENDIAN:
        sizes.byteswap()
    at += 4 * ncols
    bases, at = take_lanes(data, at, nbases)
    lanes, at = take_lanes(data, at, nlanes)
    masks = data[at : at + nmasks]
    extras, strings = json.loads(data[at + nmasks :])
    if (
        len(kinds) != ncols
        or len(sizes) != ncols
        or len(masks) != nmasks
        or max(sizes, default=0) > MAX_LANES
    ):
        raise Damaged("cut short")
    out: list[list[Cell]] = []
    base_at = lane_at = mask_at = extra_at = 0
    for kind, n in zip(kinds, sizes):
        code = kind & 7
        col: list[Cell]
        if code in (CONST, MIXED):
            extra = extras[extra_at]
            extra_at += 1
            col = [_untag(extra)] * n if code == CONST else untag_all(extra)
        elif code == TEXT:
            col = list(map(strings.__getitem__, lanes[lane_at : lane_at + n]))
            lane_at += n
        else:
            used = n if code == OFFSET else n - 1
            col = _NUMERIC[code](bases[base_at], lanes[lane_at : lane_at + used])  # type: ignore[assignment]
            base_at += 1
            lane_at += used
            if kind & DECIMAL:
                col = list(map(truediv, col, repeat(_POWERS[kind >> 4 & 7])))
        if kind & MASKED:
            col = _unfill(col, masks[mask_at : mask_at + n])
            mask_at += n
        if len(col) != n:
            raise Damaged("column of wrong length")
        out.append(col)
    return out


def _base(b: int) -> int:
    return -(b + 1 >> 1) if b & 1 else b >> 1


def _delta(base: int, lanes: list[int]) -> list[int]:
    return list(accumulate(unzigzag(lanes), initial=_base(base)))


def _rise(base: int, lanes: list[int]) -> list[int]:
    return list(accumulate(lanes, initial=_base(base)))


def _offset(base: int, lanes: list[int]) -> list[int]:
    return list(map(_base(base).__add__, lanes))


def _xored(base: int, lanes: list[int]) -> list[float]:
    return bits_float(list(accumulate(lanes, xor, initial=base)))


_NUMERIC: dict[int, Callable[[int, list[int]], list[int] | list[float]]] = {
    DELTA: _delta,
    RISE: _rise,
    OFFSET: _offset,
    XOR: _xored,
}
