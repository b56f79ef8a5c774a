/* Stripes: a thread's own copy of every cell.
 *
 * The protocol, once. A cell is an offset; each arena holds `stripe_count` equally laid-out copies ("stripes")
 * of the whole offset space, so `address = base of my stripe + offset`. A thread that owns a stripe is its only
 * writer, so an increment is load, add, store on a line that nobody else writes. Readers add the stripes up.
 *
 *   - Attach (first write of a thread, cold): take a free stripe by compare-and-exchange on its owner word.
 *     The values that the last owner left stay: they are part of the total, and the new owner adds to them.
 *   - Release (thread exit): store 0 to the owner word. Nothing is ever reset.
 *   - Stripe 0 has no owner: it is the shared one. A thread that has no stripe (all are taken, the thread is
 *     exiting, or a signal handler interrupted a write) uses it with atomic read-modify-write.
 *   - While a thread writes a cell group of more than one word it hides its base pointer (stores NULL), so that
 *     a signal handler which writes the same metric finds no stripe and takes the shared one.
 *
 * Rejected: one shared cell per counter with fetch_add (4.9 ns alone and 15.9 ns with two threads, against 0.5 ns
 * here, BASELINES figures); a stripe per CPU through rseq (needs glibc 2.35 and assembly for each operation). */
#ifndef VAULTSCOPE_STRIPE_H
#define VAULTSCOPE_STRIPE_H

#include "atomic.h"
#include "base.h"

/* The base of this thread's stripe in each arena; 0 where it has none. Only the owning thread touches it; the
 * words are atomic because a signal handler on that thread may look at any moment. */
typedef struct vs_thread {
    vs_word base[VS_ARENAS_MAX];
} vs_thread;

/* Slot of the arena that is never attached: a handle that is bound to nothing takes the slow path. */
enum { VS_ARENA_NONE = VS_ARENAS_MAX - 1 };

/* Initial-exec: one load and one add instead of a call. 256 bytes of the static TLS surplus. */
extern VS_API _Thread_local vs_thread vs_this_thread __attribute__((tls_model("initial-exec")));

static inline char *vs_stripe_mine(uint32_t arena)
{
    return (char *)(uintptr_t)vs_load_relaxed(&vs_this_thread.base[arena]);
}

/* Gives the calling thread a stripe of the arena, if one is to be had.
 * Returns its base, or NULL when the caller must use the shared stripe.
 * Any thread; lock-free; async-signal-safe. Cold: runs once a thread, or when there is no stripe left. */
VS_API VS_COLD char *vs_stripe_attach(uint32_t arena);

/* The base of the shared stripe, or NULL for VS_ARENA_NONE and slots with no arena. Any thread, wait-free. */
VS_API char *vs_stripe_shared(uint32_t arena);

/* Owned stripes, and those that somebody holds now. Any thread; a moment's figure. */
VS_API void vs_stripe_usage(uint32_t arena, uint32_t *total, uint32_t *held);

#endif
