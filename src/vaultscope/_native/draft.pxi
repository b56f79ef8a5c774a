# A log record while it is written: on the caller's stack, on the heap if it grows long.
#
# A value of a common kind is copied by C in place. Any other is first made a text, bytes or JSON by a function of Python
# (vaultscope.core.log_fields), which neither raises nor is called for the common ones.

cdef extern from *:
    """
    /* The bytes of a string that is ASCII alone, as nearly all are: they lie in the object. */
    static inline const char *vs_ascii(PyObject *text, size_t *size)
    {
        if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_COMPACT_ASCII(text))
            return NULL;
        *size = (size_t)PyUnicode_GET_LENGTH(text);
        return (const char *)PyUnicode_1BYTE_DATA(text);
    }

    static inline int vs_is_bool(PyObject *value) { return value == Py_True || value == Py_False; }
    static inline int vs_is_true(PyObject *value) { return value == Py_True; }
    static inline int vs_is_none(PyObject *value) { return value == Py_None; }
    """
    const char *vs_ascii(PyObject *text, size_t *size)
    bint vs_is_bool(PyObject *value)
    bint vs_is_true(PyObject *value)
    bint vs_is_none(PyObject *value)
    bint vs_bytes_are_bytes "PyBytes_CheckExact" (PyObject *value)
    const char *vs_bytes_data "PyBytes_AS_STRING" (PyObject *value)
    size_t vs_bytes_size "PyBytes_GET_SIZE" (PyObject *value)
    void *vs_raw_malloc "PyMem_RawMalloc" (size_t size) nogil
    void vs_raw_free "PyMem_RawFree" (void *memory) nogil

DEF SMALL_WORDS = 256  # VS_LOG_BYTES_SMALL

cdef struct Draft:
    vs_log_writer writer
    char *heap
    size_t limit
    uint64_t small[SMALL_WORDS]

cdef object field_encoder = None


def set_field_encoder(function) -> None:
    """Names the function that makes (type, bytes, whether it was cut) of a value that C does not know. It must not raise. Called by
    vaultscope.core.log_fields."""
    global field_encoder
    field_encoder = function


FIELD_TYPES = {"text": VS_FIELD_TEXT, "bytes": VS_FIELD_BYTES, "json": VS_FIELD_JSON}
VALUE_BYTES_MAX = VS_VALUE_BYTES_MAX


cdef inline void draft_begin(Draft *draft, size_t limit, vs_text logger, vs_text vault, vs_text message) noexcept nogil:
    draft.heap = NULL
    draft.limit = limit
    if message.size > VS_LOG_BYTES_SMALL // 2 and draft_takes_heap(draft):
        vs_log_begin(&draft.writer, draft.heap, limit, logger, vault, message)
    else:
        vs_log_begin(&draft.writer, <char *>draft.small, VS_LOG_BYTES_SMALL, logger, vault, message)


cdef inline void draft_end(Draft *draft) noexcept nogil:
    if draft.heap != NULL:
        vs_raw_free(draft.heap)


cdef bint draft_takes_heap(Draft *draft) noexcept nogil:
    if draft.heap != NULL or draft.limit <= VS_LOG_BYTES_SMALL:
        return False
    draft.heap = <char *>vs_raw_malloc((draft.limit + 7) & ~<size_t>7)
    return draft.heap != NULL


cdef void draft_grow(Draft *draft) noexcept nogil:
    if draft_takes_heap(draft):
        memcpy(draft.heap, draft.writer.data, draft.writer.size)
        draft.writer.data = draft.heap
        draft.writer.capacity = draft.limit


cdef inline void draft_run(Draft *draft, vs_text key, vs_field_type type, const char *data, size_t size, bint was_cut) noexcept nogil:
    """A text, bytes or JSON."""
    if size > VS_VALUE_BYTES_MAX and type != VS_FIELD_JSON:
        size = VS_VALUE_BYTES_MAX  # an ASCII text, or bytes: it may be cut anywhere
        was_cut = True
    if draft.writer.size + key.size + size + 16 > draft.writer.capacity:
        draft_grow(draft)
    vs_log_add(&draft.writer, key, type, data, size, was_cut)


cdef inline bint draft_scalar(Draft *draft, vs_text key, PyObject *value) noexcept:
    """Adds a value of a common kind. False: it is of none."""
    cdef long long integer = 0
    cdef int64_t exact
    cdef double real
    cdef uint8_t flag
    cdef vs_text text
    text.data = vs_ascii(value, &text.size)
    if text.data != NULL:
        draft_run(draft, key, VS_FIELD_TEXT, text.data, text.size, False)
        return True
    if draft.writer.size + key.size + 24 > draft.writer.capacity:
        draft_grow(draft)
    if vs_long_is_long(value) and vs_read_compact(value, &integer):
        exact = integer
        vs_log_add(&draft.writer, key, VS_FIELD_I64, &exact, 8, False)
    elif vs_float_is_float(value):
        real = vs_float_value(value)
        vs_log_add(&draft.writer, key, VS_FIELD_F64, &real, 8, False)
    elif vs_is_none(value):
        vs_log_add(&draft.writer, key, VS_FIELD_NULL, NULL, 0, False)
    elif vs_is_bool(value):
        flag = vs_is_true(value)
        vs_log_add(&draft.writer, key, VS_FIELD_BOOL, &flag, 1, False)
    elif vs_bytes_are_bytes(value):
        draft_run(draft, key, VS_FIELD_BYTES, vs_bytes_data(value), vs_bytes_size(value), False)
    else:
        return False
    return True


cdef int draft_odd(Draft *draft, vs_text key, object value) except -1:
    """Any other value. Raises what is no Exception (KeyboardInterrupt), which is the host's."""
    cdef int64_t exact
    cdef uint64_t positive
    if type(value) is int:
        if -(1 << 63) <= value < 1 << 63:
            exact = value
            vs_log_add(&draft.writer, key, VS_FIELD_I64, &exact, 8, False)
            return 0
        if 0 <= value < 1 << 64:
            positive = value
            vs_log_add(&draft.writer, key, VS_FIELD_U64, &positive, 8, False)
            return 0
    kind, data, was_cut = field_encoder(value)
    draft_run(draft, key, <vs_field_type><int>kind, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), was_cut)
    return 0


cdef bytes log_text(object text):
    """Any object as UTF-8 for a message, a key or a name: what a text cannot hold becomes U+FFFD. NUL stays."""
    if isinstance(text, (bytes, bytearray)):
        text = text.decode("utf-8", "replace")
    elif not isinstance(text, str):
        try:
            text = str(text)
        except Exception:
            text = object.__repr__(text)
    cdef str whole = (<str>text)[:VS_MESSAGE_BYTES_MAX + 1]  # more would be cut later
    try:
        return whole.encode("utf-8")
    except UnicodeEncodeError:
        return whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode("utf-8")


cdef int draft_field(Draft *draft, object key, object value) except -1:
    """A field whose key or value is out of the common."""
    cdef bytes name = log_text(key)
    cdef vs_text text = borrow(name)
    if not draft_scalar(draft, text, <PyObject *>value):
        draft_odd(draft, text, value)
    return 0
