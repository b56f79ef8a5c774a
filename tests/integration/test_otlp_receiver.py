"""An exporter, and a receiver that has its moods: nothing is lost, nothing doubled but what a retry must."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from otlp_wire import parse_request, python_attributes, spans_of
from spans import root, span

from vaultscope import Registry
from vaultscope.edge.otlp import OtlpSpanSink, ReceiverError
from vaultscope.edge.span_sinks import MemorySpanSink
from vaultscope.logging import Journal, MemorySink
from vaultscope.signals.tracing import Tracer

TIMEOUT = 30.0
MISSED = "vaultscope.trace.missed"
Mood = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Takes a request apart, and answers it in the mood that is next."""

    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/json"
            request = parse_request(body, packed=self.headers["Content-Encoding"] == "gzip")
        except Exception as error:
            self.server.complaints.append(error)
            raise
        mood = self.server.next_mood()
        self.server.requests.append(
            (
                mood.__name__,
                self.client_address[1],
                dict(self.headers),
                [int.from_bytes(each.span_id, "big") for each in spans_of(request)],
            )
        )
        self.server.parsed.append(request)
        mood(self)

    def answer(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Receiver(ThreadingHTTPServer):
    """A receiver on a port of its own. It answers 200, unless moods are given."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.moods: queue.SimpleQueue[Mood] = queue.SimpleQueue()
        self.requests: list[tuple[str, int, dict[str, str], list[int]]] = []
        self.parsed: list[Any] = []
        self.complaints: list[Exception] = []
        self.let_go = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_mood(self) -> Mood:
        try:
            return self.moods.get_nowait()
        except queue.Empty:
            return fine

    def expect(self, *moods: Mood) -> None:
        for mood in moods:
            self.moods.put(mood)

    @property
    def taken(self) -> list[int]:
        """Which spans it said it took."""
        return [number for mood, _, _, numbers in self.requests if mood == "fine" for number in numbers]

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away; what matters is in `complaints`


def fine(handler: Handler) -> None:
    handler.answer(200)


def close(handler: Handler) -> None:
    """Took it, and never said so."""
    handler.close_connection = True


def hang(handler: Handler) -> None:
    handler.server.let_go.wait(TIMEOUT)
    handler.close_connection = True


def half(handler: Handler) -> None:
    """Takes it, says so, and breaks off in the middle of the answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"partialSuccess":')
    handler.close_connection = True


def flood(handler: Handler) -> None:
    """Says more than anyone wants to hear."""
    handler.answer(200, b" " * (1 << 20))


def garbage(handler: Handler) -> None:
    handler.connection.sendall(b"\x00\x01 no HTTP at all\r\n\r\n")
    handler.close_connection = True


def answering(status: int, body: bytes = b"{}", **headers: str) -> Mood:
    def answer(handler: Handler) -> None:
        handler.answer(status, body, **headers)

    answer.__name__ = f"answer {status}"
    return answer


def rejecting(count: object, message: str = "too old") -> Mood:
    return answering(
        200, json.dumps({"partialSuccess": {"rejectedSpans": count, "errorMessage": message}}).encode()
    )


class Clock:
    """Seconds that pass when they are waited for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class Exporter:
    """A sink without a tracer, on a clock that stands, and what it logged and counted."""

    def __init__(self, receiver: Receiver, **options: Any) -> None:
        self.clock = Clock()
        self.registry = Registry()
        self.journal = Journal(self.registry)
        self.sink = OtlpSpanSink(
            receiver.endpoint,
            registry=self.registry,
            logger=self.journal.get_logger("otlp"),
            ticks=self.clock,
            clock=self.clock,
            jitter=lambda: 0.5,
            wait=self.clock.wait,
            **{"timeout": TIMEOUT, **options},
        )

    def fails(self, *numbers: int, match: str | None = None) -> float:
        """Tries to send; returns for how long it is to be left alone then."""
        with pytest.raises(ReceiverError, match=match):
            self.write(*numbers)
        return self.sink._not_before - self.clock.now

    def write(self, *numbers: int) -> None:
        self.sink.write([root(number) for number in numbers])

    def missed(self) -> int:
        """What its counter says."""
        snapshot = self.registry.snapshot()
        return int(snapshot.value(MISSED, sink="otlp")) if MISSED in snapshot else 0

    def logged(self) -> list[tuple[str, str]]:
        sink = MemorySink()
        self.journal.add_sink(sink)
        assert self.journal.close()
        return [(each["level"], each["message"]) for each in sink.records if each["logger"] == "otlp"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
        assert server.complaints == []
    finally:
        server.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def exporter(receiver: Receiver) -> Iterator[Exporter]:
    made = Exporter(receiver)
    yield made
    made.sink.close()


def test_spans_arrive(receiver: Receiver) -> None:
    """A request has all spans, who sends them, and the headers that were asked for, compressed."""
    exporter = Exporter(receiver, service="vault", vault="north", headers={"Authorization": "Bearer secret"})
    exporter.sink.write([root(1, attributes={"hash": b"\x01"}), span(2, parent=1)])
    ((_, _, headers, numbers),) = receiver.requests
    assert numbers == [1, 2]
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Encoding"] == "gzip"
    (request,) = receiver.parsed
    resource = python_attributes(request.resource_spans[0].resource)
    assert (resource["service.name"], resource["vault.id"]) == ("vault", "north")
    first, second = spans_of(request)
    assert python_attributes(first) == {"hash": b"\x01", "vaultscope.kept": "sampled"}
    assert first.flags == second.flags == 1  # a trace that was sampled is so as a whole


def test_without_compression(receiver: Receiver) -> None:
    """It can be switched off."""
    Exporter(receiver, compress=None).write(1)
    assert receiver.taken == [1]
    assert "Content-Encoding" not in receiver.requests[0][2]


def test_the_connection_is_kept(receiver: Receiver, exporter: Exporter) -> None:
    """All requests go through one connection, also after an answer that is no success or is too long."""
    receiver.expect(fine, answering(503), answering(400, b"no"), rejecting(1))
    exporter.write(1)
    exporter.fails(2)
    exporter.clock.now += 60
    exporter.write(2)
    exporter.write(3)
    exporter.write(4)
    assert len({port for _, port, _, _ in receiver.requests}) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_failure_that_passes(receiver: Receiver, exporter: Exporter, status: int) -> None:
    """The spans come again, and once they are taken they are not sent any more."""
    receiver.expect(answering(status))
    exporter.fails(1, match=str(status))
    exporter.clock.now += 60
    exporter.write(1)
    exporter.write(2)
    assert receiver.taken == [1, 2]
    assert exporter.missed() == 0
    assert exporter.logged() == [
        ("warn", "OTLP receiver fails, and is tried again"),
        ("info", "OTLP receiver works again"),
    ]


@pytest.mark.parametrize("mood", [close, garbage])
def test_a_connection_that_breaks(receiver: Receiver, exporter: Exporter, mood: Mood) -> None:
    """Without an answer, or with one that is none, the spans are sent again: at least once, not at most."""
    receiver.expect(mood)
    exporter.fails(1)
    exporter.clock.now += 60
    exporter.write(1)
    assert [numbers for *_, numbers in receiver.requests] == [[1], [1]]


def test_a_receiver_that_hangs(receiver: Receiver) -> None:
    """A request takes no longer than its timeout."""
    exporter = Exporter(receiver, timeout=0.2)
    receiver.expect(hang)
    began = time.monotonic()
    exporter.fails(1, match="[Tt]imed? ?out")
    assert time.monotonic() - began < TIMEOUT / 2
    exporter.clock.now += 60
    exporter.write(1)
    assert receiver.taken == [1]


def test_a_receiver_that_is_not_there(receiver: Receiver, exporter: Exporter) -> None:
    """A refused connection is a failure that passes."""
    free = Receiver()
    endpoint = free.endpoint
    free.server_close()
    exporter.sink.url = f"{endpoint}/v1/traces"
    exporter.fails(1, match="refused")
    exporter.sink.url = f"{receiver.endpoint}/v1/traces"
    exporter.clock.now += 60
    exporter.write(1)
    assert receiver.taken == [1]


@pytest.mark.parametrize("mood", [half, flood])
def test_an_answer_that_does_not_end_well(receiver: Receiver, exporter: Exporter, mood: Mood) -> None:
    """After 200 the spans have arrived, whatever becomes of the rest of the answer."""
    receiver.expect(mood)
    exporter.write(1)
    exporter.write(2)
    assert [numbers for *_, numbers in receiver.requests] == [[1], [2]]


def test_back_off(receiver: Receiver, exporter: Exporter) -> None:
    """The time between two tries doubles up to half a minute; meanwhile the receiver is left alone; a success
    begins anew."""
    receiver.expect(*[answering(503)] * 12)
    delays = []
    for _ in range(12):
        delays.append(round(exporter.fails(1), 6))
        count = len(receiver.requests)
        exporter.clock.now += delays[-1] - 0.01
        exporter.fails(1, match="left alone")
        assert len(receiver.requests) == count
        exporter.clock.now += 0.02
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]
    exporter.write(1)
    receiver.expect(answering(503))
    assert exporter.fails(2) == pytest.approx(0.1)


def test_back_off_has_jitter(receiver: Receiver) -> None:
    """Many vaults do not come again at the same moment."""
    delays = []
    for jitter in (0.0, 0.999):
        receiver.expect(answering(503))
        exporter = Exporter(receiver)
        exporter.sink._jitter = lambda jitter=jitter: jitter  # type: ignore[misc]
        delays.append(exporter.fails(1))
    assert delays == [pytest.approx(0.05), pytest.approx(0.1499)]


@pytest.mark.parametrize(
    ("header", "seconds"), [("20", 20.0), ("Thu, 01 Jan 1970 00:17:00 GMT", 20.0), ("999999", 3600.0)]
)
def test_retry_after(receiver: Receiver, exporter: Exporter, header: str, seconds: float) -> None:
    """The receiver is left alone for as long as it asks to be, but not for ever."""
    receiver.expect(answering(429, Retry_After=header))
    assert exporter.fails(1) == seconds
    exporter.clock.now += seconds - 1
    exporter.fails(1, match="left alone")
    assert len(receiver.requests) == 1
    exporter.clock.now += 1
    exporter.write(1)
    assert receiver.taken == [1]


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 301])
def test_a_failure_that_stays(receiver: Receiver, exporter: Exporter, status: int) -> None:
    """Spans that are refused are not sent again: they are counted, and it is logged once."""
    receiver.expect(*[answering(status, b"\x1b[31mno", Location="/elsewhere")] * 3)
    for number in range(3):
        exporter.write(2 * number + 1, 2 * number + 2)
    exporter.write(7)
    assert [numbers for *_, numbers in receiver.requests] == [[1, 2], [3, 4], [5, 6], [7]]
    assert exporter.missed() == exporter.sink.missed == 6
    assert exporter.logged() == [
        ("warn", "OTLP receiver refused spans"),
        ("info", "OTLP receiver works again"),
    ]


@pytest.mark.parametrize(
    ("count", "missed"), [("1", 1), (2, 2), (99, 2), (0, 0), ("0", 0), (-5, 0), ("many", 0), (None, 0)]
)
def test_partial_success(receiver: Receiver, exporter: Exporter, count: object, missed: int) -> None:
    """What the receiver says it rejected is counted, not more than was sent, and not sent again."""
    receiver.expect(rejecting(count))
    exporter.write(1, 2)
    assert len(receiver.requests) == 1
    assert exporter.missed() == missed
    assert exporter.logged() == ([("warn", "OTLP receiver rejected spans")] if missed else [])


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"\xff", b"{", b'{"partialSuccess":7}', b"[" * 5000])
def test_an_answer_that_says_nothing(receiver: Receiver, exporter: Exporter, body: bytes) -> None:
    """A success is one whatever it says."""
    receiver.expect(answering(200, body))
    exporter.write(1)
    assert exporter.missed() == 0


def test_large_batches_are_several_requests(receiver: Receiver) -> None:
    """When one of them fails, those before it are not sent again."""
    exporter = Exporter(receiver, batch_spans=2)
    receiver.expect(fine, answering(503))
    exporter.fails(1, 2, 3, 4, 5)
    exporter.clock.now += 60
    exporter.write(1, 2, 3, 4, 5)
    assert receiver.taken == [1, 2, 3, 4, 5]
    assert [len(numbers) for *_, numbers in receiver.requests] == [2, 2, 2, 1]


def test_other_spans_begin_at_their_beginning(receiver: Receiver) -> None:
    """What was sent of spans that were given up does not count for the next ones."""
    exporter = Exporter(receiver, batch_spans=1)
    receiver.expect(fine, answering(503))
    exporter.fails(1, 2)
    exporter.clock.now += 60
    exporter.write(3, 4)
    assert receiver.taken == [1, 3, 4]


def test_small_batches_wait_for_more(receiver: Receiver) -> None:
    """Requests keep a distance unless they are full; the first one, and one that comes late, do not wait."""
    exporter = Exporter(receiver, batch_spans=2, batch_seconds=0.5)
    exporter.write(1)
    exporter.clock.now += 0.2
    exporter.write(2)
    exporter.write(3, 4)
    exporter.clock.now += 0.7
    exporter.write(5)
    assert exporter.clock.waits == [pytest.approx(0.3)]
    assert receiver.taken == [1, 2, 3, 4, 5]


def test_a_child_has_a_connection_of_its_own(receiver: Receiver, exporter: Exporter) -> None:
    """After a fork the parent's connection is not used, and what the parent was sending is not sent."""
    exporter.write(1)
    exporter.sink.after_fork()
    exporter.write(2)
    assert receiver.taken == [1, 2]
    assert len({port for _, port, _, _ in receiver.requests}) == 2


# ---- with a tracer


def test_nothing_is_lost_or_doubled(receiver: Receiver) -> None:
    """A receiver that fails half of the time gets every span of a tracer, and takes each once."""
    receiver.expect(*[answering(503), fine, answering(429), close, fine, answering(502)] * 4)
    tracer = Tracer(Registry(), rate=1.0)
    memory = MemorySpanSink()
    tracer.add_sink(memory)
    sink = OtlpSpanSink(receiver.endpoint, batch_spans=20, batch_seconds=0.0, jitter=lambda: -0.499)
    tracer.add_sink(sink)
    for _ in range(100):
        with tracer.span("outer"), tracer.span("inner"):
            pass
    assert tracer.close(TIMEOUT)
    made = [int(each["span_id"], 16) for each in memory.spans]
    assert len(made) == 200
    # It took those of `close`, too, which it did not say: they came again.
    assert Counter(receiver.taken) == Counter(made)
    assert sink.missed == 0


def test_a_receiver_that_hangs_does_not_hold_up_the_end(receiver: Receiver) -> None:
    """Closing takes its timeout and a little, though the request may take longer; what is lost is counted."""
    receiver.expect(*[hang] * 10)
    registry = Registry()
    tracer = Tracer(registry, rate=1.0)
    tracer.add_sink(OtlpSpanSink(receiver.endpoint, timeout=TIMEOUT, registry=registry))
    with tracer.span("one"):
        pass
    began = time.monotonic()
    assert not tracer.close(0.1)
    assert time.monotonic() - began < TIMEOUT / 2
