/* Reading the state file. One lock; a state is replaced whole when the file's time, size or inode changes. */

#define _GNU_SOURCE
#include "state.h"

#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct state present;
static struct stat seen;
static long long looked_ns;

long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

void nap_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void *grow(void *array, size_t used, size_t *room, size_t size) {
    if (used < *room)
        return array;
    *room = *room ? *room * 2 : 16;
    array = realloc(array, *room * size);
    if (!array)
        abort();
    return array;
}
#define PUSH(s, array, count) ((s)->array = grow((s)->array, (s)->count, &(s)->count##_room, sizeof *(s)->array), &(s)->array[(s)->count++])

static void drop(struct state *s) {
    for (size_t i = 0; i < s->gpus; i++) {
        free(s->gpu[i].pair);
        free(s->gpu[i].process);
    }
    free(s->gpu);
    free(s->global);
    free(s->fault);
    free(s->xid);
    free(s->text);
    memset(s, 0, sizeof *s);
}

static u64 sized(const char *text, char **end) {
    char *stop;
    u64 n = strtoull(text, &stop, 0);
    static const char units[] = "KMGT";
    const char *unit = *stop ? strchr(units, *stop) : NULL;
    if (unit) {
        n <<= 10 * (unit - units + 1);
        stop++;
    }
    if (end)
        *end = stop;
    return n;
}

/* `process KIND PID name=value ...` and `sample PID name=value ...` */
static void parse_process(struct gpu *g, char *rest, int sample) {
    char *save, *word = strtok_r(rest, " \t", &save);
    struct process p = {.kind = '-', .gi = ~0u, .ci = ~0u, .memory = ~0ULL, .age_ms = 100};
    if (!sample && word) {
        p.kind = word[0];
        word = strtok_r(NULL, " \t", &save);
    }
    if (!word)
        return;
    p.pid = (unsigned)strtoul(word, NULL, 0);
    p.sampled = sample;
    while ((word = strtok_r(NULL, " \t", &save))) {
        char *value = strchr(word, '=');
        if (!value)
            continue;
        *value++ = 0;
        if (!strcmp(word, "memory"))
            p.memory = sized(value, NULL);
        else if (!strcmp(word, "sm"))
            p.sm = (unsigned)strtoul(value, NULL, 0), p.sampled = 1;
        else if (!strcmp(word, "mem"))
            p.mem = (unsigned)strtoul(value, NULL, 0);
        else if (!strcmp(word, "enc"))
            p.enc = (unsigned)strtoul(value, NULL, 0);
        else if (!strcmp(word, "dec"))
            p.dec = (unsigned)strtoul(value, NULL, 0);
        else if (!strcmp(word, "gi"))
            p.gi = (unsigned)strtoul(value, NULL, 0);
        else if (!strcmp(word, "ci"))
            p.ci = (unsigned)strtoul(value, NULL, 0);
        else if (!strcmp(word, "age_ms"))
            p.age_ms = strtol(value, NULL, 0);
    }
    *PUSH(g, process, processes) = p;
}

/* `fault FUNCTION GPU error CODE` and `fault FUNCTION GPU sleep MS|forever` */
static void parse_fault(struct state *s, char *rest) {
    char *save, *function = strtok_r(rest, " \t", &save), *gpu = strtok_r(NULL, " \t", &save);
    char *what = strtok_r(NULL, " \t", &save), *value = strtok_r(NULL, " \t", &save);
    if (!value)
        return;
    struct fault f = {function, gpu, 0, 0};
    if (!strcmp(what, "error"))
        f.code = (int)strtol(value, NULL, 0);
    else
        f.sleep_ms = strcmp(value, "forever") ? strtol(value, NULL, 0) : -1;
    *PUSH(s, fault, faults) = f;
}

static void parse_line(struct state *s, char *line) {
    while (isspace((unsigned char)*line))
        line++;
    if (!*line || *line == '#')
        return;
    char *rest = line + strcspn(line, " \t");
    if (*rest)
        *rest++ = 0;
    while (isspace((unsigned char)*rest))
        rest++;
    struct gpu *g = s->gpus ? &s->gpu[s->gpus - 1] : NULL;
    if (!strcmp(line, "gpu") || !strcmp(line, "mig")) {
        int parent = -1, index = 0, child = line[0] == 'm';
        for (size_t i = 0; i < s->gpus; i++) {
            if (s->gpu[i].parent < 0) {
                if (child)
                    parent = (int)i, index = 0;
                else
                    index++;
            } else if (child)
                index++;
        }
        if (child && parent < 0)
            return;
        struct gpu *made = PUSH(s, gpu, gpus);
        memset(made, 0, sizeof *made);
        made->parent = child ? parent : -1;
        made->index = index;
    } else if (!strcmp(line, "fault")) {
        parse_fault(s, rest);
    } else if (!strcmp(line, "xid")) { /* `xid SERIAL GPU CODE [TYPE]` */
        struct xid x = {0, 0, 0, 8};
        if (sscanf(rest, "%ld %d %llu %llu", &x.serial, &x.gpu, &x.code, &x.type) >= 3)
            *PUSH(s, xid, xids) = x;
    } else if (g && !strcmp(line, "process")) {
        parse_process(g, rest, 0);
    } else if (g && !strcmp(line, "sample")) {
        parse_process(g, rest, 1);
    } else if (g) {
        *PUSH(g, pair, pairs) = (struct pair){line, rest};
    } else {
        *PUSH(s, global, globals) = (struct pair){line, rest};
    }
}

static void load(const char *path, const struct stat *now) {
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    char *text = calloc(1, (size_t)now->st_size + 1);
    if (!text)
        abort();
    size_t n = fread(text, 1, (size_t)now->st_size, f);
    fclose(f);
    text[n] = 0;
    drop(&present);
    present.text = text;
    present.loaded_ns = now->st_mtim.tv_sec * 1000000000LL + now->st_mtim.tv_nsec;
    char *save;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        size_t end = strlen(line);
        while (end && isspace((unsigned char)line[end - 1]))
            line[--end] = 0;
        parse_line(&present, line);
    }
}

const struct state *state_hold(void) {
    pthread_mutex_lock(&lock);
    const char *path = getenv("NVML_STANDIN_STATE"), *every = getenv("NVML_STANDIN_LOOK_MS");
    long long now = every ? now_ns() : 0;
    if (path && (!every || now - looked_ns >= atol(every) * 1000000LL)) {
        struct stat st;
        looked_ns = now;
        if (!stat(path, &st) &&
            (st.st_mtim.tv_sec != seen.st_mtim.tv_sec || st.st_mtim.tv_nsec != seen.st_mtim.tv_nsec ||
             st.st_size != seen.st_size || st.st_ino != seen.st_ino)) {
            seen = st;
            load(path, &st);
        }
    }
    return &present;
}

void state_release(void) {
    pthread_mutex_unlock(&lock);
}

const char *state_text(const struct state *s, const struct gpu *g, const char *key) {
    const struct pair *p = g ? g->pair : s->global;
    for (size_t n = g ? g->pairs : s->globals; n--; p++)
        if (!strcmp(p->key, key))
            return p->value;
    return NULL;
}

int state_number(const struct state *s, const char *value, double *number, u64 *whole) {
    if (!value || !*value)
        return NOT_SUPPORTED;
    if (*value == '!')
        return (int)strtol(value + 1, NULL, 0);
    double seconds = (now_ns() - s->loaded_ns) / 1e9, d;
    u64 n;
    if (*value == '~') {
        double mean = 0, swing = 0, period = 1;
        sscanf(value + 1, "%lf,%lf,%lf", &mean, &swing, &period);
        d = mean + swing * sin(6.283185307179586 * (now_ns() / 1e9) / (period > 0 ? period : 1));
        n = d > 0 ? (u64)(d + 0.5) : 0;
    } else {
        char *end;
        n = *value == '-' ? (u64)strtoll(value, &end, 0) : sized(value, &end);
        d = *value == '-' ? (double)(long long)n : (double)n;
        if (*end == '.') {
            d = strtod(value, &end);
            n = (u64)d;
        }
        if (*end == '+') {
            double more = strtod(end + 1, NULL) * (seconds > 0 ? seconds : 0);
            d += more;
            n += (u64)more;
        }
    }
    if (number)
        *number = d;
    if (whole)
        *whole = n;
    return OK;
}

const struct gpu *state_by_uuid(const struct state *s, const char *uuid) {
    for (size_t i = 0; i < s->gpus; i++) {
        const char *own = state_text(s, &s->gpu[i], "uuid");
        if (own && !strcmp(own, uuid))
            return &s->gpu[i];
    }
    return NULL;
}

const struct gpu *state_by_index(const struct state *s, unsigned index) {
    for (size_t i = 0; i < s->gpus; i++)
        if (s->gpu[i].parent < 0 && (unsigned)s->gpu[i].index == index)
            return &s->gpu[i];
    return NULL;
}

/* `nvmlX` covers nvmlX and nvmlX_v2, `nvmlInit` also nvmlInitWithFlags, `*` all. */
static int covers(const char *pattern, const char *function) {
    size_t n = strlen(pattern);
    if (!strcmp(pattern, "*"))
        return 1;
    if (strncmp(pattern, function, n))
        return 0;
    return !function[n] || !strncmp(function + n, "_v", 2) || !strcmp(pattern, "nvmlInit");
}

static int asked_for(const struct fault *f, const char *function, const char *uuid, int index) {
    char number[16];
    snprintf(number, sizeof number, "%d", index);
    if (!covers(f->function, function))
        return 0;
    return !strcmp(f->gpu, "*") || (uuid && !strcmp(f->gpu, uuid)) || (index >= 0 && !strcmp(f->gpu, number));
}

int state_fault(const char *function, const char *uuid, int index) {
    long slept = 0;
    for (;;) {
        long ask = 0;
        int code = OK;
        const struct state *s = state_hold();
        for (size_t i = 0; i < s->faults; i++) {
            const struct fault *f = &s->fault[i];
            if (!asked_for(f, function, uuid, index))
                continue;
            if (f->code)
                code = f->code;
            else
                ask = f->sleep_ms;
        }
        state_release();
        if (ask >= 0 && slept >= ask)
            return code;
        long step = ask < 0 || ask - slept > 20 ? 20 : ask - slept;
        nap_ms(step);
        slept += step;
    }
}
