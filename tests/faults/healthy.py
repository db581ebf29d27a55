"""Healthy trainings and measurements back to back, watched live, for hours: how often is the diagnosis wrong?

    python -m tests.faults.healthy --minutes 600 --keep DIR --out docs/DIAGNOSIS.md

The engine is the dashboard's: rules of the node and of runs, once a second, what was learned kept between
sessions. Everything is written to DIR/journal.jsonl as it happens: it may be interrupted at any time (Ctrl-C,
a signal, a kill), and the next call with the same DIR goes on and adds up.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dctop.engine.live import LiveEngine
from dctop.engine.rules.alert import RANK, Alert
from dctop.engine.training import control, infer, launcher
from dctop.engine.training.folder import run_ids
from dctop.engine.training.runstate import RunState
from dctop.engine.training.watcher import RunFollower, load_run
from tests.faults.hours import add_up, page, read
from tests.faults.scenarios import BY_NAME, Part, Scenario, nth, seconds_of, seed_of
from tests.faults.sections import write
from tests.faults.surroundings import CORES, Witness, around, space

LOOK_S, FLUSH_S, PAGE_S = 2.0, 20.0, 300.0
GAP_S = 5.0
"""A longer time between two ticks was not watched (the machine slept)."""
LEAVE_S = 40.0
"""For a run that was asked to stop, before it is killed."""
KEPT_RUNS = 40
PIECES = 120
"""A run's losses are kept as the medians of so many pieces."""


class Journal:
    """Lines, each whole on the disk before the next."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()

    def put(self, kind: str, **data: Any) -> None:
        line = json.dumps({"kind": kind, **data}) + "\n"
        with self._lock, self.path.open("a") as out:
            out.write(line)


class Watch:
    """Listens to the engine: what was watched how long, and every alert with what was around it."""

    def __init__(self, journal: Journal, witness: Witness, session: int) -> None:
        self._journal, self._witness, self._session = journal, witness, session
        self._lock = threading.Lock()
        self._last: float | None = None
        self._node_s, self._runs_s = 0.0, dict[str, float]()
        self._kept: dict[int, dict[str, Any]] = {}
        self._old: set[str] = set()
        self.about: set[str] = set()
        """Runs some alert was about."""

    def tick(self, engine: LiveEngine) -> None:
        """In the engine's thread, after each of its ticks."""
        now, runs = time.monotonic(), engine.now.known_runs
        if self._last is None:
            self._old = {r.id for r in runs if r.status not in control.ACTIVE}
        passed = 0.0 if self._last is None or now - self._last > GAP_S else now - self._last
        self._last = now
        with self._lock:
            self._node_s += passed
            for run in runs:
                if run.status in ("running", "stopping"):
                    self._runs_s[run.id] = self._runs_s.get(run.id, 0.0) + passed
        by_id = {r.id: r for r in runs}
        for alert in engine.now.known_alerts:
            if alert.entity not in self._old:
                self._take(alert, by_id.get(alert.entity))

    def look(self) -> None:
        with self._lock:
            self._witness.look()

    def flush(self) -> None:
        with self._lock:
            seconds, self._node_s = self._node_s, 0.0
            runs, self._runs_s = self._runs_s, {}
        self._journal.put(
            "span", session=self._session, seconds=round(seconds, 3),
            runs={k: round(v, 3) for k, v in runs.items()}, wall_ns=time.time_ns(),
        )  # fmt: skip

    def _take(self, alert: Alert, run: RunState | None) -> None:
        kept = self._kept.get(alert.id)
        if kept is None:
            kept = self._kept[alert.id] = self._first(alert, run)
        elif alert.state == "pending":
            return
        mark = (kept["severity"], kept["closed_ns"], kept["count"], kept["symptom_of"])
        if RANK[alert.severity] < RANK[kept["severity"]]:
            kept["severity"] = alert.severity
        kept["closed_ns"], kept["count"] = alert.closed_wall_ns, alert.count
        if alert.open:
            kept["symptom_of"] = alert.suppressed_by
        if "written" in kept and mark == (
            kept["severity"], kept["closed_ns"], kept["count"], kept["symptom_of"]
        ):  # fmt: skip
            return
        if "written" not in kept:
            print(f"  ! {alert.severity} {alert.rule} {alert.entity}: {alert.title}", flush=True)
        kept["written"] = True
        self._journal.put("alert", **kept)

    def _first(self, alert: Alert, run: RunState | None) -> dict[str, Any]:
        self.about.add(alert.entity)
        with self._lock:
            seen = around(self._witness.looks, None if run is None else run.id)
        return {
            "session": self._session, "id": alert.id, "rule": alert.rule, "entity": alert.entity,
            "severity": alert.severity, "opened_ns": alert.opened_wall_ns, "closed_ns": None,
            "count": alert.count, "symptom_of": alert.suppressed_by, "said": alert.title,
            "step": None if run is None else run.step, "mode": None if run is None else run.mode,
            "evidence": [[e.label, e.value, e.unit, e.threshold] for e in alert.evidence],
            "around": {k: {n: round(x, 4) for n, x in v.items()} for k, v in seen.items()},
            "cores": CORES, **({"space": space(alert.entity)} if alert.entity.startswith("/") else {}),
        }  # fmt: skip


class Lanes:
    """Runs scenarios, so many at once, until the time is over."""

    def __init__(self, folder: Path, journal: Journal, done: int, only: tuple[str, ...]) -> None:
        self._runs = folder / "dctop" / "runs"
        self._journal, self._next, self._only = journal, done, only
        self._lock = threading.Lock()
        self.over = threading.Event()

    def work(self) -> None:
        while not self.over.is_set():
            with self._lock:
                n, self._next = self._next, self._next + 1
            scenario = nth(n, self._only)
            self._journal.put("scenario", n=n, config=scenario.name)
            self._scenario(n, scenario)

    def _scenario(self, n: int, scenario: Scenario) -> None:
        if scenario.after_another:
            last: str | None = None
            for i, part in enumerate(scenario.parts):
                if self.over.is_set():
                    return
                last = self._part(scenario.name, part, seed_of(n, i), last)
                if last is None:
                    return
            return
        parts = [
            threading.Thread(target=self._part, args=(scenario.name, part, seed_of(n, i), None))
            for i, part in enumerate(scenario.parts)
        ]
        for thread in parts:
            thread.start()
        for thread in parts:
            thread.join()

    def _part(self, name: str, part: Part, seed: int, before: str | None) -> str | None:
        """One run from its launch to its end; its id, None where it went wrong."""
        with self._lock:  # the launcher numbers the runs of a second
            result = _start(part, seed, before, self._runs)
        if result.run_id is None:
            self._journal.put("not-started", config=name, error=result.error or "?")
            self.over.wait(5.0)
            return None
        self._journal.put("launch", run=result.run_id, config=name, seed=seed, wall_ns=time.time_ns())
        state = self._follow(self._runs / result.run_id, seconds_of(part, seed))
        self._journal.put("run", run=result.run_id, **facts(state))
        print(f"{name}: {result.run_id} {state.status}, {state.step or 0} steps", flush=True)
        return result.run_id if state.status in ("finished", "stopped") else None

    def _follow(self, directory: Path, seconds: float) -> RunState:
        follower, begun = RunFollower(directory), time.monotonic()
        asked: float | None = None
        try:
            while True:
                state = follower.poll()
                assert state is not None, directory
                if state.status not in control.ACTIVE:
                    return load_run(directory) or state
                now = time.monotonic()
                if asked is None and (self.over.is_set() or now - begun > seconds):
                    asked = now
                    _quietly_stop(state, force=False)
                elif asked is not None and now - asked > LEAVE_S:
                    asked = now
                    _quietly_stop(state, force=True)
                time.sleep(0.5)
        finally:
            follower.close()


def _start(part: Part, seed: int, before: str | None, runs: Path) -> launcher.LaunchResult:
    if part.measure is not None:
        assert before is not None
        trained = json.loads((runs / before / "run.json").read_text()).get("measures") or {}
        return infer.launch(trained.get("run") or before, {"threads": 1, **part.measure})
    if part.resume:
        assert before is not None
        asked = json.loads((runs / before / "run.json").read_text())["config"]
        more = {"max_steps": asked["max_steps"], "workload": part.config.get("workload", "mnist-cnn")}
        return launcher.launch(more, resume=before)
    return launcher.launch({"threads": 1, "seed": seed, **part.config})


def _quietly_stop(state: RunState, force: bool) -> None:
    try:
        control.stop(state, force=force)
    except control.ControlError:
        pass  # it has ended meanwhile


def facts(state: RunState) -> dict[str, Any]:
    """What is known of a run in the end: for telling whether what was said of it was true."""
    asked = state.config.get("config")
    asked = asked if isinstance(asked, Mapping) else {}
    return {
        "status": state.status, "reason": state.reason, "steps": state.step,
        "evals": [[e.get("wall_ns"), e.get("loss"), e.get("accuracy")] for e in state.evals],
        "losses": pieces(list(state.columns["wall_ns"]), list(state.columns["loss"])),
        "reached": reached(state, float(asked.get("target") or 0.0)),
    }  # fmt: skip


def pieces(walls: list[float], losses: list[float], n: int = PIECES) -> list[list[float]]:
    """(wall ns of its end, median loss) of `n` pieces of equal numbers of steps."""
    known = [(int(w), x) for w, x in zip(walls, losses) if x == x and w == w]
    size = max(5, len(known) // n)
    groups = [known[i : i + size] for i in range(0, len(known) - size + 1, size)]
    return [[g[-1][0], sorted(x for _, x in g)[len(g) // 2]] for g in groups]


def reached(state: RunState, target: float) -> bool | None:
    """Whether it met its target; None: it has none, or was stopped before its end."""
    if not target:
        return None
    if state.workload == "mnist-cnn":
        met = any((e.get("accuracy") or 0.0) >= target for e in state.evals)
    else:
        met = any(e.get("loss") is not None and e["loss"] <= target for e in state.evals)
    return True if met else False if state.status == "finished" else None


def tidy(runs: Path, keep: set[str]) -> None:
    """Checkpoints of runs that have ended a while ago, and whole runs that nothing was said about."""
    for i, name in enumerate(run_ids(runs)):
        if i < 8 or not (runs / name).is_dir():
            continue
        for file in (runs / name).rglob("*.pt"):
            file.unlink(missing_ok=True)
        if i >= KEPT_RUNS and name not in keep:
            shutil.rmtree(runs / name, ignore_errors=True)


def sweep(runs: Path) -> None:
    """End what an earlier session that was killed has left behind: it would run unwatched."""
    for name in run_ids(runs):
        state = load_run(runs / name)
        if state is not None and state.status in control.ACTIVE:
            _quietly_stop(state, force=True)


def watch(folder: Path, minutes: float, at_once: int, out: Path | None, only: tuple[str, ...]) -> None:
    """One session."""
    os.environ["XDG_STATE_HOME"] = str(folder)
    runs = folder / "dctop" / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    sweep(runs)
    journal = Journal(folder / "journal.jsonl")
    known = read(journal.path)
    session = 1 + sum(x["kind"] == "session" for x in known)
    done = 1 + max((x["n"] for x in known if x["kind"] == "scenario"), default=-1)
    engine = LiveEngine(1.0, soon=True)
    engine.keep_usual(folder / "dctop" / "usual.json")
    witness = Watch(journal, Witness(folder), session)
    engine.on_tick.append(witness.tick)
    lanes = Lanes(folder, journal, done, only)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: lanes.over.set())
    journal.put("session", session=session, wall_ns=time.time_ns())
    engine.start()
    threads = [threading.Thread(target=lanes.work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    try:
        _attend(engine, witness, lanes, threads, minutes, folder, out)
    finally:
        lanes.over.set()
        for thread in threads:
            thread.join()
        engine.stop()
        witness.flush()


def _attend(
    engine: LiveEngine, witness: Watch, lanes: Lanes, threads: list[threading.Thread], minutes: float,
    folder: Path, out: Path | None,
) -> None:  # fmt: skip
    begun = flushed = paged = time.monotonic()
    while any(t.is_alive() for t in threads):
        witness.look()
        now = time.monotonic()
        if now - begun > 60.0 * minutes:
            lanes.over.set()
        if now - flushed > FLUSH_S:
            flushed = now
            witness.flush()
            tidy(folder / "dctop" / "runs", witness.about)
        if now - paged > PAGE_S and out is not None:
            paged = now
            report(folder, out)
        time.sleep(LOOK_S)
    engine.wait_ticks(3, 10.0)  # what is said of the last run's end


def report(folder: Path, out: Path | None) -> None:
    section = page(add_up(read(folder / "journal.jsonl")))
    if out is None:
        print(section)
    else:
        write(out, section)


def main() -> int:
    parser = argparse.ArgumentParser(prog="healthy", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--at-once", type=int, default=1, help="scenarios at a time")
    parser.add_argument("--keep", type=Path, required=True, help="folder of the runs and the journal")
    parser.add_argument("--out", type=Path, help="page whose section is written (default: printed)")
    parser.add_argument("--only", nargs="*", default=[], choices=sorted(BY_NAME), metavar="NAME")
    parser.add_argument("--report", action="store_true", help="add up what DIR holds, run nothing")
    parser.add_argument(
        "--planted", nargs="*", default=[], metavar="DIR", help="where a drill plants faults meanwhile"
    )
    args = parser.parse_args()
    folder = args.keep.absolute()
    for planted in args.planted:
        folder.mkdir(parents=True, exist_ok=True)
        Journal(folder / "journal.jsonl").put("planted", folder=planted)
    if not args.report:
        folder.mkdir(parents=True, exist_ok=True)
        watch(folder, args.minutes, args.at_once, args.out, tuple(args.only))
    report(folder, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
