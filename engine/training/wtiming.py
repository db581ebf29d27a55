"""Times the phases of a step, and reads times and scalars of the device back without making it wait.

Worker side. One chain of boundaries a step (each phase ends where the next begins), so the phases and
`other` add up to the step exactly: on the host clock `perf_counter_ns`, in thread CPU `thread_time_ns`, and
on CUDA between events on the stream. Nothing here synchronises unless told to `wait`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

    from dctop.engine.training.wdevice import Cuda

    Record = dict[str, object]
    Taken = tuple["Step", Record, Sequence[float] | None]

DATA, H2D, FORWARD, LOSS, BACKWARD, UPDATE, OTHER = range(7)
PHASES = ("data", "h2d", "forward", "loss", "backward", "update")
_WALL = tuple(f"{name}_s" for name in (*PHASES, "other"))
_CPU = tuple(f"{name}_cpu_s" for name in PHASES)
_NAMES = ("step", "epoch", "wall_ns", "step_s", "samples", *_WALL, "cpu_s", *_CPU, "lr", "mode")
_GPU = tuple(f"{name}_gpu_s" for name in PHASES)
FIELDS = _WALL[:OTHER]
RING = 64
"""Steps whose events may be unread; beyond that the oldest is given up."""


class Mark(NamedTuple):
    """The end of a phase on the device's stream."""

    phase: int
    event: torch.cuda.Event


class Step(NamedTuple):
    """What is kept of a step until its record is written: as little work as possible between two steps,
    where the caches are cold; the record is made of it later, many at once."""

    number: int
    epoch: int
    wall_ns: int
    samples: int
    lr: float
    mode: str
    looked: tuple[bool, bool, bool]
    """Accuracy, gradient norm and update ratio are among the scalars."""
    more: Mapping[str, object] | None
    """Fields that few steps have."""
    times: Times
    extra: tuple[str, ...] = ()
    """Fields of further scalars, after those looked at."""
    fed: bool = False
    """The figures of its inputs come after the other scalars."""

    def record(self) -> Record:
        """The fields of a `step` line without its scalars."""
        times = self.times
        record: Record = dict(zip(_NAMES, (
            self.number, self.epoch, self.wall_ns, times.wall * 1e-9, self.samples,
            *[ns * 1e-9 for ns in times.spent], times.cpu * 1e-9,
            *[ns * 1e-9 for ns in times.spent_cpu[:OTHER]], self.lr, self.mode,
        )))  # fmt: skip
        if self.more is not None:
            record.update(self.more)
        return record


class Times(NamedTuple):
    """Nanoseconds of one step."""

    wall: int
    cpu: int
    spent: list[int]
    """Wall time a phase."""
    spent_cpu: list[int]


class Events:
    """Events are expensive to make and may be recorded again once they were read."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._free: list[torch.cuda.Event] = []

    def record(self) -> torch.cuda.Event:
        event = self._free.pop() if self._free else self._cuda.event()
        self._cuda.record(event)
        return event

    def give_back(self, marks: Sequence[Mark]) -> None:
        self._free.extend(mark.event for mark in marks)


class StepTimer:
    """`lap(phase)` gives the time since the last boundary to a phase; several laps of a phase add up
    (gradient accumulation). `restart` begins a step at now: after evaluation, checkpoint, a new epoch."""

    def __init__(self, cuda: Cuda | None = None) -> None:
        self.events = Events(cuda) if cuda is not None else None
        self._cuda = cuda
        self._marks: list[Mark] | None = None
        """Of the step being timed; None: no events (the CPU, or a CUDA graph is being captured)."""
        self.restart()

    def restart(self) -> None:
        self._begin_at(time.perf_counter_ns(), time.thread_time_ns())

    def _begin_at(self, now: int, cpu: int) -> None:
        self.spent = [0] * 7
        """Nanoseconds a phase, of the step being timed."""
        self.spent_cpu = [0] * 7
        self._last = self._begin = now
        self._cpu = self._begin_cpu = cpu
        if self.events is not None and self._cuda is not None:
            # An event recorded in a capture would become part of the graph.
            self._marks = None if self._cuda.capturing() else [Mark(OTHER, self.events.record())]

    def lap(self, phase: int) -> None:
        now, cpu = time.perf_counter_ns(), time.thread_time_ns()
        self.spent[phase] += now - self._last
        self.spent_cpu[phase] += cpu - self._cpu
        self._last, self._cpu = now, cpu
        if self._marks is not None and self.events is not None:
            self._marks.append(Mark(phase, self.events.record()))

    def ahead(self) -> bool | None:
        """Asked right after the update was issued: whether the device is already through with this step's
        loss, so that it waits for the host. None: not on CUDA."""
        if self._marks is None:
            return None
        passed = next((m.event for m in self._marks if m.phase == LOSS), None)
        return None if passed is None else bool(passed.query())  # type: ignore[no-untyped-call]

    def finish(self) -> tuple[Times, list[Mark] | None]:
        """(nanoseconds of the step; its events). The next step begins now."""
        self.lap(OTHER)
        now, cpu = self._last, self._cpu
        times = Times(now - self._begin, cpu - self._begin_cpu, self.spent, self.spent_cpu)
        marks = self._marks
        self._begin_at(now, cpu)
        return times, marks


class Readback:
    """Scalars of each step, in order. On CUDA they come through pinned memory one or two steps later, when
    the events behind them have passed."""

    def __init__(self, cuda: Cuda | None, events: Events | None) -> None:
        self._cuda = cuda
        self._events = events
        self._queue: list[tuple[Step, torch.Tensor, list[Mark], torch.cuda.Event]] = []
        self._ready: list[Taken] = []
        self._here: list[tuple[Step, list[float]]] = []
        """Of the CPU: nothing to wait for. Numbers: a tensor that is kept takes a place in the heap between
        those of the network, which then moves to colder memory."""
        self.dropped = 0
        """Steps given up because the device was more than RING steps behind."""

    def push(self, step: Step, scalars: Sequence[torch.Tensor], marks: list[Mark] | None = None) -> None:
        if self._cuda is None:
            self._here.append((step, [s.item() for s in scalars]))
            return
        import torch

        assert self._events is not None
        if len(self._queue) >= RING:
            # Its events are not given back: they were never passed.
            old = self._queue.pop(0)[0]
            self._ready.append((old, old.record(), None))
            self.dropped += 1
        line = torch.stack([s.detach().float() for s in scalars])
        host = self._cuda.pinned(len(scalars))
        self._cuda.fetch(host, line)
        self._queue.append((step, host, marks or [], self._events.record()))

    def pop(self, wait: bool = False) -> list[Taken]:
        """What has arrived, oldest first. None instead of scalars: they were dropped."""
        if self._here:
            self._ready += [(step, step.record(), values) for step, values in self._here]
            self._here = []
        if self._queue and self._cuda is not None and not self._cuda.capturing():
            self._collect(wait)
        ready, self._ready = self._ready, []
        return ready

    def _collect(self, wait: bool) -> None:
        assert self._events is not None
        while self._queue:
            step, host, marks, done = self._queue[0]
            if wait:
                done.synchronize()
            elif not done.query():  # type: ignore[no-untyped-call]
                return
            self._queue.pop(0)
            record = step.record()
            device_times(record, marks)
            self._events.give_back([*marks, Mark(OTHER, done)])
            self._ready.append((step, record, host.tolist()))


def device_times(record: Record, marks: Sequence[Mark]) -> None:
    """Add the seconds between neighbouring events to the record: `forward_gpu_s` ... and `gpu_s`."""
    if len(marks) < 2:
        return
    spent = [0.0] * 7
    for before, after in zip(marks, marks[1:]):  # noqa: RUF007  itertools.pairwise is of Python 3.10
        spent[after.phase] += before.event.elapsed_time(after.event) * 1e-3
    record.update(zip(_GPU, spent))
    record["gpu_s"] = sum(spent)
