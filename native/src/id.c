/* Random identifiers. Blackman and Vigna's xoshiro256++: 2^256 - 1 long, a nanosecond a number. */
#define _GNU_SOURCE
#include "vaultscope/id.h"

#include <errno.h>
#include <pthread.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "vaultscope/atomic.h"

typedef struct generator {
    uint64_t state[4];
    uint32_t forks; /* at which it was seeded, + 1; 0: never */
} generator;

static _Thread_local generator mine __attribute__((tls_model("initial-exec")));
static vs_word32 forks; /* relaxed: it changes where there is one thread */

static void count_fork(void) { vs_store_relaxed(&forks, vs_load_relaxed(&forks) + 1); }

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, count_fork); }

/* Spreads a number over all bits (splitmix64): for systems that give no randomness. */
static uint64_t spread(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static VS_COLD void seed(uint32_t now)
{
    int before = errno;
    if (getrandom(mine.state, sizeof mine.state, GRND_NONBLOCK) != (ssize_t)sizeof mine.state) {
        struct timespec time;
        clock_gettime(CLOCK_MONOTONIC, &time);
        uint64_t from = (uint64_t)time.tv_sec << 32 ^ (uint64_t)time.tv_nsec ^ (uint64_t)getpid() << 40 ^ (uint64_t)(uintptr_t)&mine;
        for (int i = 0; i < 4; i++)
            mine.state[i] = spread(&from);
    }
    mine.state[0] |= 1; /* all zeros would stay zeros */
    mine.forks = now + 1;
    errno = before;
}

static inline uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

uint64_t vs_id_next(void)
{
    uint32_t now = vs_load_relaxed(&forks);
    if (VS_UNLIKELY(mine.forks != now + 1))
        seed(now);
    uint64_t *s = mine.state, result;
    do {
        result = rotate(s[0] + s[3], 23) + s[0];
        uint64_t t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = rotate(s[3], 45);
    } while (VS_UNLIKELY(result == 0));
    return result;
}
