/* What comes in arrays or over time: field values, processes and their samples, GPM, events. */

#define _GNU_SOURCE
#include "nvml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- field values ---------------------------------------------------------------------------------------------- */

/* `fv.ID[.SCOPE] VALUE`; a prefix names another type than unsigned 64 bit: d: u: l: s: i: h: */
static int field(const struct call *c, struct field *f) {
    static const char types[] = "dulqsih"; /* in the order of the interface's type numbers */
    char key[40];
    snprintf(key, sizeof key, "fv.%u.%u", f->id, f->scope);
    const char *said = state_text(c->s, c->g, key);
    if (!said && f->scope == 0) {
        snprintf(key, sizeof key, "fv.%u", f->id);
        said = state_text(c->s, c->g, key);
    }
    if (!said && f->id == 83)
        said = state_text(c->s, c->g, "energy");
    f->type = f->id == 82 || f->id == 230 ? 1 : 3;
    if (said && said[0] && said[1] == ':') {
        const char *at = strchr(types, said[0]);
        f->type = at ? (int)(at - types) : 3;
        said += 2;
    }
    double d = 0;
    u64 n = 0;
    int code = state_number(c->s, said, &d, &n);
    memset(&f->value, 0, sizeof f->value);
    if (f->type == 0)
        f->value.d = d;
    else if (f->type == 1)
        f->value.u = (unsigned)n;
    else if (f->type == 5)
        f->value.i = (int)n;
    else if (f->type == 6)
        f->value.us = (unsigned short)n;
    else
        f->value.ull = n;
    return code;
}

API int nvmlDeviceGetFieldValues(handle d, int count, struct field *fields) {
    struct call c;
    int code = d && fields && count > 0 ? enter("nvmlDeviceGetFieldValues", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    for (int i = 0; i < count; i++) {
        fields[i].stamp = now_ns() / 1000;
        fields[i].latency = 1;
        fields[i].code = field(&c, &fields[i]);
    }
    return leave(OK);
}

/* -- processes ------------------------------------------------------------------------------------------------- */

static int list(const char *function, handle d, char kind, int version, unsigned *count, void *out) {
    struct call c;
    int code = d && count ? enter(function, d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    const char *refused = state_text(c.s, c.g, kind == 'C' ? "processes" : kind == 'G' ? "graphics_processes" : "mps_processes");
    if (refused && *refused == '!')
        return leave(atoi(refused + 1));
    unsigned n = 0, room = out ? *count : 0;
    for (size_t i = 0; i < c.g->processes; i++) {
        const struct process *p = &c.g->process[i];
        if (p->kind != kind && !(p->kind == 'B' && kind != 'M')) /* B: compute and graphics */
            continue;
        if (n < room && version == 1)
            ((struct process_v1 *)out)[n] = (struct process_v1){p->pid, p->memory};
        else if (n < room)
            ((struct process_v2 *)out)[n] = (struct process_v2){p->pid, p->memory, p->gi, p->ci};
        n++;
    }
    *count = n;
    return leave(n > room ? INSUFFICIENT_SIZE : OK);
}
#define LIST(name, kind)                                                                                      \
    API int name(handle d, unsigned *n, void *out) { return list(#name, d, kind, 1, n, out); }                 \
    API int name##_v2(handle d, unsigned *n, void *out) { return list(#name "_v2", d, kind, 2, n, out); }      \
    API int name##_v3(handle d, unsigned *n, void *out) { return list(#name "_v3", d, kind, 3, n, out); }

LIST(nvmlDeviceGetComputeRunningProcesses, 'C')
LIST(nvmlDeviceGetGraphicsRunningProcesses, 'G')
LIST(nvmlDeviceGetMPSComputeRunningProcesses, 'M')

API int nvmlDeviceGetProcessUtilization(handle d, struct sample *out, unsigned *count, u64 since) {
    struct call c;
    int code = d && count ? enter("nvmlDeviceGetProcessUtilization", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    const char *refused = state_text(c.s, c.g, "process_utilization");
    if (refused && *refused == '!')
        return leave(atoi(refused + 1));
    unsigned n = 0, room = out ? *count : 0;
    u64 now = (u64)(now_ns() / 1000);
    for (size_t i = 0; i < c.g->processes; i++) {
        const struct process *p = &c.g->process[i];
        u64 stamp = now - (u64)p->age_ms * 1000;
        if (!p->sampled || stamp <= since)
            continue;
        if (n < room)
            out[n] = (struct sample){p->pid, stamp, p->sm, p->mem, p->enc, p->dec};
        n++;
    }
    *count = n;
    return leave(!n ? NOT_FOUND : n > room ? INSUFFICIENT_SIZE : OK);
}

/* -- GPM --------------------------------------------------------------------------------------------------------- */

struct gpm_sample {
    char uuid[96];
    long long taken_ns;
};

API int nvmlGpmQueryDeviceSupport(handle d, struct gpm_support *out) {
    struct call c;
    int code = d && out ? enter("nvmlGpmQueryDeviceSupport", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    out->supported = 0;
    number(&c, "gpm", &out->supported);
    return leave(OK);
}

API int nvmlGpmSampleAlloc(struct gpm_sample **out) {
    *out = calloc(1, sizeof **out);
    return *out ? OK : 20;
}

API int nvmlGpmSampleFree(struct gpm_sample *sample) {
    free(sample);
    return OK;
}

static int take(const char *function, handle d, struct gpm_sample *sample) {
    struct call c;
    int code = d && sample ? enter(function, d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    unsigned on = 0;
    number(&c, "gpm", &on);
    snprintf(sample->uuid, sizeof sample->uuid, "%s", state_text(c.s, c.g, "uuid"));
    sample->taken_ns = now_ns();
    return leave(on ? OK : NOT_SUPPORTED);
}

API int nvmlGpmSampleGet(handle d, struct gpm_sample *sample) { return take("nvmlGpmSampleGet", d, sample); }

API int nvmlGpmMigSampleGet(handle d, unsigned gi, struct gpm_sample *sample) {
    int code = take("nvmlGpmMigSampleGet", d, sample);
    if (code)
        return code;
    const struct state *s = state_hold();
    for (size_t i = 0; i < s->gpus; i++) {
        const struct gpu *g = &s->gpu[i];
        const char *own = state_text(s, g, "gi"), *uuid = state_text(s, g, "uuid");
        const char *parent = g->parent < 0 ? NULL : state_text(s, &s->gpu[g->parent], "uuid");
        if (own && uuid && parent && !strcmp(parent, d->uuid) && (unsigned)atoi(own) == gi)
            snprintf(sample->uuid, sizeof sample->uuid, "%s", uuid);
    }
    return leave(OK);
}

API int nvmlGpmMetricsGet(struct metrics *m) {
    struct call c;
    int code = enter("nvmlGpmMetricsGet", NULL, &c);
    if (code)
        return code;
    const struct gpm_sample *one = m->one, *two = m->two;
    if (!one || !two || !one->taken_ns || one->taken_ns >= two->taken_ns || strcmp(one->uuid, two->uuid))
        return leave(INVALID_ARGUMENT);
    c.g = state_by_uuid(c.s, two->uuid);
    if (!c.g)
        return leave(GPU_IS_LOST);
    for (unsigned i = 0; i < m->count && i < 477; i++) {
        char key[24];
        snprintf(key, sizeof key, "gpm.%u", m->metric[i].id);
        m->metric[i].value = 0;
        m->metric[i].code = state_number(c.s, state_text(c.s, c.g, key), &m->metric[i].value, NULL);
    }
    return leave(OK);
}

/* -- events --------------------------------------------------------------------------------------------------------- */

struct set {
    long seen; /* serial of the last event handed out, or there when the set was made */
    int devices;
    char uuid[64][96];
};

API int nvmlEventSetCreate(struct set **out) {
    struct call c;
    int code = enter("nvmlEventSetCreate", NULL, &c);
    if (code)
        return code;
    *out = calloc(1, sizeof **out);
    for (size_t i = 0; i < c.s->xids; i++)
        if (c.s->xid[i].serial > (*out)->seen)
            (*out)->seen = c.s->xid[i].serial;
    return leave(OK);
}

API int nvmlEventSetFree(struct set *set) {
    free(set);
    return OK;
}

API int nvmlDeviceRegisterEvents(handle d, u64 types, struct set *set) {
    struct call c;
    (void)types;
    int code = d && set ? enter("nvmlDeviceRegisterEvents", d, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    if (!state_text(c.s, c.g, "events"))
        return leave(NOT_SUPPORTED);
    if (set->devices < 64)
        snprintf(set->uuid[set->devices++], 96, "%s", state_text(c.s, c.g, "uuid"));
    return leave(OK);
}

static int next_event(struct set *set, struct event *out) {
    const struct state *s = state_hold();
    const struct xid *found = NULL;
    char uuid[96] = "";
    for (size_t i = 0; i < s->xids; i++) {
        const struct xid *x = &s->xid[i];
        if (x->serial <= set->seen || (found && found->serial < x->serial))
            continue;
        const struct gpu *g = state_by_index(s, (unsigned)x->gpu);
        const char *own = g ? state_text(s, g, "uuid") : NULL;
        for (int k = 0; own && k < set->devices; k++)
            if (!strcmp(own, set->uuid[k])) {
                found = x;
                snprintf(uuid, sizeof uuid, "%s", own);
            }
    }
    if (found) {
        set->seen = found->serial;
        *out = (struct event){NULL, found->type, found->code, ~0u, ~0u};
    }
    state_release();
    if (!*uuid)
        return 0;
    out->device = handle_for(uuid);
    return 1;
}

static int wait_event(const char *function, struct set *set, struct event *out, unsigned timeout_ms) {
    struct call c;
    int code = set && out ? enter(function, NULL, &c) : INVALID_ARGUMENT;
    if (code)
        return code;
    leave(OK);
    /* A real driver sleeps until there is something: so it does here, as far as the file is looked at. */
    const char *every = getenv("NVML_STANDIN_LOOK_MS");
    unsigned step = every && atol(every) > 100 ? (unsigned)atol(every) : 100;
    for (unsigned waited = 0;; waited += step) {
        if (next_event(set, out))
            return OK;
        if (waited >= timeout_ms)
            return TIMEOUT;
        nap_ms(timeout_ms - waited < step ? timeout_ms - waited : step);
    }
}

API int nvmlEventSetWait(struct set *set, struct event *out, unsigned ms) { return wait_event("nvmlEventSetWait", set, out, ms); }
API int nvmlEventSetWait_v2(struct set *set, struct event *out, unsigned ms) { return wait_event("nvmlEventSetWait_v2", set, out, ms); }
