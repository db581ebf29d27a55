"""The read-only window through which rules see one training run: its facts, its events, its steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from dctop.engine.rules import gpu_devices
from dctop.engine.rules.measured import Measured
from dctop.engine.rules.runsteps import RunSteps
from dctop.engine.rules.window import ACTIVE, NS, RECENT_NS
from dctop.engine.training.energy import RunEnergy, run_energy
from dctop.engine.training.folder import INFER

if TYPE_CHECKING:
    from dctop.engine.rules.window import Window
    from dctop.engine.training.runstate import RunEvent, RunState

T = TypeVar("T")


class RunWindow(RunSteps):
    """One run at one tick. Lives as long as the run is known; the engine binds it anew when it changed."""

    def __init__(self, node: Window) -> None:
        super().__init__()
        self.node = node
        self.id = ""
        self.active = self.training = False
        """It goes on; in the mode in which steps are judged."""
        self.step: int | None = None
        self.subject: Literal["training", "inference"] = "training"
        self.new_events: Sequence[RunEvent] = ()
        """Events since the previous binding, oldest first."""
        self.first_bound_wall_ns = 0
        self.changed_mono_ns = 0
        """When the engine last saw something new of this run."""
        self.seen_active = False
        self.moved_mono_ns: int | None = None
        """When it was last seen to make a step or to tell an event, of those that came while we looked."""
        self._last_event: tuple[int, str, int | None, str] | None = None
        self._classes: int | None = None
        self._once: dict[str, Any] = {}
        """What was found out since it was bound."""
        self._gpus: tuple[int, tuple[str, ...]] = (-1, ())
        self._energy: tuple[int, RunEnergy | None] = (-1, None)

    def bind(self, run: RunState) -> None:
        if not self.first_bound_wall_ns:
            self.first_bound_wall_ns = self.node.wall_ns
        self._bind_steps(run)
        before, again = self.step, bool(self.id)
        self.id, self.step = run.id, run.step
        self.active = run.status in ACTIVE
        self.training = self.active and run.mode in ("train", None)
        self.subject = "inference" if run.workload == INFER else "training"
        self.changed_mono_ns = self.node.mono_ns
        self.seen_active = self.seen_active or self.active
        self.new_events = self._unseen(run.events)
        if again and (self.new_events or (run.step or 0) > (before or 0)):
            self.moved_mono_ns = self.node.mono_ns
        self._once.clear()

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

    def once(self, name: str, find: Callable[[], T]) -> T:
        """What `find` finds, looked for once a binding, whoever asks."""
        if name not in self._once:
            self._once[name] = find()
        return cast(T, self._once[name])

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
        return self.once("measured", lambda: Measured(self.run))

    @property
    def workers(self) -> int | None:
        value = self.config("config", "workers")
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def memory_limit(self) -> int | None:
        """Bytes the memory cgroup it began in may have; None: no limit, or not known."""
        value = self.config("memory_limit_bytes")
        return value if isinstance(value, int) and value > 0 else None

    @property
    def classes(self) -> int | None:
        """Number of classes, where the loss is the cross-entropy of a classification."""
        if self._classes is None:
            self._classes = self.once("classes", self._count_classes)
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
        return self.once("resumed", self._is_resumed)

    def _is_resumed(self) -> bool:
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

    def energy(self) -> RunEnergy | None:
        """What it has used so far, as of this tick; None while that cannot be told. Going through an hour of
        power is dear."""
        at = self.node.mono_ns
        if self._energy[0] != at:
            self._energy = (at, run_energy(self.node.source, self.run, self.node.energy))
        return self._energy[1]

    def mode_s(self) -> float:
        """Seconds since the mode began; since the run began, where the log has no modes."""
        since = next((e.wall_ns for e in reversed(self.run.events) if e.kind == "mode"), None)
        return (self.node.wall_ns - (since or self.run.started_wall_ns)) / NS

    @property
    def batch(self) -> int | None:
        """Samples a step: the usual number, else what was asked for."""
        return self.once("batch", self._find_batch)

    def _find_batch(self) -> int | None:
        usual = self.median("samples", 50, 1)
        if usual:
            return round(usual)
        asked = self.config("config", "batch_size")
        return asked if isinstance(asked, int) and asked > 0 else None

    def accuracies(self) -> Sequence[float]:
        """Of the evaluations, oldest first."""
        return self.once("accuracies", self._find_accuracies)

    def _find_accuracies(self) -> list[float]:
        found = (e.get("accuracy") for e in self.run.evals)
        return [float(a) for a in found if isinstance(a, (int, float)) and a - a == 0]

    def events(self, kind: str) -> list[RunEvent]:
        return [e for e in self.run.events if e.kind == kind]
