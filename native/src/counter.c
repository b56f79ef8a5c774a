/* The paths of a counter that are not hot: the first write of a thread, the shared stripe, and reading. */
#include "internal.h"

static vs_counter_cell *cell_at(char *base, vs_counter counter)
{
    return (vs_counter_cell *)(base + counter.offset);
}

bool vs_counter_add_slow(vs_counter counter, uint64_t n)
{
    char *base = vs_stripe_attach(counter.arena);
    if (base != NULL) {
        vs_owned_add(&cell_at(base, counter)->integer, n);
        return true;
    }
    base = vs_stripe_shared(counter.arena);
    if (base == NULL)
        return false;
    vs_add_relaxed(&cell_at(base, counter)->integer, n); /* relaxed: as in vs_counter_add */
    return true;
}

bool vs_counter_add_double_slow(vs_counter counter, double n)
{
    if (vs_stripe_attach(counter.arena) != NULL)
        return vs_counter_add_double(counter, n);
    char *base = vs_stripe_shared(counter.arena);
    if (base == NULL)
        return false;
    vs_shared_add_double_release(&cell_at(base, counter)->real, n);
    return true;
}

void vs_counter_read(vs_counter counter, uint64_t *integer, double *real)
{
    *integer = 0;
    *real = 0.0;
    vs_arena *arena = counter.arena < VS_ARENA_NONE ? vs_arena_at(counter.arena) : NULL;
    if (arena == NULL)
        return;
    uint32_t used = vs_arena_stripes_used(arena);
    for (uint32_t stripe = 0; stripe <= used; stripe++) {
        vs_counter_cell *cell = cell_at(vs_arena_stripe(arena, stripe), counter);
        /* Relaxed: each word is a total of its own that only grows; a late value is one that was true a moment ago. */
        *integer += vs_load_relaxed(&cell->integer);
        *real += vs_double_of(vs_load_relaxed(&cell->real));
    }
}

void vs_counter_mirror(vs_counter counter, uint64_t integer, double real)
{
    char *base = vs_stripe_shared(counter.arena);
    if (base == NULL)
        return;
    vs_store_relaxed(&cell_at(base, counter)->integer, integer);
    vs_store_relaxed(&cell_at(base, counter)->real, vs_bits_of(real));
}
