/* An arena in a file: making it, opening it, refusing it. The layout is in file.h.
 *
 * What is read from the file is judged before it is used as an offset or a size: here the header and the words, in directory.c the
 * records. A process that is killed while it makes one leaves a file of one page, which the next one finishes. */
#define _GNU_SOURCE
#include "mark.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reader.h"

static const char MAGIC[8] = {'\x89', 'v', 's', 'a', '\r', '\n', '\x1a', '\n'};
static const uint64_t STRIPE_BYTES_DEFAULT = UINT64_C(64) << 20;
enum { STRIPES_DEFAULT = 128 }; /* those of many processes, and a hole costs nothing */
enum { BYTE_ORDER_MARK = 0x01020304, REASON_BYTES = 512 };

static _Thread_local char reason[REASON_BYTES];

const char *vs_arena_reason(void) { return reason; }

vs_status vs_file_refuse(vs_status status, const char *path, const char *format, ...)
{
    size_t size = strlen(path);
    bool is_long = size > REASON_BYTES / 2; /* then its end must do, so that there is room for the reason */
    int used = snprintf(reason, sizeof reason, "%s%s: ", is_long ? "..." : "", is_long ? path + size - REASON_BYTES / 2 : path);
    if (used < 0 || used >= REASON_BYTES)
        return status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason + used, (size_t)(REASON_BYTES - used), format, arguments);
    va_end(arguments);
    return status;
}

static vs_status refuse_errno(const char *path, const char *what)
{
    char text[128] = "";
    int error = errno;
    const char *said = strerror_r(error, text, sizeof text); /* GNU's: returns the text */
    return vs_file_refuse(VS_E_SYSTEM, path, "%s: %s", what, said);
}

uint64_t vs_file_refused(const vs_arena *arena) { return vs_load_relaxed(&arena->file->words->processes_refused); }
bool vs_file_read_only(const vs_arena *arena) { return arena->file->read_only; }
bool vs_file_untouchable(const vs_arena *arena) { return arena->file->untouchable; }

const char *vs_arena_path(const vs_arena *arena) { return arena->file != NULL ? arena->file->path : NULL; }

/* ---- the header ---- */

static uint64_t checksum_of(const vs_file_header *header)
{
    return vs_checksum(header, offsetof(vs_file_header, checksum));
}

static uint64_t pages(uint64_t bytes) { return (bytes + VS_FILE_PAGE - 1) / VS_FILE_PAGE * VS_FILE_PAGE; }

static void lay_out(vs_file_header *header, uint32_t stripes, uint64_t stripe_bytes, uint64_t ring_cells)
{
    memset(header, 0, sizeof *header);
    memcpy(header->magic, MAGIC, sizeof MAGIC);
    header->version = VS_FILE_VERSION;
    header->byte_order = BYTE_ORDER_MARK;
    header->stripe_count = stripes;
    header->stripe_bytes = stripe_bytes;
    header->process_count = VS_FILE_PROCESSES;
    header->words_at = VS_FILE_PAGE;
    header->processes_at = header->words_at + pages(sizeof(vs_file_words));
    header->log_at = header->processes_at + pages(VS_FILE_PROCESSES * sizeof(vs_process_entry));
    header->pages_at = header->log_at + pages(sizeof(vs_ring_words));
    header->ring_cells = ring_cells;
    header->ring_at = header->pages_at + VS_FILE_PROCESSES * (uint64_t)VS_GAUGE_PAGE_BYTES;
    header->directory_at = header->ring_at + pages(vs_ring_bytes(ring_cells));
    header->directory_bytes = stripe_bytes;
    header->stripes_at = header->directory_at + header->directory_bytes;
    header->file_bytes = header->stripes_at + stripe_bytes * (stripes + 1 + VS_ARCHIVES);
    header->checksum = checksum_of(header);
}

static vs_status judge(const vs_file_header *header, size_t read, uint64_t file_bytes, const char *path)
{
    if (read < sizeof *header || memcmp(header->magic, MAGIC, sizeof MAGIC) != 0)
        return vs_file_refuse(VS_E_FOREIGN, path, "is no arena; it is left as it is");
    if (header->byte_order != BYTE_ORDER_MARK)
        return vs_file_refuse(VS_E_FOREIGN, path, "was written on a machine of the other byte order");
    if (header->version != VS_FILE_VERSION)
        return vs_file_refuse(VS_E_FOREIGN, path, "has format %u, and this is vaultscope %s, which knows format %d",
                              header->version, vs_version(), VS_FILE_VERSION);
    if (header->checksum != checksum_of(header))
        return vs_file_refuse(VS_E_CORRUPT, path, "its header is corrupt");
    vs_file_header expected;
    uint32_t stripes;
    uint64_t stripe_bytes;
    vs_arena_options told = {header->stripe_count, header->stripe_bytes, 0};
    bool sane = vs_arena_sizes(&told, 0, &stripes, &stripe_bytes) && stripes == told.stripe_count &&
                stripe_bytes == told.stripe_bytes && header->ring_cells <= UINT64_MAX / VS_RING_CELL &&
                vs_ring_cells_of(header->ring_cells * VS_RING_CELL) == header->ring_cells;
    lay_out(&expected, stripes, stripe_bytes, header->ring_cells);
    if (!sane || expected.checksum != header->checksum)
        return vs_file_refuse(VS_E_CORRUPT, path, "its header is corrupt");
    if (file_bytes != header->file_bytes)
        return vs_file_refuse(VS_E_CORRUPT, path, "is truncated: %llu bytes of %llu", (unsigned long long)file_bytes,
                              (unsigned long long)header->file_bytes);
    return VS_OK;
}

/* Makes an empty file an arena. It becomes one by the header; one that was cut short by a kill has that and no more. */
static vs_status make(int fd, const char *path, const vs_arena_options *options, vs_file_header *header)
{
    uint32_t stripes;
    uint64_t stripe_bytes;
    vs_arena_options asked = *options;
    if (asked.stripe_count == 0)
        asked.stripe_count = STRIPES_DEFAULT;
    if (!vs_arena_sizes(&asked, STRIPE_BYTES_DEFAULT, &stripes, &stripe_bytes))
        return vs_file_refuse(VS_E_INVALID, path, "stripes are 1 to %d, of 64 KiB to 64 GiB", VS_STRIPES_MAX);
    uint64_t log_bytes = options->log_bytes;
    if (log_bytes == 0 && vs_environment_number("VAULTSCOPE_LOG_BYTES", &log_bytes) != VS_OK)
        return vs_file_refuse(VS_E_INVALID, path, "VAULTSCOPE_LOG_BYTES is no number");
    uint64_t ring_cells = vs_ring_cells_of(log_bytes);
    if (ring_cells == 0)
        return vs_file_refuse(VS_E_INVALID, path, "a log ring is of 64 KiB to 1 GiB");
    lay_out(header, stripes, stripe_bytes, ring_cells);
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < header->file_bytes)
        return vs_file_refuse(VS_E_SYSTEM, path, "needs %llu bytes (mostly holes), above the limit on the size of files",
                              (unsigned long long)header->file_bytes);
    char page[VS_FILE_PAGE] = {0};
    memcpy(page, header, sizeof *header);
    if (pwrite(fd, page, sizeof page, 0) != (ssize_t)sizeof page)
        return refuse_errno(path, "cannot be written");
    return VS_OK;
}

/* Gives the file its first pages, then its length: on a full disk it stays one that is to be finished. */
static vs_status stretch(int fd, const char *path, const vs_file_header *header)
{
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)header->pages_at) != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
        return refuse_errno(path, "cannot be made large enough");
    if (ftruncate(fd, (off_t)header->file_bytes) != 0)
        return refuse_errno(path, "cannot be made large enough");
    return VS_OK;
}

/* Under the file's lock, unless it can only be read: reads the header, and makes or finishes the arena. */
static vs_status read_header(int fd, const char *path, vs_arena_access access, const vs_arena_options *options,
                             vs_file_header *header)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return refuse_errno(path, "cannot be asked for its size");
    if (status.st_size == 0 && access == VS_ARENA_SHARE) {
        vs_status made = make(fd, path, options, header);
        return made != VS_OK ? made : stretch(fd, path, header);
    }
    ssize_t got = pread(fd, header, sizeof *header, 0);
    if (got < 0)
        return refuse_errno(path, "cannot be read");
    uint64_t bytes = (uint64_t)status.st_size;
    bool cut_short = status.st_size == VS_FILE_PAGE && access == VS_ARENA_SHARE;
    vs_status verdict = judge(header, (size_t)got, cut_short ? header->file_bytes : bytes, path);
    return verdict == VS_OK && cut_short ? stretch(fd, path, header) : verdict;
}

/* ---- opening ---- */

static vs_status open_descriptor(const char *path, vs_arena_access access, int *fd, bool *writable)
{
    /* O_NONBLOCK: a pipe must be refused, not waited for. */
    *writable = true;
    *fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | (access == VS_ARENA_SHARE ? O_CREAT : 0), 0600);
    if (*fd < 0 && access == VS_ARENA_READ && (errno == EACCES || errno == EROFS)) {
        *writable = false;
        *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    }
    if (*fd < 0)
        return refuse_errno(path, "cannot be opened");
    struct stat status;
    if (fstat(*fd, &status) == 0 && !S_ISREG(status.st_mode))
        return vs_file_refuse(VS_E_FOREIGN, path, "is no regular file");
    return VS_OK;
}

/* Under the cold lock, below which readers are closed. */
static vs_arena *find_open(int fd)
{
    for (uint32_t slot = 0; slot < VS_ARENA_NONE; slot++) {
        vs_arena *arena = vs_arena_at(slot);
        if (arena != NULL && arena->file != NULL && vs_file_is_at(arena->file, fd))
            return arena;
    }
    return NULL;
}

/* Fills arena and file from a header that was found good, and maps. */
static vs_status map_file(vs_arena *arena, vs_file *file, const vs_file_header *header)
{
    void *map = mmap(NULL, (size_t)header->file_bytes, PROT_READ | (file->untouchable ? 0 : PROT_WRITE),
                     MAP_SHARED | MAP_NORESERVE, (int)vs_load_relaxed(&file->fd), 0);
    if (map == MAP_FAILED)
        return refuse_errno(file->path, "cannot be mapped");
    madvise(map, (size_t)header->file_bytes, MADV_NOHUGEPAGE);
    file->map = map;
    file->file_bytes = header->file_bytes;
    file->words = (vs_file_words *)(file->map + header->words_at);
    file->processes = (vs_process_entry *)(file->map + header->processes_at);
    file->process_count = header->process_count;
    file->ring_words = (vs_ring_words *)(file->map + header->log_at);
    file->pages = file->map + header->pages_at;
    file->ring = file->map + header->ring_at;
    file->ring_cells = header->ring_cells;
    file->directory = file->map + header->directory_at;
    file->directory_bytes = header->directory_bytes;
    arena->file = file;
    arena->shared = &file->words->shared;
    arena->stripes = arena->process_base = file->map + header->stripes_at;
    arena->stripe_bytes = header->stripe_bytes;
    arena->stripe_count = header->stripe_count;
    file->backed = calloc(header->stripe_count + (size_t)1, sizeof *file->backed);
    return file->backed != NULL ? VS_OK : VS_E_NO_MEMORY;
}

/* Words that a new arena begins with. Under the file's lock. */
static vs_status begin(vs_arena *arena)
{
    vs_file_words *words = arena->file->words;
    if (vs_load_relaxed(&words->shared.cells_top) != 0 || vs_load_relaxed(&words->directory_top) != 0)
        return VS_OK;
    vs_store_relaxed(&words->gauges_top, sizeof(vs_word)); /* offset 0 is no cell */
    vs_store_relaxed(&words->shared.cells_top, VS_CACHE_LINE);
    return VS_OK;
}

static bool is_offset(uint64_t value, uint64_t limit) { return value % 8 == 0 && value <= limit; }

/* Each owned stripe has two bits; the shared one, and what is behind the last, has none. */
static bool are_stripes(uint64_t bits, uint32_t word, uint32_t stripe_count)
{
    if (word == 0 && (bits & VS_DIRTY_BOTH) != 0)
        return false;
    for (; bits != 0; bits &= bits - 1)
        if (word * VS_DIRTY_STRIPES + (uint32_t)__builtin_ctzll(bits) / 2 > stripe_count)
            return false;
    return true;
}

/* Words that a corrupt file could lead us out of the map with, or to cells that are others'. */
static vs_status check_words(const vs_arena *arena)
{
    const vs_file *file = arena->file;
    const vs_file_words *words = file->words;
    uint64_t extent = vs_load_relaxed(&words->shared.extent), cells = vs_load_relaxed(&words->shared.cells_top);
    uint64_t ring_cells = vs_load_relaxed(&file->ring_words->cells);
    bool sane = (ring_cells == 0 || ring_cells == file->ring_cells) && is_offset(cells, arena->stripe_bytes) && (cells <= VS_CACHE_LINE || cells <= vs_extent_bytes(extent)) &&
                is_offset(vs_load_relaxed(&words->gauges_top), VS_GAUGE_PAGE_BYTES) &&
                is_offset(vs_load_relaxed(&words->directory_top), file->directory_bytes) &&
                is_offset(vs_load_relaxed(&words->directory_backed), file->directory_bytes) &&
                is_offset(vs_extent_bytes(extent), arena->stripe_bytes) && extent >> VS_EXTENT_STRIPE_SHIFT <= arena->stripe_count;
    for (uint32_t word = 0; word <= VS_STRIPES_MAX / VS_DIRTY_STRIPES; word++)
        sane = sane && are_stripes(vs_load_relaxed(&words->shared.dirty[word]), word, arena->stripe_count);
    return sane ? VS_OK : vs_file_refuse(VS_E_CORRUPT, file->path, "its words are corrupt");
}

static void discard(vs_arena *arena, vs_file *file)
{
    if (file->map != NULL)
        munmap(file->map, (size_t)file->file_bytes);
    free(file->backed);
    free(file);
    free(arena);
}

void vs_file_close(vs_arena *arena)
{
    vs_file *file = arena->file;
    vs_cold_lock();
    bool last = file->openings != 0 && --file->openings == 0 && file->read_only;
    if (last) {
        vs_arena_retract(arena);
        if (vs_file_is_at(file, (int)vs_load_relaxed(&file->fd))) /* else the host closed it, and has a file of its own there */
            close((int)vs_load_relaxed(&file->fd));
    }
    vs_cold_unlock();
    if (last)
        discard(arena, file);
}

/* Under the file's lock where it can be had. */
static vs_status build(int fd, const char *path, bool writable, vs_arena_access access, const vs_arena_options *options,
                       vs_arena **out)
{
    vs_file_header header;
    vs_status status = read_header(fd, path, access, options, &header);
    if (status != VS_OK)
        return status;
    vs_arena *arena = calloc(1, sizeof *arena);
    vs_file *file = calloc(1, sizeof *file + strlen(path) + 1);
    struct stat identity;
    if (arena == NULL || file == NULL || fstat(fd, &identity) != 0) {
        free(arena);
        free(file);
        return VS_E_NO_MEMORY;
    }
    memcpy(file->path, path, strlen(path));
    vs_store_relaxed(&file->fd, (uint32_t)fd);
    file->device = identity.st_dev;
    file->inode = identity.st_ino;
    file->read_only = access == VS_ARENA_READ;
    file->untouchable = !writable;
    file->openings = 1;
    vs_process_identify(file);
    status = map_file(arena, file, &header);
    if (status == VS_OK && writable)
        status = begin(arena);
    if (status == VS_OK)
        status = check_words(arena);
    if (status == VS_OK)
        status = vs_directory_check(arena);
    if (status == VS_OK && !vs_arena_publish(arena))
        status = vs_file_refuse(VS_E_FULL, path, "a process can open %d arenas at most", VS_ARENA_NONE);
    if (status != VS_OK) {
        discard(arena, file);
        return status;
    }
    *out = arena;
    return VS_OK;
}

/* Closing any descriptor of a file lets go the process's lock on it: never while a thread of ours may hold it. */
static void close_apart(int fd)
{
    vs_cold_lock();
    close(fd);
    vs_cold_unlock();
}

/* One at a time: two threads that open the same file must get the same arena. */
static vs_status open_in_turn(const char *path, vs_arena_access access, const vs_arena_options *options, vs_arena **out)
{
    int fd = -1;
    bool writable = false;
    vs_status status = open_descriptor(path, access, &fd, &writable);
    vs_cold_lock();
    vs_arena *known = status == VS_OK ? find_open(fd) : NULL;
    if (known != NULL && known->file->read_only && access == VS_ARENA_SHARE) {
        status = vs_file_refuse(VS_E_READ_ONLY, path, "was opened to be read by this process before");
    } else if (known != NULL) {
        known->file->openings++;
        *out = known;
    }
    vs_cold_unlock();
    if (known == NULL && status == VS_OK && writable && !vs_lock_descriptor(fd))
        status = vs_file_refuse(VS_E_BUSY, path, "another process holds its lock");
    else if (known == NULL && status == VS_OK) {
        status = build(fd, path, writable, access, options, out);
        if (writable)
            vs_unlock_descriptor(fd);
    }
    if (fd >= 0 && (known != NULL || status != VS_OK))
        close_apart(fd);
    return status;
}

vs_status vs_arena_open_file(const char *path, vs_arena_access access, const vs_arena_options *options, vs_arena **out)
{
    static const vs_arena_options defaults;
    char absolute[PATH_MAX + 1], here[PATH_MAX];
    *out = NULL;
    if (path == NULL || *path == '\0')
        return vs_file_refuse(VS_E_INVALID, "\"\"", "an arena needs the name of a file");
    bool relative = *path != '/' && getcwd(here, sizeof here) != NULL;
    int length = snprintf(absolute, sizeof absolute, "%s%s%s", relative ? here : "", relative ? "/" : "", path);
    if (length < 0 || (size_t)length >= sizeof absolute)
        return vs_file_refuse(VS_E_INVALID, "the path", "is too long");
    vs_opening_lock();
    vs_status status = open_in_turn(absolute, access, options != NULL ? options : &defaults, out);
    vs_opening_unlock();
    if (status == VS_E_NO_MEMORY)
        vs_file_refuse(status, absolute, "no memory");
    if (status == VS_OK && access == VS_ARENA_SHARE)
        status = vs_process_arrive(*out);
    return status;
}
