"""GPUs of all makers in one list, keyed by UUID; and where there are none, why, and what to do about it.

A maker is a file of its own with a class that keeps to `GpuMaker` (base.py), listed in `makers`; its code is
loaded once there is something for it to read (gpu_later.py). Two probes on one lane ask them: `gpu` every
tick, `gpuhealth` for what changes rarely or costs the driver more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dctop.probes.base import GpuMaker, GpuProcess, KernelEvent, MakerSample, Sample, Value
from dctop.probes.gpu_later import AmdLater, IntelLater, NvidiaLater

HEALTH_S = 5.0
NOTHING_S = 10.0
"""Period where there is no GPU at all: one may still be plugged in, or its driver loaded."""
_NONE = ("no library", "no device", "no driver")


def makers(proc: str | Path = "/proc", sys: str | Path = "/sys") -> list[GpuMaker]:
    """Readers of all makers' GPUs, in the order of the list on the screen."""
    return [NvidiaLater(proc, sys), AmdLater(proc, sys), IntelLater(proc, sys)]


class GpuProbe:
    """What changes from tick to tick."""

    name = "gpu"
    lane = "gpu"

    def __init__(
        self,
        proc: str | Path = "/proc",
        sys: str | Path = "/sys",
        makers: Callable[[str | Path, str | Path], Sequence[GpuMaker]] = makers,
    ) -> None:
        self.period_s = 1.0
        self._period: float | None = None
        self.makers = makers(proc, sys)
        self._anything = False
        """There is a GPU, of whatever make."""
        self._nothing: dict[str, tuple[int, MakerSample]] = {}
        """Make -> when it was looked for (monotonic ns), and why there is none."""

    def read(self) -> Sample:
        mono, wall = time.monotonic_ns(), time.time_ns()
        found = [self._ask(maker, mono) for maker in self.makers]
        values: dict[str, Value] = {}
        processes: list[GpuProcess] = []
        events: list[KernelEvent] = []
        problems: list[str] = []
        for one in found:
            values.update(one.values)
            processes += one.processes
            events += one.events
            problems += one.problems
        counts = [one.count for one in found if one.count is not None]
        best = next((one for one in found if one.status == "ok"), found[0])
        for maker, one in zip(self.makers, found):
            # Beside another maker's working GPUs the reason would be lost otherwise.
            if one is not best and one.status != "ok" and one.status not in _NONE:
                problems.append(f"{maker.vendor}: {one.status}: {one.detail}")
        values["gpu.status"], values["gpu.detail"] = best.status, best.detail
        values["gpu.count"] = sum(counts) if counts else None
        self._period = self._period or self.period_s
        anything = _has_devices(values) or best.status in ("ok", "hung")
        self.period_s = self._period if anything else max(NOTHING_S, self._period)
        self._anything = anything
        asked = any(one.status == "ok" for one in found)
        return Sample("gpu", mono, wall, values, None, events, tuple(problems), processes if asked else None)

    def _ask(self, maker: GpuMaker, mono_ns: int) -> MakerSample:
        """Where there are GPUs of one make, the others are looked for no oftener than where there is none."""
        known = self._nothing.get(maker.vendor)
        if known is not None and self._anything and mono_ns - known[0] < NOTHING_S * 1e9:
            return known[1]
        one = _ask(maker.vendor, maker.read)
        if one.status in _NONE and not one.events and not _has_devices(one.values):
            self._nothing[maker.vendor] = mono_ns, one
        else:
            self._nothing.pop(maker.vendor, None)
        return one

    def close(self) -> None:
        for maker in self.makers:
            maker.close()


class GpuHealthProbe:
    """What changes rarely or costs the driver more, of the same makers on the same lane."""

    name = "gpuhealth"
    lane = "gpu"

    def __init__(self, gpus: GpuProbe) -> None:
        self.period_s = HEALTH_S
        self._gpus = gpus

    def read(self) -> Sample:
        mono, wall = time.monotonic_ns(), time.time_ns()
        values: dict[str, Value] = {}
        problems: list[str] = []
        for maker in self._gpus.makers:
            one = _ask(maker.vendor, maker.read_health)
            values.update(one.values)
            problems += one.problems
        return Sample("gpuhealth", mono, wall, values, problems=tuple(problems))

    def close(self) -> None:
        """The makers are the other probe's to close."""


def _has_devices(values: dict[str, Value]) -> bool:
    return any(key.startswith("gpu.state{") for key in values)


def _ask(vendor: str, read: Callable[[], MakerSample]) -> MakerSample:
    """One maker's sample; its failure is no other maker's."""
    try:
        return read()
    except Exception as e:
        text = f"{type(e).__name__}: {' '.join(str(e).split())}"
        return MakerSample("error", f"the {vendor} reader failed: {text}", None, {}, problems=(text,))
