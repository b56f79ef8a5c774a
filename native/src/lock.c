/* The descriptor of an arena's file, and the lock on it.
 *
 * The lock is fcntl's on the first byte of the file: the kernel gives it back when its holder dies, however it dies. It
 * belongs to a process, so it stands below the cold lock, which keeps the threads apart; and the child of a fork does not
 * inherit it. Rejected: a robust mutex in the file (what a reboot leaves of it is garbage).
 *
 * A host that becomes a daemon closes all descriptors, and another file may have got the number since: each use asks first whose
 * it is. The mapping outlives the descriptor, and keeps the locks of its opening (process.c). */
#define _GNU_SOURCE
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const int64_t PATIENCE_NS = 2000000000;
static const int64_t PATIENCE_SPENT_NS = 10000000;

/* ---- the descriptor ---- */

static bool is_ours(const vs_file *file, const struct stat *status)
{
    return status->st_dev == file->device && status->st_ino == file->inode;
}

bool vs_file_is_at(const vs_file *file, int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && is_ours(file, &status);
}

int vs_file_descriptor(const vs_file *file)
{
    vs_file *mutable = (vs_file *)file; /* whose descriptor it is does not change by this */
    vs_word32 *word = &mutable->fd;
    int known = (int)vs_load_relaxed(word); /* relaxed: a number; what it stands for is asked of the system */
    if (vs_file_is_at(file, known))
        return known;
    struct stat status;
    if (stat(file->path, &status) != 0 || !is_ours(file, &status))
        return -1;
    int fd = open(file->path, (file->untouchable ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (fd < 0)
        return -1;
    /* If another thread did the same meanwhile, one stays open for nothing: to close it would let go a lock that the other may hold. */
    vs_store_relaxed(&mutable->reopened, 1u);
    vs_store_relaxed(word, (uint32_t)fd);
    return fd;
}

/* ---- the lock ---- */

static int operate(int fd, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    return fcntl(fd, F_SETLK, &lock);
}

static bool wait_for(int fd, int64_t patience_ns)
{
    int64_t deadline = vs_clock_monotonic_ns() + patience_ns;
    for (long wait_ns = 1000; operate(fd, F_WRLCK) != 0;) {
        if ((errno != EAGAIN && errno != EACCES && errno != EINTR) || vs_clock_monotonic_ns() > deadline)
            return false;
        nanosleep(&(struct timespec){0, wait_ns}, NULL);
        wait_ns = wait_ns < 1000000 ? wait_ns * 2 : wait_ns;
    }
    return true;
}

bool vs_lock_descriptor(int fd) { return wait_for(fd, PATIENCE_NS); }
void vs_unlock_descriptor(int fd) { operate(fd, F_UNLCK); }

vs_status vs_file_lock(vs_arena *arena)
{
    vs_file *file = arena->file;
    if (file->read_only)
        return vs_file_refuse(VS_E_READ_ONLY, file->path, "was opened to be read");
    if (file->corrupt)
        return vs_file_refuse(VS_E_CORRUPT, file->path, "is corrupt");
    int fd = vs_file_descriptor(file);
    if (fd < 0)
        return vs_file_refuse(VS_E_BUSY, file->path, "was moved away, and the process has closed its descriptor");
    /* Who waited in vain once does not wait as long again before the lock was free: its host goes on. */
    file->patience_spent = !wait_for(fd, file->patience_spent ? PATIENCE_SPENT_NS : PATIENCE_NS);
    return file->patience_spent ? vs_file_refuse(VS_E_BUSY, file->path, "another process holds its lock") : VS_OK;
}

bool vs_file_try_lock(vs_arena *arena)
{
    vs_file *file = arena->file;
    int fd = file->untouchable || file->corrupt ? -1 : vs_file_descriptor(file);
    return fd >= 0 && operate(fd, F_WRLCK) == 0;
}

void vs_file_unlock(vs_arena *arena) { operate((int)vs_load_relaxed(&arena->file->fd), F_UNLCK); }
