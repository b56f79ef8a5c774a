"""Which form of Prometheus text a scraper gets, and the file for node_exporter."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vaultscope import Registry
from vaultscope.edge.prometheus import HEADER_CHARACTERS_MAX, TextFormat, negotiate, render, write_textfile

TEXT = TextFormat(False, False, "text/plain; version=0.0.4; charset=utf-8")
TEXT_1 = TextFormat(False, False, "text/plain; version=1.0.0; charset=utf-8; escaping=underscores")
TEXT_UTF8 = TextFormat(False, True, "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8")
OPEN = TextFormat(
    True, False, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
)
OPEN_UTF8 = TextFormat(
    True, True, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
)

PROTO = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
OM1 = "application/openmetrics-text;version=1.0.0"
OM0 = "application/openmetrics-text;version=0.0.1"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        # Prometheus 2.30, 2.42 (Debian 12), 2.50 with native histograms.
        ("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
        (f"{OM1},{OM0};q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPEN),
        (f"{PROTO},{OM1};q=0.8,{OM0};q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPEN),
        # Prometheus 3 by default, with protobuf, and told to keep the old names.
        (
            f"{OM1};escaping=allow-utf-8;q=0.5,{OM0};q=0.4,"
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            OPEN_UTF8,
        ),
        (
            f"{PROTO};q=0.6,{OM1};escaping=allow-utf-8;q=0.5,{OM0};q=0.4,"
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            OPEN_UTF8,
        ),
        (
            f"{OM1};escaping=underscores;q=0.5,{OM0};q=0.4,"
            "text/plain;version=1.0.0;escaping=underscores;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            OPEN,
        ),
        # Prometheus 3 with one protocol alone in scrape_protocols.
        ("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.2,*/*;q=0.1", TEXT_UTF8),
        ("text/plain;version=1.0.0;escaping=underscores;q=0.2,*/*;q=0.1", TEXT_1),
        ("text/plain;version=0.0.4;q=0.2,*/*;q=0.1", TEXT),
        (f"{PROTO};q=0.2,*/*;q=0.1", TEXT),
        # An escaping that we do not have: the next best, never names that are escaped otherwise than asked.
        (f"{OM1};escaping=dots;q=0.5,{OM0};q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", TEXT),
        (f"{OM1};escaping=values;q=0.5,text/plain;version=1.0.0;escaping=values;q=0.3,*/*;q=0.1", TEXT),
        # Other agents, curl, a browser.
        ("text/plain;version=0.0.4;q=1,*/*;q=0.1", TEXT),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", TEXT),
        ("application/json", TEXT),
    ],
)
def test_what_scrapers_send(accept: str, expected: TextFormat) -> None:
    """Each known scraper gets the best form that it reads."""
    assert negotiate(accept) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, TEXT),
        ("", TEXT),
        # weight
        (f"{OM1};q=0.1,text/plain;q=0.2", TEXT),
        (f"text/plain;q=0.1,{OM1};q=0.11", OPEN),
        (f"{OM1};q=1.000,text/plain;q=0.999", OPEN),
        (f"{OM1};q=0,text/plain;q=0.001", TEXT),
        (f"{OM1};q=0.000", TEXT),
        ("text/plain;version=0.0.4;q=0,*/*;q=0.1", OPEN),
        ("*/*;q=0", TEXT),  # nothing is acceptable: rather a text than none
        ("text/plain;q=0", TEXT),
        # specificity: the most specific range that covers a format speaks for it, wherever it stands
        (f"*/*,{OM1};q=0.2,text/plain;q=0.3,text/*;q=0.1,application/*;q=0.1", TEXT),
        (f"*/*;q=0.9,text/plain;q=0.1,{OM1};q=0.5", OPEN),
        ("text/plain;q=0.9,text/plain;version=0.0.4;q=0.1,application/*;q=0.2", TEXT_1),
        ("application/*", OPEN),
        ("text/*;q=0.3,application/*;q=0.4", OPEN),
        ("text/*", TEXT),
        # equal weights: the more specific range, then the earlier one, then what everyone reads
        (f"*/*,{OM1}", OPEN),
        ("application/openmetrics-text,text/plain", OPEN),
        ("text/plain,application/openmetrics-text", TEXT),
        ("application/openmetrics-text", OPEN),
        # parameters, in any case and any quotes; those we have no answer for
        ("Application/OpenMetrics-Text; Version=1.0.0; Charset=UTF-8", OPEN),
        ('application/openmetrics-text; version="1.0.0"', OPEN),
        ('application/openmetrics-text; version="1.\\0.0"; escaping="allow-utf-8"', OPEN_UTF8),
        (f"{OM1};q=0.5;escaping=allow-utf-8,text/plain;q=0.4", OPEN_UTF8),
        (f"{OM1};Q=0.5,text/plain;q=0.6", TEXT),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", TEXT),
        ("application/openmetrics-text;charset=latin-1,text/plain;q=0.1", TEXT),
        ('application/openmetrics-text;version="1.0.0, or so; q=1",text/plain;q=0.1', TEXT),
        # blanks and empty elements are allowed
        (f" \t, ,{OM1} \t; q=0.9 ;, text/plain ;q=0.8,,", OPEN),
    ],
)
def test_accept_header(accept: str | None, expected: TextFormat) -> None:
    """The header is read as RFC 9110 has it."""
    assert negotiate(accept) == expected


@pytest.mark.parametrize(
    "accept",
    [
        "/;q=0.1",
        "openmetrics-text/",
        "application/openmetrics-text;q=2",
        "application/openmetrics-text;q=1.001",
        "application/openmetrics-text;q=-1",
        "application/openmetrics-text;q=nan",
        "application/openmetrics-text;q=1e0",
        "application/openmetrics-text;q=٠",
        "application/openmetrics-text;q=",
        "application/openmetrics-text;q",
        "application/openmetrics-text;=1.0.0",
        "application/openmetrics-text;version=1.0.0 1.0.0",
        'application/openmetrics-text;version="1.0.0',
        'application/openmetrics-text;version="1.0.0\\',
        "application/openmetrics-text/1.0.0",
        "application/openmetrics-text\r\nSet-Cookie: a=b",
        "application/openmetrics-text\0",
        "application/openmetrics-text, ÿ",
        "application/openmetrics-text," * (HEADER_CHARACTERS_MAX // 29 + 1),
        '"' * HEADER_CHARACTERS_MAX,
        '\\"' * (HEADER_CHARACTERS_MAX // 2),
        ";" * HEADER_CHARACTERS_MAX,
        "a/b;q=0.1;" * 400,
        "*/*" * 1000,
    ],
)
def test_header_that_cannot_be_read(accept: str) -> None:
    """A malformed or hostile header does not fail the scrape: it gets the text that everyone reads."""
    assert negotiate(accept) == TEXT


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.counter("cas.put.count", "Puts.").inc(3)
    registry.histogram("cas.put.latency", "Time of a put.").observe(7)
    return registry


@pytest.mark.parametrize(
    ("accept", "form", "sample", "end"),
    [
        (None, TEXT, b"\ncas_put_count_total 3\n", b"\n"),
        (OM1, OPEN, b"\ncas_put_count_total 3\n", b"\n# EOF\n"),
        (f"{OM1};escaping=allow-utf-8", OPEN_UTF8, b'\n{"cas.put.count_total"} 3\n', b"\n# EOF\n"),
        ("text/plain;version=1.0.0;escaping=allow-utf-8", TEXT_UTF8, b'\n{"cas.put.count_total"} 3\n', b"\n"),
    ],
)
def test_render(registry: Registry, accept: str | None, form: TextFormat, sample: bytes, end: bytes) -> None:
    """The text is of the form that its content type says."""
    text, content_type = render(registry.snapshot(), accept)
    assert content_type == form.content_type
    assert sample in text
    assert text.endswith(end)


def test_a_snapshot_renders_the_same_twice(registry: Registry) -> None:
    """A snapshot's text does not follow the live values."""
    snapshot = registry.snapshot()
    first, _ = render(snapshot)
    registry.counter("cas.put.count", "Puts.").inc()
    assert render(snapshot)[0] == first
    assert render(registry.snapshot())[0] != first


def test_textfile_is_text_0_0_4(registry: Registry, tmp_path: Path) -> None:
    """The file holds what a scraper without an Accept header would get."""
    path = tmp_path / "vault.prom"
    write_textfile(path, registry)
    assert b"\ncas_put_count_total 3\n" in path.read_bytes()
    assert b"# EOF" not in path.read_bytes()


def test_textfile_is_replaced(registry: Registry, tmp_path: Path) -> None:
    """A reader that has the old file open keeps the whole of it; nothing else is left in the directory."""
    path = tmp_path / "vault.prom"
    path.write_bytes(b"old\n")
    with path.open("rb") as reader:
        write_textfile(str(path), registry)
        assert reader.read() == b"old\n"
    assert path.read_bytes() != b"old\n"
    assert os.listdir(tmp_path) == ["vault.prom"]


def test_textfile_can_be_read_by_others(registry: Registry, tmp_path: Path) -> None:
    """The file has the permissions of any new file, not those of a private temporary one."""
    before = os.umask(0o022)
    try:
        write_textfile(tmp_path / "vault.prom", registry)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "vault.prom").stat().st_mode) == 0o644


def test_textfile_that_cannot_be_written(registry: Registry, tmp_path: Path) -> None:
    """A failure is told, and leaves no half-written file behind."""
    (tmp_path / "vault.prom").mkdir()
    with pytest.raises(OSError):
        write_textfile(tmp_path / "vault.prom", registry)
    assert os.listdir(tmp_path) == ["vault.prom"]
    with pytest.raises(FileNotFoundError):
        write_textfile(tmp_path / "missing" / "vault.prom", registry)
