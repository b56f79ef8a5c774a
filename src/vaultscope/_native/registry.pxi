# The native registry: declares families, takes snapshots. core/registry.py is what users see.

@cython.final
cdef class NativeRegistry:
    """Metrics by name in the process's arena, or in that of the file `path` (bytes), to be shared or only read. Raises
    ArenaError, LimitError or DeclarationError if the arena cannot be had."""
    cdef vs_registry *registry
    cdef vs_arena *arena
    cdef dict families
    cdef bint permanent
    cdef bint to_read
    cdef uint64_t removals

    def __cinit__(self, bytes path=None, bint to_read=False):
        cdef vs_status status
        cdef const char *name = NULL
        self.families = {}
        if path is None:
            status = vs_arena_default(&self.arena)
        else:
            if b"\0" in path:
                raise ArenaError(f"{path!r}: a path has no NUL")
            name = path
            with nogil:
                status = vs_arena_open_file(name, VS_ARENA_READ if to_read else VS_ARENA_SHARE, NULL, &self.arena)
        check_opened(status, path is not None)
        self.to_read = to_read
        check(vs_registry_open(self.arena, &self.registry), "registry")

    def __dealloc__(self):
        if self.registry != NULL:
            vs_registry_release(self.registry)
        if self.to_read and self.arena != NULL:
            vs_arena_close(self.arena)

    @property
    def path(self) -> bytes | None:
        """Of the arena's file; None if it is in memory."""
        cdef const char *path = vs_arena_path(self.arena)
        return path if path != NULL else None

    def processes(self) -> list:
        """(pid, stripes that its threads hold, whether it is this one) of each process that shares the arena."""
        cdef vs_process *processes = NULL
        cdef size_t count = 0
        check(vs_processes_list(self.arena, &processes, &count), "processes")
        try:
            return [(processes[i].pid, processes[i].stripes, bool(processes[i].self)) for i in range(count)]
        finally:
            vs_processes_free(processes)

    def declare(self, str kind, str name, str help="", str unit="", tuple label_names=(), tuple bounds=(),
                tuple quantiles=(), tuple hdr_range=(), uint64_t series_max=0, bint pedantic=False,
                str mode="last", Metric known=None) -> Metric:
        """A handle to the metric: its family if it has labels, else its one series. Declares it if it is new. `known`, a
        handle from before, is returned as long as it is one to the same metric: another process may have taken that out."""
        cdef vs_metric_spec spec
        cdef vs_metric *metric = NULL
        cdef vs_hdr_config config
        cdef bytes name_bytes = utf8(name), help_bytes = utf8(help), unit_bytes = utf8(unit)
        cdef _Texts names = _Texts(label_names)
        cdef _Doubles bound_items = _Doubles(bounds), quantile_items = _Doubles(quantiles)
        cdef vs_series *series = NULL
        memset(&spec, 0, sizeof(spec))
        spec.kind = KINDS[kind]
        spec.name = borrow(name_bytes)
        spec.help = borrow(help_bytes)
        spec.unit = borrow(unit_bytes)
        spec.label_names = names.items
        spec.label_count = names.size
        spec.bounds = bound_items.items
        spec.bound_count = bound_items.size
        spec.quantiles = quantile_items.items
        spec.quantile_count = quantile_items.size
        spec.series_max = series_max
        spec.mode = MODES[mode]
        if hdr_range:
            hdr_config(&config, hdr_range[0], hdr_range[1], hdr_range[2])
            spec.hdr_lowest, spec.hdr_highest, spec.hdr_digits = hdr_range
        check(vs_registry_declare(self.registry, &spec, &metric), name)
        cdef Family family = entry(self.families, name)
        cdef bint new = family is None or family.metric != metric
        if new:
            family = Family.__new__(Family)
            family.metric = metric  # its reference is the family's now
            family.kind = spec.kind
            family.arena = vs_metric_arena(metric)
            family.losses = vs_metric_losses(metric)
            family.units_per_ns = units_per_ns(unit)
            family.pedantic = pedantic
            family.permanent = self.permanent
            family.name, family.help, family.unit = name, help, unit
            family.label_names, family.bounds, family.quantiles = label_names, bounds, quantiles
            family.hdr_range = hdr_range
            self.families[name] = family
        else:
            vs_metric_release(metric)
        if known is not None and known.family is family:
            return known
        if not label_names:
            series = family.bind(())
        handle = new_handle(family, series)
        if new:
            immortalise(handle)
        return handle

    def unregister(self, str name) -> None:
        """Takes the metric out. Raises NotFoundError."""
        cdef bytes data = utf8(name)
        check(vs_registry_unregister(self.registry, borrow(data)), name)
        self.families.pop(name, None)
        self.permanent = False

    def keep(self) -> None:
        """Says that what is declared from now on lives as long as the process, until something is taken out."""
        self.permanent = True

    def snapshot(self, only=None) -> NativeSnapshot:
        """The values of all metrics, or of the one named `only`. The GIL is released while they are read."""
        cdef NativeSnapshot result = NativeSnapshot.__new__(NativeSnapshot)
        cdef bytes data = utf8(only) if only is not None else b""
        cdef vs_text name = borrow(data)
        cdef vs_text *wanted = &name if only is not None else NULL
        cdef vs_status status
        with nogil:
            status = vs_snapshot_take(self.registry, wanted, &result.s)
        check(status, "snapshot")
        removals = vs_registry_removals(self.registry)
        if removals != self.removals:  # another process removed something: labels() must not find it again
            self.removals = removals
            for family in list(self.families.values()):
                (<Family>family).forget_children()
        return result


cdef double units_per_ns(str unit):
    """How many of a unit of time make a nanosecond; 0 for a unit that is not of time. No unit at all means seconds."""
    base, per_base = unit_base(unit)
    return per_base / 1e9 if base == "seconds" else (1e-9 if not unit else 0.0)


cdef class _Doubles:
    """An array of doubles from a tuple of numbers."""
    cdef double *items
    cdef size_t size

    def __cinit__(self, tuple values):
        self.size = len(values)
        self.items = <double *>PyMem_Malloc((self.size + 1) * sizeof(double))
        if self.items == NULL:
            raise MemoryError
        for i in range(self.size):
            self.items[i] = values[i]

    def __dealloc__(self):
        PyMem_Free(self.items)


install_hot_methods()
