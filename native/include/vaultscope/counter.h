/* A counter: an exact integer cell and a float cell beside it, in each stripe. It only goes up.
 *
 * Any thread, any signal handler, lock-free (owned stripe: wait-free). Never fails. The total is the sum of
 * the stripes, modulo 2^64: exact to 2^63 and beyond. The float path carries a double's own rounding. */
#ifndef VAULTSCOPE_COUNTER_H
#define VAULTSCOPE_COUNTER_H

#include "stripe.h"

/* A handle; copy it freely. It stays valid as long as the series it was bound from is held. */
typedef struct vs_counter {
    uint64_t offset;
    uint32_t arena;
} vs_counter;

typedef struct vs_counter_cell { /* in each stripe, at `offset` */
    vs_word integer;
    vs_word real;
} vs_counter_cell;

VS_API VS_COLD bool vs_counter_add_slow(vs_counter counter, uint64_t n);
VS_API VS_COLD bool vs_counter_add_double_slow(vs_counter counter, double n);

/* The hot half of vs_counter_add alone: false, and nothing done, where this thread has no stripe at hand. For callers
 * whose own slow path then calls vs_counter_add, so that the fast one holds no call.
 * Relaxed: a reader that sees the old value is merely early; no other memory hangs on this word. */
static inline bool vs_counter_try_add(vs_counter counter, uint64_t n)
{
    char *base = vs_stripe_mine(counter.arena);
    if (VS_UNLIKELY(base == NULL))
        return false;
    vs_owned_add(&((vs_counter_cell *)(base + counter.offset))->integer, n);
    return true;
}

/* Adds n. False only for a handle that is bound to nothing. */
static inline bool vs_counter_add(vs_counter counter, uint64_t n)
{
    return VS_LIKELY(vs_counter_try_add(counter, n)) || vs_counter_add_slow(counter, n);
}

static inline bool vs_counter_inc(vs_counter counter)
{
    return vs_counter_add(counter, 1);
}

/* Adds n, which must be finite and not negative: the caller has checked. The float cell is load, add, store in
 * more than one instruction, so the stripe is hidden meanwhile (see stripe.h). */
static inline bool vs_counter_add_double(vs_counter counter, double n)
{
    vs_word *slot = &vs_this_thread.base[counter.arena];
    char *base = (char *)(uintptr_t)vs_load_relaxed(slot);
    if (VS_UNLIKELY(base == NULL))
        return vs_counter_add_double_slow(counter, n);
    vs_store_relaxed(slot, 0);
    /* C1: release, for this thread's own signal handlers: the hiding stays before it, the showing after. */
    vs_owned_add_double_release(&((vs_counter_cell *)(base + counter.offset))->real, n);
    vs_store_release(slot, (uint64_t)(uintptr_t)base);
    return true;
}

/* The total over all stripes. Any thread, wait-free; concurrent adds may or may not be in it. */
VS_API void vs_counter_read(vs_counter counter, uint64_t *integer, double *real);

/* Makes the total exactly (integer, real), for counters that mirror one kept elsewhere (process CPU time).
 * Only for a series that nobody increments. In a file arena the total only rises: of several processes that mirror the same
 * thing, one that comes late with an older total changes nothing. */
VS_API void vs_counter_mirror(vs_counter counter, uint64_t integer, double real);

#endif
