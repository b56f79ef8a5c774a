/* A log record as a line of JSON. Room is reserved once, for the worst that its bytes can become; then it is bare pointers. */
#include "json.h"
#include "record_view.h"
#include "text.h"
#include "vaultscope/atomic.h"

enum {
    /* What a byte of a record becomes: at most an escape. A field's head, which is eight, pays for quotes, number and ellipsis. */
    GROWTH = VS_JSON_ESCAPE_CHARS,
    /* All that is there without fields, and the underscores behind reserved names. */
    FIXED_CHARS = 4096,
    /* In "truncated": an escaped key, its underscores, quotes and comma. */
    NAME_CHARS = VS_JSON_ESCAPE_CHARS * VS_KEY_BYTES_MAX + VS_KEY_BYTES_MAX + 4
};

#define ELLIPSIS "\xe2\x80\xa6"
#define write_literal(at, literal) vs_write((at), (literal), sizeof(literal) - 1)

/* Eight hexadecimal digits, the highest first. */
static char *write_hex(char *at, uint32_t value)
{
    uint64_t digits = value; /* spread: a digit to a byte */
    digits = (digits | digits << 16) & UINT64_C(0x0000ffff0000ffff);
    digits = (digits | digits << 8) & UINT64_C(0x00ff00ff00ff00ff);
    digits = (digits | digits << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    uint64_t letters = (digits + UINT64_C(0x0606060606060606)) >> 4 & UINT64_C(0x0101010101010101);
    digits += UINT64_C(0x3030303030303030) + letters * ('a' - '0' - 10);
    for (int i = 0; i < 8; i++)
        at[i] = (char)(digits >> (56 - 8 * i));
    return at + 8;
}

static char *write_hex64(char *at, uint64_t value)
{
    return write_hex(write_hex(at, (uint32_t)(value >> 32)), (uint32_t)value);
}

static char *write_bytes(char *at, vs_text bytes)
{
    size_t i = 0;
    for (; bytes.size - i >= 4; i += 4) {
        unsigned char b[4];
        memcpy(b, bytes.data + i, 4);
        at = write_hex(at, (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]);
    }
    for (; i < bytes.size; i++) {
        *at++ = "0123456789abcdef"[(unsigned char)bytes.data[i] >> 4];
        *at++ = "0123456789abcdef"[(unsigned char)bytes.data[i] & 15];
    }
    return at;
}

static inline char *write_pair(char *at, uint32_t value)
{
    memcpy(at, vs_digit_pairs + 2 * value, 2);
    return at + 2;
}

/* 2026-01-31T23:59:59.123456789Z. */
static char *write_time(char *at, uint64_t time_ns)
{
    uint64_t second = time_ns / 1000000000;
    uint32_t nano = (uint32_t)(time_ns % 1000000000), of_day = (uint32_t)(second % 86400);
    /* Years begin in March, so that a leap day is a year's last; eras of 400 years are all alike. 719468 days lie between
     * 0000-03-01 and 1970-01-01. */
    uint32_t day = (uint32_t)(second / 86400) + 719468;
    uint32_t era = day / 146097, of_era = day % 146097;
    uint32_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint32_t of_year = of_era - (365 * year + year / 4 - year / 100);
    uint32_t month = (5 * of_year + 2) / 153; /* from March; five of them have 153 days */
    uint32_t of_month = of_year - (153 * month + 2) / 5 + 1;
    year += 400 * era + (month >= 10 ? 1 : 0);
    at = write_pair(write_pair(at, year / 100), year % 100);
    *at++ = '-';
    at = write_pair(at, month < 10 ? month + 3 : month - 9);
    *at++ = '-';
    at = write_pair(at, of_month);
    *at++ = 'T';
    at = write_pair(at, of_day / 3600);
    *at++ = ':';
    at = write_pair(at, of_day / 60 % 60);
    *at++ = ':';
    at = write_pair(at, of_day % 60);
    *at++ = '.';
    *at++ = (char)('0' + nano / 100000000);
    at = write_pair(at, nano / 1000000 % 100);
    at = write_pair(at, nano / 10000 % 100);
    at = write_pair(at, nano / 100 % 100);
    at = write_pair(at, nano % 100);
    *at++ = 'Z';
    return at;
}

static char *write_string(char *at, vs_text text, bool is_cut)
{
    *at++ = '"';
    at = vs_write_json_text(at, text.data, text.size);
    if (is_cut)
        at = write_literal(at, ELLIPSIS);
    *at++ = '"';
    return at;
}

/* A double always has a point or an exponent, so that readers do not take it for an integer now and then. */
static char *write_number(char *at, double value)
{
    if (value != value)
        return write_literal(at, "\"NaN\"");
    if (value - value != 0.0)
        return value < 0 ? write_literal(at, "\"-Infinity\"") : write_literal(at, "\"Infinity\"");
    char *end = vs_write_double(at, value, false);
    bool is_bare = memchr(at, '.', (size_t)(end - at)) == NULL && memchr(at, 'e', (size_t)(end - at)) == NULL;
    return is_bare ? write_literal(end, ".0") : end;
}

/* JSON as it is, but for newlines: they can only be white space, and would end the line. */
static char *write_json(char *at, vs_text json)
{
    char *end = vs_write(at, json.data, json.size); /* first the copy, then the look at it: the bytes may change meanwhile */
    bool fits;
    if (!vs_json_scan((vs_text){at, json.size}, &fits) || !fits)
        return write_string(at, json, false);
    char *to = at;
    for (const char *from = at; from < end; from++)
        if (*from != '\n' && *from != '\r')
            *to++ = *from;
    return to;
}

static char *write_value(char *at, const vs_record_field *field, vs_text value)
{
    uint64_t word = 0;
    if (field->type >= VS_FIELD_I64 && field->type <= VS_FIELD_F64)
        memcpy(&word, value.data, sizeof word);
    switch ((vs_field_type)field->type) {
    case VS_FIELD_BOOL:
        return *value.data != 0 ? write_literal(at, "true") : write_literal(at, "false");
    case VS_FIELD_I64:
        if (word >> 63 == 0)
            return vs_write_u64(at, word);
        *at++ = '-';
        return vs_write_u64(at, 0 - word);
    case VS_FIELD_U64:
        return vs_write_u64(at, word);
    case VS_FIELD_F64:
        return write_number(at, vs_double_of(word));
    case VS_FIELD_TEXT:
        return write_string(at, value, field->is_cut);
    case VS_FIELD_BYTES:
        *at++ = '"';
        at = write_bytes(at, value);
        *at++ = '"';
        return at;
    case VS_FIELD_JSON:
        return field->is_cut ? write_string(at, value, true) : write_json(at, value);
    default:
        return write_literal(at, "null");
    }
}

/* A field's name without its quotes. */
static char *write_name(char *at, const vs_record_view *view, vs_text key)
{
    at = vs_write_json_text(at, key.data, key.size);
    for (size_t n = vs_record_underscores(view, key); n > 0; n--)
        *at++ = '_';
    return at;
}

static char *write_level(char *at, vs_level level)
{
#define LEVEL(name) {"\",\"level\":\"" name "\"", sizeof("\",\"level\":\"" name "\"") - 1}
    static const struct {
        char text[24];
        size_t size;
    } levels[VS_LEVELS] = {LEVEL("trace"), LEVEL("debug"), LEVEL("info"), LEVEL("warn"), LEVEL("error"), LEVEL("fatal")};
#undef LEVEL
    memcpy(at, levels[level].text, sizeof levels[level].text); /* all of it: a fixed size costs less than the right one */
    return at + levels[level].size;
}

static char *write_head(char *at, const vs_record_view *view)
{
    const vs_log_head *head = &view->head;
    const char *text = view->data + sizeof *head;
    at = write_time(write_literal(at, "{\"time\":\""), head->time_ns);
    at = write_level(at, (vs_level)head->level);
    if (head->logger_size != 0)
        at = write_string(write_literal(at, ",\"logger\":"), (vs_text){text, head->logger_size}, false);
    text += head->logger_size + head->vault_size;
    at = write_string(write_literal(at, ",\"message\":"), (vs_text){text, head->message_size}, (head->flags & VS_LOG_MESSAGE_CUT) != 0);
    text -= head->vault_size;
    if (head->vault_size != 0)
        at = write_string(write_literal(at, ",\"vault\":"), (vs_text){text, head->vault_size}, false);
    at = vs_write_u64(write_literal(at, ",\"pid\":"), head->pid);
    at = vs_write_u64(write_literal(at, ",\"thread\":"), head->thread);
    if ((head->trace_high | head->trace_low) != 0) {
        at = write_hex64(write_literal(at, ",\"trace_id\":\""), head->trace_high);
        at = write_hex64(at, head->trace_low);
        *at++ = '"';
    }
    if (head->span != 0) {
        at = write_hex64(write_literal(at, ",\"span_id\":\""), head->span);
        *at++ = '"';
    }
    return at;
}

/* Which texts are not whole. Rare, so it asks for room name by name. */
static bool append_truncated(const vs_record_view *view, vs_buffer *out)
{
    bool of_message = (view->head.flags & VS_LOG_MESSAGE_CUT) != 0;
    if (!vs_append_literal(out, ",\"truncated\":[") || (of_message && !vs_append_literal(out, "\"message\",")))
        return false;
    for (size_t i = 0; i < view->field_count; i++) {
        const vs_record_field *field = &view->fields[i];
        if (!field->is_cut || field->is_hidden)
            continue;
        if (!vs_buffer_reserve(out, NAME_CHARS))
            return false;
        char *at = out->data + out->size;
        *at++ = '"';
        at = write_name(at, view, vs_record_key(view, field));
        *at++ = '"';
        *at++ = ',';
        out->size = (size_t)(at - out->data);
    }
    out->data[out->size - 1] = ']'; /* in place of the last comma */
    return true;
}

static bool append_unreadable(const void *record, size_t size, vs_buffer *out)
{
    uint64_t time_ns = 0;
    if (size >= sizeof time_ns)
        memcpy(&time_ns, record, sizeof time_ns);
    if (!vs_buffer_reserve(out, FIXED_CHARS))
        return false;
    char *at = write_time(write_literal(out->data + out->size, "{\"time\":\""), time_ns);
    at = write_level(at, VS_ERROR);
    at = vs_write_u64(write_literal(at, ",\"message\":\"unreadable record\",\"size\":"), size);
    out->size = (size_t)(write_literal(at, "}\n") - out->data);
    return true;
}

bool vs_log_render_json(const void *record, size_t size, vs_buffer *out)
{
    vs_record_view view;
    if (!vs_record_read(&view, record, size)) {
        append_unreadable(record, size, out);
        return false;
    }
    size_t start = out->size;
    if (!vs_buffer_reserve(out, GROWTH * (size_t)view.head.size + FIXED_CHARS))
        return false;
    char *at = write_head(out->data + start, &view);
    bool is_cut = (view.head.flags & VS_LOG_MESSAGE_CUT) != 0;
    for (size_t i = 0; i < view.field_count; i++) {
        const vs_record_field *field = &view.fields[i];
        if (field->is_hidden)
            continue;
        *at++ = ',';
        *at++ = '"';
        at = write_name(at, &view, vs_record_key(&view, field));
        *at++ = '"';
        *at++ = ':';
        at = write_value(at, field, vs_record_value(&view, field));
        is_cut |= field->is_cut;
    }
    out->size = (size_t)(at - out->data);
    if ((is_cut && !append_truncated(&view, out)) || !vs_buffer_reserve(out, FIXED_CHARS)) {
        out->size = start; /* no half lines */
        return false;
    }
    at = out->data + out->size;
    if (view.head.omitted != 0)
        at = vs_write_u64(write_literal(at, ",\"omitted\":"), view.head.omitted);
    out->size = (size_t)(write_literal(at, "}\n") - out->data);
    return true;
}
