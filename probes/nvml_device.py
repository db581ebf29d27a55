"""One NVIDIA device, whole or MIG: what is read of it every tick.

Everything that calls the library runs in the maker's worker thread (`nvidia.py`); what was read is published
as a new object, so that nobody sees half of a reading or one of a thread that was left behind.
"""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Mapping
from typing import NamedTuple

from dctop.probes.base import GpuProcess, Value, series
from dctop.probes.catalogue_gpu import GPU, GPU_HEALTH
from dctop.probes.files import printable
from dctop.probes.gpu_words import RECOVERY, last_text
from dctop.probes.nvml import (
    ALL_LINKS,
    GONE,
    MEMORY_V2,
    NEVER,
    NO_PERMISSION,
    OK,
    Field,
    Fields,
    Gpm,
    Library,
    NvmlError,
)
from dctop.probes.nvml_processes import Processes
from dctop.probes.nvml_readings import (
    CELSIUS,
    COUNT,
    MHZ,
    MILLIWATT,
    PERCENT,
    Part,
    Readings,
    Spec,
    Trouble,
    named,
    read_versioned,
)

FAST = (
    Spec(
        ("nvmlDeviceGetUtilizationRates",),
        (Part("util_pct", PERCENT), Part("mem_util_pct", PERCENT)), (), "<II",
    ),
    Spec(("nvmlDeviceGetPowerUsage",), (Part("power_w", MILLIWATT, 1000),)),
    Spec(("nvmlDeviceGetEnforcedPowerLimit",), (Part("power_limit_w", MILLIWATT, 1000),)),
    Spec(("nvmlDeviceGetTemperature",), (Part("temp_c", CELSIUS),), (0,)),
    Spec(("nvmlDeviceGetClockInfo",), (Part("sm_clock_mhz", MHZ),), (1,)),
    Spec(("nvmlDeviceGetClockInfo",), (Part("mem_clock_mhz", MHZ),), (2,)),
    Spec(("nvmlDeviceGetFanSpeed",), (Part("fan_pct", 200),)),
    Spec(("nvmlDeviceGetPerformanceState",), (Part("pstate", 15),)),
    Spec(
        ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"),
        (Part("throttle_mask", (1 << 48) - 1),), (), "<Q",
    ),
    Spec(("nvmlDeviceGetTotalEccErrors",), (Part("ecc_corrected", COUNT),), (0, 0), "<Q"),
    Spec(("nvmlDeviceGetTotalEccErrors",), (Part("ecc_uncorrected", COUNT),), (1, 0), "<Q"),
    # The second number of these two is the length of the driver's sampling period: no metric.
    Spec(
        ("nvmlDeviceGetEncoderUtilization",),
        (Part("encoder_util_pct", PERCENT),), (), "<I4x", apart=True, unused=1,
    ),
    Spec(
        ("nvmlDeviceGetDecoderUtilization",),
        (Part("decoder_util_pct", PERCENT),), (), "<I4x", apart=True, unused=1,
    ),
)  # fmt: skip
_WORD = struct.Struct("<I")
_MEMORY = (
    ("nvmlDeviceGetMemoryInfo_v2", MEMORY_V2, struct.Struct("<I4xQQQQ")),
    ("nvmlDeviceGetMemoryInfo", None, struct.Struct("<QQQ")),
)
FIELDS = (
    Field("energy_mj", 83),
    Field("mem_temp_c", 82),
    Field("pcie_tx_bytes", 197),
    Field("pcie_rx_bytes", 198),
    Field("nvlink_tx_bytes", 138, ALL_LINKS),
    Field("nvlink_rx_bytes", 139, ALL_LINKS),
    Field("throttle_power_ns", 74),
    Field("throttle_thermal_ns", 269),
    Field("throttle_hw_thermal_ns", 270),
    Field("throttle_hw_power_ns", 271),
    Field("recovery_action", 230),
)
VITAL = ("util_pct", "mem_used_bytes", "temp_c", "power_w")
_KIB = ("nvlink_tx_bytes", "nvlink_rx_bytes")
_MEANT = frozenset((*_KIB, "mem_temp_c", "recovery_action"))
"""Fields that are not counts as they stand."""
ACTIVITY = (
    ("sm_active_pct", 2),
    ("sm_occupancy_pct", 3),
    ("tensor_active_pct", 5),
    ("dram_active_pct", 10),
    ("fp64_active_pct", 11),
    ("fp32_active_pct", 12),
    ("fp16_active_pct", 13),
)
"""GPM metrics."""
_PER_GPU = tuple(m.id.removeprefix("gpu.") for m in (*GPU, *GPU_HEALTH) if m.labels == ("gpu",))


STALE_S = 3.0
"""A reading older than this is not shown as one."""


class Reading(NamedTuple):
    """What a device published: never changed afterwards."""

    mono: float
    values: dict[str, Value]
    processes: list[GpuProcess] | None
    problem: str | None


class Device:
    """What is known of one device. `keys`: metric id without `gpu.` -> series key."""

    def __init__(self, uuid: str, index: int, parent: Device | None = None) -> None:
        self.uuid, self.index, self.parent = uuid, index, parent
        self.keys: Mapping[str, str] = {name: series(f"gpu.{name}", gpu=uuid) for name in _PER_GPU}
        self.handle = ctypes.c_void_p()
        self.name: str | None = None
        self.pci: str | None = None
        self.gpu_instance: int | None = None
        self.compute_instance: int | None = None
        self.children: list[Device] = []
        self.reading: Reading | None = None
        self.health: dict[str, Value] = {}
        self.state = "ok"
        self.problem: str | None = None
        self.bad_since: float | None = None
        """Unix time since when `state` is not ok."""
        self.attached = False
        self.last: str | None = None
        """The latest good values, as text, for a row that is shown dimmed."""
        self.trouble = Trouble()
        """Of the reading that is being made."""
        self._about: tuple[Value, ...] = ()
        self._said: dict[str, Value] = {}
        """What `show` says of the device itself, for as long as `_about` stands."""
        self.calling_health: Readings | None = None

    # -- state ---------------------------------------------------------------------------------------------

    def fall(self, state: str, problem: str) -> None:
        """Not ok any more, or for another reason. What it showed last is kept."""
        if self.state == "ok":
            self.bad_since = time.time()
            if self.reading is not None:
                self.last = last_text(self.reading.values, self.keys) or self.last
        self.state, self.problem = state, problem

    def hang(self, problem: str) -> None:
        """A call does not come back: what it was part of is given up, whatever it brings in the end."""
        self.trouble.leave()
        self.fall("hung", problem)

    def rise(self) -> None:
        self.state, self.problem, self.bad_since, self.last = "ok", None, None, None

    # -- what is shown of it ------------------------------------------------------------------------------

    def show(self, now: float, values: dict[str, Value], processes: list[GpuProcess]) -> None:
        """Adds its series and processes. What was read is shown while it is fresh and all is well with it."""
        keys, reading, state = self.keys, self.reading, self.state
        problem, since = self.problem, self.bad_since
        if reading is not None:
            late = now - reading.mono
            if state == "ok" and late > STALE_S:
                state, problem = "hung", f"the driver is slow: the latest reading is {late:.0f} s old"
                since = time.time() - late
            if state == "ok":
                values.update(reading.values)
                problem = reading.problem
                if reading.processes is not None:
                    processes += reading.processes
            else:
                values.update(dict.fromkeys(reading.values))
        parent = None if self.parent is None else self.parent.uuid
        about = (self.name, self.index, self.pci, parent, state, problem, since, self.last)
        if about != self._about:
            self._about = about
            name, index, pci, parent, state, problem, since, last = about
            self._said = {
                keys["name"]: name, keys["vendor"]: "nvidia", keys["index"]: index, keys["pci"]: pci,
                keys["parent"]: parent, keys["state"]: state, keys["problem"]: clean(problem),
                keys["lost_since_s"]: since, keys["last"]: last,
            }  # fmt: skip
        values.update(self._said)

    # -- readings (worker thread) --------------------------------------------------------------------------

    def attach(self, lib: Library, handle: int | None) -> None:
        """A new handle: everything is tried again, also what was not supported."""
        self.handle = ctypes.c_void_p(handle)
        keys = self.keys
        specs = FAST if self.parent is None else ()
        self._lib = lib
        self._readings = Readings(lib, self.handle, specs, keys)
        self._caller: Readings | Processes = self._readings
        self._processes = Processes(lib, self.handle, self.uuid)
        self._memory = [
            (call, version, layout.unpack_from)
            for name, version, layout in _MEMORY
            if (call := lib.function(name)) is not None
        ]
        self._memory_buffer = ctypes.create_string_buffer(64)
        call = lib.function("nvmlDeviceGetFieldValues") if self.parent is None else None
        self._fields = None if call is None else Fields(call, self.handle, FIELDS)
        self._energy = lib.function("nvmlDeviceGetTotalEnergyConsumption") if self.parent is None else None
        self._gpm: Gpm | None = None
        self._gpm_asked = False
        self.attached = True

    @property
    def calling(self) -> str:
        """What is being called: the function that hangs, if one does."""
        slow = self.calling_health
        return slow.calling if slow is not None else self._calling or self._caller.calling

    _calling = ""

    def read(self, now: float) -> None:
        """Read everything of the tick and publish it. Never raises on what the library answers."""
        values: dict[str, Value] = {}
        trouble = self.trouble = Trouble()
        self.calling_health = None
        total = self._read_memory(values, trouble)
        processes: list[GpuProcess] | None = None
        self._calling, self._caller = "", self._readings
        if not trouble.code and self._readings.read(values, trouble):
            for step in (self._read_fields, self._read_activity):
                if not trouble.code:
                    step(values, trouble)
        if not trouble.code:
            apart = [(c.gpu_instance or 0, c.compute_instance or 0) for c in self.children]
            self._calling, self._caller = "", self._processes
            processes = self._processes.read(time.time_ns() // 1000, total, trouble, apart)
            values[self.keys["processes"]] = None if processes is None else len(processes)
        self._calling = ""
        if trouble.left:
            return
        self._judge(trouble, values)
        problem = trouble.line()
        if self.state != "ok":
            values = dict.fromkeys(values if self.reading is None else self.reading.values)
            processes = None
        self.reading = Reading(now, values, processes, problem)

    def _judge(self, trouble: Trouble, values: Mapping[str, Value]) -> None:
        """A device of which nothing essential can be read is not healthy, though a constant may still be."""
        vital = any(values.get(self.keys[name]) is not None for name in VITAL)
        if trouble.code:
            self.fall(GONE[trouble.code], trouble.line() or "")
        elif not vital and any(name in trouble.failed for name in VITAL):
            self.fall("error", trouble.line() or "")
        elif self.state != "ok":
            self.rise()

    def _read_memory(self, values: dict[str, Value], trouble: Trouble) -> int | None:
        """Used, total, reserved. Version 2 does not count what the driver reserves as used."""
        keys = self.keys
        used_key, total_key = keys["mem_used_bytes"], keys["mem_total_bytes"]
        self._calling = "nvmlDeviceGetMemoryInfo"
        while self._memory:
            call, version, unpack = self._memory[0]
            if version is not None:
                _WORD.pack_into(self._memory_buffer, 0, version)
            code = call(self.handle, self._memory_buffer)
            if code in NEVER:
                self._memory.pop(0)
                continue
            values[used_key] = values[total_key] = None
            if version is not None:
                values[keys["mem_reserved_bytes"]] = None
            if code != OK:
                trouble.note("mem_used_bytes", "nvmlDeviceGetMemoryInfo", code)
                return None
            found = unpack(self._memory_buffer)
            if version is not None:
                _, total, reserved, _, used = found
                values[keys["mem_reserved_bytes"]] = reserved if reserved <= total else None
            else:
                total, _, used = found
            if not 0 < total <= COUNT:
                trouble.nonsense["mem_total_bytes"] = total
                return None
            values[total_key] = total
            if used > total:
                trouble.nonsense["mem_used_bytes"] = used
            else:
                values[used_key] = used
            return int(total)
        return None

    def _read_fields(self, values: dict[str, Value], trouble: Trouble) -> None:
        keys = self.keys
        if self._fields is not None:
            self._calling = "nvmlDeviceGetFieldValues"
            found: dict[str, int | float] = {}
            code = self._fields.read(found)
            if code in NEVER:
                self._fields = None
            else:
                if len(found) < len(self._fields.keys):
                    values.update((keys[name], None) for name in self._fields.keys)
                if code != OK:
                    trouble.note("field values", "nvmlDeviceGetFieldValues", code)
                    return
                for name, code in self._fields.failed.items():
                    if trouble.note(name, "nvmlDeviceGetFieldValues", code):
                        return
                for name, number in found.items():
                    plain = number.__class__ is int and name not in _MEANT and 0 <= number <= COUNT
                    values[keys[name]] = number if plain else self._field(name, number, trouble)
        if self._energy is not None and keys["energy_mj"] not in values:
            self._calling = "nvmlDeviceGetTotalEnergyConsumption"
            energy = ctypes.c_ulonglong()
            code = self._energy(self.handle, ctypes.byref(energy))
            if code in NEVER:
                self._energy = None
                return
            values[keys["energy_mj"]] = energy.value if code == OK and energy.value <= COUNT else None
            if code != OK:
                trouble.note("energy_mj", self._calling, code)

    @staticmethod
    def _field(name: str, number: int | float, trouble: Trouble) -> Value:
        if not isinstance(number, int) or number < 0:
            trouble.nonsense[name] = number
            return None
        if name == "recovery_action":
            return named(RECOVERY, number)
        if number > (CELSIUS if name == "mem_temp_c" else COUNT):
            trouble.nonsense[name] = number
            return None
        return number * 1024 if name in _KIB else number

    # -- activity ------------------------------------------------------------------------------------------

    def _read_activity(self, values: dict[str, Value], trouble: Trouble) -> None:
        if self._gpm is None:
            if not self._gpm_asked:
                self._gpm_asked = True
                self._gpm = self._start_gpm()
            if self._gpm is None:
                return
        keys = self.keys
        found: dict[str, int | float] = {}
        self._calling = "nvmlGpmSampleGet"
        code = self._gpm.read(found)
        if code in NEVER:
            self._gpm.free()
            self._gpm = None
            return
        if len(found) < len(ACTIVITY):
            values.update((keys[name], None) for name, _ in ACTIVITY)
        if code != OK:
            trouble.note("activity", "nvmlGpmMetricsGet", code)
            return
        for name, share in found.items():
            if 0 <= share <= 100.5:
                values[keys[name]] = share if share <= 100.0 else 100.0
            else:
                values[keys[name]] = None
                trouble.nonsense[name] = share

    def _start_gpm(self) -> Gpm | None:
        """None where the device (Hopper and later have it), the driver or the library has none."""
        lib, owner = self._lib, self.parent or self
        self._calling = "nvmlGpmQueryDeviceSupport"
        code, found = read_versioned(lib, ("nvmlGpmQueryDeviceSupport",), 1, "<II", owner.handle)
        if code != OK or not found[1]:
            self._gpm_asked = code in (OK, NO_PERMISSION) or code in NEVER
            return None
        handle, instance = owner.handle, self.gpu_instance
        if self.parent is None:
            take = lib.function("nvmlGpmSampleGet")
            one = None if take is None else lambda sample: take(handle, sample)
        else:
            mig = lib.function("nvmlGpmMigSampleGet")
            one = None if mig is None or instance is None else lambda sample: mig(handle, instance, sample)
        if one is None:
            return None
        try:
            return Gpm(lib, one, ACTIVITY)
        except NvmlError:
            return None

    @property
    def has_gpm(self) -> bool:
        return self._gpm is not None

    def release(self) -> None:
        """Give back what the library holds for it; before it is shut down."""
        if self.attached and self._gpm is not None:
            self._gpm.free()
            self._gpm = None
        self.attached = False
        self.handle.value = None


def clean(text: str | None) -> str | None:
    """What a driver says, as one printable line."""
    return None if text is None else printable(text.encode("utf-8", "replace"), 200)
