"""Memory errors the ECC of the host's memory controllers saw: sysfs counters of the kernel's EDAC drivers.

A lane of its own: a driver behind a file may be slow while the hardware fails. Ten seconds between readings,
since errors are rare and the counters lose nothing. Virtual machines and desktops have no such controller:
then there are no series. Modules are named by the label the board gives them, else by controller and number.
"""

from __future__ import annotations

import time
from pathlib import Path

from dctop.probes.base import Sample, Value, series
from dctop.probes.files import number, printable, read_some, read_whole, reason

PERIOD_S = 10.0
MOST_MODULES = 128


class EdacProbe:
    name = "edac"
    lane = "edac"

    def __init__(self, proc: str | Path = "/proc", sys: str | Path = "/sys") -> None:
        self._root = Path(sys) / "devices/system/edac/mc"
        self.period_s = PERIOD_S

    def read(self) -> Sample:
        mono, wall = time.monotonic_ns(), time.time_ns()
        values: dict[str, Value] = {}
        problems: list[str] = []
        modules: list[tuple[str, Path]] = []
        for controller in sorted(self._root.glob("mc[0-9]*")):
            for kind, file in (("corrected", "ce_count"), ("uncorrected", "ue_count")):
                key = series(f"edac.{kind}", mc=controller.name)
                values[key] = _count(controller / file, problems)
            modules += _modules(controller)
        for label, folder in modules[:MOST_MODULES]:
            for kind, file in (("corrected", "dimm_ce_count"), ("uncorrected", "dimm_ue_count")):
                if (folder / file).exists():
                    values[series(f"edac.dimm_{kind}", dimm=label)] = _count(folder / file, problems)
        return Sample("edac", mono, wall, values, problems=tuple(problems[:4]))

    def close(self) -> None:
        pass


def _modules(controller: Path) -> list[tuple[str, Path]]:
    """(label, folder) of its memory modules; older drivers call them ranks. Two of one label get the
    controller's name as well."""
    found: list[tuple[str, Path]] = []
    for folder in sorted((*controller.glob("dimm[0-9]*"), *controller.glob("rank[0-9]*"))):
        label = printable((read_some(folder / "dimm_label") or b"").strip(), 64)
        found.append((label, folder))
    labels = [label for label, _ in found]
    return [
        (label if label and labels.count(label) == 1 else f"{controller.name} {folder.name}", folder)
        for label, folder in found
    ]


def _count(path: Path, problems: list[str]) -> int | None:
    try:
        return number(read_whole(path, 64))
    except OSError as e:
        problems.append(reason(path, e))
        return None
