# What a tracer that is switched off gives: one span for all, which costs nothing but the with statement itself.

cdef extern from *:
    """
    /* Its __enter__ and __exit__ are functions, bound once and for all to the only object that there is: binding a method for each
     * with statement costs more than all else. Asked of the class, as ExitStack does, they are given the object in front.
     * (Rejected: an object with a vectorcall of its own, which does not even count its arguments: no faster.) */
    static PyObject *vs_no_enter(PyObject *self, PyObject *const *args, Py_ssize_t n)
    {
        (void)args;
        (void)n;
        Py_INCREF(self);
        return self;
    }

    static PyObject *vs_no_exit(PyObject *self, PyObject *const *args, Py_ssize_t n)
    {
        (void)self;
        (void)args;
        (void)n;
        Py_RETURN_NONE;
    }

    static PyMethodDef vs_no_methods[] = {
        {"__enter__", VS_FAST(vs_no_enter), METH_FASTCALL, "Does nothing."},
        {"__exit__", VS_FAST(vs_no_exit), METH_FASTCALL, "Does nothing."},
    };

    static int vs_bind_for_all(PyObject *object)
    {
        for (size_t i = 0; i < sizeof vs_no_methods / sizeof *vs_no_methods; i++) {
            PyObject *function = PyCFunction_New(&vs_no_methods[i], object);
            if (function == NULL)
                return -1;
            vs_immortalise(function);
            int failed = PyDict_SetItemString(Py_TYPE(object)->tp_dict, vs_no_methods[i].ml_name, function);
            Py_DECREF(function);
            if (failed)
                return -1;
        }
        PyType_Modified(Py_TYPE(object));
        return 0;
    }
    """
    int vs_bind_for_all(PyObject *object) except -1


@cython.final
cdef class NoSpan:
    """What a tracer that is switched off gives: it does nothing, and takes everything."""

    def set(self, **attributes) -> NoSpan:
        return self

    def set_attribute(self, key, value) -> None:
        pass

    def event(self, name, **attributes) -> None:
        pass

    def link(self, context, **attributes) -> None:
        pass

    def ok(self) -> None:
        pass

    def error(self, because="") -> None:
        pass

    def start(self) -> NoSpan:
        return self

    def end(self) -> None:
        pass

    def capsule(self) -> object:
        return scope_capsule(None)

    @property
    def is_recording(self) -> bool:
        return False

    @property
    def context(self) -> None:
        return None


cdef NoSpan NO_SPAN = NoSpan()
vs_immortalise(<PyObject *>NO_SPAN)
vs_bind_for_all(<PyObject *>NO_SPAN)
