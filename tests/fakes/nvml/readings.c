/* Levels and counters of one device that a single call gives. */

#define _GNU_SOURCE
#include "nvml.h"

#include <stdio.h>
#include <string.h>

static int one(const char *function, handle d, const char *key, unsigned *out) {
    struct call c;
    int code = d && out ? enter(function, d, &c) : INVALID_ARGUMENT;
    return code ? code : leave(number(&c, key, out));
}
#define ONE(name, key) API int name(handle d, unsigned *out) { return one(#name, d, key, out); }

ONE(nvmlDeviceGetPowerUsage, "power")
ONE(nvmlDeviceGetEnforcedPowerLimit, "power_limit")
ONE(nvmlDeviceGetPowerManagementLimit, "power_limit")
ONE(nvmlDeviceGetPowerManagementDefaultLimit, "power_default")
ONE(nvmlDeviceGetPowerManagementMode, "power_management")
ONE(nvmlDeviceGetFanSpeed, "fan")
ONE(nvmlDeviceGetNumFans, "fans")
ONE(nvmlDeviceGetPerformanceState, "pstate")
ONE(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_gen")
ONE(nvmlDeviceGetMaxPcieLinkGeneration, "pcie_gen_max")
ONE(nvmlDeviceGetGpuMaxPcieLinkGeneration, "pcie_gen_max")
ONE(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width")
ONE(nvmlDeviceGetMaxPcieLinkWidth, "pcie_width_max")
ONE(nvmlDeviceGetPcieReplayCounter, "pcie_replays")
ONE(nvmlDeviceGetPersistenceMode, "persistence")
ONE(nvmlDeviceGetComputeMode, "compute_mode")
ONE(nvmlDeviceGetDisplayMode, "display_mode")
ONE(nvmlDeviceGetDisplayActive, "display_active")
ONE(nvmlDeviceGetRetiredPagesPendingStatus, "retired_pending")
ONE(nvmlDeviceGetMinorNumber, "minor")
ONE(nvmlDeviceGetBrand, "brand")
ONE(nvmlDeviceGetNumGpuCores, "cores")
ONE(nvmlDeviceGetMemoryBusWidth, "mem_bus_width")
ONE(nvmlDeviceGetArchitecture, "architecture")

static int one64(const char *function, handle d, const char *key, u64 *out) {
    struct call c;
    int code = d && out ? enter(function, d, &c) : INVALID_ARGUMENT;
    return code ? code : leave(number64(&c, key, out));
}
#define ONE64(name, key) API int name(handle d, u64 *out) { return one64(#name, d, key, out); }

ONE64(nvmlDeviceGetTotalEnergyConsumption, "energy")
ONE64(nvmlDeviceGetCurrentClocksEventReasons, "throttle")
ONE64(nvmlDeviceGetCurrentClocksThrottleReasons, "throttle")
ONE64(nvmlDeviceGetSupportedClocksEventReasons, "throttle_supported")
ONE64(nvmlDeviceGetSupportedClocksThrottleReasons, "throttle_supported")
ONE64(nvmlDeviceGetSupportedEventTypes, "events")

/* Two numbers of one call; the second may be missing. */
static int two(const char *function, handle d, const char *a, const char *b, unsigned *x, unsigned *y) {
    struct call c;
    int code = d && x && y ? enter(function, d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    code = number(&c, a, x);
    if (!code && number(&c, b, y))
        *y = *x;
    return leave(code);
}

API int nvmlDeviceGetEccMode(handle d, unsigned *x, unsigned *y) { return two("nvmlDeviceGetEccMode", d, "ecc", "ecc_pending", x, y); }
API int nvmlDeviceGetPowerManagementLimitConstraints(handle d, unsigned *x, unsigned *y) { return two("nvmlDeviceGetPowerManagementLimitConstraints", d, "power_min", "power_max", x, y); }
API int nvmlDeviceGetEncoderUtilization(handle d, unsigned *x, unsigned *y) { return two("nvmlDeviceGetEncoderUtilization", d, "encoder", "encoder_period", x, y); }
API int nvmlDeviceGetDecoderUtilization(handle d, unsigned *x, unsigned *y) { return two("nvmlDeviceGetDecoderUtilization", d, "decoder", "decoder_period", x, y); }

API int nvmlDeviceGetUtilizationRates(handle d, struct utilization *out) {
    struct call c;
    int code = d && out ? enter("nvmlDeviceGetUtilizationRates", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    code = number(&c, "util", &out->gpu);
    if (!code && number(&c, "mem_util", &out->memory))
        out->memory = 0;
    return leave(code);
}

/* -- memory ------------------------------------------------------------------------------------------------- */

static int memory(const struct call *c, struct memory_v2 *out) {
    int code = number64(c, "mem_total", &out->total);
    if (!code)
        code = number64(c, "mem_used", &out->used);
    if (number64(c, "mem_reserved", &out->reserved))
        out->reserved = 0;
    out->free = out->total - out->used - out->reserved;
    return code;
}

API int nvmlDeviceGetMemoryInfo(handle d, struct memory *out) {
    struct call c;
    struct memory_v2 m = {0};
    int code = d && out ? enter("nvmlDeviceGetMemoryInfo", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    code = memory(&c, &m);
    *out = (struct memory){m.total, m.free, m.used + m.reserved};
    return leave(code);
}

API int nvmlDeviceGetMemoryInfo_v2(handle d, struct memory_v2 *out) {
    struct call c;
    int code = d && out ? enter("nvmlDeviceGetMemoryInfo_v2", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    if (out->version != (sizeof *out | 2u << 24))
        return leave(25); /* argument version mismatch */
    return leave(memory(&c, out));
}

API int nvmlDeviceGetBAR1MemoryInfo(handle d, struct bar1 *out) {
    struct call c;
    int code = d && out ? enter("nvmlDeviceGetBAR1MemoryInfo", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    code = number64(&c, "bar1_total", &out->total);
    if (!code)
        code = number64(&c, "bar1_used", &out->used);
    out->free = out->total - out->used;
    return leave(code);
}

/* -- temperatures, clocks, fans -------------------------------------------------------------------------------- */

API int nvmlDeviceGetTemperature(handle d, unsigned sensor, unsigned *out) {
    return sensor ? INVALID_ARGUMENT : one("nvmlDeviceGetTemperature", d, "temp", out);
}

API int nvmlDeviceGetTemperatureV(handle d, struct temperature *out) {
    unsigned n;
    int code = one("nvmlDeviceGetTemperatureV", d, "temp", &n);
    if (!code)
        out->degrees = (int)n;
    return code;
}

static const char *of(const char *const *keys, unsigned n, unsigned i) { return i < n ? keys[i] : "?"; }

API int nvmlDeviceGetTemperatureThreshold(handle d, unsigned kind, unsigned *out) {
    static const char *const keys[] = {"temp_shutdown", "temp_slowdown", "temp_mem_max", "temp_gpu_max"};
    return one("nvmlDeviceGetTemperatureThreshold", d, of(keys, 4, kind), out);
}

API int nvmlDeviceGetMarginTemperature(handle d, struct margin *out) {
    unsigned n;
    int code = one("nvmlDeviceGetMarginTemperature", d, "temp_margin", &n);
    if (!code)
        out->degrees = (int)n;
    return code;
}

API int nvmlDeviceGetClockInfo(handle d, unsigned kind, unsigned *out) {
    static const char *const keys[] = {"clock_graphics", "clock_sm", "clock_mem", "clock_video"};
    return one("nvmlDeviceGetClockInfo", d, of(keys, 4, kind), out);
}

API int nvmlDeviceGetMaxClockInfo(handle d, unsigned kind, unsigned *out) {
    static const char *const keys[] = {"clock_max_graphics", "clock_max_sm", "clock_max_mem", "clock_max_video"};
    return one("nvmlDeviceGetMaxClockInfo", d, of(keys, 4, kind), out);
}

API int nvmlDeviceGetApplicationsClock(handle d, unsigned kind, unsigned *out) {
    static const char *const keys[] = {"clock_app_graphics", "clock_app_sm", "clock_app_mem", "clock_app_video"};
    return one("nvmlDeviceGetApplicationsClock", d, of(keys, 4, kind), out);
}

API int nvmlDeviceGetFanSpeed_v2(handle d, unsigned fan, unsigned *out) {
    (void)fan;
    return one("nvmlDeviceGetFanSpeed_v2", d, "fan", out);
}

API int nvmlDeviceGetPcieThroughput(handle d, unsigned counter, unsigned *out) {
    nap_ms(20); /* as the real one: it counts for so long */
    return one("nvmlDeviceGetPcieThroughput", d, counter ? "pcie_rx_kb" : "pcie_tx_kb", out);
}

API int nvmlDeviceGetViolationStatus(handle d, unsigned policy, struct violation *out) {
    char key[32];
    snprintf(key, sizeof key, "violation.%u", policy);
    out->reference = (u64)(now_ns() / 1000);
    return one64("nvmlDeviceGetViolationStatus", d, key, &out->time);
}

/* -- errors of memory ------------------------------------------------------------------------------------------ */

API int nvmlDeviceGetTotalEccErrors(handle d, unsigned type, unsigned counter, u64 *out) {
    char key[40];
    snprintf(key, sizeof key, "ecc_%scorrected_%s", type ? "un" : "", counter ? "aggregate" : "volatile");
    return one64("nvmlDeviceGetTotalEccErrors", d, key, out);
}

API int nvmlDeviceGetMemoryErrorCounter(handle d, unsigned type, unsigned counter, unsigned place, u64 *out) {
    char key[40];
    snprintf(key, sizeof key, "ecc.%u.%u.%u", type, counter, place);
    return one64("nvmlDeviceGetMemoryErrorCounter", d, key, out);
}

API int nvmlDeviceGetDetailedEccErrors(handle d, unsigned type, unsigned counter, struct ecc_counts *out) {
    memset(out, 0, sizeof *out);
    return nvmlDeviceGetMemoryErrorCounter(d, type, counter, 2, &out->memory);
}

API int nvmlDeviceGetRemappedRows(handle d, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    struct call c;
    int code = d ? enter("nvmlDeviceGetRemappedRows", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    code = number(&c, "remap_corrected", corrected);
    if (!code)
        code = number(&c, "remap_uncorrected", uncorrected);
    if (!code)
        code = number(&c, "remap_pending", pending);
    if (!code)
        code = number(&c, "remap_failed", failed);
    return leave(code);
}

API int nvmlDeviceGetRowRemapperHistogram(handle d, struct histogram *out) {
    struct call c;
    int code = d ? enter("nvmlDeviceGetRowRemapperHistogram", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    const char *said = state_text(c.s, c.g, "remap_histogram");
    if (!said)
        return leave(NOT_SUPPORTED);
    int n = sscanf(said, "%u,%u,%u,%u,%u", &out->max, &out->high, &out->partial, &out->low, &out->none);
    return leave(n == 5 ? OK : UNKNOWN);
}

API int nvmlDeviceGetRetiredPages(handle d, unsigned cause, unsigned *count, u64 *pages) {
    unsigned n, room = *count;
    int code = one("nvmlDeviceGetRetiredPages", d, cause ? "retired_dbe" : "retired_sbe", &n);
    if (code)
        return code;
    *count = n;
    if (n > room || (n && !pages))
        return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < n; i++)
        pages[i] = 0x1000ULL * i;
    return OK;
}

/* -- links ----------------------------------------------------------------------------------------------------- */

API int nvmlDeviceGetNvLinkState(handle d, unsigned link, unsigned *out) {
    char key[32];
    snprintf(key, sizeof key, "nvlink.%u", link);
    int code = one("nvmlDeviceGetNvLinkState", d, key, out);
    return code == NOT_SUPPORTED ? INVALID_ARGUMENT : code; /* as the real one for a link that is not there */
}

API int nvmlDeviceGetNvLinkErrorCounter(handle d, unsigned link, unsigned counter, u64 *out) {
    char key[40];
    snprintf(key, sizeof key, "nvlink.%u.error.%u", link, counter);
    return one64("nvmlDeviceGetNvLinkErrorCounter", d, key, out);
}

static int fabric(const char *function, handle d, struct fabric *out) {
    memset(out, 0, sizeof *out);
    return one(function, d, "fabric", &out->state);
}

API int nvmlDeviceGetGpuFabricInfo(handle d, struct fabric *out) { return fabric("nvmlDeviceGetGpuFabricInfo", d, out); }

API int nvmlDeviceGetGpuFabricInfoV(handle d, struct fabric_v2 *out) {
    struct fabric f;
    int code = fabric("nvmlDeviceGetGpuFabricInfoV", d, &f);
    out->state = f.state;
    out->status = 0;
    out->clique = 0;
    return code;
}

/* -- what exists on another system only, or is refused without a key ---------------------------------------------- */

API int nvmlDeviceGetDriverModel(handle d, unsigned *now, unsigned *pending) { (void)pending; return one("nvmlDeviceGetDriverModel", d, "driver_model", now); }
API int nvmlDeviceGetDriverModel_v2(handle d, unsigned *now, unsigned *pending) { (void)pending; return one("nvmlDeviceGetDriverModel_v2", d, "driver_model", now); }
ONE(nvmlDeviceGetMultiGpuBoard, "multi_gpu")
ONE(nvmlDeviceGetBoardId, "board")
ONE(nvmlDeviceGetInforomConfigurationChecksum, "inforom_checksum")
