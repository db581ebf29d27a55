"""Trees of /sys/class/drm and /proc as the amdgpu, i915 and xe drivers lay them out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write(root: Path, files: Mapping[str, object]) -> None:
    """Files by path; None takes one away."""
    for name, value in files.items():
        path = root / name
        if value is None:
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value if isinstance(value, bytes) else f"{value}\n".encode())


def card(sys: Path, number: int, vendor: str, driver: str, pci: str, pci_id: str) -> Path:
    """A card's folder with what every driver has; connectors and render nodes beside it."""
    folder = sys / f"class/drm/card{number}"
    write(folder, {
        "device/vendor": vendor,
        "device/uevent": f"DRIVER={driver}\nPCI_CLASS=30000\nPCI_ID={pci_id}\nPCI_SLOT_NAME={pci}",
        "device/power/runtime_status": "active",
    })  # fmt: skip
    for other in (f"card{number}-DP-1", f"renderD{128 + number}"):
        (sys / "class/drm" / other).mkdir(parents=True, exist_ok=True)
    return folder


def amd(sys: Path, number: int = 0, pci: str = "0000:03:00.0", **changes: object) -> Path:
    """An accelerator of AMD under load. `changes`: files (`/` written as `__`) or None."""
    folder = card(sys, number, "0x1002", "amdgpu", pci, "1002:740F")
    hwmon = "device/hwmon/hwmon4"
    write(folder, {
        "device/product_name": "AMD Instinct MI210", "device/gpu_busy_percent": 97,
        "device/mem_busy_percent": 41,
        "device/mem_info_vram_total": 64 << 30, "device/mem_info_vram_used": 40 << 30,
        "device/current_link_speed": "16.0 GT/s PCIe", "device/current_link_width": 16,
        "device/max_link_speed": "16.0 GT/s PCIe", "device/max_link_width": 16, "device/pcie_replay_count": 3,
        "device/numa_node": 1, "device/pp_dpm_sclk": "0: 500Mhz\n1: 800Mhz\n2: 1700Mhz *",
        "device/pp_dpm_mclk": "0: 400Mhz\n1: 1600Mhz *",
        "device/ras/umc_err_count": "ue: 1\nce: 12", "device/ras/gfx_err_count": "ue: 0\nce: 3",
        f"{hwmon}/power1_average": 283_000_000, f"{hwmon}/power1_cap": 300_000_000,
        f"{hwmon}/power1_cap_default": 300_000_000, f"{hwmon}/power1_cap_min": 0,
        f"{hwmon}/power1_cap_max": 300_000_000, f"{hwmon}/temp1_input": 55_000,
        f"{hwmon}/temp1_label": "edge",
        f"{hwmon}/temp1_crit": 100_000, f"{hwmon}/temp1_emergency": 105_000,
        f"{hwmon}/temp2_input": 62_000, f"{hwmon}/temp2_label": "junction",
        f"{hwmon}/temp3_input": 70_000, f"{hwmon}/temp3_label": "mem", f"{hwmon}/temp3_crit": 94_000,
        f"{hwmon}/freq1_input": 1_700_000_000, f"{hwmon}/freq1_label": "sclk",
        f"{hwmon}/freq2_input": 1_600_000_000, f"{hwmon}/freq2_label": "mclk", f"{hwmon}/pwm1": 128,
    })  # fmt: skip
    write(folder, {name.replace("__", "/"): value for name, value in changes.items()})
    return folder


def i915(sys: Path, number: int = 0, pci: str = "0000:00:02.0", **changes: object) -> Path:
    folder = card(sys, number, "0x8086", "i915", pci, "8086:56C0")
    write(folder, {
        "gt/gt0/rc6_residency_ms": 10_000, "gt/gt0/rps_act_freq_mhz": 1950, "gt/gt0/rps_RP0_freq_mhz": 2050,
        "gt/gt0/throttle_reason_status": 0, "gt/gt0/throttle_reason_pl1": 0,
        "gt/gt0/throttle_reason_thermal": 0,
        "gt/gt0/throttle_reason_prochot": 0,
        "device/hwmon/hwmon3/energy1_input": 5_000_000, "device/hwmon/hwmon3/power1_max": 150_000_000,
        "device/hwmon/hwmon3/power1_rated_max": 150_000_000,
    })  # fmt: skip
    write(folder, {name.replace("__", "/"): value for name, value in changes.items()})
    return folder


def xe(sys: Path, number: int = 0, pci: str = "0000:4d:00.0", **changes: object) -> Path:
    folder = card(sys, number, "0x8086", "xe", pci, "8086:E20B")
    gt = "device/tile0/gt0"
    write(folder, {
        f"{gt}/gtidle/idle_residency_ms": 3_000, f"{gt}/freq0/act_freq": 2400, f"{gt}/freq0/rp0_freq": 2850,
        f"{gt}/freq0/throttle/status": 0, f"{gt}/freq0/throttle/reason_pl1": 0,
        f"{gt}/freq0/throttle/reason_thermal": 0, "device/tile0/gt1/gtidle/idle_residency_ms": 9_000,
        "device/hwmon/hwmon2/energy1_input": 1_000_000, "device/hwmon/hwmon2/power1_max": 0,
        "device/hwmon/hwmon2/temp2_input": 48_000, "device/hwmon/hwmon2/temp2_label": "pkg",
        "device/hwmon/hwmon2/temp3_input": 60_000, "device/hwmon/hwmon2/temp3_label": "vram",
    })  # fmt: skip
    write(folder, {name.replace("__", "/"): value for name, value in changes.items()})
    return folder


def client(proc: Path, pid: int, fd: int, lines: str, target: str = "/dev/dri/renderD128") -> None:
    """A process with a GPU open."""
    write(proc / str(pid), {f"fdinfo/{fd}": "pos:\t0\nflags:\t02100002\n" + lines})
    link = proc / str(pid) / "fd" / str(fd)
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(target)


def amd_fdinfo(pdev: str, id: int, kib: int, compute_ns: int = 0, gfx_ns: int = 0) -> str:  # noqa: A002
    return (
        f"drm-driver:\tamdgpu\ndrm-client-id:\t{id}\ndrm-pdev:\t{pdev}\ndrm-memory-vram:\t{kib} KiB\n"
        f"drm-memory-gtt:\t100 KiB\ndrm-engine-gfx:\t{gfx_ns} ns\ndrm-engine-compute:\t{compute_ns} ns\n"
    )


def xe_fdinfo(pdev: str, id: int, kib: int, busy: int, total: int) -> str:  # noqa: A002
    return (
        f"drm-driver:\txe\ndrm-client-id:\t{id}\ndrm-pdev:\t{pdev}\ndrm-resident-vram0:\t{kib} KiB\n"
        f"drm-total-vram0:\t{kib * 2} KiB\ndrm-cycles-ccs:\t{busy}\ndrm-total-cycles-ccs:\t{total}\n"
        "drm-engine-capacity-ccs:\t4\n"
    )
