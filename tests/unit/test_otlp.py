"""OTLP/JSON as opentelemetry-proto reads it, and what the exporter is told by arguments and environment."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from otlp_wire import parse_request, python_attributes, spans_of
from spans import START_NS, attributes, events, root, span

from vaultscope import __version__
from vaultscope.edge import otlp
from vaultscope.edge.otlp import OtlpSpanSink
from vaultscope.edge.otlp_json import encode_request, encode_resource, encode_span
from vaultscope.edge.otlp_settings import receiver_url, request_headers, request_timeout, resource_attributes


def parsed(given: dict[str, Any]) -> Any:
    """A span as a receiver sees it."""
    (span,) = spans_of(parse_request(encode_request(encode_resource({}), [encode_span(given)])))
    return span


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "HEADERS", "TIMEOUT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_TRACES_{name}", raising=False)
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)


# ---- encoding


def test_a_span() -> None:
    """Ids, name, kind, times to the nanosecond and status arrive as they were."""
    seen = parsed(span(2, trace=2**127 + 1, parent=2**64 - 1, kind="client", duration_ns=1_000_001))
    assert seen.trace_id == (2**127 + 1).to_bytes(16, "big")
    assert seen.span_id == (2).to_bytes(8, "big")
    assert seen.parent_span_id == b"\xff" * 8
    assert (seen.name, seen.kind) == ("cas.get", Span.SPAN_KIND_CLIENT)
    assert (seen.start_time_unix_nano, seen.end_time_unix_nano) == (START_NS, START_NS + 1_000_001)
    assert seen.status.code == Status.STATUS_CODE_OK


@pytest.mark.parametrize("kind", ["internal", "server", "client", "producer", "consumer"])
def test_kinds(kind: str) -> None:
    """Each kind is the one of that name."""
    assert Span.SpanKind.Name(parsed(span(kind=kind)).kind) == f"SPAN_KIND_{kind.upper()}"


def test_status() -> None:
    """An error has its message; what is still pending is unset; a message is for errors only."""
    failed = parsed(span(status="error", status_message="OSError: full")).status
    assert (failed.code, failed.message) == (Status.STATUS_CODE_ERROR, "OSError: full")
    assert parsed(span(status="pending")).status.code == Status.STATUS_CODE_UNSET
    assert parsed(span(status_message="odd")).status.message == ""


def test_the_beginning_of_a_trace_has_no_parent() -> None:
    """An empty parent is no parent."""
    assert parsed(root()).parent_span_id == b""


def test_attributes_have_types() -> None:
    """Each kind of value arrives as the kind that OTLP has for it."""
    given = {
        "text": "é\ud800", "yes": True, "small": -(2**63), "large": 2**63, "float": 1.5, "inf": -math.inf,
        "bytes": b"\0\xff", "none": None, "list": [1, "a", [None]], "dict": {"a": {1: b"x"}}, "set": {7},
        "error": ValueError("bad"),
    }  # fmt: skip
    assert python_attributes(parsed(span(attributes=given))) == {
        "text": "é\ufffd", "yes": True, "small": -(2**63), "large": str(2**63), "float": 1.5,
        "inf": -math.inf, "bytes": b"\0\xff", "none": None, "list": [1, "a", [None]],
        "dict": {"a": {"1": b"x"}}, "set": [7], "error": {"type": "ValueError", "message": "bad"},
    }  # fmt: skip
    assert math.isnan(python_attributes(parsed(span(attributes={"nan": math.nan})))["nan"])


def test_types_are_told_apart() -> None:
    """True is no integer, and 1.0 is none, either."""
    kinds = {
        each.key: each.value.WhichOneof("value")
        for each in parsed(span(attributes={"a": True, "b": 1, "c": 1.0})).attributes
    }
    assert kinds == {"a": "bool_value", "b": "int_value", "c": "double_value"}


def test_events_and_links() -> None:
    """An exception is an event with OpenTelemetry's attributes; a link has its ids and attributes."""
    event = {"time_ns": START_NS + 5, "name": "exception", "attributes": {"exception": KeyError("k")}}
    link = {"trace_id": f"{9:032x}", "span_id": f"{8:016x}", "attributes": {"why": "batch"}}
    seen = parsed(span(events=[event], links=[link]))
    assert seen.events[0].time_unix_nano == START_NS + 5
    assert python_attributes(seen.events[0]) == {"exception.type": "KeyError", "exception.message": "'k'"}
    assert (seen.links[0].trace_id[-1], seen.links[0].span_id[-1]) == (9, 8)
    assert python_attributes(seen.links[0]) == {"why": "batch"}


def test_the_rest() -> None:
    """The flag, which all have, the trace's state, what was left out, and what only a local root has."""
    seen = parsed(root(tracestate="a=1", omitted=3, lost_spans=2, reason="error"))
    assert (seen.flags, seen.trace_state, seen.dropped_attributes_count) == (1, "a=1", 3)
    assert python_attributes(seen) == {"vaultscope.kept": "error", "vaultscope.lost_spans": 2}
    assert parsed(span()).flags == 1


def test_who_sends() -> None:
    """The request names the resource and the scope."""
    request = parse_request(encode_request(encode_resource({"service.name": "vault", "n": 1}), []))
    (resource,) = request.resource_spans
    assert python_attributes(resource.resource) == {"service.name": "vault", "n": 1}
    assert resource.scope_spans[0].scope.name == "vaultscope"
    assert resource.scope_spans[0].scope.version == __version__


@given(attributes, events)
def test_anything_is_a_request(attributes: dict[Any, Any], events: list[Any]) -> None:
    """Whatever is put into a span, a receiver takes it."""
    seen = parsed(span(attributes=attributes, events=events))
    assert seen.span_id == (1).to_bytes(8, "big")
    assert len(seen.events) + seen.dropped_attributes_count >= len(events)


@given(attributes)
def test_any_resource_is_one(attributes: dict[Any, Any]) -> None:
    """Whatever the resource has, a receiver takes it."""
    parse_request(encode_request(encode_resource(attributes), []))


# ---- settings


def test_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument goes before the environment, that of traces before that of all; the path is added once."""
    assert receiver_url(None) == "http://localhost:4318/v1/traces"
    assert receiver_url("https://h:1/base/") == "https://h:1/base/v1/traces"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:1")
    assert receiver_url(None) == "http://all:1/v1/traces"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:1/as/it/is")
    assert receiver_url(None) == "http://traces:1/as/it/is"
    assert receiver_url("http://mine:1") == "http://mine:1/v1/traces"
    assert receiver_url("") == "http://traces:1/as/it/is"  # as if it were not given


@pytest.mark.parametrize(
    "endpoint",
    ["localhost:4318", "ftp://h", "http://", "http://h:99999", "/v1", "http://a:b@h", 5, b"http://h"],
)
def test_an_endpoint_that_is_none(endpoint: Any) -> None:
    """It is refused at once, not with each request."""
    with pytest.raises(ValueError):
        OtlpSpanSink(endpoint)


def test_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says milliseconds; what is no time is passed over."""
    assert request_timeout() == 10.0
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2500")
    assert request_timeout() == 2.5
    for odd in ("soon", "-1", "0", "inf", "nan", "1e300"):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", odd)
        assert request_timeout() == 10.0


def test_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's are decoded; arguments go before it; what is needed is always there."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20a%2Cb, x=1,,odd")
    headers = request_headers(None, compress=True)
    assert (headers["Authorization"], headers["x"]) == ("Bearer a,b", "1")
    assert (headers["Content-Type"], headers["Content-Encoding"]) == ("application/json", "gzip")
    assert headers["User-Agent"] == f"vaultscope/{__version__}"
    assert "x" not in request_headers({"y": "2"}, compress=False)
    twice = request_headers({"content-type": "text/plain"}, compress=False)
    assert [name for name in twice if name.lower() == "content-type"] == ["Content-Type"]


@pytest.mark.parametrize(
    "header", [("a\nb", "c"), ("a", "b\r\nc: d"), ("a", "\u20ac"), ("", "a"), ("a:", "b"), ("a b", "c")]
)
def test_headers_that_are_none(header: tuple[str, str]) -> None:
    """What HTTP cannot say is refused at once, and cannot add headers of its own."""
    with pytest.raises(ValueError, match="no header"):
        request_headers(dict([header]), compress=False)


def test_the_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument goes before OTEL_SERVICE_NAME, that before OTEL_RESOURCE_ATTRIBUTES."""
    assert resource_attributes(None, "", None)["service.name"] == "vaultscope"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=low,host.name=h%20x")
    assert resource_attributes(None, "", None)["service.name"] == "low"
    assert resource_attributes(None, "", None)["host.name"] == "h x"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "middle")
    assert resource_attributes(None, "", None)["service.name"] == "middle"
    given = resource_attributes("high", "north", {"service.name": "x", "host.name": "mine"})
    assert (given["service.name"], given["host.name"], given["vault.id"]) == ("high", "mine", "north")
    assert (given["telemetry.sdk.name"], given["telemetry.sdk.language"]) == ("vaultscope", "python")


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": float("nan")},
        {"batch_spans": 0},
        {"batch_seconds": -1},
        {"compress": True},
        {"compress": False},
        {"compress": "zstd"},
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any]) -> None:
    """They are refused."""
    with pytest.raises(ValueError):
        OtlpSpanSink(**options)


def test_without_urllib3(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is said, and how to get it."""
    monkeypatch.setitem(sys.modules, "urllib3", None)
    with pytest.raises(ModuleNotFoundError, match="otlp"):
        OtlpSpanSink()


NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        (format_datetime(NOON.replace(minute=1), usegmt=True), 60.0),
        (format_datetime(NOON.replace(hour=11), usegmt=True), 0.0),
        ("-3", 0.0),
        ("", 0.0),
        ("soon", 0.0),
        ("9" * 400, 0.0),
        ("9" * 5000, 0.0),
    ],
)
def test_retry_after(text: str, seconds: float) -> None:
    """It is a number of seconds or a date; anything else says nothing."""
    assert otlp._seconds(text, NOON.timestamp()) == seconds


# ---- how spans are split into requests


def sizes(count: int, most: int, length: int = 1) -> list[int]:
    return [len(part) for part in otlp._parts(iter([b"x" * length] * count), most)]


def test_requests_have_so_many_spans() -> None:
    """None has more than it may, and none is empty."""
    assert sizes(5, 2) == [2, 2, 1]
    assert sizes(4, 2) == [2, 2]
    assert sizes(0, 2) == []


def test_requests_have_so_many_bytes() -> None:
    """Large spans make small requests; one that is too large goes alone."""
    assert sizes(5, 100, otlp.REQUEST_BYTES_MAX // 2 - 1) == [2, 2, 1]
    assert sizes(2, 100, otlp.REQUEST_BYTES_MAX * 2) == [1, 1]


def test_encoding_waits_until_it_is_asked() -> None:
    """A request is made when the one before was sent: not all of them lie in memory."""
    taken: list[int] = []

    def spans() -> Iterator[bytes]:
        for number in range(6):
            taken.append(number)
            yield b"x"

    next(otlp._parts(spans(), 2))
    assert len(taken) == 3
