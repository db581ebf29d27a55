"""Alerts and runs as they stood at a frame, put together from the log tables."""

from __future__ import annotations

import sqlite3
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dctop.engine.recording.codec import Cell
from dctop.engine.recording.opening import scan
from dctop.engine.recording.plain import RUN_HOT, alert_from, load, run_event_from, run_from
from dctop.engine.recording.runlines import RunLines
from dctop.engine.recording.schema import BEGUN, Damaged, SqlValue, checked, unseal
from dctop.engine.recording.steps import StepColumns, decode_steps
from dctop.engine.rules.alert import Alert
from dctop.engine.training.ranks import from_text
from dctop.engine.training.runstate import STEP_FIELDS, RunEvent, RunState

MAX_STEPS = 20_000
"""As live: a run shows at most so many steps; of longer ones the older part is thinned."""
NEAR_STEPS = 8_192
_CACHED_BODIES = 512
_CACHED_STEPS = 24


class _Log:
    """An append-only table: keys in memory, bodies read when asked for."""

    def __init__(self, table: str, columns: str, key_at: int) -> None:
        self.table = table
        self._columns = columns
        self._key_at = key_at
        self._seqs: dict[object, list[int]] = {}
        self._numbers: dict[object, list[int]] = {}
        self._bodies: OrderedDict[int, object] = OrderedDict()
        self.last = 0
        self.holes = 0
        """Rows that are missing or cannot be read."""

    def refresh(self, db: sqlite3.Connection) -> None:
        names = self._columns.split(",")
        rows, _ = scan(db, self.table, f"n,seq,{names[self._key_at]}", "n", f"n>{self.last}")
        for n, seq, key in rows:
            if not isinstance(n, int) or not isinstance(seq, int):
                self.holes += 1
                continue
            self.holes += max(0, n - self.last - 1)
            self.last = n
            self._seqs.setdefault(key, []).append(seq)
            self._numbers.setdefault(key, []).append(n)

    def at(self, key: object, seq: int) -> int | None:
        """Number of the row in force for `key` at frame `seq`."""
        seqs = self._seqs.get(key)
        i = bisect_right(seqs, seq) if seqs else 0
        return self._numbers[key][i - 1] if i else None

    def upto(self, key: object, seq: int) -> list[int]:
        """Numbers of all rows for `key` up to frame `seq`."""
        seqs = self._seqs.get(key, [])
        return self._numbers.get(key, [])[: bisect_right(seqs, seq)]

    def keys(self) -> list[object]:
        """All that rows were written for, oldest first."""
        return list(self._seqs)

    def seqs(self, key: object) -> list[int]:
        """Frames from which its rows were in force."""
        return self._seqs.get(key, [])

    def body(self, db: sqlite3.Connection, n: int, decode: Callable[[tuple[SqlValue, ...]], object]) -> Any:
        """The decoded row, cached. Raises Damaged."""
        found = self._bodies.get(n)
        if found is None:
            try:
                row = db.execute(f"SELECT n,{self._columns},crc FROM {self.table} WHERE n=?", (n,)).fetchone()
            except sqlite3.DatabaseError as e:
                raise Damaged(str(e)) from e
            if row is None:
                raise Damaged("a row is gone")
            found = self._bodies[n] = decode(checked(row))
            if len(self._bodies) > _CACHED_BODIES:
                self._bodies.popitem(last=False)
        return found


class Moments:
    """What was known beside the frames."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._alerts = _Log("alert_log", "alert,seq,wall_ns,body", 0)
        self._listing = _Log("listing", "seq,wall_ns,kind,body", 2)
        self._states = _Log("run_state", "run,seq,wall_ns,body", 0)
        self._items = _Log("run_item", "run,seq,wall_ns,kind,body", 0)
        self._lines = RunLines(db)
        self._steps: dict[str, _Steps] = {}
        self._past: dict[str, tuple[int, list[Mapping[str, Any]], list[RunEvent]]] = {}
        self.problems: set[str] = set()

    def refresh(self) -> None:
        for log in (self._alerts, self._listing, self._states, self._items):
            log.refresh(self._db)
            if log.holes:
                self.problems.add(f"{log.table}: rows are missing")
        self._lines.refresh()
        for steps in self._steps.values():
            steps.refresh(self._db)

    def _shown(self, kind: str, seq: int) -> list[Any]:
        n = self._listing.at(kind, seq)
        if n is None:
            return []
        try:
            ids = self._listing.body(self._db, n, lambda row: load(row[4]))
        except Damaged:
            self.problems.add("listing: a damaged row")
            return []
        return ids if isinstance(ids, list) else []

    def begun(self) -> tuple[int, object] | None:
        """Frame and body of what the rules knew at the beginning; None: not recorded, or damaged."""
        n = self._listing.at(BEGUN, 1 << 62)
        try:
            found = None if n is None else self._listing.body(self._db, n, lambda row: (row[1], row[4]))
        except Damaged:
            self.problems.add("listing: a damaged row")
            return None
        return None if found is None else (int(found[0]), found[1])

    def alerts(self, seq: int) -> list[Alert]:
        """As shown at frame `seq`, in that order."""
        out = []
        for alert_id in self._shown("alerts", seq):
            n = self._alerts.at(alert_id, seq)
            try:
                if n is None:
                    raise Damaged("an alert is missing")
                out.append(self._alerts.body(self._db, n, lambda row: alert_from(row[4])))
            except Damaged:
                self.problems.add("alert_log: a damaged row")
        return out

    def runs(self, seq: int, control: Mapping[str, Cell]) -> list[RunState]:
        """As shown at frame `seq`, whose control cells are `control`."""
        out = []
        for run_id in self._shown("runs", seq):
            n = self._states.at(run_id, seq)
            try:
                if n is None:
                    raise Damaged("a run is missing")
                body = self._states.body(self._db, n, lambda row: load(row[4]))
                out.append(self._run(run_id, seq, body, control))
            except (Damaged, AttributeError, TypeError):
                self.problems.add("run_state: a damaged row")
        return out

    def every_alert(self) -> list[Alert]:
        """All alerts, each as it was last written, in order of their ids."""
        out: list[Alert] = []
        for key in self._alerts.keys():  # noqa: SIM118 - a method of ours
            n = self._alerts.at(key, 1 << 62)
            try:
                if n is not None:
                    out.append(self._alerts.body(self._db, n, lambda row: alert_from(row[4])))
            except Damaged:
                self.problems.add("alert_log: a damaged row")
        return sorted(out, key=lambda a: a.id)

    def every_run(self, end: int, control_at: Callable[[int], Mapping[str, Cell]]) -> list[RunState]:
        """All runs, each as it was when it was last listed up to frame `end`, oldest first; `control_at`: the
        control cells of a frame."""
        last: dict[str, int] = {}
        seqs = self._listing.seqs("runs")
        for i, seq in enumerate(seqs):
            for run_id in self._shown("runs", seq):
                last[str(run_id)] = min(end, seqs[i + 1] - 1) if i + 1 < len(seqs) else end
        out = []
        for run_id, seq in last.items():
            n = self._states.at(run_id, seq)
            try:
                if n is None:
                    raise Damaged("a run is missing")
                body = self._states.body(self._db, n, lambda row: load(row[4]))
                out.append(self._run(run_id, seq, body, control_at(seq)))
            except (Damaged, AttributeError, TypeError):
                self.problems.add("run_state: a damaged row")
        return sorted(out, key=lambda r: (r.started_wall_ns, r.id))

    def _run(self, run_id: str, seq: int, body: Mapping[str, Any], control: Mapping[str, Cell]) -> RunState:
        hot: dict[str, Any] = {
            name: control[key] for name in RUN_HOT if (key := f"@{name}|{run_id}") in control
        }
        rows = control.get(f"@rows|{run_id}", body.get("rows", 0))
        steps = self._steps.get(run_id)
        if steps is None:
            steps = self._steps[run_id] = _Steps(run_id)
            steps.refresh(self._db)
        columns = steps.columns(self._db, rows if isinstance(rows, int) else 0)
        if steps.bad:
            blocks = "a damaged block" if steps.bad == 1 else f"{steps.bad} damaged blocks"
            self.problems.add(f"steps of run {run_id}: {blocks} left out")
        hot["log_tail"] = self._lines.at(run_id, seq)
        if self._lines.damaged:
            self.problems.add("output: a damaged row")
        evals, events = self._past_of(run_id, seq)
        ranks = control.get(f"@ranks|{run_id}")
        if isinstance(ranks, str):
            hot["ranks"] = from_text(ranks)
        return run_from(body, hot, columns, evals, events)

    def _past_of(self, run_id: str, seq: int) -> tuple[list[Mapping[str, Any]], list[RunEvent]]:
        numbers = self._items.upto(run_id, seq)
        known = self._past.get(run_id)
        if known is not None and known[0] == len(numbers):
            return known[1], known[2]
        evals: list[Mapping[str, Any]] = []
        events: list[RunEvent] = []
        for n in numbers:
            try:
                kind, item = self._items.body(self._db, n, _item)
            except Damaged:
                self.problems.add("run_item: a damaged row")
                continue
            if kind == "eval":
                evals.append(item)
            elif kind == "event":
                events.append(item)
        self._past[run_id] = (len(numbers), evals, events)
        return evals, events


def _item(row: tuple[SqlValue, ...]) -> tuple[str, object]:
    kind, body = row[4], row[5]
    if kind == "event":
        return "event", run_event_from(body)
    return str(kind), load(body)


class _Steps:
    """The steps of one run: whole while they are few, thinned towards the past when many."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.bad = 0
        self._chunks: list[tuple[int, ...]] = []
        """row0, n, seq0, seq1, t0, t1"""
        self._tail: list[tuple[int, StepColumns]] = []
        self._near: OrderedDict[tuple[int, bool], StepColumns | None] = OrderedDict()
        self._thin: dict[int, StepColumns | None] = {}
        self._last: tuple[int, StepColumns] | None = None
        self._joined: tuple[int, StepColumns] = (0, _none())
        """(how many chunks, their steps joined)"""

    def refresh(self, db: sqlite3.Connection) -> None:
        name = self.run.replace("'", "''")
        rows, damaged = scan(db, "step_chunk", "row0,n,seq0,seq1,t0,t1", "run,row0", f"run='{name}'")
        chunks = [row for row in rows if all(isinstance(v, int) for v in row)]
        if damaged or len(chunks) != len(rows):
            self.bad += 1
        if self._chunks and chunks[:1] != self._chunks[:1]:  # the oldest were evicted
            self._joined = (0, _none())
        self._chunks = chunks  # type: ignore[assignment]
        end = self._chunks[-1][0] + self._chunks[-1][1] if self._chunks else 0
        tail, damaged = scan(db, "step_tail", "row0,n,seq,t0,t1,data", "run,row0", f"run='{name}'")
        self.bad += damaged
        self._tail = []
        for *keys, data in tail:
            try:
                columns = decode_steps(unseal(data, keys))
            except Damaged:
                self.bad += 1
                continue
            if isinstance(keys[0], int) and keys[0] >= end:
                self._tail.append((keys[0], columns))
        self._last = None

    def columns(self, db: sqlite3.Connection, rows: int) -> StepColumns:
        """The first `rows` steps (by number), at most MAX_STEPS of them."""
        if self._last is not None and self._last[0] == rows:
            return self._last[1]
        chunks = [c for c in self._chunks if c[0] < rows]
        if sum(c[1] for c in chunks) > MAX_STEPS:
            out = self._far(db, chunks, rows)
        else:
            out = self._whole(db, chunks, rows)
        for row0, columns in self._tail:
            if row0 < rows:
                _extend(out, columns, rows - row0)
        self._last = (rows, out)
        return out

    def _whole(self, db: sqlite3.Connection, chunks: Sequence[tuple[int, ...]], rows: int) -> StepColumns:
        count, joined = self._joined
        for chunk in chunks[count:]:
            _extend(joined, self._chunk(db, chunk), chunk[1])
        if len(chunks) >= count:
            self._joined = (len(chunks), joined)
        n = sum(min(c[1], rows - c[0]) for c in chunks)
        if self.bad:  # not every chunk gave all of its steps
            steps = _none()
            for chunk in chunks:
                _extend(steps, self._chunk(db, chunk), rows - chunk[0])
            return steps
        return {name: column[:n] for name, column in joined.items()}

    def _far(self, db: sqlite3.Connection, chunks: Sequence[tuple[int, ...]], rows: int) -> StepColumns:
        near = [c for c in chunks if c[0] + c[1] > rows - NEAR_STEPS]
        old = chunks[: len(chunks) - len(near)]
        out = _none()
        for chunk in old:
            _extend(out, self._thinned(db, chunk), chunk[1])
        stride = -(-len(out["step"]) // (MAX_STEPS - NEAR_STEPS - 1024)) if out["step"] else 1
        if stride > 1:
            out = {name: column[::stride] for name, column in out.items()}
        for chunk in near:
            _extend(out, self._chunk(db, chunk), rows - chunk[0])
        return out

    def _chunk(self, db: sqlite3.Connection, chunk: tuple[int, ...]) -> StepColumns | None:
        key = (chunk[0], True)
        if key in self._near:
            self._near.move_to_end(key)
            return self._near[key]
        found = self._near[key] = self._read(db, "data", chunk)
        if len(self._near) > _CACHED_STEPS:
            self._near.popitem(last=False)
        return found

    def _thinned(self, db: sqlite3.Connection, chunk: tuple[int, ...]) -> StepColumns | None:
        if chunk[0] not in self._thin:
            self._thin[chunk[0]] = self._read(db, "thin", chunk)
        return self._thin[chunk[0]]

    def _read(self, db: sqlite3.Connection, column: str, chunk: tuple[int, ...]) -> StepColumns | None:
        try:
            row = db.execute(
                f"SELECT {column} FROM step_chunk WHERE run=? AND row0=?", (self.run, chunk[0])
            ).fetchone()
            return None if row is None else decode_steps(unseal(row[0], chunk))
        except (Damaged, sqlite3.DatabaseError):
            self.bad += 1
            return None


def _none() -> StepColumns:
    return {name: array("d") for name in STEP_FIELDS}


def _extend(out: StepColumns, more: StepColumns | None, n: int) -> None:
    if more is not None:
        for name, column in out.items():
            column.extend(more[name][: max(0, n)])
