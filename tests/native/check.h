/* Checks for the C tests: a failed one is printed with its place and the test goes on. One thread at a time. */
#ifndef VAULTSCOPE_TESTS_CHECK_H
#define VAULTSCOPE_TESTS_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned long check_passed, check_failed;

/* True if `condition` holds; prints it if not. */
#define CHECK(condition) check_note((condition), __FILE__, __LINE__, #condition)

/* The same for two integers of any type up to 64 bits; prints both if they differ. */
#define CHECK_EQ(actual, expected) \
    check_equal((long long)(actual), (long long)(expected), __FILE__, __LINE__, #actual " == " #expected)

static inline bool check_note(bool holds, const char *file, int line, const char *what)
{
    if (holds) {
        check_passed++;
    } else {
        check_failed++;
        fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
    }
    return holds;
}

static inline bool check_equal(long long actual, long long expected, const char *file, int line, const char *what)
{
    bool holds = check_note(actual == expected, file, line, what);
    if (!holds)
        fprintf(stderr, "    is %lld, should be %lld\n", actual, expected);
    return holds;
}

/* What main returns. */
static inline int check_report(void)
{
    printf("%lu passed, %lu failed\n", check_passed, check_failed);
    return check_failed == 0 && check_passed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
