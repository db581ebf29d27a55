"""Parquet by pyarrow (extra `export`): typed columns, unit and meaning of each in its metadata."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dctop.engine.export.tables import Cells, Column, ExportError
from dctop.probes.base import Value

GROUP_ROWS = 3600
"""Rows of a row group: an hour of frames, some 20 MB of them in memory at 500 series."""
_MAX = {"int": (-(1 << 63), (1 << 63) - 1), "uint": (0, (1 << 64) - 1)}


def pyarrow() -> Any:
    """The library. Raises ExportError where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise ExportError(
            "Parquet needs pyarrow, which is not installed: pip install 'dctop[export]', or --to csv"
        ) from None
    return pyarrow


def write_parquet(
    columns: Sequence[Column], rows: Iterator[Cells], path: Path, facts: Mapping[str, str]
) -> int:
    """Returns how many rows. `facts`: of the file (host, uuid ...). A value that does not fit its column's
    type is null. Raises ExportError, OSError."""
    pa = pyarrow()
    types = {
        "time": pa.timestamp("ns", tz="UTC"), "int": pa.int64(), "uint": pa.uint64(), "float": pa.float64(),
        "text": pa.string(),
    }  # fmt: skip
    schema = pa.schema(
        [pa.field(c.name, types[c.type], metadata={"unit": c.unit, "help": c.help}) for c in columns],
        metadata={f"dctop.{k}": v for k, v in facts.items()},
    )
    n = 0
    with pa.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(rows):
            n += len(group)
            arrays = [
                pa.array([_fit(v, c.type) for v in column], type=types[c.type])
                for c, column in zip(columns, zip(*group, strict=True), strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return n


def _groups(rows: Iterator[Cells]) -> Iterator[list[Cells]]:
    group: list[Cells] = []
    for row in rows:
        group.append(row)
        if len(group) >= GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def _fit(value: Value, kind: str) -> Value:
    if value is None:
        return None
    if kind == "text":
        return value if isinstance(value, str) else str(value)
    if isinstance(value, str):
        return None
    if kind == "float":
        return float(value)
    low, high = _MAX["int" if kind == "time" else kind]
    if isinstance(value, float):
        if not math.isfinite(value) or not value.is_integer():
            return None
        value = int(value)
    return value if low <= value <= high else None
