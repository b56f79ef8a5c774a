/* 1,000 times `kill -9` of processes that log and drain, at random moments: of their lives' first milliseconds, too, and of a write
 * to the file.
 *
 * Each writer numbers its records, and notes on a page that it shares with us how many of its calls have returned. After each stretch of
 * kills a last process drains what is left; then the file has each of these records once, in order, and at most one more for
 * each writer that was killed: the one that was in the ring and not noted yet. */
#define _GNU_SOURCE
#include "log_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PARTS = 2, STRETCH = 20, LIVES_MAX = STRETCH + PARTS, RETURNS_MAX = 3000, MOMENT_NS_MAX = 4000000, RING_BYTES = 1 << 18 };

typedef struct page {
    vs_word returned[LIVES_MAX][WRITERS]; /* calls that put a record into the ring */
    vs_word returns;                      /* of all */
    vs_word refused;                      /* calls that found no room; not put back to 0, nor is what follows */
    vs_word lines, more;
} page;

/* Which processes there are at a time. */
typedef struct cast {
    const char *name;
    struct {
        bool writes, drains;
    } parts[PARTS];
    uint32_t count;
} cast;

static const cast CASTS[] = {
    {"one process that writes and drains", {{true, true}}, 1},
    {"a writer and a drainer", {{true, false}, {false, true}}, 2},
    {"two of which either drains", {{true, true}, {true, true}}, 2},
};

static const campaign *options;
static page *shared;
static char file[4096];

/* ---- a life ---- */

typedef struct writer {
    const vs_logger *logger;
    log_entry next;
} writer;

static void *write_on(void *context)
{
    writer *w = context;
    for (;; w->next.n++) {
        while (!log_entry_write(w->logger, &w->next)) {
            vs_add_relaxed(&shared->refused, 1u);
            sched_yield();
        }
        vs_store_release(&shared->returned[w->next.life][w->next.writer], w->next.n + 1);
        vs_add_relaxed(&shared->returns, 1u);
    }
    return NULL;
}

/* Waits until nobody else drains, then drains for good, or until nothing is left. With `sync` more are killed between the write of a batch
 * and its acknowledgement. */
static void drain(vs_journal *journal, bool to_the_end, bool sync)
{
    vs_cursor *cursor;
    vs_status status;
    while ((status = vs_cursor_open(journal, (vs_text){"file", 4}, &cursor)) == VS_E_BUSY)
        sched_yield();
    if (status != VS_OK)
        give_up("no cursor");
    int fd = open(file, O_WRONLY | O_APPEND | O_CREAT, 0600);
    vs_word32 stop = to_the_end;
    vs_pump_options how = {.wait_ns = 1000000, .run_ns = INT64_C(1000000000), .sync = sync};
    vs_pump end;
    while ((end = vs_cursor_pump(cursor, fd, &how, &stop)) != VS_PUMP_STOPPED)
        if (end == VS_PUMP_ERROR)
            give_up("the file cannot be written");
    close(fd); /* the cursor is left as it is: one that is closed when it has everything is forgotten, and nothing would be kept for
                  who opens it next */
}

static _Noreturn void live(uint64_t life, bool writes, bool drains)
{
    watchdog(600);
    vs_journal *journal = log_open(options, RING_BYTES, VS_POLICY_DROP);
    vs_logger *logger;
    if (vs_logger_open(journal, (vs_text){"cas", 3}, &logger) != VS_OK)
        give_up("no logger");
    static writer writers[WRITERS];
    for (uint32_t w = 0; writes && w < WRITERS; w++) {
        pthread_t thread;
        writers[w] = (writer){logger, {life, w, 0}};
        if (pthread_create(&thread, NULL, write_on, &writers[w]) != 0)
            give_up("no thread");
    }
    if (drains)
        drain(journal, false, life % 2 != 0);
    for (;;)
        pause();
}

static pid_t begin_life(uint64_t life, bool writes, bool drains)
{
    pid_t pid = fork();
    if (pid < 0)
        give_up("no fork");
    if (pid == 0)
        live(life, writes, drains);
    return pid;
}

static void end_life(pid_t pid)
{
    int status;
    if (kill(pid, SIGKILL) != 0 || waitpid(pid, &status, 0) != pid)
        give_up("a child is lost");
    expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "a child ended with status %#x", (unsigned)status);
}

/* ---- looking ---- */

static void tell_entry(void *context, const log_entry *entry)
{
    uint64_t *next = context;
    if (!expect(entry->life < LIVES_MAX, "a record of life %llu", (unsigned long long)entry->life))
        return;
    next += entry->life * WRITERS + entry->writer;
    expect(entry->n == *next, "life %llu, writer %llu: record %llu where %llu should be", (unsigned long long)entry->life,
           (unsigned long long)entry->writer, (unsigned long long)entry->n, (unsigned long long)*next);
    *next = entry->n + 1;
}

static uint64_t read_file(uint64_t *next)
{
    int fd = open(file, O_RDWR | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0)
        give_up("the file is gone");
    size_t size = (size_t)status.st_size;
    char *data = size != 0 ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : "";
    uint64_t lines = data != MAP_FAILED ? log_lines_read(data, size, tell_entry, next) : 0;
    expect(size == 0 || lines != 0, "the file cannot be read");
    if (ftruncate(fd, 0) != 0)
        give_up("the file cannot be emptied");
    close(fd);
    return lines;
}

/* After a stretch, in a process of its own: drains what is left, and looks whether all is there. `killed`: writers, until now. */
static void check_all(uint64_t killed)
{
    static uint64_t next[LIVES_MAX * WRITERS];
    vs_journal *journal = log_open(options, RING_BYTES, VS_POLICY_DROP);
    drain(journal, true, false);
    vs_add_relaxed(&shared->lines, read_file(next));
    for (uint64_t i = 0; i < (uint64_t)LIVES_MAX * WRITERS; i++) {
        uint64_t returned = vs_load_acquire(&shared->returned[i / WRITERS][i % WRITERS]);
        expect(next[i] == returned || next[i] == returned + 1, "life %llu, writer %llu: %llu calls returned, %llu are there",
               (unsigned long long)(i / WRITERS), (unsigned long long)(i % WRITERS), (unsigned long long)returned,
               (unsigned long long)next[i]);
        vs_add_relaxed(&shared->more, next[i] - returned);
    }
    uint64_t logged = log_count(journal->logged), dropped = log_count(journal->dropped), dead = log_count(journal->killed);
    uint64_t lines = vs_load_relaxed(&shared->lines), refused = vs_load_relaxed(&shared->refused);
    expect(logged <= lines && lines <= logged + killed, "%llu lines, %llu counted", (unsigned long long)lines,
           (unsigned long long)logged);
    expect(refused <= dropped && dropped <= refused + killed, "%llu refused, %llu counted", (unsigned long long)refused,
           (unsigned long long)dropped);
    expect(dead <= killed, "%llu records of the dead, %llu writers were killed", (unsigned long long)dead, (unsigned long long)killed);
    _exit(EXIT_SUCCESS);
}

static void check(uint64_t killed)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        check_all(killed);
    waitpid(pid, &status, 0);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "who checks ended with status %#x", (unsigned)status);
    memset(shared->returned, 0, sizeof shared->returned);
}

static bool is_torn(void)
{
    char last = '\n';
    int fd = open(file, O_RDONLY);
    if (fd >= 0) {
        off_t size = lseek(fd, 0, SEEK_END);
        if (size > 0 && pread(fd, &last, 1, size - 1) != 1)
            last = '\n';
        close(fd);
    }
    return last != '\n';
}

/* ---- killing ---- */

static void wait_for_a_moment(uint64_t *random)
{
    if (next_random(random) % 4 == 0) { /* perhaps it has hardly begun */
        int64_t moment = vs_clock_monotonic_ns() + (int64_t)(next_random(random) % MOMENT_NS_MAX);
        while (vs_clock_monotonic_ns() < moment)
            sched_yield();
        return;
    }
    uint64_t until = vs_load_relaxed(&shared->returns) + 1 + next_random(random) % RETURNS_MAX;
    while (vs_load_relaxed(&shared->returns) < until)
        sched_yield();
}

static void kill_many(const cast *who, uint64_t kills, uint64_t *random)
{
    uint64_t killed = 0, torn = 0, lines = vs_load_relaxed(&shared->lines), more = vs_load_relaxed(&shared->more);
    static uint64_t killed_writers; /* of all casts */
    pid_t pids[PARTS];
    while (killed < kills) {
        uint64_t life = 0;
        check(killed_writers); /* the first time: from now on what is written is kept */
        for (uint32_t p = 0; p < who->count; p++)
            pids[p] = begin_life(life++, who->parts[p].writes, who->parts[p].drains);
        for (uint32_t i = 0; i < STRETCH && killed < kills; i++, killed++) {
            uint32_t p = (uint32_t)(next_random(random) % who->count);
            wait_for_a_moment(random);
            end_life(pids[p]);
            killed_writers += who->parts[p].writes ? WRITERS : 0;
            if (who->count == 1 || who->parts[1 - p].drains == false)
                torn += is_torn();
            pids[p] = begin_life(life++, who->parts[p].writes, who->parts[p].drains);
        }
        for (uint32_t p = 0; p < who->count; p++) {
            end_life(pids[p]);
            killed_writers += who->parts[p].writes ? WRITERS : 0;
        }
    }
    check(killed_writers);
    tell("%llu kills, %s: each of %llu records is there once, %llu more were in flight; %llu lines were torn and mended",
         (unsigned long long)kills, who->name, (unsigned long long)(vs_load_relaxed(&shared->lines) - lines),
         (unsigned long long)(vs_load_relaxed(&shared->more) - more), (unsigned long long)torn);
}

void campaign_log_kills(const campaign *c)
{
    if (c->path == NULL)
        give_up("log_kills wants --file: what is in memory dies with its process");
    options = c;
    shared = shared_memory(sizeof *shared);
    snprintf(file, sizeof file, "%s.log", c->path);
    uint64_t random = random_start(c->seed, 0);
    for (size_t i = 0; i < sizeof CASTS / sizeof *CASTS; i++)
        kill_many(&CASTS[i], scaled(c, 1000), &random);
}
