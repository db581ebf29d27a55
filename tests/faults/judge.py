"""Plays what was recorded through the shipped rule engine and notes what opened, when, and as what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dctop.engine.recording.reader import open_recording
from dctop.engine.recording.replay import ReplaySource
from dctop.engine.rules.alert import Alert
from dctop.engine.rules.engine import RuleEngine
from dctop.engine.rules.logsource import LogSource, moments, steps_at
from dctop.engine.training.runstate import RunState
from dctop.engine.training.watcher import load_run
from tests.faults.corpus import Plan

EVERY_STEPS = 5
"""Logs are looked at each so many steps (and at each second and event): about what a live tick of 1 Hz sees
of a run of a GPU is more, of a CPU less. Delays in steps are counted at these looks."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One alert of a run of the corpus."""

    rule: str
    entity: str
    severity: str
    wall_ns: int
    """Of the look at which it was first there."""
    step: int | None
    closed_ns: int | None
    symptom_of: str | None
    """While it was open last."""
    count: int


@dataclass(frozen=True, slots=True)
class Judged:
    plan: Plan
    truth: Mapping[str, Any]
    sightings: tuple[Sighting, ...]
    seconds: float
    """How long was looked on."""
    run: RunState | None


def judge(plan: Plan, folder: Path) -> Judged:
    """`folder`: the one this run was made in."""
    truth = json.loads((folder / "truth.json").read_text())
    runs = sorted((folder / "dctop" / "runs").glob("*")) if (folder / "dctop" / "runs").is_dir() else []
    run = load_run(runs[0 if plan.case.infer is None else -1]) if runs else None
    if plan.case.frames:
        return _node(plan, truth, folder / "node.dctop", run)
    assert run is not None
    return _log(plan, truth, run)


class _Notes:
    def __init__(self) -> None:
        self._first: dict[int, tuple[int, int | None]] = {}
        self._last: dict[int, Alert] = {}
        self._root: dict[int, str | None] = {}

    def take(self, alerts: tuple[Alert, ...], wall_ns: int, step: int | None) -> None:
        for a in alerts:
            if a.state == "closed" and a.id not in self._first:
                continue  # of before the beginning
            self._first.setdefault(a.id, (wall_ns, step))
            self._last[a.id] = a
            if a.open:
                self._root[a.id] = a.suppressed_by

    def sightings(self) -> tuple[Sighting, ...]:
        return tuple(
            Sighting(
                a.rule, a.entity, a.severity, *self._first[i], a.closed_wall_ns, self._root.get(i), a.count
            )
            for i, a in sorted(self._last.items())
        )


def _log(plan: Plan, truth: Mapping[str, Any], run: RunState) -> Judged:
    engine, source, notes = RuleEngine(), LogSource(run), _Notes()
    begin = end = run.started_wall_ns
    for at in moments(run, EVERY_STEPS):
        source.go(at)
        engine.tick(source)
        notes.take(engine.alerts(), at, steps_at(run, at))
        end = at
    return Judged(plan, truth, notes.sightings(), (end - begin) / 1e9, run)


def _node(plan: Plan, truth: Mapping[str, Any], path: Path, run: RunState | None) -> Judged:
    source, engine, notes = ReplaySource(open_recording(path)), RuleEngine(), _Notes()
    try:
        more = source.snapshot() is not None
        while more:
            engine.tick(source)
            snap = source.snapshot()
            assert snap is not None
            runs = source.runs()
            notes.take(engine.alerts(), snap.frame.wall_ns, runs[0].step if runs else None)
            more = source.step(1)
        return Judged(plan, truth, notes.sightings(), (source.t1_ns - source.t0_ns) / 1e9, run)
    finally:
        source.close()
