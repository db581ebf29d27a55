"""A trace for ui.perfetto.dev and chrome://tracing: JSON "trace event format".

Rules kept (of Perfetto's JSON importer): `ts` and `dur` in microseconds from the beginning of the recording;
counters are numbers, never null, and written when they change, for a value holds until the next; slices of
one thread nest; what may overlap (alerts, gaps) is asynchronous with category, id and pid; instants name
their scope. A gap cannot be told in a counter: it is an asynchronous slice NOT RECORDED.

    pid 1 node      a counter a metric, one track an instance    pid 3, 4 ... runs     steps, phases in them
    pid 2 events    alerts, gaps, markers, kernel records        pid 10, 11 ... GPUs   counters
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import TextIO

from dctop.engine.export.tables import FOREVER, Scope, snapshots, step_rows
from dctop.engine.metrics.derived import CATALOGUE
from dctop.engine.metrics.model import Snapshot
from dctop.engine.recording.reader import Recording
from dctop.engine.training.runstate import PHASES, STEP_FIELDS
from dctop.probes.base import split_series

NODE, EVENTS, RUNS, GPUS = 1, 2, 3, 10
TOP = 10
"""Processes with a CPU track of their own: those that used most."""
Event = dict[str, object]


class _Clock:
    def __init__(self, recording: Recording) -> None:
        span = recording.time_range
        self.start_ns = 0 if span is None else span[0]
        self._last = 0.0

    def us(self, wall_ns: int) -> float:
        us = (wall_ns - self.start_ns) / 1000
        return int(us) if us == int(us) else us


def write_perfetto(recording: Recording, scope: Scope, out: TextIO) -> int:
    """Returns how many trace events were written."""
    clock = _Clock(recording)
    facts = {"start_unix_ns": str(clock.start_ns), "app": recording.meta.get("app", "")}
    facts |= {"host": recording.meta.get("host", "?"), "uuid": recording.meta.get("uuid", "")}
    encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode
    out.write(f'{{"displayTimeUnit":"ms","otherData":{encode(facts)},"traceEvents":[\n')
    n = 0
    for event in _all(recording, scope, clock):
        out.write(f"{',' if n else ''}{encode(event)}\n")
        n += 1
    out.write("]}\n")
    return n


def _all(recording: Recording, scope: Scope, clock: _Clock) -> Iterator[Event]:
    host = recording.meta.get("host", "?")
    yield from _named(NODE, f"{host} node", 0)
    yield from _named(EVENTS, "alerts, markers, gaps", 1)
    gpus: dict[str, int] = {}
    yield from _counters(recording, scope, clock, gpus)
    for i, (run, number) in enumerate(_runs(recording, scope)):
        pid = RUNS + i if i < GPUS - RUNS else GPUS + len(gpus) + i
        yield from _named(pid, f"run {run}", 2 + i)
        yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": 1, "args": {"name": f"steps ({number})"}}
        yield from _steps(recording, scope, clock, run, pid)
    yield from _events(recording, scope, clock)


def _named(pid: int, name: str, order: int) -> Iterator[Event]:
    yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}}
    yield {"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": order}}


# -- counters -----------------------------------------------------------------------------------------------


def _counters(recording: Recording, scope: Scope, clock: _Clock, gpus: dict[str, int]) -> Iterator[Event]:
    top = {} if scope.metrics else _busiest(recording, scope)
    places: dict[str, tuple[int, str, str] | None] = {}
    shown: dict[str, float] = {}
    last_us = -1.0
    for snap in snapshots(recording, scope, procs=bool(top)):
        ts = clock.us(snap.frame.wall_ns)
        if ts <= last_us:  # the clock was set back: two values at one time cannot be told apart
            continue
        last_us = ts
        changed: dict[tuple[int, str], dict[str, float]] = {}
        for key, value in snap.values.items():
            if not isinstance(value, (int, float)) or not math.isfinite(value) or shown.get(key) == value:
                continue
            if key not in places:
                places[key] = _place(key, gpus) if scope.takes(key) else None
            place = places[key]
            if place is not None:
                shown[key] = value
                changed.setdefault(place[:2], {})[place[2]] = value
        for track, value in _process_cpu(snap, top):
            if shown.get(track) != value:
                shown[track] = value
                changed.setdefault((NODE, "process cpu [%]"), {})[track] = value
        for (pid, name), args in changed.items():
            yield {"ph": "C", "pid": pid, "ts": ts, "name": name, "args": args}
    for gpu, pid in gpus.items():
        yield from _named(pid, f"GPU {gpu}", pid)


def _place(key: str, gpus: dict[str, int]) -> tuple[int, str, str]:
    """(pid, counter, its track)"""
    metric, labels = split_series(key)
    entry = CATALOGUE.get(metric)
    unit = f" [{entry.unit}]" if entry is not None and entry.unit else ""
    gpu = labels.pop("gpu", None)
    pid = NODE if gpu is None else gpus.setdefault(gpu, GPUS + len(gpus))
    return pid, f"{metric}{unit}", " ".join(labels.values()) or "value"


def _busiest(recording: Recording, scope: Scope) -> dict[tuple[int, int], str]:
    """(pid, start) -> name of the processes that used most CPU time, looked at once a minute."""
    span = recording.seq_range
    if span is None:
        return {}
    first, last = span
    if scope.t0 is not None or scope.t1 is not None:
        first, last = recording.seqs_between(
            -FOREVER if scope.t0 is None else scope.t0, FOREVER if scope.t1 is None else scope.t1
        )
    used: dict[tuple[int, int], list[int]] = {}
    names: dict[tuple[int, int], str] = {}
    stride = max(1, min(60, (last - first) // 20))
    for seq in (*range(first, last, stride), last):
        frame = recording.frame(seq)
        for p in () if frame is None else frame.processes:
            key = (p.pid, p.start_ticks)
            used.setdefault(key, [p.cpu_ticks, 0])[1] = p.cpu_ticks
            names[key] = p.name
    ranked = sorted(used, key=lambda k: used[k][0] - used[k][1])[:TOP]
    return {k: f"{names[k]} {k[0]}" for k in ranked}


def _process_cpu(snap: Snapshot, top: Mapping[tuple[int, int], str]) -> Iterator[tuple[str, float]]:
    if not top:
        return
    alive = {(p.pid, p.start_ticks) for p in snap.frame.processes}
    for key, name in top.items():
        yield name, round(snap.process_cpu_pct.get(key[0], 0.0), 1) if key in alive else 0.0


# -- runs ---------------------------------------------------------------------------------------------------


def _runs(recording: Recording, scope: Scope) -> Iterator[tuple[str, int]]:
    if scope.metrics:
        return
    counts: dict[str, int] = {}
    for row in step_rows(recording, scope):
        counts[str(row[0])] = counts.get(str(row[0]), 0) + 1
    yield from counts.items()


_AT = {name: 3 + i for i, name in enumerate(n for n in STEP_FIELDS if n != "wall_ns")}


def _steps(recording: Recording, scope: Scope, clock: _Clock, run: str, pid: int) -> Iterator[Event]:
    """A slice a step from its end back, phases nested in it one after the other."""
    free = -math.inf
    for row in step_rows(recording, scope, run):
        wall, took = row[2], row[_AT["step_s"]]
        if not isinstance(wall, int) or not isinstance(took, (int, float)) or took < 0:
            continue
        end = clock.us(wall)
        begin = max(end - took * 1e6, free)
        if begin >= end:
            continue
        free = end
        args = {n: v for n in ("loss", "accuracy", "lr", "grad_norm") if (v := row[_AT[n]]) is not None}
        yield _slice(pid, f"step {row[_AT['step']]}", begin, end, args)
        at = begin
        for phase in PHASES:
            seconds = row[_AT[f"{phase}_s"]]
            if not isinstance(seconds, (int, float)) or seconds <= 0 or at >= end:
                continue
            stop = min(end, at + seconds * 1e6)
            yield _slice(pid, phase, at, stop, {})
            at = stop


def _slice(pid: int, name: str, begin: float, end: float, args: Mapping[str, object]) -> Event:
    begin, end = round(begin, 3), round(end, 3)
    event: Event = {"ph": "X", "pid": pid, "tid": 1, "ts": begin, "dur": round(end - begin, 3)}
    event |= {"cat": "train", "name": name}
    return event | {"args": args} if args else event


# -- events -------------------------------------------------------------------------------------------------


def _events(recording: Recording, scope: Scope, clock: _Clock) -> Iterator[Event]:
    end = recording.time_range[1] if recording.time_range else 0
    for e in recording.events():
        if not scope.holds(e.t0) and (e.t1 is None or not scope.holds(e.t1)):
            continue
        if e.kind == "alert":
            name = f"{e.rule}: {e.title}"
            args = {"severity": e.sev or "", "entity": e.entity or ""}
            yield from _span("alert", f"a{e.id}", name, clock.us(e.t0), clock.us(e.t1 or end), args)
        elif e.kind != "gap":
            title = f"{e.kind}: {e.title}"
            yield {"ph": "i", "s": "p", "pid": EVENTS, "tid": 0, "ts": clock.us(e.t0), "name": title}
    for i, gap in enumerate(recording.gaps):
        if scope.holds(gap.t0) or scope.holds(gap.t1):
            args = {"reason": gap.reason}
            yield from _span("gap", f"g{i}", "NOT RECORDED", clock.us(gap.t0), clock.us(gap.t1), args)


def _span(
    cat: str, number: str, name: str, begin: float, end: float, args: Mapping[str, object]
) -> Iterator[Event]:
    both = {"cat": cat, "id": number, "pid": EVENTS, "tid": 0, "name": name}
    yield {"ph": "b", "ts": begin, "args": args, **both}
    yield {"ph": "e", "ts": max(begin, end), **both}
