# cython: language_level=3, binding=False, always_allow_keywords=False, embedsignature=True, embedsignature.format=python
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, freethreading_compatible=True
"""The one extension: Python objects over the C core. One noun a file; this page lists them in order of need."""
from cpython.buffer cimport (PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDED_RO, PyBUF_STRIDES, PyBuffer_FillInfo, PyBuffer_IsContiguous, PyBuffer_Release,
                             PyObject_CheckBuffer, PyObject_GetBuffer)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_CheckExact, PyUnicode_DecodeUTF8
from libc.math cimport NAN, isfinite, llrint
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, INT64_MAX
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset
cimport cython

from vaultscope._native.native cimport *

from vaultscope.errors import (ArenaError, BusyError, DeclarationConflictError, DeclarationError, DecodeError, LimitError,
                               NativeError, NotFoundError)

include "status.pxi"
include "text.pxi"
include "numbers.pxi"
include "family.pxi"
include "metric.pxi"
include "immortal.pxi"
include "hot.pxi"
include "counter.pxi"
include "gauge.pxi"
include "timer.pxi"
include "histogram.pxi"
include "hdr_counts.pxi"
include "hdr.pxi"
include "capsule.pxi"
include "snapshot.pxi"
include "registry.pxi"
include "span_context.pxi"
include "draft.pxi"
include "logger.pxi"
include "journal.pxi"
include "drain.pxi"
include "tracer.pxi"
include "span.pxi"
include "span_life.pxi"
include "span_with.pxi"
include "no_span.pxi"
include "native_span.pxi"
include "trace_headers.pxi"
