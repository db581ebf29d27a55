"""How the processes of a distributed run keep up: the newest steps of each rank's log.

Rank 0 is the run's own log (steps.jsonl); the others write steps.1.jsonl, steps.2.jsonl ... beside it. Only
the ends of these are read, and only when they have grown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from dctop.engine.metrics.trend import median
from dctop.engine.training.lines import parse_lines

RECENT = 50
_BYTES = 48 << 10
WORK = ("data_s", "h2d_s", "forward_s", "loss_s", "update_s")
"""What a rank does for itself. The backward pass contains the exchange of gradients, so the fast ones wait in
it for the slow one."""
PARTS = ("data_s", "h2d_s", "forward_s", "loss_s", "backward_s", "update_s")
_READ = (
    "step_s", "samples", "wait_s", *PARTS, "forward_gpu_s", "loss_gpu_s", "update_gpu_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RankState:
    """Medians over the last 50 steps of one rank, seconds; None: not measured."""

    rank: int
    step: int
    step_s: float | None
    work_s: float | None
    """Own work: data, copy, forward, loss, update."""
    backward_s: float | None
    wait_s: float | None
    judged: int = 0
    """How many of the steps were of training past warm-up."""
    samples: float | None = None
    """Of one step."""
    data_s: float | None = None
    h2d_s: float | None = None
    compute_s: float | None = None
    """Forward, loss and update: on the device's clock where it is read."""
    other_s: float | None = None
    """The rest of the step, without waiting between steps."""


def text_of(ranks: Sequence[RankState]) -> str:
    """As a cell of a recording."""
    return json.dumps([astuple(r) for r in ranks], separators=(",", ":"))


def from_text(text: object) -> tuple[RankState, ...]:
    """What `text_of` wrote; what is not readable is no rank."""
    try:
        rows = json.loads(text) if isinstance(text, str) else []
        return tuple(RankState(*row) for row in rows)
    except (ValueError, TypeError):
        return ()


class RankTail:
    """The log of one rank. A poll without news is one stat."""

    def __init__(self, path: Path, rank: int) -> None:
        self.path, self.rank = path, rank
        self.state: RankState | None = None
        self._size = -1

    def poll(self) -> bool:
        """True: it has made steps."""
        try:
            size = self.path.stat().st_size
            if size == self._size:
                return False
            with self.path.open("rb") as log:
                log.seek(max(0, size - _BYTES))
                data = log.read(_BYTES)
        except OSError:
            return False
        self._size = size
        lines = data.split(b"\n")[1 if size > _BYTES else 0 : -1]
        steps = [x for x in lines if x.startswith((b'{"kind":"step"', b'{"kind": "step"'))]
        records, _ = parse_lines(steps[-RECENT:])
        if records:
            self.state = state_of(self.rank, records)
        return bool(records)


def state_of(rank: int, records: list[dict[str, Any]]) -> RankState:
    """Medians over the steps past warm-up; over all of them while there is none. Four significant digits: so
    a recording holds little, and the very numbers that were judged."""
    judged = [r for r in records if r.get("mode", "train") == "train"]
    rows = judged or records
    columns = {name: [_number(r.get(name)) for r in rows] for name in _READ}
    gpu = any(v is not None for v in columns["forward_gpu_s"])
    compute = ("forward_gpu_s", "loss_gpu_s", "update_gpu_s") if gpu else ("forward_s", "loss_s", "update_s")

    def middle(*names: str) -> float | None:
        """Of the sums; what a step has not is left out of its sum, a step that has none of them left out."""
        if len(names) == 1:
            known = [v for v in columns[names[0]] if v is not None]
            return _short(median(known)) if known else None
        sums = [sum(known) for row in zip(*(columns[n] for n in names), strict=True)
                if (known := [v for v in row if v is not None])]  # fmt: skip
        return _short(median(sums)) if sums else None

    others = []
    for row in zip(*(columns[n] for n in ("step_s", "wait_s", *PARTS)), strict=True):
        whole, waited, *parts = row
        if whole is not None:
            others.append(whole - (waited or 0.0) - sum(p for p in parts if p is not None))
    step = records[-1].get("step")
    return RankState(
        rank, step if isinstance(step, int) else 0, middle("step_s"), middle(*WORK), middle("backward_s"),
        middle("wait_s"), len(judged), middle("samples"), middle("data_s"), middle("h2d_s"), middle(*compute),
        _short(max(0.0, median(others))) if others else None,
    )  # fmt: skip


def _short(x: float) -> float:
    return float(f"{x:.4g}")


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
