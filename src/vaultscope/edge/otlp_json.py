"""Spans as OTLP/JSON, the body of a request to /v1/traces.

Not quite the JSON that protobuf makes: ids are hexadecimal digits, and enums are numbers. Integers of 64 bits
are strings, as there.

Source: opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding".
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from typing import Any

from vaultscope._native._core import library_version
from vaultscope.core.json_codec import dumps
from vaultscope.edge.span_record import span_record

__all__ = ["encode_request", "encode_resource", "encode_span"]

Json = dict[str, Any]

_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_STATUSES = {"pending": 0, "ok": 1, "error": 2}
_SAMPLED = 1  # in the flags
_U32_MAX = (1 << 32) - 1
_U64_MAX = (1 << 64) - 1
# What only a local root has, and what OTLP has no field for.
_OWN = {"reason": "vaultscope.kept", "lost_spans": "vaultscope.lost_spans"}


def encode_resource(attributes: Mapping[str, Any]) -> bytes:
    """What comes before the spans of a request: who sends them."""
    plain = span_record({"attributes": attributes}, exact=True)["attributes"]
    resource = dumps({"attributes": _attributes(plain)})
    scope = dumps({"name": "vaultscope", "version": library_version()})
    return b'{"resourceSpans":[{"resource":' + resource + b',"scopeSpans":[{"scope":' + scope + b',"spans":['


def encode_request(resource: bytes, spans: Iterable[bytes]) -> bytes:
    """The body of a request."""
    return resource + b",".join(spans) + b"]}]}]}"


def encode_span(span: Mapping[str, Any]) -> bytes:
    """A span, as sinks are given it. Never raises.

    It has the sampled flag, which says that the trace may have been recorded, whatever it was kept for:
    vaultscope.kept says that. OpenTelemetry's exporters send no spans without it, and a receiver may take
    such for none. Those that were called in a trace that only failed or was slow had been told otherwise.
    """
    record = span_record(span, exact=True)
    start_ns = record["start_ns"]
    encoded: Json = {
        "traceId": record["trace_id"],
        "spanId": record["span_id"],
        "name": record["name"],
        "kind": _KINDS.get(record["kind"], 0),
        "startTimeUnixNano": _nanoseconds(start_ns),
        "endTimeUnixNano": _nanoseconds(start_ns + record["duration_ns"]),
        "status": {"code": _STATUSES.get(record["status"], 0)},
        "flags": _SAMPLED,
    }
    if record["parent_span_id"]:
        encoded["parentSpanId"] = record["parent_span_id"]
    if "status_message" in record and record["status"] == "error":
        encoded["status"]["message"] = record["status_message"]
    if "tracestate" in record:
        encoded["traceState"] = record["tracestate"]
    attributes = _attributes(record.get("attributes", {}))
    attributes += [{"key": ours, "value": _any(record[key])} for key, ours in _OWN.items() if key in record]
    if attributes:
        encoded["attributes"] = attributes
    if "events" in record:
        encoded["events"] = [_event(event) for event in record["events"]]
    if "links" in record:
        encoded["links"] = [_link(link) for link in record["links"]]
    if "omitted" in record:
        # Attributes, events and links are counted together; this is the count that all receivers show.
        encoded["droppedAttributesCount"] = min(record["omitted"], _U32_MAX)
    return dumps(encoded)


def _event(event: Json) -> Json:
    encoded: Json = {"timeUnixNano": _nanoseconds(event["time_ns"]), "name": event["name"]}
    if event.get("attributes"):
        encoded["attributes"] = _attributes(event["attributes"])
    return encoded


def _link(link: Json) -> Json:
    encoded: Json = {"traceId": link["trace_id"], "spanId": link["span_id"]}
    if link.get("tracestate"):
        encoded["traceState"] = link["tracestate"]
    if link.get("attributes"):
        encoded["attributes"] = _attributes(link["attributes"])
    return encoded


def _nanoseconds(time: int) -> str:
    return str(min(max(time, 0), _U64_MAX))


def _attributes(plain: Mapping[str, Any]) -> list[Json]:
    return [{"key": key, "value": _any(value)} for key, value in plain.items()]


def _any(value: Any) -> Json:
    """An AnyValue of what span_record leaves."""
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        is_int64 = -(1 << 63) <= value < 1 << 63
        return {"intValue" if is_int64 else "stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else _odd_float(value)}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_any(each) for each in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _attributes(value)}}
    return {}  # None: an AnyValue without a value


def _odd_float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
