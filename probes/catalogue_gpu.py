"""What is read of GPUs, whoever made them. Joined into the catalogue by `catalogue.py`.

Two probes read them on one lane: `gpu` every tick, `gpuhealth` at its own slower pace what changes rarely or
costs the driver more. `gpu=` is the device's UUID, for a MIG device its own; makers without UUIDs give
`amd-0000:03:00.0`, `intel-0000:03:00.0`. A maker fills in what it can read: what it never can is left out,
what could not be read now is None. The words of states and bits stand in `gpu_words.py`.
"""

from __future__ import annotations

from dctop.probes.metric import Metric
from dctop.probes.metric import metric as _m

# fmt: off
_FV = "nvmlDeviceGetFieldValues"
_GPM = "GPM (nvmlGpmMetricsGet; Hopper and later)"
_ECC = "nvmlDeviceGetTotalEccErrors"
_RR = "nvmlDeviceGetRemappedRows"

GPU: tuple[Metric, ...] = (
    _m("gpu.status", "info", "", "", "ok, or why there is no GPU to show: no library | no driver | version mismatch | no device | no permission | hung | error", "NVML"),
    _m("gpu.detail", "info", "", "", "One line behind gpu.status: what was tried and what to do", "NVML"),
    _m("gpu.count", "gauge", "GPUs", "", "GPUs the drivers report (MIG devices not counted)", "NVML, /sys/class/drm"),
    _m("gpu.driver", "info", "", "", "Version of the NVIDIA driver", "nvmlSystemGetDriverVersion"),
    _m("gpu.cuda_version", "info", "", "", "Newest CUDA the NVIDIA driver supports", "nvmlSystemGetCudaDriverVersion"),
    _m("gpu.pid_space", "info", "", "", "own: pids of GPU processes are those of /proc here; host: they are the host's, seen from inside a container", "/proc/self/ns/pid"),
    # identity and state
    _m("gpu.name", "info", "", "gpu", "Product name", "nvmlDeviceGetName"),
    _m("gpu.vendor", "info", "", "gpu", "nvidia | amd | intel", "the probe"),
    _m("gpu.index", "gauge", "", "gpu", "Index in the driver's order, a MIG device's within its GPU (may shift; the UUID does not)", "NVML"),
    _m("gpu.parent", "info", "", "gpu", "UUID of the GPU a MIG device is a part of; None for a whole GPU", "nvmlDeviceGetDeviceHandleFromMigDeviceHandle"),
    _m("gpu.pci", "info", "", "gpu", "PCI address, as in the kernel log (0000:3b:00.0)", "nvmlDeviceGetPciInfo"),
    _m("gpu.state", "info", "", "gpu", "ok | lost (off the bus, or no more reported) | hung (a call does not come back) | reset (needs one) | error", "NVML return codes"),
    _m("gpu.problem", "info", "", "gpu", "One line: what could not be read, or happened to it; None where all is well", "NVML return codes"),
    _m("gpu.lost_since_s", "gauge", "s", "gpu", "Unix time since when gpu.state is not ok", "clock"),
    _m("gpu.last", "info", "", "gpu", "While gpu.state is not ok: the latest values before (read it with gpu_words.last_values)", "the probe"),
    # activity
    _m("gpu.util_pct", "gauge", "%", "gpu", "Share of time in which at least one kernel ran: 100 % may be one busy SM", "nvmlDeviceGetUtilizationRates"),
    _m("gpu.mem_util_pct", "gauge", "%", "gpu", "Share of time in which memory was read or written", "nvmlDeviceGetUtilizationRates"),
    _m("gpu.encoder_util_pct", "gauge", "%", "gpu", "Utilisation of the video encoder", "nvmlDeviceGetEncoderUtilization"),
    _m("gpu.decoder_util_pct", "gauge", "%", "gpu", "Utilisation of the video decoder", "nvmlDeviceGetDecoderUtilization"),
    _m("gpu.sm_active_pct", "gauge", "%", "gpu", "Share of SMs that were busy", _GPM),
    _m("gpu.sm_occupancy_pct", "gauge", "%", "gpu", "Warps resident on the SMs, of the most there can be", _GPM),
    _m("gpu.tensor_active_pct", "gauge", "%", "gpu", "Share of time the tensor cores worked", _GPM),
    _m("gpu.dram_active_pct", "gauge", "%", "gpu", "Memory bandwidth used, of the most there can be", _GPM),
    _m("gpu.fp64_active_pct", "gauge", "%", "gpu", "Share of time in FP64 arithmetic (tensor cores not counted)", _GPM),
    _m("gpu.fp32_active_pct", "gauge", "%", "gpu", "Share of time in FP32 arithmetic (tensor cores not counted)", _GPM),
    _m("gpu.fp16_active_pct", "gauge", "%", "gpu", "Share of time in FP16 arithmetic (tensor cores not counted)", _GPM),
    # memory
    _m("gpu.mem_used_bytes", "gauge", "bytes", "gpu", "Memory in use, reserved by the driver not counted", "nvmlDeviceGetMemoryInfo"),
    _m("gpu.mem_total_bytes", "gauge", "bytes", "gpu", "Memory of the device", "nvmlDeviceGetMemoryInfo"),
    _m("gpu.mem_reserved_bytes", "gauge", "bytes", "gpu", "Memory the driver keeps for itself", "nvmlDeviceGetMemoryInfo_v2"),
    # power, temperature, clocks
    _m("gpu.power_w", "gauge", "W", "gpu", "Power draw", "nvmlDeviceGetPowerUsage"),
    _m("gpu.power_limit_w", "gauge", "W", "gpu", "Power limit in force", "nvmlDeviceGetEnforcedPowerLimit"),
    _m("gpu.energy_mj", "counter", "mJ", "gpu", "Energy used since the driver was loaded", f"{_FV} 83, nvmlDeviceGetTotalEnergyConsumption", "gpu.energy_w", 1e-3),
    _m("gpu.temp_c", "gauge", "°C", "gpu", "GPU temperature", "nvmlDeviceGetTemperature"),
    _m("gpu.mem_temp_c", "gauge", "°C", "gpu", "Memory temperature", f"{_FV} 82"),
    _m("gpu.fan_pct", "gauge", "%", "gpu", "Fan speed asked for, of the maximum", "nvmlDeviceGetFanSpeed"),
    _m("gpu.sm_clock_mhz", "gauge", "MHz", "gpu", "SM clock", "nvmlDeviceGetClockInfo"),
    _m("gpu.mem_clock_mhz", "gauge", "MHz", "gpu", "Memory clock", "nvmlDeviceGetClockInfo"),
    _m("gpu.pstate", "gauge", "", "gpu", "Performance state: 0 highest, 15 lowest", "nvmlDeviceGetPerformanceState"),
    # throttling
    _m("gpu.throttle_mask", "gauge", "bits", "gpu", "Why the clocks are not at their highest now (bits of gpu_words.THROTTLE)", "nvmlDeviceGetCurrentClocksEventReasons"),
    _m("gpu.throttle_power_ns", "counter", "ns", "gpu", "Time held back by the power limit", f"{_FV} 74", "gpu.throttle_power_pct", 1e-7),
    _m("gpu.throttle_thermal_ns", "counter", "ns", "gpu", "Time held back by the driver for heat", f"{_FV} 269", "gpu.throttle_thermal_pct", 1e-7),
    _m("gpu.throttle_hw_thermal_ns", "counter", "ns", "gpu", "Time held back by the hardware for heat", f"{_FV} 270", "gpu.throttle_hw_thermal_pct", 1e-7),
    _m("gpu.throttle_hw_power_ns", "counter", "ns", "gpu", "Time held back by the hardware's power brake", f"{_FV} 271", "gpu.throttle_hw_power_pct", 1e-7),
    # traffic
    _m("gpu.pcie_tx_bytes", "counter", "bytes", "gpu", "Bytes sent over PCIe", f"{_FV} 197", "gpu.pcie_tx_bytes_per_s"),
    _m("gpu.pcie_rx_bytes", "counter", "bytes", "gpu", "Bytes received over PCIe", f"{_FV} 198", "gpu.pcie_rx_bytes_per_s"),
    _m("gpu.nvlink_tx_bytes", "counter", "bytes", "gpu", "Data sent over all NVLinks", f"{_FV} 138", "gpu.nvlink_tx_bytes_per_s"),
    _m("gpu.nvlink_rx_bytes", "counter", "bytes", "gpu", "Data received over all NVLinks", f"{_FV} 139", "gpu.nvlink_rx_bytes_per_s"),
    # what must be seen at once
    _m("gpu.ecc_corrected", "counter", "errors", "gpu", "ECC errors corrected since the driver was loaded", f"{_ECC}, volatile", "gpu.ecc_corrected_per_s"),
    _m("gpu.ecc_uncorrected", "counter", "errors", "gpu", "ECC errors not corrected since the driver was loaded", f"{_ECC}, volatile", "gpu.ecc_uncorrected_per_s"),
    _m("gpu.recovery_action", "info", "", "gpu", "What the driver asks for: none | reset | reboot | drain-p2p | drain-reset | ... (gpu_words.RECOVERY)", f"{_FV} 230"),
    _m("gpu.processes", "gauge", "processes", "gpu", "Processes with a context on the device", "nvmlDeviceGetComputeRunningProcesses and its siblings"),
)

GPU_HEALTH: tuple[Metric, ...] = (
    # what it is and how it is set
    _m("gpu.capability", "info", "", "gpu", "CUDA compute capability", "nvmlDeviceGetCudaComputeCapability"),
    _m("gpu.numa_node", "gauge", "", "gpu", "NUMA node the device hangs on; None where the firmware gives none", "/sys/bus/pci/devices/*/numa_node"),
    _m("gpu.persistence", "gauge", "0|1", "gpu", "1: the driver stays loaded without clients", "nvmlDeviceGetPersistenceMode"),
    _m("gpu.compute_mode", "info", "", "gpu", "default | exclusive-process | exclusive-thread | prohibited", "nvmlDeviceGetComputeMode"),
    _m("gpu.mig_mode", "gauge", "0|1", "gpu", "1: partitioned into MIG devices", "nvmlDeviceGetMigMode"),
    _m("gpu.mig_pending", "gauge", "0|1", "gpu", "MIG mode after the next reset", "nvmlDeviceGetMigMode"),
    _m("gpu.gpu_instance", "gauge", "", "gpu", "GPU instance of a MIG device", "nvmlDeviceGetGpuInstanceId"),
    _m("gpu.compute_instance", "gauge", "", "gpu", "Compute instance of a MIG device", "nvmlDeviceGetComputeInstanceId"),
    _m("gpu.gpm", "gauge", "0|1", "gpu", "1: SM, tensor and memory activity can be read", "nvmlGpmQueryDeviceSupport"),
    _m("gpu.xid_watch", "gauge", "0|1", "gpu", "1: Xids are reported by the driver as they happen", "nvmlDeviceRegisterEvents"),
    _m("gpu.bar1_used_bytes", "gauge", "bytes", "gpu", "BAR1 (memory mapped for the bus) in use", "nvmlDeviceGetBAR1MemoryInfo"),
    _m("gpu.bar1_total_bytes", "gauge", "bytes", "gpu", "BAR1 size", "nvmlDeviceGetBAR1MemoryInfo"),
    # limits
    _m("gpu.power_default_w", "gauge", "W", "gpu", "Power limit as delivered", "nvmlDeviceGetPowerManagementDefaultLimit"),
    _m("gpu.power_min_w", "gauge", "W", "gpu", "Lowest power limit that can be set", "nvmlDeviceGetPowerManagementLimitConstraints"),
    _m("gpu.power_max_w", "gauge", "W", "gpu", "Highest power limit that can be set", "nvmlDeviceGetPowerManagementLimitConstraints"),
    _m("gpu.temp_slowdown_c", "gauge", "°C", "gpu", "Temperature at which the hardware slows down", "nvmlDeviceGetTemperatureThreshold"),
    _m("gpu.temp_shutdown_c", "gauge", "°C", "gpu", "Temperature at which it switches off", "nvmlDeviceGetTemperatureThreshold"),
    _m("gpu.temp_max_c", "gauge", "°C", "gpu", "Highest operating temperature of the GPU", "nvmlDeviceGetTemperatureThreshold"),
    _m("gpu.mem_temp_max_c", "gauge", "°C", "gpu", "Highest operating temperature of the memory", "nvmlDeviceGetTemperatureThreshold"),
    _m("gpu.temp_margin_c", "gauge", "°C", "gpu", "Degrees left before it slows down", "nvmlDeviceGetMarginTemperature"),
    _m("gpu.sm_clock_max_mhz", "gauge", "MHz", "gpu", "Highest SM clock", "nvmlDeviceGetMaxClockInfo"),
    _m("gpu.mem_clock_max_mhz", "gauge", "MHz", "gpu", "Highest memory clock", "nvmlDeviceGetMaxClockInfo"),
    _m("gpu.sm_clock_app_mhz", "gauge", "MHz", "gpu", "SM clock asked of it under load (application clock)", "nvmlDeviceGetApplicationsClock"),
    # ECC, remapped rows, retired pages
    _m("gpu.ecc_mode", "gauge", "0|1", "gpu", "1 while ECC is on", "nvmlDeviceGetEccMode"),
    _m("gpu.ecc_pending", "gauge", "0|1", "gpu", "ECC mode after the next reset", "nvmlDeviceGetEccMode"),
    _m("gpu.ecc_corrected_total", "gauge", "errors", "gpu", "ECC errors corrected in the device's life", f"{_ECC}, aggregate"),
    _m("gpu.ecc_uncorrected_total", "gauge", "errors", "gpu", "ECC errors not corrected in the device's life", f"{_ECC}, aggregate"),
    _m("gpu.ecc_dram_uncorrected", "gauge", "errors", "gpu", "Uncorrected errors of the memory since the driver was loaded", "nvmlDeviceGetMemoryErrorCounter"),
    _m("gpu.ecc_sram_uncorrected", "gauge", "errors", "gpu", "Uncorrected errors of caches and registers since the driver was loaded", "nvmlDeviceGetMemoryErrorCounter"),
    _m("gpu.remap_corrected", "gauge", "rows", "gpu", "Memory rows remapped for correctable errors", _RR),
    _m("gpu.remap_uncorrected", "gauge", "rows", "gpu", "Memory rows remapped for uncorrectable errors", _RR),
    _m("gpu.remap_pending", "gauge", "0|1", "gpu", "1: a remapping takes effect at the next reset", _RR),
    _m("gpu.remap_failed", "gauge", "0|1", "gpu", "1: a remapping failed; the device should be replaced", _RR),
    _m("gpu.remap_banks_none", "gauge", "banks", "gpu", "Memory banks with no spare rows left", "nvmlDeviceGetRowRemapperHistogram"),
    _m("gpu.remap_banks_low", "gauge", "banks", "gpu", "Memory banks with few spare rows left", "nvmlDeviceGetRowRemapperHistogram"),
    _m("gpu.remap_banks_partial", "gauge", "banks", "gpu", "Memory banks with some spare rows used", "nvmlDeviceGetRowRemapperHistogram"),
    _m("gpu.retired_sbe", "gauge", "pages", "gpu", "Pages retired for repeated correctable errors", "nvmlDeviceGetRetiredPages"),
    _m("gpu.retired_dbe", "gauge", "pages", "gpu", "Pages retired for an uncorrectable error", "nvmlDeviceGetRetiredPages"),
    _m("gpu.retired_pending", "gauge", "0|1", "gpu", "1: a retirement takes effect at the next reboot", "nvmlDeviceGetRetiredPagesPendingStatus"),
    # links
    _m("gpu.pcie_gen", "gauge", "", "gpu", "PCIe generation of the link now (idle GPUs drop to 1)", "nvmlDeviceGetCurrPcieLinkGeneration"),
    _m("gpu.pcie_gen_max", "gauge", "", "gpu", "Highest PCIe generation of device and slot", "nvmlDeviceGetMaxPcieLinkGeneration"),
    _m("gpu.pcie_width", "gauge", "lanes", "gpu", "PCIe lanes of the link now", "nvmlDeviceGetCurrPcieLinkWidth"),
    _m("gpu.pcie_width_max", "gauge", "lanes", "gpu", "Most PCIe lanes of device and slot", "nvmlDeviceGetMaxPcieLinkWidth"),
    _m("gpu.pcie_replays", "counter", "replays", "gpu", "Packets sent again over PCIe", "nvmlDeviceGetPcieReplayCounter", "gpu.pcie_replays_per_s"),
    _m("gpu.nvlinks", "gauge", "links", "gpu", "NVLinks the device has (links are numbered 0 to this less 1)", "nvmlDeviceGetNvLinkState"),
    _m("gpu.nvlinks_up", "gauge", "links", "gpu", "NVLinks that are up", "nvmlDeviceGetNvLinkState"),
    _m("gpu.nvlink.up", "gauge", "0|1", "gpu link", "1 while a link is up", "nvmlDeviceGetNvLinkState"),
    _m("gpu.nvlink.crc_errors", "counter", "errors", "gpu link", "CRC errors of a link (a few are normal)", "nvmlDeviceGetNvLinkErrorCounter", "gpu.nvlink.crc_errors_per_s"),
    _m("gpu.nvlink.replay_errors", "counter", "errors", "gpu link", "Packets of a link sent again", "nvmlDeviceGetNvLinkErrorCounter", "gpu.nvlink.replay_errors_per_s"),
    _m("gpu.nvlink.recovery_errors", "counter", "errors", "gpu link", "Times a link had to be brought up again", "nvmlDeviceGetNvLinkErrorCounter", "gpu.nvlink.recovery_errors_per_s"),
    _m("gpu.fabric_state", "info", "", "gpu", "Registration with the NVLink fabric: not started | in progress | completed", "nvmlDeviceGetGpuFabricInfo"),
)
