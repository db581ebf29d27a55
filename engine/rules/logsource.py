"""A run's log played again as a `Source`, so that the rules may judge it faster than it happened.

Nothing is known of the node: rules that need its probes abstain. `dctop check FILE` judges node and runs
together from a recording; this judges a run directory alone.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.model import Frame, Snapshot
from dctop.engine.rules.alert import Alert
from dctop.engine.rules.engine import RuleEngine
from dctop.engine.training.runstate import RunState, as_of

S = 1_000_000_000
AFTER_NS = 5 * S
"""How long is looked on after the end: rules about a death wait for the kernel's word."""


class LogSource:
    """`run` as it was at one moment after another. `go(wall_ns)` sets the moment."""

    mode: Literal["live", "replay"] = "replay"

    def __init__(self, run: RunState, interval_s: float = 1.0) -> None:
        self.interval_s = interval_s
        self.run = run
        self._now: RunState | None = None
        self._snap: Snapshot | None = None
        self._builder = SnapshotBuilder(tick_hz=100)
        self._seq = 0

    def go(self, wall_ns: int) -> RunState | None:
        """The run at that moment; None: it had not begun."""
        self._seq += 1
        # The wall clock stands in for the monotonic one: a log has no other.
        self._snap = self._builder.push(Frame(self._seq, wall_ns, wall_ns, {}))
        now = as_of(self.run, wall_ns) if self.run.started_wall_ns <= wall_ns else None
        self._now = None if now is None else replace(now, seq=self._seq)
        return self._now

    def snapshot(self) -> Snapshot | None:
        return self._snap

    def window(self, key: str, n: int) -> array[float]:
        return array("d", [float("nan")]) * n

    def alerts(self) -> Sequence[Alert]:
        return ()

    def runs(self) -> Sequence[RunState]:
        return () if self._now is None else (self._now,)


def moments(run: RunState, every_steps: int, every_s: float = 1.0) -> Iterator[int]:
    """When to look: each `every_steps` steps, at every event, and each `every_s` while neither comes; then a
    few seconds beyond the end."""
    walls = run.columns.get("wall_ns", array("d"))
    wanted = {int(walls[i]) for i in range(0, len(walls), max(1, every_steps)) if walls[i] == walls[i]}
    wanted |= {e.wall_ns for e in run.events}
    if len(walls) and walls[-1] == walls[-1]:
        wanted.add(int(walls[-1]))
    last = run.started_wall_ns
    for at in sorted(w for w in wanted if w >= run.started_wall_ns):
        while at - last > every_s * S:
            last += int(every_s * S)
            yield last
        if at > last:
            yield at
            last = at
    for i in range(1, 2 + int(AFTER_NS / S)):
        yield last + i * S


def steps_at(run: RunState, wall_ns: int) -> int | None:
    """The newest step of that moment."""
    walls = run.columns.get("wall_ns")
    n = 0 if walls is None else bisect_right(walls, wall_ns)
    return int(run.columns["step"][n - 1]) if n else None


def judge_run(
    run: RunState,
    lang: str = "en",
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
    every_steps: int = 5,
) -> tuple[Alert, ...]:
    """All alerts of a run's log, in order of opening, as they stood last. For a run that goes on: of what is
    known by now, still open where they are."""
    engine, source = RuleEngine(lang=lang, thresholds=thresholds), LogSource(run)
    found: dict[int, Alert] = {}
    for at in moments(run, every_steps):
        if run.ended_wall_ns is None and at > (run.columns["wall_ns"][-1] if run.step else at):
            break
        source.go(at)
        engine.tick(source)
        found.update((a.id, a) for a in engine.alerts())
    return tuple(found[i] for i in sorted(found))
