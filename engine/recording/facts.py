"""What a recording tells of itself: plain data."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dctop.engine.recording.opening import scan
from dctop.engine.recording.schema import Damaged, checked

if TYPE_CHECKING:
    from dctop.engine.recording.reader import Recording


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
        "output": "SELECT sum(length(data)) FROM output",
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


class HeldRun(NamedTuple):
    """A run in the recording, as it was last known."""

    id: str
    workload: str
    status: str
    steps: int


@dataclass(frozen=True, slots=True)
class Held:
    """What a recording is about."""

    series: Mapping[str, int]
    """Probe -> how many series it read."""
    runs: tuple[HeldRun, ...]
    alerts: Mapping[str, int]
    """Rule -> how many incidents, in order of the first."""


def held(recording: Recording) -> Held:
    """Raises no error of a damaged file: what cannot be read is not counted."""
    counts: dict[str, int] = {}
    for stream, name in _readable(recording.database, "SELECT stream,name FROM series ORDER BY id"):
        if isinstance(stream, str) and isinstance(name, str) and stream not in "@=" and name[:1] != "@":
            counts[stream] = counts.get(stream, 0) + 1
    alerts: dict[str, int] = {}
    for e in recording.events("alert"):
        alerts[str(e.rule)] = alerts.get(str(e.rule), 0) + 1
    steps: dict[str, int] = {}
    for table in ("step_chunk", "step_tail"):
        for run, n in _readable(recording.database, f"SELECT run,n FROM {table}"):
            if isinstance(n, int):
                steps[str(run)] = steps.get(str(run), 0) + n
    runs = [HeldRun(r.id, r.workload, r.status, steps.get(r.id, 0)) for r in recording.every_run()]
    return Held(counts, tuple(runs), alerts)


def series_keys(recording: Recording) -> set[str]:
    """Every series in its chunks, raw and derived, by key; what is damaged is left out."""
    rows, _ = scan(recording.database, "series", "id,stream,name,metric,crc", "id")
    found = set()
    for row in rows:
        try:
            _, stream, name, _ = checked(row)
        except Damaged:
            continue
        if stream != "@" and isinstance(name, str) and name[:1] != "@":
            found.add(name)
    return found


def _readable(db: sqlite3.Connection, sql: str) -> Iterator[tuple[object, ...]]:
    try:
        yield from db.execute(sql)
    except sqlite3.DatabaseError:
        return
