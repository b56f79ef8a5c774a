# The native journal: a registry's log ring, its loggers and its drain. signals/log.py is what users see.

POLICIES = {"drop": VS_POLICY_DROP, "overwrite": VS_POLICY_OVERWRITE, "block": VS_POLICY_BLOCK}


@cython.final
cdef class NativeJournal:
    """The log of a registry: of its arena's file, or in memory. Raises DeclarationError, LimitError; NotFoundError if a file that is
    only read holds no log."""
    cdef vs_journal *journal
    cdef NativeRegistry registry

    def __cinit__(self, NativeRegistry registry not None, str policy="drop", ring_bytes=0, block_ms=100.0):
        cdef vs_journal_options options
        if policy not in POLICIES:
            raise DeclarationError(f"policy is one of {', '.join(POLICIES)}, not {policy!r}")
        if not isinstance(ring_bytes, int) or ring_bytes != 0 and not 1 << 16 <= ring_bytes <= 1 << 30:
            raise DeclarationError(f"ring_bytes is from 64 KiB to 1 GiB, or 0, got {ring_bytes!r}")
        if not 0 < block_ms <= 1e6:
            raise DeclarationError(f"block_ms is above 0, got {block_ms!r}")
        options.policy = POLICIES[policy]
        options.ring_bytes = ring_bytes
        options.block_ns = <uint64_t>(<double>block_ms * 1e6)
        self.registry = registry
        check(vs_journal_open(registry.registry, &options, &self.journal), "log ring (VAULTSCOPE_LOG_BYTES)")

    def __dealloc__(self):
        if self.journal != NULL:
            vs_journal_close(self.journal)

    def logger(self, str name not None) -> Logger:
        """A logger of that name. Raises DeclarationError if it has more than 255 bytes."""
        cdef bytes data = log_text(name)
        cdef Logger logger = Logger.__new__(Logger)
        check(vs_logger_open(self.journal, borrow(data), &logger.logger), f"logger {name[:300]!r}")
        logger.owner = self
        logger.threshold = logger.logger.threshold
        logger.fields = b""
        if self.registry.permanent and vs_load_relaxed(&immortals) < IMMORTALS_MAX:  # immortal.pxi
            vs_add_relaxed(&immortals, 1)
            vs_immortalise(<PyObject *>logger)
        return logger

    def cursor(self, str name) -> Cursor:
        """Makes this process the one that drains, by a cursor of that name. Raises BusyError, LimitError."""
        cdef bytes data = utf8(name)
        cdef Cursor cursor = Cursor.__new__(Cursor)
        cdef vs_status status = vs_cursor_open(self.journal, borrow(data), &cursor.cursor)
        if status == VS_E_BUSY:
            raise BusyError(f"{name}: another process, or another sink of that name, drains this log")
        check(status, f"sink {name}")
        cursor.owner = self
        cursor.name = name
        return cursor

    def end(self) -> int:
        """The position behind the last record."""
        return vs_ring_end(&self.journal.ring)

    def reached(self, position) -> bool:
        """Whether all open cursors, of whatever process, have acknowledged what came before."""
        return vs_drain_reached(self.journal, position)

    def is_drained(self) -> bool:
        """Whether any process has a cursor open."""
        return vs_drain_is_open(self.journal)

    def take_drops(self) -> dict:
        """Drops by level since this was last asked, by whatever process."""
        cdef uint64_t drops[VS_LEVELS]
        return by_level(drops) if vs_journal_take_drops(self.journal, drops) else {}

    def look(self, position=None) -> tuple:
        """The record at a position, drained or not: ("record", next position, a line of JSON); ("void", next position, b"");
        ("writing", the position behind it, b""); ("end", position, b""); ("lost", the oldest position there is, b"").
        None is the oldest one."""
        cdef uint64_t at = vs_ring_oldest(&self.journal.ring) if position is None else position
        cdef uint64_t following = at
        cdef size_t size = 0
        cdef vs_buffer line
        cdef char record[VS_LOG_BYTES_MAX]
        cdef vs_look seen = vs_ring_look(&self.journal.ring, at, record, &size, &following)
        if seen == VS_LOOK_VOID:
            return ("void", following, b"")
        if seen == VS_LOOK_LOST:
            return ("lost", vs_ring_oldest(&self.journal.ring), b"")
        if seen == VS_LOOK_WRITING:
            return ("writing", following, b"")
        if seen == VS_LOOK_END:
            return ("end", at, b"")
        memset(&line, 0, sizeof(line))
        try:
            vs_log_render_json(record, size, &line)
            if line.failed:
                raise MemoryError
            return ("record", following, line.data[:line.size])
        finally:
            vs_buffer_free(&line)


cdef dict by_level(const uint64_t *counts):
    cdef int i
    return {LEVELS[i]: counts[i] for i in range(<int>VS_LEVELS) if counts[i] != 0}
