/* Lines to the end of a file, batch after batch, and what to do about a batch that was half written when its process was killed.
 *
 * Before a batch is written, the cursor's words in the ring say which file it goes to, from which offset on, and how long it is; after
 * it is written, that it was. So the next process sees in the file itself how far the last one came. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cursor.h"

enum { BATCH_BYTES = 256 << 10, ROOM_STEP_MS = 20 };

static uint64_t inode_of(const struct stat *status)
{
    uint64_t inode = (uint64_t)status->st_ino ^ (uint64_t)status->st_dev << 40;
    return inode != 0 ? inode : 1;
}

/* What became of the batch that the last process was writing. */
static bool settle(vs_cursor *cursor, int fd, const struct stat *status)
{
    vs_cursor_words *words = cursor->words;
    uint64_t offset = vs_load_relaxed(&words->offset), bytes = vs_load_relaxed(&words->bytes), size = (uint64_t)status->st_size;
    bool is_here = vs_load_relaxed(&words->inode) == inode_of(status) && size >= offset;
    if (is_here && size < offset + bytes && size != offset && ftruncate(fd, (off_t)offset) != 0)
        return false;
    vs_cursor_settle(cursor, is_here && size >= offset + bytes);
    return true;
}

/* Takes a batch that is to land at the end of the file. False: there is none. */
static bool take(vs_cursor *cursor, const struct stat *status)
{
    uint64_t end;
    vs_landing landing = {inode_of(status), (uint64_t)status->st_size};
    cursor->landed = 0;
    return vs_cursor_prepare(cursor, BATCH_BYTES, &end) && vs_cursor_commit(cursor, end, &landing);
}

/* How much of what has landed is whole lines. */
static size_t whole_lines(const vs_cursor *cursor)
{
    const char *newline = memrchr(cursor->lines.data, '\n', cursor->landed);
    return newline != NULL ? (size_t)(newline + 1 - cursor->lines.data) : 0;
}

/* The rest of a batch that was begun on a file which is not this one, or whose end is elsewhere since, begins at the end of this one. If
 * the process is killed before it has landed, the next one writes the whole batch again. */
static void redirect(vs_cursor *cursor, const struct stat *status)
{
    vs_cursor_words *words = cursor->words;
    bool is_end = !S_ISREG(status->st_mode) || (uint64_t)status->st_size == vs_load_relaxed(&words->offset) + cursor->landed;
    if (cursor->landed != 0 && is_end && vs_load_relaxed(&words->inode) == inode_of(status))
        return;
    size_t whole = whole_lines(cursor);
    memmove(cursor->lines.data, cursor->lines.data + whole, cursor->lines.size - whole);
    cursor->lines.size -= whole;
    cursor->landed = 0;
    /* In this order to who sees the words after a kill: in between, nothing is said of where it lands. */
    vs_store_relaxed(&words->inode, 0);
    vs_store_release(&words->offset, (uint64_t)status->st_size);
    vs_store_release(&words->bytes, cursor->lines.size);
    vs_store_release(&words->inode, inode_of(status));
}

/* A full disk may have taken a part of a line. That is taken back, so that the file ends with a whole one; unless somebody else has
 * written there since. The lines before it stay: else a disk with less room than a batch would never get one. */
static void take_back(vs_cursor *cursor, int fd)
{
    struct stat status;
    uint64_t offset = vs_load_relaxed(&cursor->words->offset);
    size_t whole = whole_lines(cursor);
    if (cursor->landed != whole && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
        (uint64_t)status.st_size == offset + cursor->landed && ftruncate(fd, (off_t)(offset + whole)) == 0)
        cursor->landed = whole;
}

/* A pipe that does not wait, and is full: waits until somebody has read from it. */
static bool wait_for_room(int fd, int64_t deadline, const vs_word32 *stop)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    while (vs_clock_monotonic_ns() < deadline && vs_load_relaxed((vs_word32 *)stop) == 0)
        if (poll(&room, 1, ROOM_STEP_MS) > 0)
            return true;
    errno = EAGAIN;
    return false;
}

static bool write_batch(vs_cursor *cursor, int fd, bool sync, int64_t deadline, const vs_word32 *stop)
{
    while (cursor->landed < cursor->lines.size) {
        ssize_t written = write(fd, cursor->lines.data + cursor->landed, cursor->lines.size - cursor->landed);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && wait_for_room(fd, deadline, stop))
            continue;
        if (written <= 0) {
            int error = written < 0 ? errno : ENOSPC;
            take_back(cursor, fd);
            errno = error;
            return false;
        }
        cursor->landed += (size_t)written;
    }
    return !sync || fdatasync(fd) == 0 || errno == EINVAL || errno == EROFS; /* the last two: a pipe, a device */
}

vs_pump vs_cursor_pump(vs_cursor *cursor, int fd, const vs_pump_options *options, const vs_word32 *stop)
{
    int64_t deadline = vs_clock_monotonic_ns() + options->run_ns;
    for (;;) {
        struct stat status;
        if (!vs_cursor_is_mine(cursor))
            return VS_PUMP_STOPPED; /* the parent's, in the child of a fork */
        if (fstat(fd, &status) != 0)
            return VS_PUMP_ERROR;
        if (cursor->unsure) {
            if (!settle(cursor, fd, &status))
                return VS_PUMP_ERROR;
            continue; /* the file may be shorter now, and the next batch says where it begins */
        }
        if (cursor->has_batch) {
            redirect(cursor, &status);
        } else if (!take(cursor, &status)) {
            if (vs_load_relaxed((vs_word32 *)stop) != 0)
                return VS_PUMP_STOPPED;
            if (!vs_cursor_wait(cursor, options->wait_ns, stop))
                return vs_load_relaxed((vs_word32 *)stop) != 0 ? VS_PUMP_STOPPED : VS_PUMP_IDLE;
            continue;
        }
        size_t bytes = cursor->lines.size;
        if (!write_batch(cursor, fd, options->sync, deadline, stop))
            return VS_PUMP_ERROR;
        vs_cursor_done(cursor);
        if (options->file_bytes != 0 && (uint64_t)status.st_size + bytes >= options->file_bytes)
            return VS_PUMP_LIMIT;
        if (vs_clock_monotonic_ns() >= deadline)
            return VS_PUMP_LIMIT;
    }
}
