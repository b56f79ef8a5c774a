/* Identifiers of traces and spans: random, never 0, from a generator that each thread has for itself. */
#ifndef VAULTSCOPE_ID_H
#define VAULTSCOPE_ID_H

#include "base.h"

/* 64 random bits that are not all 0. The generator (xoshiro256++) is seeded by the system at its first use in a thread, and anew in the
 * child of a fork. Not for secrets. Any thread; no lock; not async-signal-safe. */
VS_API uint64_t vs_id_next(void);

#endif
