/* The V2 encoding of HdrHistogram, without the zlib wrapper: what other programs read and write.
 *
 * Forty bytes of header, big-endian, then one ZigZag word a count up to the last that is not zero; a negative word
 * is a run of zeros. A word is LEB128 cut at nine bytes: eight of 7 bits, and a ninth that holds 8. Written as the
 * C and Python implementations write it, byte for byte. Bytes come from outside, so reading trusts none of them. */
#include "vaultscope/hdr.h"

enum { HEADER_BYTES = 40, WORD_BYTES_MAX = 9 };
enum { /* offsets of the header's fields */
    AT_COOKIE = 0,
    AT_PAYLOAD = 4,
    AT_INDEX_OFFSET = 8,
    AT_DIGITS = 12,
    AT_LOWEST = 16,
    AT_HIGHEST = 24,
    AT_RATIO = 32
};
static const uint32_t COOKIE = 0x1c849303;
static const uint32_t COOKIE_WORD_SIZE = 0xf0; /* a V1 field; V2 writes 0x10 there and ignores it */

static void put_big_endian(uint8_t *out, size_t bytes, uint64_t value)
{
    for (size_t i = bytes; i-- > 0; value >>= 8)
        out[i] = (uint8_t)value;
}

static uint64_t get_big_endian(const uint8_t *data, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | data[i];
    return value;
}

/* Returns the bytes written, 1 to 9. */
static size_t put_word(uint8_t out[WORD_BYTES_MAX], uint64_t word)
{
    size_t used = 0;
    while (word >= 0x80 && used < WORD_BYTES_MAX - 1) {
        out[used++] = (uint8_t)(word | 0x80);
        word >>= 7;
    }
    out[used++] = (uint8_t)word;
    return used;
}

/* Returns the bytes read, 1 to 9; 0 if the word does not end within `size`. */
static size_t get_word(const uint8_t *data, size_t size, uint64_t *word)
{
    *word = 0;
    for (size_t i = 0; i < size && i < WORD_BYTES_MAX - 1; i++) {
        *word |= (uint64_t)(data[i] & 0x7f) << (7 * i);
        if ((data[i] & 0x80) == 0)
            return i + 1;
    }
    if (size < WORD_BYTES_MAX)
        return 0;
    *word |= (uint64_t)data[WORD_BYTES_MAX - 1] << 56;
    return WORD_BYTES_MAX;
}

size_t vs_hdr_encoded_size_max(const vs_hdr_config *config)
{
    return HEADER_BYTES + (size_t)config->counts_len * WORD_BYTES_MAX;
}

static void put_header(const vs_hdr_config *config, uint8_t *out, size_t payload_bytes)
{
    put_big_endian(out + AT_COOKIE, 4, COOKIE | 0x10);
    put_big_endian(out + AT_PAYLOAD, 4, payload_bytes);
    put_big_endian(out + AT_INDEX_OFFSET, 4, 0);
    put_big_endian(out + AT_DIGITS, 4, (uint64_t)config->digits);
    put_big_endian(out + AT_LOWEST, 8, (uint64_t)config->lowest);
    put_big_endian(out + AT_HIGHEST, 8, (uint64_t)config->highest);
    put_big_endian(out + AT_RATIO, 8, vs_bits_of(1.0));
}

size_t vs_hdr_encode(const vs_hdr_config *config, const uint64_t *counts, uint8_t *out, size_t capacity)
{
    if (capacity < HEADER_BYTES)
        return 0;
    int32_t end = config->counts_len;
    while (end > 0 && counts[end - 1] == 0)
        end--;
    size_t size = HEADER_BYTES;
    for (int32_t i = 0; i < end;) {
        uint64_t word;
        if (counts[i] != 0) {
            if (counts[i] > INT64_MAX)
                return 0;
            word = counts[i++] << 1;
        } else {
            int32_t start = i;
            while (counts[i] == 0) /* counts[end - 1] is not */
                i++;
            word = 2 * (uint64_t)(i - start) - 1;
        }
        uint8_t bytes[WORD_BYTES_MAX];
        size_t used = put_word(bytes, word);
        if (used > capacity - size)
            return 0;
        memcpy(out + size, bytes, used);
        size += used;
    }
    put_header(config, out, size - HEADER_BYTES);
    return size;
}

static bool read_header(const uint8_t *data, size_t size, vs_hdr_config *config)
{
    if (size < HEADER_BYTES || (get_big_endian(data + AT_COOKIE, 4) & ~(uint64_t)COOKIE_WORD_SIZE) != COOKIE
        || get_big_endian(data + AT_PAYLOAD, 4) != size - HEADER_BYTES || get_big_endian(data + AT_INDEX_OFFSET, 4) != 0
        || get_big_endian(data + AT_RATIO, 8) != vs_bits_of(1.0))
        return false;
    int32_t digits = (int32_t)get_big_endian(data + AT_DIGITS, 4);
    int64_t lowest = (int64_t)get_big_endian(data + AT_LOWEST, 8);
    int64_t highest = (int64_t)get_big_endian(data + AT_HIGHEST, 8);
    return vs_hdr_config_init(config, lowest, highest, digits) == VS_OK;
}

/* Walks the words of n counts; adds to `counts` unless it is NULL. False if they are not whole, or more than n. */
static bool read_counts(const uint8_t *data, size_t size, size_t n, uint64_t *counts)
{
    size_t index = 0;
    for (size_t at = HEADER_BYTES; at < size;) {
        uint64_t word;
        size_t used = get_word(data + at, size - at, &word);
        uint64_t entries = (word & 1) != 0 ? (word >> 1) + 1 : 1;
        if (used == 0 || entries > n - index)
            return false;
        if (counts != NULL && (word & 1) == 0)
            counts[index] = vs_hdr_count_add(counts[index], word >> 1);
        index += entries;
        at += used;
    }
    return true;
}

vs_status vs_hdr_decode_config(const uint8_t *data, size_t size, vs_hdr_config *config)
{
    if (!read_header(data, size, config) || !read_counts(data, size, (size_t)config->counts_len, NULL))
        return VS_E_CORRUPT;
    return VS_OK;
}

vs_status vs_hdr_decode_counts(const uint8_t *data, size_t size, const vs_hdr_config *config, uint64_t *counts)
{
    vs_hdr_config told;
    vs_status status = vs_hdr_decode_config(data, size, &told);
    if (status != VS_OK)
        return status;
    if (told.unit_magnitude != config->unit_magnitude || told.sub_bucket_count != config->sub_bucket_count
        || told.counts_len != config->counts_len)
        return VS_E_INVALID;
    read_counts(data, size, (size_t)config->counts_len, counts); /* checked a moment ago */
    return VS_OK;
}
