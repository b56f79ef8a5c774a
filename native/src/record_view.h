/* A record whose every size has been checked, so that who shows it can follow them. */
#ifndef VAULTSCOPE_RECORD_VIEW_H
#define VAULTSCOPE_RECORD_VIEW_H

#include "vaultscope/record.h"

enum {
    VS_RECORD_FIELDS_MAX = (VS_LOG_BYTES_MAX - sizeof(vs_log_head)) / sizeof(vs_field_head),
    VS_RECORD_SLOTS = 8192 /* at least twice as many, so that a search ends soon */
};

_Static_assert(VS_LOG_BYTES_MAX <= UINT16_MAX, "places in a record fit into 16 bits");
_Static_assert(VS_RECORD_SLOTS >= 2 * VS_RECORD_FIELDS_MAX, "there is always a free slot");

/* A field's head is read once and kept here: the bytes may lie in a file that others can write to. */
typedef struct vs_record_field {
    uint16_t key_at;
    uint16_t value_size;
    uint8_t key_size;
    uint8_t type;
    bool is_cut;
    bool is_hidden; /* another field has its name, and stands behind it */
} vs_record_field;

/* 50 KiB, of which as much is touched as the record has fields. */
typedef struct vs_record_view {
    const char *data;
    vs_log_head head;
    size_t field_count, slot_count;
    vs_record_field fields[VS_RECORD_FIELDS_MAX];
    uint16_t slots[VS_RECORD_SLOTS]; /* the shown fields by their names; a field's index + 1, 0: free */
} vs_record_view;

static inline vs_text vs_record_key(const vs_record_view *view, const vs_record_field *field)
{
    return (vs_text){view->data + field->key_at, field->key_size};
}

static inline vs_text vs_record_value(const vs_record_view *view, const vs_record_field *field)
{
    return (vs_text){view->data + field->key_at + field->key_size, field->value_size};
}

/* False: these bytes are no record. Reads nothing outside of them. */
bool vs_record_read(vs_record_view *view, const void *record, size_t size);

/* How many underscores a field's name gets at its end: none, unless it is one that the line itself uses; else as few as
 * make it a name of its own. */
size_t vs_record_underscores(const vs_record_view *view, vs_text key);

#endif
