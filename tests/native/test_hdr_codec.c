/* The V2 encoding, held against bytes that the hdrhistogram package (0.10.8) wrote, and against hostile ones. */
#include "hdr_fixture.h"

static const uint8_t golden[55] = { /* 1..1000, 1 digit: 0 twice, 5, 7 x 63, 8 x 64, 1000 x 2^40 */
    0x1c, 0x84, 0x93, 0x13, 0, 0, 0, 0x0f, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 0xe8,
    0x3f, 0xf0, 0, 0, 0, 0, 0, 0,
    0x04, 0x07, 0x02, 0x01, 0x7e, 0x80, 0x01, 0xcb, 0x01, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40};

/* A histogram encodes to the very bytes that the hdrhistogram package writes, if they fit, and decodes from them. */
static void test_golden_bytes(void)
{
    vs_hdr_config config = config_of(1, 1000, 1);
    uint64_t *counts = zeroes(&config);
    uint64_t *decoded = zeroes(&config);
    uint8_t bytes[sizeof golden];
    counts[0] = 2;
    counts[5] = 1;
    counts[7] = 63;
    counts[8] = 64;
    counts[vs_hdr_index(&config, 1000)] = UINT64_C(1) << 40;
    CHECK_EQ(vs_hdr_encode(&config, counts, bytes, sizeof bytes), sizeof golden);
    CHECK(memcmp(bytes, golden, sizeof golden) == 0);
    for (size_t capacity = 0; capacity < sizeof golden; capacity++)
        CHECK_EQ(vs_hdr_encode(&config, counts, bytes, capacity), 0);
    CHECK_EQ(vs_hdr_decode_counts(golden, sizeof golden, &config, decoded), VS_OK);
    CHECK(memcmp(counts, decoded, (size_t)config.counts_len * sizeof *counts) == 0);
    free(counts);
    free(decoded);
}

/* Decoding adds to what is there, and stays at the greatest count instead of wrapping. */
static void test_decode_adds(void)
{
    vs_hdr_config config = config_of(1, 1000, 1);
    uint64_t *counts = zeroes(&config);
    counts[3] = 9;
    counts[5] = UINT64_MAX;
    CHECK_EQ(vs_hdr_decode_counts(golden, sizeof golden, &config, counts), VS_OK);
    CHECK_EQ(vs_hdr_decode_counts(golden, sizeof golden, &config, counts), VS_OK);
    CHECK_EQ(counts[0], 4);
    CHECK_EQ(counts[3], 9);
    CHECK(counts[5] == UINT64_MAX);
    CHECK_EQ(counts[7], 126);
    free(counts);
}

/* Any counts up to INT64_MAX survive the encoding, in every layout; greater ones are refused. */
static void test_round_trip(void)
{
    for (int round = 0; round < 200; round++) {
        vs_hdr_config config = config_of(1 + random_value(10), 2048 + random_value(62), 1 + round % 3);
        vs_hdr_config told;
        uint64_t *counts = zeroes(&config);
        uint64_t *decoded = zeroes(&config);
        uint8_t *bytes = malloc(vs_hdr_encoded_size_max(&config));
        for (int i = 0; i < round; i++) {
            uint64_t at = random_word() % (uint64_t)config.counts_len;
            counts[at] = round % 2 == 0 ? INT64_MAX : (uint64_t)random_value(63);
        }
        size_t size = vs_hdr_encode(&config, counts, bytes, vs_hdr_encoded_size_max(&config));
        CHECK(size >= 40);
        CHECK_EQ(vs_hdr_decode_config(bytes, size, &told), VS_OK);
        CHECK(told.lowest == config.lowest && told.highest == config.highest && told.digits == config.digits);
        CHECK_EQ(vs_hdr_decode_counts(bytes, size, &told, decoded), VS_OK);
        CHECK(memcmp(counts, decoded, (size_t)config.counts_len * sizeof *counts) == 0);
        counts[7] = (uint64_t)INT64_MAX + 1;
        CHECK_EQ(vs_hdr_encode(&config, counts, bytes, vs_hdr_encoded_size_max(&config)), 0);
        free(bytes);
        free(counts);
        free(decoded);
    }
}

/* An encoding cut short anywhere is refused, and not read past its end (the sanitizers watch). */
static void test_truncated(void)
{
    for (size_t size = 0; size < sizeof golden; size++) {
        vs_hdr_config config;
        uint8_t *bytes = malloc(size + (size == 0));
        memcpy(bytes, golden, size);
        CHECK_EQ(vs_hdr_decode_config(bytes, size, &config), VS_E_CORRUPT);
        if (size > 40) {
            bytes[7] = (uint8_t)(size - 40);
            bool whole = size != 46 && size != 48 && size < 50; /* not inside a word of several bytes */
            CHECK_EQ(vs_hdr_decode_config(bytes, size, &config), whole ? VS_OK : VS_E_CORRUPT);
        }
        free(bytes);
    }
}

static vs_status decode_changed(size_t at, uint8_t value)
{
    uint8_t bytes[sizeof golden];
    vs_hdr_config config;
    memcpy(bytes, golden, sizeof golden);
    bytes[at] = value;
    return vs_hdr_decode_config(bytes, sizeof bytes, &config);
}

/* Each field of the header is checked, and so is the room that the counts need. */
static void test_corrupt(void)
{
    CHECK_EQ(decode_changed(3, 0x93), VS_OK);        /* the word size of V1: ignored */
    CHECK_EQ(decode_changed(3, 0x14), VS_E_CORRUPT); /* the cookie of the compressed form */
    CHECK_EQ(decode_changed(7, 0x0e), VS_E_CORRUPT); /* payload length */
    CHECK_EQ(decode_changed(11, 1), VS_E_CORRUPT);   /* shifted index */
    CHECK_EQ(decode_changed(12, 0x80), VS_E_CORRUPT);
    CHECK_EQ(decode_changed(15, 0), VS_E_CORRUPT); /* digits */
    CHECK_EQ(decode_changed(15, 6), VS_E_CORRUPT);
    CHECK_EQ(decode_changed(16, 0x80), VS_E_CORRUPT); /* lowest */
    CHECK_EQ(decode_changed(23, 0), VS_E_CORRUPT);
    CHECK_EQ(decode_changed(24, 0xff), VS_E_CORRUPT); /* highest */
    CHECK_EQ(decode_changed(30, 0), VS_E_CORRUPT);    /* 232: too few counts for the payload */
    CHECK_EQ(decode_changed(33, 0xf8), VS_E_CORRUPT); /* ratio 1.5 */
    CHECK_EQ(decode_changed(54, 0xc0), VS_E_CORRUPT); /* the last word does not end */
    CHECK_EQ(decode_changed(48, 0x02), VS_E_CORRUPT); /* a run of zeros beyond the layout */
}

/* A run of 2^63 zeros, and counts decoded into another layout, are refused before anything is written. */
static void test_corrupt_words(void)
{
    vs_hdr_config config = config_of(1, 1000, 1);
    vs_hdr_config larger = config_of(1, 100000, 1);
    vs_hdr_config wider = config_of(2, 2000, 1);
    uint64_t *counts = zeroes(&larger);
    uint8_t bytes[40 + 10];
    memcpy(bytes, golden, 40);
    bytes[7] = 10;
    bytes[40] = 2; /* one value of 0 */
    memset(bytes + 41, 0xff, 9);
    CHECK_EQ(vs_hdr_decode_counts(bytes, sizeof bytes, &config, counts), VS_E_CORRUPT);
    CHECK_EQ(vs_hdr_decode_counts(golden, sizeof golden, &larger, counts), VS_E_INVALID);
    CHECK_EQ(vs_hdr_decode_counts(golden, sizeof golden, &wider, counts), VS_E_INVALID);
    CHECK_EQ(vs_hdr_total(&larger, counts), 0);
    free(counts);
}

/* Bytes mutated at random decode or are refused, and never write outside the counts (the sanitizers watch). */
static void test_mutated(void)
{
    uint8_t bytes[sizeof golden];
    unsigned decoded = 0;
    for (int round = 0; round < 50000; round++) {
        vs_hdr_config config;
        memcpy(bytes, golden, sizeof golden);
        for (uint64_t changes = random_word() % 4; changes-- > 0;)
            bytes[random_word() % sizeof bytes] = (uint8_t)random_word();
        if (vs_hdr_decode_config(bytes, sizeof bytes, &config) != VS_OK || config.counts_len > 5000)
            continue;
        uint64_t *counts = zeroes(&config);
        CHECK_EQ(vs_hdr_decode_counts(bytes, sizeof bytes, &config, counts), VS_OK);
        free(counts);
        decoded++;
    }
    CHECK(decoded > 5000);
}

int main(void)
{
    test_golden_bytes();
    test_decode_adds();
    test_round_trip();
    test_truncated();
    test_corrupt();
    test_corrupt_words();
    test_mutated();
    return check_report();
}
