"""How the processes of a distributed run keep up: the newest steps of each rank's log.

Rank 0 is the run's own log (steps.jsonl); the others write steps.1.jsonl, steps.2.jsonl ... beside it. Only
the ends of these are read, and only when they have grown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from dctop.engine.training.lines import parse_lines

RECENT = 50
_BYTES = 48 << 10
WORK = ("data_s", "h2d_s", "forward_s", "loss_s", "update_s")
"""What a rank does for itself. The backward pass contains the exchange of gradients, so the fast ones wait in
it for the slow one."""


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
        records, _ = parse_lines([x for x in lines if x.startswith((b'{"kind":"step"', b'{"kind": "step"'))])
        if records:
            self.state = state_of(self.rank, records[-RECENT:])
        return bool(records)


def state_of(rank: int, records: list[dict[str, Any]]) -> RankState:
    def middle(*names: str) -> float | None:
        sums = [sum(v for name in names if (v := _number(r.get(name))) is not None) for r in records
                if any(_number(r.get(name)) is not None for name in names)]  # fmt: skip
        return median(sums) if sums else None

    step = records[-1].get("step")
    return RankState(
        rank, step if isinstance(step, int) else 0, middle("step_s"), middle(*WORK), middle("backward_s"),
        middle("wait_s"),
    )  # fmt: skip


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
