"""Our own binding of NVML against pynvml, the maintained one: numbers and layouts must be the same."""

from __future__ import annotations

import ctypes
import struct

import pynvml
import pytest

from dctop.probes import gpu_words, nvml, nvml_device, nvml_events, nvml_health, nvml_processes
from dctop.probes.nvml_readings import Spec


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nvml.OK, "SUCCESS"), (nvml.UNINITIALIZED, "ERROR_UNINITIALIZED"),
        (nvml.INVALID_ARGUMENT, "ERROR_INVALID_ARGUMENT"), (nvml.NOT_SUPPORTED, "ERROR_NOT_SUPPORTED"),
        (nvml.NO_PERMISSION, "ERROR_NO_PERMISSION"), (nvml.NOT_FOUND, "ERROR_NOT_FOUND"),
        (nvml.INSUFFICIENT_SIZE, "ERROR_INSUFFICIENT_SIZE"), (nvml.TIMEOUT, "ERROR_TIMEOUT"),
        (nvml.DRIVER_NOT_LOADED, "ERROR_DRIVER_NOT_LOADED"), (nvml.IS_LOST, "ERROR_GPU_IS_LOST"),
        (nvml.LIBRARY_NOT_FOUND, "ERROR_LIBRARY_NOT_FOUND"), (nvml.MISMATCH, "ERROR_LIB_RM_VERSION_MISMATCH"),
        (nvml.FUNCTION_NOT_FOUND, "ERROR_FUNCTION_NOT_FOUND"), (nvml.RESET_REQUIRED, "ERROR_RESET_REQUIRED"),
        (nvml.VERSION_UNKNOWN, "ERROR_ARGUMENT_VERSION_MISMATCH"),
        (nvml.GPM_METRICS_MAX, "GPM_METRIC_MAX"), (nvml.GPM_METRICS_VERSION, "GPM_METRICS_GET_VERSION"),
        (nvml_health.LINKS, "NVLINK_MAX_LINKS"), (2, "MEMORY_LOCATION_DRAM"), (7, "MEMORY_LOCATION_SRAM"),
        (1, "CLOCK_SM"), (2, "CLOCK_MEM"), (0, "TEMPERATURE_GPU"), (0, "TEMPERATURE_THRESHOLD_SHUTDOWN"),
        (1, "TEMPERATURE_THRESHOLD_SLOWDOWN"), (2, "TEMPERATURE_THRESHOLD_MEM_MAX"),
        (3, "TEMPERATURE_THRESHOLD_GPU_MAX"), (1, "MEMORY_ERROR_TYPE_UNCORRECTED"), (0, "VOLATILE_ECC"),
        (1, "AGGREGATE_ECC"), (0, "NVLINK_ERROR_DL_REPLAY"), (1, "NVLINK_ERROR_DL_RECOVERY"),
        (2, "NVLINK_ERROR_DL_CRC_FLIT"),
    ],
)  # fmt: skip
def test_numbers(ours: int, theirs: str) -> None:
    assert ours == getattr(pynvml, f"NVML_{theirs}")


@pytest.mark.parametrize(
    ("layout", "theirs"),
    [
        (nvml.FIELD, pynvml.c_nvmlFieldValue_t),
        (nvml_events._DATA, pynvml.c_nvmlEventData_t),
        (nvml_processes._V2, pynvml.c_nvmlProcessInfo_v2_t),
        (nvml_processes._SAMPLE, pynvml.c_nvmlProcessUtilizationSample_t),
        (nvml_device._MEMORY[0][2], pynvml.c_nvmlMemory_v2_t),
        (nvml_device._MEMORY[1][2], pynvml.c_nvmlMemory_t),
        (struct.Struct("<IIQQ" + nvml._GPM_METRIC * nvml.GPM_METRICS_MAX), pynvml.c_nvmlGpmMetricsGet_t),
        (struct.Struct("<II"), pynvml.c_nvmlGpmSupport_t),
        (struct.Struct("<20xiIII"), pynvml.c_nvmlGpuFabricInfo_v2_t),
        (struct.Struct("<16xiII"), pynvml.c_nvmlGpuFabricInfo_t),
        (struct.Struct("<4xi"), pynvml.c_nvmlMarginTemperature_v1_t),
        (struct.Struct("<II"), pynvml.c_nvmlUtilization_t),
        (struct.Struct("<Q8xQ"), pynvml.c_nvmlBAR1Memory_t),
        (struct.Struct("<8xIII"), pynvml.c_nvmlRowRemapperHistogramValues),
    ],
)
def test_layouts(layout: struct.Struct, theirs: type[ctypes.Structure]) -> None:
    assert layout.size == ctypes.sizeof(theirs)


def test_versions_of_structures() -> None:
    assert pynvml.nvmlMemory_v2 == nvml.MEMORY_V2
    assert pynvml.nvmlGpuFabricInfo_v2 == nvml.FABRIC_V2
    assert pynvml.nvmlMarginTemperature_v1 == nvml.MARGIN_V1
    assert pynvml.nvmlEventTypeXidCriticalError == nvml.EVENT_XID


def test_field_and_metric_numbers() -> None:
    theirs = {
        "energy_mj": "TOTAL_ENERGY_CONSUMPTION", "mem_temp_c": "MEMORY_TEMP",
        "pcie_tx_bytes": "PCIE_COUNT_TX_BYTES", "pcie_rx_bytes": "PCIE_COUNT_RX_BYTES",
        "nvlink_tx_bytes": "NVLINK_THROUGHPUT_DATA_TX", "nvlink_rx_bytes": "NVLINK_THROUGHPUT_DATA_RX",
        "throttle_power_ns": "CLOCKS_EVENT_REASON_SW_POWER_CAP",
        "throttle_thermal_ns": "CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN",
        "throttle_hw_thermal_ns": "CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN",
        "throttle_hw_power_ns": "CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN",
        "recovery_action": "GET_GPU_RECOVERY_ACTION",
    }  # fmt: skip
    for field in nvml_device.FIELDS:
        assert field.id == getattr(pynvml, f"NVML_FI_DEV_{theirs[field.key]}")
    metrics = (
        "SM_UTIL",
        "SM_OCCUPANCY",
        "ANY_TENSOR_UTIL",
        "DRAM_BW_UTIL",
        "FP64_UTIL",
        "FP32_UTIL",
        "FP16_UTIL",
    )
    for (_, number), name in zip(nvml_device.ACTIVITY, metrics, strict=True):
        assert number == getattr(pynvml, f"NVML_GPM_METRIC_{name}")


def test_bits_of_clock_reasons_and_words_of_numbers() -> None:
    names = (
        "GpuIdle", "ApplicationsClocksSetting", "SwPowerCap", "HwSlowdown", "SyncBoost", "SwThermalSlowdown",
        "HwThermalSlowdown", "HwPowerBrakeSlowdown", "DisplayClockSetting",
    )  # fmt: skip
    for reason, name in zip(gpu_words.THROTTLE, names, strict=True):
        assert reason.bit == getattr(pynvml, f"nvmlClocksEventReason{name}")
    actions = ("NONE", "GPU_RESET", "NODE_REBOOT", "DRAIN_P2P", "DRAIN_AND_RESET")
    assert [getattr(pynvml, f"NVML_GPU_RECOVERY_ACTION_{a}") for a in actions] == [0, 1, 2, 3, 4]
    modes = ("DEFAULT", "EXCLUSIVE_THREAD", "PROHIBITED", "EXCLUSIVE_PROCESS")
    assert [getattr(pynvml, f"NVML_COMPUTEMODE_{m}") for m in modes] == [0, 1, 2, 3]
    assert set(gpu_words.FABRIC) == {
        pynvml.NVML_GPU_FABRIC_STATE_NOT_STARTED, pynvml.NVML_GPU_FABRIC_STATE_IN_PROGRESS,
        pynvml.NVML_GPU_FABRIC_STATE_COMPLETED,
    }  # fmt: skip


def test_every_function_asked_for_is_one_that_pynvml_knows() -> None:
    specs: tuple[Spec, ...] = (*nvml_device.FAST, *nvml_health.SLOW, *nvml_health.BUILT_IN)
    source = pynvml.__file__ or ""
    with open(source, encoding="utf-8") as f:
        text = f.read()
    for spec in specs:
        for name in spec.functions:
            assert name in text, name
