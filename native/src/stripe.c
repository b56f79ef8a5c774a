/* Who owns which stripe: the slow path behind every hot operation. The protocol is told in stripe.h.
 *
 * A thread's state is thread-local and touched by that thread alone, signal handlers on it included; the only word that
 * threads contend for is a stripe's owner. */
#include "reader.h"

#include <pthread.h>

_Thread_local vs_thread vs_this_thread;

/* Which stripe this thread owns in each arena: 0 none, TAKING while a compare-and-exchange is under way. A signal
 * handler that comes in between finds something other than 0 and uses the shared stripe. */
enum { TAKING = UINT32_MAX };
static _Thread_local vs_word32 my_stripe[VS_ARENAS_MAX];
static _Thread_local bool exiting;

/* The number of releases, plus 1, at which this thread last found no stripe: it need not look again before the next. */
static _Thread_local vs_word none_free[VS_ARENAS_MAX];

static pthread_key_t exit_key;

static void release_stripes(void *unused)
{
    (void)unused;
    exiting = true; /* destructors that run after this one write to the shared stripe */
    for (uint32_t slot = 0; slot < VS_ARENA_NONE; slot++) {
        uint32_t stripe = vs_load_relaxed(&my_stripe[slot]);
        if (stripe == 0)
            continue;
        vs_store_relaxed(&vs_this_thread.base[slot], 0);
        vs_arena *arena = vs_arena_at(slot);
        if (arena == NULL)
            continue;
        /* O1: release; pairs with O2 in vs_stripe_attach. Without it the next owner could add to values that lack this
         * thread's last increments. */
        vs_store_release(&arena->shared->owners[stripe], 0);
        /* Relaxed: a hint only. Seen late, or never if the process is killed here, a thread shares longer than it must. */
        vs_add_relaxed(&arena->shared->releases, 1u);
    }
}

__attribute__((constructor)) static void make_exit_key(void)
{
    /* Made at load, so that the key is an early one, whose first use in a thread allocates nothing. */
    pthread_key_create(&exit_key, release_stripes);
}

/* Says that the stripe holds values, for readers and for the fold. Only its owner does, and fold.c for a stripe that it holds.
 * Relaxed: a stripe whose bit is not seen yet is one whose first increment is not seen yet. */
static void mark_dirty(vs_shared *shared, uint32_t stripe)
{
    vs_word *word = &shared->dirty[stripe / VS_DIRTY_STRIPES];
    uint64_t bits = vs_dirty_bits(stripe, VS_DIRTY_BOTH);
    if ((vs_load_relaxed(word) & bits) != bits)
        vs_or_relaxed(word, bits);
}

char *vs_stripe_attach(uint32_t slot)
{
    if (slot >= VS_ARENA_NONE || exiting || vs_load_relaxed(&my_stripe[slot]) != 0)
        return NULL; /* the last: owned but hidden, so this is a signal handler inside a write */
    vs_arena *arena = vs_arena_at(slot);
    if (arena == NULL || arena->token == 0)
        return NULL;
    vs_shared *shared = arena->shared;
    uint64_t releases = vs_load_relaxed(&shared->releases);
    if (vs_load_relaxed(&none_free[slot]) == releases + 1)
        return NULL;
    vs_store_relaxed(&my_stripe[slot], TAKING);
    for (uint32_t stripe = 1; stripe <= arena->stripe_count; stripe++) {
        uint64_t nobody = 0;
        if (vs_load_relaxed(&shared->owners[stripe]) != 0)
            continue;
        /* O2: acquire; pairs with O1: the values that the last owner left are seen whole. */
        if (!vs_cas_acquire(&shared->owners[stripe], &nobody, arena->token))
            continue;
        if (arena->file != NULL && !vs_file_back_stripe(arena, stripe)) {
            vs_store_release(&shared->owners[stripe], 0); /* O1 */
            break;
        }
        mark_dirty(shared, stripe);
        pthread_setspecific(exit_key, &vs_this_thread);
        char *base = vs_arena_stripe(arena, stripe);
        vs_store_relaxed(&vs_this_thread.base[slot], (uint64_t)(uintptr_t)base);
        vs_store_release(&my_stripe[slot], stripe); /* O3: for this thread's signal handlers: after the base */
        return base;
    }
    vs_store_relaxed(&none_free[slot], releases + 1);
    vs_store_relaxed(&my_stripe[slot], 0);
    return NULL;
}

char *vs_stripe_shared(uint32_t slot)
{
    vs_arena *arena = slot < VS_ARENA_NONE ? vs_arena_at(slot) : NULL;
    return arena != NULL ? vs_arena_stripe(arena, 0) : NULL;
}

void vs_stripe_usage(uint32_t slot, uint32_t *total, uint32_t *held)
{
    vs_arena *arena = slot < VS_ARENA_NONE ? vs_arena_at(slot) : NULL;
    *total = arena != NULL ? arena->stripe_count : 0;
    *held = 0;
    for (uint32_t stripe = 1; stripe <= *total; stripe++)
        *held += vs_load_relaxed(&arena->shared->owners[stripe]) != 0;
}

uint32_t vs_arena_stripes_used(const vs_arena *arena)
{
    uint32_t used = 0;
    uint64_t mask = vs_dirty_mask(vs_load_relaxed(&arena->shared->epoch)); /* relaxed: a moment's figure */
    for (uint32_t word = 0; word <= arena->stripe_count / VS_DIRTY_STRIPES; word++)
        used += (uint32_t)__builtin_popcountll(vs_load_relaxed(&arena->shared->dirty[word]) & mask);
    return used;
}

/* The child has one thread: every stripe but its own has lost its owner. Values stay; they are the child's copy. */
void vs_stripe_after_fork(vs_arena *arena)
{
    uint32_t mine = vs_load_relaxed(&my_stripe[arena->slot]);
    for (uint32_t stripe = 1; stripe <= arena->stripe_count; stripe++)
        if (stripe != mine)
            vs_store_relaxed(&arena->shared->owners[stripe], 0); /* relaxed: there is nobody to race with */
    vs_add_relaxed(&arena->shared->releases, 1u);
}

void vs_stripe_forget(uint32_t slot)
{
    vs_store_relaxed(&vs_this_thread.base[slot], 0);
    vs_store_relaxed(&my_stripe[slot], 0);
    vs_store_relaxed(&none_free[slot], 0);
}
