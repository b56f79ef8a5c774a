/* Writing records: what has room is there, what has none is cut or left out, marked and counted, and nothing is written beyond. */
#include "record_fixture.h"

/* The n-th field of a record that is being written. */
static vs_field_head field_at(const record *r, size_t n, const char **key)
{
    size_t size;
    const char *at = vs_log_fields(&r->writer, &size);
    for (;;) {
        vs_field_head head;
        memcpy(&head, at, sizeof head);
        *key = at + sizeof head;
        if (n-- == 0)
            return head;
        at += sizeof head + head.key_size + head.value_size;
    }
}

static void a_record_is_its_texts_and_its_fields(void)
{
    record *r = record_sized(VS_LOG_BYTES_SMALL, "cas", "main", text_of("stored"));
    add_text(r, "hash", "abc");
    const char expected[] = "casmainstored\5\0\4\0\3\0\0\0hashabc";
    CHECK_EQ(r->writer.size, sizeof(vs_log_head) + sizeof expected - 1);
    CHECK(memcmp(r->data + sizeof(vs_log_head), expected, sizeof expected - 1) == 0);
    CHECK_EQ(r->writer.logger_size, 3);
    CHECK_EQ(r->writer.vault_size, 4);
    CHECK_EQ(r->writer.message_size, 6);
    CHECK_EQ(r->writer.field_count, 1);
    CHECK(!r->writer.is_short && r->writer.flags == 0 && r->writer.omitted == 0);
    release(r);
}

static void texts_of_every_length_are_whole(void)
{
    char text[300];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('!' + i % 90);
    for (size_t size = 0; size < sizeof text; size++) {
        record *r = record_of("");
        add_run(r, "k", VS_FIELD_TEXT, text, size);
        const char *key;
        CHECK_EQ(field_at(r, 0, &key).value_size, size);
        CHECK(memcmp(key + 1, text, size) == 0);
        release(r);
    }
}

static void a_long_message_is_cut_at_a_character(void)
{
    char *message = malloc(3 * VS_MESSAGE_BYTES_MAX);
    for (size_t i = 0; i < VS_MESSAGE_BYTES_MAX; i++)
        memcpy(message + 3 * i, "\xe2\x82\xac", 3);
    record *r = record_sized(VS_LOG_BYTES_MAX, "", "", (vs_text){message, 3 * VS_MESSAGE_BYTES_MAX});
    CHECK_EQ(r->writer.message_size, VS_MESSAGE_BYTES_MAX / 3 * 3);
    CHECK_EQ(r->writer.flags, VS_LOG_MESSAGE_CUT);
    CHECK(!r->writer.is_short); /* it would have been cut with any room */
    release(r);
    free(message);
}

static void a_message_that_needs_more_room_says_so(void)
{
    char message[VS_LOG_BYTES_SMALL];
    memset(message, 'm', sizeof message);
    record *r = record_sized(VS_LOG_BYTES_SMALL, "cas", "", (vs_text){message, sizeof message});
    CHECK_EQ(r->writer.size, VS_LOG_BYTES_SMALL);
    CHECK(r->writer.is_short);
    CHECK_EQ(r->writer.flags, VS_LOG_MESSAGE_CUT);
    release(r);
}

static void long_names_are_cut_at_a_character(void)
{
    char name[401];
    for (size_t i = 0; i < 400; i += 2)
        memcpy(name + i, "\xc3\xa9", 2);
    name[400] = '\0';
    record *r = record_sized(VS_LOG_BYTES_SMALL, name, name, text_of("m"));
    add_u64(r, name, 1);
    CHECK_EQ(r->writer.logger_size, 254);
    CHECK_EQ(r->writer.vault_size, 254);
    const char *key;
    CHECK_EQ(field_at(r, 0, &key).key_size, 254);
    release(r);
}

static void a_cut_never_splits_a_character(void)
{
    const char *characters[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x92\xbe"};
    char text[4096];
    for (size_t length = 1; length <= 4; length++) {
        for (size_t i = 0; i < sizeof text / length; i++)
            memcpy(text + i * length, characters[length - 1], length);
        for (size_t room = 0; room < 9; room++) { /* every place within two characters */
            record *r = record_sized(VS_LOG_BYTES_SMALL, "", "", (vs_text){text, 24});
            char filler[9] = "";
            memset(filler, 'f', room);
            add_text(r, filler, "");
            add_run(r, "k", VS_FIELD_TEXT, text, sizeof text / length * length);
            const char *key;
            vs_field_head field = field_at(r, 1, &key);
            CHECK_EQ(field.flags, VS_FIELD_CUT);
            CHECK_EQ(field.value_size % length, 0);
            CHECK(field.value_size > 0 && r->writer.size <= VS_LOG_BYTES_SMALL);
            release(r);
        }
    }
}

static void what_is_no_utf8_is_cut_anywhere(void)
{
    char text[VS_LOG_BYTES_SMALL];
    memset(text, 0x80, sizeof text);
    record *r = record_sized(VS_LOG_BYTES_SMALL, "", "", (vs_text){text, sizeof text});
    CHECK_EQ(r->writer.message_size, VS_LOG_BYTES_SMALL - sizeof(vs_log_head));
    release(r);
}

static void huge_values_leave_room_for_small_ones(void)
{
    size_t size = 10 << 20;
    char *huge = malloc(size);
    memset(huge, 'h', size);
    record *r = record_of("m");
    add_run(r, "huge", VS_FIELD_TEXT, huge, size);
    add_run(r, "raw", VS_FIELD_BYTES, huge, size);
    add_run(r, "json", VS_FIELD_JSON, huge, size);
    add_run(r, "no room", VS_FIELD_TEXT, huge, size);
    add_run(r, "still less", VS_FIELD_TEXT, huge, size);
    add_u64(r, "size", size);
    CHECK_EQ(r->writer.field_count, 6);
    CHECK_EQ(r->writer.omitted, 0);
    CHECK(!r->writer.is_short); /* as much room as there is */
    const char *key;
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(field_at(r, i, &key).value_size, VS_VALUE_BYTES_MAX);
        CHECK_EQ(field_at(r, i, &key).flags, VS_FIELD_CUT);
    }
    for (size_t i = 3; i < 5; i++) {
        CHECK(field_at(r, i, &key).value_size > 1000);
        CHECK_EQ(field_at(r, i, &key).flags, VS_FIELD_CUT);
    }
    CHECK_EQ(field_at(r, 5, &key).flags, 0);
    release(r);
    free(huge);
}

static void the_longest_value_is_whole(void)
{
    char value[VS_VALUE_BYTES_MAX + 1];
    memset(value, 'v', sizeof value);
    record *r = record_of("m");
    add_run(r, "a", VS_FIELD_TEXT, value, VS_VALUE_BYTES_MAX);
    add_run(r, "b", VS_FIELD_TEXT, value, VS_VALUE_BYTES_MAX + 1);
    const char *key;
    CHECK_EQ(field_at(r, 0, &key).flags, 0);
    CHECK_EQ(field_at(r, 1, &key).flags, VS_FIELD_CUT);
    CHECK_EQ(field_at(r, 1, &key).value_size, VS_VALUE_BYTES_MAX);
    CHECK(!r->writer.is_short);
    release(r);
}

static void what_was_cut_before_stays_marked(void)
{
    record *r = record_of("m");
    vs_log_add(&r->writer, text_of("k"), VS_FIELD_TEXT, "part", 4, true);
    const char *key;
    CHECK_EQ(field_at(r, 0, &key).flags, VS_FIELD_CUT);
    CHECK_EQ(field_at(r, 0, &key).value_size, 4);
    release(r);
}

static void what_has_no_room_is_counted(void)
{
    record *r = record_sized(VS_LOG_BYTES_SMALL, "", "", text_of("m"));
    for (uint64_t i = 0; i < 1000; i++)
        add_u64(r, "key", i);
    size_t had_room = (VS_LOG_BYTES_SMALL - sizeof(vs_log_head) - 1) / (sizeof(vs_field_head) + 3 + 8);
    CHECK_EQ(r->writer.field_count, had_room);
    CHECK_EQ(r->writer.omitted, 1000 - had_room);
    CHECK(r->writer.is_short);
    release(r);
}

static void the_count_of_what_was_left_out_stops_at_its_end(void)
{
    record *r = record_sized(VS_LOG_BYTES_SMALL, "", "", text_of("m"));
    for (uint64_t i = 0; i < 70000; i++)
        add_u64(r, "key", i);
    CHECK_EQ(r->writer.omitted, UINT16_MAX);
    release(r);
}

static void values_that_are_not_what_their_type_says_are_left_out(void)
{
    record *r = record_of("m");
    add_run(r, "k", VS_FIELD_U64, "12345678", 7);
    add_run(r, "k", VS_FIELD_BOOL, "12", 2);
    add_run(r, "k", VS_FIELD_NULL, "1", 1);
    add_run(r, "k", (vs_field_type)8, "1", 1);
    add_run(r, "k", VS_FIELD_END, "", 0);
    CHECK_EQ(r->writer.field_count, 0);
    CHECK_EQ(r->writer.omitted, 5);
    CHECK(!r->writer.is_short); /* more room would not help */
    release(r);
}

static void nothing_is_written_beyond_the_capacity(void)
{
    static char value[600], frame[VS_LOG_BYTES_SMALL + 128];
    memset(value, 'v', sizeof value);
    for (size_t capacity = VS_LOG_BYTES_SMALL - 32; capacity <= VS_LOG_BYTES_SMALL; capacity++) {
        memset(frame, 0x55, sizeof frame);
        char *data = frame + 64;
        vs_log_writer w;
        vs_log_begin(&w, data, capacity, text_of("logger"), text_of("vault"), text_of("message"));
        for (size_t i = 0; i < 40; i++)
            vs_log_add(&w, (vs_text){value, i}, i % 2 ? VS_FIELD_TEXT : VS_FIELD_BYTES, value, 15 * i, false);
        CHECK(w.size <= capacity && w.size + 8 > (capacity & ~(size_t)7) - sizeof(vs_field_head) - 40);
        bool clean = true;
        for (size_t i = 0; i < sizeof frame; i++)
            clean &= frame[i] == 0x55 || (i >= 64 && i < 64 + capacity);
        CHECK(clean);
    }
}

static void a_record_may_be_read_up_to_a_multiple_of_eight(void)
{
    static _Alignas(8) char data[VS_LOG_BYTES_SMALL];
    char value[VS_LOG_BYTES_SMALL] = "";
    vs_log_writer w;
    vs_log_begin(&w, data, VS_LOG_BYTES_SMALL - 3, text_of(""), text_of(""), (vs_text){value, sizeof value});
    CHECK_EQ(w.size, VS_LOG_BYTES_SMALL - 8);
}

static void fields_of_another_record_are_added(void)
{
    record *from = record_of("bound"), *to = record_of("m");
    add_text(from, "a", "1");
    add_u64(from, "b", 2);
    add_u64(to, "own", 3);
    size_t size;
    const char *fields = vs_log_fields(&from->writer, &size);
    vs_log_add_all(&to->writer, fields, size, from->writer.field_count);
    CHECK_EQ(to->writer.field_count, 3);
    CHECK_SHOWS(to, "\"own\":3,\"a\":\"1\",\"b\":2}");
    release(from);
    release(to);
}

static void of_fields_without_room_as_many_are_added_as_fit(void)
{
    record *from = record_of("bound"), *to = record_sized(VS_LOG_BYTES_SMALL, "", "", text_of("m"));
    char value[1500];
    memset(value, 'v', sizeof value);
    add_run(from, "first", VS_FIELD_TEXT, value, sizeof value);
    add_run(from, "second", VS_FIELD_TEXT, value, sizeof value);
    add_u64(from, "third", 3);
    size_t size;
    const char *fields = vs_log_fields(&from->writer, &size);
    vs_log_add_all(&to->writer, fields, size, from->writer.field_count);
    CHECK(to->writer.is_short);
    CHECK_EQ(to->writer.field_count, 3);
    CHECK_SHOWS(to, "\"third\":3,\"truncated\":[\"second\"]}");
    release(from);
    release(to);
}

static void bytes_that_are_no_fields_are_counted_and_not_followed(void)
{
    record *to = record_sized(VS_LOG_BYTES_SMALL, "", "", text_of("m"));
    char bytes[VS_LOG_BYTES_SMALL];
    memset(bytes, 0xff, sizeof bytes);
    vs_log_add_all(&to->writer, bytes, sizeof bytes, 9);
    CHECK_EQ(to->writer.field_count, 0);
    CHECK_EQ(to->writer.omitted, 9);
    release(to);
}

static void a_field_that_is_longer_than_its_bytes_is_not_followed(void)
{
    record *from = record_of("bound"), *to = record_sized(VS_LOG_BYTES_SMALL, "", "", text_of("m"));
    char value[1500];
    memset(value, 'v', sizeof value);
    add_text(from, "a", "1");
    add_run(from, "b", VS_FIELD_TEXT, value, sizeof value);
    add_run(from, "c", VS_FIELD_TEXT, value, sizeof value);
    size_t size;
    const char *fields = vs_log_fields(&from->writer, &size);
    char *exact = malloc(size - 1); /* one byte of the last value is missing */
    memcpy(exact, fields, size - 1);
    vs_log_add_all(&to->writer, exact, size - 1, from->writer.field_count);
    CHECK_EQ(to->writer.field_count, 2);
    CHECK_EQ(to->writer.omitted, 1);
    free(exact);
    release(from);
    release(to);
}

int main(void)
{
    a_record_is_its_texts_and_its_fields();
    texts_of_every_length_are_whole();
    a_long_message_is_cut_at_a_character();
    a_message_that_needs_more_room_says_so();
    long_names_are_cut_at_a_character();
    a_cut_never_splits_a_character();
    what_is_no_utf8_is_cut_anywhere();
    huge_values_leave_room_for_small_ones();
    the_longest_value_is_whole();
    what_was_cut_before_stays_marked();
    what_has_no_room_is_counted();
    the_count_of_what_was_left_out_stops_at_its_end();
    values_that_are_not_what_their_type_says_are_left_out();
    nothing_is_written_beyond_the_capacity();
    a_record_may_be_read_up_to_a_multiple_of_eight();
    fields_of_another_record_are_added();
    of_fields_without_room_as_many_are_added_as_fit();
    bytes_that_are_no_fields_are_counted_and_not_followed();
    a_field_that_is_longer_than_its_bytes_is_not_followed();
    return check_report();
}
