"""Training steps as columnar blobs: single batches while they are fresh, 512 together later."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence

from dctop.engine.recording.codec import Cell, decode_table, encode_table
from dctop.engine.recording.runtake import StepBatch
from dctop.engine.recording.schema import STEP_THIN, Damaged
from dctop.engine.training.runstate import STEP_FIELDS

NAN = float("nan")
StepColumns = dict[str, "array[float]"]


def encode_steps(columns: Sequence[array[float]]) -> bytes:
    """STEP_FIELDS columns to bytes, not yet compressed. A column without any value is left out."""
    names: list[str] = []
    kept: list[list[Cell]] = []
    for name, column in zip(STEP_FIELDS, columns, strict=True):
        values: list[Cell] = column.tolist()  # type: ignore[assignment]
        if sum(column) != sum(column):
            values = [None if v != v else v for v in values]
            if values.count(None) == len(values):
                continue
        names.append(name)
        kept.append(values)
    head = json.dumps([len(columns[0]), names]).encode()
    return len(head).to_bytes(2, "little") + head + encode_table(kept)


def decode_steps(data: bytes) -> StepColumns:
    """All STEP_FIELDS, NaN where nothing was recorded. Raises Damaged."""
    try:
        size = int.from_bytes(data[:2], "little")
        n, names = json.loads(data[2 : 2 + size])
        found = dict(zip(names, decode_table(data[2 + size :]), strict=True))
        out: StepColumns = {}
        for name in STEP_FIELDS:
            column = found.get(name)
            if column is None:
                out[name] = array("d", [NAN]) * n
            else:
                out[name] = array("d", [NAN if v is None else v for v in column])
            if len(out[name]) != n:
                raise Damaged("steps do not fit")
    except (ValueError, TypeError, OverflowError) as e:
        raise Damaged("steps do not decode") from e
    return out


def thin(columns: Sequence[array[float]]) -> list[array[float]]:
    """About STEP_THIN evenly spaced steps, the last one among them."""
    n = len(columns[0])
    stride = max(1, -(-n // STEP_THIN))
    return [c[::-stride][::-1] for c in columns]


def join(batches: Sequence[StepBatch]) -> list[array[float]]:
    out = [column[:] for column in batches[0].columns]
    for batch in batches[1:]:
        for column, more in zip(out, batch.columns, strict=True):
            column.extend(more)
    return out


def wall_range(columns: Sequence[array[float]]) -> tuple[int, int]:
    """First and last known time of the steps in ns; 0 where none is known."""
    walls = [w for w in columns[STEP_FIELDS.index("wall_ns")] if w == w]
    return (int(min(walls)), int(max(walls))) if walls else (0, 0)
