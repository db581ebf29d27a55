"""The numbers that one reading of a small file gives, for the very first picture: no engine, no probes, only
what can be said a few milliseconds after the start. The first tick puts the panes' own titles in their place.
"""

from __future__ import annotations

import os
from pathlib import Path

from dctop.tui.draw import units
from dctop.tui.draw.levels import MEMORY_PCT, mark, state_style
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S, Span

Title = tuple[list[Span], list[Span]]
"""What stands left and right in the upper edge of a pane, behind its name."""


def titles(look: Look, proc: Path = Path("/proc")) -> dict[str, Title]:
    """Pane -> its title as the pane itself will write it. What cannot be read is left out."""
    out: dict[str, Title] = {}
    try:
        load = float((proc / "loadavg").read_bytes().split(None, 1)[0])
        cores = os.sysconf("SC_NPROCESSORS_ONLN")
        out["cpu"] = ([(f" {cores} cores", S.DIM), (f"  load {load:.1f}", S.DIM)], [])
    except (OSError, ValueError, IndexError):
        pass
    try:
        total, available = _memory((proc / "meminfo").read_bytes())
    except (OSError, ValueError, IndexError):
        return out
    used = total - available
    pct = 100.0 * used / total
    value = f"{mark(pct, look, *MEMORY_PCT)}{units.pct(pct)}".strip()
    out["memory"] = (
        [(f" {units.size(used, 0)}/{units.size(total, 0)}", S.DIM)],
        [(value, state_style(pct, *MEMORY_PCT))],
    )
    return out


def _memory(data: bytes) -> tuple[int, int]:
    """(total, available) in bytes. Raises ValueError where the kernel does not say both."""
    found = [int(data.split(name, 1)[1].split(None, 1)[0]) << 10 for name in (b"MemTotal:", b"MemAvailable:")]
    if not 0 <= found[1] <= found[0] or not found[0]:
        raise ValueError("strange numbers")
    return found[0], found[1]
