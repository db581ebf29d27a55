"""A single frame as the difference to the frame before it: what the hot tail of a recording consists of.

All cells of a frame stand in one row (the order is its series set's). While neither that set nor any cell's
type changes, numbers go as their 64 bits XOR those before, strings only where they changed; otherwise, and
every `KEY_EVERY` rows, a complete row is written. Rows form a chain: what is lost with a damaged row ends at
the next complete one.

    row := flags (1 = complete), number of ints and floats, their byte planes, JSON
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from dctop.engine.recording.codec import Cell, join_planes, little, split_planes
from dctop.engine.recording.proctable import Table, apply_diff, diff_table
from dctop.engine.recording.schema import Damaged
from dctop.probes.base import Process

KEY_EVERY = 30
_json = json.JSONEncoder(separators=(",", ":")).encode
_HEAD = struct.Struct("<BII")
_LIMIT = 1 << 62
_FLOATS, _TEXTS, _INTS = {float}, {str}, {int}
_CODES: dict[type, str] = {int: "i", float: "f", str: "s", type(None): "n"}
ProcMap = dict[tuple[int, int], Process]


def _getter(at: Sequence[int]) -> Callable[[Sequence[Cell]], tuple[Any, ...]]:
    if len(at) > 1:
        return itemgetter(*at)
    if at:
        one = at[0]
        return lambda row: (row[one],)
    return lambda row: ()


class _Shape:
    """Where the ints, floats and strings of a row are."""

    def __init__(self, codes: str) -> None:
        self.codes = codes
        self.at = {c: [i for i, k in enumerate(codes) if k == c] for c in "ifsbn"}
        self.ints = _getter(self.at["i"])
        self.floats = _getter(self.at["f"])
        self.texts = _getter(self.at["s"])
        self.bigs = _getter(self.at["b"])
        self.nones = _getter(self.at["n"])
        self.no_values = (None,) * len(self.at["n"])
        self.head = _HEAD.pack(0, len(self.at["i"]), len(self.at["f"]))
        """Of a row that is no complete one."""

    def bits(self, cells: Sequence[Cell]) -> bytes:
        """Ints and floats as 64 bits each. TypeError or OverflowError where they are not what they were."""
        floats = self.floats(cells)
        if floats and set(map(type, floats)) != _FLOATS:
            raise TypeError
        return little(array("q", self.ints(cells))) + little(array("d", floats))

    def strings(self, cells: Sequence[Cell]) -> tuple[str, ...]:
        """TypeError where they are none, or a cell that was missing is not."""
        texts = self.texts(cells)
        if (texts and set(map(type, texts)) != _TEXTS) or self.nones(cells) != self.no_values:
            raise TypeError
        return texts


class PackedRow(NamedTuple):
    """A row's cells: those of its shape, numbers as 64 bits each."""

    shape: _Shape
    bits: bytes
    texts: tuple[str, ...]
    bigs: tuple[int, ...]


def unpack(rows: Sequence[PackedRow]) -> list[Sequence[Cell]]:
    """The columns of rows of one shape, in order of its cells. Those of numbers are views (format q or d)
    into one buffer: they take next to nothing until they are looked at."""
    shape = rows[0].shape
    words = array("q", b"".join([r.bits for r in rows]))
    if sys.byteorder == "big":
        words.byteswap()
    ints = memoryview(words)
    floats = ints.cast("B").cast("d")
    width = len(shape.at["i"]) + len(shape.at["f"])
    columns: list[Sequence[Cell]] = [(None,) * len(rows)] * len(shape.codes)
    for k, i in enumerate(shape.at["i"]):
        columns[i] = ints[k::width]
    for k, i in enumerate(shape.at["f"], len(shape.at["i"])):
        columns[i] = floats[k::width]
    for i, texts in zip(shape.at["s"], zip(*[r.texts for r in rows])):
        columns[i] = texts
    for i, bigs in zip(shape.at["b"], zip(*[r.bigs for r in rows])):
        columns[i] = bigs
    return columns


class TailCoder:
    """Encodes consecutive frames. After a failed commit `reset` makes the next row a complete one."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._set = -1
        self._shape: _Shape | None = None
        self._rows = 0
        self._bits = b""
        self._texts: tuple[str, ...] = ()
        self._bigs: tuple[int, ...] = ()
        self._table: Table | None = None

    @property
    def row(self) -> PackedRow:
        """The cells of the row encoded last."""
        assert self._shape is not None
        return PackedRow(self._shape, self._bits, self._texts, self._bigs)

    def encode(self, set_id: int, cells: Sequence[Cell], table: Table | None) -> tuple[bool, bytes]:
        """(complete, payload). `table`: processes now; the same object as before if not read anew."""
        shape = self._shape
        if shape is not None and set_id == self._set and self._rows < KEY_EVERY:
            try:
                bits, texts, bigs = shape.bits(cells), shape.strings(cells), shape.bigs(cells)
            except (TypeError, OverflowError):
                pass
            else:
                if set(map(type, bigs)) <= _INTS:
                    self._rows += 1
                    return False, self._delta(shape, bits, texts, bigs, table)
        self._set, self._rows = set_id, 1
        return True, self._complete(cells, table)

    def _delta(
        self, shape: _Shape, bits: bytes, texts: tuple[str, ...], bigs: tuple[int, ...], table: Table | None
    ) -> bytes:
        extra: list[str] = []
        if texts != self._texts:
            changed = [[i, t] for i, (t, u) in enumerate(zip(texts, self._texts)) if t != u]
            extra.append(f'"s":{_json(changed)}')
        if bigs:
            extra.append(f'"b":{_json(bigs)}')
        if table is not self._table:
            extra.append(f'"p":{_procs(table, self._table)}')
            self._table = table
        planes = split_planes(_xor(bits, self._bits))
        self._bits, self._texts, self._bigs = bits, texts, bigs
        text = f"{{{','.join(extra)}}}".encode() if extra else b""
        return shape.head + planes + text

    def _complete(self, cells: Sequence[Cell], table: Table | None) -> bytes:
        codes, shape = "".join(_code(v) for v in cells), self._shape
        if shape is None or shape.codes != codes:
            shape = self._shape = _Shape(codes)
        self._bits, self._texts, self._table = shape.bits(cells), shape.strings(cells), table
        self._bigs = tuple(map(int, shape.bigs(cells)))
        extra = {"t": shape.codes, "s": self._texts, "b": self._bigs}
        text = f'{_json(extra)[:-1]},"p":{_procs(table, None)}}}'
        head = _HEAD.pack(1, len(shape.at["i"]), len(shape.at["f"]))
        return head + split_planes(self._bits) + text.encode()


def _procs(table: Table | None, before: Table | None) -> str:
    return "null" if table is None else diff_table(table, before or ())


def _xor(a: bytes, b: bytes) -> bytes:
    """Of equal length: as two long integers, which is the one fast way without numpy."""
    return (int.from_bytes(a, "little") ^ int.from_bytes(b, "little")).to_bytes(len(a), "little")


def _code(value: Cell) -> str:
    code = _CODES.get(value.__class__)
    if code is None:
        raise TypeError(f"not a cell: {value.__class__.__name__}")
    if code == "i" and not -_LIMIT < value < _LIMIT:  # type: ignore[operator]
        return "b"
    return code


class TailDecoder:
    """Decodes consecutive rows. `feed` raises Damaged; then rows up to the next complete one are lost."""

    def __init__(self) -> None:
        self._shape: _Shape | None = None
        self._bits = b""
        self._texts: list[str] = []
        self._procs: ProcMap | None = None
        self._table: Table | None = None

    def feed(self, payload: bytes) -> tuple[list[Cell], Table | None]:
        """(cells, process table; the same object as before if not read anew)."""
        try:
            return self._feed(payload)
        except Damaged:
            self._shape = None
            raise
        except (
            ValueError,
            IndexError,
            KeyError,
            TypeError,
            struct.error,
            OverflowError,
            RecursionError,
        ) as e:
            self._shape = None
            raise Damaged(f"frame does not decode: {type(e).__name__}") from e

    def _feed(self, payload: bytes) -> tuple[list[Cell], Table | None]:
        complete, n_ints, n_floats = _HEAD.unpack_from(payload)
        bits, at = join_planes(payload, _HEAD.size, n_ints + n_floats)
        extra: Mapping[str, Any] = json.loads(payload[at:]) if at < len(payload) else {}
        if complete:
            self._shape = _Shape(extra["t"])
            self._bits, self._texts = bits, list(extra["s"])
        else:
            if self._shape is None:
                raise Damaged("the frame before is missing")
            if len(bits) != len(self._bits):
                raise Damaged("not as many numbers as before")
            self._bits = _xor(bits, self._bits)
            for i, text in extra.get("s", ()):
                self._texts[i] = text
        self._take_procs(extra, bool(complete))
        return self._cells(self._shape, n_ints, extra), self._table

    def _take_procs(self, extra: Mapping[str, Any], complete: bool) -> None:
        if "p" not in extra:
            return
        diff = extra["p"]
        if diff is None:
            self._procs, self._table = None, None
            return
        old = {} if complete or self._procs is None else self._procs
        self._procs = apply_diff(diff, old)
        self._table = tuple(sorted(self._procs.values(), key=itemgetter(0, 1)))

    def _cells(self, shape: _Shape, n_ints: int, extra: Mapping[str, Any]) -> list[Cell]:
        cells: list[Cell] = [None] * len(shape.codes)
        ints, floats = array("q"), array("d")
        ints.frombytes(self._bits[: 8 * n_ints])
        floats.frombytes(self._bits[8 * n_ints :])
        if sys.byteorder == "big":
            ints.byteswap()
            floats.byteswap()
        parts: tuple[tuple[str, Sequence[Cell]], ...] = (
            ("i", ints),
            ("f", floats),
            ("s", self._texts),
            ("b", extra.get("b", ())),
        )
        for code, values in parts:
            for i, v in zip(shape.at[code], values, strict=True):
                cells[i] = v
        return cells
