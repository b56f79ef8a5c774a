/* Records with damaged bytes: each becomes one valid line, which says so if the record cannot be read, and nothing outside is read. */
#include "record_fixture.h"

/* A record with a field of each type, in memory of exactly its size, so that a sanitizer sees each byte too far. */
static char *good_record(size_t *size)
{
    record *r = record_sized(VS_LOG_BYTES_MAX, "cas.gc", "main", text_of("Object \xf0\x9f\x92\xbe stored"));
    r->head.trace_low = 5;
    add_run(r, "null", VS_FIELD_NULL, NULL, 0);
    add_run(r, "bool", VS_FIELD_BOOL, "\1", 1);
    add_i64(r, "time", -7);
    add_u64(r, "n\xc3\xa9", 7);
    add_f64(r, "f", 0.5);
    add_text(r, "text", "a \"quote\" \xe2\x82\xac");
    add_run(r, "bytes", VS_FIELD_BYTES, "\1\2\3\4\5", 5);
    add_json(r, "json", "{\"a\":[1,\"\\u00e9\"],\n\"b\":1e5}");
    vs_log_add(&r->writer, text_of("text"), VS_FIELD_TEXT, "cut", 3, true);
    *size = finish(r);
    char *bytes = malloc(*size);
    memcpy(bytes, r->data, *size);
    release(r);
    return bytes;
}

/* Whether the bytes become one valid line; *readable: as a record. */
static bool becomes_a_line(const char *bytes, size_t size, bool *readable)
{
    char *exact = malloc(size != 0 ? size : 1);
    if (size != 0)
        memcpy(exact, bytes, size);
    vs_buffer out = {0};
    *readable = vs_log_render_json(exact, size, &out);
    bool good = is_one_line(&out);
    if (good && !*readable) {
        out.data[out.size - 1] = '\0';
        good = strstr(out.data, "\"level\":\"error\",\"message\":\"unreadable record\"") != NULL;
    }
    vs_buffer_free(&out);
    free(exact);
    return good;
}

static void a_record_that_ends_too_soon_is_unreadable(void)
{
    size_t size;
    char *bytes = good_record(&size);
    bool readable;
    CHECK(becomes_a_line(bytes, size, &readable) && readable);
    for (size_t shorter = 0; shorter < size; shorter++)
        CHECK(becomes_a_line(bytes, shorter, &readable) && !readable);
    free(bytes);
}

static void a_record_that_says_it_is_shorter_is_unreadable(void)
{
    size_t size;
    char *bytes = good_record(&size);
    bool readable;
    for (uint32_t shorter = 0; shorter < size; shorter++) {
        memcpy(bytes + offsetof(vs_log_head, size), &shorter, sizeof shorter);
        CHECK(becomes_a_line(bytes, size, &readable) && !readable);
    }
    free(bytes);
}

static void what_lies_behind_a_record_is_not_looked_at(void)
{
    size_t size;
    char *bytes = good_record(&size);
    char padded[VS_LOG_BYTES_SMALL];
    memset(padded, 0xff, sizeof padded);
    memcpy(padded, bytes, size);
    bool readable;
    CHECK(becomes_a_line(padded, sizeof padded, &readable) && readable);
    free(bytes);
}

static void any_one_byte_may_be_wrong(void)
{
    size_t size;
    char *bytes = good_record(&size);
    bool readable, good = true;
    size_t unreadable = 0;
    for (size_t i = 0; i < size; i++) {
        char was = bytes[i];
        for (int value = 0; value < 256; value++) {
            bytes[i] = (char)value;
            good &= becomes_a_line(bytes, size, &readable);
            unreadable += !readable;
        }
        bytes[i] = was;
    }
    CHECK(good);
    CHECK(unreadable > 1000); /* sizes and types are looked at */
    free(bytes);
}

static void any_bytes_may_be_wrong(void)
{
    size_t size;
    char *bytes = good_record(&size), *damaged = malloc(size);
    uint64_t random = 1;
    bool readable, good = true;
    for (int round = 0; round < 20000; round++) {
        memcpy(damaged, bytes, size);
        for (int i = 0; i < 1 + round % 8; i++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            damaged[(random >> 33) % size] = (char)(random >> 24);
        }
        good &= becomes_a_line(damaged, size, &readable);
    }
    CHECK(good);
    free(damaged);
    free(bytes);
}

static void a_record_of_nothing_but_one_byte_is_unreadable(void)
{
    static char bytes[VS_LOG_BYTES_MAX + 8];
    bool readable;
    for (int value = 0; value < 256; value++) {
        memset(bytes, value, sizeof bytes);
        CHECK(becomes_a_line(bytes, sizeof bytes, &readable) && !readable);
    }
}

/* Sets a field of the good record's head; whether it can still be read. */
static bool reads_with(size_t offset, uint64_t value, size_t width)
{
    size_t size;
    char *bytes = good_record(&size);
    memcpy(bytes + offset, &value, width); /* little-endian, as the record's own file is */
    bool readable;
    CHECK(becomes_a_line(bytes, size, &readable));
    free(bytes);
    return readable;
}

static void sizes_that_wrap_round_are_refused(void)
{
    CHECK(!reads_with(offsetof(vs_log_head, size), UINT32_MAX, 4));
    CHECK(!reads_with(offsetof(vs_log_head, message_size), UINT32_MAX, 4));
    CHECK(!reads_with(offsetof(vs_log_head, message_size), UINT32_MAX - 9, 4));
    CHECK(!reads_with(offsetof(vs_log_head, field_count), UINT16_MAX, 2));
    CHECK(!reads_with(offsetof(vs_log_head, field_count), 8, 2)); /* bytes would be left over */
    CHECK(!reads_with(offsetof(vs_log_head, level), VS_LEVELS, 1));
    CHECK(reads_with(offsetof(vs_log_head, level), VS_FATAL, 1));
    CHECK(reads_with(offsetof(vs_log_head, time_ns), UINT64_MAX, 8));
}

static void a_record_longer_than_any_is_unreadable(void)
{
    uint32_t size = VS_LOG_BYTES_MAX + 8;
    char *bytes = calloc(1, size);
    vs_log_head head = {.size = size, .message_size = size - (uint32_t)sizeof head};
    memcpy(bytes, &head, sizeof head);
    bool readable;
    CHECK(becomes_a_line(bytes, size, &readable) && !readable);
    free(bytes);
}

static void an_unreadable_record_still_tells_its_time(void)
{
    vs_log_head head = {.time_ns = UINT64_C(1769903999123456789), .size = 9999};
    vs_buffer out = {0};
    CHECK(!vs_log_render_json(&head, sizeof head, &out));
    const char expected[] = "{\"time\":\"2026-01-31T23:59:59.123456789Z\",\"level\":\"error\",\"message\":\"unreadable record\","
                            "\"size\":56}\n";
    CHECK(out.size == sizeof expected - 1 && memcmp(out.data, expected, out.size) == 0);
    vs_buffer_free(&out);
}

int main(void)
{
    a_record_that_ends_too_soon_is_unreadable();
    a_record_that_says_it_is_shorter_is_unreadable();
    what_lies_behind_a_record_is_not_looked_at();
    any_one_byte_may_be_wrong();
    any_bytes_may_be_wrong();
    a_record_of_nothing_but_one_byte_is_unreadable();
    sizes_that_wrap_round_are_refused();
    a_record_longer_than_any_is_unreadable();
    an_unreadable_record_still_tells_its_time();
    return check_report();
}
