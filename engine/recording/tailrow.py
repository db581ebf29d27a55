"""A single frame as the difference to the frame before it: what the hot tail of a recording consists of.

All cells of a frame stand in one row (the order is its series set's). While neither that set nor any cell's
type changes, ints go as zig-zag differences, floats as XOR of bits, strings only where they changed;
otherwise, and every `KEY_EVERY` rows, a complete row is written. Rows form a chain: what is lost with a
damaged row ends at the next complete one.

    row := flags (1 = complete), number of ints and floats, int planes, float planes, JSON
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter, sub, xor
from typing import Any

from dctop.engine.recording.codec import (
    Cell,
    bits_float,
    float_bits,
    pack_lanes,
    take_lanes,
    unzigzag,
    zigzag,
)
from dctop.engine.recording.proctable import Table, apply_diff, diff_table
from dctop.engine.recording.schema import Damaged
from dctop.probes.base import Process

KEY_EVERY = 30
_json = json.JSONEncoder(separators=(",", ":")).encode
_HEAD = struct.Struct("<BII")
_LIMIT = 1 << 62
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
        self.at = {c: [i for i, k in enumerate(codes) if k == c] for c in "ifsb"}
        self.ints = _getter(self.at["i"])
        self.floats = _getter(self.at["f"])
        self.texts = _getter(self.at["s"])
        self.bigs = _getter(self.at["b"])


class TailCoder:
    """Encodes consecutive frames. After a failed commit `reset` makes the next row a complete one."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._set = -1
        self._types: list[type] = []
        self._shape: _Shape | None = None
        self._rows = 0
        self._ints: tuple[int, ...] = ()
        self._bits: list[int] = []
        self._texts: tuple[str, ...] = ()
        self._table: Table | None = None

    def encode(self, set_id: int, cells: Sequence[Cell], table: Table | None) -> tuple[bool, bytes]:
        """(complete, payload). `table`: processes now; the same object as before if not read anew."""
        types = [v.__class__ for v in cells]
        shape = self._shape
        if shape is not None and set_id == self._set and types == self._types and self._rows < KEY_EVERY:
            try:
                payload = self._delta(shape, cells, table)
                self._rows += 1
                return False, payload
            except OverflowError:
                pass
        self._set, self._types = set_id, types
        self._rows = 1
        return True, self._complete(cells, table)

    def _delta(self, shape: _Shape, cells: Sequence[Cell], table: Table | None) -> bytes:
        ints, floats, texts = shape.ints(cells), shape.floats(cells), shape.texts(cells)
        bits = float_bits(floats)
        int_lanes = pack_lanes(zigzag(list(map(sub, ints, self._ints))))
        bit_lanes = pack_lanes(list(map(xor, bits, self._bits)))
        extra: dict[str, object] = {}
        if texts != self._texts:
            extra["s"] = [[i, t] for i, (t, u) in enumerate(zip(texts, self._texts)) if t != u]
        if shape.at["b"]:
            extra["b"] = shape.bigs(cells)
        if table is not self._table:
            extra["p"] = None if table is None else diff_table(table, self._table or ())
            self._table = table
        self._ints, self._bits, self._texts = ints, bits, texts
        text = _json(extra).encode() if extra else b""
        return _HEAD.pack(0, len(ints), len(bits)) + int_lanes + bit_lanes + text

    def _complete(self, cells: Sequence[Cell], table: Table | None) -> bytes:
        codes = "".join(_code(v) for v in cells)
        shape = self._shape = _Shape(codes)
        self._ints = tuple(map(int, shape.ints(cells)))
        self._bits = float_bits(shape.floats(cells))
        self._texts = shape.texts(cells)
        self._table = table
        extra = {
            "t": codes,
            "s": self._texts,
            "b": list(map(int, shape.bigs(cells))),
            "p": None if table is None else diff_table(table, ()),
        }
        head = _HEAD.pack(1, len(self._ints), len(self._bits))
        lanes = pack_lanes(zigzag(self._ints)) + pack_lanes(self._bits)
        return head + lanes + _json(extra).encode()


def _code(value: Cell) -> str:
    code = _CODES.get(value.__class__)
    if code is None:
        if value.__class__ is bool:
            return "i"
        raise TypeError(f"not a cell: {value.__class__.__name__}")
    if code == "i" and not -_LIMIT < value < _LIMIT:  # type: ignore[operator]
        return "b"
    return code


class TailDecoder:
    """Decodes consecutive rows. `feed` raises Damaged; then rows up to the next complete one are lost."""

    def __init__(self) -> None:
        self._shape: _Shape | None = None
        self._ints: list[int] = []
        self._bits: list[int] = []
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
        complete, n_ints, n_bits = _HEAD.unpack_from(payload)
        ints, at = take_lanes(payload, _HEAD.size, n_ints)
        bits, at = take_lanes(payload, at, n_bits)
        extra: Mapping[str, Any] = json.loads(payload[at:]) if at < len(payload) else {}
        if complete:
            shape = self._shape = _Shape(extra["t"])
            self._ints, self._bits = unzigzag(ints), bits
            self._texts = list(extra["s"])
        else:
            if self._shape is None:
                raise Damaged("the frame before is missing")
            shape = self._shape
            self._ints = [a + d for a, d in zip(self._ints, unzigzag(ints), strict=True)]
            self._bits = [a ^ d for a, d in zip(self._bits, bits, strict=True)]
            for i, text in extra.get("s", ()):
                self._texts[i] = text
        self._take_procs(extra, bool(complete))
        return self._cells(shape, extra), self._table

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

    def _cells(self, shape: _Shape, extra: Mapping[str, Any]) -> list[Cell]:
        cells: list[Cell] = [None] * len(shape.codes)
        parts: tuple[tuple[str, Sequence[Cell]], ...] = (
            ("i", self._ints),
            ("f", bits_float(self._bits)),
            ("s", self._texts),
            ("b", extra.get("b", ())),
        )
        for code, values in parts:
            for i, v in zip(shape.at[code], values, strict=True):
                cells[i] = v
        return cells
