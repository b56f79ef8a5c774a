/* Disk space of an arena's file.
 *
 * Memory that is a hole in a full disk kills who writes to it, and on tmpfs who reads it (SIGBUS). So nothing is touched before
 * fallocate has taken the space for it: of cells in every stripe that has one, and in the archive once there is one, when they are
 * allocated; of a stripe, when it is taken. Both meet in one word, `extent`: whoever changes it second sees the other's change. */
#define _GNU_SOURCE
#include "file.h"

#include <errno.h>
#include <fcntl.h>

#include "reader.h"

static const uint64_t CELLS_CHUNK = UINT64_C(256) << 10;

bool vs_file_back(const vs_file *file, const char *from, uint64_t bytes)
{
    if (bytes == 0)
        return true;
    int fd = vs_file_descriptor(file);
    if (fd < 0)
        return false;
    for (;;) {
        if (fallocate(fd, 0, (off_t)(from - file->map), (off_t)bytes) == 0)
            return true;
        if (errno != EINTR)
            return errno == EOPNOTSUPP || errno == ENOSYS; /* such a filesystem promises nothing; see the README */
    }
}

bool vs_file_back_stripe(vs_arena *arena, uint32_t stripe)
{
    int before = errno;
    vs_word *word = &arena->shared->extent;
    uint64_t extent = vs_load_relaxed(word);
    /* Relaxed, here and below: only the order of changes to this one word matters. */
    while (extent >> VS_EXTENT_STRIPE_SHIFT < stripe &&
           !vs_cas_weak_relaxed(word, &extent, vs_extent_bytes(extent) | (uint64_t)stripe << VS_EXTENT_STRIPE_SHIFT)) {
    }
    /* Space that was taken once stays taken: the system is asked once a stripe and extent. */
    vs_word *known = &arena->file->backed[stripe];
    bool backed = vs_load_relaxed(known) >= vs_extent_bytes(extent);
    if (!backed && vs_file_back(arena->file, vs_arena_stripe(arena, stripe), vs_extent_bytes(extent))) {
        vs_store_relaxed(known, vs_extent_bytes(extent));
        backed = true;
    }
    errno = before; /* a signal handler may have brought us here */
    return backed;
}

/* Both copies of the archive, of which fold.c had the rest backed. */
static bool extend_archive(const vs_arena *arena, uint64_t have, uint64_t bytes)
{
    if (vs_load_relaxed(&arena->shared->epoch) == 0)
        return true;
    for (uint32_t i = 1; i <= VS_ARCHIVES; i++)
        if (!vs_file_back(arena->file, vs_arena_stripe(arena, arena->stripe_count + i) + have, bytes - have))
            return false;
    return true;
}

/* Takes space for the cells up to `bytes` in every stripe that has some. */
static bool extend(vs_arena *arena, uint64_t bytes)
{
    vs_word *word = &arena->shared->extent;
    uint64_t extent = vs_load_relaxed(word);
    if (bytes > vs_extent_bytes(extent) && !extend_archive(arena, vs_extent_bytes(extent), bytes))
        return false;
    for (uint64_t backed_to = 0;;) {
        uint64_t have = vs_extent_bytes(extent), highest = extent >> VS_EXTENT_STRIPE_SHIFT;
        if (bytes <= have)
            return true;
        for (uint64_t stripe = backed_to; stripe <= highest; stripe++)
            if (!vs_file_back(arena->file, vs_arena_stripe(arena, (uint32_t)stripe) + have, bytes - have))
                return false;
        backed_to = highest + 1;
        if (vs_cas_weak_relaxed(word, &extent, bytes | highest << VS_EXTENT_STRIPE_SHIFT))
            return true;
    }
}

vs_status vs_file_cells_alloc(vs_arena *arena, size_t bytes, uint64_t *offset)
{
    uint64_t top = vs_load_relaxed(&arena->shared->cells_top);
    if (bytes > arena->stripe_bytes - top)
        return VS_E_FULL;
    uint64_t end = (top + bytes + CELLS_CHUNK - 1) / CELLS_CHUNK * CELLS_CHUNK;
    if (!extend(arena, end < arena->stripe_bytes ? end : arena->stripe_bytes))
        return VS_E_FULL;
    vs_store_relaxed(&arena->shared->cells_top, top + bytes);
    *offset = top;
    return VS_OK;
}

vs_status vs_file_gauge_alloc(vs_arena *arena, uint64_t *offset)
{
    vs_word *word = &arena->file->words->gauges_top;
    uint64_t top = vs_load_relaxed(word);
    if (top + sizeof(vs_word) > VS_GAUGE_PAGE_BYTES)
        return VS_E_FULL;
    vs_store_relaxed(word, top + sizeof(vs_word));
    *offset = top;
    return VS_OK;
}
