"""What the node says of its NVIDIA devices without the library: PCI bus, kernel module; and what to do."""

from __future__ import annotations

import os
from pathlib import Path

from dctop.probes.files import number, printable, read_some

LIBRARY = "libnvidia-ml.so.1"
WAIT_S = 1.8
"""How long one reading waits for the driver, or for the loader: whoever takes longer is told to hang."""
INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""The inode of the first PID namespace is fixed in the kernel (PROC_PID_INIT_INO)."""


class NvidiaNode:
    """`proc`, `sys`: roots of the pseudo file systems."""

    def __init__(self, proc: Path, sys: Path) -> None:
        self._proc, self._sys = proc, sys
        self.bus: tuple[str, ...] = ()
        """PCI addresses of display and 3D controllers."""
        self.driver: str | None = None
        """Version of the loaded kernel module."""
        self._ours: dict[tuple[str, int], bool] = {}
        """(PCI address, inode of its folder) -> whether it is one of NVIDIA's GPUs."""
        self.known: dict[str, tuple[str | None, str | None]] = {}
        """What the kernel module lists: PCI address -> (UUID, model). Empty where it lists nothing."""

    def look(self) -> tuple[object, ...]:
        """Read anew; what is compared to see whether something changed."""
        self.bus = tuple(sorted(self._devices()))
        self.driver = self._version()
        self.known = self._listed()
        return self.bus, self.driver, tuple(sorted(self.known))

    def _devices(self) -> list[str]:
        """Whose a device is stays as long as its folder does: a big node has hundreds of them."""
        try:
            with os.scandir(self._sys / "bus/pci/devices") as entries:
                devices = {(d.name, d.inode()): d.path for d in entries}
        except OSError:
            self._ours = {}
            return []
        self._ours = {d: self._ours[d] if d in self._ours else _is_ours(path) for d, path in devices.items()}
        return [name for (name, _), ours in self._ours.items() if ours]

    def _version(self) -> str | None:
        """Out of /proc/driver/nvidia/version."""
        text = printable((read_some(self._proc / "driver/nvidia/version") or b"").split(b"\n", 1)[0], 400)
        for word in text.split():
            if word[0].isdigit() and "." in word and word.replace(".", "").isdigit():
                return word
        return None

    def _listed(self) -> dict[str, tuple[str | None, str | None]]:
        out: dict[str, tuple[str | None, str | None]] = {}
        try:
            folders = list((self._proc / "driver/nvidia/gpus").iterdir())
        except OSError:
            return out
        for folder in folders:
            text = printable(
                (read_some(folder / "information") or b"").replace(b"\t", b" ").replace(b"\n", b"|"), 4000
            )
            facts = {k.strip(): v.strip() for k, _, v in (part.partition(":") for part in text.split("|"))}
            uuid = facts.get("GPU UUID")
            out[folder.name.lower()] = (uuid if uuid and "?" not in uuid else None, facts.get("Model"))
        return out

    def numa(self, pci: str | None) -> int | None:
        """NUMA node of a device; -1 in sysfs says that the firmware gives none."""
        return None if pci is None else number(read_some(self._sys / "bus/pci/devices" / pci / "numa_node"))

    def pid_space(self) -> str | None:
        """own | host: whose pids the driver's are. In the PID namespace of a container: the host's."""
        try:
            here = (self._proc / "self/ns/pid").readlink()
        except OSError:
            return None
        return "own" if str(here) == INITIAL_PID_NAMESPACE else "host"

    def has_process(self, pid: int) -> bool:
        return (self._proc / str(pid)).exists()

    def advise(self, status: str, what: str) -> str:
        """One line: what was found, and what to do about it."""
        n = len(self.bus)
        on_bus = f"{n} NVIDIA device{'s' if n != 1 else ''} on the PCI bus"
        if status == "no library":
            if not n and self.driver is None:
                return "this node has no NVIDIA GPU (none on the PCI bus, no NVML library)"
            return (
                f"{on_bus}, but {what}: install the driver's libraries, or start the container with its GPUs"
            )
        if status == "no driver":
            todo = "load it (modprobe nvidia) or install it; after a kernel update rebuild it (dkms status)"
            if n:
                return f"{on_bus} but no driver loaded: {todo}"
            return f"{what}; no NVIDIA device on the PCI bus"
        if status == "version mismatch":
            loaded = f"kernel module {self.driver}" if self.driver else "the loaded kernel module"
            return f"the NVML library does not match {loaded}: reboot, or unload and load the nvidia modules"
        if status == "no permission":
            return f"{what}: check the rights of /dev/nvidia* and the container's device rules"
        return f"{what} ({on_bus})"


def _is_ours(path: str) -> bool:
    vendor, kind = read_some(Path(path, "vendor")), read_some(Path(path, "class"))
    return (vendor or b"").strip() == b"0x10de" and (kind or b"").startswith((b"0x0300", b"0x0302"))
