/* What the tests of HDR histograms share: configurations, arrays of counts, and numbers drawn from a fixed seed. */
#ifndef VAULTSCOPE_TESTS_HDR_FIXTURE_H
#define VAULTSCOPE_TESTS_HDR_FIXTURE_H

#include "check.h"

#include "vaultscope/hdr.h"

static uint64_t random_state = 88172645463325252u;

static inline uint64_t random_word(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Up to `bits` bits, small and large magnitudes alike. */
static inline int64_t random_value(unsigned bits)
{
    return (int64_t)(random_word() >> (64 - bits) >> random_word() % bits);
}

/* A configuration that must be valid. */
static inline vs_hdr_config config_of(int64_t lowest, int64_t highest, int32_t digits)
{
    vs_hdr_config config;
    CHECK_EQ(vs_hdr_config_init(&config, lowest, highest, digits), VS_OK);
    return config;
}

/* Counts for it, to be freed. */
static inline uint64_t *zeroes(const vs_hdr_config *config)
{
    uint64_t *counts = calloc((size_t)config->counts_len, sizeof *counts);
    if (counts == NULL)
        abort();
    return counts;
}

#endif
