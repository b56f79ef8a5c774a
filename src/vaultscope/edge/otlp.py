"""Traces to a receiver that speaks OTLP over HTTP: OpenTelemetry's collector, Jaeger, Tempo.

A request that fails for a while is made again with the tracer's patience: `write` raises, and is called again
with the same spans. Meanwhile spans wait in the tracer's queue, which is bounded.
"""

from __future__ import annotations

import gzip
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from vaultscope._native._core import Counter, Logger
from vaultscope.core.json_codec import loads
from vaultscope.core.registry import Registry, default_registry
from vaultscope.core.span_sink import SpanSink
from vaultscope.edge.otlp_json import encode_request, encode_resource, encode_span
from vaultscope.edge.otlp_settings import (
    TIMEOUT_MAX,
    receiver_url,
    request_headers,
    request_timeout,
    resource_attributes,
)
from vaultscope.edge.span_record import cut_text
from vaultscope.signals.log import default_journal

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

__all__ = ["OtlpSpanSink", "ReceiverError"]

REQUEST_BYTES_MAX = 4 << 20  # before compression; receivers take 20 MiB, if they are not told otherwise
ANSWER_BYTES_MAX = 64 << 10
RETRY_AFTER_MAX = 3600.0  # seconds
_BACK_OFF = (0.1, 30.0)
_AGAIN = (429, 502, 503, 504)
_GZIP_LEVEL = 1  # spans are much alike: higher levels take several times as long for a tenth less


class ReceiverError(Exception):
    """The receiver did not take the spans, and may do so later."""


class OtlpSpanSink(SpanSink):
    """Sends traces by OTLP/HTTP, in JSON.

    An answer 429, 502, 503 or 504, no answer, or no connection: the request is made again, after a time that
    doubles with each failure up to 30 s, more or less by half, and not before the receiver's Retry-After. So
    a span may arrive twice, if only the answer was lost. Any other answer but 2xx refuses the spans for good:
    they are counted as `vaultscope.trace.missed`, as are those that a 2xx says were rejected, and it is
    logged, once as long as it is the same. No redirection is followed.

    What is not given is taken from OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS and
    OTEL_EXPORTER_OTLP_TIMEOUT (ms), or before them from OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (used as it is)
    and so on; from OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.

    Args:
        endpoint: The receiver's address, to which /v1/traces is added.
        service: The resource's service.name; "vaultscope" if nobody says otherwise.
        vault: Its vault.id.
        resource: More attributes of it.
        headers: Of each request: for authentication, say.
        timeout: Seconds for a request; 10 if nobody says otherwise.
        batch_spans: Of a request, at most.
        batch_seconds: From one request to the next, unless it has `batch_spans`. The end of a program may
            wait that long twice.
        compress: "gzip", or None.
        name: In the tracer.
        registry: Whose metrics count what was missed; the tracer's. None: the default one.
        logger: None: `vaultscope.trace`, of the default journal.
        ticks: Seconds that never go back.
        clock: Seconds since 1970.
        jitter: From 0 to 1, each time another.
        wait: Waits so many seconds, or until the sink is closed.

    Raises:
        ValueError: An argument makes no sense.
        ModuleNotFoundError: urllib3 is missing: the extra `otlp` has it.

    Source: opentelemetry-proto, docs/specification.md, OTLP/HTTP; OpenTelemetry, Protocol Exporter.
    """

    missed: int
    """How many spans the receiver refused."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        service: str | None = None,
        vault: str = "",
        resource: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        batch_spans: int = 512,
        batch_seconds: float = 0.2,
        compress: Literal["gzip"] | None = "gzip",
        name: str = "otlp",
        registry: Registry | None = None,
        logger: Logger | None = None,
        ticks: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        try:
            import urllib3  # noqa: F401
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "OTLP needs urllib3: pip install 'vaultscope[otlp]'", name="urllib3"
            ) from None
        self.name = name
        self.url = receiver_url(endpoint)
        self.timeout = request_timeout() if timeout is None else timeout
        self.missed = 0
        if compress not in (None, "gzip"):
            raise ValueError(f"compress is gzip or None, not {compress!r}")
        if not 0 < self.timeout <= TIMEOUT_MAX or batch_spans < 1 or not 0 <= batch_seconds <= TIMEOUT_MAX:
            raise ValueError("a timeout and a batch are positive, and no time is longer than an hour")
        self._resource = encode_resource(resource_attributes(service, vault, resource))
        self._headers = request_headers(headers, compress=compress is not None)
        self._batch_spans, self._batch_seconds = batch_spans, batch_seconds
        self._compress = compress is not None
        self._registry = default_registry() if registry is None else registry
        self._logger = logger
        self._ticks, self._clock, self._jitter = ticks, clock, jitter
        self._wait = wait
        self._closing = threading.Event()
        self._pool: PoolManager | None = None
        self._batch: tuple[str, ...] = ()  # that is being sent, by the ids of its spans
        self._done = 0  # spans of it that were
        self._sent_at = float("-inf")
        self._not_before = float("-inf")
        self._failures = 0
        self._told = ""

    # -- what the tracer calls ------------------------------------------------------------------------------

    def write(self, spans: Sequence[Mapping[str, Any]]) -> None:
        """Sends the spans, in as many requests as it takes. Raises ReceiverError; what was sent by then is
        not sent again."""
        if self._ticks() < self._not_before:
            raise ReceiverError(f"{self.url} is left alone for {self._not_before - self._ticks():.1f} s more")
        batch = tuple(span["span_id"] for span in spans)
        if batch != self._batch:
            self._wait_for_more(len(spans))
            self._batch, self._done = batch, 0
        encoded = map(encode_span, islice(spans, self._done, None))
        for part in _parts(encoded, self._batch_spans):
            self._send(part)
            self._done += len(part)
        self._batch = ()

    def close(self) -> None:
        """Lets the connection go. A request that is under way ends by itself, or with the process."""
        self._closing.set()
        if self._pool is not None:
            self._pool.clear()

    def after_fork(self) -> None:
        """The connection is the parent's, and so is what was being sent."""
        self._pool = None
        self._batch = ()
        self._closing = threading.Event()

    def _wait_for_more(self, spans: int) -> None:
        """The more spans are in a request the less each costs. They gather in the tracer's queue: behind
        these."""
        seconds = self._sent_at + self._batch_seconds - self._ticks()
        if spans < self._batch_spans and seconds > 0:
            (self._wait or self._closing.wait)(seconds)

    # -- one request ----------------------------------------------------------------------------------------

    def _send(self, spans: list[bytes]) -> None:
        body = encode_request(self._resource, spans)
        if self._compress:
            body = gzip.compress(body, _GZIP_LEVEL)
        try:
            status, retry_after, answer = self._post(body)
        except (OSError, HTTPException, _pool_error()) as error:
            raise self._fail(f"{type(error).__name__}: {error}") from error
        if status in _AGAIN:
            raise self._fail(f"answer {status}", _seconds(retry_after, self._clock()))
        self._sent_at = self._ticks()
        self._failures = 0
        if not 200 <= status < 300:
            text = answer.decode("utf-8", "replace").strip()
            self._miss(len(spans), f"answer {status}: {text}" if text else f"answer {status}")
        elif not self._miss_rejected(len(spans), answer) and self._told:
            self._told = ""
            self._own().info("OTLP receiver works again", url=self.url)

    def _post(self, body: bytes) -> tuple[int, str, bytes]:
        from urllib3 import PoolManager, Timeout

        if self._pool is None:
            self._pool = PoolManager(num_pools=1, maxsize=1)
        response = self._pool.request(
            "POST",
            self.url,
            body=body,
            headers=self._headers,
            timeout=Timeout(total=self.timeout),
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            return response.status, response.headers.get("Retry-After", ""), self._read(response)
        finally:
            response.release_conn()

    def _read(self, response: BaseHTTPResponse) -> bytes:
        """The answer, or what of it comes soon enough. The spans have arrived, whatever becomes of it."""
        answer = b""
        deadline = self._ticks() + self.timeout
        try:
            while part := response.read1(ANSWER_BYTES_MAX):
                answer += part
                if len(answer) > ANSWER_BYTES_MAX or self._ticks() > deadline:
                    response.close()
                    break
        except (OSError, HTTPException, _pool_error()):
            response.close()
        return answer[:ANSWER_BYTES_MAX]

    # -- what went wrong ------------------------------------------------------------------------------------

    def _fail(self, text: str, retry_after: float = 0.0) -> ReceiverError:
        """Sets when to try again."""
        self._failures += 1
        seconds = min(_BACK_OFF[0] * 2 ** min(self._failures - 1, 16), _BACK_OFF[1]) * (0.5 + self._jitter())
        self._not_before = self._ticks() + max(seconds, min(retry_after, RETRY_AFTER_MAX))
        self._tell("OTLP receiver fails, and is tried again", text)
        return ReceiverError(f"{self.url}: {cut_text(text)}")

    def _miss_rejected(self, sent: int, answer: bytes) -> bool:
        """Counts what a partial success says was rejected. False: nothing was."""
        try:
            partial = loads(answer).get("partialSuccess") or {}
            rejected = min(int(partial.get("rejectedSpans") or 0), sent)
            text = str(partial.get("errorMessage") or "no reason is given")
        except Exception:  # an answer that says nothing: it was 2xx all the same
            return False
        if rejected > 0:
            self._miss(rejected, f"{rejected} of {sent} spans: {text}", "OTLP receiver rejected spans")
        return rejected > 0

    def _miss(self, count: int, text: str, message: str = "OTLP receiver refused spans") -> None:
        self.missed += count
        words = "Spans that a sink has missed"  # the tracer's own: it is the same counter
        family = self._registry._declare(
            Counter, "counter", "vaultscope.trace.missed", words, ("sink",), "", 1000, internal=True
        )
        family.labels(self.name).inc(count)
        self._tell(message, text)

    def _tell(self, message: str, text: str) -> None:
        """Logs it, once as long as it is the same kind of failure."""
        if message != self._told:
            self._told = message
            self._own().warn(message, url=self.url, error=cut_text(text))

    def _own(self) -> Logger:
        if self._logger is None:
            self._logger = default_journal().get_logger("vaultscope.trace")
        return self._logger


def _parts(spans: Iterator[bytes], most: int) -> Iterator[list[bytes]]:
    """What goes into one request each."""
    part: list[bytes] = []
    size = 0
    for span in spans:
        if part and (len(part) >= most or size + len(span) > REQUEST_BYTES_MAX):
            yield part
            part, size = [], 0
        part.append(span)
        size += len(span) + 1
    if part:
        yield part


def _pool_error() -> type[Exception]:
    from urllib3.exceptions import HTTPError

    return HTTPError


def _seconds(retry_after: str, now: float) -> float:
    """What a Retry-After says, in seconds or as a date; 0 if it says nothing."""
    with suppress(ValueError, OverflowError):
        return max(0.0, float(int(retry_after)))
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    return 0.0
