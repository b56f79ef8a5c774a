# Numbers from outside: arguments of hot calls, and buffers of many values. Nothing here raises for a bad value:
# it is told apart, so that the caller can count it.

ctypedef enum NumberKind:
    IS_INVALID  # no number
    IS_INTEGER
    IS_REAL     # NaN and the infinities too
    IS_HUGE     # an integer beyond 64 bits: read as the nearest double, which may be infinite

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    void Py_DECREF(PyObject *value)

cdef extern from *:
    """
    static double vs_nearest_double(PyObject *number, int sign)
    {
        double real = PyLong_AsDouble(number);
        if (real == -1.0 && PyErr_Occurred()) {
            PyErr_Clear();
            return sign * Py_HUGE_VAL;
        }
        return real;
    }

    /* The slow half of reading a number: subclasses, numpy scalars, Decimal, anything with __index__ or __float__.
     * Its own exceptions are swallowed: a hot call does not raise. */
    static int vs_read_odd_number(PyObject *value, long long *integer, double *real)
    {
        PyObject *number = PyIndex_Check(value) ? PyNumber_Index(value) : NULL;
        if (number != NULL) {
            int overflow = 0;
            *integer = PyLong_AsLongLongAndOverflow(number, &overflow);
            if (overflow != 0)
                *real = vs_nearest_double(number, overflow);
            Py_DECREF(number);
            return overflow == 0 ? 1 : 3;
        }
        PyErr_Clear();
        /* float("3") is a conversion, not a number; so is float() of any other buffer of text. */
        if (!PyNumber_Check(value) || PyUnicode_Check(value) || PyBytes_Check(value))
            return 0;
        number = PyNumber_Float(value);
        if (number == NULL) {
            PyErr_Clear();
            return 0;
        }
        *real = PyFloat_AS_DOUBLE(number);
        Py_DECREF(number);
        return 2;
    }
    /* An int of one digit (up to 2^30), as most are: read in place instead of by a call. */
    static inline int vs_read_compact(PyObject *value, long long *integer)
    {
    #if PY_VERSION_HEX >= 0x030c0000
        if (!PyUnstable_Long_IsCompact((PyLongObject *)value))
            return 0;
        *integer = (long long)PyUnstable_Long_CompactValue((PyLongObject *)value);
    #else
        Py_ssize_t size = Py_SIZE(value);
        if (size < -1 || size > 1)
            return 0;
        *integer = size * (long long)(size != 0 ? ((PyLongObject *)value)->ob_digit[0] : 0);
    #endif
        return 1;
    }
    """
    bint vs_read_compact(PyObject *value, long long *integer)
    int vs_read_odd_number(PyObject *value, long long *integer, double *real)
    double vs_nearest_double(PyObject *number, int sign)
    bint vs_long_is_long "PyLong_CheckExact" (PyObject *value)
    bint vs_float_is_float "PyFloat_CheckExact" (PyObject *value)
    double vs_float_value "PyFloat_AS_DOUBLE" (PyObject *value)


cdef inline NumberKind read_number(PyObject *value, long long *integer, double *real) noexcept:
    """A Python number as an exact integer of 64 bits or as a double (which may be NaN)."""
    cdef int overflow = 0
    if vs_float_is_float(value):
        real[0] = vs_float_value(value)
        return IS_REAL
    if vs_long_is_long(value):
        if vs_read_compact(value, integer):
            return IS_INTEGER
        integer[0] = PyLong_AsLongLongAndOverflow(<object>value, &overflow)
        if overflow == 0:
            return IS_INTEGER
        real[0] = vs_nearest_double(value, overflow)
        return IS_HUGE
    return <NumberKind>vs_read_odd_number(value, integer, real)


cdef inline bint read_double(PyObject *value, double *real) noexcept:
    """As read_number, where only a double is wanted. False if it is no number."""
    cdef long long integer = 0
    if vs_float_is_float(value):
        real[0] = vs_float_value(value)
        return True
    kind = read_number(value, &integer, real)
    if kind == IS_INTEGER:
        real[0] = <double>integer
    return kind != IS_INVALID


ctypedef fused Item:
    signed char
    unsigned char
    short
    unsigned short
    int
    unsigned int
    long long
    unsigned long long
    float
    double


cdef void convert(Item *kind, const char *at, ptrdiff_t stride, size_t n, double *out) noexcept nogil:
    cdef Item item
    for i in range(n):
        memcpy(&item, at, sizeof(Item))
        out[i] = <double>item
        at += stride


cdef int read_items(char code, Py_ssize_t itemsize, const char *at, ptrdiff_t stride, size_t n, double *out) noexcept nogil:
    """Reads n items of a buffer format as doubles. 0 if the format is not a plain number in native order."""
    if code == c'd':
        convert(<double *>NULL, at, stride, n, out)
    elif code == c'f':
        convert(<float *>NULL, at, stride, n, out)
    elif code in (c'b', c'h', c'i', c'l', c'q', c'n'):
        if itemsize == 8:
            convert(<long long *>NULL, at, stride, n, out)
        elif itemsize == 4:
            convert(<int *>NULL, at, stride, n, out)
        elif itemsize == 2:
            convert(<short *>NULL, at, stride, n, out)
        else:
            convert(<signed char *>NULL, at, stride, n, out)
    elif code in (c'B', c'H', c'I', c'L', c'Q', c'N', c'?', c'c'):
        if itemsize == 8:
            convert(<unsigned long long *>NULL, at, stride, n, out)
        elif itemsize == 4:
            convert(<unsigned int *>NULL, at, stride, n, out)
        elif itemsize == 2:
            convert(<unsigned short *>NULL, at, stride, n, out)
        else:
            convert(<unsigned char *>NULL, at, stride, n, out)
    else:
        return 0
    return 1


cdef class _Items:
    """A buffer of numbers, seen as one run of n items `stride` bytes apart, whatever its kind of number."""
    cdef Py_buffer view
    cdef bint held
    cdef char code
    cdef size_t n
    cdef ptrdiff_t stride

    def __cinit__(self, source):
        PyObject_GetBuffer(source, &self.view, PyBUF_STRIDED_RO | PyBUF_FORMAT)
        self.held = True
        cdef bytes form = self.view.format if self.view.format != NULL else b"B"
        if form[:1] in (b"@", b"="):
            form = form[1:]
        elif form[:1] == NATIVE_ORDER and self.view.itemsize > 1:
            form = form[1:]
        if len(form) != 1 or form not in b"bBhHiIlLqQnNfd?":
            raise TypeError(f"a buffer of format {(<bytes>self.view.format).decode()!r}: "
                            "wanted integers or floats in native byte order")
        self.code = form[0]
        if self.view.ndim == 0:
            self.n, self.stride = 1, self.view.itemsize
        elif self.view.ndim == 1:
            self.n = self.view.shape[0]
            self.stride = self.view.strides[0] if self.view.strides != NULL else self.view.itemsize
        elif PyBuffer_IsContiguous(&self.view, c'A'):
            self.n, self.stride = self.view.len // self.view.itemsize, self.view.itemsize
        else:
            raise ValueError("a buffer of several dimensions must be contiguous (numpy.ascontiguousarray)")

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef inline bint are_int64(self):
        """True if the items are signed integers of eight bytes, so that C can walk them in place."""
        return self.code in (c'q', c'l', c'n') and self.view.itemsize == 8

    cdef inline const char *at(self, size_t i) noexcept nogil:
        return <const char *>self.view.buf + <ptrdiff_t>i * self.stride


import sys as _sys
cdef bytes NATIVE_ORDER = b"<" if _sys.byteorder == "little" else b">"


# The struct module's codes of eight-byte items.
cdef const char *UINT64_ITEM = "Q"
cdef const char *DOUBLE_ITEM = "d"


cdef int fill_buffer(Py_buffer *buffer, object owner, void *items, Py_ssize_t *shape, const char *form, int flags) except -1:
    """Answers a buffer request with a read-only run of shape[0] eight-byte items that `owner` keeps alive."""
    PyBuffer_FillInfo(buffer, owner, items, shape[0] * 8, 1, flags)  # refuses a request to write
    buffer.itemsize = 8
    buffer.format = <char *>form if flags & PyBUF_FORMAT else NULL
    buffer.shape = shape if flags & PyBUF_ND else NULL
    buffer.strides = &buffer.itemsize if flags & PyBUF_STRIDES == PyBUF_STRIDES else NULL
    return 0
