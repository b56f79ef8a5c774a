# Handles that are never freed, where counting the references to them would cost more than they do.
#
# Without a GIL, CPython 3.13 counts the references of another thread's object atomically: two threads that share a counter
# then pass its reference count to and fro, and get no further than one (throughput 1.0 times that of one thread; 1.9 without).
# It spares its own functions, classes and modules that by making them immortal; this does the same for handles of a permanent
# registry, which the default one and those over files are. What is immortal keeps its series, so that other registries, families from which
# series are removed, and all handles after the first IMMORTALS_MAX go without.
# (Rejected: all handles. A series that is removed, and a registry that is dropped, must give their cells back.)

cdef extern from *:
    """
    /* Only for an object that no other thread has seen; else it does nothing. */
    static void vs_immortalise(PyObject *object)
    {
    #if defined(Py_GIL_DISABLED) && PY_VERSION_HEX < 0x030e0000
        if (!_Py_IsOwnedByCurrentThread(object) || object->ob_ref_shared != 0)
            return;
        PyObject_GC_UnTrack(object);
        object->ob_tid = _Py_UNOWNED_TID;
        object->ob_ref_local = _Py_IMMORTAL_REFCNT_LOCAL;
    #else
        (void)object;
    #endif
    }
    """
    void vs_immortalise(PyObject *object)

DEF IMMORTALS_MAX = 16384
cdef vs_word immortals


cdef void immortalise(Metric handle) noexcept:
    """Before any other thread can see the handle."""
    if handle.family.permanent and vs_load_relaxed(&immortals) < IMMORTALS_MAX:  # relaxed: a few more do no harm
        vs_add_relaxed(&immortals, 1)
        vs_immortalise(<PyObject *>handle)
