/* The simulated node of the stand-in driver: what its state file says. See README.md beside this file. */

#ifndef STATE_H
#define STATE_H

#include <stddef.h>

enum {
    OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, TIMEOUT = 10, FUNCTION_NOT_FOUND = 13, GPU_IS_LOST = 15, UNKNOWN = 999
};

typedef unsigned long long u64;

struct pair {
    const char *key, *value;
};

struct process {
    char kind; /* C compute, G graphics, M compute through MPS */
    unsigned pid, gi, ci;
    u64 memory;
    int sampled; /* has a utilisation sample */
    unsigned sm, mem, enc, dec;
    long age_ms; /* how old the sample is */
};

/* A GPU, or a MIG device of the GPU before it (`parent` is that one's place, -1 for a whole GPU). */
struct gpu {
    int parent, index;
    size_t pairs, pairs_room, processes, processes_room;
    struct pair *pair;
    struct process *process; /* a sample without a process has memory = ~0 and kind '-' */
};

struct fault {
    const char *function, *gpu;
    int code;
    long sleep_ms; /* -1: until the line is gone */
};

struct xid {
    long serial;
    int gpu;
    u64 code, type;
};

struct state {
    char *text;
    long long loaded_ns; /* modification time of the file: growing values count from here */
    size_t gpus, gpus_room, globals, globals_room, faults, faults_room, xids, xids_room;
    struct gpu *gpu;
    struct pair *global;
    struct fault *fault;
    struct xid *xid;
};

/* The present state, read anew where the file changed, locked until `state_release`. Never NULL. */
const struct state *state_hold(void);
void state_release(void);

/* The value of a key of a GPU, or of the node where `gpu` is NULL; NULL where the file does not give it. */
const char *state_text(const struct state *s, const struct gpu *gpu, const char *key);

/* A number out of a value: OK, or the code of `!code`, or NOT_SUPPORTED for none. Understands 80G, base+rate/s
 * and ~mean,amplitude,period. */
int state_number(const struct state *s, const char *value, double *number, u64 *whole);

/* The first whole or MIG device with this UUID; NULL if there is none. */
const struct gpu *state_by_uuid(const struct state *s, const char *uuid);

/* The `index`th whole GPU; NULL if there are fewer. */
const struct gpu *state_by_index(const struct state *s, unsigned index);

/* Sleeps and fails as the state asks for: OK or the code to return. `gpu` may be NULL. Call it unlocked. */
int state_fault(const char *function, const char *uuid, int index);

long long now_ns(void);
void nap_ms(long ms);

#endif
