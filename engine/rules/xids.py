"""NVIDIA's Xid codes: what they mean and what to do. Read by the rule, the screen and the texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Xid(NamedTuple):
    """What NVIDIA's catalogue says of a code. `action`: reset | reboot | restart | note | unknown."""

    name: str
    action: str


XIDS: dict[int, Xid] = {
    13: Xid("Graphics engine exception", "restart"),
    31: Xid("GPU memory page fault", "restart"),
    32: Xid("Invalid or corrupted push buffer stream", "restart"),
    39: Xid("Copy engine exception (CE0)", "restart"),
    40: Xid("Copy engine exception (CE1)", "restart"),
    41: Xid("Copy engine exception (CE2)", "restart"),
    43: Xid("GPU stopped processing (channel reset)", "note"),
    45: Xid("Preemptive clean-up, due to previous errors", "note"),
    46: Xid("GPU stopped processing", "reset"),
    48: Xid("Double-bit ECC error", "reset"),
    62: Xid("Internal micro-controller halt", "reset"),
    63: Xid("Row remapping or page retirement recorded", "note"),
    64: Xid("Row remapping or page retirement failed", "reset"),
    69: Xid("Graphics engine class error", "restart"),
    74: Xid("NVLink error", "reset"),
    79: Xid("GPU has fallen off the bus", "reboot"),
    92: Xid("High rate of single-bit ECC errors", "note"),
    94: Xid("Contained memory error", "restart"),
    95: Xid("Uncontained memory error", "reset"),
    109: Xid("Context switch timeout", "reset"),
    110: Xid("Security fault", "reset"),
    119: Xid("GSP RPC timeout", "reset"),
    120: Xid("GSP error", "reset"),
    136: Xid("Link training failed", "reset"),
    140: Xid("Unrecovered ECC error", "reset"),
    143: Xid("GPU initialisation failed", "reset"),
    154: Xid("GPU recovery action changed", "note"),
    155: Xid("NVLink: software-defined error", "reset"),
    156: Xid("Resource retirement event", "reset"),
    158: Xid("GPU fatal timeout", "reset"),
}
"""Codes that matter (RULES.md 1.7: NVIDIA's catalogue as generated into GPUd)."""

UNKNOWN = Xid("Not in the catalogue", "unknown")
FALLEN_OFF = 79
CLEAN_UP = 45
"""Follows another Xid of the same GPU: the driver cleans up after it."""
ACTION_WORDS = {
    "reset": "reset the GPU",
    "reboot": "reboot the node",
    "restart": "restart the application",
    "note": "nothing to do",
    "unknown": "look it up in NVIDIA's catalogue",
}


def code_of(fields: Mapping[str, str]) -> int:
    """The code of a kernel event's fields; 0 where there is none."""
    if fields.get("about") == "gpu-lost":
        return FALLEN_OFF
    try:
        return int(fields.get("code", ""))
    except ValueError:
        return 0


def meaning(fields: Mapping[str, str]) -> Xid:
    """Name and action of an Xid or NVSwitch error (SXid)."""
    if fields.get("about") == "sxid":
        return Xid("NVSwitch error (SXid)", "reset" if fields.get("severity") == "Fatal" else "unknown")
    return XIDS.get(code_of(fields), UNKNOWN)


def same_device(pci: str, other: str) -> bool:
    """Whether two PCI addresses mean one device: the kernel leaves out the function, NVML writes the domain
    with eight digits."""
    return bool(pci) and bool(other) and _short(pci) == _short(other)


def _short(pci: str) -> tuple[str, ...]:
    domain_bus, _, slot = pci.lower().rpartition(":")
    domain, _, bus = domain_bus.rpartition(":")
    return (domain.lstrip("0") or "0", bus.lstrip("0") or "0", slot.partition(".")[0].lstrip("0") or "0")
