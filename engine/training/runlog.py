"""Reads a run directory (docs/RUNLOG.md): its facts, and the log as it grows. No torch, no processes.

Measured: about 15 us of CPU a step (JSON and 21 columns), so a run of 1,000 steps/s costs 1.5 % of a core
and the usual 50 steps/s next to nothing; a poll without news is one fstat and one pread.
"""

from __future__ import annotations

import json
import math
import os
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dctop.engine.metrics.trend import median
from dctop.engine.training.lines import parse_lines
from dctop.engine.training.logtail import LogTail
from dctop.engine.training.ranks import RankState, RankTail
from dctop.engine.training.runstate import STEP_FIELDS, RunEvent

FORMAT = 1
"""Newest run log format this reader knows."""
MAX_STEPS = 20_000
DENSE_STEPS = 2_000
"""The newest steps are never thinned: rules look at windows of consecutive steps."""
MAX_EVENTS = 2_000
MAX_RANKS = 64
RANKS_S = 3.0
"""The ends of the ranks' logs are read again this often: their medians are over 50 steps."""
RECENT = 50
_CHUNK = 1 << 20
_MAX_LINE = 1 << 20
_NAN = float("nan")
_NONE: array[float] = array("d")
_STEP_PREFIXES = (b'{"kind":"step"', b'{"kind": "step"')


class StepStore:
    """Step records as columns, bounded: `columns[name][i]` is kept step i, NaN where missing."""

    def __init__(self) -> None:
        self.columns: dict[str, array[float]] = {name: array("d") for name in STEP_FIELDS}
        self.last: dict[str, float | None] = dict.fromkeys(STEP_FIELDS)
        self.total = 0
        """Records ever added."""
        self._numbers = array("q")
        """Of each kept step: the how-manieth record it was."""
        self._stride = 1

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        if not records:
            return
        for name, column in self.columns.items():
            try:
                column.extend([r.get(name, _NAN) for r in records])
            except TypeError:
                # Something is not a number (null, "nan"): the extension stopped in the middle.
                done = len(column) - len(self._numbers)
                column.extend([_float(r.get(name)) for r in records[done:]])
        self._numbers.extend(range(self.total, self.total + len(records)))
        self.total += len(records)
        newest = records[-1]
        self.last = {name: _known(newest.get(name)) for name in STEP_FIELDS}
        while len(self._numbers) > MAX_STEPS:
            self._thin()

    def _thin(self) -> None:
        """Keep every n-th of the older steps, with the least n (a power of two) that leaves room to grow.
        New arrays: views of the old ones stay as they are."""
        old = len(self._numbers) - DENSE_STEPS
        while True:
            kept = [i for i in range(old) if self._numbers[i] % self._stride == 0]
            if len(kept) + DENSE_STEPS <= 0.75 * MAX_STEPS:
                break
            self._stride *= 2
        kept.extend(range(old, len(self._numbers)))
        self.columns = {
            name: array("d", map(column.__getitem__, kept)) for name, column in self.columns.items()
        }
        self._numbers = array("q", map(self._numbers.__getitem__, kept))

    def __len__(self) -> int:
        return len(self._numbers)

    def view(self) -> StepColumns:
        return StepColumns(self.columns, len(self._numbers))


class StepColumns(Mapping[str, "array[float]"]):
    """What a RunState hands out: the columns as they are now. Copied a column at a time when asked for,
    so a state costs nothing and the writer may go on appending."""

    def __init__(self, columns: Mapping[str, array[float]], length: int) -> None:
        self._source = columns
        self._length = length
        self._copies: dict[str, array[float]] = {}

    def __getitem__(self, name: str) -> array[float]:
        copy = self._copies.get(name)
        if copy is None:
            copy = self._copies[name] = self._source[name][: self._length]
        return copy

    @property
    def steps(self) -> int:
        """How many are kept."""
        return self._length

    def part(self, name: str, begin: int, end: int | None = None) -> array[float]:
        """Kept steps `begin` up to `end` (default: the last) of one column: who wants the newest few copies
        no others."""
        return self._source[name][begin : self._length if end is None else min(end, self._length)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._source)

    def __len__(self) -> int:
        return len(self._source)


def kept(columns: Mapping[str, array[float]]) -> int:
    """How many steps there are in what a RunState hands out."""
    return columns.steps if isinstance(columns, StepColumns) else len(columns.get("step", _NONE))


def part(columns: Mapping[str, array[float]], name: str, begin: int, end: int | None = None) -> array[float]:
    """Kept steps `begin` up to `end` of a column; empty where there is no such column."""
    if isinstance(columns, StepColumns) and name in STEP_FIELDS:
        return columns.part(name, begin, end)
    return columns.get(name, _NONE)[begin:end]


class StoredColumns(Mapping[str, "array[float]"]):
    """Columns of a run that has ended: read from its log when first asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._columns: dict[str, array[float]] | None = None

    def _load(self) -> dict[str, array[float]]:
        if self._columns is None:
            store = StepStore()
            try:
                data = self._path.read_bytes()
            except OSError:
                data = b""  # removed meanwhile
            records, _ = parse_lines([x for x in data.split(b"\n") if x.startswith(_STEP_PREFIXES)])
            store.add(records)
            self._columns = store.columns
        return self._columns

    def __getitem__(self, name: str) -> array[float]:
        return self._load()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(STEP_FIELDS)

    def __len__(self) -> int:
        return len(STEP_FIELDS)


class RunReader:
    """One run directory. `poll` takes in what is new; the attributes are what is known."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config: dict[str, Any] = {}
        """run.json as written; {} until it can be read."""
        self.tail = LogTail(directory / "stdout.log")
        self.rank_tails: list[RankTail] = []
        self._ranks_due = 0.0
        self._ranks: tuple[RankState, ...] = ()
        self.reset()

    def reset(self) -> None:
        """Forget the log: its file was replaced."""
        self.store = StepStore()
        self.columns: Mapping[str, array[float]] = self.store.view()
        self.events: list[RunEvent] = []
        self.evals: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        """Of the `start` event."""
        self.mode: str | None = None
        self.end: RunEvent | None = None
        self.bad_lines = 0
        self.pause_s = 0.0
        """Seconds spent in evaluations and checkpoints, and how many."""
        self.evals_done = 0
        self.last_wall_ns: int | None = None
        self._offset = 0
        self._rest = b""
        self._config_mark: tuple[int, int] | None = None
        self._fd = -1
        self._inode = 0

    @property
    def path(self) -> Path:
        return self.directory / "steps.jsonl"

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def newer(self) -> int | None:
        """The format of the log, where it is newer than this reader knows."""
        number = self.config.get("format")
        return number if isinstance(number, int) and number > FORMAT else None

    def fact(self, name: str) -> Any:
        """From run.json, else from the `start` event (run.json may be unwritable on a full disk)."""
        value = self.config.get(name)
        return self.facts.get(name) if value is None else value

    # -- reading ----------------------------------------------------------------------------------

    def poll(self) -> bool:
        """Read what was appended. True: something changed."""
        changed = self._poll_config()
        changed = self.tail.poll() or changed
        changed = self._poll_ranks() or changed
        if not self._open():
            return changed
        while True:
            try:
                data = os.pread(self._fd, _CHUNK, self._offset)
            except OSError:
                return changed
            if not data:
                break
            self._offset += len(data)
            changed = self._feed(data) or changed
            if len(data) < _CHUNK:
                break
        if changed:
            self.columns = self.store.view()
        return changed

    def load_ended(self) -> None:
        """Everything but the steps of a log that no longer grows; these are read when asked for."""
        self._poll_config()
        self.tail.poll()
        self._poll_ranks()
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError:
            return
        steps = [line for line in lines if line.startswith(_STEP_PREFIXES)]
        others, bad = parse_lines([x for x in lines if x and not x.startswith(_STEP_PREFIXES)])
        self.bad_lines += bad
        recent, _ = parse_lines(steps[-RECENT:])
        self.store.add(recent)
        self.store.total = len(steps)
        for record in others:
            self._event(record)
        self._heard(recent)
        self.columns = StoredColumns(self.path)

    def _poll_ranks(self) -> bool:
        """The other processes of a distributed run."""
        count = self.fact("ranks")
        now = time.monotonic()
        if not isinstance(count, int) or count < 2 or now < self._ranks_due:
            return False
        self._ranks_due = now + RANKS_S
        if not self.rank_tails:
            names = ["steps.jsonl", *(f"steps.{n}.jsonl" for n in range(1, min(count, MAX_RANKS)))]
            self.rank_tails = [RankTail(self.directory / name, n) for n, name in enumerate(names)]
        news = [tail.poll() for tail in self.rank_tails]
        if not any(news):
            return False
        self._ranks = tuple(tail.state for tail in self.rank_tails if tail.state is not None)
        return True

    def ranks(self) -> tuple[RankState, ...]:
        return self._ranks

    def _poll_config(self) -> bool:
        path = self.directory / "run.json"
        try:
            status = path.stat()
            mark = (status.st_mtime_ns, status.st_ino)
            if mark == self._config_mark:
                return False
            value = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return False
        self._config_mark = mark
        if not isinstance(value, dict):
            return False
        self.config = value
        return True

    def _open(self) -> bool:
        """Have the log open; start again if another file took its place."""
        if self._fd >= 0:
            status = os.fstat(self._fd)
            if status.st_nlink and status.st_size >= self._offset:
                return True
            self.close()
            config, mark = self.config, self._config_mark
            self.reset()
            self.config, self._config_mark = config, mark
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return False
        return True

    def _feed(self, data: bytes) -> bool:
        """Take in bytes; the last line counts when its end has come. True: there was a whole line."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _MAX_LINE:
            self._rest = b""
            self.bad_lines += 1
        records, bad = parse_lines([line for line in lines if line])
        self.bad_lines += bad
        steps: list[dict[str, Any]] = []
        for record in records:
            if record.get("kind") == "step":
                steps.append(record)
            else:
                self._event(record)
        self.store.add(steps)
        self._heard(steps)
        return bool(lines)

    def _heard(self, steps: Sequence[Mapping[str, Any]]) -> None:
        if steps:
            self._hear(_whole(steps[-1].get("wall_ns")))

    def _hear(self, wall_ns: int | None) -> None:
        if wall_ns is not None and (self.last_wall_ns is None or wall_ns > self.last_wall_ns):
            self.last_wall_ns = wall_ns

    def _event(self, record: Mapping[str, Any]) -> None:
        kind = record.get("kind")
        if not isinstance(kind, str):
            self.bad_lines += 1
            return
        data = record.get("data")
        data = data if isinstance(data, dict) else {}
        wall = _whole(record.get("wall_ns")) or 0
        event = RunEvent(wall, _whole(record.get("step")), kind, str(record.get("text") or ""), data)
        self._hear(wall)
        self.events.append(event)
        if len(self.events) > MAX_EVENTS:
            self._drop_events()
        if kind == "start":
            self.facts = data
            self.end = None
        elif kind == "mode":
            self.mode = str(data.get("mode") or event.text)
        elif kind == "end":
            self.end = event
        elif kind in ("eval", "checkpoint"):
            self.pause_s += _seconds(data.get("seconds"))
        if kind == "eval":
            self.evals_done += 1
            self.evals.append({**data, "step": event.step, "wall_ns": wall})

    def _drop_events(self) -> None:
        """Modes and notes are many: the older half of them goes first."""
        half = len(self.events) // 2
        weighty = [e for e in self.events[:half] if e.kind not in ("mode", "note", "checkpoint", "eval")]
        self.events = [*weighty[-MAX_EVENTS // 4 :], *self.events[half:]]

    # -- what follows from it ---------------------------------------------------------------------

    def samples_per_s(self) -> float | None:
        """Of all ranks together, over the last 50 steps, by their own wall time."""
        samples, seconds = self._recent("samples"), self._recent("step_s")
        total = math.fsum(seconds)
        if not samples or len(samples) != len(seconds) or total <= 0:
            return None
        ranks = self.fact("ranks")
        return math.fsum(samples) / total * (ranks if isinstance(ranks, int) and ranks > 1 else 1)

    def eta_s(self) -> float | None:
        """Steps left at the median of the last 50 step times, and the evaluations and checkpoints to
        come at what they took so far a step."""
        total, step = _whole(self.fact("total_steps")), self.store.last["step"]
        times = self._recent("step_s")
        if total is None or step is None or len(times) < 5:
            return None
        left = max(0, total - int(step))
        return left * (median(times) + self.pause_s / max(1, self.store.total))

    def _recent(self, name: str) -> list[float]:
        return [x for x in self.store.columns[name][-RECENT:] if math.isfinite(x)]


def _float(value: object) -> float:
    """A number of a step record; "nan", "inf", "-inf" are how the log writes what JSON has not."""
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return _NAN
    return float(value) if value in ("inf", "-inf") else _NAN


def _known(value: object) -> float | None:
    """The same for `last`, where missing is None and NaN is NaN."""
    if value == "nan":
        return _NAN
    number = _float(value)
    return None if number != number else number


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return int(value)


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) and value > 0 else 0.0
