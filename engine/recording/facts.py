"""What a recording tells of itself: plain data."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class RecEvent:
    """What can be jumped to. `kind`: alert | marker | note | gap | run | kernel | clock | config."""

    id: int
    t0: int
    t1: int | None
    seq: int
    kind: str
    sev: str | None
    rule: str | None
    entity: str | None
    series: str | None
    title: str
    body: str | None

    @property
    def wall_ns(self) -> int:
        return self.t0

    @property
    def severity(self) -> str | None:
        return self.sev


@dataclass(frozen=True, slots=True)
class Gap:
    """Nothing is known between wall times `t0` and `t1` (ns)."""

    t0: int
    t1: int
    reason: str


class Bucket(NamedTuple):
    """One column of an overview: time range and the numbers in it; None where nothing is known."""

    t0: int
    t1: int
    min: float | None
    max: float | None
    mean: float | None


@dataclass(frozen=True, slots=True)
class RecordingInfo:
    path: Path
    meta: Mapping[str, str]
    host: str
    app: str
    format: str
    start_wall_ns: int
    end_wall_ns: int
    frames: int
    interval_s: float
    live: bool
    closed: bool
    close_reason: str | None
    recovered: str | None
    """One line where the recording was not closed: where it ends, what was lost."""
    bad_chunks: int
    gaps: tuple[Gap, ...]
    problems: tuple[str, ...]
    size_bytes: int
    table_bytes: Mapping[str, int]

    @property
    def duration_s(self) -> float:
        return (self.end_wall_ns - self.start_wall_ns) / 1e9


def content_bytes(db: sqlite3.Connection) -> dict[str, int]:
    """Bytes of content, by kind."""
    asked = {
        "numbers": "SELECT sum(length(num)) FROM chunk",
        "processes": "SELECT sum(length(proc)) FROM chunk",
        "rollups": "SELECT sum(length(roll)) FROM chunk",
        "newest frames": "SELECT sum(length(data)) FROM tail",
        "steps": "SELECT (SELECT coalesce(sum(length(data)+length(thin)),0) FROM step_chunk)"
        "+(SELECT coalesce(sum(length(data)),0) FROM step_tail)",
        "alerts": "SELECT sum(length(body)) FROM alert_log",
        "events": "SELECT sum(length(title)+coalesce(length(body),0)) FROM event",
    }
    out: dict[str, int] = {}
    for name, sql in asked.items():
        try:
            out[name] = int(db.execute(sql).fetchone()[0] or 0)
        except (sqlite3.DatabaseError, ValueError, TypeError):
            continue
    return out
