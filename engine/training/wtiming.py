"""Times the phases of a step, and reads scalars back without making the device wait.

Worker side. One chain of boundaries a step (each phase ends where the next begins), so the phases and
`other` add up to the step exactly. Host clock `perf_counter_ns`, thread CPU `thread_time_ns`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DATA, H2D, FORWARD, LOSS, BACKWARD, UPDATE, OTHER = range(7)
FIELDS = ("data_s", "h2d_s", "forward_s", "loss_s", "backward_s", "update_s")
RING = 64


class StepTimer:
    """`lap(phase)` gives the time since the last boundary to a phase; several laps of a phase add up
    (gradient accumulation). `restart` begins a step at now: after evaluation, checkpoint, a new epoch."""

    def __init__(self) -> None:
        self.spent = [0] * 7
        """Nanoseconds a phase, of the step being timed."""
        self.data_cpu = 0
        self._last = self._begin = self._cpu = 0
        self.restart()

    def restart(self) -> None:
        self.spent = [0] * 7
        self.data_cpu = 0
        self._last = self._begin = time.perf_counter_ns()
        self._cpu = time.thread_time_ns()

    def lap(self, phase: int) -> None:
        now = time.perf_counter_ns()
        self.spent[phase] += now - self._last
        self._last = now

    def data_lap(self) -> None:
        """The data phase, with its CPU time: waiting for storage and computing are different troubles.

        Only for the first data phase of a step; later ones count as wall time.
        """
        self.lap(DATA)
        if not self.data_cpu:
            self.data_cpu = time.thread_time_ns() - self._cpu

    def finish(self) -> dict[str, float]:
        """Seconds: step_s, every phase, cpu_s (this thread), data_cpu_s. The next step begins now."""
        self.lap(OTHER)
        cpu = time.thread_time_ns()
        spent = self.spent
        record = {"step_s": (self._last - self._begin) * 1e-9}
        for i, name in enumerate(FIELDS):
            record[name] = spent[i] * 1e-9
        record["cpu_s"] = (cpu - self._cpu) * 1e-9
        record["data_cpu_s"] = self.data_cpu * 1e-9
        self.spent = [0] * 7
        self.data_cpu = 0
        self._begin = self._last
        self._cpu = cpu
        return record


class Readback:
    """Scalars of each step, in order. On the CPU at once; on CUDA through pinned memory one or two
    steps later, when their event has passed: nothing here ever waits for the device unless `wait`."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._queue: list[tuple[dict[str, object], torch.Tensor, torch.cuda.Event]] = []
        self._ready: list[tuple[dict[str, object], Sequence[float] | None]] = []
        self.dropped = 0
        """Scalars not read because the device was more than 64 steps behind."""

    def push(self, record: dict[str, object], scalars: Sequence[torch.Tensor]) -> None:
        if not self._cuda:
            self._ready.append((record, [s.item() for s in scalars]))
            return
        import torch

        if len(self._queue) >= RING:
            old, _, _ = self._queue.pop(0)
            self._ready.append((old, None))
            self.dropped += 1
        line = torch.stack([s.detach().float() for s in scalars])
        host = torch.empty(len(scalars), dtype=torch.float32, pin_memory=True)
        host.copy_(line, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._queue.append((record, host, event))

    def pop(self, wait: bool = False) -> list[tuple[dict[str, object], Sequence[float] | None]]:
        """What has arrived, oldest first. None instead of scalars: they were dropped."""
        while self._queue:
            record, host, event = self._queue[0]
            if wait:
                event.synchronize()
            elif not event.query():  # type: ignore[no-untyped-call]
                break
            self._queue.pop(0)
            self._ready.append((record, host.tolist()))
        ready, self._ready = self._ready, []
        return ready
