# What all four kinds of handle have in common: a family, and unless the metric has labels, a series.

cdef class Metric:
    """A handle to a metric, or to one of its series. The base of Counter, Gauge, Histogram and HdrHistogram.

    A metric declared with labels is only a family: `labels()` gives the child to write to. Writing to the family itself
    raises DeclarationError, since no series is bound yet."""
    cdef Family family
    cdef vs_series *series
    cdef uint64_t generation  # of the family, when this child was bound

    def __dealloc__(self):
        if self.series != NULL:
            vs_series_release(self.series)

    @property
    def name(self) -> str:
        """The declared, dotted name."""
        return declared(self).name

    @property
    def help(self) -> str:
        return declared(self).help

    @property
    def unit(self) -> str:
        """The declared unit; exporters convert to base units (ms to seconds)."""
        return declared(self).unit

    @property
    def label_names(self) -> tuple:
        return declared(self).label_names

    @property
    def label_values(self) -> tuple:
        """The values of a child, as they are exported; empty for a metric without labels.
        Raises DeclarationError for a family."""
        cdef vs_text text = vs_series_labels(bound(self))
        return label_values(text.data, text.size)

    @property
    def losses(self) -> dict:
        """What this metric's series lost or bent: invalid, clamped_low, clamped_high, overflowed, truncated."""
        return declared(self).losses_by_kind()

    @property
    def series_count(self) -> int:
        """Series that count towards the metric's limit."""
        return vs_metric_series_count(declared(self).metric)

    def remove(self, *values, **by_name) -> None:
        """Forgets the series with these label values: it is scraped no more. Handles to it stay valid and unseen.
        Raises NotFoundError; DeclarationError for a metric without labels or for the overflow series."""
        family = declared(self)
        texts = _Texts(family.in_order(values, by_name))
        status = vs_metric_remove(family.metric, texts.items, texts.size)
        family.forget_children()
        check(status, f"{family.name}{[text.decode() for text in texts.kept]}")

    def clear(self) -> None:
        """Forgets all series of a metric with labels, but for the overflow series."""
        status = vs_metric_clear(declared(self).metric)
        self.family.forget_children()
        check(status, self.family.name)

    def capsule(self):
        """A PyCapsule with the native handle, for C and Cython: it is named after the C type that it points to
        (vs_counter, vs_gauge, vs_histogram or vs_hdr) and keeps this metric alive. What is written through it, without the
        GIL too, is seen here. Raises DeclarationError for a family."""
        return capsule_of(self)

    def __repr__(self):
        if self.family is None:
            return f"<{type(self).__name__} undeclared>"
        labels = ""
        if self.family.label_names:
            labels = " family of " + ",".join(self.family.label_names) if self.series == NULL else \
                "{" + vs_series_text(self.series) + "}"
        return f"<{type(self).__name__} {self.family.name}{labels}>"

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} is a handle into this process and cannot be pickled")


cdef str vs_series_text(vs_series *series):
    cdef vs_text text = vs_series_labels(series)
    return text.data[:text.size].decode("utf-8", "replace")


cdef Family declared(Metric metric):
    """The family; every way to it but the hot ones leads through here. A handle made by __new__ alone has none."""
    if metric.family is None:
        raise DeclarationError("this handle was never declared")
    return metric.family


cdef vs_series *bound(Metric metric) except NULL:
    if metric.series == NULL:
        family = declared(metric)
        raise DeclarationError(f"{family.name} has labels {family.label_names}: "
                               "call labels() and use the child")
    return metric.series


cdef int attach(Metric handle, Family family, vs_series *series) except -1:
    """Makes a handle of a family (series NULL) or of a series, whose reference it takes over."""
    handle.family = family
    handle.series = series
    if family.kind == VS_COUNTER:
        (<Counter>handle).cell = vs_series_counter(series) if series != NULL else NOWHERE
    elif family.kind == VS_GAUGE:
        (<Gauge>handle).cell = vs_series_gauge(series) if series != NULL else UNBOUND_GAUGE
    elif family.kind == VS_HISTOGRAM:
        if series != NULL:
            (<Histogram>handle).cell = vs_series_histogram(series)
    elif series != NULL:
        (<HdrHistogram>handle).cell = vs_series_hdr(series)
    return 0


cdef vs_counter NOWHERE
NOWHERE.offset = 0
NOWHERE.arena = VS_ARENA_NONE
cdef vs_gauge UNBOUND_GAUGE
UNBOUND_GAUGE.base = NULL


cdef Metric new_handle(Family family, vs_series *series):
    cdef Metric handle
    if family.kind == VS_COUNTER:
        handle = Counter.__new__(Counter)
    elif family.kind == VS_GAUGE:
        handle = Gauge.__new__(Gauge)
    elif family.kind == VS_HISTOGRAM:
        handle = Histogram.__new__(Histogram)
    else:
        handle = HdrHistogram.__new__(HdrHistogram)
    attach(handle, family, series)
    return handle


cdef Metric child_of(Metric parent, tuple values, dict by_name):
    """The slow half of labels(): anything but strings that were bound before."""
    cdef Family family = parent.family
    if family is None or not family.label_names:
        raise DeclarationError(f"{'an undeclared handle' if family is None else family.name} has no labels")
    if parent.series != NULL:
        raise DeclarationError(f"{family.name}: labels() of a child; call it on the family")
    values = tuple([value if PyUnicode_CheckExact(value) else utf8(value).decode()
                    for value in family.in_order(values, by_name)])
    key = values[0] if len(values) == 1 else values
    # G2: acquire; pairs with G1: what was removed before this generation began is not found by the bind below.
    generation = vs_load_acquire(&family.generation)
    cdef Metric kept = entry(family.children, key)
    if kept is not None and kept.generation == generation:
        return kept
    cdef Metric child = new_handle(family, family.bind(values))
    child.generation = generation
    # Kept for the next time; but not if the bind was bent (the overflow series, or a value that was cut), since each such
    # bind is counted.
    if child.label_values != values:
        return child
    if len(family.children) >= CHILDREN_MAX:
        family.children.clear()
    if generation == 0:  # nothing was ever taken out
        immortalise(child)
    kept = family.children.setdefault(key, child)  # the first thread's, so that all hold the same child
    if kept.generation < generation:
        family.children[key] = kept = child
    return kept


cdef object default_registry_hook = None


def set_default_registry(hook) -> None:
    """Names the function that gives the registry for metrics declared without one. Called by vaultscope.core."""
    global default_registry_hook
    default_registry_hook = hook


cdef int adopt(Metric handle, object found) except -1:
    """Makes `handle` (being initialised) another handle to what `found`, as a registry returned it, is a handle to."""
    if type(found) is not type(handle):
        raise TypeError(f"the registry returned a {type(found).__name__}, not a {type(handle).__name__}")
    cdef Family family = declared(<Metric>found)
    with cython.critical_section(handle):
        if handle.family is not None:
            raise DeclarationError(f"{handle.family.name}: declared already")
        attach(handle, family, family.bind(()) if (<Metric>found).series != NULL else NULL)
        immortalise(handle)
    return 0
