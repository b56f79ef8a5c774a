/* 1,000 forks while three threads write. Children write too, with a thread of their own, and end by exit, by _exit or by SIGKILL, in
 * turn. In a file the total is that of all processes together; in memory the parent's is its own, and each child has a copy. */
#define _GNU_SOURCE
#include "campaign.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_WRITES = 500, CHILDREN_AT_ONCE = 4, PATIENCE_OF_A_CHILD_S = 120 };
static const int EXITED_WELL = 42;

static metrics shared;
static vs_word stopped;

typedef struct writer {
    _Alignas(128) pthread_t thread;
    uint64_t random, writes; /* 0: until stopped */
    tally *done;
} writer;

static void *write_on(void *argument)
{
    writer *w = argument;
    for (uint64_t i = 0; w->writes != 0 ? i < w->writes : vs_load_relaxed(&stopped) == 0; i++)
        metrics_write(&shared, next_random(&w->random), w->done);
    return NULL;
}

static void start(writer *w)
{
    if (pthread_create(&w->thread, NULL, write_on, w) != 0)
        give_up("no thread");
}

/* What a child of an anonymous arena starts from: no more than what the parent showed before, and still. */
static void check_copy(const reading *before_fork, tally *at_birth)
{
    reading copy, again;
    metrics_read(&shared, &copy);
    metrics_read(&shared, &again);
    expect(reading_is_whole(&copy, WRITERS), "the copy of a child is torn");
    expect(reading_holds(&copy, &before_fork->seen), "the copy of a child lacks what was there before the fork");
    expect(reading_excess(&again, &copy.seen) == 0, "the copy of a child moves");
    *at_birth = copy.seen;
}

/* Two threads write: this one, and one that the child starts. */
static void live(const campaign *c, uint64_t number, const reading *before_fork, tally *done)
{
    watchdog(PATIENCE_OF_A_CHILD_S); /* alarms are not inherited */
    tally at_birth = {0}, of_thread = {0};
    if (c->path == NULL)
        check_copy(before_fork, &at_birth);
    writer other = {.random = random_start(c->seed, 1000000 + number), .writes = CHILD_WRITES, .done = &of_thread};
    writer self = {.random = random_start(c->seed, 2000000 + number), .writes = CHILD_WRITES, .done = done};
    start(&other);
    write_on(&self);
    pthread_join(other.thread, NULL);
    tally_add(done, &of_thread);
    if (c->path == NULL) {
        reading end;
        tally_add(&at_birth, done);
        metrics_read(&shared, &end);
        expect(reading_holds(&end, &at_birth) && reading_excess(&end, &at_birth) == 0, "a child's copy is not exact");
        expect(end.unsettled == before_fork->unsettled, "a child's reading did not settle");
    }
    if (number % 5 == 4)
        kill(getpid(), SIGKILL);
    else if (number % 2 == 0)
        exit(EXITED_WELL);
    _exit(EXITED_WELL);
}

/* One child is done; which it was does not matter. */
static void await_child(void)
{
    int status;
    if (waitpid(-1, &status, 0) < 0)
        give_up("a child is lost");
    expect((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || (WIFEXITED(status) && WEXITSTATUS(status) == EXITED_WELL),
           "a child ended with status %#x", (unsigned)status);
}

void campaign_forks(const campaign *c)
{
    static writer writers[WRITERS];
    static tally written[WRITERS];
    uint64_t forks = scaled(c, 1000);
    uint32_t stripes = c->stripes != 0 ? c->stripes : 64;
    tally *done = shared_memory(forks * sizeof *done);
    metrics_open(&shared, c, stripes);
    for (uint64_t i = 0; i < WRITERS; i++) {
        writers[i] = (writer){.random = random_start(c->seed, i), .done = &written[i]};
        start(&writers[i]);
    }
    reading now, before = {0};
    for (uint64_t i = 0; i < forks; i++) {
        metrics_read(&shared, &now);
        expect(reading_is_whole(&now, 0), "a reading between forks is torn");
        expect(reading_holds(&now, &before.seen), "a reading between forks went back");
        before = now;
        pid_t pid = fork();
        if (pid == 0)
            live(c, i, &now, &done[i]);
        if (pid < 0)
            give_up("no fork");
        if (i >= CHILDREN_AT_ONCE)
            await_child();
    }
    for (uint64_t i = 0; i < (forks < CHILDREN_AT_ONCE ? forks : CHILDREN_AT_ONCE); i++)
        await_child();
    vs_store_relaxed(&stopped, 1);
    tally total = {0};
    for (size_t i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        tally_add(&total, &written[i]);
    }
    uint64_t of_children = 0;
    for (uint64_t i = 0; i < forks; i++) {
        of_children += tally_writes(&done[i]);
        if (c->path != NULL)
            tally_add(&total, &done[i]);
    }
    metrics_read(&shared, &now);
    expect(of_children == forks * 2 * CHILD_WRITES * 3, "not every child wrote");
    expect(reading_is_whole(&now, 0) && reading_holds(&now, &total) && reading_excess(&now, &total) == 0,
           "the totals are not what was written");
    expect(now.unsettled == 0, "%llu readings did not settle", (unsigned long long)now.unsettled);
    expect(c->path == NULL || (now.processes == 1 && now.stripes_held == 0), "%u processes and %u stripes are left",
           now.processes, now.stripes_held);
    expect(now.processes_refused == 0, "%llu children were refused", (unsigned long long)now.processes_refused);
    tell("%llu forks, %d writers, %u stripes: exact, %.1f million writes by children, %.0f million in all",
         (unsigned long long)forks, WRITERS, stripes, (double)of_children / 1e6, (double)tally_writes(&total) / 1e6);
}
