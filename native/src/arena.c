/* Mapping of arenas, the allocator of cells in them, and the cold locks.
 *
 * An arena reserves far more address space than it will use: a stripe must be contiguous for `base + offset` to work,
 * and a page that nobody writes costs nothing. Huge pages would defeat that (2 MiB for the first counter of each
 * thread), so they are turned off for the region. Where the system refuses the space (strict overcommit, a limit on
 * address space, locked memory) the size is halved until it fits. */
#define _GNU_SOURCE
#include "mark.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "reader.h"

enum { STRIPES_DEFAULT = 64 };
static const uint64_t STRIPE_BYTES_DEFAULT = UINT64_C(512) << 20;
static const uint64_t STRIPE_BYTES_MIN = UINT64_C(64) << 10;
static const uint64_t STRIPE_BYTES_MAX = UINT64_C(64) << 30;

static pthread_mutex_t default_mutex = PTHREAD_MUTEX_INITIALIZER; /* above the opening lock, which opening a file takes */
static pthread_mutex_t opening_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t cold_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t read_mutex = PTHREAD_MUTEX_INITIALIZER;

/* A1: release in vs_arena_open; pairs with A2 in vs_arena_at. Without it a thread could see the pointer before the fields. */
static struct vs_arena *_Atomic arenas[VS_ARENAS_MAX];

/* Under the cold lock. A slot is never used twice: a thread may still hold the base of a stripe that was mapped there. */
static uint32_t slots_taken;
static uint32_t slots_again; /* a bit for each that is free once more, since no thread ever had a stripe there */

void vs_cold_lock(void) { pthread_mutex_lock(&cold_mutex); }
void vs_cold_unlock(void) { pthread_mutex_unlock(&cold_mutex); }
void vs_read_lock(void) { pthread_mutex_lock(&read_mutex); }
void vs_read_unlock(void) { pthread_mutex_unlock(&read_mutex); }
void vs_opening_lock(void) { pthread_mutex_lock(&opening_mutex); }
void vs_opening_unlock(void) { pthread_mutex_unlock(&opening_mutex); }

static void before_fork(void)
{
    pthread_mutex_lock(&default_mutex);
    vs_opening_lock();
    vs_read_lock();
    vs_cold_lock();
    vs_drain_lock();
}

static void after_fork(void)
{
    vs_drain_unlock();
    vs_cold_unlock();
    vs_read_unlock();
    vs_opening_unlock();
    pthread_mutex_unlock(&default_mutex);
}

static void after_fork_in_child(void)
{
    for (uint32_t slot = 0; slot < VS_ARENA_NONE; slot++) {
        vs_arena *arena = vs_arena_at(slot);
        if (arena != NULL && arena->file != NULL)
            vs_file_after_fork(arena);
        else if (arena != NULL)
            vs_stripe_after_fork(arena);
    }
    vs_registry_after_fork();
    vs_journal_after_fork();
    after_fork();
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

vs_arena *vs_arena_at(uint32_t slot)
{
    return vs_load_acquire(&arenas[slot]); /* A2: acquire; pairs with A1 */
}

/* Under a limit on address space the host needs most of it: an arena of default size takes an eighth at most. */
static void stay_modest(uint32_t stripes, uint64_t *stripe_bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return;
    while (*stripe_bytes * (stripes + 1) > limit.rlim_cur / 8 && *stripe_bytes / 2 >= STRIPE_BYTES_MIN)
        *stripe_bytes /= 2;
}

static char *map_region(uint32_t stripes, uint64_t *stripe_bytes, bool may_shrink)
{
    if (may_shrink)
        stay_modest(stripes, stripe_bytes);
    for (;;) {
        size_t bytes = (size_t)(*stripe_bytes * (stripes + 1));
        void *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (region != MAP_FAILED) {
            madvise(region, bytes, MADV_NOHUGEPAGE); /* a kernel without huge pages refuses: nothing is lost */
            return region;
        }
        if (!may_shrink || *stripe_bytes / 2 < STRIPE_BYTES_MIN)
            return NULL;
        *stripe_bytes /= 2;
    }
}

bool vs_arena_sizes(const vs_arena_options *options, uint64_t bytes_default, uint32_t *stripes, uint64_t *stripe_bytes)
{
    *stripes = options->stripe_count != 0 ? options->stripe_count : STRIPES_DEFAULT;
    *stripe_bytes = options->stripe_bytes != 0 ? options->stripe_bytes : bytes_default;
    *stripe_bytes = (*stripe_bytes + 4095) & ~UINT64_C(4095);
    return *stripes <= VS_STRIPES_MAX && *stripe_bytes >= STRIPE_BYTES_MIN && *stripe_bytes <= STRIPE_BYTES_MAX;
}

bool vs_arena_publish(vs_arena *arena)
{
    vs_cold_lock();
    uint32_t slot = slots_again != 0 ? (uint32_t)__builtin_ctz(slots_again) : slots_taken;
    arena->slot = slot;
    if (slot < VS_ARENA_NONE) {
        slots_again &= ~(UINT32_C(1) << slot);
        slots_taken += slot == slots_taken;
        vs_store_release(&arenas[slot], arena); /* A1: release; pairs with A2 */
    }
    vs_cold_unlock();
    return slot < VS_ARENA_NONE;
}

void vs_arena_retract(vs_arena *arena)
{
    vs_store_release(&arenas[arena->slot], NULL); /* A1 */
    slots_again |= UINT32_C(1) << arena->slot;
}

vs_status vs_arena_open(const vs_arena_options *options, vs_arena **out)
{
    uint32_t stripes;
    uint64_t stripe_bytes;
    if (!vs_arena_sizes(options, STRIPE_BYTES_DEFAULT, &stripes, &stripe_bytes))
        return VS_E_INVALID;
    vs_arena *arena = calloc(1, sizeof *arena);
    vs_shared *shared = calloc(1, sizeof *shared);
    char *region = map_region(stripes, &stripe_bytes, options->stripe_bytes == 0);
    if (arena == NULL || shared == NULL || region == NULL) {
        if (region != NULL)
            munmap(region, (size_t)(stripe_bytes * (stripes + 1)));
        free(shared);
        free(arena);
        return VS_E_NO_MEMORY;
    }
    arena->shared = shared;
    arena->stripes = arena->process_base = region;
    arena->stripe_bytes = stripe_bytes;
    arena->stripe_count = stripes;
    arena->token = 1;
    vs_store_relaxed(&shared->cells_top, VS_CACHE_LINE); /* offset 0 is no cell */
    if (!vs_arena_publish(arena)) {
        vs_arena_close(arena);
        return VS_E_FULL;
    }
    *out = arena;
    return VS_OK;
}

vs_status vs_environment_number(const char *name, uint64_t *value)
{
    const char *text = getenv(name);
    if (text == NULL || *text == '\0')
        return VS_OK;
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || *text < '0' || *text > '9' || number == 0)
        return VS_E_INVALID;
    *value = number;
    return VS_OK;
}

vs_status vs_arena_default(vs_arena **out)
{
    static vs_arena *arena;
    pthread_mutex_lock(&default_mutex);
    vs_status status = VS_OK;
    if (arena == NULL) {
        uint64_t stripes = 0;
        vs_arena_options options = {0};
        status = vs_environment_number("VAULTSCOPE_STRIPES", &stripes);
        if (status == VS_OK)
            status = vs_environment_number("VAULTSCOPE_STRIPE_BYTES", &options.stripe_bytes);
        if (status == VS_OK && stripes > VS_STRIPES_MAX)
            status = VS_E_INVALID;
        options.stripe_count = (uint32_t)stripes;
        const char *path = getenv("VAULTSCOPE_ARENA");
        if (status == VS_OK && path != NULL && *path != '\0')
            status = vs_arena_open_file(path, VS_ARENA_SHARE, &options, &arena);
        else if (status == VS_OK)
            status = vs_arena_open(&options, &arena);
    }
    *out = arena;
    pthread_mutex_unlock(&default_mutex);
    return status;
}

void vs_arena_close(vs_arena *arena)
{
    if (arena->file != NULL) {
        vs_file_close(arena);
        return;
    }
    vs_cold_lock();
    if (arena->slot < VS_ARENA_NONE)
        vs_store_release(&arenas[arena->slot], NULL); /* A1 */
    vs_cold_unlock();
    for (size_t list = 0; list <= VS_FREE_SMALL; list++) {
        for (vs_free_cells *cells = arena->free_cells[list]; cells != NULL;) {
            vs_free_cells *next = cells->next;
            free(cells);
            cells = next;
        }
    }
    munmap(arena->stripes, (size_t)(arena->stripe_bytes * (arena->stripe_count + 1)));
    free(arena->shared);
    free(arena);
}

uint32_t vs_arena_slot(const vs_arena *arena) { return arena->slot; }

/* ---- cells; under the cold lock ---- */

/* Zeroes cells that had a life before. Nobody writes to them: their last handle is gone. */
static void wipe(vs_arena *arena, uint64_t offset, size_t bytes)
{
    vs_reader reader;
    for (char *base = vs_reader_begin(&reader, arena); base != NULL; base = vs_reader_next(&reader)) {
        vs_word *cells = (vs_word *)(base + offset);
        for (size_t i = 0; i < bytes / sizeof *cells; i++)
            if (vs_load_relaxed(&cells[i]) != 0) /* an untouched page stays untouched */
                vs_store_relaxed(&cells[i], 0);
    }
}

static vs_free_cells **free_list(vs_arena *arena, size_t bytes)
{
    size_t words = bytes / sizeof(vs_word);
    return &arena->free_cells[words <= VS_FREE_SMALL ? words : 0];
}

vs_status vs_arena_cells_alloc(vs_arena *arena, size_t bytes, uint64_t *offset)
{
    bytes = (bytes + 7) & ~(size_t)7;
    if (arena->file != NULL)
        return vs_file_cells_alloc(arena, bytes, offset);
    for (vs_free_cells **link = free_list(arena, bytes); *link != NULL; link = &(*link)->next) {
        vs_free_cells *cells = *link;
        if (cells->bytes != bytes)
            continue;
        *offset = cells->offset;
        *link = cells->next;
        free(cells);
        wipe(arena, *offset, bytes);
        arena->cells_used += bytes;
        return VS_OK;
    }
    uint64_t top = vs_load_relaxed(&arena->shared->cells_top);
    if (bytes > arena->stripe_bytes - top)
        return VS_E_FULL;
    *offset = top;
    vs_store_relaxed(&arena->shared->cells_top, top + bytes);
    arena->cells_used += bytes;
    return VS_OK;
}

void vs_arena_cells_free(vs_arena *arena, uint64_t offset, size_t bytes)
{
    vs_free_cells *cells = arena->file == NULL ? malloc(sizeof *cells) : NULL;
    if (cells == NULL)
        return; /* the cells are lost to reuse, and still shown as used */
    cells->offset = offset;
    cells->bytes = (bytes + 7) & ~(size_t)7;
    vs_free_cells **list = free_list(arena, cells->bytes);
    cells->next = *list;
    *list = cells;
    arena->cells_used -= cells->bytes;
}

void vs_arena_usage(vs_arena *arena, uint64_t *used, uint64_t *limit)
{
    vs_cold_lock();
    *used = arena->file == NULL ? arena->cells_used : vs_load_relaxed(&arena->shared->cells_top);
    *limit = arena->stripe_bytes;
    vs_cold_unlock();
}
