/* The one door to atomics: the only file that includes <stdatomic.h>, so that a model checker can be put in
 * its place. The order is in the name of each operation; there is no seq_cst and no stand-alone fence.
 *
 * "Owned" operations are for a word that exactly one thread writes (others may read it at any moment). On x86-64 they
 * are one instruction without a lock prefix, so that a signal handler on the owner's thread cannot fall between the load and
 * the store. */
#ifndef VAULTSCOPE_ATOMIC_H
#define VAULTSCOPE_ATOMIC_H

#include <stdatomic.h>
#include <string.h>

#include "base.h"

typedef _Atomic(uint64_t) vs_word;   /* an integer, or the bits of a double */
typedef _Atomic(uint32_t) vs_word32;

_Static_assert(sizeof(vs_word) == 8, "cells are eight bytes");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics must be lock-free");

#define vs_load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define vs_load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define vs_store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define vs_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define vs_add_relaxed(p, n) atomic_fetch_add_explicit((p), (n), memory_order_relaxed)
#define vs_add_release(p, n) atomic_fetch_add_explicit((p), (n), memory_order_release)
#define vs_or_relaxed(p, bits) atomic_fetch_or_explicit((p), (bits), memory_order_relaxed)
#define vs_or_acq_rel(p, bits) atomic_fetch_or_explicit((p), (bits), memory_order_acq_rel)
#define vs_add_acq_rel(p, n) atomic_fetch_add_explicit((p), (n), memory_order_acq_rel)
#define vs_exchange_acquire(p, v) atomic_exchange_explicit((p), (v), memory_order_acquire)
#define vs_exchange_relaxed(p, v) atomic_exchange_explicit((p), (v), memory_order_relaxed)
#define vs_and_release(p, bits) atomic_fetch_and_explicit((p), (bits), memory_order_release)
#define vs_cas_acquire(p, expected, desired) \
    atomic_compare_exchange_strong_explicit((p), (expected), (desired), memory_order_acquire, memory_order_relaxed)
#define vs_cas_weak_relaxed(p, expected, desired) \
    atomic_compare_exchange_weak_explicit((p), (expected), (desired), memory_order_relaxed, memory_order_relaxed)
#define vs_cas_weak_release(p, expected, desired) \
    atomic_compare_exchange_weak_explicit((p), (expected), (desired), memory_order_release, memory_order_relaxed)

/* Sanitizers and model checkers must see the operations, so they get the portable spelling. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(VS_PORTABLE_ATOMICS)
#define VS_OWNED_ASM 1
#endif

/* Adds to a word that only this thread and its signal handlers write. */
static inline void vs_owned_add(vs_word *cell, uint64_t n)
{
#ifdef VS_OWNED_ASM
    __asm__ volatile("addq %1, %0" : "+m"(*(uint64_t *)cell) : "er"(n) : "cc");
#else
    vs_add_relaxed(cell, n); /* a load and a store could lose what a handler adds in between */
#endif
}

/* Adds to a word that only this thread writes and no signal handler reaches, since the stripe is hidden (stripe.h). Every
 * earlier store of this thread is visible to whoever acquires the new value. */
static inline void vs_owned_add_release(vs_word *cell, uint64_t n)
{
#ifdef VS_OWNED_ASM /* x86 keeps stores in order; "memory" keeps the compiler from moving them */
    __asm__ volatile("addq %1, %0" : "+m"(*(uint64_t *)cell) : "er"(n) : "cc", "memory");
#else
    vs_store_release(cell, vs_load_relaxed(cell) + n);
#endif
}

/* Stores words one after the other, each of them release: `from` need not be aligned. */
static inline void vs_copy_release(vs_word *to, const void *from, size_t words)
{
    const char *at = from;
#ifdef VS_OWNED_ASM /* x86 keeps stores in order, and a half of a vector that is aligned is stored whole */
    for (; words >= 8; words -= 8, to += 8, at += 64)
        __asm__ volatile("movups (%1), %%xmm0\n\tmovups 16(%1), %%xmm1\n\tmovups 32(%1), %%xmm2\n\tmovups 48(%1), %%xmm3\n\t"
                         "movups %%xmm0, (%0)\n\tmovups %%xmm1, 16(%0)\n\tmovups %%xmm2, 32(%0)\n\tmovups %%xmm3, 48(%0)"
                         : : "r"(to), "r"(at) : "xmm0", "xmm1", "xmm2", "xmm3", "memory");
#endif
    for (; words != 0; words--, to++, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        vs_store_release(to, word);
    }
}

static inline double vs_double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint64_t vs_bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Adds to a double that only this thread writes; release, as above. Returns the sum. */
static inline double vs_owned_add_double_release(vs_word *cell, double value)
{
#ifdef VS_OWNED_ASM /* left to itself the compiler takes the sum through an integer register and back: 4.3 ns, not 3.3 */
    __asm__ volatile("addsd %1, %0\n\tmovsd %0, %1" : "+x"(value), "+m"(*(uint64_t *)cell) : : "memory");
    return value;
#else
    double sum = vs_double_of(vs_load_relaxed(cell)) + value;
    vs_store_release(cell, vs_bits_of(sum));
    return sum;
#endif
}

/* Adds to a double that anyone may write. Lock-free: a failed exchange means that another thread succeeded. */
static inline void vs_shared_add_double_release(vs_word *cell, double value)
{
    uint64_t seen = vs_load_relaxed(cell);
    while (!vs_cas_weak_release(cell, &seen, vs_bits_of(vs_double_of(seen) + value))) {
    }
}

static inline void vs_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
