"""Which graphics cards the kernel lists."""

from __future__ import annotations

import os
from pathlib import Path

from dctop.probes.files import read_some


def cards_of(sys: Path, vendor: str) -> list[Path]:
    """Folders of a PCI vendor's cards (`0x1002`) under /sys/class/drm, by number, whatever their driver."""
    found: list[tuple[int, Path]] = []
    try:
        with os.scandir(sys / "class/drm") as entries:
            for entry in entries:
                digits = entry.name.removeprefix("card")
                if digits != entry.name and digits.isdecimal():
                    found.append((int(digits), Path(entry.path)))
    except OSError:
        return []
    return [path for _, path in sorted(found) if _vendor(path) == vendor]


def _vendor(card: Path) -> str:
    return (read_some(card / "device/vendor") or b"").decode("latin-1").strip().lower()
