"""The read-only window through which rules see one training run.

Mode gate: step rules see only steps of mode `train`. Warm-up of what is timed (fields in seconds): the first
20 steps and 10 s after a start or resume are left out, and the first step of every epoch (it waits for the
loader). What is learned (losses, norms, ratios) only leaves out the first 20 steps: a loss does not warm up
by the clock, and 10 s are a thousand steps of a fast run, in which nothing would be judged (measured: 27 of
27 planted faults of the loss were missed so, on a CPU at 100 steps/s). Windows are counted in steps; where
batch size matters the rules count samples (RULES 6.3: steps give false alarms at small batches).
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from dctop.engine.rules import gpu_devices
from dctop.engine.rules.measured import Measured
from dctop.engine.rules.window import ACTIVE, NS, RECENT_NS, finite, median
from dctop.engine.training.inferlog import WORKLOAD as INFER

if TYPE_CHECKING:
    from dctop.engine.rules.window import Window
    from dctop.engine.training.runstate import RunEvent, RunState

WARMUP_STEPS = 20
WARMUP_NS = 10 * NS
TAIL = 512
"""Steps back that window rules may look: the reader never thins the newest 2,000."""
_EMPTY: array[float] = array("d")


class RunWindow:
    """One run at one tick. Lives as long as the run is known; the engine binds it anew when it changed."""

    def __init__(self, node: Window) -> None:
        self.node = node
        self.run: RunState
        self.new_events: Sequence[RunEvent] = ()
        """Events since the previous binding, oldest first."""
        self.first_bound_wall_ns = 0
        self.changed_mono_ns = 0
        """When the engine last saw something new of this run."""
        self.seen_active = False
        self._last_event: tuple[int, str, int | None, str] | None = None
        self._train_begin: int | None = None
        self._classes: int | None = None
        self._cache: dict[str, tuple[int, list[float]]] = {}
        """Field -> (how many were asked for, the newest known ones)."""
        self._measured: Measured | None = None
        self._rows: dict[bool, list[int]] = {}
        """By whether what is judged is timed."""
        self._sparse: dict[str, tuple[float, deque[tuple[float, float]]]] = {}
        """Field -> (the step up to which it was gone through, what is known)."""
        self._gpus: tuple[int, tuple[str, ...]] = (-1, ())

    def bind(self, run: RunState) -> None:
        if not self.first_bound_wall_ns:
            self.first_bound_wall_ns = self.node.wall_ns
        self.run = run
        self.changed_mono_ns = self.node.mono_ns
        self.seen_active = self.seen_active or run.status in ACTIVE
        self.new_events = self._unseen(run.events)
        self._cache.clear()
        self._measured = None
        self._rows = {}

    def _unseen(self, events: Sequence[RunEvent]) -> list[RunEvent]:
        """By value and from the end: long logs drop old events, and a replay makes new objects."""
        last, found = self._last_event, []
        for e in reversed(events):
            mark = (e.wall_ns, e.kind, e.step, e.text)
            if last is not None and (mark == last or e.wall_ns < last[0]):
                break
            found.append(e)
        if found:
            self._last_event = (found[0].wall_ns, found[0].kind, found[0].step, found[0].text)
        found.reverse()
        return found

    # -- facts --------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.run.id

    @property
    def active(self) -> bool:
        return self.run.status in ACTIVE

    @property
    def training(self) -> bool:
        """In the mode in which steps are judged."""
        return self.active and self.run.mode in ("train", None)

    @property
    def subject(self) -> Literal["training", "inference"]:
        return "inference" if self.run.workload == INFER else "training"

    @property
    def measuring(self) -> bool:
        """Serving requests whose times count."""
        return self.active and self.subject == "inference" and self.run.mode == "infer"

    @property
    def fresh(self) -> bool:
        """It goes on, ended while we looked, or so lately before that nobody may have seen it."""
        ended = self.run.ended_wall_ns
        return self.active or ended is None or self.node.first_wall_ns - ended <= RECENT_NS

    @property
    def measured(self) -> Measured:
        """What a measurement of inference says so far."""
        if self._measured is None:
            self._measured = Measured(self.run)
        return self._measured

    def config(self, *path: str) -> Any:
        """A value of run.json, e.g. `config("config", "workers")`; None if absent."""
        value: Any = self.run.config
        for name in path:
            # dict first: asking an abstract class is ten times as dear, and this runs every tick.
            value = value.get(name) if isinstance(value, (dict, Mapping)) else None
        return value

    @property
    def workers(self) -> int | None:
        value = self.config("config", "workers")
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def classes(self) -> int | None:
        """Number of classes, where the loss is the cross-entropy of a classification."""
        if self._classes is None:
            self._classes = self._count_classes()
        return self._classes

    def _count_classes(self) -> int | None:
        loss = self.config("config", "loss")
        if isinstance(loss, str) and loss != "cross-entropy":
            return None
        names = self.config("data", "classes")
        if isinstance(names, Sequence) and not isinstance(names, str) and len(names) > 1:
            return len(names)
        for e in self.run.evals:
            recall = e.get("recall")
            if isinstance(recall, Sequence) and len(recall) > 1:
                return len(recall)
        return None

    @property
    def ln_classes(self) -> float | None:
        """LN: the loss of a model that knows nothing."""
        return None if self.classes is None else math.log(self.classes)

    @property
    def resumed(self) -> bool:
        return bool(self.config("resume_from")) or any(
            e.kind == "note" and e.text.startswith("resumed") for e in self.run.events[:20]
        )

    @property
    def on_cpu(self) -> bool:
        device = self.run.device or self.config("device", "chosen")
        return not isinstance(device, str) or "cuda" not in device.lower()

    def gpus(self) -> tuple[str, ...]:
        """The GPUs it computes on, as of this tick: those its processes are on, else those of its ranks by
        their index. MIG devices are left out: slices differ by design."""
        at = self.node.mono_ns
        if self._gpus[0] != at:
            found = () if self.on_cpu else gpu_devices.of_run(self.node, self.run)
            self._gpus = (at, found)
        return self._gpus[1]

    def mode_s(self) -> float:
        """Seconds since the mode began; since the run began, where the log has no modes."""
        since = next((e.wall_ns for e in reversed(self.run.events) if e.kind == "mode"), None)
        return (self.node.wall_ns - (since or self.run.started_wall_ns)) / NS

    def share(self, part: str, whole: str = "step_s", n: int = 50) -> float | None:
        """Median of one field over the median of another, 0-1; None with fewer than `n` steps of either."""
        a, b = self.median(part, n), self.median(whole, n)
        return None if a is None or not b or b <= 0 else a / b

    def events(self, kind: str) -> list[RunEvent]:
        return [e for e in self.run.events if e.kind == kind]

    # -- steps --------------------------------------------------------------------------------------

    def column(self, name: str) -> array[float]:
        """All kept steps of a field, oldest first."""
        return self.run.columns.get(name, _EMPTY)

    @property
    def step(self) -> int | None:
        return self.run.step

    def train_begin(self) -> int | None:
        """The first step to be judged; None while the run warms up."""
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

    def rows(self, timed: bool = True) -> list[int]:
        """Indices of the newest 512 kept steps, those to be judged: train mode, no first step of an epoch.
        Not `timed`: all but the first 20 steps."""
        known = self._rows.get(timed)
        if known is None:
            known = self._rows[timed] = self._timed_rows() if timed else self._learning_rows()
        return known

    def learning_begin(self) -> float:
        """The first step at which learning is judged."""
        steps = self.column("step")
        return steps[0] + WARMUP_STEPS if steps else math.inf

    def _learning_rows(self) -> list[int]:
        steps = self.column("step")
        n = len(steps)
        if not n:
            return []
        first = max(0, n - TAIL)
        begin = self.learning_begin()
        while first < n and steps[first] < begin:
            first += 1
        return list(range(first, n))

    def _timed_rows(self) -> list[int]:
        begin = self.train_begin()
        steps, epochs = self.column("step"), self.column("epoch")
        n = len(steps)
        if begin is None or not n:
            return []
        first = max(0, n - TAIL)
        while first < n and steps[first] < begin:
            first += 1
        per_epoch = self.config("steps_per_epoch")
        if isinstance(per_epoch, int) and per_epoch > 1 and first < n:
            rows = list(range(first, n))
            # The first steps of epochs by their numbers: one in hundreds, not worth a look at each step.
            at = 1 + per_epoch * math.floor((steps[n - 1] - 1) / per_epoch)
            while at >= steps[first]:
                i = bisect_left(steps, at, first, n)
                if steps[i] == at:
                    del rows[i - first]
                at -= per_epoch
            return rows
        if (
            len(epochs) == n
            and per_epoch != 1
            and first < n
            and epochs[first - 1 if first else 0] < epochs[n - 1]
        ):
            return [i for i in range(first, n) if i == 0 or not epochs[i] > epochs[i - 1]]
        return list(range(first, n))

    def train(self, name: str, n: int = TAIL) -> list[float]:
        """The newest `n` known values of a field among judged steps, oldest first."""
        wanted, values = self._cache.get(name, (0, []))
        if wanted < n:
            column, rows = self.column(name), self.rows(name.endswith("_s"))
            if rows and rows[-1] >= len(column):  # a field that is not recorded
                rows = []
            values = list(map(column.__getitem__, rows[-n:]))
            total = sum(values)
            if total - total != 0:  # some are missing
                values = finite(values)
            if len(values) < n < len(rows):  # recorded now and then only
                values = finite(map(column.__getitem__, rows))[-n:]
            self._cache[name] = (n, values)
        return values[-n:]

    def newest(self, name: str, n: int) -> list[float]:
        """The newest `n` known values among judged steps, oldest first, of a field that few steps have: found
        from the end, without going through all of them."""
        column, found = self.column(name), []
        if column:
            for i in reversed(self.rows(name.endswith("_s"))):
                value = column[i]
                if value == value:
                    found.append(value)
                    if len(found) == n:
                        break
        found.reverse()
        return found

    def sparse(self, name: str) -> list[tuple[float, float]]:
        """(step, value) of the newest 512 known values of a field that few steps have, oldest first, warm-up
        included. Only new steps are gone through."""
        steps, column = self.column("step"), self.column(name)
        n = min(len(steps), len(column))
        if not n:
            return []
        seen, known = self._sparse.get(name, (-math.inf, deque(maxlen=TAIL)))
        if steps[n - 1] != seen:
            if steps[n - 1] < seen:
                seen, known = -math.inf, deque(maxlen=TAIL)
            for i in range(bisect_right(steps, seen, 0, n), n):
                value = column[i]
                if value - value == 0:
                    known.append((steps[i], value))
            self._sparse[name] = (steps[n - 1], known)
        return list(known)

    def median(self, name: str, n: int = 50, least: int | None = None) -> float | None:
        """Median of the newest `n`; None with fewer than `least` (default: `n`) known."""
        values = self.train(name, n)
        return median(values) if len(values) >= (n if least is None else least) else None

    @property
    def batch(self) -> int | None:
        """Samples a step: the usual number, else what was asked for."""
        usual = median(self.train("samples", 50))
        if usual:
            return round(usual)
        asked = self.config("config", "batch_size")
        return asked if isinstance(asked, int) and asked > 0 else None

    def since(self, step: float) -> int:
        """Index of the first kept step after `step`."""
        return bisect_right(self.column("step"), step)


def _mode(e: RunEvent) -> str:
    return str(e.data.get("mode") or e.text)
