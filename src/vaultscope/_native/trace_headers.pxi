# The headers of a trace: found among all others, read, and written. Every request of a vault passes here, hence in C; what is
# rare about them, and what a format means, is said in core/trace_headers.py.
cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text) noexcept
    void *PyUnicode_DATA(object text) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 highest)
    object PyUnicode_FromObject(object text)
    int PyDict_Next(object mapping, Py_ssize_t *at, PyObject **key, PyObject **value) noexcept

cdef extern from *:
    """
    static const struct { const char *name; size_t size; } vs_trace_headers[] = {
        {"traceparent", 11}, {"tracestate", 10}, {"b3", 2}, {"x-b3-traceid", 12}, {"x-b3-spanid", 11},
        {"x-b3-sampled", 12}, {"x-b3-flags", 10}, {"x-b3-parentspanid", 17}, {"x-trace-id", 10}, {"x-span-id", 9},
    };
    enum { VS_TRACE_HEADERS = sizeof vs_trace_headers / sizeof *vs_trace_headers };
    _Static_assert(VS_TRACE_HEADERS == 10, "HEADER_NAMES");

    /* Which one it is; -1: none. In any case; and as CGI and WSGI have it, HTTP_X_TRACE_ID. */
    static int vs_trace_header(const unsigned char *name, size_t size)
    {
        /* Most names are none of them, and most of those have another length or another beginning. */
        enum { SIZES = 1 << 2 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 17 };
        unsigned char folded[17];
        bool cgi = size > 5 && name[4] == '_' && memcmp(name, "HTTP", 4) == 0;
        if (cgi) {
            name += 5;
            size -= 5;
        }
        unsigned char first = size > 0 ? name[0] | 0x20 : 0;
        if (size > 17 || (SIZES >> size & 1) == 0 || (first != 't' && first != 'x' && first != 'b'))
            return -1;
        for (size_t i = 0; i < size; i++) {
            unsigned char c = name[i];
            folded[i] = c >= 'A' && c <= 'Z' ? c | 0x20 : cgi && c == '_' ? '-' : c;
        }
        for (int i = 0; i < VS_TRACE_HEADERS; i++)
            if (vs_trace_headers[i].size == size && memcmp(vs_trace_headers[i].name, folded, size) == 0)
                return i;
        return -1;
    }

    static inline unsigned vs_hex_digit(unsigned char c, unsigned char fold)
    {
        unsigned digit = c - (unsigned)'0', letter = (c | fold) - (unsigned)'a';
        return digit < 10 ? digit : letter < 6 ? letter + 10 : 16;
    }

    /* `size` digits, 16 at most; `fold` 0x20: of upper case, too. False: one of them is none. */
    static bool vs_hex_read(const unsigned char *text, size_t size, unsigned char fold, uint64_t *out)
    {
        uint64_t value = 0;
        unsigned wrong = 0;
        for (size_t i = 0; i < size; i++) {
            unsigned digit = vs_hex_digit(text[i], fold);
            wrong |= digit & 16;
            value = value << 4 | (digit & 15);
        }
        *out = value;
        return wrong == 0;
    }

    static void vs_hex_write(unsigned char *out, uint64_t value)
    {
        for (int i = 15; i >= 0; i--, value >>= 4)
            out[i] = "0123456789abcdef"[value & 15];
    }

    static inline bool vs_is_ows(unsigned char c) { return c == ' ' || c == '\\t'; }

    static inline bool vs_is_key(unsigned char c)
    {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '*' || c == '/' || c == '@';
    }

    /* Whether it is a list by the grammar of W3C Trace Context, level 2: 32 members at most, empty ones among them. */
    static bool vs_tracestate_is_valid(const unsigned char *text, size_t size)
    {
        const unsigned char *at = text, *end = text + size;
        for (int members = 1; members <= 32; members++) {
            while (at < end && vs_is_ows(*at))
                at++;
            if (at < end && *at != ',') {
                const unsigned char *key = at, *value;
                while (at < end && vs_is_key(*at))
                    at++;
                if (at == key || at - key > 256 || at == end || *at != '=' || *key == '_' || *key == '-' || *key == '*' || *key == '/' ||
                    *key == '@')
                    return false;
                value = ++at;
                while (at < end && *at >= 0x20 && *at <= 0x7e && *at != ',' && *at != '=')
                    at++;
                const unsigned char *last = at;
                while (last > value && last[-1] == ' ')
                    last--;
                while (at < end && vs_is_ows(*at))
                    at++;
                if (last == value || last - value > 256 || (at < end && *at != ','))
                    return false;
            }
            if (at == end)
                return true;
            at++;
        }
        return false;
    }
    """
    int VS_TRACE_HEADERS
    int vs_trace_header(const uint8_t *name, size_t size) noexcept
    bint vs_hex_read(const uint8_t *text, size_t size, uint8_t fold, uint64_t *out) noexcept
    void vs_hex_write(uint8_t *out, uint64_t value) noexcept
    bint vs_is_ows(uint8_t c) noexcept
    bint vs_tracestate_is_valid(const uint8_t *text, size_t size) noexcept

HEADER_NAMES = ("traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags",
                "x-b3-parentspanid", "x-trace-id", "x-span-id")

cdef enum:
    TRACEPARENT_SIZE = 55  # of version 00; later ones may be longer
    TRACEPARENT_MAX = 1024  # beyond it, it is nobody's
    TRACESTATE_KEPT = 512
    TRACESTATE_LONG = 128
    TRACESTATE_MAX = 32768  # all that the grammar allows has half as much, without white space
    FLAG_SAMPLED = 1
    FLAG_RANDOM = 2
    ANY_CASE = 0x20
    VALUES_MAX = 64  # of one header that comes many times


cdef struct ascii_text:
    const uint8_t *data
    size_t size


cdef inline bint ascii_of(object value, ascii_text *text) noexcept:
    """Borrows the text of a str or of bytes. False: it is neither, or not ASCII (of bytes, the reader finds that out)."""
    if isinstance(value, str):
        text.data = <const uint8_t *>PyUnicode_DATA(value)
        text.size = PyUnicode_GET_LENGTH(value)
        return PyUnicode_IS_ASCII(value)
    if isinstance(value, bytes):
        text.data = <const uint8_t *>PyBytes_AS_STRING(value)
        text.size = PyBytes_GET_SIZE(value)
        return True
    return False


cdef inline void strip(ascii_text *text) noexcept:
    while text.size and vs_is_ows(text.data[0]):
        text.data += 1
        text.size -= 1
    while text.size and vs_is_ows(text.data[text.size - 1]):
        text.size -= 1


# ---- found among others ----

cdef inline int header_number(object name) noexcept:
    cdef ascii_text text
    return vs_trace_header(text.data, text.size) if ascii_of(name, &text) else -1


def header_name(name) -> str | None:
    """Its name in lower case, if it is a header of a trace; in whatever case, as text, as bytes, or as WSGI has it."""
    cdef int number = header_number(name)
    return HEADER_NAMES[number] if number >= 0 else None


cdef object plain_text(object value):
    """A str or bytes; of a subclass of theirs only the text, since its methods are someone else's."""
    if type(value) is str or type(value) is bytes:
        return value
    return PyUnicode_FromObject(value) if isinstance(value, str) else PyBytes_AS_STRING(value)[:PyBytes_GET_SIZE(value)]


cdef int found_one(dict found, int number, object value) except -1:
    cdef object name = (<tuple>HEADER_NAMES)[number]
    cdef object before
    if isinstance(value, (str, bytes)):
        value = plain_text(value)
        before = found.get(name)
        if before is None:
            found[name] = value
        elif type(before) is not list:
            found[name] = [before, value]
        elif len(<list>before) < VALUES_MAX:
            (<list>before).append(value)
    elif isinstance(value, (list, tuple)):
        for each in value[:VALUES_MAX]:
            if isinstance(each, (str, bytes)):
                found_one(found, number, each)
    return 0


def trace_headers(pairs) -> dict:
    """The headers of a trace in an iterable of pairs: name in lower case to value, or to a list if there are several. What is no text is
    passed over. Raises what the iterable raises."""
    cdef dict found = {}
    cdef int number
    for pair in pairs:
        if isinstance(pair, (tuple, list)) and len(pair) == 2:
            number = header_number(pair[0])
            if number >= 0:
                found_one(found, number, pair[1])
    return found


cdef int plain_number(dict headers, Py_ssize_t *at, PyObject **key, PyObject **value) noexcept:
    """The next header of a trace; -1: no more."""
    cdef int number
    while PyDict_Next(headers, at, key, value):
        number = header_number(<object>key[0])
        if number >= 0:
            return number
    return -1


def trace_keys(keys) -> list:
    """Those of them that name headers of a trace, as they are spelled. Raises what the iterable raises."""
    return [key for key in keys if header_number(key) >= 0]


# ---- read ----

cdef SpanContext remote_context(uint64_t high, uint64_t low, uint64_t span):
    cdef SpanContext context = SpanContext.__new__(SpanContext)
    context.high, context.low, context.span = high, low, span
    context.remote = True
    context.tracestate = ""
    vs_store_relaxed(&spans_in_use, 1)
    return context


cdef str kept_tracestate(object value):
    """What is passed on of a tracestate: all, if it is by the grammar and has no more than 512 characters."""
    cdef ascii_text text
    if not ascii_of(value, &text) or text.size > TRACESTATE_MAX:
        return ""
    strip(&text)
    if not vs_tracestate_is_valid(text.data, text.size):
        return ""
    cdef str whole = text.data[:text.size].decode("ascii")
    return whole if text.size <= TRACESTATE_KEPT else cut_tracestate(whole)


cdef str cut_tracestate(str whole):
    """Without as many of its members as it takes: those of more than 128 characters first, and from the end."""
    cdef list members = [member for member in (part.strip(" \t") for part in whole.split(",")) if member]
    cdef Py_ssize_t size = sum([len(member) + 1 for member in members]) - 1, at
    for long in (TRACESTATE_LONG, 0):
        for at in range(len(members) - 1, -1, -1):
            if size > TRACESTATE_KEPT and len(members[at]) > long:
                size -= len(members[at]) + 1
                del members[at]
    return ",".join(members)


cdef SpanContext read_traceparent(object value, object tracestate):
    """What a traceparent says, of version 00 or a later one, and the tracestate beside it; None: it is malformed. A malformed
    tracestate is none; of a long one whole members are left out. Source: W3C Trace Context, level 2."""
    cdef ascii_text text
    cdef uint64_t version, high, low, span, flags
    cdef SpanContext context
    cdef const uint8_t *s
    if not ascii_of(value, &text) or text.size > TRACEPARENT_MAX:
        return None
    strip(&text)
    s = text.data
    if (text.size < TRACEPARENT_SIZE or not vs_hex_read(s, 2, 0, &version) or version == 0xff
            or (text.size > TRACEPARENT_SIZE and (version == 0 or s[55] != c"-"))
            or s[2] != c"-" or s[35] != c"-" or s[52] != c"-"
            or not vs_hex_read(s + 3, 16, 0, &high) or not vs_hex_read(s + 19, 16, 0, &low)
            or not vs_hex_read(s + 36, 16, 0, &span) or not vs_hex_read(s + 53, 2, 0, &flags)
            or (high | low) == 0 or span == 0):
        return None
    context = remote_context(high, low, span)
    context.sampled = flags & FLAG_SAMPLED != 0
    context.random = flags & FLAG_RANDOM != 0
    if tracestate is not None:
        context.tracestate = kept_tracestate(tracestate)
    return context


def read_w3c(dict found not None) -> SpanContext | None:
    """What traceparent and tracestate say, among headers that trace_headers found."""
    cdef object traceparent = found.get("traceparent"), tracestate
    if traceparent is None:
        return None
    tracestate = found.get("tracestate")
    if type(tracestate) is list:
        tracestate = ",".join([each if isinstance(each, str) else each.decode("latin-1") for each in <list>tracestate])
    return read_traceparent(traceparent, tracestate)  # a list, since it came several times, is malformed


def read_ids(trace, span, sampled=None) -> SpanContext | None:
    """A context of ids in hexadecimal digits of any case, up to 32 and up to 16 of them. span None: the trace is known and no span of
    it, span_id is 0. sampled None: it is not decided. None: an id is malformed, or 0."""
    cdef ascii_text text
    cdef uint64_t high = 0, low, number = 0
    cdef size_t above
    cdef SpanContext context
    if not ascii_of(trace, &text):
        return None
    above = text.size - 16 if text.size > 16 else 0
    if not 0 < text.size <= 32 or not vs_hex_read(text.data, above, ANY_CASE, &high):
        return None
    if not vs_hex_read(text.data + above, text.size - above, ANY_CASE, &low) or (high | low) == 0:
        return None
    if span is not None:
        if not ascii_of(span, &text):
            return None
        if not 0 < text.size <= 16 or not vs_hex_read(text.data, text.size, ANY_CASE, &number) or number == 0:
            return None
    context = remote_context(high, low, number)
    context.deferred = sampled is None
    context.sampled = sampled is not None and sampled
    return context


def extract_plain(dict headers not None) -> SpanContext | None:
    """What traceparent and tracestate say in a dict. None: that takes a closer look."""
    cdef PyObject *key = NULL
    cdef PyObject *value = NULL
    cdef PyObject *values[2]
    cdef Py_ssize_t at = 0
    cdef int number
    values[0] = values[1] = NULL
    with cython.critical_section(headers):
        while True:
            number = plain_number(headers, &at, &key, &value)
            if number < 0:
                break
            if number < 2:
                if values[number] != NULL:
                    return None
                values[number] = value
        if values[0] == NULL:
            return None
        if values[1] == NULL:
            return read_traceparent(<object>values[0], None)
        state = <object>values[1]
        return read_traceparent(<object>values[0], state) if isinstance(state, (str, bytes)) else None


# ---- written ----

cpdef write_w3c(SpanContext context, dict headers):
    """Adds traceparent, of version 00, and tracestate; nothing, if it has no ids, or only a trace's."""
    cdef ascii_text state
    cdef str text
    cdef uint8_t *s
    if (context.high | context.low) == 0 or context.span == 0:
        return
    text = PyUnicode_New(TRACEPARENT_SIZE, 127)
    s = <uint8_t *>PyUnicode_DATA(text)
    memcpy(s, b"00-", 3)
    vs_hex_write(s + 3, context.high)
    vs_hex_write(s + 19, context.low)
    s[35] = c"-"
    vs_hex_write(s + 36, context.span)
    s[52], s[53] = c"-", c"0"
    s[54] = c"0" + (FLAG_SAMPLED if context.sampled else 0) + (FLAG_RANDOM if context.random else 0)
    headers["traceparent"] = text
    # One that was made by hand may hold the end of a line.
    if context.tracestate and ascii_of(context.tracestate, &state) and vs_tracestate_is_valid(state.data, state.size):
        headers["tracestate"] = context.tracestate


cpdef write_memo(SpanContext context, dict headers):
    """Adds X-Trace-Id and X-Span-Id, as far as there are ids."""
    cdef str text
    if (context.high | context.low) == 0:
        return
    text = PyUnicode_New(32, 127)
    vs_hex_write(<uint8_t *>PyUnicode_DATA(text), context.high)
    vs_hex_write(<uint8_t *>PyUnicode_DATA(text) + 16, context.low)
    headers["X-Trace-Id"] = text
    if context.span != 0:
        text = PyUnicode_New(16, 127)
        vs_hex_write(<uint8_t *>PyUnicode_DATA(text), context.span)
        headers["X-Span-Id"] = text


def inject_plain(dict headers not None, context, bint memo) -> bool:
    """Writes W3C's headers to a dict, and the memo's; context None: the current span's. False: there are headers of a trace in it, which
    takes a closer look."""
    cdef PyObject *key = NULL
    cdef PyObject *value = NULL
    cdef PyObject *current = NULL
    cdef Py_ssize_t at = 0
    if context is None:
        vs_context_get(<PyObject *>span_variable, &current)
        if current != NULL:
            context = <object>current
            Py_XDECREF(current)
    if not isinstance(context, SpanContext):
        return True
    with cython.critical_section(headers):
        if plain_number(headers, &at, &key, &value) >= 0:
            return False
    write_w3c(<SpanContext>context, headers)
    if memo:
        write_memo(<SpanContext>context, headers)
    return True
