/* The paths of a counter that are not hot: the first write of a thread, the shared stripe, and reading. */
#include "reader.h"
#include "sum.h"

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
    vs_reader reader;
    uint64_t total;
    vs_sum sum;
    do {
        total = 0;
        sum = (vs_sum){0};
        uint64_t archived = 0; /* the archive's real part, as bits */
        for (char *base = vs_reader_begin(&reader, arena); base != NULL; base = vs_reader_next(&reader)) {
            if (reader.archive == VS_ARCHIVE_LOW && archived == 0)
                continue; /* nothing is rounded off nothing: most counters are integers, and a line less is touched */
            vs_counter_cell *cell = cell_at(base, counter);
            /* Each word is a total of its own that only grows: a late value is one that was true a moment ago.
             * F6: acquire; pairs with F3: who sees a cell that was emptied sees the epoch of that. */
            total += vs_load_acquire(&cell->integer);
            uint64_t bits = vs_load_acquire(&cell->real);
            vs_sum_add(&sum, vs_double_of(bits));
            if (reader.archive == VS_ARCHIVE_HIGH)
                archived = bits;
        }
    } while (!vs_reader_stood_still(&reader));
    *integer = total;
    *real = vs_sum_value(&sum);
}

static void raise_integer(vs_word *cell, uint64_t to)
{
    uint64_t seen = vs_load_relaxed(cell);
    while (seen < to && !vs_cas_weak_relaxed(cell, &seen, to)) {
    }
}

static void raise_double(vs_word *cell, double to)
{
    uint64_t seen = vs_load_relaxed(cell);
    while (vs_double_of(seen) < to && !vs_cas_weak_relaxed(cell, &seen, vs_bits_of(to))) {
    }
}

void vs_counter_mirror(vs_counter counter, uint64_t integer, double real)
{
    vs_arena *arena = counter.arena < VS_ARENA_NONE ? vs_arena_at(counter.arena) : NULL;
    if (arena == NULL)
        return;
    vs_counter_cell *cell = cell_at(vs_arena_stripe(arena, 0), counter);
    if (arena->file != NULL) {
        /* One word is raised, so that no reader sees half of it; once that is the double, it stays the double. */
        if (real == 0.0 && vs_load_relaxed(&cell->real) == 0)
            raise_integer(&cell->integer, integer);
        else
            raise_double(&cell->real, (double)integer + real - (double)vs_load_relaxed(&cell->integer));
        return;
    }
    vs_store_relaxed(&cell->integer, integer);
    vs_store_relaxed(&cell->real, vs_bits_of(real));
}
