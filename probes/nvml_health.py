"""One NVIDIA device: what changes rarely or costs the driver more. Called by the worker thread."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from dctop.probes.base import Value, series
from dctop.probes.gpu_words import COMPUTE_MODES, FABRIC
from dctop.probes.nvml import (
    FABRIC_V2,
    GONE,
    INSUFFICIENT_SIZE,
    INVALID_ARGUMENT,
    MARGIN_V1,
    NEVER,
    OK,
    Function,
    Library,
)
from dctop.probes.nvml_readings import (
    CELSIUS,
    COUNT,
    FLAG,
    MHZ,
    MILLIWATT,
    U32,
    Part,
    Readings,
    Spec,
    Trouble,
    read_versioned,
)

if TYPE_CHECKING:
    from dctop.probes.nvidia_node import NvidiaNode
    from dctop.probes.nvml_device import Device

_DRAM, _SRAM = 2, 7
_UNCORRECTED, _VOLATILE, _AGGREGATE = 1, 0, 1
SLOW = (
    Spec(("nvmlDeviceGetPersistenceMode",), (Part("persistence", FLAG),)),
    Spec(("nvmlDeviceGetComputeMode",), (Part("compute_mode", 9, names=COMPUTE_MODES),)),
    Spec(("nvmlDeviceGetMigMode",), (Part("mig_mode", FLAG), Part("mig_pending", FLAG)), (), "<II", True),
    Spec(
        ("nvmlDeviceGetBAR1MemoryInfo",),
        (Part("bar1_total_bytes", COUNT), Part("bar1_used_bytes", COUNT)), (), "<Q8xQ",
    ),
    Spec(
        ("nvmlDeviceGetMarginTemperature",),
        (Part("temp_margin_c", CELSIUS),), (), "<4xi", version=MARGIN_V1,
    ),
    Spec(("nvmlDeviceGetApplicationsClock",), (Part("sm_clock_app_mhz", MHZ),), (1,)),
    Spec(("nvmlDeviceGetEccMode",), (Part("ecc_mode", FLAG), Part("ecc_pending", FLAG)), (), "<II", True),
    Spec(("nvmlDeviceGetTotalEccErrors",), (Part("ecc_corrected_total", COUNT),), (0, _AGGREGATE), "<Q"),
    Spec(("nvmlDeviceGetTotalEccErrors",), (Part("ecc_uncorrected_total", COUNT),), (1, _AGGREGATE), "<Q"),
    Spec(
        ("nvmlDeviceGetMemoryErrorCounter",),
        (Part("ecc_dram_uncorrected", COUNT),), (_UNCORRECTED, _VOLATILE, _DRAM), "<Q",
    ),
    Spec(
        ("nvmlDeviceGetMemoryErrorCounter",),
        (Part("ecc_sram_uncorrected", COUNT),), (_UNCORRECTED, _VOLATILE, _SRAM), "<Q",
    ),
    Spec(
        ("nvmlDeviceGetRemappedRows",),
        (
            Part("remap_corrected", U32), Part("remap_uncorrected", U32), Part("remap_pending", FLAG),
            Part("remap_failed", FLAG),
        ),
        (), "<IIII", True,
    ),
    # max, high, partial, low, none: how many banks still have so many spare rows
    Spec(
        ("nvmlDeviceGetRowRemapperHistogram",),
        (Part("remap_banks_partial", U32), Part("remap_banks_low", U32), Part("remap_banks_none", U32)),
        (), "<8xIII",
    ),
    Spec(("nvmlDeviceGetRetiredPagesPendingStatus",), (Part("retired_pending", FLAG),)),
    Spec(("nvmlDeviceGetCurrPcieLinkGeneration",), (Part("pcie_gen", 16),)),
    Spec(("nvmlDeviceGetCurrPcieLinkWidth",), (Part("pcie_width", 64),)),
    Spec(("nvmlDeviceGetPcieReplayCounter",), (Part("pcie_replays", U32),)),
)  # fmt: skip
BUILT_IN = (
    Spec(("nvmlDeviceGetPowerManagementDefaultLimit",), (Part("power_default_w", MILLIWATT, 1000),)),
    Spec(
        ("nvmlDeviceGetPowerManagementLimitConstraints",),
        (Part("power_min_w", MILLIWATT, 1000), Part("power_max_w", MILLIWATT, 1000)), (), "<II", True,
    ),
    Spec(("nvmlDeviceGetTemperatureThreshold",), (Part("temp_shutdown_c", CELSIUS),), (0,)),
    Spec(("nvmlDeviceGetTemperatureThreshold",), (Part("temp_slowdown_c", CELSIUS),), (1,)),
    Spec(("nvmlDeviceGetTemperatureThreshold",), (Part("mem_temp_max_c", CELSIUS),), (2,)),
    Spec(("nvmlDeviceGetTemperatureThreshold",), (Part("temp_max_c", CELSIUS),), (3,)),
    Spec(("nvmlDeviceGetMaxClockInfo",), (Part("sm_clock_max_mhz", MHZ),), (1,)),
    Spec(("nvmlDeviceGetMaxClockInfo",), (Part("mem_clock_max_mhz", MHZ),), (2,)),
    Spec(("nvmlDeviceGetMaxPcieLinkGeneration",), (Part("pcie_gen_max", 16),)),
    Spec(("nvmlDeviceGetMaxPcieLinkWidth",), (Part("pcie_width_max", 64),)),
)  # fmt: skip
"""How the device is made: limits and thresholds that stay while the driver is loaded."""
BUILT_IN_EVERY = 12
"""Each so many readings (a minute) they are read again all the same; before that only after a failure."""
LINKS = 36
"""NVML_NVLINK_MAX_LINKS of the newest interface; older devices end earlier."""
# Index of an error counter in nvmlDeviceGetNvLinkErrorCounter -> metric.
LINK_ERRORS = (("replay_errors", 0), ("recovery_errors", 1), ("crc_errors", 2))


class Health:
    """Slow readings of one device; made anew with each new handle. Results go to `device.health`."""

    def __init__(self, lib: Library, device: Device, node: NvidiaNode) -> None:
        self.device, self.handle = device, device.handle
        self._lib, self._node = lib, node
        whole = device.parent is None
        self._readings = Readings(lib, device.handle, SLOW if whole else (), device.keys)
        self._fixed = Readings(lib, device.handle, BUILT_IN if whole else (), device.keys)
        self._fixed_values: dict[str, Value] = {}
        self._fixed_for = 0
        """How many more readings they stand."""
        self._state: Function | None = lib.function("nvmlDeviceGetNvLinkState") if whole else None
        self._errors: Function | None = lib.function("nvmlDeviceGetNvLinkErrorCounter") if whole else None
        self._pages: Function | None = lib.function("nvmlDeviceGetRetiredPages") if whole else None
        self._links: tuple[int, ...] | None = None
        self._link_keys: dict[tuple[int, str], str] = {}
        self._capability = self._read_capability() if whole else None
        self._fabric = whole
        self._word = ctypes.c_uint()
        self._long = ctypes.c_ulonglong()

    def read(self) -> None:
        device, keys = self.device, self.device.keys
        values: dict[str, Value] = {}
        trouble = device.trouble = Trouble()
        if self._read_fixed(values, trouble) and self._readings.read(values, trouble):
            for step in (self._read_pages, self._read_links, self._read_fabric):
                if not trouble.code:
                    step(values, trouble)
        if trouble.left:
            return
        if trouble.code:
            device.fall(GONE[trouble.code], trouble.line() or "")
            return
        values[keys["gpm"]] = int(device.has_gpm)
        if device.parent is None:
            if self._capability is not None:
                values[keys["capability"]] = self._capability
            values[keys["numa_node"]] = self._node.numa(device.pci)
        else:
            values[keys["gpu_instance"]] = device.gpu_instance
            values[keys["compute_instance"]] = device.compute_instance
        device.health = values

    def _read_fixed(self, values: dict[str, Value], trouble: Trouble) -> bool:
        """What the device is made for; False where it must not be called any more."""
        if self._fixed_for <= 0:
            self.device.calling_health = self._fixed
            self._fixed_values = {}
            if not self._fixed.read(self._fixed_values, trouble):
                return False
            self._fixed_for = 0 if trouble.line() else BUILT_IN_EVERY
        self._fixed_for -= 1
        values.update(self._fixed_values)
        self.device.calling_health = self._readings
        return True

    def _read_capability(self) -> str | None:
        call = self._lib.function("nvmlDeviceGetCudaComputeCapability")
        major, minor = ctypes.c_int(), ctypes.c_int()
        if call is None or call(self.handle, ctypes.byref(major), ctypes.byref(minor)) != OK:
            return None
        return f"{major.value}.{minor.value}" if 0 < major.value < 100 and 0 <= minor.value < 100 else None

    def _read_pages(self, values: dict[str, Value], trouble: Trouble) -> None:
        """How many pages were retired: the count alone is asked for."""
        for name, cause in (("retired_sbe", 0), ("retired_dbe", 1)):
            if self._pages is None:
                return
            self._word.value = 0
            self._readings.calling = "nvmlDeviceGetRetiredPages"
            code = self._pages(self.handle, cause, ctypes.byref(self._word), None)
            if code in NEVER:
                self._pages = None
                return
            count = self._word.value
            good = code in (OK, INSUFFICIENT_SIZE) and count <= U32
            values[self.device.keys[name]] = count if good else None
            failed = code not in (OK, INSUFFICIENT_SIZE, INVALID_ARGUMENT)
            if failed and trouble.note(name, "nvmlDeviceGetRetiredPages", code):
                return

    # -- NVLink --------------------------------------------------------------------------------------------

    def _link_key(self, link: int, name: str) -> str:
        key = self._link_keys.get((link, name))
        if key is None:
            key = series(f"gpu.nvlink.{name}", gpu=self.device.uuid, link=str(link))
            self._link_keys[link, name] = key
        return key

    def _read_links(self, values: dict[str, Value], trouble: Trouble) -> None:
        if self._state is None:
            return
        self._readings.calling = "nvmlDeviceGetNvLinkState"
        links, up = [], 0
        for link in range(LINKS) if self._links is None else self._links:
            code = self._state(self.handle, link, ctypes.byref(self._word))
            if code in NEVER or code == INVALID_ARGUMENT:
                if link == 0 and code in NEVER:
                    self._state = None
                    return
                if self._links is None:
                    break  # the device has no further ones
                values[self._link_key(link, "up")] = None
                continue
            if code != OK:
                values[self._link_key(link, "up")] = None
                links.append(link)
                if trouble.note(f"nvlink {link}", "nvmlDeviceGetNvLinkState", code):
                    return
                continue
            links.append(link)
            on = self._word.value
            values[self._link_key(link, "up")] = on if on <= 1 else None
            up += on == 1
            self._read_link_errors(link, values, trouble)
            if trouble.code:
                return
        if self._links is None:
            self._links = tuple(links)
        if self._links:
            values[self.device.keys["nvlinks"]] = len(self._links)
            values[self.device.keys["nvlinks_up"]] = up

    def _read_link_errors(self, link: int, values: dict[str, Value], trouble: Trouble) -> None:
        if self._errors is None:
            return
        self._readings.calling = "nvmlDeviceGetNvLinkErrorCounter"
        for name, counter in LINK_ERRORS:
            code = self._errors(self.handle, link, counter, ctypes.byref(self._long))
            if code in NEVER:
                if link == 0 and counter == 0:
                    self._errors = None
                    return
                continue
            good = code == OK and self._long.value <= COUNT
            values[self._link_key(link, name)] = self._long.value if good else None
            if code != OK and trouble.note(f"nvlink {link}", "nvmlDeviceGetNvLinkErrorCounter", code):
                return

    def _read_fabric(self, values: dict[str, Value], trouble: Trouble) -> None:
        """State of the registration with the fabric manager; none where there is no fabric."""
        if not self._fabric:
            return
        self._readings.calling = "nvmlDeviceGetGpuFabricInfoV"
        code, found = read_versioned(
            self._lib, ("nvmlDeviceGetGpuFabricInfoV",), FABRIC_V2, "<20xiIII", self.handle
        )
        if code in NEVER:
            self._readings.calling = "nvmlDeviceGetGpuFabricInfo"
            code, found = read_versioned(
                self._lib, ("nvmlDeviceGetGpuFabricInfo",), None, "<16xiII", self.handle
            )
        if code in NEVER:
            self._fabric = False
        elif code == OK:
            values[self.device.keys["fabric_state"]] = FABRIC.get(found[2])
        else:
            trouble.note("fabric_state", self._readings.calling, code)
