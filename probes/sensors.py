"""CPU clock, temperature and energy: sysfs files with a driver behind them, in a lane of their own.

They can block on sick hardware and can wake sleeping cores, so they are read every two seconds, on nodes
with many cores every five. What the node does not have (most virtual machines) has no series.
"""

from __future__ import annotations

import errno
import time
from pathlib import Path

from dctop.probes.base import KeptFile, Sample, Value, series
from dctop.probes.files import U64_MAX, decimal, number, printable, read_some, read_whole, reason

_MANY = 64
_LOOK_AGAIN_READS = 30
_CHIPS = (b"coretemp", b"k10temp", b"zenpower", b"cpu_thermal", b"scpi_sensors")
_WHOLE_CPU = ("Package", "Physical", "Tctl", "Tdie")
"""Sensors of a whole processor. Where there are any, the others are left out: reading the sensor of a
sleeping core wakes it."""


class _Reading:
    """One sysfs value, a whole number times `scale`."""

    __slots__ = ("file", "key", "path", "scale")

    def __init__(self, path: Path, key: str, scale: float, keep: bool) -> None:
        self.path = path
        self.key = key
        self.scale = scale
        self.file = KeptFile(path, 64) if keep else None

    def read(self) -> int | float | None:
        """Raises OSError."""
        text = read_whole(self.path, 64) if self.file is None else self.file.read()
        if len(text) > 32:
            return None
        try:
            n = int(text)  # temperatures may be negative
        except ValueError:
            return None
        if abs(n) > U64_MAX:
            return None
        return n if self.scale == 1.0 else n * self.scale

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class SensorsProbe:
    name = "sensors"
    lane = "sensors"

    def __init__(self, proc: str | Path = "/proc", sys: str | Path = "/sys") -> None:
        self._proc, self._sys = Path(proc), Path(sys)
        self._readings: list[_Reading] = []
        self._count = 0
        cores = len(_numbered(self._sys / "devices/system/cpu", "cpu"))
        energy = (self._sys / "class/powercap/intel-rapl:0").is_dir()
        self.period_s = 2.0 if energy and cores <= _MANY else 5.0

    def read(self) -> Sample:
        if self._count % _LOOK_AGAIN_READS == 0:
            self._look()
        self._count += 1
        mono, wall = time.monotonic_ns(), time.time_ns()
        values: dict[str, Value] = {}
        failed: dict[tuple[str, int | None], str] = {}
        for reading in self._readings:
            try:
                values[reading.key] = reading.read()
            except OSError as e:
                values[reading.key] = None
                metric = reading.key.partition("{")[0]
                failed.setdefault((metric, e.errno), _problem(metric, reading.path, e))
        if not any(key.startswith("cpu.freq_mhz") for key in values):
            values.update(self._cpuinfo_mhz())
        return Sample("sensors", mono, wall, values, problems=tuple(failed.values()))

    def close(self) -> None:
        for reading in self._readings:
            reading.close()

    def _look(self) -> None:
        """Find the files anew; what is still there keeps its open file."""
        have = {(r.path, r.key): r for r in self._readings}
        now: list[_Reading] = []
        cores = _numbered(self._sys / "devices/system/cpu", "cpu")
        keep = len(cores) <= _MANY
        wanted = [
            *(
                (dir_ / "cpufreq/scaling_cur_freq", series("cpu.freq_mhz", core=str(i)), 1e-3)
                for i, dir_ in cores
            ),
            *((path, series("cpu.temp_c", sensor=label), 1e-3) for label, path in self._temperatures()),
            *((path, series("cpu.energy_uj", package=name), 1.0) for name, path in self._packages()),
        ]
        for path, key, scale in wanted:
            old = have.pop((path, key), None)
            if old is not None:
                now.append(old)
            elif path.exists():
                now.append(_Reading(path, key, scale, keep))
        for gone in have.values():
            gone.close()
        self._readings = now

    def _temperatures(self) -> list[tuple[str, Path]]:
        """(label, file) of the processors' sensors; a label two sockets share gets the chip's number."""
        found: list[tuple[str, int, Path]] = []
        for chip, dir_ in _numbered(self._sys / "class/hwmon", "hwmon"):
            if (read_some(dir_ / "name") or b"").strip() not in _CHIPS:
                continue
            for path in sorted(dir_.glob("temp*_input")):
                stem = path.name.removesuffix("_input")
                label = printable((read_some(dir_ / f"{stem}_label") or b"").strip(), 64) or stem
                found.append((label, chip, path))
        if not found:
            for zone, dir_ in _numbered(self._sys / "class/thermal", "thermal_zone"):
                kind = printable((read_some(dir_ / "type") or b"").strip(), 64)
                if kind == "x86_pkg_temp" or kind.startswith("cpu"):
                    found.append((kind, zone, dir_ / "temp"))
        whole = [f for f in found if f[0].startswith(_WHOLE_CPU)]
        found = whole or found
        labels = [label for label, _, _ in found]
        return [(l if labels.count(l) == 1 else f"{l} ({n})", path) for l, n, path in found]  # noqa: E741

    def _packages(self) -> list[tuple[str, Path]]:
        """RAPL's packages; intel-rapl-mmio counts the same energy a second time and is left out."""
        found = []
        for _, dir_ in _numbered(self._sys / "class/powercap", "intel-rapl:"):
            name = printable((read_some(dir_ / "name") or b"").strip(), 64)
            if name.startswith("package"):
                found.append((name, dir_ / "energy_uj"))
        return found

    def _cpuinfo_mhz(self) -> dict[str, Value]:
        """Clocks from /proc/cpuinfo, where there is no cpufreq driver (virtual machines)."""
        out: dict[str, Value] = {}
        try:
            data = read_whole(self._proc / "cpuinfo")
        except OSError:
            return out
        core: str | None = None
        for line in data.split(b"\n"):
            if line.startswith(b"processor"):
                n = number(line.partition(b":")[2])
                core = None if n is None else str(n)
            elif line.startswith(b"cpu MHz") and core is not None:
                out[series("cpu.freq_mhz", core=core)] = decimal(line.partition(b":")[2].strip())
        return out


def _problem(metric: str, path: Path, e: OSError) -> str:
    hint = e.errno in (errno.EACCES, errno.EPERM) and metric == "cpu.energy_uj"
    return reason(path, e) + (" (CPU power needs root)" if hint else "")


def _numbered(folder: Path, head: str) -> list[tuple[int, Path]]:
    """Entries `head<number>` of a folder, by number; none where it cannot be read."""
    try:
        names = [p.name for p in folder.iterdir()]
    except OSError:
        return []
    numbers = [n[len(head) :] for n in names if n.startswith(head)]
    return sorted((int(n), folder / f"{head}{n}") for n in numbers if n.isascii() and n.isdecimal())
