/* Identifiers: never 0, never twice, evenly spread, and others in each thread and in the child of each fork. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "vaultscope/id.h"

enum { THREADS = 8, FORKS = 100, OF_A_FORK = 100, BYTES = 8, VALUES = 256 };

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { MANY = 1000000 };
#else
enum { MANY = 10000000 };
#endif

static uint64_t *ids;

static int ascending(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

/* How many of the first `count` ids are there more than once. Sorts them. */
static size_t twins(size_t count)
{
    size_t found = 0;
    qsort(ids, count, sizeof *ids, ascending);
    for (size_t i = 1; i < count; i++)
        found += ids[i] == ids[i - 1];
    return found;
}

static void *fill(void *part)
{
    size_t count = MANY / THREADS;
    for (size_t i = 0; i < count; i++)
        ((uint64_t *)part)[i] = vs_id_next();
    return NULL;
}

static void no_two_of_ten_million_from_eight_threads_are_alike_and_none_is_0(void)
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        if (!CHECK(pthread_create(&threads[i], NULL, fill, ids + i * (MANY / THREADS)) == 0))
            return;
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    /* By chance there would be twins in one of 370,000 runs. */
    CHECK_EQ(twins(MANY), 0);
    CHECK(ids[0] != 0);
}

static void each_byte_takes_each_value_equally_often(void)
{
    static uint64_t seen[BYTES][VALUES];
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < MANY; i++) {
        uint64_t id = vs_id_next();
        for (int byte = 0; byte < BYTES; byte++)
            seen[byte][id >> (8 * byte) & 0xff]++;
    }
    for (int byte = 0; byte < BYTES; byte++) {
        double square = 0.0, expected = (double)MANY / VALUES;
        for (int value = 0; value < VALUES; value++) {
            double off = (double)seen[byte][value] - expected;
            square += off * off / expected;
        }
        /* Chi-square of 255 degrees: beyond 410, or below 140, once in 10^9. */
        if (!CHECK(square > 140.0 && square < 410.0))
            fprintf(stderr, "    byte %d: chi-square %.1f\n", byte, square);
    }
}

static void each_bit_is_as_often_set_as_not_and_knows_nothing_of_the_one_before(void)
{
    uint64_t set[64] = {0}, changed[64] = {0}, before = vs_id_next();
    for (size_t i = 0; i < MANY; i++) {
        uint64_t id = vs_id_next();
        for (int bit = 0; bit < 64; bit++) {
            set[bit] += id >> bit & 1;
            changed[bit] += (id ^ before) >> bit & 1;
        }
        before = id;
    }
    /* Six and a half standard deviations, of sqrt(n) / 2. */
    double root = 1.0;
    for (int i = 0; i < 60; i++)
        root = (root + MANY / root) / 2;
    double most = MANY / 2.0 + 3.25 * root, least = MANY / 2.0 - 3.25 * root;
    for (int bit = 0; bit < 64; bit++) {
        CHECK((double)set[bit] > least && (double)set[bit] < most);
        CHECK((double)changed[bit] > least && (double)changed[bit] < most);
    }
}

static bool write_ids(int to, size_t count)
{
    uint64_t some[OF_A_FORK];
    for (size_t i = 0; i < count; i++)
        some[i] = vs_id_next();
    return write(to, some, count * sizeof *some) == (ssize_t)(count * sizeof *some);
}

static bool read_ids(int from, uint64_t *into, size_t count)
{
    size_t size = 0;
    while (size < count * sizeof *into) {
        ssize_t got = read(from, (char *)into + size, count * sizeof *into - size);
        if (got <= 0)
            return false;
        size += (size_t)got;
    }
    return true;
}

/* The parent's generator is as it was before each fork: a child that went on from there would give what the next child gives. */
static void children_of_a_hundred_forks_have_ids_of_their_own(void)
{
    size_t count = 0;
    for (int i = 0; i < FORKS; i++) {
        int ends[2];
        if (!CHECK(pipe(ends) == 0))
            return;
        pid_t child = fork();
        if (child == 0)
            _exit(write_ids(ends[1], OF_A_FORK) ? 0 : 1);
        close(ends[1]);
        CHECK(read_ids(ends[0], ids + count, OF_A_FORK));
        close(ends[0]);
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        count += OF_A_FORK;
    }
    for (int i = 0; i < OF_A_FORK; i++) /* the parent's own, of the same state */
        ids[count++] = vs_id_next();
    CHECK_EQ(twins(count), 0);
}

static void a_grandchild_has_others_than_its_parent_and_the_parents_parent(void)
{
    int ends[2];
    if (!CHECK(pipe(ends) == 0))
        return;
    pid_t child = fork();
    if (child == 0) {
        pid_t grandchild = fork();
        bool written = write_ids(ends[1], OF_A_FORK);
        int status = 0;
        if (grandchild != 0)
            waitpid(grandchild, &status, 0);
        _exit(written && status == 0 ? 0 : 1);
    }
    close(ends[1]);
    CHECK(read_ids(ends[0], ids, 2 * OF_A_FORK));
    close(ends[0]);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    for (int i = 0; i < OF_A_FORK; i++)
        ids[2 * OF_A_FORK + i] = vs_id_next();
    CHECK_EQ(twins(3 * OF_A_FORK), 0);
}

static void *seed_in_a_thread(void *kept)
{
    errno = 77;
    vs_id_next();
    *(int *)kept = errno;
    return NULL;
}

static void seeding_leaves_errno_alone(void)
{
    int kept = 0;
    pthread_t thread;
    if (CHECK(pthread_create(&thread, NULL, seed_in_a_thread, &kept) == 0))
        pthread_join(thread, NULL);
    CHECK_EQ(kept, 77);
}

int main(void)
{
    ids = calloc(MANY, sizeof *ids);
    if (ids == NULL)
        return EXIT_FAILURE;
    no_two_of_ten_million_from_eight_threads_are_alike_and_none_is_0();
    each_byte_takes_each_value_equally_often();
    each_bit_is_as_often_set_as_not_and_knows_nothing_of_the_one_before();
    children_of_a_hundred_forks_have_ids_of_their_own();
    a_grandchild_has_others_than_its_parent_and_the_parents_parent();
    seeding_leaves_errno_alone();
    free(ids);
    return check_report();
}
