"""A stand-in for a CUDA device that computes on the CPU and writes down what it was asked.

Its stream is a list of events: an event has passed when `lag` more were recorded after it, and two events are
1 ms apart a place. So the very code that drives a GPU runs here; that it is right on one is not shown by it.
"""

from __future__ import annotations

from typing import Any

import torch


class Event:
    def __init__(self, device: Cuda) -> None:
        self.device = device
        self.place: int | None = None
        self.seen = True
        """Whether somebody has read it since it was recorded."""

    def query(self) -> bool:
        assert not self.device.capture, "an event was asked while a graph was captured"
        # As the real one: an event that was never recorded has passed.
        passed = self.place is None or self.place < self.device.stream - self.device.lag
        self.seen = self.seen or passed
        return passed

    def synchronize(self) -> None:
        self.device.calls.append("event.synchronize")
        self.seen = True

    def elapsed_time(self, later: Event) -> float:
        """Milliseconds."""
        assert self.place is not None and later.place is not None, "an event without a time was read"
        self.seen = later.seen = True
        return float(later.place - self.place)


class Cuda:
    """What wdevice.Cuda is to the loop."""

    kind = "stand-in"
    channels_last = True

    def __init__(self, lag: int = 0) -> None:
        self.device = torch.device("cpu")
        self.lag = lag
        self.stream = 0
        self.made = 0
        self.calls: list[str] = []
        self.capture = False
        self._pinned: set[int] = set()

    def event(self) -> Event:
        self.made += 1
        return Event(self)

    def record(self, event: Event) -> None:
        assert not self.capture, "an event was recorded while a graph was captured"
        assert event.seen, "an event was recorded again before it was read"
        event.place, event.seen = self.stream, False
        self.stream += 1

    def pinned(self, count: int) -> torch.Tensor:
        tensor = torch.full((count,), float("nan"))
        self._pinned.add(tensor.data_ptr())
        return tensor

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        copy = tensor.clone()
        self._pinned.add(copy.data_ptr())
        return copy

    def put(self, tensor: torch.Tensor) -> torch.Tensor:
        assert tensor.data_ptr() in self._pinned, "a copy from pageable memory waits for the device"
        self.calls.append("put")
        return tensor.clone()

    def fetch(self, target: torch.Tensor, source: torch.Tensor) -> None:
        assert target.data_ptr() in self._pinned
        self.calls.append("fetch")
        target.copy_(source)

    def capturing(self) -> bool:
        return self.capture

    def synchronize(self) -> None:
        self.calls.append("synchronize")

    def memory(self) -> dict[str, int | None]:
        return {"mem_allocated_bytes": 3, "mem_reserved_bytes": 5, "mem_peak_bytes": 4,
                "mem_inactive_bytes": 1, "mem_retries": 0}  # fmt: skip

    def holds(self, tensor: torch.Tensor) -> bool:
        return False

    def taken(self) -> tuple[int, int]:
        return 6 << 30, 80 << 30

    def scaler(self) -> Any:
        return torch.amp.GradScaler("cpu", init_scale=1024.0)  # type: ignore[attr-defined]
