"""CSV and JSON lines. Times are UTC in ISO 8601 with milliseconds; missing is empty, or null."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TextIO

from dctop.engine.export.tables import Cells, Column
from dctop.probes.base import Value


def iso(wall_ns: int) -> str:
    """`2026-11-23T14:02:31.250Z`"""
    at = datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{wall_ns // 1_000_000 % 1000:03d}Z"


def _cell(value: Value, is_time: bool) -> Value:
    if is_time:
        return iso(value) if isinstance(value, int) else None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_csv(columns: Sequence[Column], rows: Iterator[Cells], out: TextIO) -> int:
    """RFC 4180 with `\\n` ends and a header line. Returns how many rows."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([c.name for c in columns])
    times = [c.type == "time" for c in columns]
    n = 0
    for row in rows:
        writer.writerow(list(map(_cell, row, times)))
        n += 1
    return n


def write_jsonl(name: str, columns: Sequence[Column], rows: Iterator[Cells], out: TextIO) -> int:
    """One object a line, `table` first, so that several tables may follow each other."""
    times = [c.type == "time" for c in columns]
    keys = [c.name for c in columns]
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
    n = 0
    for row in rows:
        record: dict[str, Value] = {"table": name}
        record.update(zip(keys, map(_cell, row, times)))
        out.write(encode(record) + "\n")
        n += 1
    return n
