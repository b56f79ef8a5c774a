"""What an OTLP exporter is told: by its caller, or by the environment that all of OpenTelemetry's share.

Source: OpenTelemetry, OTLP Exporter Configuration, Environment Variable Specification.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from vaultscope._native._core import library_version

__all__ = ["receiver_url", "request_headers", "request_timeout", "resource_attributes"]

DEFAULT_ENDPOINT = "http://localhost:4318"
PATH = "/v1/traces"
DEFAULT_TIMEOUT = 10.0
TIMEOUT_MAX = 3600.0  # seconds


def _setting(name: str) -> str:
    prefix = "OTEL_EXPORTER_OTLP_"
    return os.environ.get(f"{prefix}TRACES_{name}") or os.environ.get(prefix + name) or ""


def receiver_url(endpoint: str | None) -> str:
    """Where requests go to. Raises ValueError."""
    if not isinstance(endpoint, (str, type(None))):
        raise ValueError(f"an endpoint is a text, not {endpoint!r}")
    whole = "" if endpoint else os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
    base = endpoint or _setting("ENDPOINT") or DEFAULT_ENDPOINT
    url = whole or base.rstrip("/") + PATH
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(f"an endpoint is http://host:port or https://..., not {url!r}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an endpoint has no credentials, which would be logged: they are for a header")
    return url


def request_timeout() -> float:
    """Seconds; what is no time is passed over, as OpenTelemetry has it."""
    try:
        milliseconds = float(_setting("TIMEOUT"))
    except ValueError:
        return DEFAULT_TIMEOUT
    return milliseconds / 1e3 if 0 < milliseconds <= TIMEOUT_MAX * 1e3 else DEFAULT_TIMEOUT


def request_headers(given: Mapping[str, str] | None, *, compress: bool) -> dict[str, str]:
    """All headers, checked: what HTTP cannot say would fail with each request. Raises ValueError."""
    headers = dict(_pairs(_setting("HEADERS")) if given is None else given)
    for name, value in headers.items():
        try:
            is_fine = (name + value).encode("latin-1").decode("latin-1").isprintable() and name.isascii()
        except UnicodeEncodeError:
            is_fine = False
        if not is_fine or not name or any(sign in name for sign in " :"):
            raise ValueError(f"{name!r} is no header, or has a value that is none")
    ours = {"Content-Type": "application/json", "User-Agent": f"vaultscope/{library_version()}"}
    if compress:
        ours["Content-Encoding"] = "gzip"
    taken = {name.lower() for name in ours}
    return ours | {name: value for name, value in headers.items() if name.lower() not in taken}


def resource_attributes(service: str | None, vault: str, more: Mapping[str, Any] | None) -> dict[str, Any]:
    """Who sends the spans. What is given here goes before what the environment says."""
    attributes: dict[str, Any] = {"service.name": "vaultscope"}
    attributes |= _pairs(os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    if name := os.environ.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = name
    attributes |= more or {}
    if service is not None:
        attributes["service.name"] = service
    if vault:
        attributes["vault.id"] = vault
    return attributes | {
        "telemetry.sdk.name": "vaultscope",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": library_version(),
    }


def _pairs(text: str) -> dict[str, str]:
    """What `a=1,b=two%20words` says; parts without `=` say nothing."""
    pairs = (each.partition("=") for each in text.split(","))
    return {
        unquote(key.strip()): unquote(value.strip()) for key, sign, value in pairs if sign and key.strip()
    }
