"""Intel GPUs through the i915 and xe drivers' files (Documentation/ABI/testing/sysfs-driver-intel-*).

They have no utilisation: it follows from the time the engines' power well slept (RC6, GT idle), which the
driver counts in milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dctop.probes.base import Value
from dctop.probes.drm import Card, DrmMaker

_CELSIUS, _MICROWATT, _MHZ = 250_000, 5_000_000_000, 20_000
_REASONS = {
    "pl1": 0x4, "pl2": 0x4, "pl4": 0x4, "thermal": 0x20, "ratl": 0x20, "prochot": 0x40, "vr_thermalert": 0x40,
    "vr_tdc": 0x80,
}  # fmt: skip
"""Their reasons for lower clocks -> bits of gpu_words.THROTTLE: power limits; heat; heat seen by the
hardware; the supply's current limit."""


class IntelMaker(DrmMaker):
    vendor = "intel"
    pci_vendor = "0x8086"
    drivers = ("i915", "xe")
    fallback = "Intel GPU"

    def __init__(
        self,
        proc: str | Path = "/proc",
        sys: str | Path = "/sys",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(proc, sys, now)
        self._slept: dict[str, tuple[float, tuple[int, ...]]] = {}
        """Card -> (when, idle ms of each of its parts)."""

    def values(self, card: Card) -> dict[str, Value]:
        out: dict[str, Value] = {}
        idle = [
            p for gt in parts(card) for p in _first(card, gt, "gtidle/idle_residency_ms", "rc6_residency_ms")
        ]
        if idle:
            out["util_pct"] = self._busy(card, [card.number(p) for p in idle])
        asleep = card.asleep
        gt = next(iter(parts(card)), None)
        if gt is not None:
            for p in _first(card, gt, "freq0/act_freq", "rps_act_freq_mhz"):
                out["sm_clock_mhz"] = None if asleep else card.number(p, _MHZ)
        elif card.has(card.card / "gt_act_freq_mhz"):
            out["sm_clock_mhz"] = None if asleep else card.number(card.card / "gt_act_freq_mhz", _MHZ)
        mask = throttle(card)
        if mask is not None:
            out["throttle_mask"] = mask
        total, free = card.card / "lmem_total_bytes", card.card / "lmem_avail_bytes"
        if card.has(total):
            size = card.number(total)
            left = card.number(free) if card.has(free) else None
            out["mem_total_bytes"] = size
            if card.has(free):
                out["mem_used_bytes"] = size - left if size and left is not None and left <= size else None
        if card.hwmon is not None:
            self._sensors(card, card.hwmon, out)
        return out

    def _busy(self, card: Card, idle: Sequence[int | None]) -> int | None:
        """100 % less the share of time since the reading before in which its busiest part slept."""
        now = self._now()
        known = tuple(n for n in idle if n is not None)
        before = self._slept.get(card.pci)
        if len(known) != len(idle):
            return None
        self._slept[card.pci] = (now, known)
        if before is None or len(before[1]) != len(known) or now <= before[0]:
            return None
        spans = [b - a for a, b in zip(before[1], known)]
        if min(spans) < 0:  # counted anew
            return None
        share = 100.0 - min(spans) / (10.0 * (now - before[0]))
        return round(min(100.0, max(0.0, share)))

    def _sensors(self, card: Card, hwmon: Path, out: dict[str, Value]) -> None:
        if card.has(hwmon / "energy1_input"):
            micro = card.number(hwmon / "energy1_input")
            out["energy_mj"] = None if micro is None else micro * 1e-3
        for name, file in (("power_w", "power1_input"), ("power_limit_w", "power1_max")):
            if card.has(hwmon / file):
                value = card.number(hwmon / file, _MICROWATT)
                # A limit of 0 means that there is none.
                out[name] = None if value is None or (file == "power1_max" and not value) else value * 1e-6
        temps = card.labelled("temp")
        for labels, name in ((("pkg", "#1", "#2"), "temp_c"), (("vram",), "mem_temp_c")):
            at = next((temps[label] for label in labels if label in temps), None)
            if at is not None:
                value = card.number(hwmon / f"temp{at}_input", _CELSIUS)
                out[name] = None if value is None else value * 1e-3

    def health(self, card: Card) -> dict[str, Value]:
        out: dict[str, Value] = {}
        gt = next(iter(parts(card)), None)
        paths = list(_first(card, gt, "freq0/rp0_freq", "rps_RP0_freq_mhz")) if gt is not None else []
        if not paths and card.has(card.card / "gt_RP0_freq_mhz"):
            paths = [card.card / "gt_RP0_freq_mhz"]
        for p in paths:
            out["sm_clock_max_mhz"] = card.number(p, _MHZ)
        hwmon = card.hwmon
        if hwmon is not None and card.has(hwmon / "power1_rated_max"):
            value = card.number(hwmon / "power1_rated_max", _MICROWATT)
            out["power_default_w"] = value * 1e-6 if value else None
        return out


def parts(card: Card) -> list[Path]:
    """The GTs of a card: device/tile0/gt0 ... (xe), card/gt/gt0 ... (i915). Looked for once."""
    if card.parts is None:
        card.parts = sorted(card.path.glob("tile[0-9]*/gt[0-9]*")) or sorted(
            (card.card / "gt").glob("gt[0-9]*")
        )
    return card.parts


def _first(card: Card, folder: Path, *names: str) -> list[Path]:
    """The first of these files that is there."""
    return next(([folder / n] for n in names if card.has(folder / n)), [])


def throttle(card: Card) -> int | None:
    """The reasons in force as bits of gpu_words.THROTTLE; None where the driver has no such files."""
    mask: int | None = None
    for gt in parts(card):
        for folder, prefix in ((gt / "freq0/throttle", "reason_"), (gt, "throttle_reason_")):
            for name, bit in _REASONS.items():
                path = folder / f"{prefix}{name}"
                if card.has(path):
                    mask = (mask or 0) | (bit if card.number(path, 1) else 0)
    return mask
