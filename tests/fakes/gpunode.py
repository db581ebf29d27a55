"""A GPU probe over the stand-in driver, in this process: what it reads is simulated."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from dctop.probes.base import GpuProcess, KernelEvent, Sample
from dctop.probes.gpu import GpuHealthProbe, GpuProbe
from dctop.probes.nvidia import NvidiaMaker
from tests.fakes.nodes import check_declared, write_tree
from tests.fakes.standin import Gpu, State, build


class GpuNode:
    """A node with an empty /proc and /sys of its own, a state file, and a clock the test turns."""

    def __init__(self, root: Path, gpus: int | list[Gpu] = 2, hidden: Iterable[str] = ()) -> None:
        self.state = State(root / "state", gpus)
        self.root = root
        self.log = root / "calls"
        self.time = 0.0
        self.library = str(build(hidden))
        self.call_s = 5.0
        self.made: GpuProbe | None = None

    def bus(self, devices: int, driver: str = "") -> None:
        """What is on the PCI bus, and the version of the loaded kernel module."""
        files = {"sys/bus/pci/devices/0000:ff:00.0/vendor": "0x10de\n"}
        files["sys/bus/pci/devices/0000:ff:00.0/class"] = "0x040300\n"  # its sound function
        for i in range(devices):
            files[f"sys/bus/pci/devices/0000:{0x10 + i:02x}:00.0/vendor"] = "0x10de\n"
            files[f"sys/bus/pci/devices/0000:{0x10 + i:02x}:00.0/class"] = "0x030200\n"
            files[f"sys/bus/pci/devices/0000:{0x10 + i:02x}:00.0/numa_node"] = f"{i % 2}\n"
        if driver:
            files["proc/driver/nvidia/version"] = (
                f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Sat Aug 26 01:15:15 UTC 2023\n"
                "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
            )
        write_tree(self.root, files)

    @property
    def probe(self) -> GpuProbe:
        if self.made is None:
            self.made = GpuProbe(
                self.root / "proc", self.root / "sys", lambda proc, sys: [self.maker(proc, sys)]
            )
        return self.made

    def maker(self, proc: str | Path, sys: str | Path) -> NvidiaMaker:
        return NvidiaMaker(proc, sys, self.library, lambda: self.time, self.call_s, 1.8 * self.call_s)

    def sample(self) -> Sample:
        got = self.probe.read()
        check_declared(got)
        return got

    def read(self, step: float = 0.0) -> dict[str, object]:
        """Values by metric without `gpu.`, labels as they are; `step` seconds later."""
        self.time += step
        got = self.sample()
        self.problems = got.problems
        self.events: list[KernelEvent] = list(got.events)
        self.processes: list[GpuProcess] = list(got.gpu_processes or ())
        return short(got)

    def health(self) -> dict[str, object]:
        got = GpuHealthProbe(self.probe).read()
        check_declared(got)
        return short(got)

    def calls(self, function: str) -> int:
        """How often it was called since the log was begun."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return sum(line.split(" ")[0] == function for line in lines)

    def forget_calls(self) -> None:
        if self.log.exists():
            self.log.write_text("")

    def until(self, done: Callable[[dict[str, object]], bool], step: float = 1.0) -> dict[str, object]:
        """Reads until `done` of what was read; for what another thread brings."""
        end = time.monotonic() + 20
        while True:
            got = self.read(step)
            if done(got):
                return got
            assert time.monotonic() < end, got
            time.sleep(0.02)


def short(sample: Sample) -> dict[str, object]:
    return {key.removeprefix("gpu."): value for key, value in sample.values.items()}


@pytest.fixture
def gpu_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., GpuNode]]:
    made: list[GpuNode] = []

    def make(gpus: int | list[Gpu] = 2, hidden: Iterable[str] = ()) -> GpuNode:
        node = GpuNode(tmp_path, gpus, hidden)
        monkeypatch.setenv("NVML_STANDIN_STATE", str(node.state.path))
        monkeypatch.setenv("NVML_STANDIN_LOG", str(node.log))
        made.append(node)
        return node

    yield make
    for node in made:
        node.state.fault()  # a thread that still sleeps in the driver wakes up
        if node.made is not None:
            node.made.close()
        # Handles of this test are stale in the next one, as in a process of its own.
        while Path(node.library).exists() and ctypes.CDLL(node.library).nvmlShutdown() == 0:
            pass
