/* Writing a log record: texts and fields go one behind the other, and what has no room is cut or left out. */
#include "json.h"
#include "vaultscope/log.h"

_Static_assert(VS_LOG_BYTES_MAX / sizeof(vs_field_head) <= UINT16_MAX, "as many fields as have room can be counted");

/* Copies a few bytes: most texts here are short, and a call to memcpy costs more than they do. */
static inline void copy(char *to, const char *from, size_t size)
{
    if (size > 128) {
        memcpy(to, from, size);
    } else if (size > 16) { /* runs of 16, the last of which overlaps */
        for (size_t at = 0; at + 16 < size; at += 16)
            memcpy(to + at, from + at, 16);
        memcpy(to + size - 16, from + size - 16, 16);
    } else if (size >= 8) { /* two words that overlap */
        uint64_t first, last;
        memcpy(&first, from, 8);
        memcpy(&last, from + size - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + size - 8, &last, 8);
    } else if (size >= 4) {
        uint32_t first, last;
        memcpy(&first, from, 4);
        memcpy(&last, from + size - 4, 4);
        memcpy(to, &first, 4);
        memcpy(to + size - 4, &last, 4);
    } else if (size > 0) {
        to[0] = from[0];
        to[size / 2] = from[size / 2];
        to[size - 1] = from[size - 1];
    }
}

static inline size_t room_of(const vs_log_writer *writer)
{
    return writer->capacity - writer->size;
}

/* Something has no room. That can be mended by a larger buffer, unless this is as large as a record gets. */
static void note_short(vs_log_writer *writer)
{
    writer->is_short |= writer->capacity < VS_LOG_BYTES_MAX;
}

static void omit(vs_log_writer *writer, size_t count)
{
    size_t room = UINT16_MAX - writer->omitted;
    writer->omitted = (uint16_t)(writer->omitted + (count < room ? count : room));
}

/* Appends what there is room for; returns how much that was. */
static size_t put(vs_log_writer *writer, vs_text text, size_t limit)
{
    size_t size = text.size;
    if (VS_UNLIKELY(size > limit))
        size = vs_utf8_cut(text, limit);
    if (VS_UNLIKELY(size > room_of(writer))) {
        size = vs_utf8_cut(text, room_of(writer));
        note_short(writer);
    }
    copy(writer->data + writer->size, text.data, size);
    writer->size += size;
    return size;
}

void vs_log_begin(vs_log_writer *writer, char *data, size_t capacity, vs_text logger, vs_text vault, vs_text message)
{
    if (capacity > VS_LOG_BYTES_MAX)
        capacity = VS_LOG_BYTES_MAX;
    *writer = (vs_log_writer){.data = data, .capacity = capacity & ~(size_t)7, .size = sizeof(vs_log_head)};
    bool is_usual = logger.size <= VS_LOGGER_BYTES_MAX && vault.size <= VS_LOGGER_BYTES_MAX && message.size <= VS_MESSAGE_BYTES_MAX;
    if (VS_LIKELY(is_usual && logger.size + vault.size + message.size <= room_of(writer))) {
        char *at = data + sizeof(vs_log_head);
        copy(at, logger.data, logger.size);
        at += logger.size;
        copy(at, vault.data, vault.size);
        at += vault.size;
        copy(at, message.data, message.size);
        writer->size = (size_t)(at - data) + message.size;
        writer->logger_size = (uint8_t)logger.size;
        writer->vault_size = (uint8_t)vault.size;
        writer->message_size = (uint32_t)message.size;
        return;
    }
    writer->logger_size = (uint8_t)put(writer, logger, VS_LOGGER_BYTES_MAX);
    writer->vault_size = (uint8_t)put(writer, vault, VS_LOGGER_BYTES_MAX);
    writer->message_size = (uint32_t)put(writer, message, VS_MESSAGE_BYTES_MAX);
    if (writer->message_size < message.size)
        writer->flags |= VS_LOG_MESSAGE_CUT;
}

/* Bytes of a value of that type; -1: as many as there are; -2: no such type. */
static inline int size_of(vs_field_type type)
{
    switch (type) {
    case VS_FIELD_NULL:
        return 0;
    case VS_FIELD_BOOL:
        return 1;
    case VS_FIELD_I64:
    case VS_FIELD_U64:
    case VS_FIELD_F64:
        return 8;
    case VS_FIELD_TEXT:
    case VS_FIELD_BYTES:
    case VS_FIELD_JSON:
        return -1;
    default:
        return -2;
    }
}

void vs_log_add(vs_log_writer *writer, vs_text key, vs_field_type type, const void *value, size_t value_size, bool was_cut)
{
    int expected = size_of(type);
    if (expected != -1 && (expected < 0 || value_size != (size_t)expected)) {
        omit(writer, 1);
        return;
    }
    if (VS_UNLIKELY(key.size > VS_KEY_BYTES_MAX))
        key.size = vs_utf8_cut(key, VS_KEY_BYTES_MAX);
    size_t needed = sizeof(vs_field_head) + key.size, room = room_of(writer), limit = VS_VALUE_BYTES_MAX;
    if (VS_UNLIKELY(value_size > room || needed > room - value_size)) {
        note_short(writer);
        if (expected != -1 || needed > room) {
            omit(writer, 1);
            return;
        }
        /* Three quarters of what is left: the small ones behind it shall have room, too. */
        limit = (room - needed) / 4 * 3;
        limit = limit < VS_VALUE_BYTES_MAX ? limit : VS_VALUE_BYTES_MAX;
    }
    if (VS_UNLIKELY(value_size > limit)) {
        value_size = type == VS_FIELD_BYTES ? limit : vs_utf8_cut((vs_text){value, value_size}, limit);
        was_cut = true;
    }
    vs_field_head head = {.type = (uint8_t)type, .flags = was_cut ? VS_FIELD_CUT : 0, .key_size = (uint8_t)key.size,
                          .value_size = (uint32_t)value_size};
    char *at = writer->data + writer->size;
    memcpy(at, &head, sizeof head);
    copy(at + sizeof head, key.data, key.size);
    copy(at + needed, value, value_size);
    writer->size += needed + value_size;
    writer->field_count++;
}

void vs_log_add_all(vs_log_writer *writer, const char *fields, size_t size, uint16_t count)
{
    if (size <= room_of(writer)) {
        copy(writer->data + writer->size, fields, size);
        writer->size += size;
        writer->field_count = (uint16_t)(writer->field_count + count);
        return;
    }
    for (; count > 0; count--) {
        vs_field_head head;
        if (size < sizeof head)
            break;
        memcpy(&head, fields, sizeof head);
        fields += sizeof head;
        size -= sizeof head;
        if (size < head.key_size || size - head.key_size < head.value_size)
            break;
        vs_log_add(writer, (vs_text){fields, head.key_size}, (vs_field_type)head.type, fields + head.key_size, head.value_size,
                   (head.flags & VS_FIELD_CUT) != 0);
        fields += head.key_size + head.value_size;
        size -= head.key_size + head.value_size;
    }
    omit(writer, count); /* what does not look like a field */
}

/* One of an array whose size or type is out of the common, or that lacks room. */
static void add_odd(vs_log_writer *writer, const vs_field *field)
{
    bool is_run = field->type >= VS_FIELD_TEXT;
    vs_text key = {field->key, field->key_size};
    const void *flag = field->value.u64 != 0 ? "\1" : "\0";
    if (is_run && field->value.data == NULL && field->size != 0)
        vs_log_add(writer, key, VS_FIELD_NULL, NULL, 0, false);
    else if (field->type == VS_FIELD_TEXT && field->size == VS_FIELD_UNTIL_NUL)
        vs_log_add(writer, key, VS_FIELD_TEXT, field->value.data, strlen(field->value.data), false);
    else
        vs_log_add(writer, key, (vs_field_type)field->type, is_run ? field->value.data : field->type == VS_FIELD_BOOL ? flag : (const void *)&field->value,
                   field->size, false);
}

/* As vs_log_add for each, but that what is usual is written without a call, and with the place in a register. */
void vs_log_add_array(vs_log_writer *writer, const vs_field *fields)
{
    static const uint8_t SIZES[VS_FIELD_TEXT] = {0, 1, 8, 8, 8};
    char *at = writer->data + writer->size;
    const char *end = writer->data + writer->capacity;
    uint16_t count = writer->field_count;
    for (const vs_field *field = fields; field->type != VS_FIELD_END; field++) {
        size_t key_size = field->key_size, size = field->size;
        bool is_run = field->type >= VS_FIELD_TEXT;
        if (is_run && size == VS_FIELD_UNTIL_NUL && field->value.data != NULL)
            size = strlen(field->value.data);
        bool is_usual = is_run ? field->type <= VS_FIELD_JSON && size <= VS_VALUE_BYTES_MAX && field->value.data != NULL
                               : size == SIZES[field->type];
        if (VS_UNLIKELY(!is_usual || (size_t)(end - at) < sizeof(vs_field_head) + key_size + size + 8)) {
            writer->size = (size_t)(at - writer->data);
            writer->field_count = count;
            add_odd(writer, field);
            at = writer->data + writer->size;
            count = writer->field_count;
            continue;
        }
        uint32_t value_size = (uint32_t)size;
        at[0] = (char)field->type;
        at[1] = 0;
        at[2] = (char)field->key_size;
        at[3] = 0;
        memcpy(at + 4, &value_size, 4);
        at += sizeof(vs_field_head);
        copy(at, field->key, key_size);
        at += key_size;
        if (is_run)
            copy(at, field->value.data, size);
        else if (field->type == VS_FIELD_BOOL)
            *at = field->value.u64 != 0;
        else
            memcpy(at, &field->value, 8);
        at += size;
        count++;
    }
    writer->size = (size_t)(at - writer->data);
    writer->field_count = count;
}
