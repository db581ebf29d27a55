/* What the files of the stand-in driver share: handles, entering a call, the structures of the interface.
 * Structures are declared here from their documented layouts; nothing comes from a vendor's header. */

#ifndef NVML_H
#define NVML_H

#include "state.h"

struct device {
    char uuid[96];
    int epoch;
};
typedef struct device *handle;

struct call {
    const struct state *s;
    const struct gpu *g;
};

/* Begins a call: logs it, sleeps and fails as asked, finds the GPU. OK: the state is held, `leave` it. */
int enter(const char *function, handle device, struct call *c);
int leave(int code);

handle handle_for(const char *uuid);

/* One number of the GPU at hand; the code where it is none. `unsigned` wraps as drivers' nonsense does. */
int number(const struct call *c, const char *key, unsigned *out);
int number64(const struct call *c, const char *key, u64 *out);

struct utilization { unsigned gpu, memory; };
struct memory { u64 total, free, used; };
struct memory_v2 { unsigned version; u64 total, reserved, free, used; };
struct bar1 { u64 total, free, used; };
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
struct violation { u64 reference, time; };
struct ecc_counts { u64 l1, l2, memory, registers; };
struct histogram { unsigned max, high, partial, low, none; };
struct process_v1 { unsigned pid; u64 memory; };
struct process_v2 { unsigned pid; u64 memory; unsigned gi, ci; };
struct sample { unsigned pid; u64 stamp; unsigned sm, mem, enc, dec; };
struct info { u64 stamp; unsigned pid, sm, mem, enc, dec, jpg, ofa; };
struct infos { unsigned version, count; u64 last; struct info *array; };
union value { double d; unsigned u; unsigned long ul; u64 ull; long long sll; int i; unsigned short us; };
struct field { unsigned id, scope; long long stamp, latency; int type, code; union value value; };
struct event { handle device; u64 type, data; unsigned gi, ci; };
struct metric { unsigned id; int code; double value; struct { const char *a, *b, *c; } info; };
struct metrics { unsigned version, count; void *one, *two; struct metric metric[477]; };
struct gpm_support { unsigned version, supported; };
struct margin { unsigned version; int degrees; };
struct temperature { unsigned version, sensor; int degrees; };
struct fabric { unsigned char cluster[16]; int status; unsigned clique, state; };
struct fabric_v2 { unsigned version; unsigned char cluster[16]; int status; unsigned clique, state, health; };
struct attributes { unsigned sm, copy, dec, enc, jpeg, ofa, gi_slices, ci_slices; u64 memory_mb; };

#define API __attribute__((visibility("default")))

#endif
