"""What a run log amounts to: the state every view, rule and recording reads. No torch here.

A run directory is the protocol (docs/RUNLOG.md): `run.json` says what was asked, `steps.jsonl` (one a
rank: `steps.jsonl`, `steps.1.jsonl` ...) is append-only, one JSON object a line, `kind` first.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dctop.engine.training.ranks import RankState

Status = Literal["starting", "running", "stopping", "finished", "stopped", "failed", "killed", "lost"]
"""finished: reached its end. stopped: asked to. failed: raised. killed: by a signal. lost: its process
is gone and it left no word (or another host's)."""

PHASES = ("data", "h2d", "forward", "loss", "backward", "update")
"""Phases of a step in order (host wall time each, seconds); the rest of the step is `other`."""

STEP_FIELDS = (
    "step", "epoch", "wall_ns", "step_s", "samples",
    "data_s", "h2d_s", "forward_s", "loss_s", "backward_s", "update_s", "cpu_s",
    "loss", "accuracy", "lr", "grad_norm", "update_ratio",
    "mem_allocated_bytes", "mem_reserved_bytes", "mem_peak_bytes", "rss_anon_bytes",
    "data_cpu_s", "wait_s", "gpu_s", "gpu_ahead", "data_gpu_s", "h2d_gpu_s", "queue_s", "post_s",
    "grad_first", "grad_last", "grad_top", "dead_share", "dead_layer", "amp_scale",
    "sync_s", "mem_inactive_bytes", "mem_retries", "grad_cos", "grad_growth",
)  # fmt: skip
"""Numeric fields of a `step` record; any may be null or absent."""


@dataclass(slots=True)
class RunEvent:
    """A line of the run log that is not a step."""

    wall_ns: int
    step: int | None
    kind: str
    """start | mode | eval | checkpoint | epoch | nonfinite | frozen | exception | fault | stop | end |
    note"""
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class RunState:
    """A run as of now. `columns[name]` are parallel arrays over kept steps, oldest first, NaN = missing."""

    id: str
    directory: str
    workload: str
    status: Status
    config: Mapping[str, Any]
    """run.json as written."""
    host: str | None
    pid: int | None
    started_wall_ns: int
    ended_wall_ns: int | None
    mode: str | None
    """init | warmup | train | eval | checkpoint | idle"""
    step: int | None
    total_steps: int | None
    epoch: int | None
    total_epochs: int | None
    last: Mapping[str, float | None]
    """Latest step record, STEP_FIELDS."""
    columns: Mapping[str, array[float]]
    """STEP_FIELDS -> parallel arrays over the kept steps, oldest first, NaN = missing. At most 20,000
    steps are kept, evenly thinned beyond (the `step` column tells which)."""
    evals: Sequence[Mapping[str, Any]]
    """Evaluations: step, epoch, loss, accuracy, recall (list per class), wall_ns."""
    events: Sequence[RunEvent]
    exit_code: int | None
    """Return code as Popen gives it (-9 = SIGKILL) where known."""
    reason: str | None
    """One line: why it ended (exception text, signal, "stopped by user")."""
    samples_per_s: float | None
    eta_s: float | None
    data_source: str | None
    """e.g. `Fashion-MNIST (/usr/share/...)` or `synthetic digits (generated)`."""
    synthetic: bool
    device: str | None
    seq: int = 0
    """Grows with every change: cheap to compare."""
    trouble: str | None = None
    """One line about a run that is not as it should be though it has not ended: stopped by a signal, silent
    for too long, its log or checkpoints cannot be written, its log is of a newer format."""
    log_tail: tuple[str, ...] = ()
    """Last lines of what the worker printed, oldest first. Of a recording fewer (`recording.runlines`)."""
    ranks: tuple[RankState, ...] = ()
    """Of a distributed run: how each process keeps up. Recorded every few seconds."""
    exposed: tuple[tuple[str, str, str], ...] = ()
    """What others than its owner may read of it: (kind, path, detail), see exposure.py."""


def as_of(run: RunState, wall_ns: int) -> RunState:
    """The run as it was known at `wall_ns`: later steps, evaluations and events cut off, status told by
    what remains. For looking back and for replay; rates and ETA are not known for the past."""
    if run.ended_wall_ns is not None and run.ended_wall_ns <= wall_ns:
        return run
    times = run.columns.get("wall_ns")
    n = 0 if times is None else bisect_right(times, wall_ns)
    if times is not None and n == len(times) and (not run.events or run.events[-1].wall_ns <= wall_ns):
        return run
    columns = {name: column[:n] for name, column in run.columns.items()}
    last = {name: _known(column[-1]) for name, column in columns.items() if len(column)}
    events = [e for e in run.events if e.wall_ns <= wall_ns]
    modes = [e for e in events if e.kind == "mode"]
    return replace(
        run,
        status="running" if n else "starting",
        ended_wall_ns=None,
        mode=modes[-1].text if modes else None,
        step=_whole(last.get("step")),
        epoch=_whole(last.get("epoch")),
        last=last,
        columns=columns,
        evals=[e for e in run.evals if e.get("wall_ns", 0) <= wall_ns],
        events=events,
        exit_code=None,
        reason=None,
        samples_per_s=None,
        eta_s=None,
        trouble=None,
        log_tail=(),
        ranks=(),
    )


def _known(x: float) -> float | None:
    return None if x != x else x


def _whole(x: float | None) -> int | None:
    return None if x is None else int(x)
