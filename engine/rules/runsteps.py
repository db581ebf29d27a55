"""The steps of one training run as rules read them: which are judged, and what is known of each field.

Mode gate: step rules see only steps of mode `train`. Warm-up of what is timed (fields in seconds): the first
20 steps and 10 s after a start or resume are left out, and the first step of every epoch (it waits for the
loader). What is learned (losses, norms, ratios) only leaves out the first 20 steps: a loss does not warm up
by the clock, and 10 s are a thousand steps of a fast run, in which nothing would be judged (measured: 27 of
27 planted faults of the loss were missed so, on a CPU at 100 steps/s). Windows are counted in steps; where
batch size matters the rules count samples (RULES 6.3: steps give false alarms at small batches).

Every field is gone through once, as its log grows; what rules ask for is cut out of what is known.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import compress
from typing import TYPE_CHECKING, Any

from dctop.engine.rules.window import NS, finite, median
from dctop.engine.training.runlog import kept, part

if TYPE_CHECKING:
    from dctop.engine.training.runstate import RunEvent, RunState

WARMUP_STEPS = 20
WARMUP_NS = 10 * NS
TAIL = 512
"""Steps back that window rules may look: the reader never thins the newest 2,000."""
KEPT = 2 * TAIL
"""Known values of a field that are kept: a window of 512 before each of as many steps of one tick."""
_EMPTY: array[float] = array("d")
_MISSING = array("d", [math.nan] * TAIL).tobytes()


class Known:
    """What is known of one field: its newest 1,024 finite values and the steps they are of, oldest first. Of
    a field in seconds only of judged steps. Read only."""

    __slots__ = ("steps", "upto", "values")

    def __init__(self) -> None:
        self.steps: array[float] = array("d")
        self.values: list[float] = []
        self.upto = -math.inf
        """The step up to which the column was gone through."""


class RunSteps:
    """Steps of one run; bound anew when its log grew."""

    def __init__(self) -> None:
        self.run: RunState
        self._train_begin: int | None = None
        self._looked = False
        """Whether the columns of this binding were looked at: those of a run that has ended are not read
        before somebody asks."""
        self._n = 0
        self._last = self._before = -math.inf
        """The newest step, now and when it was looked at before."""
        self._last_wall = math.nan
        self._new_at = 0
        """Index of the first step after `_before`."""
        self._first = -math.inf
        self._tail, self._tail_at = _EMPTY, 0
        """The numbers of the newest 512 steps, and where they begin."""
        self._firsts_of: tuple[int, int, list[int]] = (-1, 0, [])
        """Of the part of the steps that was asked about last."""
        self._known: dict[str, Known] = {}
        self._medians: dict[tuple[str, int], tuple[int, float | None]] = {}

    def _bind_steps(self, run: RunState) -> None:
        self.run = run
        self._looked = False
        self._medians.clear()

    def config(self, *path: str) -> Any:
        """A value of run.json, e.g. `config("config", "workers")`; None if absent."""
        value: Any = self.run.config
        for name in path:
            # dict first: asking an abstract class is ten times as dear, and this runs every tick.
            value = value.get(name) if isinstance(value, (dict, Mapping)) else None
        return value

    # -- columns --------------------------------------------------------------------------------------

    def column(self, name: str) -> array[float]:
        """All kept steps of a field, oldest first: up to 20,000 numbers to copy. Not for every tick."""
        return self.run.columns.get(name, _EMPTY)

    def first(self, name: str) -> float | None:
        """The value of the first step there is; None where that is not known."""
        values = part(self.run.columns, name, 0, 1)
        return values[0] if values and values[0] == values[0] else None

    def _look(self) -> None:
        """Find out which steps are new."""
        self._looked = True
        columns, seen = self.run.columns, self._n
        n = kept(columns)
        if not n:
            self._forget()
            return
        self._tail_at = max(0, n - TAIL)
        self._tail = tail = part(columns, "step", self._tail_at)
        self._first = part(columns, "step", 0, 1)[0] if self._tail_at else tail[0]
        self._before, self._last, self._n = self._last, tail[-1], n
        self._firsts_of = (-1, 0, [])
        if self._tail_at < seen <= n and tail[seen - 1 - self._tail_at] == self._before:
            self._new_at = seen
        else:  # old steps were thinned, or so many came at once
            self._new_at = self._after(self._before)
        if self._before > self._last or self._replaced():
            self._forget()
            self._look()
            return
        walls = part(columns, "wall_ns", n - 1, n)
        self._last_wall = walls[0] if walls else math.nan

    def _replaced(self) -> bool:
        """Another log has taken the place of the one before: what was its newest step has another time."""
        i = self._new_at - 1
        if i < 0 or part(self.run.columns, "step", i, i + 1)[0] != self._before:
            return False
        walls = part(self.run.columns, "wall_ns", i, i + 1)
        return bool(walls) and abs(walls[0] - self._last_wall) > 0

    def _forget(self) -> None:
        self._known.clear()
        self._n, self._tail, self._tail_at, self._last_wall = 0, _EMPTY, 0, math.nan
        self._last = self._before = -math.inf

    def _after(self, step: float) -> int:
        """Index of the first kept step after `step`."""
        if self._tail[0] <= step:
            return self._tail_at + bisect_right(self._tail, step)
        return 0 if step < self._first else bisect_right(self.column("step"), step)

    # -- which steps are judged -----------------------------------------------------------------------

    def train_begin(self) -> int | None:
        """The first step whose times are judged; None while the run warms up."""
        if self._train_begin is None:
            self._train_begin = self._find_begin()
        return self._train_begin

    def _find_begin(self) -> int | None:
        modes = [e for e in self.run.events if e.kind == "mode"]
        if modes:
            return next((1 + (e.step or 0) for e in modes if _mode(e) in ("train", "infer")), None)
        steps, walls = self.column("step"), self.column("wall_ns")
        if len(steps) <= WARMUP_STEPS:
            return None
        at = bisect_right(walls, walls[0] + WARMUP_NS)
        at = max(at, WARMUP_STEPS)
        return int(steps[at]) if at < len(steps) else None

    def learning_begin(self) -> float:
        """The first step at which learning is judged."""
        if not self._looked:
            self._look()
        return self._first + WARMUP_STEPS if self._n else math.inf

    def _firsts(self, begin: int, steps: array[float]) -> list[int]:
        """Which of these steps, kept from index `begin` on, are the first of their epochs; last to first."""
        if self._firsts_of[:2] != (begin, len(steps)):
            self._firsts_of = (begin, len(steps), self._find_firsts(begin, steps))
        return self._firsts_of[2]

    def _find_firsts(self, begin: int, steps: array[float]) -> list[int]:
        per_epoch = self.config("steps_per_epoch")
        if isinstance(per_epoch, int) and per_epoch > 1:
            # By their numbers: one in hundreds, not worth a look at each step.
            at, found = 1 + per_epoch * math.floor((steps[-1] - 1) / per_epoch), []
            while at >= steps[0]:
                i = bisect_left(steps, at)
                if steps[i] == at:
                    found.append(i)
                at -= per_epoch
            return found
        if per_epoch == 1:
            return []
        before = min(1, begin)  # of the very first step there is none before
        epochs = part(self.run.columns, "epoch", begin - before, begin + len(steps))
        if len(epochs) != before + len(steps) or not epochs[0] < epochs[-1]:
            return []
        return [i - before for i in range(len(epochs) - 1, 0, -1) if epochs[i] > epochs[i - 1]]

    # -- what is known ----------------------------------------------------------------------------------

    def known(self, name: str) -> Known:
        """All that is known of a field: also of its warm-up, and of more than 512 steps where few have it."""
        if not self._looked:
            self._look()
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = Known()
        if known.upto != self._last:
            self._take(name, known)
        return known

    def _take(self, name: str, known: Known) -> None:
        """Go through the new steps of a column; the first time backwards, until enough is known."""
        timed = name.endswith("_s")
        if timed and self.train_begin() is None:
            return
        if known.upto > -math.inf:
            at = self._new_at if known.upto == self._before else self._after(known.upto)
            steps, values = self._cut(name, at, self._n, timed)
            known.steps.extend(steps)
            known.values += values
        else:
            end = self._n
            while end and len(known.values) < KEPT:
                begin = max(0, end - TAIL)
                steps, values = self._cut(name, begin, end, timed)
                known.steps, known.values = steps + known.steps, values + known.values
                end = begin
        # Always so many: what was known before must not depend on when somebody began to look.
        del known.steps[:-KEPT], known.values[:-KEPT]
        known.upto = self._last

    def _cut(self, name: str, begin: int, end: int, timed: bool) -> tuple[array[float], list[float]]:
        """(steps, values) of what is known in a part of a column."""
        column = part(self.run.columns, name, begin, end)
        at = begin - self._tail_at
        steps = self._tail[at : at + end - begin] if at >= 0 else part(self.run.columns, "step", begin, end)
        if not column or len(column) != len(steps):
            return _EMPTY, []
        if column[0] != column[0] and column.tobytes() == _MISSING[: 8 * len(column)]:
            return _EMPTY, []  # as of a field that is not recorded
        values = column.tolist()
        if timed:
            warm = self._train_begin or 0
            if steps[0] < warm:
                out = bisect_left(steps, warm)
                begin, steps, values = begin + out, steps[out:], values[out:]
            for i in self._firsts(begin, steps) if steps else ():
                del steps[i], values[i]
        total = sum(values)
        if total - total != 0:  # some are missing
            found = list(map(math.isfinite, values))
            return array("d", compress(steps, found)), list(compress(values, found))
        return steps, values

    @property
    def last_wall_ns(self) -> float:
        """When the newest step ended; NaN where there is none."""
        if not self._looked:
            self._look()
        return self._last_wall

    @property
    def count(self) -> int:
        """Steps that are kept."""
        if not self._looked:
            self._look()
        return self._n

    def index(self, step: float) -> int:
        """Where a step is in the columns; of one that is kept no more, where it was."""
        return bisect_left(self.column("step"), step)

    def between(self, name: str, after: float, upto: float) -> list[float]:
        """What is known of a field at the kept steps after `after`, up to `upto`."""
        steps = self.column("step")
        return finite(self.column(name)[bisect_right(steps, after) : bisect_right(steps, upto)])

    def oldest(self, name: str, within: int | None = TAIL) -> float:
        """The first step at which a field is judged, and not more than `within` kept steps back."""
        begin = -math.inf if name.endswith("_s") else self.learning_begin()
        return begin if within is None else max(begin, self.back(within))

    def back(self, n: int) -> float:
        """The `n`-th newest kept step, of at most 512; the first where there are fewer."""
        if not self._looked:
            self._look()
        return self._tail[-n] if n <= len(self._tail) else self._first

    def train(self, name: str, n: int = TAIL, within: int = TAIL) -> list[float]:
        """The newest `n` known values of a field among judged steps, oldest first, none older than `within`
        steps."""
        known = self.known(name)
        begin = len(known.values) - n
        if begin < 0 or (n and known.steps[begin] < self.oldest(name, within)):
            begin = bisect_left(known.steps, self.oldest(name, within), max(0, begin))
        return known.values[begin:]

    def median(self, name: str, n: int = 50, least: int | None = None) -> float | None:
        """Median of the newest `n`; None with fewer than `least` (default: `n`) known."""
        found = self._medians.get((name, n))
        if found is None:
            values = self.train(name, n)
            found = self._medians[name, n] = (len(values), median(values))
        return found[1] if found[0] >= (n if least is None else least) else None

    def knows(self, name: str, n: int) -> bool:
        """Whether there are `n` known values among judged steps."""
        known = self.known(name)
        return len(known.values) >= n and known.steps[-n] >= self.oldest(name)

    def share(self, of: str, whole: str = "step_s", n: int = 50) -> float | None:
        """Median of one field over the median of another, 0-1; None with fewer than `n` steps of either."""
        a, b = self.median(of, n), self.median(whole, n)
        return None if a is None or not b or b <= 0 else a / b


def _mode(e: RunEvent) -> str:
    return str(e.data.get("mode") or e.text)
