"""All probes of a node."""

from __future__ import annotations

from pathlib import Path

from dctop.probes.base import Probe
from dctop.probes.clock import ClockProbe
from dctop.probes.container import ContainerProbe
from dctop.probes.cpu import CpuProbe
from dctop.probes.disk import DiskProbe
from dctop.probes.edac import EdacProbe
from dctop.probes.filesystem import FilesystemProbe
from dctop.probes.gpu import GpuHealthProbe, GpuProbe
from dctop.probes.host import HostProbe
from dctop.probes.kernel import KernelProbe
from dctop.probes.links import LinksProbe
from dctop.probes.memory import MemoryProbe
from dctop.probes.network import NetworkProbe
from dctop.probes.pressure import PressureProbe
from dctop.probes.process import ProcessProbe
from dctop.probes.sensors import SensorsProbe

TICKED = frozenset(
    ("cpu", "pressure", "memory", "container", "disk", "network", "process", "kernel", "clock")
)
"""Probes read once a tick, whatever the interval; the others keep their own, slower pace."""


def all_probes(proc: str | Path = "/proc", sys: str | Path = "/sys", interval_s: float = 1.0) -> list[Probe]:
    """One of each. Nothing is opened or read before the first `read`, except a listing of the CPUs."""
    gpu = GpuProbe(proc, sys)
    probes: list[Probe] = [
        CpuProbe(proc, sys),
        PressureProbe(proc, sys),
        MemoryProbe(proc, sys),
        ContainerProbe(proc, sys),
        ClockProbe(proc, sys),
        DiskProbe(proc, sys),
        NetworkProbe(proc, sys),
        LinksProbe(proc, sys),
        ProcessProbe(proc, sys),
        FilesystemProbe(proc, sys),
        KernelProbe(proc, sys),
        SensorsProbe(proc, sys),
        EdacProbe(proc, sys),
        HostProbe(proc, sys),
        gpu,
        GpuHealthProbe(gpu),
    ]
    for probe in probes:
        probe.period_s = interval_s if probe.name in TICKED else max(probe.period_s, interval_s)
    return probes
