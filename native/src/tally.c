/* The reading side of a tally, and its writing side on the shared stripe. The protocol is told in tally.h. */
#include "internal.h"

#include <sched.h>

enum {
    TRIES_BEFORE_DIVERT = 3,  /* most readings find the writer elsewhere */
    TRIES_BEFORE_YIELD = 200, /* then the writer was probably interrupted in mid-write: let it run */
    TRIES_A_CLOCK_READ = 64
};
static const int64_t PATIENCE_NS = 1000000000;

void vs_tally_share_double(vs_tally_block *block, size_t n, size_t index, double value)
{
    vs_tally_half *half = vs_tally_hot(block, n);
    vs_add_relaxed(&half->begun, 1u);                 /* T1 */
    vs_shared_add_double_release(&half->sum, value);  /* T2 */
    vs_add_release(&half->counts[index], 1u);         /* T3 */
}

void vs_tally_share_integer(vs_tally_block *block, size_t n, size_t index, uint64_t value, uint64_t times)
{
    vs_tally_half *half = vs_tally_hot(block, n);
    vs_add_relaxed(&half->begun, times);              /* T1 */
    vs_add_release(&half->sum, value * times);        /* T2 */
    vs_add_release(&half->counts[index], times);      /* T3 */
}

static vs_tally_half *half_at(vs_tally_block *block, size_t n, uint64_t half)
{
    return (vs_tally_half *)((char *)block->halves + half * vs_tally_half_bytes(n));
}

/* One look at a half. True if it was whole. */
static bool look(vs_tally_half *half, size_t n, uint64_t *counts, uint64_t *sum)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        counts[i] = vs_load_acquire(&half->counts[i]); /* R1: acquire; pairs with T3 */
        total += counts[i];
    }
    *sum = vs_load_acquire(&half->sum); /* R2: acquire; pairs with T2, and keeps R3 after it */
    return vs_load_relaxed(&half->begun) == total; /* R3 */
}

static bool read_half(vs_tally_block *block, size_t n, uint64_t which, uint64_t *counts, uint64_t *sum)
{
    vs_tally_half *half = half_at(block, n, which);
    int64_t deadline = 0;
    for (unsigned tries = 0; !look(half, n, counts, sum); tries++) {
        if (tries == TRIES_BEFORE_DIVERT)
            vs_store_relaxed(&block->hot, 1 - which); /* T5: relaxed; see T0 */
        if (tries < TRIES_BEFORE_YIELD) {
            vs_cpu_relax();
            continue;
        }
        sched_yield();
        if (tries % TRIES_A_CLOCK_READ != 0)
            continue;
        int64_t now = vs_clock_monotonic_ns();
        if (deadline == 0)
            deadline = now + PATIENCE_NS;
        else if (now > deadline)
            return false;
    }
    return true;
}

void vs_tally_read(const vs_arena *arena, uint64_t offset, size_t n, bool sum_is_double, uint64_t *counts,
                   uint64_t *scratch, vs_tally_totals *totals)
{
    uint32_t used = vs_arena_stripes_used(arena);
    for (uint32_t stripe = 0; stripe <= used; stripe++) {
        vs_tally_block *block = (vs_tally_block *)(vs_arena_stripe(arena, stripe) + offset);
        for (uint64_t which = 0; which < 2; which++) {
            /* Nothing begun: nothing to add. It also keeps a reader off pages that no writer has touched. */
            if (vs_load_relaxed(&half_at(block, n, which)->begun) == 0)
                continue;
            uint64_t sum = 0;
            if (!read_half(block, n, which, scratch, &sum))
                totals->unsettled++;
            for (size_t i = 0; i < n; i++) {
                counts[i] += scratch[i];
                totals->count += scratch[i];
            }
            if (sum_is_double)
                totals->sum_double += vs_double_of(sum);
            else
                totals->sum_integer += sum;
        }
    }
}

void vs_tally_mend(vs_tally_block *block, size_t n)
{
    for (uint64_t which = 0; which < 2; which++) {
        vs_tally_half *half = half_at(block, n, which);
        if (vs_load_relaxed(&half->begun) == 0)
            continue;
        uint64_t total = 0;
        for (size_t i = 0; i < n; i++)
            total += vs_load_relaxed(&half->counts[i]);
        vs_store_relaxed(&half->begun, total);
    }
}
