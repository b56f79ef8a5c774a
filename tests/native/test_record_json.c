/* Records as lines of JSON: the form, every kind of value, names, and records that are not what they should be. */
#include <float.h>
#include <math.h>

#include "record_fixture.h"

static void a_line_has_its_form(void)
{
    record *r = record_sized(VS_LOG_BYTES_SMALL, "cas", "main", text_of("Object stored"));
    r->head.trace_high = UINT64_C(0x0123456789abcdef);
    r->head.trace_low = 1;
    r->head.span = UINT64_C(0xfedcba9876543210);
    add_u64(r, "size", 42);
    CHECK(strcmp(line_of(r), "{\"time\":\"2026-01-31T23:59:59.123456789Z\",\"level\":\"info\",\"logger\":\"cas\","
                             "\"message\":\"Object stored\",\"vault\":\"main\",\"pid\":1,\"thread\":2,"
                             "\"trace_id\":\"0123456789abcdef0000000000000001\","
                             "\"span_id\":\"fedcba9876543210\",\"size\":42}") == 0);
    release(r);
}

static void what_says_nothing_is_left_away(void)
{
    record *r = record_of("");
    CHECK(strcmp(line_of(r), "{\"time\":\"2026-01-31T23:59:59.123456789Z\",\"level\":\"info\",\"message\":\"\","
                             "\"pid\":1,\"thread\":2}") == 0);
    release(r);
}

static void half_a_trace_id_is_one(void)
{
    record *r = record_of("m");
    r->head.trace_high = 1;
    CHECK_SHOWS(r, "\"trace_id\":\"00000000000000010000000000000000\"");
    release(r);
}

static void every_level_has_its_name(void)
{
    const char *names[] = {"trace", "debug", "info", "warn", "error", "fatal"};
    for (uint8_t level = 0; level < VS_LEVELS; level++) {
        record *r = record_of("m");
        r->head.level = level;
        char expected[64];
        snprintf(expected, sizeof expected, "Z\",\"level\":\"%s\",\"message\"", names[level]);
        CHECK_SHOWS(r, expected);
        release(r);
    }
}

static void every_time_is_a_date(void)
{
    static const struct {
        uint64_t time_ns;
        const char *text;
    } times[] = {
        {0, "1970-01-01T00:00:00.000000000Z"},
        {UINT64_C(951782399999999999), "2000-02-28T23:59:59.999999999Z"},
        {UINT64_C(951782400000000000), "2000-02-29T00:00:00.000000000Z"}, /* a leap year, though of a century */
        {UINT64_C(951868800000000001), "2000-03-01T00:00:00.000000001Z"},
        {UINT64_C(1709164800000000000), "2024-02-29T00:00:00.000000000Z"},
        {UINT64_C(1735689599000000000), "2024-12-31T23:59:59.000000000Z"},
        {UINT64_C(4107542399000000000), "2100-02-28T23:59:59.000000000Z"},
        {UINT64_C(4107542400000000000), "2100-03-01T00:00:00.000000000Z"}, /* no leap year */
        {UINT64_MAX, "2554-07-21T23:34:33.709551615Z"},
    };
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        record *r = record_of("m");
        r->head.time_ns = times[i].time_ns;
        CHECK_SHOWS(r, times[i].text);
        release(r);
    }
}

static void every_day_follows_the_one_before(void)
{
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned year = 1970, month = 1, day = 1;
    bool right = true;
    record *r = record_of("m");
    for (uint64_t n = 0; n < UINT64_MAX / 1000000000 / 86400; n++) {
        r->head.time_ns = n * 86400 * 1000000000;
        char expected[64];
        snprintf(expected, sizeof expected, "\"%04u-%02u-%02uT00:00:00.000000000Z\"", year, month, day);
        size_t size = finish(r);
        r->out.size = 0;
        right &= vs_log_render_json(r->data, size, &r->out) && memcmp(r->out.data + 8, expected, strlen(expected)) == 0;
        bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        if (++day > days[month - 1] + (month == 2 && leap)) {
            day = 1;
            month = month % 12 + 1;
            year += month == 1;
        }
    }
    CHECK(right);
    release(r);
}

static void integers_are_exact(void)
{
    record *r = record_of("m");
    add_i64(r, "a", INT64_MIN);
    add_i64(r, "b", -1);
    add_i64(r, "c", INT64_MAX);
    add_u64(r, "d", UINT64_MAX);
    add_u64(r, "e", 0);
    CHECK_SHOWS(r, "\"a\":-9223372036854775808,\"b\":-1,\"c\":9223372036854775807,\"d\":18446744073709551615,\"e\":0}");
    release(r);
}

static void doubles_parse_back_and_look_like_doubles(void)
{
    static const double values[] = {0.0, -0.0, 1.0, -5.0, 0.1, 1.5, 1e15, 1e16, 1e17, 1e18, 0x1p53, 0x1p63, 0x1.fffffffffffffp63,
                                    1e19, 1e21, 1e100, -1e-7, 5e-324, DBL_MIN, DBL_MAX, -DBL_MAX, 1.0 / 3, 123456789.125};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        record *r = record_of("m");
        add_f64(r, "x", values[i]);
        const char *text = strstr(line_of(r), "\"x\":") + 4;
        double back = strtod(text, NULL);
        CHECK(memcmp(&back, &values[i], sizeof back) == 0); /* bit by bit: the sign of zero, too */
        CHECK(strpbrk(text, ".e") != NULL);
        release(r);
    }
}

static void doubles_are_written_as_people_do(void)
{
    record *r = record_of("m");
    add_f64(r, "a", 5.0);
    add_f64(r, "b", 1234567.5);
    add_f64(r, "c", 1e15);
    add_f64(r, "d", 1e-9);
    CHECK_SHOWS(r, "\"a\":5.0,\"b\":1234567.5,\"c\":1000000000000000.0,\"d\":1e-09}");
    release(r);
}

static void numbers_that_json_lacks_are_strings(void)
{
    record *r = record_of("m");
    add_f64(r, "a", NAN);
    add_f64(r, "b", -NAN);
    add_f64(r, "c", INFINITY);
    add_f64(r, "d", -INFINITY);
    CHECK_SHOWS(r, "\"a\":\"NaN\",\"b\":\"NaN\",\"c\":\"Infinity\",\"d\":\"-Infinity\"}");
    release(r);
}

static void null_and_truth_are_words(void)
{
    record *r = record_of("m");
    add_run(r, "a", VS_FIELD_NULL, NULL, 0);
    add_run(r, "b", VS_FIELD_BOOL, "\0", 1);
    add_run(r, "c", VS_FIELD_BOOL, "\1", 1);
    add_run(r, "d", VS_FIELD_BOOL, "\x80", 1);
    CHECK_SHOWS(r, "\"a\":null,\"b\":false,\"c\":true,\"d\":true}");
    release(r);
}

static void bytes_are_hexadecimal(void)
{
    record *r = record_of("m");
    add_run(r, "a", VS_FIELD_BYTES, "\x00\x09\x0a\xff\x90\xa0\x1f", 7);
    add_run(r, "b", VS_FIELD_BYTES, NULL, 0);
    CHECK_SHOWS(r, "\"a\":\"00090aff90a01f\",\"b\":\"\"}");
    release(r);
}

static void every_control_character_is_escaped(void)
{
    char all[] = "\1\2\3\4\5\6\7\b\t\n\v\f\r\016\017\020\021\022\023\024\025\026\027\030\031\032\033\034\035\036\037 \"\\/\177";
    record *r = record_of("m");
    add_run(r, "a", VS_FIELD_TEXT, "\0", 1);
    add_text(r, "b", all);
    CHECK_SHOWS(r, "\"a\":\"\\u0000\",\"b\":\"\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f\\u0010"
                   "\\u0011\\u0012\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b\\u001c\\u001d\\u001e\\u001f \\\"\\\\/"
                   "\177\"}");
    release(r);
}

static void an_odd_byte_is_seen_at_every_place(void)
{
    const char *odd[][2] = {{"\"", "\\\""}, {"\n", "\\n"}, {"\x1f", "\\u001f"}, {"\xff", "\xef\xbf\xbd"}, {"\xc3\xa9", "\xc3\xa9"}};
    for (size_t kind = 0; kind < sizeof odd / sizeof *odd; kind++)
        for (size_t size = 0; size < 24; size++)
            for (size_t place = 0; place <= size; place++) {
                char text[64] = "", expected[64] = "\"k\":\"";
                for (size_t i = 0; i <= size; i++) {
                    strcat(text, i == place ? odd[kind][0] : "a");
                    strcat(expected, i == place ? odd[kind][1] : "a");
                }
                strcat(expected, "\"}");
                record *r = record_of("m");
                add_text(r, "k", text);
                CHECK_SHOWS(r, expected);
                release(r);
            }
}

static void what_is_no_utf8_becomes_one_mark_a_part(void)
{
#define BAD "\xef\xbf\xbd"
    static const char *cases[][2] = {
        {"a\x80z", "a" BAD "z"},
        {"\xc3", BAD},                             /* cut off */
        {"\xe2\x82", BAD},                         /* the longest beginning of a character is one mark */
        {"\xf0\x9f\x92", BAD},
        {"\xf0\x9f\x92z", BAD "z"},
        {"\xe2\x82\xe2\x82\xac", BAD "\xe2\x82\xac"},
        {"\xc0\xaf", BAD BAD},                     /* overlong */
        {"\xe0\x80\xaf", BAD BAD BAD},
        {"\xf0\x8f\xbf\xbf", BAD BAD BAD BAD},
        {"\xed\xa0\x80", BAD BAD BAD},             /* a surrogate */
        {"\xed\x9f\xbf", "\xed\x9f\xbf"},          /* the last before them */
        {"\xee\x80\x80", "\xee\x80\x80"},
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},  /* U+10FFFF */
        {"\xf4\x90\x80\x80", BAD BAD BAD BAD},
        {"\xf5\x80\x80\x80", BAD BAD BAD BAD},
        {"\xfe\xff", BAD BAD},
        {"\xe2\x80\xa8\xe2\x80\xa9", "\xe2\x80\xa8\xe2\x80\xa9"}, /* U+2028, U+2029 */
    };
#undef BAD
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "\"k\":\"%s\"}", cases[i][1]);
        record *r = record_of("m");
        add_text(r, "k", cases[i][0]);
        CHECK_SHOWS(r, expected);
        release(r);
    }
}

static void json_is_shown_as_it_is(void)
{
    record *r = record_of("m");
    add_json(r, "k", " {\"a\": [1, -2.5e+3, null, \"\\u0000\\ud83d\\ude00\"]}");
    CHECK_SHOWS(r, "\"k\": {\"a\": [1, -2.5e+3, null, \"\\u0000\\ud83d\\ude00\"]}}");
    release(r);
}

static void json_on_several_lines_becomes_one(void)
{
    record *r = record_of("m");
    add_json(r, "k", "\r\n[1,\n 2,\r\n \"a\\nb\"\n]\n");
    CHECK_SHOWS(r, "\"k\":[1, 2, \"a\\nb\"]}");
    release(r);
}

static void what_is_no_json_is_a_string(void)
{
    record *r = record_of("m");
    add_json(r, "a", "{\"a\":");
    add_json(r, "b", "");
    add_json(r, "c", "1,\"pid\":2");
    add_json(r, "d", "\"\\ud800\"");
    add_json(r, "e", "\"\n\"");
    CHECK_SHOWS(r, "\"a\":\"{\\\"a\\\":\",\"b\":\"\",\"c\":\"1,\\\"pid\\\":2\",\"d\":\"\\\"\\\\ud800\\\"\",\"e\":\"\\\"\\n\\\"\"}");
    release(r);
}

static void numbers_that_no_double_holds_make_json_a_string(void)
{
    static const struct {
        const char *number;
        bool fits;
    } cases[] = {
        {"1e308", true},           {"1.7976931348623157e308", true}, {"1.7976931348623159e308", false},
        {"1e309", false},          {"-1e999", false},                {"2e308", false},
        {"0e99999999999", true},   {"0.0001e312", true},             {"0.0001e313", false},
        {"100000e303", true},      {"100000e304", false},            {"1e-99999999999", true},
        {"1e99999999999999999999", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, cases[i].fits ? "\"k\":%s}" : "\"k\":\"%s\"}", cases[i].number);
        record *r = record_of("m");
        add_json(r, "k", cases[i].number);
        CHECK_SHOWS(r, expected);
        release(r);
    }
}

static void an_integer_of_many_digits_is_a_string(void)
{
    char digits[400] = "";
    memset(digits, '9', 309);
    record *r = record_of("m");
    add_json(r, "k", digits);
    CHECK_SHOWS(r, "\"k\":\"999");
    digits[308] = '\0';
    add_json(r, "k", digits);
    CHECK_SHOWS(r, "\"k\":999");
    release(r);
}

static void names_that_the_line_uses_get_underscores(void)
{
    const char *names[] = {"time",   "level",    "logger",  "message",   "vault",  "pid",
                           "thread", "trace_id", "span_id", "truncated", "omitted"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, ",\"%s_\":7}", names[i]);
        record *r = record_of("m");
        add_u64(r, names[i], 7);
        CHECK_SHOWS(r, expected);
        release(r);
    }
}

static void names_that_only_resemble_those_stay(void)
{
    const char *names[] = {"", "p", "pid2", "Time", "tim", "levels", "trace-id", "message_", "truncated1"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, ",\"%s\":7}", names[i]);
        record *r = record_of("m");
        add_u64(r, names[i], 7);
        CHECK_SHOWS(r, expected);
        release(r);
    }
}

static void nuls_are_no_reserved_name(void)
{
    record *r = record_of("m");
    vs_log_add(&r->writer, (vs_text){"\0\0\0", 3}, VS_FIELD_NULL, NULL, 0, false);
    CHECK_SHOWS(r, ",\"\\u0000\\u0000\\u0000\":null}");
    release(r);
}

static void a_name_with_underscores_is_not_taken_by_another(void)
{
    record *r = record_of("m");
    add_u64(r, "level_", 1);
    add_u64(r, "level", 2);
    add_u64(r, "level__", 3);
    CHECK_SHOWS(r, "\"level_\":1,\"level___\":2,\"level__\":3}");
    release(r);
}

static void of_fields_of_one_name_the_last_is_shown(void)
{
    record *r = record_of("m");
    add_u64(r, "a", 1);
    add_u64(r, "b", 2);
    add_text(r, "a", "3");
    add_u64(r, "time", 4);
    add_u64(r, "time", 5);
    add_u64(r, "", 6);
    add_u64(r, "", 7);
    CHECK_SHOWS(r, "\"thread\":2,\"b\":2,\"a\":\"3\",\"time_\":5,\"\":7}");
    release(r);
}

static void names_that_look_alike_are_one(void)
{
    record *r = record_of("m");
    add_u64(r, "a\xff", 1);
    add_u64(r, "a\xfe", 2);
    add_u64(r, "a\xef\xbf\xbd", 3);
    CHECK_SHOWS(r, "\"thread\":2,\"a\xef\xbf\xbd\":3}");
    add_u64(r, "a\x80", 4);
    CHECK_SHOWS(r, "\"thread\":2,\"a\xef\xbf\xbd\":4}");
    release(r);
}

static void thousands_of_names_are_told_apart(void)
{
    record *r = record_of("");
    char key[8];
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "%u", i % 1000);
        vs_log_add(&r->writer, text_of(key), VS_FIELD_BOOL, i < 1000 ? "\0" : "\1", 1, false);
    }
    CHECK_EQ(r->writer.omitted, 0);
    const char *line = line_of(r);
    CHECK(strstr(line, "false") == NULL);
    CHECK_SHOWS(r, "\"thread\":2,\"0\":true,\"1\":true,");
    CHECK_SHOWS(r, ",\"999\":true}");
    release(r);
}

static void names_that_begin_alike_are_told_apart(void)
{
    char key[VS_KEY_BYTES_MAX];
    memset(key, 'k', sizeof key);
    record *r = record_of("");
    for (size_t size = sizeof key / 2; size > 0; size--)
        vs_log_add(&r->writer, (vs_text){key, size}, VS_FIELD_NULL, NULL, 0, false);
    size_t shown = 0;
    for (const char *at = line_of(r); (at = strstr(at, ":null")) != NULL; at++)
        shown++;
    CHECK_EQ(shown, sizeof key / 2);
    release(r);
}

static void as_many_fields_as_have_room_are_shown(void)
{
    record *r = record_of("");
    for (unsigned i = 0; i < VS_LOG_BYTES_MAX; i++)
        add_run(r, "", VS_FIELD_NULL, NULL, 0);
    CHECK_EQ(r->writer.field_count, (VS_LOG_BYTES_MAX - sizeof(vs_log_head)) / sizeof(vs_field_head));
    CHECK_SHOWS(r, "\"thread\":2,\"\":null,\"omitted\":");
    release(r);
}

static void what_was_cut_ends_with_an_ellipsis_and_is_named(void)
{
    char message[VS_MESSAGE_BYTES_MAX + 1];
    memset(message, 'm', sizeof message);
    record *r = record_sized(VS_LOG_BYTES_MAX, "", "", (vs_text){message, sizeof message});
    vs_log_add(&r->writer, text_of("a"), VS_FIELD_TEXT, "gone", 4, true); /* not shown, so not named */
    vs_log_add(&r->writer, text_of("a"), VS_FIELD_TEXT, "part", 4, true);
    vs_log_add(&r->writer, text_of("level"), VS_FIELD_BYTES, "\1", 1, true);
    vs_log_add(&r->writer, text_of("c\n"), VS_FIELD_JSON, "[1]", 3, true);
    CHECK_SHOWS(r, "mmm\xe2\x80\xa6\",\"pid\"");
    CHECK_SHOWS(r, "\"a\":\"part\xe2\x80\xa6\",\"level_\":\"01\",\"c\\n\":\"[1]\xe2\x80\xa6\","
                   "\"truncated\":[\"message\",\"a\",\"level_\",\"c\\n\"]}");
    release(r);
}

static void what_was_left_out_is_counted(void)
{
    record *r = record_of("m");
    r->writer.omitted = 65535;
    CHECK_SHOWS(r, "\"thread\":2,\"omitted\":65535}");
    release(r);
}

static void the_worst_bytes_have_room(void)
{
    static char nuls[VS_LOG_BYTES_MAX];
    vs_field_type types[] = {VS_FIELD_TEXT, VS_FIELD_BYTES, VS_FIELD_JSON};
    for (size_t i = 0; i < 3; i++) {
        record *r = record_sized(VS_LOG_BYTES_MAX, "", "", (vs_text){nuls, VS_MESSAGE_BYTES_MAX});
        for (size_t n = 0; n < 200; n++)
            vs_log_add(&r->writer, (vs_text){nuls, n % 250}, types[i], nuls, 100, true);
        CHECK_SHOWS(r, "\"truncated\":[\"");
        release(r);
    }
}

static void lines_follow_each_other_in_the_buffer(void)
{
    record *r = record_of("m");
    size_t size = finish(r);
    CHECK(vs_log_render_json(r->data, size, &r->out));
    size_t first = r->out.size;
    CHECK(vs_log_render_json(r->data, size, &r->out));
    CHECK_EQ(r->out.size, 2 * first);
    CHECK(memcmp(r->out.data, r->out.data + first, first) == 0);
    release(r);
}

static void without_memory_nothing_is_appended(void)
{
    record *r = record_of("m");
    vs_buffer full = {.failed = true};
    CHECK(!vs_log_render_json(r->data, finish(r), &full));
    CHECK_EQ(full.size, 0);
    release(r);
}

int main(void)
{
    a_line_has_its_form();
    what_says_nothing_is_left_away();
    half_a_trace_id_is_one();
    every_level_has_its_name();
    every_time_is_a_date();
    every_day_follows_the_one_before();
    integers_are_exact();
    doubles_parse_back_and_look_like_doubles();
    doubles_are_written_as_people_do();
    numbers_that_json_lacks_are_strings();
    null_and_truth_are_words();
    bytes_are_hexadecimal();
    every_control_character_is_escaped();
    an_odd_byte_is_seen_at_every_place();
    what_is_no_utf8_becomes_one_mark_a_part();
    json_is_shown_as_it_is();
    json_on_several_lines_becomes_one();
    what_is_no_json_is_a_string();
    numbers_that_no_double_holds_make_json_a_string();
    an_integer_of_many_digits_is_a_string();
    names_that_the_line_uses_get_underscores();
    names_that_only_resemble_those_stay();
    nuls_are_no_reserved_name();
    a_name_with_underscores_is_not_taken_by_another();
    of_fields_of_one_name_the_last_is_shown();
    names_that_look_alike_are_one();
    thousands_of_names_are_told_apart();
    names_that_begin_alike_are_told_apart();
    as_many_fields_as_have_room_are_shown();
    what_was_cut_ends_with_an_ellipsis_and_is_named();
    what_was_left_out_is_counted();
    the_worst_bytes_have_room();
    lines_follow_each_other_in_the_buffer();
    without_memory_nothing_is_appended();
    return check_report();
}
