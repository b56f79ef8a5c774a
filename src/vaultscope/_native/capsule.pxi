# The door from a Python metric to its native handle: a PyCapsule, as DLPack and Arrow pass pointers between libraries.
#
# The capsule's name is the C type that it points to (vs_counter, vs_gauge, vs_histogram, vs_hdr), so that a wrong kind is refused
# by PyCapsule_GetPointer; its pointer leads into the Python object, which it keeps alive, and so the series and its cells.
# Rejected: an address as an integer (nothing keeps the cells, nothing checks the kind), and a function exported from this
# extension by Cython (only Cython can call it, and each build checks its signature against one version of us).
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_GetPointer, PyCapsule_New, PyCapsule_SetContext, PyCapsule_SetDestructor


cdef void let_go(object capsule) noexcept:
    Py_XDECREF(<PyObject *>PyCapsule_GetContext(capsule))


cdef object capsule_of(Metric metric):
    cdef vs_kind kind
    cdef object capsule
    bound(metric)
    kind = metric.family.kind
    if kind == VS_COUNTER:
        capsule = PyCapsule_New(&(<Counter>metric).cell, b"vs_counter", NULL)
    elif kind == VS_GAUGE:
        capsule = PyCapsule_New(&(<Gauge>metric).cell, b"vs_gauge", NULL)
    elif kind == VS_HISTOGRAM:
        capsule = PyCapsule_New(&(<Histogram>metric).cell, b"vs_histogram", NULL)
    else:
        capsule = PyCapsule_New(&(<HdrHistogram>metric).cell, b"vs_hdr", NULL)
    PyCapsule_SetContext(capsule, <void *>metric)
    Py_INCREF(metric)
    PyCapsule_SetDestructor(capsule, let_go)
    return capsule
