"""Makers' readers before there is anything for them to read: they look for a library, a driver or a card, and
load the real reader when there is one. On a node without a GPU half a megabyte of code stays where it is.

What they say meanwhile is word for word what the real ones would.
"""

from __future__ import annotations

import _ctypes
import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dctop.probes.base import GpuMaker, MakerSample, Value
from dctop.probes.drm_cards import cards_of
from dctop.probes.nvidia_node import LIBRARY, WAIT_S, NvidiaNode

if TYPE_CHECKING:
    from dctop.probes.workers import Step

LOOK_S = 5.0
"""How often is looked; as the readers look for devices."""


class Later:
    """A `GpuMaker` that becomes the real one at the first `read` that finds something, and stays it."""

    vendor = ""

    def __init__(self, proc: str | Path, sys: str | Path, now: Callable[[], float] = time.monotonic) -> None:
        self._proc, self._sys, self._now = Path(proc), Path(sys), now
        self._real: GpuMaker | None = None
        self._due = float("-inf")
        self._nothing = MakerSample("error", "nothing has been asked yet", None, {})

    def read(self) -> MakerSample:
        if self._real is None and self._now() >= self._due:
            self._due = self._now() + LOOK_S
            if self._found():
                self._real = self._load()
        return self._said() if self._real is None else self._real.read()

    def read_health(self) -> MakerSample:
        if self._real is not None:
            return self._real.read_health()
        said = self._nothing
        return MakerSample(said.status, said.detail, said.count, {})

    def close(self) -> None:
        if self._real is not None:
            self._real.close()

    def _said(self) -> MakerSample:
        said = self._nothing
        return MakerSample(said.status, said.detail, said.count, dict(said.values))

    def _found(self) -> bool:
        """Whether there is something to read; if not, `_nothing` says so."""
        raise NotImplementedError

    def _load(self) -> GpuMaker:
        raise NotImplementedError


class NvidiaLater(Later):
    """Until the library is there, or the kernel module is loaded."""

    vendor = "nvidia"

    def __init__(
        self,
        proc: str | Path = "/proc",
        sys: str | Path = "/sys",
        library: str = LIBRARY,
        now: Callable[[], float] = time.monotonic,
        wait_s: float = WAIT_S,
    ) -> None:
        super().__init__(proc, sys, now)
        self._library, self._wait_s = library, wait_s
        self._node = NvidiaNode(self._proc, self._sys)
        self._is_there = False

    def _found(self) -> bool:
        # Nothing of the driver is asked here but whether it is loaded; what a search in folders of a dead
        # server would hold up is a thread, which ends with it.
        from dctop.probes.workers import Step, Workers

        workers = Workers("dctop-nvml", self._wait_s, self._wait_s)
        done = workers.run(lambda: [Step("library", self._look, exclusive=True)])
        workers.close()
        if not done or self._is_there:
            return True
        detail = self._node.advise("no library", f"{self._library} is not installed")
        values: dict[str, Value] = dict.fromkeys(("gpu.driver", "gpu.cuda_version", "gpu.pid_space"))
        self._nothing = MakerSample("no library", detail, None, values)
        return False

    def _look(self) -> list[Step] | None:
        self._is_there = (self._proc / "driver/nvidia").exists() or can_be_loaded(self._library)
        if not self._is_there:
            self._node.look()
        return None

    def _load(self) -> GpuMaker:
        from dctop.probes.nvidia import NvidiaMaker

        return NvidiaMaker(self._proc, self._sys, self._library, self._now)


def can_be_loaded(library: str) -> bool:
    """The loader finds it. It is let go of again: who uses it may have to load another one later."""
    try:
        found = ctypes.CDLL(library)
    except OSError:
        return False
    _ctypes.dlclose(found._handle)
    return True


class DrmLater(Later):
    """Until the kernel lists a card of the maker's, whatever its driver."""

    pci_vendor = ""
    name = ""

    def _found(self) -> bool:
        self._nothing = MakerSample("no device", f"no {self.name} under /sys/class/drm", 0, {})
        return bool(cards_of(self._sys, self.pci_vendor))


class AmdLater(DrmLater):
    vendor, pci_vendor, name = "amd", "0x1002", "AMD GPU"

    def _load(self) -> GpuMaker:
        from dctop.probes.gpu_amd import AmdMaker

        return AmdMaker(self._proc, self._sys, self._now)


class IntelLater(DrmLater):
    vendor, pci_vendor, name = "intel", "0x8086", "Intel GPU"

    def _load(self) -> GpuMaker:
        from dctop.probes.gpu_intel import IntelMaker

        return IntelMaker(self._proc, self._sys, self._now)
