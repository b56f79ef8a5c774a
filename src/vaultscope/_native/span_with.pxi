# Spans in a with statement: the methods that are called most. They are installed as those of hot.pxi are.

cdef extern from *:
    """
    /* Until 3.12 an allocation could run the collector in the middle of either; if that changes the variable, as a span in a
     * destructor does, CPython goes on with the context's freed map. */
    #if PY_VERSION_HEX < 0x030c0000
    #define VS_WITHOUT_COLLECTOR(type, call) \
        int was_on = PyGC_Disable(); \
        type result = (call); \
        if (was_on) \
            PyGC_Enable(); \
        return result
    #else
    #define VS_WITHOUT_COLLECTOR(type, call) return call
    #endif

    static inline PyObject *vs_context_set(PyObject *variable, PyObject *value)
    {
        VS_WITHOUT_COLLECTOR(PyObject *, PyContextVar_Set(variable, value));
    }

    static inline int vs_context_reset(PyObject *variable, PyObject *token)
    {
        VS_WITHOUT_COLLECTOR(int, PyContextVar_Reset(variable, token));
    }
    static inline PyObject *vs_builtin(PyMethodDef *method, PyObject *self) { return PyCFunction_New(method, self); }
    """
    object vs_context_set(object variable, object value)
    int vs_context_reset(PyObject *variable, PyObject *token)
    void PyErr_Clear()


# ---- the current span ----

cdef object with_token(object tokens, object token):
    """tokens: None, one, or a list of them."""
    if tokens is None:
        return token
    return [*tokens, token] if type(tokens) is list else [tokens, token]


cdef object before(object token):
    """What was current before: a span, a context, None, or nothing at all (Token.MISSING)."""
    return (token[len(token) - 1] if type(token) is list else token).old_value


cdef bint is_within(object current, object value) except -1:
    """Whether what is current was entered within a block of `value`. So a block that ends out of turn, as those of generators may, takes
    along what is still open in it, and one that was taken along changes nothing any more."""
    cdef object tokens
    cdef dict passed = {}  # how often each was, by its id: one that was entered again within itself is met again
    cdef Py_ssize_t at
    while current is not value:
        if type(current) is not Span:
            return False
        with cython.critical_section(current):
            tokens = (<Span>current).tokens
        if type(tokens) is not list:
            tokens = () if tokens is None else (tokens,)
        at = passed.get(id(current), 0)
        if at >= len(tokens):
            return False
        passed[id(current)] = at + 1
        current = tokens[len(tokens) - 1 - at].old_value
    return True


cdef object leave_context(object value, object tokens):
    """Makes current what was so before `value`, unless this is another context, where it never was. Returns the tokens that are left."""
    cdef PyObject *current = NULL
    cdef list left = tokens if type(tokens) is list else [tokens]
    vs_context_get(<PyObject *>span_variable, &current)
    if current == NULL:
        left.pop()
        return left or None
    here = <object>current
    Py_XDECREF(current)
    if not is_within(here, value):
        left.pop()
        return left or None
    for token in reversed(left):
        if vs_context_reset(<PyObject *>span_variable, <PyObject *>token) == 0:
            left.remove(token)
            return left or None
        PyErr_Clear()  # it is of another context
    old = before(left.pop())  # of which this one is a copy
    vs_context_set(span_variable, old if isinstance(old, SpanContext) else None)
    return left or None


cdef PyObject *hot_enter(PyObject *self, PyObject *unused) noexcept:
    return ENTER(self)


cdef PyObject *enter(PyObject *self) except NULL:
    cdef Span span = <Span>self
    cdef PyObject *current = NULL
    if span.state == SPAN_NEW:
        if vs_context_get(<PyObject *>span_variable, &current) == 0:
            try:
                span_start(span, current)
            finally:
                Py_XDECREF(current)
    token = vs_context_set(span_variable, span)
    with cython.critical_section(span):
        span.tokens = token if span.tokens is None else with_token(span.tokens, token)
    Py_INCREF(span)
    return self


cdef PyObject *hot_exit(PyObject *self, PyObject *const *args, Py_ssize_t n) noexcept:
    return LEAVE(self, args, n)


cdef PyObject *leave(PyObject *self, PyObject *const *args, Py_ssize_t n) except NULL:
    if n == 3 and not vs_is_none(args[1]) and (<Span>self).state == SPAN_OPEN:
        try:
            note_error(<Span>self, <object>args[1])
        finally:  # it asks the exception for its text, which a signal may interrupt
            leave_block(self)
    else:
        leave_block(self)
    return vs_none()


cdef inline int leave_block(PyObject *self) except -1:
    cdef Span span = <Span>self
    cdef PyObject *current = NULL
    cdef bint is_left = True
    with cython.critical_section(span):
        if span.tokens is not None:
            vs_context_get(<PyObject *>span_variable, &current)
            Py_XDECREF(current)
            if current == self and vs_context_reset(<PyObject *>span_variable, <PyObject *>span.tokens) == 0:
                span.tokens = None
            else:
                PyErr_Clear()
                span.tokens = leave_context(span, span.tokens)
            is_left = span.tokens is None
    if is_left:
        span_end(span)
    return 0


cdef int note_error(Span span, object error) except -1:
    if span.status_number != STATUS_OK and not isinstance(error, (GeneratorExit, StopIteration, StopAsyncIteration)):
        span_fail(span, error)
    return 0


@cython.final
cdef class use_span:
    """Makes a span, or what is known of one, the current one within a block, without beginning or ending it: to hand it to another
    thread, or to a step of a generator. None: there is no current span within."""
    cdef object span
    cdef object tokens

    def __init__(self, span):
        if not (span is None or isinstance(span, (SpanContext, NoSpan))):
            raise TypeError(f"not a span: {span!r}")
        self.span = span

    def __enter__(self):
        if not isinstance(self.span, NoSpan):
            token = vs_context_set(span_variable, self.span)
            with cython.critical_section(self):
                self.tokens = with_token(self.tokens, token)
        return self.span

    def __exit__(self, kind, error, traceback):
        with cython.critical_section(self):
            if self.tokens is not None:
                self.tokens = leave_context(self.span, self.tokens)
        return False


@cython.final
cdef class span_steps:
    """As use_span, for the steps of a generator: the span is current in the first one, and what is so at the end of a step is so again in
    the next, wherever that runs; between them it is as it was. Of a span that does nothing, neither does this."""
    cdef object inner
    cdef object token

    def __init__(self, span):
        self.inner = span

    def __enter__(self):
        if not isinstance(self.inner, NoSpan):
            self.token = vs_context_set(span_variable, self.inner)

    def __exit__(self, kind, error, traceback):
        cdef PyObject *current = NULL
        if self.token is not None:
            vs_context_get(<PyObject *>span_variable, &current)
            self.inner = <object>current if current != NULL else None
            Py_XDECREF(current)
            if vs_context_reset(<PyObject *>span_variable, <PyObject *>self.token) != 0:
                PyErr_Clear()
            self.token = None
        return False


# ---- tracer.span(name, **attributes) ----

cdef extern from *:
    """
    static inline int vs_is_word(PyObject *name, const char *word)
    {
        return PyUnicode_GET_LENGTH(name) == (Py_ssize_t)strlen(word) && PyUnicode_CompareWithASCIIString(name, word) == 0;
    }

    /* Whether one of the names in a call of span() is that of an option, and no attribute's. */
    static inline int vs_has_option(PyObject *names)
    {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
            PyObject *name = PyTuple_GET_ITEM(names, i);
            if (vs_is_word(name, "kind") || vs_is_word(name, "parent") || vs_is_word(name, "links") || vs_is_word(name, "attributes"))
                return 1;
        }
        return 0;
    }
    """
    bint vs_has_option(PyObject *names)


cdef PyObject *hot_span(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    if not (<NativeTracer>self).enabled:
        Py_INCREF(NO_SPAN)
        return <PyObject *>NO_SPAN
    return NEW_SPAN(self, args, n, names)


cdef PyObject *new_span(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) except NULL:
    cdef Span span
    cdef PyObject *values
    if n != 1:
        raise TypeError("span() takes the operation's name, and the rest by name")
    if (<NativeTracer>self).rule is None:
        raise TypeError("the tracer was not initialised")
    span = make_span(<NativeTracer>self, args[0])
    if names != NULL and vs_tuple_size(names) != 0:
        if vs_has_option(names) or vs_tuple_size(names) > span.tracer.attributes_max:
            span_options(span, keywords(args, n, names))
        else:
            values = vs_pack(&args[1], vs_tuple_size(names))
            if values == NULL:
                raise MemoryError
            span.keys = <tuple>names
            span.values = <tuple>values
            Py_XDECREF(values)
    Py_INCREF(span)
    return <PyObject *>span


cdef int span_options(Span span, dict given) except -1:
    kind = given.pop("kind", None)
    if kind is not None:
        if type(kind) is not str or kind not in SPAN_KINDS:
            raise DeclarationError(f"a span's kind is one of {', '.join(SPAN_KINDS)}, not {text_of(kind)!r}")
        span.kind_number = SPAN_KINDS.index(kind)
    parent = given.pop("parent", None)
    if isinstance(parent, SpanContext):
        notes_of(span).asked_parent = parent
    elif isinstance(parent, NoSpan):
        notes_of(span).is_alone = True
    elif parent is not None:
        raise DeclarationError(f"a span's parent is a span or a SpanContext, not {type(parent).__name__}")
    links = given.pop("links", None)
    for context in () if links is None else links:
        span.link(context)
    more = given.pop("attributes", None)
    for key, value in () if more is None else dict(more).items():
        given.setdefault(text_of(key), value)
    if given:
        span.given = within_limit(span, given)
    return 0


cdef FastCall NEW_SPAN = <FastCall>new_span
ctypedef PyObject *(*OneObject)(PyObject *) noexcept
ctypedef PyObject *(*PositionalCall)(PyObject *, PyObject *const *, Py_ssize_t) noexcept
cdef OneObject ENTER = <OneObject>enter
cdef PositionalCall LEAVE = <PositionalCall>leave


def with_span_method(type cls not None) -> type:
    """Gives a subclass of NativeTracer the method `span` as one of its own: of one that is inherited CPython 3.11 knows no shortcut."""
    vs_install(cls, b"span", VS_FAST(<void *>hot_span), METH_FASTCALL | METH_KEYWORDS,
               b"span($self, name, /, *, kind='internal', parent=None, links=(), attributes=None, **more)\n--\n\n"
               b"A span of that operation, to be entered. Its parent is the current span, unless another is given.")
    return cls


with_span_method(NativeTracer)
vs_install(Span, b"__enter__", VS_FAST(<void *>hot_enter), METH_NOARGS, b"__enter__($self, /)\n--\n\nBegins it, as the current span.")
vs_install(Span, b"__exit__", VS_FAST(<void *>hot_exit), METH_FASTCALL, b"Ends it, with an error if one was raised.")
