/* What the library's own files share and nobody outside sees. */
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

struct vs_arena {
    char *region; /* the shared stripe, then the owned ones, each stripe_bytes long */
    size_t region_bytes;
    uint64_t stripe_bytes;
    uint32_t stripe_count; /* owned stripes */
    uint32_t slot;
    vs_word *owners;  /* [stripe_count + 1]: who owns the stripe, 0 for nobody; [0] is unused */
    vs_word32 held;   /* owners that are not 0: lets a thread that cannot get one give up at once */
    vs_word32 used;   /* highest stripe that ever had an owner: how far readers must look */
    /* Under the cold lock: */
    uint64_t cells_top;
    uint64_t cells_used;
    vs_free_cells *free_cells[VS_FREE_SMALL + 1];
};

/* The arena in a slot, or NULL. Any thread, wait-free. */
vs_arena *vs_arena_at(uint32_t slot);

/* Run in the child of a fork, with both locks held. */
void vs_stripe_after_fork(vs_arena *arena);
void vs_registry_after_fork(void);

/* A series is linked into its metric's list (for snapshots, in order of creation) and hash chain (for binds). */
struct vs_series {
    struct vs_series *_Atomic next; /* S1 on publication; walked without a lock by snapshots */
    struct vs_series *previous;
    struct vs_series *chain;
    vs_metric *metric;
    uint64_t offset;   /* of its cells */
    uint64_t sequence; /* when it was listed: a snapshot passes over what came after its own start, so that a series that
                          is removed and made again meanwhile is not seen twice */
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
    size_t cell_bytes; /* of one series */
    uint64_t losses;   /* cells of its losses */
    char *family;      /* exported name, to find clashes */
    struct vs_series *_Atomic first;
    struct vs_series *last;
    struct vs_series **buckets;
    size_t bucket_count; /* a power of two */
    uint64_t series_count; /* counted ones that are listed */
    vs_series *overflow;
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
    vs_metric *_Atomic first;
    vs_metric *last;
    vs_metric *buried_metrics; /* unregistered, not yet freed; linked by `previous` */
    vs_series *buried_series;  /* removed, not yet freed; linked by `chain` */
};

/* Readers: between enter and leave nothing that the registry's lists reach is freed. Enter returns the sequence number
 * of the last series or metric that the reader may look at. */
uint64_t vs_registry_enter(vs_registry *registry);
void vs_registry_leave(vs_registry *registry);

/* Makes a block whose writer vanished in mid-write whole again: begun := its counts. Only where nobody writes. */
void vs_tally_mend(vs_tally_block *block, size_t n);

/* Counts of a series' tally, 0 for counters and gauges. */
size_t vs_metric_tally_size(const vs_metric *metric);

/* metric.c, for registry.c. A valid specification fills `hdr`; a new metric has its cells and is in no list; two
 * metrics clash if they would export a sample of the same name. */
bool vs_metric_valid(const vs_metric_spec *spec, vs_hdr_config *hdr);
bool vs_metric_same_shape(const vs_metric *metric, const vs_metric_spec *spec, const vs_hdr_config *hdr);
bool vs_metric_clash(const vs_metric *a, const vs_metric *b);
vs_status vs_metric_create(vs_registry *registry, const vs_metric_spec *spec, const vs_hdr_config *hdr, vs_metric **out);
void vs_metric_free(vs_metric *metric);

/* series.c, for metric.c and registry.c; all under the cold lock. */
vs_series *vs_series_create(vs_metric *metric, const char *labels, size_t size, uint32_t hash);
void vs_series_list(vs_series *series);
void vs_series_unlist(vs_series *series);
void vs_series_free(vs_series *series);
bool vs_series_prepare(vs_metric *metric);
/* The references of a series or metric may have become 0: frees what can be freed, perhaps the registry itself. */
void vs_registry_settle(vs_registry *registry);

#endif
