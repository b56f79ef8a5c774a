"""`cimport vaultscope`: the C interface of libvaultscope, and the native handles of Python's metrics.

    from vaultscope cimport vs_counter, vs_counter_inc, vs_counter_of

    cdef vs_counter puts = vs_counter_of(registry.counter("cas.put.count"))
    with nogil:
        vs_counter_inc(puts)

Compile with `vaultscope.get_include()` and link with libvaultscope.so in `vaultscope.get_library_dirs()`.

A handle is a plain struct: copy it freely, use it without the GIL, from any thread. It is valid as long as the metric
object that it was taken from is alive (or a capsule of it): keep that object beside it, or a removed series' cells
may be given to another. The vs_*_of functions need the GIL; each raises TypeError for a metric of another kind, and
DeclarationError for a family with labels: take the child that `labels()` gives.

A logger writes into Python's journal, without the GIL too; take it once, and keep the Python object:

    cdef const vs_logger *log = vs_logger_of(get_logger("cas"))
    with nogil:
        vs_log(log, VS_INFO, "Object stored", vs_field_u64("size", size))

Spans below one of Python's, as long as that one is open (vaultscope/span.h):

    cdef vs_span_scope scope = vs_scope_of(span)
    cdef vs_span below
    with nogil:
        vs_span_start(&below, &scope, name)
        vs_span_end(&below, VS_SPAN_OK)
"""
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid

from vaultscope._native.native cimport *


cdef inline object vs_capsule_of(object owner, const char *kind):
    """The capsule of a metric, a logger or a span, if it is of this kind."""
    if vs_abi() != VS_ABI:
        raise ImportError("this module was built against another version of vaultscope: build it again")
    capsule = owner.capsule()
    if not PyCapsule_IsValid(capsule, kind):
        raise TypeError(f"{owner!r} has no {kind.decode()}")
    return capsule


cdef inline void *vs_handle_in(object metric, const char *kind) except NULL:
    """What the capsule of a metric of this kind points to; alive as long as the metric is."""
    return PyCapsule_GetPointer(vs_capsule_of(metric, kind), kind)


cdef inline vs_counter vs_counter_of(object metric) except *:
    return (<vs_counter *>vs_handle_in(metric, b"vs_counter"))[0]


cdef inline vs_gauge vs_gauge_of(object metric) except *:
    return (<vs_gauge *>vs_handle_in(metric, b"vs_gauge"))[0]


cdef inline vs_histogram vs_histogram_of(object metric) except *:
    return (<vs_histogram *>vs_handle_in(metric, b"vs_histogram"))[0]


cdef inline vs_hdr vs_hdr_of(object metric) except *:
    return (<vs_hdr *>vs_handle_in(metric, b"vs_hdr"))[0]


cdef inline const vs_logger *vs_logger_of(object logger) except NULL:
    """Fields that are bound to it, and its limits, stay in Python."""
    return <const vs_logger *>vs_handle_in(logger, b"vs_logger")


cdef inline vs_span_scope vs_scope_of(object span) except *:
    """Where C's spans below a span of Python's belong; valid as long as that one is open."""
    capsule = vs_capsule_of(span, b"vs_span_scope")
    return (<vs_span_scope *>PyCapsule_GetPointer(capsule, b"vs_span_scope"))[0]
