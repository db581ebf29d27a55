"""How long the host stands still for the device, and where: `.item()`, `.cpu()` and their like, timed.

Worker side; imported after torch. Such a call waits until the device has done all that was issued before it,
so the queue runs empty. Every so many steps, for one step, the methods of a tensor that do this are replaced
by ones that take the time: in between they are torch's own, and cost what they always cost.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from types import FrameType

    from dctop.engine.training import wlog

EVERY = 20
"""Steps from one that is timed to the next."""
BLOCKING = ("item", "cpu", "tolist", "numpy", "__bool__", "__float__", "__int__", "nonzero")
"""Methods of a tensor on a device that answer only when the device has."""
TOLD_SHARE = 0.05
"""A place that blocks for so much of a step is told of, once (the threshold of the rule sync-stall)."""
TOLD_MOST = 8


class SyncWatch:
    """`begin` before a step, `end` after it: seconds the host was blocked, None of a step that was not timed.

    `applies`: which tensors block; those on the host answer at once.
    """

    def __init__(self, log: wlog.RunLog, applies: Callable[[torch.Tensor], bool]) -> None:
        self._log = log
        self._applies = applies
        self._originals: dict[str, Any] = {}
        """What the class itself had under these names; None: it inherits the method."""
        self._spent: dict[str, int] = {}
        """Place in the code -> nanoseconds, of the step being timed."""
        self._told: set[str] = set()
        self._inside = False

    def begin(self, number: int) -> None:
        if number % EVERY:
            return
        self._spent = {}
        for name in BLOCKING:
            self._originals[name] = torch.Tensor.__dict__.get(name)
            setattr(torch.Tensor, name, self._timed(getattr(torch.Tensor, name)))

    def end(self, number: int, step_s: float) -> float | None:
        if not self._originals:
            return None
        self.close()
        total = sum(self._spent.values()) * 1e-9
        if self._spent and step_s > 0:
            self._tell(number, step_s)
        return total

    def close(self) -> None:
        """Give the tensor its own methods back."""
        for name, original in self._originals.items():
            if original is None:
                delattr(torch.Tensor, name)
            else:
                setattr(torch.Tensor, name, original)
        self._originals = {}

    def _tell(self, number: int, step_s: float) -> None:
        place, spent = max(self._spent.items(), key=lambda item: item[1])
        seconds = spent * 1e-9
        if seconds < TOLD_SHARE * step_s or place in self._told or len(self._told) >= TOLD_MOST:
            return
        self._told.add(place)
        text = f"the host waits {seconds * 1000:.3g} ms of a step for the device at {place}"
        self._log.event("note", text, number, sync_site=place, sync_s=seconds)

    def _timed(self, original: Any) -> Callable[..., Any]:
        def timed(tensor: torch.Tensor, *args: Any, **more: Any) -> Any:
            if self._inside or not self._applies(tensor):
                return original(tensor, *args, **more)
            self._inside = True  # one may call another: counted once
            since = time.perf_counter_ns()
            try:
                return original(tensor, *args, **more)
            finally:
                self._inside = False
                place = _place(sys._getframe(1))
                self._spent[place] = self._spent.get(place, 0) + time.perf_counter_ns() - since

        return timed


def _place(frame: FrameType) -> str:
    """`file.py:12` of the nearest caller that is none of torch's own."""
    at: FrameType | None = frame
    while at is not None and at.f_globals.get("__name__", "").partition(".")[0] == "torch":
        at = at.f_back
    at = at or frame
    return f"{at.f_code.co_filename.rpartition('/')[2]}:{at.f_lineno}"
