"""The text against those who read it: promtool's lint, prometheus_client's parsers, and a Prometheus server.

Each must find exactly the values of the snapshot. What they are is worked out here once more in plain Python,
from the snapshot and the names written down below.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from vaultscope import MetricSnapshot, Registry, Snapshot
from vaultscope.core.catalogue import Catalogue
from vaultscope.edge.http import MetricsServer
from vaultscope.edge.prometheus import render

PATIENCE = 60.0  # seconds for Prometheus to start, scrape and answer

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
OPENMETRICS_UTF8 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"
TEXT = "text/plain;version=0.0.4"
TEXT_UTF8 = "text/plain;version=1.0.0;escaping=allow-utf-8"

LABEL_VALUES = [
    "put",
    'quote " quote',
    "back \\ slash \\n",
    "new\nline",
    "🗄️ vault, déjà vu",
    "{curly=,#}",
    " blank ",
    "\\",
    '"',
]


class Exported(NamedTuple):
    """The name of a metric's family as it should be exported, with underscores and with dots."""

    legacy: str
    utf8: str
    per_base: float = 1.0  # how many of the declared unit make one base unit


NAMES = {
    "cas.put.count": Exported("cas_put_count", "cas.put.count"),
    "cas.operations.total": Exported("cas_operations", "cas.operations"),
    "cas.put.bytes": Exported("cas_put_bytes", "cas.put.bytes"),
    "cas.wait": Exported("cas_wait_seconds", "cas.wait_seconds", 1e3),
    "odd": Exported("odd", "odd"),
    "storage.used.bytes": Exported("storage_used_bytes", "storage.used.bytes"),
    "storage.limits": Exported("storage_limits", "storage.limits"),
    "replication.lag": Exported("replication_lag_seconds", "replication.lag_seconds", 1e6),
    "cas.put.latency": Exported("cas_put_latency_seconds", "cas.put.latency_seconds", 1e3),
    "cas.chunk.size": Exported("cas_chunk_size_bytes", "cas.chunk.size_bytes"),
    "soup.queries.duration": Exported("soup_queries_duration_seconds", "soup.queries.duration_seconds", 1e9),
    "cas.get.duration": Exported("cas_get_duration_seconds", "cas.get.duration_seconds", 1e9),
    "soup.idle": Exported("soup_idle_seconds", "soup.idle_seconds", 1e9),
    "full": Exported("full", "full"),
}


@pytest.fixture
def registry() -> Registry:
    """All kinds, with every awkward value and label there is; and some of every loss."""
    registry = Registry()
    registry.counter("cas.put.count", "Puts.").inc(2**53 - 1)
    registry.counter("cas.operations.total", 'Help with \\, "quotes"\nand a second line. 🗄️').inc(2**63 - 1)
    registry.counter("cas.put.bytes", "Bytes written.", unit="bytes").inc(0.1)
    registry.counter("cas.wait", "Time waited for a lock.", unit="ms").inc(5)
    odd = registry.counter("odd", "Odd labels.", labels=("a", "b"))
    for i, value in enumerate(LABEL_VALUES):
        odd.labels(value, LABEL_VALUES[-1 - i]).inc(i + 1)

    registry.gauge("storage.used.bytes", "Bytes used.", unit="bytes").set(1e15)
    limits = registry.gauge("storage.limits", "What a double can be.", labels=("what",))
    for number in (
        math.nan,
        math.inf,
        -math.inf,
        -0.0,
        5e-324,
        1.7976931348623157e308,
        -1.5,
        0.1,
        1e21,
        1e-7,
    ):
        limits.labels(repr(number)).set(number)
    registry.gauge("replication.lag", "Lag.", unit="us").set(1234567.0)

    latency = registry.histogram("cas.put.latency", "Time of a put.", labels=("op",))
    for elapsed in (0.5, 1, 1.001, 7, 7, 2500, 99999):
        latency.labels("put\n").observe(elapsed)
    latency.labels("never")
    registry.histogram("cas.chunk.size", "Bytes.", unit="bytes", buckets=(-1, 0, 0.1, 1e6, 1e21)).observe(0.1)

    queries = registry.hdr_histogram("soup.queries.duration", "Time of a query.", labels=("kind",))
    gets = registry.hdr_histogram("cas.get.duration", "Time of a get.", buckets=(10**6, 5 * 10**6, 10**9))
    for elapsed in range(1, 10_000_000, 9_999):
        queries.labels("by name").record(elapsed)
        gets.record(elapsed)
    registry.hdr_histogram("soup.idle", "Nothing yet.")

    queries.labels("by name").record(10**15)  # clamped
    registry.counter("cas.put.count", "Puts.").inc(-1)  # invalid
    full = registry.counter("full", "Two series are enough.", labels=("key",), max_series=2)
    for i in range(5):
        full.labels(str(i)).inc()  # overflowed
    return registry


Series = dict[tuple[str, frozenset[tuple[str, str]]], str]


def key(name: str, labels: dict[str, str]) -> tuple[str, frozenset[tuple[str, str]]]:
    """A series, without regard to how its bounds are written."""
    labels = {
        label: repr(float(value)) if label in ("le", "quantile") else value for label, value in labels.items()
    }
    return name, frozenset(labels.items())


def expected(snapshot: Snapshot, *, openmetrics: bool, utf8: bool) -> Series:
    """Every series and its value, as repr: so NaN equals NaN, and -0.0 is not 0.0."""
    found: Series = {}
    for metric in snapshot:
        names = NAMES[metric.name]
        family = names.utf8 if utf8 else names.legacy
        for name, labels, value in samples(metric, family, names.per_base, openmetrics):
            found[key(name, labels)] = repr(float(value))
    return found


def samples(
    metric: MetricSnapshot, family: str, per_base: float, openmetrics: bool
) -> Iterator[tuple[str, dict[str, str], float]]:
    """A metric's samples as the formats define them."""
    for series in metric:
        labels = series.labels
        if metric.kind == "counter":
            yield family + "_total", labels, series.value / per_base
            continue
        if metric.kind == "gauge":
            yield family, labels, series.value / per_base
            continue
        # A sum that may fall is no counter: OpenMetrics forbids it, and the count, beside negative buckets.
        if not (openmetrics and metric.bounds and metric.bounds[0] < 0):
            yield family + "_count", labels, series.count
            yield family + "_sum", labels, series.sum / per_base
        if metric.kind == "hdr" and not metric.bounds:
            for quantile in metric.quantiles:
                yield family, {**labels, "quantile": repr(quantile)}, series.quantile(quantile) / per_base
            continue
        for i, bound in enumerate(metric.bounds):
            below = (
                sum(series.counts[: i + 1])
                if metric.kind == "histogram"
                else series.hdr.count_between(0, int(bound))
            )
            yield family + "_bucket", {**labels, "le": repr(bound / per_base)}, below
        yield family + "_bucket", {**labels, "le": "inf"}, series.count


def parsed(parse: Callable[[str], Iterable[Any]], text: bytes) -> Series:
    return {
        key(sample.name, sample.labels): repr(float(sample.value))
        for family in parse(text.decode())
        for sample in family.samples
    }


def own(found: Series) -> Series:
    """Without the library's word about itself."""
    return {series: value for series, value in found.items() if not series[0].startswith("vaultscope")}


@pytest.mark.parametrize(
    ("accept", "openmetrics", "utf8"),
    [
        (OPENMETRICS, True, False),
        (OPENMETRICS_UTF8, True, True),
        (TEXT, False, False),
        (TEXT_UTF8, False, True),
    ],
)
def test_parsers_find_every_value(registry: Registry, accept: str, openmetrics: bool, utf8: bool) -> None:
    """What prometheus_client reads from the text is the snapshot: every series, every value, nothing else."""
    snapshot = registry.snapshot()
    text, _ = render(snapshot, accept)
    found = parsed(parse_openmetrics if openmetrics else parse_text, text)
    assert own(found) == expected(snapshot, openmetrics=openmetrics, utf8=utf8)


@pytest.mark.parametrize(("accept", "parse"), [(OPENMETRICS, parse_openmetrics), (TEXT, parse_text)])
def test_help_survives(registry: Registry, accept: str, parse: Callable[[str], Iterable[Any]]) -> None:
    """A help text comes out of the parser as it was declared."""
    help_texts = {
        family.name: family.documentation for family in parse(render(registry.snapshot(), accept)[0].decode())
    }
    for metric in registry.snapshot():
        assert help_texts[NAMES[metric.name].legacy] == metric.help


def test_losses_are_exported(registry: Registry) -> None:
    """What a snapshot says was lost is in the text, by metric; what was not lost makes no row."""
    found = parsed(parse_text, render(registry.snapshot())[0])
    losses = {series: value for series, value in found.items() if "metric" in dict(series[1])}
    assert losses == {
        key("vaultscope_invalid_observations_total", {"metric": "cas.put.count"}): "1.0",
        key("vaultscope_clamped_values_total", {"metric": "soup.queries.duration", "side": "high"}): "1.0",
        key("vaultscope_series_overflow_total", {"metric": "full"}): "3.0",
    }


def test_library_tells_of_itself(registry: Registry) -> None:
    """Arena and stripes are always in the text, with their limits."""
    found = parsed(parse_text, render(registry.snapshot())[0])
    for state in ("used", "limit"):
        assert float(found[key("vaultscope_arena_bytes", {"state": state})]) > 0
    for state in ("held", "total"):
        assert float(found[key("vaultscope_stripes", {"state": state})]) > 0
    assert key("vaultscope_unsettled_reads_total", {}) in found


def debian_program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not here: apt-get install prometheus")
    return path


@pytest.mark.parametrize("catalogue", [False, True], ids=["awkward", "catalogue"])
def test_promtool_has_no_complaint(registry: Registry, catalogue: bool) -> None:
    """Prometheus's own lint likes the text: names, units, help."""
    if catalogue:
        registry = Registry()
        vault = Catalogue(registry)
        vault.cas_put_duration.record(1_000_000)
        vault.errors_total.labels("io").inc()
    text, _ = render(registry.snapshot(), TEXT)
    lint = subprocess.run(
        [debian_program("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, b"")


class PrometheusServer:
    """A Prometheus that scrapes one address every second, with its data under `directory`.

    features: what it is to switch on."""

    def __init__(self, directory: Path, target: str, *features: str) -> None:
        program = debian_program("prometheus")
        version = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        number = re.search(r"version (\d+)\.", version.stdout + version.stderr)
        assert number is not None
        self.utf8 = int(number[1]) >= 3  # asks for names with dots
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        config = directory / "prometheus.yml"
        scrape = {"job_name": "vault", "static_configs": [{"targets": [target]}]}
        intervals = {"scrape_interval": "1s", "scrape_timeout": "1s"}
        config.write_text(json.dumps({"global": intervals, "scrape_configs": [scrape]}))  # JSON is YAML too
        self.log = directory / "prometheus.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    f"--config.file={config}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address={self._address}",
                    "--log.level=warn",
                    *(f"--enable-feature={feature}" for feature in features),
                ],
                cwd=directory,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ask(self, what: str, **parameters: str) -> Any:
        """What the HTTP API answers; None while Prometheus is not up."""
        address = f"http://{self._address}/api/v1/{what}?{urlencode(parameters)}"
        try:
            with urlopen(address, timeout=PATIENCE) as answer:
                return json.load(answer)["data"]
        except (URLError, ConnectionError):
            return None

    def series(self) -> Series:
        """The newest value of every series, as the HTTP API tells them; empty while Prometheus is not up."""
        data = self.ask("query", query='{job="vault"}')
        found: Series = {}
        for row in data["result"] if data else ():
            labels = row["metric"]
            name = labels.pop("__name__")
            del labels["job"], labels["instance"]
            found[key(name, labels)] = repr(float(row["value"][1]))
        return found

    def when(self, condition: Callable[[Series], bool]) -> Series:
        """The series, once they are as wanted; the test fails if that takes too long."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log.read_text()
            found = self.series()
            if condition(found):
                return found
            time.sleep(0.1)
        pytest.fail(f"not within {PATIENCE} s; Prometheus said:\n{self.log.read_text()}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def metrics_server(registry: Registry) -> Iterator[MetricsServer]:
    with MetricsServer(registry) as server:
        yield server


@pytest.fixture
def prometheus(metrics_server: MetricsServer, tmp_path: Path) -> Iterator[PrometheusServer]:
    server = PrometheusServer(tmp_path, f"127.0.0.1:{metrics_server.port}")
    try:
        yield server
    finally:
        server.stop()


def test_prometheus_scrapes_every_value(
    registry: Registry, metrics_server: MetricsServer, prometheus: PrometheusServer
) -> None:
    """A real Prometheus ends up with every series of the snapshot, each value equal, and no other series."""
    up = key("up", {})
    found = prometheus.when(lambda found: found.get(up) == "1.0")
    added = {series for series in found if series == up or series[0].startswith("scrape_")}
    ours = {series: found[series] for series in found.keys() - added}
    # Prometheus asks for OpenMetrics first.
    assert own(ours) == expected(registry.snapshot(), openmetrics=True, utf8=prometheus.utf8)
    assert metrics_server.refused == metrics_server.failures == 0


def test_prometheus_follows_the_values(
    registry: Registry, metrics_server: MetricsServer, prometheus: PrometheusServer
) -> None:
    """A later scrape brings the later value, and a server that was stopped is down."""
    name = NAMES["cas.put.bytes"]
    series = key((name.utf8 if prometheus.utf8 else name.legacy) + "_total", {})
    prometheus.when(lambda found: found.get(series) == "0.1")
    registry.counter("cas.put.bytes", "Bytes written.", unit="bytes").inc(7)
    prometheus.when(lambda found: found.get(series) == repr(7.1))
    metrics_server.stop()
    prometheus.when(lambda found: found.get(key("up", {})) == "0.0")
