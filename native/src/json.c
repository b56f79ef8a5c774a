/* UTF-8 and JSON strings: escaping, eight bytes at a time where nothing needs it. */
#include "json.h"

#include "text.h"

#define EACH_BYTE(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Not 0 if one of the bytes is below a space, a quote, a backslash or not ASCII; may be without need only where that decides nothing. */
static inline uint64_t is_odd(uint64_t word)
{
    uint64_t quote = word ^ EACH_BYTE('"'), backslash = word ^ EACH_BYTE('\\');
    /* A byte that is less than what is taken from it borrows, which shows in its top bit. */
    uint64_t odd = (word - EACH_BYTE(' ')) | (quote - EACH_BYTE(1)) | (backslash - EACH_BYTE(1)) | word;
    return odd & EACH_BYTE(0x80);
}

static inline bool is_plain(unsigned char byte)
{
    return byte >= ' ' && byte < 0x80 && byte != '"' && byte != '\\';
}

static inline bool is_tail(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

size_t vs_utf8_step(const char *data, size_t size, bool *valid)
{
    unsigned char first = (unsigned char)data[0];
    *valid = first < 0x80;
    if (first < 0xc2 || first > 0xf4)
        return 1;
    size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    /* The second byte's range keeps out what is overlong, a surrogate, or above U+10FFFF. */
    unsigned char lowest = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char highest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (size < 2 || (unsigned char)data[1] < lowest || (unsigned char)data[1] > highest)
        return 1;
    for (size_t i = 2; i < length; i++)
        if (i == size || !is_tail((unsigned char)data[i]))
            return i;
    *valid = true;
    return length;
}

size_t vs_utf8_cut(vs_text text, size_t limit)
{
    if (text.size <= limit)
        return text.size;
    for (size_t back = 0; back < 4 && back <= limit; back++)
        if (!is_tail((unsigned char)text.data[limit - back]))
            return limit - back;
    return limit; /* that is no UTF-8: any place is as good */
}

bool vs_utf8_is_valid(vs_text text)
{
    bool valid = true;
    for (size_t i = 0; i < text.size && valid;)
        i += vs_utf8_step(text.data + i, text.size - i, &valid);
    return valid;
}

size_t vs_utf8_repair(vs_text text, char *out)
{
    char *at = out;
    for (size_t i = 0; i < text.size;) {
        bool valid;
        size_t length = vs_utf8_step(text.data + i, text.size - i, &valid);
        at = valid ? vs_write(at, text.data + i, length) : vs_write(at, "\xef\xbf\xbd", 3);
        i += length;
    }
    return (size_t)(at - out);
}

/* One character that is not plain, and what stands for it. */
static char *write_odd(char *at, const char *data, size_t size, size_t *length)
{
    static const char short_forms[] = "\0\0\0\0\0\0\0\0btn\0fr";
    char character[4]; /* a copy: what is checked is what is written, even if the bytes change meanwhile */
    size_t seen = size < sizeof character ? size : sizeof character;
    memcpy(character, data, seen);
    unsigned char byte = (unsigned char)character[0];
    if (byte >= 0x80) {
        bool valid;
        *length = vs_utf8_step(character, seen, &valid);
        return valid ? vs_write(at, character, *length) : vs_write(at, "\xef\xbf\xbd", 3);
    }
    *length = 1;
    char letter = byte >= ' ' ? (char)byte : byte < sizeof short_forms ? short_forms[byte] : '\0';
    if (letter == '\0') {
        at = vs_write(at, byte < 0x10 ? "\\u000" : "\\u001", 5);
        *at++ = "0123456789abcdef"[byte & 15];
        return at;
    }
    *at++ = '\\';
    *at++ = letter;
    return at;
}

char *vs_write_json_text(char *at, const char *data, size_t size)
{
    const char *end = data + size;
    while (data < end) {
        while (end - data >= 8) {
            uint64_t word;
            memcpy(&word, data, sizeof word);
            if (is_odd(word) != 0)
                break;
            memcpy(at, &word, sizeof word);
            data += 8;
            at += 8;
        }
        if (end - data >= 4) {
            uint32_t half;
            memcpy(&half, data, sizeof half);
            if (is_odd(half | EACH_BYTE(0x20) << 32) == 0) {
                memcpy(at, &half, sizeof half);
                data += 4;
                at += 4;
            }
        }
        /* Up to eight bytes one by one, then there may be words again. */
        for (const char *stop = end - data < 8 ? end : data + 8; data < stop;) {
            char c = *data;
            if (is_plain((unsigned char)c)) {
                *at++ = c;
                data++;
                continue;
            }
            size_t length;
            at = write_odd(at, data, (size_t)(end - data), &length);
            data += length;
        }
    }
    return at;
}
