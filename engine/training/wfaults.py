"""Drills: `NAME[:MAGNITUDE][@STEP[-STEP]]` plants a real cause in a run, never a fake measurement.

Worker side; needs no torch to parse. The truth (what, from when to when) goes to `truth.jsonl` in the run
directory: detectors are scored against it and never read it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

DEFAULT_STEP = 100


class Kind(NamedTuple):
    magnitude: float | None
    """Default; None: the fault has none."""
    unit: str
    help: str
    workloads: tuple[str, ...] = ()
    """Which it can be planted in; () = all."""
    needs: Mapping[str, float] = MappingProxyType({})
    """Options and the least value they must have, as `workers`: 1."""
    tier: str = "A"
    """A: a real fault of a real resource. B: a real pathology inside the training."""
    expects: tuple[str, ...] = ()
    """Ids of the rules that should open."""


def fits(kind: Kind, workload: str) -> bool:
    return not kind.workloads or workload in kind.workloads


KINDS = {
    "nan": Kind(None, "", "a NaN pixel in every batch of the window"),
    "lr": Kind(100.0, "x", "learning rate times MAGNITUDE"),
    "leak": Kind(16.0, "MiB/step", "keeps memory and never gives it back"),
    "oom": Kind(64.0, "MiB/piece", "allocates until the allocator or the kernel says no"),
    "slow-data": Kind(50.0, "ms", "every batch comes that much later"),
    "hang": Kind(0.0, "s", "the step waits (0: for ever)"),
    "crash": Kind(None, "", "the step raises"),
    "kill": Kind(None, "", "the worker kills itself with SIGKILL"),
    "fill": Kind(64.0, "MB", "writes ballast into the run directory"),
}
_SPEC = re.compile(r"([a-z-]+?)(?::([0-9.]+))?(?:@([0-9]+)(?:-([0-9]+))?)?")


class Fault(NamedTuple):
    name: str
    magnitude: float
    first: int
    last: int | None
    """Last step of the window; None: until the run ends."""
    spec: str

    def active(self, step: int) -> bool:
        return step >= self.first and (self.last is None or step <= self.last)


class PlantedCrash(RuntimeError):
    """What the `crash` drill raises."""


def parse(spec: str) -> Fault:
    """Raises ValueError with one line that says what is possible."""
    match = _SPEC.fullmatch(spec)
    if match is None or match[1] not in KINDS:
        raise ValueError(
            f"fault '{spec}': expected NAME[:MAGNITUDE][@STEP[-STEP]], NAME one of {', '.join(KINDS)}"
        )
    name, magnitude, first, last = match.groups()
    kind = KINDS[name]
    if magnitude is not None and kind.magnitude is None:
        raise ValueError(f"fault '{spec}': {name} has no magnitude")
    try:
        size = float(magnitude) if magnitude is not None else (kind.magnitude or 0.0)
    except ValueError:
        raise ValueError(f"fault '{spec}': '{magnitude}' is not a number") from None
    start = int(first) if first else DEFAULT_STEP
    end = int(last) if last else None
    if start < 1 or (end is not None and end < start):
        raise ValueError(f"fault '{spec}': the window must begin at step 1 or later and end after it begins")
    return Fault(name, size, start, end, spec)


class Planter:
    """Carries the faults of a run out at their steps."""

    def __init__(self, faults: list[Fault], directory: str, entity: str) -> None:
        self.faults = faults
        self._directory = directory
        self._entity = entity
        self._open: dict[int, dict[str, object]] = {}
        self._kept: list[torch.Tensor] = []

    def begin(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Called before each step. May raise, hang or never return: that is the drill."""
        for i, fault in enumerate(self.faults):
            active = fault.active(step)
            if active and i not in self._open:
                self._onset(i, fault, step, optimizer)
            elif not active and i in self._open:
                self._clear(i, fault, step, optimizer)
        for i in self._open:
            self._act(self.faults[i])

    def close(self, step: int) -> None:
        """The run ends: close the windows still open."""
        for truth in self._open.values():
            self._write({**truth, "t1": time.time_ns(), "step1": step})

    def _onset(self, i: int, fault: Fault, step: int, optimizer: torch.optim.Optimizer) -> None:
        truth: dict[str, object] = {
            "id": fault.name, "entity": self._entity, "t0": time.time_ns(), "t1": None,
            "step0": step, "step1": None, "magnitude": fault.magnitude, "spec": fault.spec,
        }  # fmt: skip
        self._open[i] = truth
        self._write(truth)
        if fault.name == "lr":
            _scale_lr(optimizer, fault.magnitude)
        elif fault.name == "fill":
            self._fill(fault)

    def _clear(self, i: int, fault: Fault, step: int, optimizer: torch.optim.Optimizer) -> None:
        truth = self._open.pop(i)
        if fault.name == "lr":
            _scale_lr(optimizer, 1.0 / fault.magnitude)
        elif fault.name == "fill":
            _unlink(os.path.join(self._directory, "ballast"))
        elif fault.name == "leak":
            self._kept.clear()
        self._write({**truth, "t1": time.time_ns(), "step1": step})

    def _act(self, fault: Fault) -> None:
        if fault.name == "leak":
            self._allocate(fault.magnitude)
        elif fault.name == "oom":
            _be_first_victim()
            while True:
                self._allocate(fault.magnitude)
        elif fault.name == "hang":
            _hang(fault.magnitude)
        elif fault.name == "crash":
            raise PlantedCrash("the crash drill raised this")
        elif fault.name == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

    def fetch(self, step: int) -> None:
        """In the data path (also in a loader process): the storage is slow."""
        for fault in self.faults:
            if fault.name == "slow-data" and fault.active(step):
                time.sleep(fault.magnitude / 1000)

    def batch(self, step: int, images: torch.Tensor) -> None:
        """The scaled batch, in place."""
        for fault in self.faults:
            if fault.name == "nan" and fault.active(step):
                images.view(-1)[0] = float("nan")

    def due(self, step: int) -> list[Fault]:
        """Faults that begin at this step: to be logged before `begin`, which may never return."""
        return [f for f in self.faults if f.first == step]

    def _allocate(self, mib: float) -> None:
        import torch

        # Written to, so that the memory is really taken.
        self._kept.append(torch.ones(max(1, int(mib * (1 << 20))), dtype=torch.uint8))

    def _fill(self, fault: Fault) -> None:
        piece = b"\xa5" * (1 << 20)
        left = int(fault.magnitude * 1_000_000)
        try:
            with open(os.path.join(self._directory, "ballast"), "wb", buffering=0) as out:
                while left > 0:
                    left -= out.write(piece[:left])
        except OSError:
            pass  # Full before the ballast was complete: what the drill is for.

    def _write(self, truth: dict[str, object]) -> None:
        line = json.dumps(truth, separators=(",", ":")) + "\n"
        try:
            fd = os.open(
                os.path.join(self._directory, "truth.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600
            )
            with os.fdopen(fd, "w") as out:
                out.write(line)
        except OSError as error:
            print(f"truth.jsonl: {error.strerror}: {line.strip()}", flush=True)


def _scale_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] *= factor


def _be_first_victim() -> None:
    """The out-of-memory drill must take this process, never a neighbour's."""
    try:
        with open("/proc/self/oom_score_adj", "w") as out:
            out.write("1000")
    except OSError:
        pass


def _hang(seconds: float) -> None:
    end = time.monotonic() + seconds
    while not seconds or time.monotonic() < end:
        time.sleep(min(1.0, end - time.monotonic()) if seconds else 3600.0)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
