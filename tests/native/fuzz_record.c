/* Fuzz target (libFuzzer): whatever the bytes are, the formatter makes one line of valid JSON of them.
 *
 * Each input is taken three ways: as a record, as a record whose size is right (so that more of it is reached), and as a program
 * that writes fields. test_fuzz.py builds and runs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vaultscope/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds, const char *what, const vs_buffer *out)
{
    if (holds)
        return;
    fprintf(stderr, "%s: %.*s\n", what, (int)out->size, out->data);
    abort();
}

/* Another way to say what UTF-8 is than the formatter's own, which vs_json_is_valid shares with it. */
static bool is_utf8(const unsigned char *at, size_t size)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    for (const unsigned char *end = at + size; at < end;) {
        size_t length = *at < 0x80 ? 1 : *at >> 5 == 6 ? 2 : *at >> 4 == 14 ? 3 : *at >> 3 == 30 ? 4 : 0;
        if (length == 0 || (size_t)(end - at) < length)
            return false;
        uint32_t code = length == 1 ? *at : *at & (0x7fu >> length);
        for (size_t i = 1; i < length; i++) {
            if (at[i] >> 6 != 2)
                return false;
            code = code << 6 | (at[i] & 0x3f);
        }
        if (code < lowest[length] || code > 0x10ffff || code >> 11 == 0xd800 >> 11)
            return false;
        at += length;
    }
    return true;
}

/* In memory of exactly that size, so that a byte too far is seen. Whether it was a record. */
static bool render(const void *record, size_t size)
{
    void *exact = malloc(size != 0 ? size : 1);
    if (size != 0)
        memcpy(exact, record, size);
    vs_buffer out = {0};
    bool readable = vs_log_render_json(exact, size, &out);
    require(!out.failed, "there was memory", &out);
    require(out.size > 1 && memchr(out.data, '\n', out.size) == out.data + out.size - 1, "one newline, at the end", &out);
    require(out.data[0] == '{' && vs_json_is_valid((vs_text){out.data, out.size - 1}), "valid JSON", &out);
    require(is_utf8((const unsigned char *)out.data, out.size), "UTF-8", &out);
    vs_buffer_free(&out);
    free(exact);
    return readable;
}

static void render_as_record(const uint8_t *data, size_t size)
{
    render(data, size);
    vs_log_head head;
    if (size < sizeof head || size > VS_LOG_BYTES_MAX)
        return;
    char *mended = malloc(size);
    memcpy(mended, data, size);
    memcpy(&head, data, sizeof head);
    head.size = (uint32_t)size;
    head.level %= VS_LEVELS;
    head.message_size %= 64;
    memcpy(mended, &head, sizeof head);
    render(mended, size);
    free(mended);
}

/* What is left of a program. */
typedef struct program {
    const uint8_t *at;
    size_t left;
} program;

static uint8_t next_byte(program *p)
{
    if (p->left == 0)
        return 0;
    p->left--;
    return *p->at++;
}

static vs_text next_text(program *p, size_t size)
{
    if (size > p->left)
        size = p->left;
    vs_text text = {(const char *)p->at, size};
    p->at += size;
    p->left -= size;
    return text;
}

/* A value that is longer than the program: its text over and over, in `room`. */
static vs_text repeated(vs_text text, char *room, size_t size)
{
    for (size_t i = 0; i < size; i++)
        room[i] = text.size != 0 ? text.data[i % text.size] : 'x';
    return (vs_text){room, size};
}

static char long_text[40000];

static void add_field(vs_log_writer *writer, program *p)
{
    uint8_t kind = next_byte(p);
    vs_text key = next_text(p, next_byte(p) % 16u), value;
    vs_field_type type = (vs_field_type)(kind % 16);
    switch (type) {
    case VS_FIELD_NULL:
        value = (vs_text){"", 0};
        break;
    case VS_FIELD_BOOL:
        value = next_text(p, 1);
        break;
    case VS_FIELD_I64:
    case VS_FIELD_U64:
    case VS_FIELD_F64:
        value = next_text(p, 8);
        break;
    default:
        value = next_text(p, next_byte(p));
    }
    if (kind == 255)
        value = repeated(value, long_text, sizeof long_text);
    else if (kind >= 240)
        value = repeated(value, long_text, 100u * next_byte(p));
    vs_log_add(writer, key, type, value.data, value.size, (kind & 64) != 0);
}

static void render_as_program(const uint8_t *data, size_t size)
{
    program p = {data, size};
    size_t capacity = next_byte(&p) % 2 == 0 ? VS_LOG_BYTES_SMALL : VS_LOG_BYTES_MAX;
    char *own = malloc(capacity), *bound = malloc(capacity);
    vs_log_writer to, from;
    vs_log_begin(&from, bound, capacity, (vs_text){"", 0}, (vs_text){"", 0}, (vs_text){"", 0});
    for (size_t n = next_byte(&p) % 4; n > 0; n--)
        add_field(&from, &p);
    vs_text logger = next_text(&p, next_byte(&p) % 32u), vault = next_text(&p, next_byte(&p) % 32u);
    size_t message_size = next_byte(&p);
    vs_text message = next_text(&p, message_size);
    if (message_size >= 192)
        message = repeated(message, long_text, 8 * message_size * (1 + next_byte(&p) % 8u));
    vs_log_begin(&to, own, capacity, logger, vault, message);
    size_t fields_size;
    const char *fields = vs_log_fields(&from, &fields_size);
    vs_log_add_all(&to, fields, fields_size, from.field_count);
    while (p.left > 0)
        add_field(&to, &p);
    vs_log_head head = {.time_ns = to.size * UINT64_C(0x9e3779b97f4a7c15), .trace_low = to.size % 3, .span = to.size % 2,
                        .size = (uint32_t)to.size, .message_size = to.message_size, .field_count = to.field_count,
                        .omitted = to.omitted, .level = (uint8_t)(to.size % VS_LEVELS), .flags = to.flags,
                        .logger_size = to.logger_size, .vault_size = to.vault_size};
    memcpy(own, &head, sizeof head);
    const vs_buffer none = {0};
    require(to.size <= capacity, "what was written has room", &none);
    require(render(own, to.size), "what was written is a record", &none);
    free(own);
    free(bound);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    render_as_record(data, size);
    render_as_program(data, size);
    vs_json_is_valid((vs_text){(const char *)data, size});
    return 0;
}
