/* Runs one campaign:
 *
 *   campaign NAME [--scale X] [--seed N] [--stripes N] [--file PATH]
 *
 * prints one line about what it did, and on stderr what went wrong; exits with 1 if anything did. */
#define _GNU_SOURCE
#include "campaign.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct {
    const char *name;
    void (*run)(const campaign *c);
} CAMPAIGNS[] = {
    {"torn", campaign_torn},       {"forks", campaign_forks}, {"births", campaign_births},
    {"threads", campaign_threads}, {"kills", campaign_kills}, {"log_kills", campaign_log_kills},
    {"log_accounts", campaign_log_accounts},
};

enum { PATIENCE_S = 1800 };

static vs_word *failure_count; /* shared with the children */

bool expect(bool holds, const char *format, ...)
{
    if (holds || vs_add_relaxed(failure_count, 1u) >= FAILURES_TOLD_MAX)
        return holds;
    va_list arguments;
    va_start(arguments, format);
    char text[512];
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "failed: %s\n", text);
    return holds;
}

uint64_t failures(void) { return vs_load_relaxed(failure_count); }

void tell(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout); /* or the child of a fork would print it again */
}

void give_up(const char *what)
{
    fprintf(stderr, "gave up: %s\n", what);
    _exit(EXIT_FAILURE);
}

static void bark(int number)
{
    (void)number;
    static const char text[] = "gave up: not done in time: a deadlock, or a machine that is far too slow\n";
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
    _exit(EXIT_FAILURE);
}

void watchdog(unsigned seconds)
{
    signal(SIGALRM, bark);
    alarm(seconds);
}

void *shared_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        give_up("no shared memory");
    return memory;
}

uint64_t scaled(const campaign *c, uint64_t times)
{
    uint64_t n = (uint64_t)((double)times * c->scale);
    return n != 0 ? n : 1;
}

uint64_t random_start(uint64_t seed, uint64_t which)
{
    uint64_t z = seed + (which + 1) * UINT64_C(0x9e3779b97f4a7c15); /* neighbours must not begin alike */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) | 1;
}

static int usage(void)
{
    fprintf(stderr, "usage: campaign NAME [--scale X] [--seed N] [--stripes N] [--file PATH]\nNAME is one of:");
    for (size_t i = 0; i < sizeof CAMPAIGNS / sizeof *CAMPAIGNS; i++)
        fprintf(stderr, " %s", CAMPAIGNS[i].name);
    fprintf(stderr, "\n");
    return 2;
}

int main(int argument_count, char **arguments)
{
    campaign c = {.scale = 1, .seed = 1};
    void (*run)(const campaign *) = NULL;
    for (size_t i = 0; argument_count >= 2 && i < sizeof CAMPAIGNS / sizeof *CAMPAIGNS; i++)
        if (strcmp(arguments[1], CAMPAIGNS[i].name) == 0)
            run = CAMPAIGNS[i].run;
    if (run == NULL || argument_count % 2 != 0)
        return usage();
    for (int i = 2; i < argument_count; i += 2) {
        const char *value = arguments[i + 1];
        if (strcmp(arguments[i], "--scale") == 0)
            c.scale = strtod(value, NULL);
        else if (strcmp(arguments[i], "--seed") == 0)
            c.seed = strtoull(value, NULL, 10);
        else if (strcmp(arguments[i], "--stripes") == 0)
            c.stripes = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(arguments[i], "--file") == 0)
            c.path = value;
        else
            return usage();
    }
    failure_count = shared_memory(sizeof *failure_count);
    watchdog(PATIENCE_S);
    run(&c);
    if (failures() != 0)
        fprintf(stderr, "%llu failed\n", (unsigned long long)failures());
    return failures() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
