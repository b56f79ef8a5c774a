# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The store: objects found by the first bytes of their SHA-256 in an open table; one lock, held for a look-up."""
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from cpython.pythread cimport (PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock,
                               PyThread_type_lock, WAIT_LOCK)
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

from vaultscope cimport (vs_clock_monotonic_ns, vs_counter, vs_counter_add, vs_counter_inc, vs_counter_of, vs_hdr, vs_hdr_of,
                         vs_hdr_record)

cdef extern from "sha256.h" nogil:
    void sha256(const void *data, size_t size, uint8_t *digest)

cdef struct Entry:
    uint8_t digest[32]
    size_t size
    uint8_t *data  # NULL: free


cdef class Store:
    """Store(registry, capacity): put_many(buffer, size) cuts a buffer into objects, get(digest) reads one.

    What it does is counted in `registry` as cas.put.count{result}, cas.put.bytes and cas.put.duration."""
    cdef object metrics  # the Python metrics; alive as long as the handles below are used
    cdef vs_counter stored, duplicate, put_bytes
    cdef vs_hdr put_duration
    cdef Entry *entries
    cdef size_t mask, used
    cdef PyThread_type_lock lock

    def __cinit__(self, registry, int bits=16):
        puts = registry.counter("cas.put.count", "CAS put operations", labels=("result",))
        stored, duplicate = puts.labels("stored"), puts.labels("duplicate")
        size = registry.counter("cas.put.bytes", "Bytes stored", unit="bytes")
        duration = registry.hdr_histogram("cas.put.duration", "Put latency", unit="ns")
        self.metrics = (stored, duplicate, size, duration)
        self.stored = vs_counter_of(stored)
        self.duplicate = vs_counter_of(duplicate)
        self.put_bytes = vs_counter_of(size)
        self.put_duration = vs_hdr_of(duration)
        self.mask = (<size_t>1 << bits) - 1
        self.entries = <Entry *>PyMem_RawCalloc(self.mask + 1, sizeof(Entry))
        self.lock = PyThread_allocate_lock()
        if self.entries == NULL or self.lock == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.entries != NULL:
            for i in range(self.mask + 1):
                PyMem_RawFree(self.entries[i].data)
            PyMem_RawFree(self.entries)
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    def put_many(self, const uint8_t[::1] data, size_t size):
        """Puts each `size` bytes of a buffer, the last one perhaps shorter, and returns how many objects that were.
        Not one Python object is touched meanwhile: other threads run. Raises MemoryError when the store is full."""
        cdef size_t at = 0, done = 0, total = data.shape[0], piece
        cdef bint room = True
        if size == 0:
            raise ValueError("an object has at least one byte")
        with nogil:
            while at < total and room:
                piece = min(size, total - at)
                room = self.put(&data[at], piece)
                done += room
                at += piece
        if not room:
            raise MemoryError(f"no room after {done} objects")
        return done

    cdef bint put(self, const uint8_t *data, size_t size) noexcept nogil:
        cdef int64_t start = vs_clock_monotonic_ns()
        cdef uint8_t digest[32]
        cdef Entry *entry
        cdef bint room = True
        sha256(data, size, digest)
        PyThread_acquire_lock(self.lock, WAIT_LOCK)
        entry = self.find(digest)
        if entry.data != NULL:
            vs_counter_inc(self.duplicate)
        else:
            room = self.fill(entry, digest, data, size)
        PyThread_release_lock(self.lock)
        vs_hdr_record(&self.put_duration, vs_clock_monotonic_ns() - start)
        return room

    cdef bint fill(self, Entry *entry, const uint8_t *digest, const uint8_t *data, size_t size) noexcept nogil:
        cdef uint8_t *copy = <uint8_t *>PyMem_RawMalloc(size) if self.used < self.mask else NULL  # one stays free
        if copy == NULL:
            return False
        memcpy(copy, data, size)
        memcpy(entry.digest, digest, 32)
        entry.size = size
        entry.data = copy
        self.used += 1
        vs_counter_inc(self.stored)
        vs_counter_add(self.put_bytes, size)
        return True

    cdef Entry *find(self, const uint8_t *digest) noexcept nogil:
        """The entry of this digest, or the free one where it belongs. Under the lock."""
        cdef uint64_t at
        memcpy(&at, digest, sizeof(at))
        while self.entries[at & self.mask].data != NULL and memcmp(self.entries[at & self.mask].digest, digest, 32) != 0:
            at += 1
        return &self.entries[at & self.mask]

    def get(self, bytes digest not None):
        """The bytes with this SHA-256 (32 bytes). Raises KeyError."""
        cdef Entry entry
        if len(digest) != 32:
            raise ValueError("a digest has 32 bytes")
        cdef const uint8_t *key = digest
        with nogil:
            PyThread_acquire_lock(self.lock, WAIT_LOCK)
            entry = self.find(key)[0]
            PyThread_release_lock(self.lock)
        if entry.data == NULL:
            raise KeyError(digest.hex())
        return entry.data[:entry.size]

    def __len__(self):
        PyThread_acquire_lock(self.lock, WAIT_LOCK)  # whoever holds it does not wait for the GIL
        used = self.used
        PyThread_release_lock(self.lock)
        return used
