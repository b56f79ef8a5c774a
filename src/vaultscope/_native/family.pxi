# What the handles of one declared metric share: its declaration, its native object, and the children bound so far.
#
# Threads and the children, also without a GIL. The dictionary is never replaced, and each single step on it is whole. What
# takes several steps is bind-then-keep, while another thread may remove the series in between: so a child carries the
# generation that it was bound in, remove() and clear() first take the series out and then begin a new generation, and
# labels() gives out no child of an old one. A late `keep` does no harm then, and no lock is held that a fork could catch.
# (Rejected: comparing generations just before keeping, which is enough only where a GIL makes the two one step.)

cdef extern from *:
    """
    /* A new reference to dict[key], or NULL without an exception. (Cython's own dict.get() borrows in between, and without a
     * GIL another thread may free what is borrowed.) */
    static inline PyObject *vs_dict_get(PyObject *dict, PyObject *key)
    {
    #if PY_VERSION_HEX >= 0x030d0000
        PyObject *found = NULL;
        if (PyDict_GetItemRef(dict, key, &found) < 0)
            PyErr_Clear();
        return found;
    #else
        PyObject *found = PyDict_GetItemWithError(dict, key);
        Py_XINCREF(found);
        return found;
    #endif
    }
    """
    PyObject *vs_dict_get(PyObject *dict, PyObject *key)
    uint64_t vs_load_acquire(const vs_word *word)
    uint64_t vs_load_relaxed(const vs_word *word)
    uint64_t vs_add_relaxed(vs_word *word, uint64_t n)
    void vs_store_relaxed(vs_word *word, uint64_t value)
    void vs_add_release(vs_word *word, uint64_t n)


cdef object entry(dict entries, object key):
    """entries[key], or None."""
    cdef PyObject *found = vs_dict_get(<PyObject *>entries, <PyObject *>key)
    if found == NULL:
        return None
    value = <object>found
    Py_DECREF(found)
    return value


KINDS = {"counter": VS_COUNTER, "gauge": VS_GAUGE, "histogram": VS_HISTOGRAM, "hdr": VS_HDR}
MODES = {"last": VS_GAUGE_LAST, "sum": VS_GAUGE_SUM, "min": VS_GAUGE_MIN, "max": VS_GAUGE_MAX, "all": VS_GAUGE_ALL}

# Bound children kept for labels(): enough for any family that is not itself an incident. When it is full it is emptied;
# the next labels() finds the series again in the C core, some hundred nanoseconds slower.
DEF CHILDREN_MAX = 4096


@cython.final
cdef class Family:
    """One declared metric. Made by NativeRegistry.declare; Python code sees it as the handle's attributes."""
    cdef vs_metric *metric
    cdef vs_kind kind
    cdef uint32_t arena
    cdef uint64_t losses
    cdef double units_per_ns  # what time() multiplies nanoseconds with; 0: the unit is not one of time
    cdef bint pedantic
    cdef bint permanent       # lives as long as the process: see immortal.pxi
    cdef dict children        # str, or tuple of str -> child
    cdef vs_word generation   # of the children that labels() may give out
    cdef readonly str name, help, unit
    cdef readonly tuple label_names, bounds, quantiles, hdr_range

    def __cinit__(self):
        self.children = {}

    def __dealloc__(self):
        if self.metric != NULL:
            vs_metric_release(self.metric)

    cdef dict losses_by_kind(self):
        """What this metric lost or bent, by kind, since it was declared."""
        return {name: vs_metric_loss_read(self.metric, <vs_loss>i) for i, name in enumerate(LOSSES)}

    cdef int forget_children(self) except -1:
        # G1: release; pairs with G2 in child_of. Without it a child bound before the series went might carry the new number.
        vs_add_release(&self.generation, 1)
        self.children.clear()
        return 0

    cdef vs_series *bind(self, tuple values) except NULL:
        """The series with these label values, retained."""
        cdef vs_series *series = NULL
        texts = _Texts(values)
        check(vs_metric_bind(self.metric, texts.items, texts.size, &series), self.name)
        return series

    cdef tuple in_order(self, tuple values, dict by_name):
        """Label values in declared order, from positions or names."""
        if values and by_name:
            raise DeclarationError(f"{self.name}: label values by position or by name, not both")
        if by_name:
            if by_name.keys() != set(self.label_names):
                raise DeclarationError(f"{self.name}: wanted labels {self.label_names}, got {tuple(by_name)}")
            return tuple([by_name[name] for name in self.label_names])
        if len(values) != len(self.label_names):
            raise DeclarationError(f"{self.name}: wanted {len(self.label_names)} label values "
                                   f"for {self.label_names}, got {len(values)}")
        return values


LOSSES = ("invalid", "clamped_low", "clamped_high", "overflowed", "truncated")


cdef int lose(Family family, vs_loss kind, type error, str message) except -1:
    """Counts what a hot call could not take. Raises only where the registry is pedantic."""
    vs_loss_add(family.arena, family.losses, kind, 1)
    if family.pedantic:
        raise error(f"{family.name}: {message}")
    return 0
