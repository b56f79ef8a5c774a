/* What the library's own files share and nobody outside sees. What only files of arenas know is in file.h. */
#ifndef VAULTSCOPE_INTERNAL_H
#define VAULTSCOPE_INTERNAL_H

#include "vaultscope.h"

/* A run of free cells. Runs of up to FREE_SMALL words have a list for each size; the others share the list at 0. */
enum { VS_FREE_SMALL = 64 };
typedef struct vs_free_cells {
    struct vs_free_cells *next;
    uint64_t offset;
    uint64_t bytes;
} vs_free_cells;

#ifndef VS_STRIPES_MAX /* a model makes do with few */
#define VS_STRIPES_MAX 1024
#endif

/* What all threads of an arena share, and all processes if it is a file. */
typedef struct vs_shared {
    vs_word epoch;    /* how often stripes were folded into the archive; its lowest bit chooses the valid copy */
    vs_word extent;   /* in a file: bytes of each stripe that have disk space, and in the upper 16 bits the highest stripe that has */
    vs_word releases; /* how often a stripe was given back: lets a thread that could not get one give up at once */
    vs_word cells_top; /* under the cold lock, and the file's */
    vs_word dirty[VS_STRIPES_MAX / 32 + 1];    /* two bits for each owned stripe that holds values (reader.h) */
    vs_word owners[VS_STRIPES_MAX + 1];        /* who owns the stripe, 0 for nobody; [0] is unused */
} vs_shared;

struct vs_arena {
    vs_shared *shared;
    char *stripes;      /* the shared stripe, then the owned ones, each stripe_bytes long */
    char *process_base; /* this process's own gauges; in an anonymous arena the shared stripe */
    struct vs_file *file; /* NULL: anonymous */
    uint64_t stripe_bytes;
    uint64_t token; /* what threads of this process write to an owner word; 0: they get no stripe */
    uint32_t stripe_count; /* owned stripes */
    uint32_t slot;
    /* Under the cold lock, anonymous arenas only: */
    uint64_t cells_used;
    vs_free_cells *free_cells[VS_FREE_SMALL + 1];
};

static inline char *vs_arena_stripe(const vs_arena *arena, uint32_t stripe)
{
    return arena->stripes + stripe * arena->stripe_bytes;
}

/* Sizes that options ask for, or the defaults. False: out of range. */
bool vs_arena_sizes(const vs_arena_options *options, uint64_t bytes_default, uint32_t *stripes, uint64_t *stripe_bytes);
/* A number above 0 in the environment; *value stays if there is none. VS_E_INVALID. */
vs_status vs_environment_number(const char *name, uint64_t *value);
/* Gives the arena a slot. False: none is left. */
bool vs_arena_publish(vs_arena *arena);
/* Takes it from an arena in which no thread ever had a stripe. Under the cold lock. */
void vs_arena_retract(vs_arena *arena);

/* The arena in a slot, or NULL. Any thread, wait-free. */
vs_arena *vs_arena_at(uint32_t slot);

/* Who opens the arena of a file, or the default one. Above the read lock; held across fork too. */
void vs_opening_lock(void);
void vs_opening_unlock(void);

/* Run in the child of a fork, with all locks held. */
void vs_stripe_after_fork(vs_arena *arena);
void vs_registry_after_fork(void);
void vs_file_after_fork(vs_arena *arena);
/* The child's thread lets go of the parent's stripe, which the parent writes to. */
void vs_stripe_forget(uint32_t slot);

/* space.c: takes disk space for a stripe that the caller has just got. False: there is none. Async-signal-safe. */
bool vs_file_back_stripe(vs_arena *arena, uint32_t stripe);
/* space.c: cells that have disk space in every stripe; of gauges, in every process's page. Under the file's lock. */
vs_status vs_file_cells_alloc(vs_arena *arena, size_t bytes, uint64_t *offset);
vs_status vs_file_gauge_alloc(vs_arena *arena, uint64_t *offset);
/* lock.c: the lock that processes share, below the cold lock. Waits for two seconds at most: VS_E_BUSY. VS_E_READ_ONLY,
 * VS_E_CORRUPT. */
vs_status vs_file_lock(vs_arena *arena);
bool vs_file_try_lock(vs_arena *arena); /* does not wait; also where the arena was opened to be read */
void vs_file_unlock(vs_arena *arena);
void vs_file_close(vs_arena *arena);
/* process.c: as vs_processes_list, and how many are dead, or were killed in a fold, and are not reaped. Asking the system is most
 * of a small snapshot's cost. */
vs_status vs_processes_survey(const vs_arena *arena, vs_process **out, size_t *count, size_t *dead);
uint64_t vs_file_refused(const vs_arena *arena); /* processes that got no entry */
bool vs_file_read_only(const vs_arena *arena);
bool vs_file_untouchable(const vs_arena *arena); /* not even the word that asks a busy histogram aside */

/* The state of a record of a metric or a series in a file. */
typedef enum vs_record_state { VS_RECORD_HIDDEN = 0, VS_RECORD_LISTED = 1, VS_RECORD_REMOVED = 2 } vs_record_state;

/* A series is linked into its metric's list (for snapshots, in order of creation) and hash chain (for binds). */
struct vs_series {
    struct vs_series *_Atomic next; /* S1 on publication; walked without a lock by snapshots */
    struct vs_series *previous;
    struct vs_series *chain;
    vs_metric *metric;
    uint64_t offset;   /* of its cells */
    uint64_t sequence; /* when it was listed: a snapshot passes over what came after its own start, so that a series that
                          is removed and made again meanwhile is not seen twice */
    vs_word *state; /* in a file arena: of its record, a vs_record_state; else NULL */
    struct vs_exemplar_slot *_Atomic exemplars; /* one a bucket, from the first exemplar on; E1 on publication */
    uint32_t hash;
    uint32_t references; /* handles */
    uint32_t labels_size;
    bool listed;  /* scraped; cleared by removal */
    bool counted; /* takes part in series_max: all but the overflow series */
    char labels[]; /* rendered and escaped: op="put" */
};

struct vs_metric {
    struct vs_metric *_Atomic next; /* M1 on publication */
    struct vs_metric *previous;
    vs_registry *registry;
    uint64_t sequence; /* when it was listed: as a series' */
    vs_kind kind;
    uint32_t references; /* handles to it and to its series */
    vs_text name, help, unit; /* point into `strings` */
    vs_text *label_names;
    size_t label_count;
    double *bounds;
    size_t bound_count;
    double *quantiles;
    size_t quantile_count;
    vs_hdr_config hdr;
    uint64_t series_max;
    vs_gauge_mode mode;
    size_t tally_size; /* counts of a series; 0 for counters and gauges */
    size_t cell_bytes; /* of one series */
    uint64_t losses;   /* cells of its losses */
    char *family;      /* exported name, to find clashes */
    struct vs_series *_Atomic first;
    struct vs_series *last;
    struct vs_series **buckets;
    size_t bucket_count; /* a power of two */
    uint64_t series_count; /* counted ones that are listed */
    vs_series *overflow;
    vs_word *state;  /* in a file arena: of its record; else NULL */
    uint64_t record; /* where that is in the directory */
    char *strings;
};

struct vs_registry {
    vs_registry *next_open; /* all registries of the process, for fork */
    vs_registry *previous_open;
    vs_arena *arena;
    uint32_t references; /* handles to it, to its metrics and to its series */
    uint32_t readers;    /* snapshots under way: while there are any, nothing is freed */
    uint64_t sequence;   /* of the series or metric listed last */
    uint64_t unsettled;  /* readings that did not come to rest, in all; under the read lock */
    uint64_t synced;     /* bytes of a file's directory that the lists below follow */
    uint64_t changes;    /* changes of its records' states that they follow */
    vs_metric *_Atomic first;
    vs_metric *last;
    vs_metric *buried_metrics; /* unregistered, not yet freed; linked by `previous` */
    vs_series *buried_series;  /* removed, not yet freed; linked by `chain` */
};

/* Readers: between enter and leave nothing that the registry's lists reach is freed. Enter tells the sequence number of the last
 * series or metric that the reader may look at. Whatever it returns, leave must follow. */
vs_status vs_registry_enter(vs_registry *registry, uint64_t *sequence);
void vs_registry_leave(vs_registry *registry);

/* Makes a block whose writer vanished in mid-write whole again, as if that write had not been; in the shared stripe its value may
 * stay in the sum. Only where nobody writes. */
void vs_tally_mend(vs_tally_block *block, size_t n, bool is_shared);

/* Counts of a series' tally, 0 for counters and gauges; and bytes of a series' cells. */
size_t vs_tally_size_of(const vs_metric_spec *spec, const vs_hdr_config *hdr);
size_t vs_cell_bytes_of(vs_kind kind, size_t tally_size);

/* The label that tells the processes of a gauge of mode VS_GAUGE_ALL apart. */
#define VS_PID_LABEL ((vs_text){"pid", 3})

/* metric.c, for registry.c. A valid specification fills `hdr`; a new metric is in no list and has no cells; two metrics clash if
 * they would export a sample of the same name. */
bool vs_metric_valid(const vs_metric_spec *spec, vs_hdr_config *hdr);
bool vs_metric_same_shape(const vs_metric *metric, const vs_metric_spec *spec, const vs_hdr_config *hdr);
bool vs_metric_clash(const vs_metric *a, const vs_metric *b);
vs_metric *vs_metric_new(vs_registry *registry, const vs_metric_spec *spec, const vs_hdr_config *hdr);
void vs_metric_free(vs_metric *metric);
/* Whether its cells lie in each process's own page, rather than in the stripes. */
bool vs_metric_has_page(const vs_metric *metric);

/* series.c; all under the cold lock. */
vs_series *vs_series_find(const vs_metric *metric, const char *labels, size_t size);
vs_series *vs_series_retain(vs_series *series);
/* With cells of its own, in an anonymous arena. NULL: no memory, or no cells. */
vs_series *vs_series_create(vs_metric *metric, const char *labels, size_t size);
vs_series *vs_series_new(vs_metric *metric, const char *labels, size_t size, uint64_t offset);
bool vs_series_list(vs_series *series);
void vs_series_unlist(vs_series *series);
void vs_series_free(vs_series *series);
/* exemplar.c. Reads those of a series, which get `row` in the snapshot, into room for one a bucket; returns how many there are. Any
 * thread. In the child of a fork a slot is emptied that another thread was writing to. */
size_t vs_exemplars_read(const vs_series *series, size_t row, vs_exemplar *out);
void vs_exemplars_after_fork(vs_series *series);
void vs_exemplars_free(vs_series *series);
/* bind.c. The labels of the overflow series. False: no memory. */
bool vs_series_overflow_key(const vs_metric *metric, vs_buffer *key);
/* Cells of a new metric's losses, and its first series: the only one, or the overflow series, so that it is there when nothing
 * else can be had. Anonymous arenas. */
vs_status vs_series_prepare(vs_metric *metric);

/* registry.c, for sync.c. */
void vs_metric_list(vs_metric *metric);
void vs_metric_unlist(vs_metric *metric);

/* sync.c: what other processes declared, bound and removed, and the same for them. Under the cold lock; the last three, and
 * vs_sync after them, also under the file's. In an anonymous arena vs_sync does nothing. */
vs_status vs_sync(vs_registry *registry);
vs_status vs_sync_declare(vs_registry *registry, const vs_metric *metric);
vs_status vs_sync_bind(vs_metric *metric, const char *labels, size_t size);
void vs_sync_state(vs_registry *registry, vs_word *state, uint64_t value);

/* The references of a series or metric may have become 0: frees what can be freed, perhaps the registry itself. */
void vs_registry_settle(vs_registry *registry);

#endif
