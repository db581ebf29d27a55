"""Words for what drivers give as bits and numbers. Other makers map theirs onto the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dctop.probes.base import Value


class Reason(NamedTuple):
    """One bit of `gpu.throttle_mask`. `slows`: it takes clocks away that the load could use."""

    bit: int
    id: str
    words: str
    slows: bool


THROTTLE: tuple[Reason, ...] = (
    Reason(0x1, "idle", "idle", False),
    Reason(0x2, "app-clocks", "clocks set by the user", False),
    Reason(0x4, "power-cap", "power limit", True),
    Reason(0x8, "hw-slowdown", "hardware slowdown", True),
    Reason(0x10, "sync-boost", "waits for its sync group", False),
    Reason(0x20, "sw-thermal", "hot (driver)", True),
    Reason(0x40, "hw-thermal", "hot (hardware)", True),
    Reason(0x80, "hw-power-brake", "power brake (supply)", True),
    Reason(0x100, "display-clocks", "display clocks", False),
)
"""NVML's clocks event reasons, lowest bit first."""

STATES = ("ok", "lost", "hung", "reset", "error")
RECOVERY = (
    "none", "reset", "reboot", "drain-p2p", "drain-reset", "recover-imex", "bus-reset", "reboot-system",
)  # fmt: skip
"""NVML_FI_DEV_GET_GPU_RECOVERY_ACTION."""
COMPUTE_MODES = ("default", "exclusive-thread", "prohibited", "exclusive-process")
FABRIC = {1: "not started", 2: "in progress", 3: "completed"}


def throttle_reasons(mask: float | None) -> tuple[Reason, ...]:
    """The reasons in a mask, lowest bit first; unknown bits as one reason of their own."""
    if mask is None or mask < 0:
        return ()
    bits = int(mask)
    found = [r for r in THROTTLE if bits & r.bit]
    rest = bits & ~0x1FF
    if rest:
        found.append(Reason(rest, "other", f"other (0x{rest:x})", False))
    return tuple(found)


_LAST = ("util_pct", "mem_used_bytes", "power_w", "temp_c", "mem_temp_c", "sm_clock_mhz", "sm_active_pct")


def last_text(values: Mapping[str, Value], keys: Mapping[str, str]) -> str | None:
    """What is kept of a device's latest good reading in `gpu.last`; `keys`: metric id -> series key."""
    found = ((name, values.get(keys[name])) for name in _LAST)
    return " ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
                    for name, value in found if isinstance(value, (int, float))) or None  # fmt: skip


def last_values(text: str | None) -> dict[str, float]:
    """`gpu.last` as numbers: metric id without `gpu.` -> value. Empty where there is nothing to show."""
    out: dict[str, float] = {}
    for word in (text or "").split():
        name, _, number = word.partition("=")
        try:
            out[name] = float(number)
        except ValueError:
            continue
    return out
