/* Arenas: their limits, their settings, and that they leave the host its address space. */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

static vs_status open_and_close(uint32_t stripes, uint64_t bytes)
{
    vs_arena *arena = NULL;
    vs_arena_options options = {.stripe_count = stripes, .stripe_bytes = bytes};
    vs_status status = vs_arena_open(&options, &arena);
    if (status == VS_OK)
        vs_arena_close(arena);
    return status;
}

static void check_sizes_out_of_range_are_refused(void)
{
    CHECK(open_and_close(1025, 0) == VS_E_INVALID);
    CHECK(open_and_close(1, 4096) == VS_E_INVALID);
    CHECK(open_and_close(1, UINT64_MAX) == VS_E_INVALID);
    CHECK(open_and_close(1, 64 << 10) == VS_OK);
}

/* Runs a check in a child, whose environment and limits it may change. */
static bool in_child(bool (*check)(void))
{
    pid_t child = fork();
    if (child == 0)
        _exit(check() ? 0 : 1);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool bad_settings_are_refused(void)
{
    vs_arena *arena = NULL;
    const char *bad[] = {"abc", "-1", "0", "12x", "99999999999999999999999", " 5"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv("VAULTSCOPE_STRIPES", bad[i], 1);
        if (vs_arena_default(&arena) != VS_E_INVALID)
            return false;
    }
    setenv("VAULTSCOPE_STRIPES", "3", 1);
    setenv("VAULTSCOPE_STRIPE_BYTES", "1048576", 1);
    uint32_t total, held;
    if (vs_arena_default(&arena) != VS_OK)
        return false;
    vs_stripe_usage(vs_arena_slot(arena), &total, &held);
    uint64_t used, limit;
    vs_arena_usage(arena, &used, &limit);
    return total == 3 && held == 0 && limit == 1048576;
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__) /* they need all the address space themselves */
static bool an_arena_leaves_address_space(void)
{
    struct rlimit limit = {UINT64_C(4) << 30, UINT64_C(4) << 30};
    vs_arena *arena = NULL;
    vs_arena_options options = {0};
    if (setrlimit(RLIMIT_AS, &limit) != 0 || vs_arena_open(&options, &arena) != VS_OK)
        return false;
    uint64_t used, bytes;
    vs_arena_usage(arena, &used, &bytes);
    void *rest = malloc((size_t)3 << 30);
    bool left = rest != NULL;
    free(rest);
    return left && bytes * 65 <= limit.rlim_cur / 8;
}
#endif

static void check_slots_run_out(void)
{
    vs_status status = VS_OK;
    int opened = 0;
    while ((status = open_and_close(1, 64 << 10)) == VS_OK && opened < VS_ARENAS_MAX)
        opened++;
    CHECK(status == VS_E_FULL); /* a closed slot is not used again */
}

int main(void)
{
    check_sizes_out_of_range_are_refused();
    CHECK(in_child(bad_settings_are_refused));
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
    CHECK(in_child(an_arena_leaves_address_space));
#endif
    check_slots_run_out();
    return check_report();
}
