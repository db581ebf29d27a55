"""AMD GPUs through the amdgpu driver's files (Documentation/gpu/amdgpu: driver-misc, thermal, ras)."""

from __future__ import annotations

from pathlib import Path

from dctop.probes.base import Value
from dctop.probes.drm import Card, DrmMaker
from dctop.probes.files import printable, read_some

_CELSIUS, _MICROWATT, _HZ = 250_000, 5_000_000_000, 20_000_000_000


class AmdMaker(DrmMaker):
    """`gpu_busy_percent` is the share of time the graphics and compute engine worked: as with NVIDIA's, 100 %
    may be a part of it. Temperatures: edge is the GPU's, junction the hottest spot, mem the memory's."""

    vendor = "amd"
    pci_vendor = "0x1002"
    drivers = ("amdgpu",)
    fallback = "AMD GPU"

    def name_of(self, card: Card) -> str:
        return card.words(card.path / "product_name") or super().name_of(card)

    def values(self, card: Card) -> dict[str, Value]:
        asleep = card.asleep
        out: dict[str, Value] = {}

        def take(name: str, path: Path, largest: int, scale: float = 1.0) -> None:
            if card.has(path):
                n = None if asleep else card.number(path, largest)
                out[name] = n if n is None or scale == 1.0 else n * scale

        device = card.path
        take("util_pct", device / "gpu_busy_percent", 100)
        take("mem_util_pct", device / "mem_busy_percent", 100)
        take("mem_total_bytes", device / "mem_info_vram_total", 1 << 62)
        take("mem_used_bytes", device / "mem_info_vram_used", 1 << 62)
        used, total = out.get("mem_used_bytes"), out.get("mem_total_bytes")
        if isinstance(used, int) and isinstance(total, int) and used > total:
            out["mem_used_bytes"] = None
        if card.hwmon is not None:
            self._sensors(card, card.hwmon, out, asleep)
        for kind in ("corrected", "uncorrected"):
            count = errors(device / "ras", "ce" if kind == "corrected" else "ue")
            if count is not None:
                out[f"ecc_{kind}"] = count
        return out

    def _sensors(self, card: Card, hwmon: Path, out: dict[str, Value], asleep: bool) -> None:
        def n(name: str, largest: int, scale: float) -> float | None:
            value = None if asleep else card.number(hwmon / name, largest)
            return None if value is None else value * scale

        for name in ("power1_average", "power1_input"):
            if card.has(hwmon / name):
                out["power_w"] = n(name, _MICROWATT, 1e-6)
                break
        if card.has(hwmon / "power1_cap"):
            out["power_limit_w"] = n("power1_cap", _MICROWATT, 1e-6)
        if card.has(hwmon / "energy1_input"):
            out["energy_mj"] = n("energy1_input", 1 << 62, 1e-3)
        temps = card.labelled("temp")
        for label, name in (("edge", "temp_c"), ("mem", "mem_temp_c")):
            # Accelerators have no edge sensor: then the junction is the GPU's temperature.
            at = temps.get(label) or (temps.get("junction") or temps.get("#1") if label == "edge" else None)
            if at is not None:
                out[name] = n(f"temp{at}_input", _CELSIUS, 1e-3)
        clocks = card.labelled("freq")
        for label, name in (("sclk", "sm_clock_mhz"), ("mclk", "mem_clock_mhz")):
            if label in clocks:
                value = n(f"freq{clocks[label]}_input", _HZ, 1e-6)
                out[name] = None if value is None else round(value)
        if card.has(hwmon / "pwm1"):
            part = n("pwm1", 255, 100 / 255)
            out["fan_pct"] = None if part is None else round(part)

    def health(self, card: Card) -> dict[str, Value]:
        out: dict[str, Value] = {}
        for name, file in (("sm_clock_max_mhz", "pp_dpm_sclk"), ("mem_clock_max_mhz", "pp_dpm_mclk")):
            if card.has(card.path / file):
                out[name] = highest_mhz(printable(read_some(card.path / file) or b"", 4000))
        if card.has(card.path / "pcie_replay_count"):
            out["pcie_replays"] = card.number(card.path / "pcie_replay_count")
        hwmon = card.hwmon
        if hwmon is not None:
            for name, file in (
                ("power_default_w", "power1_cap_default"), ("power_min_w", "power1_cap_min"),
                ("power_max_w", "power1_cap_max"),
            ):  # fmt: skip
                if card.has(hwmon / file):
                    value = card.number(hwmon / file, _MICROWATT)
                    out[name] = None if value is None else value * 1e-6
            temps = card.labelled("temp")
            at = temps.get("edge") or temps.get("junction") or temps.get("#1")
            for name, file in (
                ("temp_slowdown_c", f"temp{at}_crit"), ("temp_shutdown_c", f"temp{at}_emergency"),
                ("mem_temp_max_c", f"temp{temps.get('mem')}_crit"),
            ):  # fmt: skip
                if card.has(hwmon / file):
                    value = card.number(hwmon / file, _CELSIUS)
                    out[name] = None if value is None else value * 1e-3
        return out


def highest_mhz(text: str) -> int | None:
    """The largest of `0: 500Mhz�1: 2100Mhz *` (lines joined by what stands for a line break)."""
    found = [
        int(digits)
        for word in text.replace("�", " ").split()
        if (digits := word.lower().removesuffix("mhz")).isdecimal() and word.lower().endswith("mhz")
    ]
    best = max(found, default=0)
    return best if 0 < best <= 20_000 else None


def errors(ras: Path, kind: str) -> int | None:
    """Errors of all parts since the driver was loaded: `ue: 0` and `ce: 3` in ras/*_err_count."""
    total: int | None = None
    try:
        files = sorted(ras.glob("*_err_count"))
    except OSError:
        return None
    for path in files:
        for line in (read_some(path) or b"").decode("ascii", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == kind and value.strip().isdecimal() and len(value) < 20:
                total = (total or 0) + int(value)
    return total
