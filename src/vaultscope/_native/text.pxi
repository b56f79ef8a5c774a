# Strings between Python and C: UTF-8, borrowed for a call.

cdef bytes utf8(object text):
    """Any object as UTF-8 without NUL. Never fails on content: lone surrogates, bytes that are no UTF-8 and NUL become
    U+FFFD, so that a label value from outside cannot break a line of output."""
    if isinstance(text, (bytes, bytearray, memoryview)):
        text = bytes(text).decode("utf-8", "replace")
    elif not isinstance(text, str):
        text = str(text)
    try:
        data = (<str>text).encode("utf-8")
    except UnicodeEncodeError:
        data = "".join(["\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text]).encode("utf-8")
    return data.replace(b"\0", b"\xef\xbf\xbd") if b"\0" in data else data


cdef inline vs_text borrow(bytes data) noexcept:
    cdef vs_text text
    text.data = PyBytes_AS_STRING(data)
    text.size = PyBytes_GET_SIZE(data)
    return text


cdef class _Texts:
    """An array of vs_text that borrows from a list of bytes which it keeps alive."""
    cdef list kept
    cdef vs_text *items
    cdef size_t size

    def __cinit__(self, values):
        self.kept = [utf8(value) for value in values]
        self.size = len(self.kept)
        self.items = <vs_text *>PyMem_Malloc((self.size + 1) * sizeof(vs_text))
        if self.items == NULL:
            raise MemoryError
        for i in range(self.size):
            self.items[i] = borrow(self.kept[i])

    def __dealloc__(self):
        PyMem_Free(self.items)


cdef tuple label_values(const char *text, size_t size):
    """The values in rendered label text: op="put",peer="a\\"b" gives ("put", 'a"b')."""
    cdef size_t at = 0
    cdef list values = []
    cdef bytearray value
    while at < size:
        while text[at] != c'"':  # a label name holds no quote
            at += 1
        at += 1
        value = bytearray()
        while text[at] != c'"':
            if text[at] == c'\\':
                at += 1
                value.append(c'\n' if text[at] == c'n' else <unsigned char>text[at])
            else:
                value.append(<unsigned char>text[at])
            at += 1
        at += 2  # the quote and the comma
        values.append(value.decode("utf-8", "replace"))
    return tuple(values)


def family_name(str kind, str name, str unit, bint utf8_names=False) -> str:
    """The exported family name of a metric, without the suffixes of its samples: cas.put.duration in ms is
    cas_put_duration_seconds. With utf8_names the dots stay."""
    cdef vs_buffer out
    cdef bytes name_bytes = utf8(name), unit_bytes = utf8(unit)
    memset(&out, 0, sizeof(out))
    try:
        if not vs_render_family_name(KINDS[kind], borrow(name_bytes), borrow(unit_bytes),
                                     VS_NAMES_UTF8 if utf8_names else VS_NAMES_UNDERSCORES, &out):
            raise MemoryError
        return out.data[:out.size].decode()
    finally:
        vs_buffer_free(&out)


def unit_base(str unit) -> tuple:
    """A declared unit's base unit, and how many declared units make one of it: "ms" gives ("seconds", 1000.0)."""
    cdef bytes data = utf8(unit)
    cdef vs_unit found = vs_unit_find(borrow(data))
    return (found.base.decode() if found.base != NULL else unit, found.per_base)
