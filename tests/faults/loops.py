"""The remedy loop for real: a fault, its alert, `apply`, and what the successor shows."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dctop.engine import paths
from dctop.engine.rules.logsource import judge_run
from dctop.engine.rules.remedies import Verdict, verdict
from dctop.engine.training import control, successor
from dctop.engine.training.remedywords import change_words, verdict_words
from dctop.engine.training.runstate import RunState
from dctop.engine.training.watcher import load_run
from tests.fakes.cgroups import group
from tests.fakes.runs import in_child, start, start_in_child, wait, wait_end

MIB = 1 << 20
APPLY = """
from dctop.engine.training import control, successor
from dctop.engine.rules.logsource import judge_run
successor.MEASURE_STEPS = {steps}
run = control.find({run!r})
found = successor.actionable(judge_run(run), run.id)
alert, remedy = next(p for p in found if (p[0].rule, p[1].key) == ("oom-killed", "batch"))
print(successor.apply(run, successor.planned(run, alert, remedy)))
"""


@dataclass(frozen=True, slots=True)
class Looped:
    """A run and its successor after a remedy."""

    before: RunState
    after: RunState
    told: Verdict | None
    changed: str

    @property
    def line(self) -> str:
        said = "too early to tell" if self.told is None else verdict_words(self.told)
        return f"{self.changed}: {said}"


def out_of_memory(limit_mib: int, measure_steps: int, **config: Any) -> Looped:
    """A run is killed in a memory cgroup; dctop stands in the same one, as in a container, and applies."""
    with group("memory", memory__limit_in_bytes=str(limit_mib * MIB)) as cgroup:
        join = f"open({os.fspath(cgroup / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"
        dead = wait_end(start_in_child(join, **config))
        try:
            new = in_child(APPLY.format(steps=measure_steps, run=dead.id), join)
            state = wait_end(paths.runs_dir() / new)
        finally:
            until = time.monotonic() + 30
            while (cgroup / "cgroup.procs").read_text() and time.monotonic() < until:
                time.sleep(0.05)
    asked = state.config["config"]
    changed = (
        f"`oom-killed`, batch {config['batch_size']} in a memory cgroup of {limit_mib} MiB -> batch "
        f"{asked['batch_size']}, accumulate {asked['accumulate']}"
    )
    return Looped(dead, state, verdict(state), changed)


def starved(milliseconds: int, **config: Any) -> Looped:
    """Every batch waits for its storage; the remedy is a loader process."""
    never = {"eval_every": 10**9, "checkpoint_every": 10**9}
    spec = f"slow-data:{milliseconds}@1"
    directory = start(fault=[spec], max_steps=10**6, epochs=10**6, **never, **config)
    try:
        run = wait(directory, is_told)
        found = successor.actionable([a for a in judge_run(run) if a.open], run.id)
        alert, remedy = next(p for p in found if (p[0].rule, p[1].key) == ("input-bound", "workers"))
        change = successor.planned(run, alert, remedy)
        new = successor.apply(run, change)
        try:
            state = wait(paths.runs_dir() / new, lambda s: verdict(s) is not None)
        finally:
            control.stop(control.find(new), force=True)
            wait_end(paths.runs_dir() / new)
    finally:
        left = load_run(directory)
        if left is not None and left.status in control.ACTIVE:
            control.stop(left, force=True)
    before = load_run(directory)
    assert before is not None
    changed = f"`input-bound`, {milliseconds} ms more a batch -> {change_words(change)}"
    return Looped(before, state, verdict(state), changed)


def is_told(state: RunState) -> bool:
    """The alert is open. Judging costs more than looking: first the time must be ripe."""
    began = next((e.wall_ns for e in state.events if e.kind == "mode" and e.text == "train"), None)
    if began is None or time.time_ns() - began < 12 * 10**9:
        return False
    return any(a.rule == "input-bound" and a.open for a in judge_run(state))


def lines(folder: Path) -> list[str]:
    """Both loops at two sizes, for the page; kept in `folder`."""
    kept = folder / "remedies.txt"
    if kept.exists():
        return kept.read_text().splitlines()
    os.environ["XDG_STATE_HOME"] = str(folder / "remedies")
    said = []
    for what in (
        lambda: out_of_memory(600, 30, batch_size=2048, max_steps=40, test_samples=500),
        lambda: out_of_memory(520, 30, batch_size=1024, max_steps=40, test_samples=500),
        lambda: starved(25, batch_size=32),
        lambda: starved(60, batch_size=64),
    ):
        try:
            said.append(what().line)
        except (AssertionError, StopIteration, successor.CannotApply) as error:
            said.append(f"could not be shown: {type(error).__name__}: {error}")
        print(said[-1], flush=True)
    kept.write_text("\n".join(said) + "\n")
    return said
