# The methods that are called a million times a second.
#
# Cython's own wrappers cost more than the work inside: they parse arguments and keep room for errors on the stack. So these are
# C functions in CPython's own calling conventions, put into the type's dictionary as ordinary method descriptors, which is what
# the interpreter specialises. Each is a fast path for the usual case, and else a jump to its slow half through a pointer, which
# the compiler cannot pull into the fast path. (benchmarks/bench_counter.py measures it against a bare C method.)

cdef extern from *:
    """
    #define VS_FAST(f) ((PyCFunction)(void (*)(void))(f))

    /* The definition must live as long as the type: it is never freed. */
    static int vs_install(PyTypeObject *type, const char *name, PyCFunction function, int flags, const char *doc)
    {
        PyMethodDef *method = PyMem_RawMalloc(sizeof *method);
        if (method == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        method->ml_name = name;
        method->ml_meth = function;
        method->ml_flags = flags;
        method->ml_doc = doc;
        PyObject *descriptor = PyDescr_NewMethod(type, method);
        if (descriptor == NULL)
            return -1;
        int failed = PyDict_SetItemString(type->tp_dict, name, descriptor);
        Py_DECREF(descriptor);
        PyType_Modified(type);
        return failed;
    }

    static inline PyObject *vs_none(void) { Py_RETURN_NONE; }

    static inline PyObject *vs_pack(PyObject *const *args, Py_ssize_t n)
    {
        PyObject *tuple = PyTuple_New(n);
        if (tuple == NULL) {
            PyErr_Clear();
            return NULL;
        }
        for (Py_ssize_t i = 0; i < n; i++) {
            Py_INCREF(args[i]);
            PyTuple_SET_ITEM(tuple, i, args[i]);
        }
        return tuple;
    }

    static inline int vs_all_strings(PyObject *const *args, Py_ssize_t n)
    {
        for (Py_ssize_t i = 0; i < n; i++)
            if (!PyUnicode_CheckExact(args[i]))
                return 0;
        return 1;
    }
    """
    ctypedef void *PyCFunctionPointer "PyCFunction"
    PyCFunctionPointer VS_FAST(void *function)
    int vs_install(type cls, const char *name, PyCFunctionPointer function, int flags, const char *doc) except -1
    int METH_FASTCALL
    int METH_KEYWORDS
    int METH_O
    int METH_NOARGS
    PyObject *vs_none()
    PyObject *vs_pack(PyObject *const *args, Py_ssize_t n)
    bint vs_all_strings(PyObject *const *args, Py_ssize_t n)
    void Py_XDECREF(PyObject *)


# "noexcept" here means that nothing is added to what a C function of CPython does: NULL is an error that is set already.
ctypedef PyObject *(*FastCall)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *) noexcept
ctypedef PyObject *(*OneArgument)(PyObject *, PyObject *) noexcept
ctypedef PyObject *(*AfterObservation)(Metric, double) noexcept


cdef dict keywords(PyObject *const *args, Py_ssize_t n, PyObject *names):
    """The keyword arguments of a vectorcall."""
    cdef dict by_name = {}
    if names != NULL:
        for i, name in enumerate(<tuple>names):
            by_name[name] = <object>args[n + i]
    return by_name


cdef object one_amount(str method, PyObject *const *args, Py_ssize_t n, PyObject *names):
    """The argument `amount` of inc or dec, by position or name; 1 if it is not there."""
    by_name = keywords(args, n, names)
    if n + len(by_name) > 1 or (by_name and "amount" not in by_name):
        raise TypeError(f"{method}() takes one optional argument, amount")
    return by_name["amount"] if by_name else (<object>args[0] if n == 1 else 1)


# ---- labels(...) ----

cdef PyObject *hot_labels(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    cdef PyObject *found
    cdef PyObject *key
    if names == NULL and n >= 1 and vs_all_strings(args, n) and <PyObject *>(<Metric>self).family != <PyObject *>None:
        if n == 1:
            found = vs_dict_get(<PyObject *>(<Metric>self).family.children, args[0])
        else:
            key = vs_pack(args, n)
            found = vs_dict_get(<PyObject *>(<Metric>self).family.children, key) if key != NULL else NULL
            Py_XDECREF(key)
        # Relaxed: who calls after remove() has returned has seen its number; who calls meanwhile may get either child.
        if found != NULL and (<Metric>self).series == NULL and \
                (<Metric>found).generation == vs_load_relaxed(&(<Metric>self).family.generation):
            return found
        Py_XDECREF(found)
    return SLOW_LABELS(self, args, n, names)


cdef PyObject *slow_labels(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) except NULL:
    child = child_of(<Metric>self, tuple([<object>args[i] for i in range(n)]), keywords(args, n, names))
    Py_INCREF(child)
    return <PyObject *>child


# ---- Counter.inc(amount=1) ----

cdef PyObject *hot_counter_inc(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    if n == 0 and names == NULL and vs_counter_try_add((<Counter>self).cell, 1):
        return vs_none()
    return SLOW_COUNTER_INC(self, args, n, names)


cdef PyObject *slow_counter_inc(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) except NULL:
    if n == 1 and names == NULL:
        return counter_add(self, args[0])
    amount = one_amount("inc", args, n, names)
    return counter_add(self, <PyObject *>amount)


cdef PyObject *counter_add(PyObject *self, PyObject *amount) except NULL:
    cdef long long integer = 0
    cdef double real = 0.0
    cdef bint written = False
    kind = read_number(amount, &integer, &real)
    if kind == IS_INTEGER and integer >= 0:
        written = vs_counter_add((<Counter>self).cell, <uint64_t>integer)
    elif kind == IS_REAL and real >= 0.0 and isfinite(real):
        written = vs_counter_add_double((<Counter>self).cell, real)
    else:
        bound(<Metric>self)
        lose((<Metric>self).family, VS_LOSS_INVALID, TypeError if kind == IS_INVALID else ValueError,
             "inc() takes a finite number that is not negative")
        return vs_none()
    if not written:
        bound(<Metric>self)
    return vs_none()


# ---- Gauge.set(value), inc(amount=1), dec(amount=1) ----

cdef PyObject *hot_gauge_set(PyObject *self, PyObject *value) noexcept:
    if vs_float_is_float(value) and (<Gauge>self).cell.base != NULL:
        vs_gauge_set((<Gauge>self).cell, vs_float_value(value))
        return vs_none()
    return SLOW_GAUGE_SET(self, value)


cdef PyObject *slow_gauge_set(PyObject *self, PyObject *value) except NULL:
    cdef double real = 0.0
    bound(<Metric>self)
    if read_double(value, &real):
        vs_gauge_set((<Gauge>self).cell, real)
    else:
        lose((<Metric>self).family, VS_LOSS_INVALID, TypeError, "not a number")
    return vs_none()


cdef PyObject *hot_gauge_inc(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    if n == 0 and names == NULL and (<Gauge>self).cell.base != NULL:
        vs_gauge_add((<Gauge>self).cell, 1.0)
        return vs_none()
    return SLOW_GAUGE_INC(self, args, n, names)


cdef PyObject *hot_gauge_dec(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) noexcept:
    if n == 0 and names == NULL and (<Gauge>self).cell.base != NULL:
        vs_gauge_add((<Gauge>self).cell, -1.0)
        return vs_none()
    return SLOW_GAUGE_DEC(self, args, n, names)


cdef PyObject *slow_gauge_inc(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) except NULL:
    amount = one_amount("inc", args, n, names)
    return gauge_step(self, <PyObject *>amount, 1.0)


cdef PyObject *slow_gauge_dec(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) except NULL:
    amount = one_amount("dec", args, n, names)
    return gauge_step(self, <PyObject *>amount, -1.0)


cdef PyObject *gauge_step(PyObject *self, PyObject *amount, double sign) except NULL:
    cdef double real = 0.0
    bound(<Metric>self)
    if read_double(amount, &real):
        vs_gauge_add((<Gauge>self).cell, sign * real)
    else:
        lose((<Metric>self).family, VS_LOSS_INVALID, TypeError, "not a number")
    return vs_none()


# ---- Histogram.observe(value) ----

cdef PyObject *hot_observe(PyObject *self, PyObject *value) noexcept:
    if vs_float_is_float(value) and vs_histogram_try_observe(&(<Histogram>self).cell, vs_float_value(value)):
        if vs_load_relaxed(&spans_in_use) != 0:
            return OBSERVED(<Metric>self, vs_float_value(value))
        return vs_none()
    return SLOW_OBSERVE(self, value)


cdef PyObject *slow_observe(PyObject *self, PyObject *value) except NULL:
    cdef double real = NAN
    bound(<Metric>self)
    if not read_double(value, &real):
        lose((<Metric>self).family, VS_LOSS_INVALID, TypeError, "not a number")
    elif vs_histogram_observe(&(<Histogram>self).cell, real):
        after_observation(<Metric>self, real)
    elif (<Metric>self).family.pedantic:
        raise ValueError(f"{(<Metric>self).family.name}: not a finite number")
    return vs_none()


# ---- HdrHistogram.record(value) ----

cdef PyObject *hot_record(PyObject *self, PyObject *value) noexcept:
    cdef long long integer = 0
    if vs_long_is_long(value) and vs_read_compact(value, &integer) and \
            vs_hdr_try_record(&(<HdrHistogram>self).cell, integer):
        if vs_load_relaxed(&spans_in_use) != 0:
            return OBSERVED(<Metric>self, <double>integer)
        return vs_none()
    return SLOW_RECORD(self, value)


cdef PyObject *slow_record(PyObject *self, PyObject *value) except NULL:
    cdef long long integer = 0
    cdef bint in_range
    bound(<Metric>self)
    if read_rounded(<HdrHistogram>self, value, &integer):
        in_range = vs_hdr_record(&(<HdrHistogram>self).cell, integer)
        after_observation(<Metric>self, <double>integer)
        if not in_range and (<Metric>self).family.pedantic:
            raise ValueError(f"{(<Metric>self).family.name}: {<object>value} is not in 0..{(<HdrHistogram>self).highest}")
    return vs_none()


# The slow halves, behind pointers: see above.
cdef FastCall SLOW_LABELS = <FastCall>slow_labels
cdef FastCall SLOW_COUNTER_INC = <FastCall>slow_counter_inc
cdef FastCall SLOW_GAUGE_INC = <FastCall>slow_gauge_inc
cdef FastCall SLOW_GAUGE_DEC = <FastCall>slow_gauge_dec
cdef OneArgument SLOW_GAUGE_SET = <OneArgument>slow_gauge_set
cdef OneArgument SLOW_OBSERVE = <OneArgument>slow_observe
cdef OneArgument SLOW_RECORD = <OneArgument>slow_record
cdef AfterObservation OBSERVED = <AfterObservation>observed


cdef void install_hot_methods() except *:
    cdef int several = METH_FASTCALL | METH_KEYWORDS
    cdef const char *labels_doc = (
        b"labels($self, /, *values, **by_name)\n--\n\n"
        b"The child with these label values (by position, or all by name), made at first use. Keep it where it is hot.\n\n"
        b"Values that are no strings are str()ed. Past the metric's series limit the overflow series is returned (every\n"
        b"value is `_overflow`) and the loss is counted. Raises DeclarationError for a wrong number of labels.")
    for cls in (Counter, Gauge, Histogram, HdrHistogram):
        vs_install(cls, b"labels", VS_FAST(<void *>hot_labels), several, labels_doc)
    vs_install(Counter, b"inc", VS_FAST(<void *>hot_counter_inc), several,
               b"inc($self, /, amount=1)\n--\n\n"
               b"Adds an amount: integers exactly, floats beside them. A negative, infinite or NaN amount, or what is no\n"
               b"number, is counted as invalid and never raised (but by a pedantic registry).")
    vs_install(Gauge, b"set", VS_FAST(<void *>hot_gauge_set), METH_O,
               b"set($self, value, /)\n--\n\nSets the value. What is no number is counted as invalid.")
    vs_install(Gauge, b"inc", VS_FAST(<void *>hot_gauge_inc), several,
               b"inc($self, /, amount=1)\n--\n\nAdds to the value.")
    vs_install(Gauge, b"dec", VS_FAST(<void *>hot_gauge_dec), several,
               b"dec($self, /, amount=1)\n--\n\nSubtracts from the value.")
    vs_install(Histogram, b"observe", VS_FAST(<void *>hot_observe), METH_O,
               b"observe($self, value, /)\n--\n\n"
               b"Records one value, in the unit of the bounds. What is not finite or no number is counted as invalid.")
    vs_install(HdrHistogram, b"record", VS_FAST(<void *>hot_record), METH_O,
               b"record($self, value, /)\n--\n\n"
               b"Records one value, in the declared unit: an integer, or a float, which is rounded.")
