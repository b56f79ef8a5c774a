"""The C interface of libvaultscope, as Cython sees it. Contracts are in the headers (include/vaultscope/)."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "vaultscope.h" nogil:
    ctypedef bint vs_bool "bool"

    # base.h
    enum:
        VS_NAME_BYTES_MAX
        VS_HELP_BYTES_MAX
        VS_LABELS_MAX
        VS_LABEL_VALUE_BYTES_MAX
        VS_BOUNDS_MAX
        VS_QUANTILES_MAX
    ctypedef enum vs_status:
        VS_OK
        VS_E_NO_MEMORY
        VS_E_FULL
        VS_E_INVALID
        VS_E_CONFLICT
        VS_E_NOT_FOUND
        VS_E_CORRUPT
        VS_E_SYSTEM
        VS_E_FOREIGN
        VS_E_BUSY
        VS_E_READ_ONLY
    ctypedef struct vs_text:
        const char *data
        size_t size
    const char *vs_status_text(vs_status status)
    const char *vs_version()
    enum:
        VS_ABI
    uint32_t vs_abi()
    int64_t vs_clock_monotonic_ns()

    # stripe.h
    enum:
        VS_ARENA_NONE

    # arena.h
    ctypedef struct vs_arena:
        pass
    ctypedef struct vs_arena_options:
        uint32_t stripe_count
        uint64_t stripe_bytes
        uint64_t log_bytes
    ctypedef enum vs_arena_access:
        VS_ARENA_SHARE
        VS_ARENA_READ
    ctypedef struct vs_process:
        uint64_t pid
        uint64_t stripes
        vs_bool self
    vs_status vs_arena_default(vs_arena **out)
    vs_status vs_arena_open_file(const char *path, vs_arena_access access, const vs_arena_options *options, vs_arena **out)
    const char *vs_arena_reason()
    const char *vs_arena_path(const vs_arena *arena)
    void vs_arena_close(vs_arena *arena)
    vs_status vs_processes_list(const vs_arena *arena, vs_process **out, size_t *count)
    void vs_processes_free(vs_process *processes)

    # counter.h, loss.h, gauge.h
    ctypedef struct vs_counter:
        uint64_t offset
        uint32_t arena
    vs_bool vs_counter_add(vs_counter counter, uint64_t n)
    vs_bool vs_counter_try_add(vs_counter counter, uint64_t n)
    vs_bool vs_counter_inc(vs_counter counter)
    vs_bool vs_counter_add_double(vs_counter counter, double n)
    void vs_counter_read(vs_counter counter, uint64_t *integer, double *real)
    void vs_counter_mirror(vs_counter counter, uint64_t integer, double real)
    ctypedef enum vs_loss:
        VS_LOSS_INVALID
        VS_LOSS_CLAMPED_LOW
        VS_LOSS_CLAMPED_HIGH
        VS_LOSS_OVERFLOWED
        VS_LOSS_TRUNCATED
        VS_LOSS_KINDS
    void vs_loss_add(uint32_t arena, uint64_t losses, vs_loss kind, uint64_t n)
    ctypedef struct vs_word:
        pass
    ctypedef struct vs_gauge:
        char *const *base
        uint64_t offset
    void vs_gauge_set(vs_gauge gauge, double value)
    void vs_gauge_add(vs_gauge gauge, double value)
    double vs_gauge_read(vs_gauge gauge)

    # tally.h
    ctypedef struct vs_tally_totals:
        uint64_t count
        uint64_t sum_integer
        double sum_double
        uint32_t unsettled

    # histogram.h
    ctypedef struct vs_histogram:
        const double *bounds
        uint64_t offset
        uint64_t losses
        uint32_t arena
        uint32_t bound_count
    vs_bool vs_histogram_try_observe(const vs_histogram *histogram, double value)
    vs_bool vs_histogram_observe(const vs_histogram *histogram, double value)
    size_t vs_histogram_observe_many(const vs_histogram *histogram, const double *values, size_t n, ptrdiff_t stride)

    # hdr.h
    ctypedef struct vs_hdr_config:
        int64_t lowest
        int64_t highest
        int32_t digits
        int32_t counts_len
    ctypedef struct vs_hdr:
        vs_hdr_config config
        uint64_t offset
        uint64_t losses
        uint32_t arena
    vs_status vs_hdr_config_init(vs_hdr_config *config, int64_t lowest, int64_t highest, int32_t digits)
    int32_t vs_hdr_index(const vs_hdr_config *config, int64_t value)
    int64_t vs_hdr_lowest_equivalent(const vs_hdr_config *config, int64_t value)
    int64_t vs_hdr_highest_equivalent(const vs_hdr_config *config, int64_t value)
    int64_t vs_hdr_value_at_index(const vs_hdr_config *config, int32_t index)
    vs_bool vs_hdr_try_record(const vs_hdr *hdr, int64_t value)
    vs_bool vs_hdr_record(const vs_hdr *hdr, int64_t value)
    vs_bool vs_hdr_record_times(const vs_hdr *hdr, int64_t value, uint64_t times)
    vs_bool vs_hdr_record_corrected(const vs_hdr *hdr, int64_t value, int64_t interval)
    size_t vs_hdr_record_many(const vs_hdr *hdr, const int64_t *values, size_t n, ptrdiff_t stride)
    uint64_t vs_hdr_count_add(uint64_t count, uint64_t more)
    uint64_t vs_hdr_total(const vs_hdr_config *config, const uint64_t *counts)
    int64_t vs_hdr_min(const vs_hdr_config *config, const uint64_t *counts)
    int64_t vs_hdr_max(const vs_hdr_config *config, const uint64_t *counts)
    double vs_hdr_mean(const vs_hdr_config *config, const uint64_t *counts)
    double vs_hdr_stddev(const vs_hdr_config *config, const uint64_t *counts)
    int64_t vs_hdr_quantile(const vs_hdr_config *config, const uint64_t *counts, double quantile)
    uint64_t vs_hdr_count_between(const vs_hdr_config *config, const uint64_t *counts, int64_t low, int64_t high)
    uint64_t vs_hdr_merge(const vs_hdr_config *into, uint64_t *into_counts, const vs_hdr_config *source,
                          const uint64_t *source_counts)
    size_t vs_hdr_encoded_size_max(const vs_hdr_config *config)
    size_t vs_hdr_encode(const vs_hdr_config *config, const uint64_t *counts, uint8_t *out, size_t capacity)
    vs_status vs_hdr_decode_config(const uint8_t *data, size_t size, vs_hdr_config *config)
    vs_status vs_hdr_decode_counts(const uint8_t *data, size_t size, const vs_hdr_config *config, uint64_t *counts)

    # registry.h
    ctypedef struct vs_registry:
        pass
    ctypedef struct vs_metric:
        pass
    ctypedef struct vs_series:
        pass
    ctypedef enum vs_kind:
        VS_COUNTER
        VS_GAUGE
        VS_HISTOGRAM
        VS_HDR
    ctypedef enum vs_gauge_mode:
        VS_GAUGE_LAST
        VS_GAUGE_SUM
        VS_GAUGE_MIN
        VS_GAUGE_MAX
        VS_GAUGE_ALL
    ctypedef struct vs_metric_spec:
        vs_kind kind
        vs_text name
        vs_text help
        vs_text unit
        const vs_text *label_names
        size_t label_count
        const double *bounds
        size_t bound_count
        const double *quantiles
        size_t quantile_count
        int64_t hdr_lowest
        int64_t hdr_highest
        int32_t hdr_digits
        uint64_t series_max
        vs_gauge_mode mode
    vs_status vs_registry_open(vs_arena *arena, vs_registry **out)
    void vs_registry_release(vs_registry *registry)
    vs_status vs_registry_declare(vs_registry *registry, const vs_metric_spec *spec, vs_metric **out)
    void vs_metric_release(vs_metric *metric)
    uint64_t vs_registry_removals(vs_registry *registry)
    vs_status vs_registry_unregister(vs_registry *registry, vs_text name)
    vs_status vs_metric_bind(vs_metric *metric, const vs_text *values, size_t count, vs_series **out)
    void vs_series_release(vs_series *series)
    vs_status vs_metric_remove(vs_metric *metric, const vs_text *values, size_t count)
    vs_status vs_metric_clear(vs_metric *metric)
    uint64_t vs_metric_series_count(vs_metric *metric)
    vs_counter vs_series_counter(const vs_series *series)
    vs_gauge vs_series_gauge(const vs_series *series)
    vs_histogram vs_series_histogram(const vs_series *series)
    vs_hdr vs_series_hdr(const vs_series *series)
    vs_text vs_series_labels(const vs_series *series)
    uint64_t vs_metric_losses(const vs_metric *metric)
    uint32_t vs_metric_arena(const vs_metric *metric)
    uint64_t vs_metric_loss_read(const vs_metric *metric, vs_loss kind)
    vs_status vs_series_read(vs_series *series, uint64_t *counts, vs_tally_totals *totals)

    # exemplar.h
    ctypedef struct vs_exemplar:
        size_t series
        uint32_t bucket
        double value
        uint64_t trace_high
        uint64_t trace_low
        uint64_t span
        int64_t time_ns
    vs_bool vs_series_exemplar(vs_series *series, double value, uint64_t trace_high, uint64_t trace_low, uint64_t span)
    vs_bool vs_series_exemplar_at(vs_series *series, double value, uint64_t trace_high, uint64_t trace_low, uint64_t span,
                                  int64_t time_ns)

    # snapshot.h
    ctypedef struct vs_span32:
        uint64_t at
        uint32_t size
    ctypedef struct vs_snapshot_metric:
        vs_span32 name
        vs_span32 help
        vs_span32 unit
        vs_kind kind
        uint32_t label_count
        size_t label_names
        size_t bounds
        uint32_t bound_count
        uint32_t quantile_count
        size_t quantiles
        vs_hdr_config hdr
        size_t series
        size_t series_count
        uint64_t losses[5]
    ctypedef struct vs_snapshot:
        const vs_snapshot_metric *metrics
        size_t metric_count
        const vs_span32 *label_names
        const double *reals
        const char *text
        size_t series_count
        const vs_span32 *labels
        const uint64_t *integers
        const double *numbers
        const size_t *counts_at
        const uint32_t *counts_first
        const uint32_t *counts_len
        const uint64_t *counts
        size_t counts_size
        const vs_exemplar *exemplars
        size_t exemplar_count
        uint64_t unsettled
        uint64_t arena_used
        uint64_t arena_limit
        uint32_t stripes_total
        uint32_t stripes_held
        uint64_t processes
        uint64_t processes_refused
    vs_status vs_snapshot_take(vs_registry *registry, const vs_text *only, vs_snapshot **out)
    const vs_exemplar *vs_snapshot_exemplars(const vs_snapshot *snapshot, size_t series, size_t *count)
    void vs_snapshot_free(vs_snapshot *snapshot)
    size_t vs_snapshot_bytes(const vs_snapshot *snapshot)

    # render.h
    ctypedef struct vs_buffer:
        char *data
        size_t size
        vs_bool failed
    void vs_buffer_free(vs_buffer *buffer)
    ctypedef enum vs_text_format:
        VS_PROMETHEUS_0_0_4
        VS_OPENMETRICS_1_0_0
    ctypedef enum vs_name_form:
        VS_NAMES_UNDERSCORES
        VS_NAMES_UTF8
    ctypedef struct vs_render_options:
        vs_text_format format
        vs_name_form names
    vs_status vs_render_text(const vs_snapshot *snapshot, const vs_render_options *options, vs_buffer *out)
    ctypedef struct vs_unit:
        const char *base
        double per_base
    vs_unit vs_unit_find(vs_text unit)
    vs_bool vs_render_family_name(vs_kind kind, vs_text name, vs_text unit, vs_name_form form, vs_buffer *out)

    # level.h
    ctypedef enum vs_level:
        VS_TRACE
        VS_DEBUG
        VS_INFO
        VS_WARN
        VS_ERROR
        VS_FATAL
        VS_LEVELS
        VS_OFF
    ctypedef struct vs_threshold:
        pass
    const vs_threshold *vs_level_threshold(vs_text name)
    vs_status vs_level_set(vs_text name, vs_level level)
    void vs_level_unset(vs_text name)
    size_t vs_level_configure(vs_text settings)
    size_t vs_level_unread()
    const char *vs_level_name(vs_level level)
    vs_bool vs_level_parse(vs_text name, vs_level *level)

    # record.h
    enum:
        VS_LOG_BYTES_MAX
        VS_LOG_BYTES_SMALL
        VS_VALUE_BYTES_MAX
        VS_MESSAGE_BYTES_MAX
        VS_LOGGER_BYTES_MAX
        VS_KEY_BYTES_MAX
    ctypedef enum vs_field_type:
        VS_FIELD_NULL
        VS_FIELD_BOOL
        VS_FIELD_I64
        VS_FIELD_U64
        VS_FIELD_F64
        VS_FIELD_TEXT
        VS_FIELD_BYTES
        VS_FIELD_JSON
        VS_FIELD_END
    ctypedef struct vs_field_head:
        uint8_t key_size
        uint32_t value_size
    ctypedef struct vs_log_writer:
        char *data
        size_t capacity
        size_t size
        uint16_t field_count
        uint16_t omitted
    void vs_log_begin(vs_log_writer *writer, char *data, size_t capacity, vs_text logger, vs_text vault, vs_text message)
    void vs_log_add(vs_log_writer *writer, vs_text key, vs_field_type type, const void *value, size_t size, vs_bool was_cut)
    void vs_log_add_all(vs_log_writer *writer, const char *fields, size_t size, uint16_t count)
    const char *vs_log_fields(const vs_log_writer *writer, size_t *size)
    void vs_log_end(vs_log_writer *writer, vs_level level, uint64_t trace_high, uint64_t trace_low, uint64_t span)
    vs_bool vs_log_render_json(const void *record, size_t size, vs_buffer *out)
    vs_bool vs_json_is_valid(vs_text text)

    # ring.h
    ctypedef enum vs_policy:
        VS_POLICY_DROP
        VS_POLICY_OVERWRITE
        VS_POLICY_BLOCK
    ctypedef enum vs_put:
        VS_PUT_DONE
        VS_PUT_FULL
        VS_PUT_REFUSED
    ctypedef struct vs_ring:
        pass
    ctypedef enum vs_look:
        VS_LOOK_RECORD
        VS_LOOK_END
        VS_LOOK_WRITING
        VS_LOOK_VOID
        VS_LOOK_LOST
    uint64_t vs_ring_end(const vs_ring *ring)
    uint64_t vs_ring_oldest(const vs_ring *ring)
    vs_look vs_ring_look(const vs_ring *ring, uint64_t position, void *record, size_t *size, uint64_t *next)

    # log.h
    ctypedef struct vs_journal_options:
        uint64_t ring_bytes
        vs_policy policy
        uint64_t block_ns
    ctypedef struct vs_journal:
        vs_ring ring
        vs_policy policy
        uint32_t record_bytes
        vs_counter dropped[VS_LEVELS]
        vs_counter suppressed[VS_LEVELS]
    ctypedef struct vs_logger:
        const vs_threshold *threshold
        uint8_t name_size
        char name[VS_LOGGER_BYTES_MAX]
    ctypedef struct vs_field:
        pass
    ctypedef struct vs_limiter:
        uint64_t limit
        uint64_t period_ns
    vs_status vs_journal_open(vs_registry *registry, const vs_journal_options *options, vs_journal **out)
    void vs_journal_close(vs_journal *journal)
    vs_bool vs_journal_put(const vs_journal *journal, vs_level level, const void *record, size_t size)
    vs_put vs_journal_try_put(const vs_journal *journal, vs_level level, const void *record, size_t size)
    vs_status vs_log_set_vault(vs_text vault)
    vs_text vs_log_vault()
    void vs_log_set_span(uint64_t trace_high, uint64_t trace_low, uint64_t span)
    void vs_log_never_wait()
    vs_status vs_logger_open(const vs_journal *journal, vs_text name, vs_logger **out)
    void vs_logger_close(vs_logger *logger)
    vs_bool vs_log_enabled(const vs_logger *logger, vs_level level)
    vs_field vs_field_null(const char *key)
    vs_field vs_field_bool(const char *key, vs_bool value)
    vs_field vs_field_i64(const char *key, int64_t value)
    vs_field vs_field_u64(const char *key, uint64_t value)
    vs_field vs_field_f64(const char *key, double value)
    vs_field vs_field_text(const char *key, const char *text)
    vs_field vs_field_text_of(const char *key, vs_text text)
    vs_field vs_field_bytes(const char *key, const void *data, size_t size)
    vs_field vs_field_json(const char *key, vs_text json)
    vs_bool vs_log(const vs_logger *logger, vs_level level, const char *message, ...)
    vs_bool vs_log_write(const vs_logger *logger, vs_level level, const char *message, const vs_field *fields)
    vs_bool vs_log_write_text(const vs_logger *logger, vs_level level, vs_text message, const vs_field *fields)
    vs_bool vs_limiter_pass(vs_limiter *limiter, int64_t now_ns, uint64_t *suppressed)

    # drain.h
    ctypedef struct vs_cursor:
        pass
    ctypedef struct vs_batch:
        const char *data
        size_t size
        uint64_t records[VS_LEVELS]
    ctypedef enum vs_pump:
        VS_PUMP_IDLE
        VS_PUMP_LIMIT
        VS_PUMP_STOPPED
        VS_PUMP_ERROR
    ctypedef struct vs_pump_options:
        uint64_t file_bytes
        int64_t wait_ns
        int64_t run_ns
        vs_bool sync
    ctypedef struct vs_word32:
        pass
    vs_bool vs_drain_claim(vs_journal *journal)
    vs_status vs_cursor_open(vs_journal *journal, vs_text name, vs_cursor **out)
    void vs_cursor_close(vs_cursor *cursor, vs_bool forget)
    vs_bool vs_cursor_take(vs_cursor *cursor, size_t bytes, vs_batch *batch)
    void vs_cursor_done(vs_cursor *cursor)
    void vs_cursor_drop(vs_cursor *cursor)
    vs_pump vs_cursor_pump(vs_cursor *cursor, int fd, const vs_pump_options *options, const vs_word32 *stop)
    vs_bool vs_cursor_wait(const vs_cursor *cursor, int64_t wait_ns, const vs_word32 *stop)
    vs_bool vs_cursor_reached(const vs_cursor *cursor, uint64_t position)
    vs_bool vs_drain_reached(const vs_journal *journal, uint64_t position)
    vs_bool vs_drain_is_open(const vs_journal *journal)
    void vs_cursor_counts(const vs_cursor *cursor, uint64_t *written, uint64_t *missed)
    vs_bool vs_journal_take_drops(vs_journal *journal, uint64_t *drops)

    # id.h
    uint64_t vs_id_next()

    # span.h
    ctypedef enum vs_span_status:
        VS_SPAN_PENDING
        VS_SPAN_OK
        VS_SPAN_ERROR
    ctypedef enum vs_span_kind:
        VS_SPAN_INTERNAL
        VS_SPAN_SERVER
        VS_SPAN_CLIENT
        VS_SPAN_PRODUCER
        VS_SPAN_CONSUMER
    ctypedef struct vs_trace:
        pass
    ctypedef struct vs_span_scope:
        vs_trace *trace
        uint64_t trace_high
        uint64_t trace_low
        uint64_t span
        vs_bool sampled
    ctypedef struct vs_span:
        vs_span_scope scope
        uint8_t kind
    ctypedef struct vs_ended_span:
        vs_ended_span *next
        uint64_t span
        uint64_t parent
        int64_t start_ns
        int64_t end_ns
        uint8_t kind
        uint8_t status
        uint32_t size
        char record[]
    void vs_span_start(vs_span *span, const vs_span_scope *scope, vs_text name)
    const vs_span_scope *vs_span_scope_of(const vs_span *span)
    void vs_span_add(vs_span *span, vs_field attribute)
    void vs_span_end(vs_span *span, vs_span_status status)
    vs_trace *vs_trace_open(uint32_t spans_max)
    void vs_trace_hold(vs_trace *trace)
    void vs_trace_release(vs_trace *trace)
    vs_ended_span *vs_trace_take(vs_trace *trace, vs_bool *failed, uint64_t *lost)
