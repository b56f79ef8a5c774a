# Cursors: what sinks take records with. One thread uses a cursor; any may stop it.

@cython.final
cdef class Batch:
    """Lines of JSON (bytes, each ends with a newline), and how many records of each level they are."""
    cdef readonly bytes lines
    cdef readonly dict records


@cython.final
@cython.no_gc_clear  # it ends before its journal does
cdef class Cursor:
    """A sink's place in a journal. See native/include/vaultscope/drain.h."""
    cdef vs_cursor *cursor
    cdef NativeJournal owner
    cdef readonly str name
    cdef vs_word32 stopping

    def __dealloc__(self):
        if self.cursor != NULL:
            vs_cursor_close(self.cursor, False)

    @property
    def stopped(self) -> bool:
        return vs_load_stop(&self.stopping) != 0

    def stop(self) -> None:
        """From any thread: wait() and pump() return soon, after what is left is written."""
        vs_store_stop(&self.stopping, 1)

    def wait(self, double seconds) -> bool:
        """Waits without the GIL until there is something to take, or stop() was called. False: there is nothing."""
        cdef bint found
        cdef int64_t wait_ns = nanoseconds(seconds)
        opened(self)
        with nogil:
            found = vs_cursor_wait(self.cursor, wait_ns, &self.stopping)
        return found

    def reached(self, uint64_t position) -> bool:
        """Whether what came before that position was acknowledged."""
        return vs_cursor_reached(opened(self), position)

    def take(self, size_t size=1 << 18) -> Batch | None:
        """What there is, up to about `size` bytes; again the same until done() or drop(). None: nothing."""
        cdef vs_batch batch
        cdef bint found
        cdef Batch result
        opened(self)
        with nogil:
            found = vs_cursor_take(self.cursor, size, &batch)
        if not found:
            return None
        result = Batch.__new__(Batch)
        result.lines = batch.data[:batch.size]
        result.records = by_level(batch.records)
        return result

    def done(self) -> None:
        """What was taken is where it should be."""
        vs_cursor_done(opened(self))

    def drop(self) -> None:
        """What was taken is given up; its records count as missed."""
        vs_cursor_drop(opened(self))

    def pump(self, int fd, *, uint64_t file_bytes=0, double wait=0.25, double run=1.0, bint sync=False) -> str:
        """Takes, writes to the end of the file and acknowledges, again and again, without the GIL: "idle" if nothing came for `wait`
        seconds, "limit" after `run` seconds or once the file has `file_bytes`, "stopped". `sync`: each batch is on the disk before it is
        acknowledged. Raises OSError; what was not written stays."""
        cdef vs_pump_options options
        cdef vs_pump end
        options.file_bytes = file_bytes
        options.wait_ns = nanoseconds(wait)
        options.run_ns = nanoseconds(run)
        options.sync = sync
        opened(self)
        with nogil:
            end = vs_cursor_pump(self.cursor, fd, &options, &self.stopping)
        if end == VS_PUMP_ERROR:
            PyErr_SetFromErrno(OSError)
        return "idle" if end == VS_PUMP_IDLE else ("limit" if end == VS_PUMP_LIMIT else "stopped")

    def counts(self) -> tuple:
        """Records by level that were written, and that were missed, since the cursor was opened."""
        cdef uint64_t written[VS_LEVELS]
        cdef uint64_t missed[VS_LEVELS]
        vs_cursor_counts(opened(self), written, missed)
        return by_level(written), by_level(missed)

    def close(self, bint forget=False) -> None:
        """Gives the place up. Unless everything was taken, or it is to be forgotten, the next one of that name goes on there."""
        if self.cursor != NULL:
            vs_cursor_close(self.cursor, forget)
            self.cursor = NULL


cdef vs_cursor *opened(Cursor cursor) except NULL:
    if cursor.cursor == NULL:
        raise ValueError(f"{cursor.name}: the cursor is closed")
    return cursor.cursor


cdef int64_t nanoseconds(double seconds) noexcept:
    return <int64_t>(seconds * 1e9) if 0 <= seconds < 9e9 else (INT64_MAX // 2 if seconds > 0 else 0)


cdef extern from *:
    """
    static inline uint32_t vs_load_stop(const vs_word32 *word) { return vs_load_relaxed((vs_word32 *)word); }
    static inline void vs_store_stop(vs_word32 *word, uint32_t value) { vs_store_relaxed(word, value); }
    """
    uint32_t vs_load_stop(const vs_word32 *word)
    void vs_store_stop(vs_word32 *word, uint32_t value)
    object PyErr_SetFromErrno(object kind)
