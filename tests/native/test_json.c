/* vs_json_is_valid: RFC 8259, by the letter. */
#define _POSIX_C_SOURCE 200809L
#include "record_fixture.h"

/* In memory of its own, so that a sanitizer sees each byte too far. */
static bool is_valid(const char *json, size_t size)
{
    char *exact = malloc(size != 0 ? size : 1);
    memcpy(exact, json, size);
    bool valid = vs_json_is_valid((vs_text){exact, size});
    free(exact);
    return valid;
}

static void check_all(const char *const *texts, size_t n, bool expected)
{
    for (size_t i = 0; i < n; i++)
        if (!CHECK(is_valid(texts[i], strlen(texts[i])) == expected))
            fprintf(stderr, "    %s\n", texts[i]);
}

static void values_are_valid(void)
{
    static const char *const texts[] = {
        "0", "-0", "10", "-1.5", "1e5", "1E+05", "0.0e-0", "1e999", "123456789012345678901234567890", "null", "true",
        "false", "\"\"", "\"a\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uFFFF\\uabCD\"", "\"\\ud83d\\ude00\"",
        "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xbe\"", "\"\177\"", "[]", "{}", " [ ] ", "\t{\r\n}\n", "[1]",
        "[1,2,[3,{}],{\"a\":[]}]", "{\"a\":1,\"a\":2}", "{ \"\" : { \"b\" : null } , \"c\":0}", "[[[[]]],[]]",
    };
    check_all(texts, sizeof texts / sizeof *texts, true);
}

static void what_is_almost_a_value_is_not(void)
{
    static const char *const texts[] = {
        "", " ", "00", "01", "-", "-a", "+1", ".5", "1.", "1.e5", "1e", "1e+", "0x1", "1_0", "NaN", "Infinity", "-Infinity",
        "nul", "nulll", "True", "tru", "'a'", "\"", "\"a", "a\"", "\"\\\"", "\"\\a\"", "\"\\u12\"", "\"\\u123g\"",
        "\"\\U0041\"", "\"\n\"", "\"\t\"", "\"\x1f\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\ud800\"", "\"\\ud800a\"",
        "\"\\ud800\\n\"", "\"\\udc00\\ud800\"", "\"\\udc00\\udc00\"", "\"\\ud83d\\u0041\"", "\"\xff\"", "\"\xc3\"", "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\xef\xbb\xbf" "1", "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]",
        "[1,,2]", "[}", "{]", "{", "}", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{\"a\"}", "{\"a\",1}",
        "{a:1}", "{1:1}", "{\"a\":1 \"b\":2}", "{,}", "{\"a\"::1}", "1 2", "1,2", "[]]", "{}{}", "[] x", "// c\n1", "\v1",
        "\xc2\xa0" "1",
    };
    check_all(texts, sizeof texts / sizeof *texts, false);
}

static void nul_is_no_part_of_a_value(void)
{
    CHECK(!is_valid("1\0", 2));
    CHECK(!is_valid("\0", 1));
    CHECK(!is_valid("\"\0\"", 3));
    CHECK(!is_valid("\"\\\0\"", 4));
    CHECK(!is_valid("[1\0]", 4));
    CHECK(!vs_json_is_valid((vs_text){NULL, 0}));
}

static void every_beginning_of_a_value_is_none(void)
{
    const char json[] = "{\"a\\u00e9\xe2\x82\xac\":[true,false,null,{\"b\":-1.5e-7}],\"\\ud83d\\ude00\":[[],{}]}";
    for (size_t size = 0; size < sizeof json - 1; size++)
        CHECK(!is_valid(json, size));
    CHECK(is_valid(json, sizeof json - 1));
}

/* `depth` containers around a 0, in each other. */
static bool nested_is_valid(size_t depth, const char *open, const char *close)
{
    char *json = calloc(depth + 1, strlen(open) + strlen(close) + 1), *at = json;
    for (size_t i = 0; i < depth; i++)
        at = stpcpy(at, open);
    *at++ = '0';
    for (size_t i = 0; i < depth; i++)
        at = stpcpy(at, close);
    bool valid = is_valid(json, (size_t)(at - json));
    free(json);
    return valid;
}

static void nesting_has_a_limit(void)
{
    CHECK(nested_is_valid(512, "[", "]"));
    CHECK(!nested_is_valid(513, "[", "]"));
    CHECK(nested_is_valid(512, "{\"a\":", "}"));
    CHECK(!nested_is_valid(513, "{\"a\":", "}"));
    CHECK(nested_is_valid(256, "[{\"a\":", "}]"));
    CHECK(!nested_is_valid(1000000, "[", "]"));
}

static void each_container_is_closed_by_its_own_kind(void)
{
    char json[2 * 200 + 1];
    for (size_t wrong = 0; wrong < 200; wrong++) {
        char *at = json;
        for (size_t i = 0; i < 199; i++)
            *at++ = '[';
        at = stpcpy(at, "{}");
        for (size_t i = 1; i < 200; i++)
            *at++ = i == wrong ? '}' : ']';
        CHECK(is_valid(json, (size_t)(at - json)) == (wrong == 0));
    }
}

int main(void)
{
    values_are_valid();
    what_is_almost_a_value_is_not();
    nul_is_no_part_of_a_value();
    every_beginning_of_a_value_is_none();
    nesting_has_a_limit();
    each_container_is_closed_by_its_own_kind();
    return check_report();
}
