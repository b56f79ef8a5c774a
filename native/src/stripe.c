/* Who owns which stripe: the slow path behind every hot operation. The protocol is told in stripe.h.
 *
 * A thread's state is thread-local and touched by that thread alone, signal handlers on it included; the only word that
 * threads contend for is a stripe's owner. */
#include "internal.h"

#include <pthread.h>

_Thread_local vs_thread vs_this_thread;

/* Which stripe this thread owns in each arena: 0 none, TAKING while a compare-and-exchange is under way. A signal
 * handler that comes in between finds something other than 0 and uses the shared stripe. */
enum { TAKING = UINT32_MAX };
static _Thread_local vs_word32 my_stripe[VS_ARENAS_MAX];
static _Thread_local bool exiting;

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
        vs_store_release(&arena->owners[stripe], 0);
        /* Relaxed: a hint only. Too high makes a thread use the shared stripe once more than it must. */
        vs_add_relaxed(&arena->held, (uint32_t)-1);
    }
}

__attribute__((constructor)) static void make_exit_key(void)
{
    /* Made at load, so that the key is an early one, whose first use in a thread allocates nothing. */
    pthread_key_create(&exit_key, release_stripes);
}

static void raise_used(vs_arena *arena, uint32_t stripe)
{
    uint32_t seen = vs_load_relaxed(&arena->used);
    while (seen < stripe && !vs_cas_weak_relaxed(&arena->used, &seen, stripe)) {
    }
}

char *vs_stripe_attach(uint32_t slot)
{
    if (slot >= VS_ARENA_NONE || exiting || vs_load_relaxed(&my_stripe[slot]) != 0)
        return NULL; /* the last: owned but hidden, so this is a signal handler inside a write */
    vs_arena *arena = vs_arena_at(slot);
    if (arena == NULL || vs_load_relaxed(&arena->held) >= arena->stripe_count)
        return NULL;
    vs_store_relaxed(&my_stripe[slot], TAKING);
    for (uint32_t stripe = 1; stripe <= arena->stripe_count; stripe++) {
        uint64_t nobody = 0;
        if (vs_load_relaxed(&arena->owners[stripe]) != 0)
            continue;
        /* O2: acquire; pairs with O1: the values that the last owner left are seen whole. */
        if (!vs_cas_acquire(&arena->owners[stripe], &nobody, (uint64_t)(uintptr_t)&vs_this_thread))
            continue;
        vs_add_relaxed(&arena->held, 1u);
        raise_used(arena, stripe);
        pthread_setspecific(exit_key, &vs_this_thread);
        char *base = vs_arena_stripe(arena, stripe);
        vs_store_relaxed(&vs_this_thread.base[slot], (uint64_t)(uintptr_t)base);
        vs_store_release(&my_stripe[slot], stripe); /* O3: for this thread's signal handlers: after the base */
        return base;
    }
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
    *held = arena != NULL ? vs_load_relaxed(&arena->held) : 0;
}

/* The child has one thread: every stripe but its own has lost its owner. Values stay; they are the child's copy. */
void vs_stripe_after_fork(vs_arena *arena)
{
    uint32_t mine = vs_load_relaxed(&my_stripe[arena->slot]);
    uint32_t held = 0;
    for (uint32_t stripe = 1; stripe <= arena->stripe_count; stripe++) {
        if (stripe == mine)
            held++;
        else
            vs_store_relaxed(&arena->owners[stripe], 0); /* relaxed: there is nobody to race with */
    }
    vs_store_relaxed(&arena->held, held);
}
