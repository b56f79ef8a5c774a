/* An arena: one mapped region that holds the stripes, and the cold allocator of cells in it.
 *
 * An offset is valid in every stripe. Pages are touched only when written: memory in use is about
 * (bytes of cells) x (stripes that ever had an owner), not the reserved address space. */
#ifndef VAULTSCOPE_ARENA_H
#define VAULTSCOPE_ARENA_H

#include "base.h"

typedef struct vs_arena vs_arena;

typedef struct vs_arena_options {
    uint32_t stripe_count; /* stripes with an owner, besides the shared one; 0: 64; 1 to 1024 */
    uint64_t stripe_bytes; /* address space a stripe; 0: 512 MiB, halved while the system refuses it, or
                              while the whole would take more than an eighth of a limit on address space */
} vs_arena_options;

/* Maps an anonymous arena and gives it a slot. VS_E_INVALID, VS_E_NO_MEMORY, or VS_E_FULL: a
 * process has VS_ARENAS_MAX - 1 slots, and one that was closed is not used again. */
VS_API vs_status vs_arena_open(const vs_arena_options *options, vs_arena **out);

/* The process's own arena, made on the first call from VAULTSCOPE_STRIPES and VAULTSCOPE_STRIPE_BYTES (a value
 * that is no number in range is VS_E_INVALID). Never closed: a thread may write until the process is gone. */
VS_API vs_status vs_arena_default(vs_arena **out);

/* Unmaps. Only when no registry and no handle is left in it; the caller vouches. */
VS_API void vs_arena_close(vs_arena *arena);

VS_API uint32_t vs_arena_slot(const vs_arena *arena);

/* Reserves `bytes` (rounded up to 8) of zeroed cells in every stripe. The caller holds the cold lock. VS_E_FULL. */
VS_API vs_status vs_arena_cells_alloc(vs_arena *arena, size_t bytes, uint64_t *offset);

/* Gives cells back. The caller vouches that no handle can write to them, and holds the cold lock. */
VS_API void vs_arena_cells_free(vs_arena *arena, uint64_t offset, size_t bytes);

/* Bytes of cells in use and the limit, a stripe. Takes the cold lock. */
VS_API void vs_arena_usage(vs_arena *arena, uint64_t *used, uint64_t *limit);

/* For readers: stripes that ever had an owner, and the base of one (0 is the shared stripe). Wait-free. */
VS_API uint32_t vs_arena_stripes_used(const vs_arena *arena);
VS_API char *vs_arena_stripe(const vs_arena *arena, uint32_t stripe);

/* The two locks of the process. The cold lock guards declaring, binding and the cell allocator, for a moment
 * each; the read lock serialises those who read tallies, for as long as a snapshot takes. Order: read, then cold.
 * Both are held across fork, so that a child never inherits one that a vanished thread holds. */
VS_API void vs_cold_lock(void);
VS_API void vs_cold_unlock(void);
VS_API void vs_read_lock(void);
VS_API void vs_read_unlock(void);

#endif
