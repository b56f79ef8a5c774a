/* Who shares an arena, and who of them is dead.
 *
 * A process is known by its pid and the time it started, so that a pid that is used again misleads nobody; by the boot of the machine,
 * since all of another boot are dead; and by its pid namespace, outside of which its pid says nothing. A process of another
 * namespace (a container's last life) is known to be dead by a lock that it held on a byte of its own: the kernel lets
 * it go with the last process that has the same opening of the file mapped, so it may be late but never early.
 *
 * An entry is taken without a lock, by exchanging its pid, so that the child of a fork can: it waits for nobody. It is given up by
 * others, under the file's lock, once its process is dead; a process that ends says nothing. */
#define _GNU_SOURCE
#include "mark.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOCK_BYTE_FIRST = 1, STAT_BYTES = 1024 };

/* ---- what the system says; async-signal-safe, since the child of a fork asks ---- */

static size_t read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t got = read(fd, text, size - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

static void write_stat_path(char path[40], uint64_t pid)
{
    char digits[20];
    size_t n = 0;
    do
        digits[n++] = (char)('0' + pid % 10);
    while ((pid /= 10) != 0);
    memcpy(path, "/proc/", 6);
    char *at = path + 6;
    while (n != 0)
        *at++ = digits[--n];
    memcpy(at, "/stat", 6);
}

/* State, number of threads and start time of a process. False: it cannot be told. The name in the second field may hold
 * anything, so fields are counted from the last parenthesis: the state is field 3 of proc(5). */
static bool read_stat(const char *path, char *state, uint64_t *threads, uint64_t *start)
{
    char text[STAT_BYTES];
    size_t size = read_file(path, text, sizeof text);
    const char *at = text + size;
    while (at != text && *at != ')')
        at--;
    if (at == text || at + 2 >= text + size)
        return false;
    *state = at[2];
    uint64_t values[23] = {0};
    at += 3;
    for (unsigned field = 4; field <= 22; field++) {
        while (*at == ' ' || *at == '-')
            at++;
        if (*at < '0' || *at > '9')
            return false;
        for (; *at >= '0' && *at <= '9'; at++)
            values[field] = values[field] * 10 + (uint64_t)(*at - '0');
    }
    *threads = values[20];
    *start = values[22];
    return true;
}

static uint64_t boot_of_machine(void)
{
    char text[64];
    size_t size = read_file("/proc/sys/kernel/random/boot_id", text, sizeof text);
    return size != 0 ? vs_checksum(text, size) : 0;
}

static uint64_t my_space(void)
{
    struct stat status;
    return stat("/proc/self/ns/pid", &status) == 0 ? (uint32_t)status.st_ino : 0;
}

static uint64_t my_start(void)
{
    char state;
    uint64_t threads, start;
    return read_stat("/proc/self/stat", &state, &threads, &start) ? start : 0;
}

/* The kernel gives each program that it starts sixteen random bytes. */
static uint64_t my_program(void)
{
    const void *random = (const void *)(uintptr_t)getauxval(AT_RANDOM);
    return random != NULL ? vs_checksum(random, 16) : 0;
}

/* ---- dead or alive ---- */

static bool byte_lock(const vs_file *file, uint32_t index, int operation, struct flock *lock)
{
    *lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_BYTE_FIRST + (off_t)index, .l_len = 1};
    int fd = vs_file_descriptor(file);
    return fd >= 0 && fcntl(fd, operation, lock) == 0;
}

/* Not F_OFD_GETLK: that passes over the locks of one's own opening of the file, which the child of a fork shares with its parent. */
static bool lock_is_free(const vs_file *file, uint32_t index)
{
    struct flock lock;
    return byte_lock(file, index, F_GETLK, &lock) && lock.l_type == F_UNLCK;
}

static bool pid_is_dead(uint64_t pid, uint64_t start)
{
    if (kill((pid_t)pid, 0) != 0 && errno == ESRCH)
        return true;
    char path[40], state;
    uint64_t threads, started;
    write_stat_path(path, pid);
    if (!read_stat(path, &state, &threads, &started))
        return false; /* there is one, and no more can be said */
    if (start != 0 && started != start)
        return true;
    return (state == 'Z' || state == 'X') && threads <= 1; /* a first thread that ended is a zombie while others run */
}

static uint64_t pid_of(uint64_t who) { return who & ((UINT64_C(1) << VS_PROCESS_SPACE_SHIFT) - 1); }

bool vs_process_is_dead(const vs_file *file, uint32_t index)
{
    const vs_process_entry *entry = &file->processes[index];
    uint64_t who = vs_load_acquire(&entry->who); /* P2: acquire; pairs with P1 in reap */
    if (who == 0 || file->entry == index + 1)
        return false;
    uint64_t pid = pid_of(who);
    bool is_near = who >> VS_PROCESS_SPACE_SHIFT == file->space;
    if (vs_load_acquire(&entry->state) != VS_PROCESS_LIVE) /* P4: acquire; pairs with P3 in take */
        return is_near && pid_is_dead(pid, 0); /* it is just being taken, or its taker was killed then */
    uint64_t start = vs_load_relaxed(&entry->start);
    if (vs_load_relaxed(&entry->boot) != file->boot)
        return true;
    if (!is_near)
        return vs_load_relaxed(&entry->locked) != 0 && lock_is_free(file, index);
    if (pid == (uint64_t)getpid() && start == file->start) /* this process: before it executed another program, or another copy */
        return vs_load_relaxed(&entry->program) != file->program; /* of this library in it */
    return pid_is_dead(pid, start);
}

/* ---- joining ---- */

void vs_process_identify(vs_file *file)
{
    if (file->boot == 0) /* a fork does not change it */
        file->boot = boot_of_machine();
    file->space = my_space();
    file->start = my_start();
    file->program = my_program();
}

static char *page_of(const vs_file *file, uint32_t index)
{
    return file->pages + (size_t)index * VS_GAUGE_PAGE_BYTES;
}

/* Only by the opening that is mapped: another would be closed before the process ends. */
static bool hold_byte(const vs_file *file, uint32_t index)
{
    struct flock lock;
    return byte_lock(file, index, F_OFD_SETLK, &lock) && vs_load_relaxed(&file->reopened) == 0;
}

static bool take(vs_file *file, uint32_t index)
{
    vs_process_entry *entry = &file->processes[index];
    uint64_t nobody = 0;
    /* Disk space first (the page of another may have some already): once it is taken, an entry is given up under the lock only, or
     * who judges it could read one process's `who` and another's `start`, and take a living one for dead. */
    if (vs_load_relaxed(&entry->who) != 0 || !vs_file_back(file, page_of(file, index), VS_GAUGE_PAGE_BYTES))
        return false;
    /* P2: acquire; pairs with P1 in reap: the gauges of the last one are gone. */
    if (!vs_cas_acquire(&entry->who, &nobody, file->space << VS_PROCESS_SPACE_SHIFT | (uint64_t)getpid()))
        return false;
    vs_store_relaxed(&entry->start, file->start);
    vs_store_relaxed(&entry->program, file->program);
    vs_store_relaxed(&entry->boot, file->boot);
    vs_store_relaxed(&entry->locked, hold_byte(file, index));
    vs_store_release(&entry->state, VS_PROCESS_LIVE); /* P3: release; pairs with P4 */
    return true;
}

static bool join(vs_arena *arena)
{
    vs_file *file = arena->file;
    file->entry = 0;
    arena->token = 0;
    for (uint32_t index = 0; index < file->process_count && file->entry == 0; index++)
        if (take(file, index))
            file->entry = index + 1;
    if (file->entry == 0)
        return false;
    arena->process_base = page_of(file, file->entry - 1);
    arena->token = vs_process_token(file->entry);
    return true;
}

/* Without an entry: counts go to the shared stripe; gauges of its own go where nobody looks, and the refusal is counted. */
static void stay_outside(vs_arena *arena)
{
    vs_file *file = arena->file;
    vs_add_relaxed(&file->words->processes_refused, 1u);
    if (file->limbo == NULL) {
        void *limbo = mmap(NULL, VS_GAUGE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (limbo == MAP_FAILED)
            return; /* process_base is what it was: the parent's page, or the shared stripe */
        file->limbo = limbo;
    }
    arena->process_base = file->limbo;
}

/* ---- leaving ---- */

/* Under both locks. Returns the number of stripes that were given back. */
static size_t reap(vs_arena *arena, uint32_t index)
{
    vs_file *file = arena->file;
    vs_process_entry *entry = &file->processes[index];
    size_t stripes = vs_fold_release(arena, index);
    vs_ring ring;
    if (vs_ring_of_file(arena, &ring))
        vs_ring_reap(&ring, index + 1);
    vs_word *gauges = (vs_word *)page_of(file, index);
    uint64_t top = vs_load_relaxed(&file->words->gauges_top);
    for (size_t i = 0; i < top / sizeof *gauges; i++)
        if (vs_load_relaxed(&gauges[i]) != 0)
            vs_store_relaxed(&gauges[i], 0);
    vs_store_relaxed(&entry->state, 0);
    vs_store_release(&entry->who, 0); /* P1: release; pairs with P2. Without it the next one's gauges could be wiped after it wrote */
    return stripes;
}

/* Under both locks. Returns how many were dead. */
static size_t reap_dead(vs_arena *arena)
{
    size_t dead = 0;
    for (uint32_t index = 0; index < arena->file->process_count; index++)
        if (vs_process_is_dead(arena->file, index)) {
            reap(arena, index);
            dead++;
        }
    return dead;
}

static bool is_empty(const vs_file *file)
{
    for (uint32_t index = 0; index < file->process_count; index++)
        if (vs_load_relaxed(&file->processes[index].who) != 0)
            return false;
    return true;
}

size_t vs_arena_reap(vs_arena *arena)
{
    vs_file *file = arena->file;
    if (file == NULL || file->untouchable)
        return 0;
    uint32_t index = 0;
    while (index < file->process_count && !vs_process_is_dead(file, index))
        index++;
    if (index == file->process_count && !vs_fold_is_cut_short(arena))
        return 0;
    size_t dead = 0;
    vs_cold_lock();
    if (vs_file_try_lock(arena)) {
        if (vs_directory_check(arena) == VS_OK) { /* under the lock: what is not in the directory yet is not folded */
            dead = reap_dead(arena);
            vs_fold_stripes(arena);
        }
        vs_file_unlock(arena);
    }
    vs_cold_unlock();
    return dead;
}

/* ---- arriving ---- */

/* The child of a fork, which has inherited the cold lock. */
void vs_file_after_fork(vs_arena *arena)
{
    if (arena->file->read_only)
        return;
    vs_stripe_forget(arena->slot);
    vs_process_identify(arena->file);
    if (join(arena))
        return;
    /* No entry is free. Where nobody took a snapshot while workers came and went, the dead have them. */
    if (vs_file_try_lock(arena)) {
        if (vs_directory_check(arena) == VS_OK)
            reap_dead(arena);
        vs_file_unlock(arena);
    }
    if (!join(arena))
        stay_outside(arena);
}

vs_status vs_process_arrive(vs_arena *arena)
{
    vs_cold_lock();
    if (arena->file->entry != 0) { /* another thread was first */
        vs_cold_unlock();
        return VS_OK;
    }
    vs_status status = vs_file_lock(arena);
    if (status == VS_OK && (status = vs_directory_check(arena)) != VS_OK)
        vs_file_unlock(arena);
    if (status == VS_OK) {
        size_t dead = reap_dead(arena);
        if (is_empty(arena->file)) /* nobody writes: the time to make whole what was left in mid-write where all write */
            vs_fold_mend_all(arena);
        if (dead != 0 || vs_fold_is_cut_short(arena))
            vs_fold_stripes(arena);
        vs_file_unlock(arena);
        if (!join(arena))
            stay_outside(arena);
    }
    vs_cold_unlock();
    return status;
}

/* ---- listing ---- */

static uint64_t stripes_of(const vs_arena *arena, uint64_t token)
{
    uint64_t stripes = 0;
    for (uint32_t stripe = 1; stripe <= arena->stripe_count; stripe++)
        stripes += vs_load_relaxed(&arena->shared->owners[stripe]) == token;
    return stripes;
}

vs_status vs_processes_survey(const vs_arena *arena, vs_process **out, size_t *count, size_t *dead)
{
    const vs_file *file = arena->file;
    vs_process *list = malloc((file != NULL ? file->process_count : 1) * sizeof *list);
    if (list == NULL)
        return VS_E_NO_MEMORY;
    size_t n = 0;
    *dead = 0;
    if (file == NULL)
        list[n++] = (vs_process){(uint64_t)getpid(), stripes_of(arena, arena->token), arena->process_base, true};
    for (uint32_t index = 0; file != NULL && index < file->process_count; index++) {
        const vs_process_entry *entry = &file->processes[index];
        uint64_t who = vs_load_acquire(&entry->who); /* P2 */
        if (who != 0 && vs_process_is_dead(file, index)) {
            ++*dead;
        } else if (who != 0 && vs_load_acquire(&entry->state) == VS_PROCESS_LIVE) { /* P4 */
            uint64_t token = vs_process_token(index + 1);
            list[n++] = (vs_process){pid_of(who), stripes_of(arena, token), page_of(file, index), file->entry == index + 1};
        }
    }
    *dead += file != NULL && vs_fold_is_cut_short(arena);
    *out = list;
    *count = n;
    return VS_OK;
}

vs_status vs_processes_list(const vs_arena *arena, vs_process **out, size_t *count)
{
    size_t dead;
    return vs_processes_survey(arena, out, count, &dead);
}

void vs_processes_free(vs_process *processes) { free(processes); }
