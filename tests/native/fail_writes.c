/* Makes writes fail, in a process that has this preloaded.
 *
 * Calls that change a file are counted if its path contains a word: write and its kin, fsync, fdatasync,
 * ftruncate, fallocate. The one that is asked for fails, once, or all from there on. Which one is said by
 * fail_writes(), which the process calls itself (in Python by ctypes), so that one process and its forks can
 * go through all cases.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static char word[256];
static atomic_long calls, failing, failed;
static int error_number; /* 0: a short write */
static int forever;

/* Counts from now on the calls for files whose path contains `path_word`; call number `call`, from 1 on (0:
 * none), fails with `error` (0: half of it is written), and with `on` all after it. */
EXPORT void fail_writes(const char *path_word, long call, int error, int on)
{
    snprintf(word, sizeof word, "%s", path_word);
    error_number = error;
    forever = on;
    atomic_store(&failed, 0);
    atomic_store(&failing, call);
    atomic_store(&calls, 0);
}

/* How many calls there were since. */
EXPORT long fail_writes_calls(void) { return atomic_load(&calls); }

/* How many of them failed. */
EXPORT long fail_writes_failed(void) { return atomic_load(&failed); }

/* Whether this call is to fail. */
static int is_hit(int fd)
{
    if (word[0] == 0) return 0;
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int saved = errno;
    ssize_t size = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (size < 0) return 0;
    path[size] = 0;
    if (strstr(path, word) == NULL) return 0;
    long call = atomic_fetch_add(&calls, 1) + 1, at = atomic_load(&failing);
    if (at == 0 || call < at || (call > at && !forever)) return 0;
    atomic_fetch_add(&failed, 1);
    return 1;
}

/* The function of that name which this one stands before. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A write that is to fail: all of it, or half of it is done. */
#define FAIL_WRITE(size, half)                                                                                 \
    do {                                                                                                         \
        if (error_number == 0 && (size) > 1) return half;                                                          \
        errno = error_number == 0 ? ENOSPC : error_number;                                                         \
        return -1;                                                                                                 \
    } while (0)

#define FAIL                                                                                                   \
    do {                                                                                                         \
        errno = error_number == 0 ? EIO : error_number;                                                            \
        return -1;                                                                                                 \
    } while (0)

EXPORT ssize_t write(int fd, const void *data, size_t size)
{
    if (is_hit(fd)) FAIL_WRITE(size, NEXT(write)(fd, data, size / 2));
    return NEXT(write)(fd, data, size);
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    if (is_hit(fd)) FAIL_WRITE(size, NEXT(pwrite)(fd, data, size / 2, at));
    return NEXT(pwrite)(fd, data, size, at);
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    if (is_hit(fd)) FAIL_WRITE(size, NEXT(pwrite64)(fd, data, size / 2, at));
    return NEXT(pwrite64)(fd, data, size, at);
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (is_hit(fd)) FAIL_WRITE((size_t)count, NEXT(writev)(fd, parts, count / 2));
    return NEXT(writev)(fd, parts, count);
}

EXPORT int fsync(int fd)
{
    if (is_hit(fd)) FAIL;
    return NEXT(fsync)(fd);
}

EXPORT int fdatasync(int fd)
{
    if (is_hit(fd)) FAIL;
    return NEXT(fdatasync)(fd);
}

EXPORT int ftruncate(int fd, off_t size)
{
    if (is_hit(fd)) FAIL;
    return NEXT(ftruncate)(fd, size);
}

EXPORT int ftruncate64(int fd, off64_t size)
{
    if (is_hit(fd)) FAIL;
    return NEXT(ftruncate64)(fd, size);
}

EXPORT int fallocate64(int fd, int mode, off64_t at, off64_t size)
{
    if (is_hit(fd)) FAIL;
    return NEXT(fallocate64)(fd, mode, at, size);
}

EXPORT int posix_fallocate64(int fd, off64_t at, off64_t size)
{
    if (is_hit(fd)) return error_number == 0 ? EIO : error_number;
    return NEXT(posix_fallocate64)(fd, at, size);
}
