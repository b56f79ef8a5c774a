"""What an OTLP receiver makes of a request: opentelemetry-proto parses it, and it must be quite right."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any, NoReturn

from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

_IDS = {"traceId": 32, "spanId": 16, "parentSpanId": 16}


def parse_request(body: bytes, *, packed: bool = False) -> ExportTraceServiceRequest:
    """The request. Raises ValueError if a receiver would not take it: unknown fields, ids that are none."""
    data = gzip.decompress(body) if packed else body
    tree = json.loads(data, parse_constant=_refuse)
    for resource in tree["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                _convert_ids(span)
                for link in span.get("links", ()):
                    _convert_ids(link)
    return Parse(json.dumps(tree), ExportTraceServiceRequest())


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _convert_ids(owner: dict[str, Any]) -> None:
    """OTLP/JSON has hexadecimal digits where protobuf's JSON has base64."""
    for name, digits in _IDS.items():
        if name in owner:
            if len(owner[name]) != digits:
                raise ValueError(f"{name} has {digits} digits, not {owner[name]!r}")
            owner[name] = base64.b64encode(bytes.fromhex(owner[name])).decode()


def spans_of(request: ExportTraceServiceRequest) -> list[Any]:
    """All spans of a request."""
    return [
        span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
    ]


def python_value(value: AnyValue) -> Any:
    """The Python object that an AnyValue stands for."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [python_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {each.key: python_value(each.value) for each in value.kvlist_value.values}
    return getattr(value, kind)


def python_attributes(owner: Any) -> dict[str, Any]:
    """The attributes of a span, an event, a link or a resource."""
    return {each.key: python_value(each.value) for each in owner.attributes}
