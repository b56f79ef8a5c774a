/* How an arena lies in its file, and what the files share that work on it.
 *
 *   header      one page, written once: magic, version, sizes, checksum
 *   words       vs_file_words: what processes share and change
 *   processes   vs_process_entry[process_count]: who shares the arena
 *   log         vs_ring_words: where the log ring's writers and readers are
 *   pages       a page for each process entry: its own cells of gauges
 *   ring        the log ring: marks, then cells (ring.h)
 *   directory   records of metrics and series, one after the other; a record never moves, and only its state changes
 *   stripes     the shared one, the owned ones, and four of the archive (fold.c)
 *
 * All of it but the header and a few pages is holes until it is used. Numbers are in the machine's own byte order. */
#ifndef VAULTSCOPE_FILE_H
#define VAULTSCOPE_FILE_H

#include <sys/types.h>

#include "internal.h"

enum {
    VS_FILE_VERSION = 2,
    VS_FILE_PAGE = 4096,
    VS_FILE_PROCESSES = 256,
    VS_GAUGE_PAGE_BYTES = 64 << 10,
    VS_ARCHIVES = 4,
    VS_RECORD_BYTES_MAX = 1 << 20
};

typedef struct vs_file_header {
    char magic[8];
    uint32_t version;
    uint32_t byte_order; /* 0x01020304 */
    uint64_t file_bytes;
    uint64_t stripe_bytes;
    uint32_t stripe_count;
    uint32_t process_count;
    uint64_t ring_cells;
    uint64_t words_at, processes_at, log_at, pages_at, ring_at, directory_at, directory_bytes, stripes_at;
    uint64_t checksum; /* of all before it */
} vs_file_header;

typedef struct vs_file_words {
    vs_shared shared;
    vs_word directory_top; /* D1: bytes of records that are whole */
    vs_word directory_backed;
    vs_word changes; /* D3: how often the state of a record changed */
    vs_word gauges_top;
    vs_word processes_refused;
} vs_file_words;

/* Claimed by exchanging `who` from 0. Live once `state` says so; let go by whoever proves it dead. */
typedef struct vs_process_entry {
    vs_word who; /* pid, and above it its pid namespace: one word, since a claim that is half made must tell both */
    vs_word state;
    vs_word start;   /* of the process, in ticks since boot: /proc/PID/stat; 0 where it cannot be told */
    vs_word program; /* what it executes: another number after each exec */
    vs_word boot;    /* which boot of the machine */
    vs_word locked;  /* it holds the file's lock on its own byte (process.c) */
    vs_word spare[2];
} vs_process_entry;

enum { VS_PROCESS_LIVE = 1, VS_PROCESS_SPACE_SHIFT = 32 };

/* Owner words of a file arena: a thread's is its process's entry + 1, shifted; or this bit and an epoch, while the
 * stripe moves to the archive of that epoch. */
#define VS_OWNER_FOLDING (UINT64_C(1) << 63)
enum { VS_OWNER_ENTRY_SHIFT = 32 };
static inline uint64_t vs_process_token(uint32_t entry) { return (uint64_t)entry << VS_OWNER_ENTRY_SHIFT | 1; }

typedef struct vs_file {
    char *map;
    vs_file_words *words;
    vs_process_entry *processes;
    vs_ring_words *ring_words;
    char *pages;
    char *ring;
    char *directory;
    uint64_t ring_cells;
    vs_ring_drain drain; /* under the drain lock */
    vs_word *backed; /* [stripe]: bytes that are known to have disk space */
    char *limbo; /* gauges of a process that got no entry; NULL until then */
    uint64_t file_bytes, directory_bytes;
    uint64_t checked; /* bytes of the directory that were found sane; under the cold lock */
    dev_t device;
    ino_t inode;
    uint64_t boot, space, start, program; /* of this process, as vs_process_entry has them */
    uint32_t process_count;
    uint32_t entry; /* this process's, + 1; 0: none */
    vs_word32 fd;       /* vs_file_descriptor gives one that is sure to be the file's */
    vs_word32 reopened; /* it is not that of the mapping any more */
    uint32_t openings; /* that were not closed; under the cold lock */
    bool read_only;  /* nothing is written but `hot` */
    bool untouchable; /* not even that */
    bool corrupt;
    bool patience_spent; /* the last wait for the lock was in vain; under the cold lock */
    char path[]; /* as it was given, made absolute */
} vs_file;

/* The word `extent`. */
enum { VS_EXTENT_STRIPE_SHIFT = 48 };
static inline uint64_t vs_extent_bytes(uint64_t extent) { return extent & ((UINT64_C(1) << VS_EXTENT_STRIPE_SHIFT) - 1); }

/* FNV-1a: enough to know bytes that were lost or are not ours. */
static inline uint64_t vs_checksum(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* ---- records ---- */

typedef enum vs_record_type { VS_RECORD_METRIC = 1, VS_RECORD_SERIES = 2 } vs_record_type;

typedef struct vs_record {
    uint64_t checksum; /* of all after `state` */
    vs_word state;
    uint32_t size; /* of all, a multiple of 8 */
    uint32_t type;
} vs_record;

typedef struct vs_metric_record {
    vs_record head;
    uint32_t kind, mode, digits;
    uint32_t name_size, help_size, unit_size;
    uint32_t label_count, bound_count, quantile_count, tally_size;
    int64_t hdr_lowest, hdr_highest;
    uint64_t series_max;
    uint64_t losses; /* cells */
    double reals[];  /* bounds, quantiles; then uint32_t sizes of the label names; then name, help, unit, label names */
} vs_metric_record;

typedef struct vs_series_record {
    vs_record head;
    uint64_t metric; /* where its record is */
    uint64_t offset; /* of its cells */
    uint32_t labels_size;
    uint32_t is_overflow;
    char labels[];
} vs_series_record;

/* directory.c. Looks at records that were added since; sets `checked` or, for good, `corrupt`. Under the cold lock. */
vs_status vs_directory_check(vs_arena *arena);
/* The record at `at`, which must be below `checked`; its successor is at + size. */
static inline vs_record *vs_directory_at(const vs_file *file, uint64_t at)
{
    return (vs_record *)(file->directory + at);
}
/* The series records below `checked` whose metric is not removed and that are not themselves; `at` starts at 0. NULL: no more. */
const vs_series_record *vs_directory_next_series(const vs_file *file, uint64_t *at, const vs_metric_record **metric);
/* Likewise metrics. */
const vs_metric_record *vs_directory_next_metric(const vs_file *file, uint64_t *at);
/* Room for a record at the end, with disk space; not visible until vs_directory_publish. VS_E_FULL. Under the file's lock. */
vs_status vs_directory_reserve(vs_arena *arena, uint64_t top, size_t bytes, void *record);
void vs_directory_seal(vs_record *record, vs_record_type type, size_t bytes, vs_record_state state);
void vs_directory_publish(vs_arena *arena, uint64_t top);
/* What a metric's record declares; label names are put into `names`, which has room for VS_LABELS_MAX. */
void vs_directory_spec(const vs_metric_record *record, vs_text *names, vs_metric_spec *spec);

/* file.c. Says why, for vs_arena_reason. Returns `status`. */
vs_status vs_file_refuse(vs_status status, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* space.c. Disk space for bytes of the file. False: there is none. Async-signal-safe. */
bool vs_file_back(const vs_file *file, const char *from, uint64_t bytes);

/* lock.c. A descriptor of the file, opened again if the host closed it; -1: the path is gone, or another file. Any thread;
 * async-signal-safe. */
int vs_file_descriptor(const vs_file *file);
bool vs_file_is_at(const vs_file *file, int fd);
/* The file's lock by a descriptor, for an arena that is not open yet. Waits for two seconds at most. */
bool vs_lock_descriptor(int fd);
void vs_unlock_descriptor(int fd);

/* process.c. What this process is, for entries to say and to be compared with. */
void vs_process_identify(vs_file *file);
/* Reaps the dead, then takes an entry; without one this process's threads share the shared stripe, which is counted. */
vs_status vs_process_arrive(vs_arena *arena);
bool vs_process_is_dead(const vs_file *file, uint32_t index);

/* fold.c; under the cold lock and the file's. A dead process's stripes are given back, whole. Returns how many there were. */
size_t vs_fold_release(vs_arena *arena, uint32_t index);
/* Moves what stripes without an owner hold to the archive, if there is disk space for it. */
void vs_fold_stripes(vs_arena *arena);
/* Whether there is a fold under way; if not, one was killed, and vs_fold_stripes goes on with it. Any thread. */
bool vs_fold_is_cut_short(const vs_arena *arena);
/* All owners are dead, and nobody writes: makes every tally whole. */
void vs_fold_mend_all(vs_arena *arena);

#endif
