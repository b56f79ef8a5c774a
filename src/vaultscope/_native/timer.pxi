# Timing of a block: two clock reads and one record, in the metric's own unit.

@cython.final
@cython.freelist(64)
cdef class Timer:
    """What time() returns: a context manager that records how long its block took, also when the block raises.
    Each `with` starts it anew; nested or concurrent use wants a timer of its own."""
    cdef Metric metric
    cdef int64_t started_ns

    def __enter__(self):
        self.started_ns = vs_clock_monotonic_ns()
        return self

    def __exit__(self, kind, error, traceback):
        if self.metric is None:
            raise DeclarationError("this timer was made by no histogram")
        record_elapsed(self.metric, vs_clock_monotonic_ns() - self.started_ns)
        return False

    @property
    def elapsed_ns(self) -> int:
        """Nanoseconds since the block was entered."""
        return vs_clock_monotonic_ns() - self.started_ns


cdef int record_elapsed(Metric metric, int64_t elapsed_ns) except -1:
    cdef double elapsed = <double>elapsed_ns * metric.family.units_per_ns
    if metric.family.kind == VS_HISTOGRAM:
        vs_histogram_observe(&(<Histogram>metric).cell, elapsed)
    elif metric.family.units_per_ns == 1.0:
        vs_hdr_record(&(<HdrHistogram>metric).cell, elapsed_ns)
    else:
        elapsed = <double>llrint(elapsed)
        vs_hdr_record(&(<HdrHistogram>metric).cell, <int64_t>elapsed)
    after_observation(metric, elapsed)
    return 0


cdef Timer new_timer(Metric metric):
    cdef Timer timer = Timer.__new__(Timer)
    if metric.series == NULL or metric.family.units_per_ns == 0.0:
        refuse_timer(metric)
    timer.metric = metric
    return timer


cdef int refuse_timer(Metric metric) except -1:
    bound(metric)
    raise DeclarationError(f"{metric.family.name}: time() needs a histogram in a unit of time, "
                           f"not a {type(metric).__name__} in {metric.family.unit!r}")


def record_elapsed_ns(Metric metric not None, int64_t elapsed_ns) -> None:
    """Records a duration in nanoseconds, in the metric's own unit. For decorators."""
    if metric.series == NULL or metric.family.units_per_ns == 0.0 or metric.family.kind not in (VS_HISTOGRAM, VS_HDR):
        refuse_timer(metric)
    record_elapsed(metric, elapsed_ns)


def monotonic_ns() -> int:
    """The clock that timers read: CLOCK_MONOTONIC, in nanoseconds."""
    return vs_clock_monotonic_ns()
