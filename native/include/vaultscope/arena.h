/* An arena: one mapped region that holds the stripes, and the cold allocator of cells in it.
 *
 * An offset is valid in every stripe. An anonymous arena belongs to one process, and its pages are touched only when
 * written: memory in use is about (bytes of cells) x (stripes that ever had an owner), not the reserved address space.
 *
 * An arena in a file is shared by all processes that open the file, by name of metric and labels; it outlives them, `kill -9`
 * included (a power failure it does not). Disk space is taken before cells are used, so that a full disk is a refusal and no
 * SIGBUS. It must lie on a local filesystem; on tmpfs no write-back disturbs the writers. */
#ifndef VAULTSCOPE_ARENA_H
#define VAULTSCOPE_ARENA_H

#include "base.h"

typedef struct vs_arena vs_arena;

typedef struct vs_arena_options {
    uint32_t stripe_count; /* stripes with an owner, besides the shared one; 0: 64, in a file 128; 1 to 1024 */
    uint64_t stripe_bytes; /* address space a stripe. 0: 512 MiB, halved while the system refuses it, or while the whole would
                              take more than an eighth of a limit on address space; in a file 64 MiB */
    uint64_t log_bytes;    /* in a file: of its log ring, 64 KiB to 1 GiB, rounded up to a power of two. 0: what VAULTSCOPE_LOG_BYTES
                              says, else 4 MiB */
} vs_arena_options;

typedef enum vs_arena_access {
    VS_ARENA_SHARE = 0, /* count in it; the file is made if it is not there */
    VS_ARENA_READ = 1   /* take snapshots of it, without a part in it. A busy histogram is asked aside and the dead are reaped, which is
                           writing; where the file may only be read, neither is done: such a histogram may be read torn, and
                           is then counted as unsettled */
} vs_arena_access;

/* Maps an anonymous arena and gives it a slot. VS_E_INVALID, VS_E_NO_MEMORY, or VS_E_FULL: a
 * process has VS_ARENAS_MAX - 1 slots, and one that was closed is not used again. */
VS_API vs_status vs_arena_open(const vs_arena_options *options, vs_arena **out);

/* Opens the arena in a file. A file that is not there, or is empty, becomes one of the size that `options` asks for; a file that
 * is an arena keeps its own. The same file again gives the same arena: it stays mapped as long as the process lives.
 * VS_E_SYSTEM, VS_E_FOREIGN, VS_E_CORRUPT, VS_E_BUSY, VS_E_NO_MEMORY, VS_E_INVALID, VS_E_FULL: vs_arena_reason says more. */
VS_API vs_status vs_arena_open_file(const char *path, vs_arena_access access, const vs_arena_options *options, vs_arena **out);

/* Why the calling thread's last vs_arena_open_file or vs_arena_default failed, in a sentence that names the file. */
VS_API const char *vs_arena_reason(void);

/* The process's own arena, made on the first call: in the file that VAULTSCOPE_ARENA names, else anonymous; its size from
 * VAULTSCOPE_STRIPES and VAULTSCOPE_STRIPE_BYTES (a value that is no number in range is VS_E_INVALID). Never closed: a
 * thread may write until the process is gone. */
VS_API vs_status vs_arena_default(vs_arena **out);

/* Unmaps an anonymous arena, or one that was opened to be read as often as it is closed. Only when no registry and no handle
 * is left in it; the caller vouches. An arena in a file that was opened to be shared stays as it is. */
VS_API void vs_arena_close(vs_arena *arena);

VS_API uint32_t vs_arena_slot(const vs_arena *arena);

/* The file's path, or NULL for an anonymous arena. */
VS_API const char *vs_arena_path(const vs_arena *arena);

/* Reserves `bytes` (rounded up to 8) of zeroed cells in every stripe. The caller holds the cold lock. VS_E_FULL. */
VS_API vs_status vs_arena_cells_alloc(vs_arena *arena, size_t bytes, uint64_t *offset);

/* Gives cells back. The caller vouches that no handle can write to them, and holds the cold lock. In a file nobody can
 * vouch for that, so there they are not used again. */
VS_API void vs_arena_cells_free(vs_arena *arena, uint64_t offset, size_t bytes);

/* Bytes of cells in use and the limit, a stripe. Takes the cold lock. */
VS_API void vs_arena_usage(vs_arena *arena, uint64_t *used, uint64_t *limit);

/* A process that shares an arena. */
typedef struct vs_process {
    uint64_t pid;      /* in its own namespace */
    uint64_t stripes;  /* that its threads hold */
    const char *gauges; /* its own cells of gauges */
    bool self;
} vs_process;

/* The processes that share the arena and are not known to be dead, in no order; of an anonymous one, this process.
 * *out is to be freed with vs_processes_free. VS_E_NO_MEMORY. */
VS_API vs_status vs_processes_list(const vs_arena *arena, vs_process **out, size_t *count);
VS_API void vs_processes_free(vs_process *processes);

/* Lets go what dead processes left in a file arena: their stripes, values and all, are summed up for good, their gauges go. Snapshots do
 * it by themselves. Returns how many were found; 0 also while another process is at it. */
VS_API size_t vs_arena_reap(vs_arena *arena);

/* Stripes that hold values which are not summed up yet: how many a reader adds up, besides the shared one. */
VS_API uint32_t vs_arena_stripes_used(const vs_arena *arena);

/* The two locks of the process. The cold lock guards declaring, binding and the cell allocator, for a moment
 * each; the read lock serialises those who read tallies, for as long as a snapshot takes. Order: read, then cold, then the lock of
 * an arena's file, which other processes take too. The first two are held across fork, so that a child never inherits one
 * that a vanished thread holds. */
VS_API void vs_cold_lock(void);
VS_API void vs_cold_unlock(void);
VS_API void vs_read_lock(void);
VS_API void vs_read_unlock(void);

#endif
