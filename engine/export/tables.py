"""The four tables of a recording: metrics (wide), processes, training steps, events. Rows are made while they
are written, whatever the length of the recording; missing is None.

metrics     a row a frame: `time`, `seq`, `mono_ns`, then a column a series under its key, raw counters and
            what is derived from them alike
processes   a row a recorded process and reading, with its rates
steps       a row a training step: `run`, `row`, `time`, then STEP_FIELDS
events      a row an event; of an alert `body` is all that was said of it, as JSON
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Literal

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.derived import CATALOGUE
from dctop.engine.metrics.model import Snapshot
from dctop.engine.recording.facts import series_keys
from dctop.engine.recording.plain import dump
from dctop.engine.recording.reader import Recording
from dctop.engine.recording.rewrite import step_blocks
from dctop.engine.training.runstate import STEP_FIELDS
from dctop.probes.base import Process, Value

TABLES = ("metrics", "processes", "steps", "events")
Type = Literal["time", "int", "uint", "float", "text"]
Cells = tuple[Value, ...]
WARM_UP = 30
"""Frames before the first one that are read so that its rates are known."""
FOREVER = 1 << 62


class ExportError(Exception):
    """One line: what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What of a recording is exported. Wall times in ns; None: all of it."""

    t0: int | None = None
    t1: int | None = None
    metrics: tuple[str, ...] = ()
    """Ids (`cpu.util_pct`), groups (`cpu`), series (`disk.iops{disk=sda}`), with `*`; none: all."""

    def holds(self, wall_ns: int) -> bool:
        return (self.t0 is None or wall_ns >= self.t0) and (self.t1 is None or wall_ns <= self.t1)

    def takes(self, key: str) -> bool:
        return not self.metrics or any(matches(want, key) for want in self.metrics)


def matches(want: str, key: str) -> bool:
    """`cpu` takes all of `cpu.`, `cpu.core.util_pct` all cores, `disk.*{disk=nvme*}` what it says."""
    name = key.partition("{")[0]
    if "*" in want or "?" in want:
        return fnmatchcase(key if "{" in want else name, want)
    return want in (key, name) or (name.startswith(f"{want.rstrip('.')}.") and "{" not in want)


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: Type
    unit: str = ""
    help: str = ""


class NewSeries(Exception):
    """Raised while metrics are written where a series turned up that no table of the file names: begin again
    with `extra`."""

    def __init__(self, extra: set[str]) -> None:
        super().__init__(f"{len(extra)} series more")
        self.extra = extra


def snapshots(recording: Recording, scope: Scope, procs: bool = False) -> Iterator[Snapshot]:
    """Every frame in the scope with what is derived from it; `procs`: with process tables."""
    if recording.seq_range is None:
        return
    seq0, seq1 = 0, FOREVER
    if scope.t0 is not None or scope.t1 is not None:
        t0 = -FOREVER if scope.t0 is None else scope.t0
        seq0, seq1 = recording.seqs_between(t0, FOREVER if scope.t1 is None else scope.t1)
    builder = SnapshotBuilder(recording.tick_hz)
    wanted = None if procs else FOREVER
    for frame in recording.frames(max(0, seq0 - WARM_UP), seq1, procs_from=wanted):
        snap = builder.push(frame)
        if frame.seq >= seq0 and scope.holds(frame.wall_ns):
            yield snap


def all_values(snap: Snapshot) -> dict[str, Value]:
    """Gauges, derived values and raw counters."""
    values: dict[str, Value] = {}
    for sample in snap.frame.samples.values():
        values.update(sample.values)
    values.update(snap.values)
    return values


# -- metrics ------------------------------------------------------------------------------------------------

_FRAME = (
    Column("time", "time", "", "when, UTC"),
    Column("seq", "int", "", "number of the frame"),
    Column("mono_ns", "int", "ns", "monotonic clock: does not jump when the clock is set"),
)


def metric_columns(
    recording: Recording, scope: Scope, extra: set[str] | frozenset[str] = frozenset()
) -> list[Column]:
    """The columns of the metrics table, in the catalogue's order."""
    keys = {key for key in series_keys(recording) if scope.takes(key)}
    last = None
    for snap in snapshots(recording, Scope(t0=_tail_start(recording))):
        last = snap
    if last is not None:
        keys |= {key for key in all_values(last) if scope.takes(key)}
    keys |= extra
    order = {name: i for i, name in enumerate(CATALOGUE)}
    known = sorted(keys, key=lambda k: (order.get(k.partition("{")[0], len(order)), _natural(k)))
    return [*_FRAME, *map(column_of, known)]


def _tail_start(recording: Recording) -> int | None:
    """From where on no rollup names the derived series yet."""
    span = recording.time_range
    return None if span is None else max(span[0], span[1] - int(2 * recording.interval_s * 1e9))


def _natural(key: str) -> tuple[tuple[int, str], ...]:
    parts: list[tuple[int, str]] = []
    word = ""
    for ch in key + " ":
        if word and (ch.isdigit() != word[-1].isdigit() or ch == " "):
            parts.append((int(word) if word.isdecimal() else -1, word))
            word = ""
        word += ch
    return tuple(parts)


def column_of(key: str) -> Column:
    metric = CATALOGUE.get(key.partition("{")[0])
    if metric is None:
        return Column(key, "float")
    kind: Type = "text" if metric.kind == "info" else "uint" if metric.kind == "counter" else "float"
    return Column(key, kind, metric.unit, metric.help)


def metric_rows(recording: Recording, scope: Scope, columns: Sequence[Column]) -> Iterator[Cells]:
    """A row a frame. Raises NewSeries at the end where a column was missing."""
    keys = [c.name for c in columns[len(_FRAME) :]]
    known = set(keys)
    missing: set[str] = set()
    for snap in snapshots(recording, scope):
        values = all_values(snap)
        if values.keys() - known:
            missing |= {k for k in values.keys() - known if scope.takes(k)}
        if not missing:
            f = snap.frame
            yield (f.wall_ns, f.seq, f.mono_ns, *map(values.get, keys))
    if missing:
        raise NewSeries(missing)


# -- processes ----------------------------------------------------------------------------------------------

_PROCESS_TYPES: dict[str, Type] = {
    "user": "text", "name": "text", "cmdline": "text", "state": "text", "cgroup": "text", "container": "text",
    "job": "text", "gpu_sm_pct": "float", "span_s": "float",
}  # fmt: skip
PROCESS_COLUMNS: tuple[Column, ...] = (
    *_FRAME[:2],
    *(Column(name, _PROCESS_TYPES.get(name, "int")) for name in Process._fields),
    Column("cpu_pct", "float", "%", "share of one core since the reading before"),
    Column("read_bytes_per_s", "float", "bytes/s"),
    Column("write_bytes_per_s", "float", "bytes/s"),
)


def process_rows(recording: Recording, scope: Scope) -> Iterator[Cells]:
    last: object = None
    for snap in snapshots(recording, scope, procs=True):
        sample = snap.frame.samples.get("process")
        if sample is None or sample is last or sample.processes is None:
            continue
        last = sample
        cpu, reads, writes = (
            snap.process_cpu_pct, snap.process_read_bytes_per_s, snap.process_write_bytes_per_s
        )  # fmt: skip
        for p in sample.processes:
            rates = (cpu.get(p.pid), reads.get(p.pid), writes.get(p.pid))
            yield (snap.frame.wall_ns, snap.frame.seq, *p, *rates)


# -- steps and events ---------------------------------------------------------------------------------------

_WHOLE = frozenset(("step", "epoch", "samples", "mem_allocated_bytes", "mem_reserved_bytes", "mem_peak_bytes",
                    "mem_inactive_bytes", "mem_retries", "rss_anon_bytes"))  # fmt: skip
_REST = tuple(name for name in STEP_FIELDS if name != "wall_ns")
STEP_COLUMNS: tuple[Column, ...] = (
    Column("run", "text", "", "id of the run"),
    Column("row", "int", "", "number of the step in the recording, from 0"),
    Column("time", "time", "", "end of the step, UTC"),
    *(
        Column(name, "int" if name in _WHOLE else "float", "s" if name.endswith("_s") else "")
        for name in _REST
    ),
)


def step_rows(recording: Recording, scope: Scope, run: str | None = None) -> Iterator[Cells]:
    """All runs', or one's."""
    for block in step_blocks(recording.database, scope.t0, scope.t1, run):
        walls = block.columns["wall_ns"]
        columns = [(block.columns[name], name in _WHOLE) for name in _REST]
        for i, wall in enumerate(walls):
            at = None if wall != wall else int(wall)
            if at is None and (scope.t0 is not None or scope.t1 is not None):
                continue
            if at is not None and not scope.holds(at):
                continue
            yield (block.run, block.row0 + i, at, *(_number(col[i], whole) for col, whole in columns))


def _number(value: float, whole: bool) -> Value:
    if not math.isfinite(value):
        return None
    return int(value) if whole else value


def _finite(value: object) -> object:
    """JSON knows no NaN: they become words."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


EVENT_COLUMNS: tuple[Column, ...] = (
    Column("time", "time"),
    Column("end", "time", "", "None: a moment, or still open"),
    Column("id", "int"),
    Column("seq", "int", "", "frame from which it was known"),
    Column("kind", "text", "", "alert | marker | note | gap | run | kernel | clock | config"),
    Column("severity", "text"),
    Column("rule", "text"),
    Column("entity", "text", "", "what it is about; of a run its id"),
    Column("series", "text"),
    Column("title", "text"),
    Column("body", "text", "", "of an alert and a kernel record JSON, else text"),
)


def event_rows(recording: Recording, scope: Scope) -> Iterator[Cells]:
    alerts = {(a.rule, a.entity, a.opened_wall_ns): a for a in recording.every_alert()}
    for e in recording.events():
        end = e.t0 if e.t1 is None and e.kind != "alert" else e.t1
        if (scope.t1 is not None and e.t0 > scope.t1) or (
            scope.t0 is not None and end is not None and end < scope.t0
        ):
            continue
        body = e.body
        if e.kind == "alert" and (a := alerts.get((str(e.rule), str(e.entity), e.t0))) is not None:
            body = dump(_finite(asdict(a)))
        yield (e.t0, e.t1, e.id, e.seq, e.kind, e.sev, e.rule, e.entity, e.series, e.title, body)


def table(
    recording: Recording, name: str, scope: Scope, extra: set[str] | frozenset[str] = frozenset()
) -> tuple[Sequence[Column], Iterator[Cells]]:
    """Columns and rows of one of TABLES."""
    if name == "metrics":
        columns = metric_columns(recording, scope, extra)
        return columns, metric_rows(recording, scope, columns)
    if name == "processes":
        return PROCESS_COLUMNS, process_rows(recording, scope)
    if name == "steps":
        return STEP_COLUMNS, step_rows(recording, scope)
    return EVENT_COLUMNS, event_rows(recording, scope)
