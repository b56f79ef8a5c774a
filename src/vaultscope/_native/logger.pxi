# Loggers: a call copies its record into the journal's ring, and returns. The methods are installed as those of hot.pxi are.
from sys import exc_info as current_exception

LEVELS = tuple([vs_level_name(<vs_level>i).decode() for i in range(VS_LEVELS)])

cdef object MESSAGES_OF = 1024  # messages that a limit tells apart


# The level of a context goes before that of a logger. While no context ever had one, no call looks.
cdef vs_word context_levels_in_use
context_level = PyContextVar_New(b"vaultscope.level", NULL)


def use_context_levels() -> None:
    """Says that `context_level` may be set somewhere. Called by vaultscope.signals.log."""
    vs_store_relaxed(&context_levels_in_use, 1)


def set_log_level(str name, str level) -> None:
    """Sets the level of loggers of that name and below it; "" is all. Raises DeclarationError for a level that is none."""
    cdef bytes data = utf8(name)
    check(vs_level_set(borrow(data), level_of(level)), f"level {level}")


def unset_log_level(str name) -> None:
    """Undoes set_log_level: loggers of that name follow the name above it again."""
    cdef bytes data = utf8(name)
    vs_level_unset(borrow(data))


def configure_log_levels(str settings) -> int:
    """Levels as VAULTSCOPE_LOG_LEVEL has them: "info,cas=debug". Returns how many parts were no setting."""
    cdef bytes data = utf8(settings)
    return vs_level_configure(borrow(data))


def log_level_number(str level) -> int:
    """0 for "trace" to 5 for "fatal", 6 for "off". Raises DeclarationError."""
    return level_of(level)


def set_log_vault(str vault) -> None:
    """Names the vault in every record of this process from now on. Raises DeclarationError for more than 255 bytes."""
    cdef bytes data = log_text(vault)
    check(vs_log_set_vault(borrow(data)), "the vault's name, of 255 bytes at most,")


def never_wait_for_room() -> None:
    """The calling thread is one that makes room in rings: it never waits for it, whatever the policy."""
    vs_log_never_wait()


cdef bint find_level(object level, vs_level *found) except -1:
    if not isinstance(level, str):
        return False
    cdef bytes data = utf8(level)
    return vs_level_parse(borrow(data), found)


cdef vs_level level_of(object level) except *:
    cdef vs_level found
    if not find_level(level, &found):
        raise DeclarationError(f"{level!r} is no level; it is one of {', '.join(LEVELS)}, off")
    return found


@cython.final
cdef class Repeats:
    """What a logger holds back of each message: all but `count` in `seconds`, or all but each `every`th."""
    cdef dict seen
    cdef uint64_t count, every
    cdef uint64_t period_ns

    cdef Repeat of(self, object message):
        cdef Repeat result
        cdef PyObject *found = vs_dict_get(<PyObject *>self.seen, <PyObject *>message)
        if found != NULL:
            result = <Repeat>found
            Py_DECREF(found)
            return result
        if len(self.seen) >= MESSAGES_OF:
            message = None  # what comes late shares one
        result = Repeat.__new__(Repeat)
        result.limiter.limit = self.count
        result.limiter.period_ns = self.period_ns
        return self.seen.setdefault(message, result)

    cdef bint passes(self, object message, uint64_t *suppressed) except -1:
        cdef Repeat repeat
        try:
            repeat = self.of(message)
        except Exception:  # it has no hash, or one that fails
            repeat = self.of(None)
        if self.every == 0:
            return vs_limiter_pass(&repeat.limiter, vs_clock_monotonic_ns(), suppressed)
        before = vs_add_relaxed(&repeat.calls, 1)
        suppressed[0] = self.every - 1 if before != 0 else 0
        return before % self.every == 0


@cython.final
cdef class Repeat:
    """One message of them."""
    cdef vs_limiter limiter
    cdef vs_word calls


@cython.final
@cython.no_gc_clear  # it ends before its journal does
cdef class Logger:
    """Logs under a name, with fields that are bound. Get it from `get_logger`; methods never raise.

    log.info("Object stored", hash=digest, size=len(data)): the message is what happened, in words that do not change; the fields
    are what it happened to. A value may be anything; what JSON does not know is written in words. A field exc_info (True, an
    exception, or a triple of sys.exc_info) becomes `exception`, with type, message and traceback."""
    cdef NativeJournal owner
    cdef vs_logger *logger
    cdef const vs_threshold *threshold
    cdef bytes fields
    cdef uint16_t field_count, omitted
    cdef Repeats repeats
    cdef Logger origin  # whose vs_logger this is; None: its own

    def __init__(self):
        raise TypeError("a logger comes from get_logger")

    def __dealloc__(self):
        if self.origin is None and self.logger != NULL:
            vs_logger_close(self.logger)

    @property
    def name(self) -> str:
        return self.logger.name[:self.logger.name_size].decode("utf-8", "replace")

    def enabled(self, str level) -> bool:
        """Whether a record of that level would be logged here and now. Raises DeclarationError for a level that is none."""
        return passes(self, level_of(level))

    def bind(self, **fields) -> Logger:
        """A logger with these fields in each of its records, besides those of this one; a later field of the same name goes before an
        earlier one."""
        cdef Draft draft
        cdef vs_text none = borrow(b"")
        cdef size_t size
        cdef const char *data
        draft_begin(&draft, self.owner.journal.record_bytes, none, none, none)
        try:
            if self.field_count != 0:
                draft_grow(&draft)
                draft_bound_but(&draft, self, {log_text(key) for key in fields})
            for key, value in fields.items():
                draft_field(&draft, key, value)
            data = vs_log_fields(&draft.writer, &size)
            other = copy_of(self)
            (<Logger>other).fields = data[:size]
            (<Logger>other).field_count = draft.writer.field_count
            (<Logger>other).omitted = draft.writer.omitted
            return other
        finally:
            draft_end(&draft)

    def limited(self, count, seconds=1.0) -> Logger:
        """A logger that logs each message at most `count` times in `seconds`; the next one then says how many were held back, in the
        field `suppressed`. Keep it: the counts are its own. Raises DeclarationError."""
        if not isinstance(count, int) or not 1 <= count < 1 << 32 or not 1e-6 <= seconds <= 1e9:
            raise DeclarationError(f"limited() takes a count from 1 on and seconds above 0, got {count!r} and {seconds!r}")
        cdef Repeats repeats = Repeats.__new__(Repeats)
        repeats.seen = {}
        repeats.count = count
        repeats.period_ns = <uint64_t>(<double>seconds * 1e9)
        return with_repeats(self, repeats)

    def sampled(self, every) -> Logger:
        """A logger that logs the first of each message, and each `every`th after it, with how many were held back in the field
        `suppressed`. Keep it: the counts are its own. Raises DeclarationError."""
        if not isinstance(every, int) or not 1 <= every < 1 << 32:
            raise DeclarationError(f"sampled() takes an integer from 1 on, got {every!r}")
        cdef Repeats repeats = Repeats.__new__(Repeats)
        repeats.seen = {}
        repeats.every = every
        return with_repeats(self, repeats)

    def capsule(self) -> object:
        """A PyCapsule named vs_logger, for C: it keeps the logger alive. Fields that are bound, and limits, stay in Python."""
        capsule = PyCapsule_New(self.logger, b"vs_logger", NULL)
        PyCapsule_SetContext(capsule, <void *>self)
        Py_INCREF(self)
        PyCapsule_SetDestructor(capsule, let_go)
        return capsule

    def __repr__(self):
        return f"<vaultscope Logger {self.name!r}>"


cdef Logger copy_of(Logger logger):
    cdef Logger other = Logger.__new__(Logger)
    other.owner, other.logger, other.threshold = logger.owner, logger.logger, logger.threshold
    other.origin = logger if logger.origin is None else logger.origin
    other.fields, other.field_count, other.omitted, other.repeats = logger.fields, logger.field_count, logger.omitted, logger.repeats
    return other


cdef Logger with_repeats(Logger logger, Repeats repeats):
    cdef Logger other = copy_of(logger)
    other.repeats = repeats
    return other


cdef Logger with_field(Logger logger, str key, object value):
    """A logger for one call; without the field if there is no memory for it."""
    try:
        return logger.bind(**{key: value})
    except Exception:
        return logger


cdef inline void draft_bound(Draft *draft, Logger logger) noexcept:
    if logger.field_count != 0:
        if draft.writer.size + PyBytes_GET_SIZE(logger.fields) > draft.writer.capacity:
            draft_grow(draft)
        vs_log_add_all(&draft.writer, PyBytes_AS_STRING(logger.fields), PyBytes_GET_SIZE(logger.fields), logger.field_count)
    draft.writer.omitted += logger.omitted


cdef void draft_bound_but(Draft *draft, Logger logger, set names):
    """The bound fields whose names are none of these: a name that is bound over and over takes room once."""
    cdef const char *at = PyBytes_AS_STRING(logger.fields)
    cdef const char *end = at + PyBytes_GET_SIZE(logger.fields)
    cdef const char *name
    cdef vs_field_head head
    while at != end:
        memcpy(&head, at, sizeof(head))
        name = at + sizeof(head)
        if name[:head.key_size] not in names:
            vs_log_add_all(&draft.writer, at, sizeof(head) + head.key_size + head.value_size, 1)
        at = name + head.key_size + head.value_size
    draft.writer.omitted += logger.omitted


# ---- the call ----

cdef bint passes_in_context(Logger logger, vs_level level) noexcept:
    cdef PyObject *value = NULL
    if vs_context_get(<PyObject *>context_level, &value) == 0 and value != NULL:
        found = <object>value
        Py_DECREF(value)
        if found is not None:
            return level >= <int>found
    return vs_log_enabled(logger.logger, level)


cdef inline bint passes(Logger logger, vs_level level) noexcept:
    if vs_load_relaxed(&context_levels_in_use) != 0:
        return passes_in_context(logger, level)
    return <uint32_t>level >= vs_load_threshold(logger.threshold)


cdef int draft_call(Draft *draft, Logger logger, PyObject *const *args, Py_ssize_t n, PyObject *names, uint64_t suppressed) except -1:
    """The fields of a call."""
    cdef Py_ssize_t i
    cdef vs_text key
    cdef PyObject *name
    cdef PyObject *value
    draft_bound(draft, logger)
    if n > 1:
        draft_field(draft, "args", [<object>args[i] for i in range(1, n)])
    if names != NULL:
        for i in range(vs_tuple_size(names)):
            name, value = vs_tuple_item(names, i), args[n + i]
            key.data = vs_ascii(name, &key.size)
            if key.data == NULL:
                draft_field(draft, <object>name, <object>value)
            elif key.size == 8 and memcmp(key.data, b"exc_info", 8) == 0:
                draft_exception(draft, <object>value)
            elif not draft_scalar(draft, key, value):
                draft_odd(draft, key, <object>value)
    if suppressed != 0:
        draft_field(draft, "suppressed", suppressed)
    return 0


cdef int draft_exception(Draft *draft, object exc_info) except -1:
    if type(exc_info) is bool or type(exc_info) is int:
        exc_info = current_exception()[1] if exc_info else None
    elif isinstance(exc_info, tuple) and len(exc_info) == 3:
        exc_info = exc_info[1]
    if exc_info is not None:
        draft_field(draft, "exception", exc_info)
    return 0


cdef inline void put_draft(Draft *draft, NativeJournal owner, vs_level level) noexcept:
    cdef uint64_t high = 0, low = 0, span = 0
    cdef PyObject *value = NULL
    cdef vs_put put
    if vs_load_relaxed(&spans_in_use) != 0 and vs_context_get(<PyObject *>span_variable, &value) == 0 and value != NULL:
        if is_context(value):
            high, low, span = (<SpanContext>value).high, (<SpanContext>value).low, (<SpanContext>value).span
        Py_DECREF(value)
    vs_log_end(&draft.writer, level, high, low, span)
    if owner.journal.policy != VS_POLICY_BLOCK:
        vs_journal_put(owner.journal, level, draft.writer.data, draft.writer.size)
        return
    put = vs_journal_try_put(owner.journal, level, draft.writer.data, draft.writer.size)
    if put == VS_PUT_FULL:
        with nogil:  # who drains may be a thread of Python
            vs_journal_put(owner.journal, level, draft.writer.data, draft.writer.size)


cdef PyObject *log_call(Logger logger, vs_level level, PyObject *const *args, Py_ssize_t n, PyObject *names) except NULL:
    """Raises what is no Exception alone: KeyboardInterrupt, which is the host's."""
    cdef Draft draft
    cdef vs_text message, name
    cdef uint64_t suppressed = 0
    cdef bytes kept
    name.data, name.size = logger.logger.name, logger.logger.name_size
    message.data = vs_ascii(args[0], &message.size) if n != 0 else NULL
    draft.heap = NULL
    try:
        if logger.repeats is not None and not logger.repeats.passes(<object>args[0] if n != 0 else None, &suppressed):
            vs_counter_inc(logger.owner.journal.suppressed[<int>level])
            return vs_none()
        if message.data == NULL:
            kept = log_text(<object>args[0]) if n != 0 else b""
            message = borrow(kept)
        draft_begin(&draft, logger.owner.journal.record_bytes, name, vs_log_vault(), message)
        draft_call(&draft, logger, args, n, names, suppressed)
        put_draft(&draft, logger.owner, level)
    except Exception:
        vs_counter_inc(logger.owner.journal.dropped[<int>level])  # no memory for what it takes to say it
    finally:
        draft_end(&draft)
    return vs_none()


cdef PyObject *hot_trace(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    return LOG_CALL(<Logger>self, VS_TRACE, args, n, names) if passes(<Logger>self, VS_TRACE) else vs_none()


cdef PyObject *hot_debug(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    return LOG_CALL(<Logger>self, VS_DEBUG, args, n, names) if passes(<Logger>self, VS_DEBUG) else vs_none()


cdef PyObject *hot_info(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    return LOG_CALL(<Logger>self, VS_INFO, args, n, names) if passes(<Logger>self, VS_INFO) else vs_none()


cdef PyObject *hot_warn(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    return LOG_CALL(<Logger>self, VS_WARN, args, n, names) if passes(<Logger>self, VS_WARN) else vs_none()


cdef PyObject *hot_error(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    return LOG_CALL(<Logger>self, VS_ERROR, args, n, names) if passes(<Logger>self, VS_ERROR) else vs_none()


cdef PyObject *hot_fatal(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    return LOG_CALL(<Logger>self, VS_FATAL, args, n, names) if passes(<Logger>self, VS_FATAL) else vs_none()


cdef PyObject *hot_log(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    return LOG_AT(self, args, n, names)


cdef PyObject *log_at(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) except NULL:
    """log(level, message, **fields). A level that is none is an error of its own, told in the record."""
    cdef vs_level level = VS_ERROR
    cdef Logger logger = <Logger>self
    cdef bint is_known = n == 0 or find_level(<object>args[0], &level)
    if level == VS_OFF or not passes(logger, level):
        return vs_none()
    if not is_known:
        logger = with_field(logger, "unknown_level", <object>args[0])
    return log_call(logger, level, args + 1 if n != 0 else args, n - 1 if n != 0 else 0, names)


cdef PyObject *hot_exception(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    return LOG_EXCEPTION(self, args, n, names) if passes(<Logger>self, VS_ERROR) else vs_none()


cdef PyObject *log_exception(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) except NULL:
    exception = current_exception()[1]
    logger = <Logger>self if exception is None else with_field(<Logger>self, "exception", exception)
    return log_call(logger, VS_ERROR, args, n, names)


ctypedef PyObject *(*LogCall)(Logger, vs_level, PyObject *const *, Py_ssize_t, PyObject *) noexcept
cdef LogCall LOG_CALL = <LogCall>log_call
cdef FastCall LOG_AT = <FastCall>log_at
cdef FastCall LOG_EXCEPTION = <FastCall>log_exception

cdef extern from *:
    """
    static inline uint32_t vs_load_threshold(const vs_threshold *threshold) { return vs_load_relaxed((vs_threshold *)threshold); }
    static inline int vs_context_get(PyObject *variable, PyObject **value) { return PyContextVar_Get(variable, NULL, value); }
    static inline PyObject *vs_type_of(PyObject *object) { return (PyObject *)Py_TYPE(object); }
    static inline Py_ssize_t vs_tuple_size(PyObject *tuple) { return PyTuple_GET_SIZE(tuple); }
    static inline PyObject *vs_tuple_item(PyObject *tuple, Py_ssize_t i) { return PyTuple_GET_ITEM(tuple, i); }
    """
    uint32_t vs_load_threshold(const vs_threshold *threshold)
    int vs_context_get(PyObject *variable, PyObject **value)
    PyObject *vs_type_of(PyObject *object)
    Py_ssize_t vs_tuple_size(PyObject *tuple)
    PyObject *vs_tuple_item(PyObject *tuple, Py_ssize_t i)


cdef void install_log_methods() except *:
    cdef int several = METH_FASTCALL | METH_KEYWORDS
    vs_install(Logger, b"trace", VS_FAST(<void *>hot_trace), several, b"trace($self, message, /, **fields)\n--\n\nLogs at level trace.")
    vs_install(Logger, b"debug", VS_FAST(<void *>hot_debug), several, b"debug($self, message, /, **fields)\n--\n\nLogs at level debug.")
    vs_install(Logger, b"info", VS_FAST(<void *>hot_info), several, b"info($self, message, /, **fields)\n--\n\nLogs at level info.")
    vs_install(Logger, b"warn", VS_FAST(<void *>hot_warn), several, b"warn($self, message, /, **fields)\n--\n\nLogs at level warn.")
    vs_install(Logger, b"warning", VS_FAST(<void *>hot_warn), several, b"warning($self, message, /, **fields)\n--\n\nAs warn.")
    vs_install(Logger, b"error", VS_FAST(<void *>hot_error), several, b"error($self, message, /, **fields)\n--\n\nLogs at level error.")
    vs_install(Logger, b"fatal", VS_FAST(<void *>hot_fatal), several,
               b"fatal($self, message, /, **fields)\n--\n\nLogs at level fatal. The process goes on.")
    vs_install(Logger, b"critical", VS_FAST(<void *>hot_fatal), several, b"critical($self, message, /, **fields)\n--\n\nAs fatal.")
    vs_install(Logger, b"exception", VS_FAST(<void *>hot_exception), several,
               b"exception($self, message, /, **fields)\n--\n\nLogs at level error, with the exception that is being handled.")
    vs_install(Logger, b"log", VS_FAST(<void *>hot_log), several,
               b"log($self, level, message, /, **fields)\n--\n\n"
               b"Logs at a level that is given by name. One that is none is logged as an error, which says so.")


install_log_methods()
