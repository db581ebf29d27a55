/* The library itself: beginning and end, handles, names of errors, system and identity queries, MIG. */

#define _GNU_SOURCE
#include "nvml.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HANDLES = 4096 };
static struct device handles[HANDLES];
static int used, open_count, epoch;
static pthread_mutex_t handle_lock = PTHREAD_MUTEX_INITIALIZER;

static void note(const char *function, const char *what) {
    static int fd = -1;
    static char opened[512];
    const char *path = getenv("NVML_STANDIN_LOG");
    if (!path)
        return;
    if (strcmp(path, opened)) {
        snprintf(opened, sizeof opened, "%s", path);
        if (fd >= 0)
            close(fd);
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    }
    char line[200];
    int n = snprintf(line, sizeof line, "%s %s\n", function, what);
    if (fd >= 0 && write(fd, line, (size_t)n) != n)
        fd = -1;
}

handle handle_for(const char *uuid) {
    handle found = NULL;
    pthread_mutex_lock(&handle_lock);
    for (int i = 0; i < used && !found; i++)
        if (handles[i].epoch == epoch && !strcmp(handles[i].uuid, uuid))
            found = &handles[i];
    if (!found && used < HANDLES) {
        found = &handles[used++];
        found->epoch = epoch;
        snprintf(found->uuid, sizeof found->uuid, "%s", uuid);
    }
    pthread_mutex_unlock(&handle_lock);
    return found;
}

int leave(int code) {
    state_release();
    return code;
}

int enter(const char *function, handle device, struct call *c) {
    char uuid[96] = "";
    int index = -1;
    c->g = NULL;
    if (device) {
        if (device < handles || device >= handles + HANDLES) {
            note(function, "BAD-HANDLE");
            return INVALID_ARGUMENT;
        }
        memcpy(uuid, device->uuid, sizeof uuid);
        const struct state *s = state_hold();
        const struct gpu *g = state_by_uuid(s, uuid);
        index = g && g->parent < 0 ? g->index : -1;
        state_release();
        if (device->epoch != epoch || !open_count) {
            note(function, "STALE-HANDLE");
            return open_count ? INVALID_ARGUMENT : UNINITIALIZED;
        }
    }
    note(function, uuid);
    if (!open_count)
        return UNINITIALIZED;
    int code = state_fault(function, device ? uuid : NULL, index);
    if (code)
        return code;
    c->s = state_hold();
    if (device && !(c->g = state_by_uuid(c->s, uuid)))
        return leave(GPU_IS_LOST);
    return OK;
}

int number64(const struct call *c, const char *key, u64 *out) {
    return state_number(c->s, state_text(c->s, c->g, key), NULL, out);
}

int number(const struct call *c, const char *key, unsigned *out) {
    u64 n;
    int code = number64(c, key, &n);
    if (!code)
        *out = (unsigned)n;
    return code;
}

static int text(const char *value, char *out, unsigned room) {
    if (!value)
        return NOT_SUPPORTED;
    if (*value == '!')
        return atoi(value + 1);
    if (strlen(value) >= room)
        return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return OK;
}

/* -- beginning and end ---------------------------------------------------------------------------------- */

static int init(const char *function) {
    note(function, "");
    int code = state_fault(function, NULL, -1);
    if (code)
        return code;
    pthread_mutex_lock(&handle_lock);
    if (!open_count++)
        epoch++;
    pthread_mutex_unlock(&handle_lock);
    return OK;
}

API int nvmlInit(void) { return init("nvmlInit"); }
API int nvmlInit_v2(void) { return init("nvmlInit_v2"); }
API int nvmlInitWithFlags(unsigned flags) { (void)flags; return init("nvmlInitWithFlags"); }

API int nvmlShutdown(void) {
    note("nvmlShutdown", "");
    int code = state_fault("nvmlShutdown", NULL, -1);
    if (code)
        return code;
    if (!open_count)
        return UNINITIALIZED;
    open_count--;
    return OK;
}

API const char *nvmlErrorString(int code) {
    static const char *const words[] = {
        "Success", "Uninitialized", "Invalid Argument", "Not Supported", "Insufficient Permissions",
        "Already Initialized", "Not Found", "Insufficient Size", "Insufficient External Power",
        "Driver Not Loaded", "Timeout", "Interrupt Request Issue", "NVML Shared Library Not Found",
        "Function Not Found", "Corrupted infoROM", "GPU is lost", "GPU requires reset",
        "The operating system has blocked the request", "RM has detected an NVML/RM version mismatch",
        "GPU in use", "Insufficient Memory", "No data",
    };
    return code >= 0 && code < (int)(sizeof words / sizeof *words) ? words[code] : "Unknown Error";
}

/* -- the node --------------------------------------------------------------------------------------------- */

static int system_text(const char *function, const char *key, char *out, unsigned room) {
    struct call c;
    int code = enter(function, NULL, &c);
    return code ? code : leave(text(state_text(c.s, NULL, key), out, room));
}

API int nvmlSystemGetDriverVersion(char *out, unsigned n) { return system_text("nvmlSystemGetDriverVersion", "driver", out, n); }
API int nvmlSystemGetNVMLVersion(char *out, unsigned n) { return system_text("nvmlSystemGetNVMLVersion", "nvml", out, n); }

static int cuda(const char *function, int *out) {
    struct call c;
    int code = enter(function, NULL, &c);
    u64 n;
    if (code)
        return code;
    code = number64(&c, "cuda", &n);
    if (!code)
        *out = (int)n;
    return leave(code);
}

API int nvmlSystemGetCudaDriverVersion(int *out) { return cuda("nvmlSystemGetCudaDriverVersion", out); }
API int nvmlSystemGetCudaDriverVersion_v2(int *out) { return cuda("nvmlSystemGetCudaDriverVersion_v2", out); }

API int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned n) {
    char path[40];
    snprintf(path, sizeof path, "/proc/%u/comm", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return NOT_FOUND;
    if (!fgets(out, (int)n, f))
        out[0] = 0;
    out[strcspn(out, "\n")] = 0;
    fclose(f);
    return OK;
}

static int count(const char *function, unsigned *out) {
    struct call c;
    int code = enter(function, NULL, &c);
    if (code)
        return code;
    const char *said = state_text(c.s, NULL, "count");
    if (said)
        return leave(number(&c, "count", out));
    *out = 0;
    for (size_t i = 0; i < c.s->gpus; i++)
        *out += c.s->gpu[i].parent < 0;
    return leave(OK);
}

API int nvmlDeviceGetCount(unsigned *out) { return count("nvmlDeviceGetCount", out); }
API int nvmlDeviceGetCount_v2(unsigned *out) { return count("nvmlDeviceGetCount_v2", out); }

/* -- handles ------------------------------------------------------------------------------------------------ */

/* The handle of the GPU that `find` picks; faults of that GPU count. */
static int pick(const char *function, const struct gpu *(*find)(const struct state *, const void *),
                const void *by, handle *out) {
    struct call c;
    int code = enter(function, NULL, &c);
    if (code)
        return code;
    const struct gpu *g = find(c.s, by);
    const char *uuid = g ? state_text(c.s, g, "uuid") : NULL;
    if (!uuid)
        return leave(find == NULL ? NOT_FOUND : INVALID_ARGUMENT);
    char copy[96];
    int index = g->parent < 0 ? g->index : -1;
    snprintf(copy, sizeof copy, "%s", uuid);
    leave(OK);
    code = state_fault(function, copy, index);
    if (!code)
        *out = handle_for(copy);
    return code;
}

static const struct gpu *by_index(const struct state *s, const void *by) { return state_by_index(s, *(const unsigned *)by); }
static const struct gpu *by_uuid(const struct state *s, const void *by) { return state_by_uuid(s, by); }
static const struct gpu *by_pci(const struct state *s, const void *by) {
    for (size_t i = 0; i < s->gpus; i++) {
        const char *pci = state_text(s, &s->gpu[i], "pci");
        size_t n = pci ? strlen(pci) : 0, m = strlen(by);
        if (pci && m >= n && !strcasecmp((const char *)by + m - n, pci))
            return &s->gpu[i];
    }
    return NULL;
}

API int nvmlDeviceGetHandleByIndex(unsigned i, handle *out) { return pick("nvmlDeviceGetHandleByIndex", by_index, &i, out); }
API int nvmlDeviceGetHandleByIndex_v2(unsigned i, handle *out) { return pick("nvmlDeviceGetHandleByIndex_v2", by_index, &i, out); }
API int nvmlDeviceGetHandleByUUID(const char *uuid, handle *out) { return pick("nvmlDeviceGetHandleByUUID", by_uuid, uuid, out); }
API int nvmlDeviceGetHandleByPciBusId(const char *pci, handle *out) { return pick("nvmlDeviceGetHandleByPciBusId", by_pci, pci, out); }
API int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, handle *out) { return pick("nvmlDeviceGetHandleByPciBusId_v2", by_pci, pci, out); }

/* -- identity ----------------------------------------------------------------------------------------------- */

static int device_text(const char *function, handle d, const char *key, char *out, unsigned room) {
    struct call c;
    int code = d ? enter(function, d, &c) : INVALID_ARGUMENT;
    return code ? code : leave(text(state_text(c.s, c.g, key), out, room));
}

API int nvmlDeviceGetName(handle d, char *out, unsigned n) { return device_text("nvmlDeviceGetName", d, "name", out, n); }
API int nvmlDeviceGetUUID(handle d, char *out, unsigned n) { return device_text("nvmlDeviceGetUUID", d, "uuid", out, n); }
API int nvmlDeviceGetSerial(handle d, char *out, unsigned n) { return device_text("nvmlDeviceGetSerial", d, "serial", out, n); }
API int nvmlDeviceGetVbiosVersion(handle d, char *out, unsigned n) { return device_text("nvmlDeviceGetVbiosVersion", d, "vbios", out, n); }

API int nvmlDeviceGetIndex(handle d, unsigned *out) {
    struct call c;
    int code = d ? enter("nvmlDeviceGetIndex", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    *out = (unsigned)c.g->index;
    return leave(OK);
}

static int pci(const char *function, handle d, struct pci *out, int with_bus_id) {
    struct call c;
    int code = d ? enter(function, d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    const char *at = state_text(c.s, c.g, "pci");
    unsigned function_number;
    memset(out, 0, with_bus_id ? sizeof *out : sizeof *out - sizeof out->bus_id);
    if (!at || *at == '!')
        return leave(at ? atoi(at + 1) : NOT_SUPPORTED);
    if (sscanf(at, "%x:%x:%x.%x", &out->domain, &out->bus, &out->device, &function_number) < 3)
        return leave(UNKNOWN);
    snprintf(out->legacy, sizeof out->legacy, "%04X:%02X:%02X.0", out->domain, out->bus, out->device);
    if (with_bus_id)
        snprintf(out->bus_id, sizeof out->bus_id, "%08X:%02X:%02X.0", out->domain, out->bus, out->device);
    out->id = 0x233010de;
    return leave(OK);
}

API int nvmlDeviceGetPciInfo(handle d, struct pci *out) { return pci("nvmlDeviceGetPciInfo", d, out, 0); }
API int nvmlDeviceGetPciInfo_v2(handle d, struct pci *out) { return pci("nvmlDeviceGetPciInfo_v2", d, out, 0); }
API int nvmlDeviceGetPciInfo_v3(handle d, struct pci *out) { return pci("nvmlDeviceGetPciInfo_v3", d, out, 1); }

API int nvmlDeviceGetCudaComputeCapability(handle d, int *major, int *minor) {
    struct call c;
    int code = d ? enter("nvmlDeviceGetCudaComputeCapability", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    const char *said = state_text(c.s, c.g, "capability");
    if (!said || *said == '!')
        return leave(said ? atoi(said + 1) : NOT_SUPPORTED);
    return leave(sscanf(said, "%d.%d", major, minor) == 2 ? OK : UNKNOWN);
}

/* -- MIG ---------------------------------------------------------------------------------------------------- */

API int nvmlDeviceGetMigMode(handle d, unsigned *now, unsigned *pending) {
    struct call c;
    int code = d ? enter("nvmlDeviceGetMigMode", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    code = number(&c, "mig_mode", now);
    if (!code && number(&c, "mig_pending", pending))
        *pending = *now;
    return leave(code);
}

API int nvmlDeviceGetMaxMigDeviceCount(handle d, unsigned *out) {
    struct call c;
    int code = d ? enter("nvmlDeviceGetMaxMigDeviceCount", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    const char *mode = state_text(c.s, c.g, "mig_mode");
    *out = mode && *mode == '1' ? 7 : 0;
    return leave(mode ? OK : NOT_SUPPORTED);
}

API int nvmlDeviceGetMigDeviceHandleByIndex(handle d, unsigned index, handle *out) {
    struct call c;
    int code = d ? enter("nvmlDeviceGetMigDeviceHandleByIndex", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    int parent = (int)(c.g - c.s->gpu);
    for (size_t i = 0; i < c.s->gpus; i++) {
        const struct gpu *g = &c.s->gpu[i];
        const char *uuid = state_text(c.s, g, "uuid");
        if (uuid && g->parent == parent && (unsigned)g->index == index) {
            *out = handle_for(uuid);
            return leave(OK);
        }
    }
    return leave(NOT_FOUND);
}

API int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle d, handle *out) {
    struct call c;
    int code = d ? enter("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    const char *uuid = c.g->parent < 0 ? NULL : state_text(c.s, &c.s->gpu[c.g->parent], "uuid");
    if (uuid)
        *out = handle_for(uuid);
    return leave(uuid ? OK : INVALID_ARGUMENT);
}

API int nvmlDeviceIsMigDeviceHandle(handle d, unsigned *out) {
    struct call c;
    int code = d ? enter("nvmlDeviceIsMigDeviceHandle", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    *out = c.g->parent >= 0;
    return leave(OK);
}

static int instance(const char *function, handle d, const char *key, unsigned *out) {
    struct call c;
    int code = d ? enter(function, d, &c) : INVALID_ARGUMENT;
    return code ? code : leave(number(&c, key, out));
}

API int nvmlDeviceGetGpuInstanceId(handle d, unsigned *out) { return instance("nvmlDeviceGetGpuInstanceId", d, "gi", out); }
API int nvmlDeviceGetComputeInstanceId(handle d, unsigned *out) { return instance("nvmlDeviceGetComputeInstanceId", d, "ci", out); }

API int nvmlDeviceGetAttributes_v2(handle d, struct attributes *out) {
    struct call c;
    int code = d ? enter("nvmlDeviceGetAttributes_v2", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    u64 total = 0;
    memset(out, 0, sizeof *out);
    if (c.g->parent < 0)
        return leave(NOT_SUPPORTED);
    number64(&c, "mem_total", &total);
    out->memory_mb = total >> 20;
    out->sm = 16, out->copy = 1, out->gi_slices = 1, out->ci_slices = 1;
    number(&c, "slices", &out->gi_slices);
    return leave(OK);
}
