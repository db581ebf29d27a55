"""Alerts, runs and kernel events as JSON and back. Unknown fields (a newer minor version) are ignored."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeVar

from dctop.engine.recording.masking import mask_text, mask_tree
from dctop.engine.recording.schema import Damaged
from dctop.engine.rules.alert import Alert, Evidence, Remedy
from dctop.engine.training.runstate import RunEvent, RunState
from dctop.probes.base import KernelEvent

T = TypeVar("T")

RUN_HOT = ("step", "epoch", "mode", "samples_per_s", "eta_s", "seq")
"""Fields of a run that change with every step: cells of the frame. The rest is versioned in run_state."""
_RUN_COLD = tuple(
    f.name
    for f in fields(RunState)
    if f.name not in (*RUN_HOT, "last", "columns", "evals", "events", "config", "log_tail", "ranks")
)
ACTIVE = frozenset(("starting", "running", "stopping"))


def dump(value: object) -> str:
    """Compact JSON; what JSON has no form for becomes its text (a run's config is anybody's)."""
    return json.dumps(value, separators=(",", ":"), default=str)


def load(text: object) -> Any:
    """Raises Damaged where it is not JSON."""
    if not isinstance(text, str):
        raise Damaged("not a text")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise Damaged("not JSON") from e


def _known(cls: type[T], data: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    return {k: v for k, v in data.items() if k in names}


def alert_text(alert: Alert) -> str:
    """What it says may quote a program's output: secrets in it are masked."""
    return dump(mask_tree(asdict(alert)))


def alert_from(text: object) -> Alert:
    """Raises Damaged."""
    try:
        data = _known(Alert, load(text))
        data["evidence"] = tuple(Evidence(**_known(Evidence, e)) for e in data["evidence"])
        data["remedies"] = tuple(Remedy(**_known(Remedy, r)) for r in data["remedies"])
        data["ruled_out"] = tuple(data["ruled_out"])
        return Alert(**data)
    except (TypeError, KeyError, AttributeError) as e:
        raise Damaged("not an alert") from e


def run_cold(run: RunState) -> tuple[object, ...]:
    """What a new version of run_state is written for."""
    return tuple(getattr(run, name) for name in _RUN_COLD)


def run_text(run: RunState, rows: int, active: bool) -> str:
    """All of a run but its steps, evaluations and events. An active run's hot fields are in the frames;
    secrets in its configuration are masked."""
    data: dict[str, object] = {name: getattr(run, name) for name in _RUN_COLD}
    data = {name: mask_text(v) if isinstance(v, str) else v for name, v in data.items()}
    data["config"] = mask_tree(run.config)
    data["exposed"] = mask_tree(run.exposed)
    data["rows"] = rows
    data |= {name: getattr(run, name) for name in RUN_HOT}
    if not active or not rows:
        data["last"] = dict(run.last)
    return dump(data)


def run_from(
    body: Mapping[str, Any],
    hot: Mapping[str, Any],
    columns: Mapping[str, array[float]],
    evals: Sequence[Mapping[str, Any]],
    events: Sequence[RunEvent],
) -> RunState:
    """Raises Damaged."""
    data = {**_known(RunState, body), **hot}
    if "last" not in data:
        data["last"] = {
            name: None if not col or col[-1] != col[-1] else col[-1] for name, col in columns.items()
        }
    if "exposed" in data:
        data["exposed"] = tuple(tuple(map(str, item)) for item in data["exposed"] if isinstance(item, list))
    try:
        return RunState(**{**data, "columns": columns, "evals": evals, "events": events})
    except TypeError as e:
        raise Damaged("not a run") from e


def run_event_text(event: RunEvent) -> str:
    """Its text and data may hold the end of a program's output: secrets in them are masked."""
    return dump({"wall_ns": event.wall_ns, "step": event.step, "kind": event.kind,
                 "text": mask_text(event.text), "data": mask_tree(event.data)})  # fmt: skip


def run_event_from(text: object) -> RunEvent:
    try:
        return RunEvent(**_known(RunEvent, load(text)))
    except (TypeError, AttributeError) as e:
        raise Damaged("not a run event") from e


def kernel_text(events: Sequence[KernelEvent]) -> str:
    return dump([[e.seq, e.wall_ns, e.kind, mask_text(e.text), mask_tree(e.fields)] for e in events])


def kernel_from(text: object) -> tuple[KernelEvent, ...]:
    try:
        return tuple(KernelEvent(*item) for item in load(text))
    except TypeError as e:
        raise Damaged("not kernel events") from e
