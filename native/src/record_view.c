/* Reading a record that may be any bytes: sizes first, then which field has which name.
 *
 * Names are compared as they will be shown: two that differ only in bytes that are no UTF-8 are one. A hash table finds them, since
 * somebody's record may have thousands of fields. */
#include "record_view.h"

#include "json.h"

enum { REPAIRED_MAX = VS_KEY_BYTES_MAX * VS_UTF8_REPAIR_CHARS };

static bool is_ascii(vs_text key)
{
    unsigned char all = 0;
    for (size_t i = 0; i < key.size; i++)
        all |= (unsigned char)key.data[i];
    return all < 0x80;
}

/* The name as it is shown; `room` has REPAIRED_MAX bytes. */
static vs_text shown(vs_text key, char *room)
{
    if (VS_LIKELY(is_ascii(key)) || vs_utf8_is_valid(key))
        return key;
    return (vs_text){room, vs_utf8_repair(key, room)};
}

static size_t hash_of(vs_text key)
{
    uint64_t hash = key.size;
    size_t i = 0;
    for (; key.size - i >= 8; i += 8) {
        uint64_t word;
        memcpy(&word, key.data + i, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    uint64_t rest = 0;
    for (; i < key.size; i++)
        rest = rest << 8 | (unsigned char)key.data[i];
    hash = (hash ^ rest) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash ^ hash >> 32);
}

/* The slot of that name, which may be free. */
static size_t find(const vs_record_view *view, vs_text name)
{
    for (size_t slot = hash_of(name);; slot++) {
        slot &= view->slot_count - 1;
        if (view->slots[slot] == 0)
            return slot;
        char room[REPAIRED_MAX];
        vs_text other = shown(vs_record_key(view, &view->fields[view->slots[slot] - 1]), room);
        if (other.size == name.size && (name.size == 0 || memcmp(other.data, name.data, name.size) == 0))
            return slot;
    }
}

static bool value_is_sound(unsigned type, size_t size)
{
    static const uint8_t sizes[] = {[VS_FIELD_NULL] = 0, [VS_FIELD_BOOL] = 1, [VS_FIELD_I64] = 8, [VS_FIELD_U64] = 8,
                                    [VS_FIELD_F64] = 8};
    return type < sizeof sizes ? size == sizes[type] : type <= VS_FIELD_JSON;
}

bool vs_record_read(vs_record_view *view, const void *record, size_t size)
{
    vs_log_head *head = &view->head;
    if (size < sizeof *head)
        return false;
    memcpy(head, record, sizeof *head);
    uint64_t at = sizeof *head + (uint64_t)head->logger_size + head->vault_size + head->message_size;
    if (head->size > size || head->size > VS_LOG_BYTES_MAX || head->level >= VS_LEVELS || at > head->size ||
        head->field_count > (head->size - at) / sizeof(vs_field_head))
        return false;
    view->data = record;
    view->field_count = head->field_count;
    for (view->slot_count = 4; view->slot_count < 2 * view->field_count;)
        view->slot_count *= 2;
    memset(view->slots, 0, view->slot_count * sizeof view->slots[0]);
    for (size_t i = 0; i < view->field_count; i++) {
        vs_field_head field;
        if (head->size - at < sizeof field)
            return false;
        memcpy(&field, view->data + at, sizeof field);
        at += sizeof field;
        size_t left = head->size - at;
        if (field.key_size > left || field.value_size > left - field.key_size || !value_is_sound(field.type, field.value_size))
            return false;
        view->fields[i] = (vs_record_field){.key_at = (uint16_t)at, .value_size = (uint16_t)field.value_size,
                                            .key_size = field.key_size, .type = field.type,
                                            .is_cut = (field.flags & VS_FIELD_CUT) != 0};
        char room[REPAIRED_MAX];
        uint16_t *slot = &view->slots[find(view, shown(vs_record_key(view, &view->fields[i]), room))];
        if (*slot != 0)
            view->fields[*slot - 1].is_hidden = true;
        *slot = (uint16_t)(i + 1);
        at += field.key_size + field.value_size;
    }
    return at == head->size;
}

size_t vs_record_underscores(const vs_record_view *view, vs_text key)
{
    enum { RESERVED_MAX = 9, OF_ONE_SIZE = 3 };
    static const char reserved[RESERVED_MAX + 1][OF_ONE_SIZE][RESERVED_MAX + 1] = {
        [3] = {"pid"},
        [4] = {"time"},
        [5] = {"level", "vault"},
        [6] = {"logger", "thread"},
        [7] = {"message", "span_id", "omitted"},
        [8] = {"trace_id"},
        [9] = {"truncated"},
    };
    if (key.size > RESERVED_MAX)
        return 0;
    bool is_reserved = false;
    for (size_t i = 0; i < OF_ONE_SIZE && reserved[key.size][i][0] != '\0'; i++)
        is_reserved |= memcmp(reserved[key.size][i], key.data, key.size) == 0;
    if (!is_reserved)
        return 0;
    char name[RESERVED_MAX + VS_KEY_BYTES_MAX + 1];
    memcpy(name, key.data, key.size);
    for (size_t size = key.size;;) { /* ends: no key is longer than VS_KEY_BYTES_MAX */
        name[size++] = '_';
        if (view->slots[find(view, (vs_text){name, size})] == 0)
            return size - key.size;
    }
}
