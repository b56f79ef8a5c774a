/* The slots that exemplars lie in, one for each bucket of a series.
 *
 * A slot's version is odd while a thread writes to it. Who finds it odd goes away: to lose an exemplar is nothing, to wait is not allowed
 * where values are observed. Who reads looks at the version before and after. */
#define _GNU_SOURCE
#include "internal.h"

#include <stdlib.h>
#include <time.h>

enum { VALUE, TRACE_HIGH, TRACE_LOW, SPAN, TIME, WORDS };
enum { TRIES = 8 }; /* of a reader: a write takes five stores, unless its thread is stopped in the middle */

struct vs_exemplar_slot {
    vs_word version; /* 0: nothing was ever written */
    vs_word words[WORDS];
};

static int64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- writers ---- */

static struct vs_exemplar_slot *slots_of(vs_series *series)
{
    struct vs_exemplar_slot *slots = vs_load_acquire(&series->exemplars); /* E2: acquire; pairs with E1 */
    if (VS_LIKELY(slots != NULL))
        return slots;
    struct vs_exemplar_slot *made = calloc(series->metric->bound_count + (size_t)1, sizeof *made);
    if (made == NULL)
        return NULL;
    while (slots == NULL) /* E1: release; pairs with E2. Without it a slot could be seen before it is empty. */
        if (vs_cas_weak_release(&series->exemplars, &slots, made)) /* E1 */
            return made;
    free(made); /* another thread was first */
    return vs_load_acquire(&series->exemplars); /* E2 */
}

/* The slot of a value's bucket; *value becomes what was recorded of it. NULL: there is none. */
static struct vs_exemplar_slot *slot_of(vs_series *series, double *value)
{
    const vs_metric *metric = series->metric;
    if (metric->tally_size == 0 || metric->bound_count == 0 || !(*value - *value == 0.0))
        return NULL;
    if (metric->kind == VS_HDR) {
        double highest = (double)metric->hdr.highest;
        *value = *value < 0.0 ? 0.0 : *value > highest ? highest : *value;
    }
    struct vs_exemplar_slot *slots = slots_of(series);
    return slots != NULL ? &slots[vs_histogram_bucket(metric->bounds, (uint32_t)metric->bound_count, *value)] : NULL;
}

/* Whether the slot's exemplar is old enough. One from the future, by a clock that was set back meanwhile, is. */
static bool is_due(const struct vs_exemplar_slot *slot, int64_t time_ns)
{
    uint64_t last = vs_load_relaxed(&slot->words[TIME]);
    uint64_t gap = VS_EXEMPLAR_GAP_NS;
    return last == 0 || (uint64_t)time_ns - last + gap - 1 > 2 * (gap - 1);
}

static bool put(struct vs_exemplar_slot *slot, double value, uint64_t trace_high, uint64_t trace_low, uint64_t span, int64_t time_ns)
{
    const uint64_t words[WORDS] = {vs_bits_of(value), trace_high, trace_low, span, (uint64_t)time_ns};
    uint64_t version = vs_load_relaxed(&slot->version);
    /* E3: acquire; pairs with E5. Without it the last writer's words could come after ours, and stay. */
    if ((version & 1) != 0 || !vs_cas_acquire(&slot->version, &version, version + 1))
        return false;
    vs_copy_release(slot->words, words, WORDS);    /* E4: release; pairs with E7. Without it a reader could have one of them and
                                                      not see that the version is odd */
    vs_store_release(&slot->version, version + 2); /* E5: release; pairs with E3 and E6. Without it a reader could take the version
                                                      for whole and have words from before */
    return true;
}

bool vs_series_exemplar_at(vs_series *series, double value, uint64_t trace_high, uint64_t trace_low, uint64_t span, int64_t time_ns)
{
    if ((trace_high | trace_low) == 0 || span == 0 || time_ns <= 0)
        return false;
    struct vs_exemplar_slot *slot = slot_of(series, &value);
    return slot != NULL && is_due(slot, time_ns) && put(slot, value, trace_high, trace_low, span, time_ns);
}

bool vs_series_exemplar(vs_series *series, double value, uint64_t trace_high, uint64_t trace_low, uint64_t span)
{
    if ((trace_high | trace_low) == 0 || span == 0)
        return false;
    struct vs_exemplar_slot *slot = slot_of(series, &value);
    /* The coarse clock is milliseconds late and costs a quarter. */
    return slot != NULL && is_due(slot, now_ns(CLOCK_REALTIME_COARSE)) &&
           put(slot, value, trace_high, trace_low, span, now_ns(CLOCK_REALTIME));
}

/* ---- readers ---- */

static bool read_slot(const struct vs_exemplar_slot *slot, vs_exemplar *out)
{
    for (int i = 0; i < TRIES; i++) {
        uint64_t version = vs_load_acquire(&slot->version); /* E6: acquire; pairs with E5 */
        if (version == 0)
            return false;
        uint64_t words[WORDS];
        for (int k = 0; k < WORDS; k++)
            words[k] = vs_load_acquire(&slot->words[k]); /* E7: acquire; pairs with E4 */
        if ((version & 1) == 0 && vs_load_relaxed(&slot->version) == version) { /* E8: kept behind E7 by its acquire */
            out->value = vs_double_of(words[VALUE]);
            out->trace_high = words[TRACE_HIGH];
            out->trace_low = words[TRACE_LOW];
            out->span = words[SPAN];
            out->time_ns = (int64_t)words[TIME];
            return true;
        }
        vs_cpu_relax();
    }
    return false;
}

size_t vs_exemplars_read(const vs_series *series, size_t row, vs_exemplar *out)
{
    const struct vs_exemplar_slot *slots = vs_load_acquire(&series->exemplars); /* E2 */
    size_t n = 0;
    for (size_t i = 0; slots != NULL && i <= series->metric->bound_count; i++) {
        if (read_slot(&slots[i], &out[n])) {
            out[n].series = row;
            out[n].bucket = (uint32_t)i;
            n++;
        }
    }
    return n;
}

const vs_exemplar *vs_snapshot_exemplars(const vs_snapshot *snapshot, size_t series, size_t *count)
{
    const vs_exemplar *all = snapshot->exemplars;
    size_t low = 0, high = snapshot->exemplar_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (all[middle].series < series)
            low = middle + 1;
        else
            high = middle;
    }
    size_t end = low;
    while (end < snapshot->exemplar_count && all[end].series == series)
        end++;
    *count = end - low;
    return end != low ? all + low : NULL;
}

/* ---- life ---- */

void vs_exemplars_after_fork(vs_series *series)
{
    struct vs_exemplar_slot *slots = vs_load_relaxed(&series->exemplars);
    for (size_t i = 0; slots != NULL && i <= series->metric->bound_count; i++)
        if ((vs_load_relaxed(&slots[i].version) & 1) != 0) {
            vs_store_relaxed(&slots[i].words[TIME], 0);
            vs_store_relaxed(&slots[i].version, 0);
        }
}

void vs_exemplars_free(vs_series *series) { free(vs_load_relaxed(&series->exemplars)); }
