"""An interval as bytes: canonical JSON in which runs of numbers are text, deflated with a dictionary of the
names that a vault has. Equal intervals give equal bytes.

    {"begin": ns, "elapsed": ns, "end": ns, "pid": 7, "started": ns, "vault": "a",
     "metrics": [["counter", "cas.put.count", "", [], null, [[[], 120]]],
                 ["gauge", "storage.used.bytes", "bytes", [], null, [[[], 1048576]]],
                 ["histogram", name, unit, label names, [bound, ...], [[labels, sum, count, "counts"], ...]],
                 ["hdr", name, unit, label names, [lowest, highest, digits],
                  [[labels, sum, count, cells an octave, "gaps between cells", "counts"], ...]]]}

A number in a run is written in base 32, the lowest digit first, each but the last with 32 added; of those 64
signs, base64's alphabet. So most are one byte, and what the deflater gets is one column after the other.

HDR histograms are what takes room, because busy counts are noise and do not compress. `hdr_bytes_max` bounds
a series: what does not fit is made coarser, until it does or a value is known to one part in 32.

Measured with the memo's catalogue and Python's own metrics (benchmarks/history_size.py), at 600, 3,000 and
10,000 puts, gets and queries a minute, in bytes a minute: lists of numbers in JSON, deflated at level 1,
1,811, 1,872 and 1,713; the same with LZMA, 1,465, 1,558 and 1,447; this, 1,084, 1,145 and 1,076. Without a
bound this takes 1,789, 3,828 and 5,892.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from vaultscope.core.history_interval import HALF_MIN, HdrCells, Interval, MetricGrowth, SeriesGrowth, Shape
from vaultscope.core.json_codec import canonical, loads
from vaultscope.errors import DecodeError

__all__ = ["ALPHABET", "HDR_BYTES_MAX", "decode", "encode", "numbers", "read", "run", "shape_of"]

HDR_BYTES_MAX = 256
INFLATED_MAX = 64 << 20  # a bomb ends here

_MAGIC = b"vsh1"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_DIGITS = {sign: value for value, sign in enumerate(ALPHABET)}
_SMALL = tuple(ALPHABET[:32])
_KEYS = {"begin", "elapsed", "end", "pid", "started", "vault", "metrics"}

# Never to be changed, or what was written cannot be read: a better one needs another magic. The most common
# last, as zlib wants it.
_DICTIONARY = (
    b'"process.open.fds""process.max.fds""python.info""implementation","major","minor","patchlevel","version"'
    b'"vaultscope.collector.errors","",["collector"]"vaultscope.soup.objects""vaultscope.soup.bytes","bytes"'
    b'["counter","python.gc.objects.uncollectable","",["generation"],null,[]],'
    b'["counter","python.gc.objects.collected","",["generation"],null,[[["0"],'
    b'["counter","python.gc.collections","",["generation"],null,[[["0"],1],[["1"],1],[["2"],1]]],'
    b'["counter","process.cpu.seconds","seconds",[],null,[[[],0.'
    b'["gauge","process.resident.memory.bytes","bytes",[],null,[[[],'
    b'["gauge","process.virtual.memory.bytes","bytes",[],null,[[[],'
    b'["gauge","process.start.time.seconds","seconds",[],null,[[[],17'
    b'["histogram","","ms",[],[1.0,5.0,10.0,25.0,50.0,100.0,250.0,500.0,1000.0,2500.0,5000.0,10000.0],[[['
    b'"],1],[["timeout"],1],[["io"],1],[["not_found"],1],[["corrupt"],1],[["op"],["put"],["get"],["delete"],'
    b'{"begin":17"metrics":['
    b'["gauge","storage.used.bytes","bytes",[],null,[[[],'
    b'["gauge","storage.available.bytes","bytes",[],null,[[[],'
    b'["gauge","storage.objects.count","",[],null,[[[],'
    b'["gauge","storage.percent.used","",[],null,[[[],'
    b'["counter","cas.put.count","",[],null,[[[],'
    b'["counter","cas.put.bytes","bytes",[],null,[[[],'
    b'["hdr","cas.put.duration","ns",[],[1,3600000000000,3],[[[],'
    b'["counter","cas.get.count","",[],null,[[[],'
    b'["counter","cas.get.bytes","bytes",[],null,[[[],'
    b'["hdr","cas.get.duration","ns",[],[1,3600000000000,3],[[[],'
    b'["counter","cas.operations.total","",[],null,[[[],'
    b'["gauge","cas.operations.rate","",[],null,[[[],'
    b'["gauge","cas.latency.average","ms",[],null,[[[],0.'
    b'["gauge","cas.latency.p99","ms",[],null,[[[],0.'
    b'["counter","soup.queries.count","",[],null,[[[],'
    b'["hdr","soup.queries.duration","ns",[],[1,3600000000000,3],[[[],'
    b'["gauge","soup.index.size.bytes","bytes",[],null,[[[],'
    b'["gauge","network.connections.active","",[],null,[[[],'
    b'["gauge","network.peers.connected","",[],null,[[[],'
    b'["counter","network.bytes.sent","",[],null,[[[],'
    b'["counter","network.bytes.received","",[],null,[[[],'
    b'["gauge","replication.lag.seconds","seconds",[],null,[[[],0.'
    b'["gauge","replication.objects.pending","",[],null,[[[],0]]],'
    b'["counter","errors.total","",["type"],null,[[["'
    b'["gauge","errors.rate","",[],null,[[[],0.'
    b'"pid":1,"started":17'
    b',"vault":""}[],null,[[[],,512,"128,"64,"32,"AAAAAAAABBBBBB","BBBBBBBBBBBB"]]],'
)


def encode(interval: Interval, *, hdr_bytes_max: int | None = HDR_BYTES_MAX) -> bytes:
    """The interval's bytes.

    hdr_bytes_max: about how many bytes the cells of one HDR series may take; None: as many as they want.
    """
    document = {
        "begin": interval.begin_ns,
        "end": interval.end_ns,
        "elapsed": interval.elapsed_ns,
        "pid": interval.pid,
        "started": interval.started_ns,
        "vault": interval.vault,
        "metrics": [_metric(metric, hdr_bytes_max) for metric in interval.metrics],
    }
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
    packed = deflater.compress(canonical(document)) + deflater.flush()
    return _MAGIC + packed + _check(packed)


def decode(content: bytes) -> Interval:
    """The reverse of encode. Raises DecodeError."""
    document = read(content)
    try:
        metrics = tuple(
            MetricGrowth(shape_of(row), tuple(_series(row[0], each) for each in row[5]))
            for row in document["metrics"]
        )
        return Interval(
            document["begin"], document["end"], document["elapsed"],
            document["pid"], document["started"], document["vault"], metrics,
        )  # fmt: skip
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _nonsense(error) from None


def read(content: bytes) -> dict[str, Any]:
    """What an interval's JSON says, with its runs as they are: for one who wants one metric of thousands of
    intervals. Raises DecodeError if it is none; that it has the keys above is all that is looked for."""
    try:
        document = loads(_inflate(content))
    except DecodeError:
        raise
    except ValueError as error:
        raise _nonsense(error) from None
    if not isinstance(document, dict) or document.keys() != _KEYS:
        raise _nonsense("other keys")
    return document


def shape_of(row: list[Any]) -> Shape:
    """What a metric was declared as, by its row in the JSON."""
    kind, name, unit, label_names, more = row[:5]
    return Shape(
        name, kind, unit, tuple(label_names),
        tuple(more) if kind == "histogram" else (),
        tuple(more) if kind == "hdr" else None,
    )  # fmt: skip


def run(values: Iterable[int]) -> str:
    """Numbers, none negative, as the text of a run."""
    return "".join(_SMALL[value] if value < 32 else _digits(value) for value in values)


def numbers(text: str) -> list[int]:
    """The numbers of a run. Raises DecodeError."""
    found: list[int] = []
    value = shift = 0
    for sign in text:
        digit = _DIGITS.get(sign)
        if digit is None:
            raise DecodeError(f"{sign!r} is no digit of a run of numbers")
        value |= (digit & 31) << shift
        shift += 5
        if digit < 32:
            found.append(value)
            value = shift = 0
    if shift:
        raise DecodeError("a run of numbers is cut")
    return found


def _digits(value: int) -> str:
    signs = []
    while value >= 32:
        signs.append(ALPHABET[value & 31 | 32])
        value >>= 5
    return "".join((*signs, ALPHABET[value]))


def _metric(metric: MetricGrowth, hdr_bytes_max: int | None) -> list[Any]:
    shape = metric.shape
    more: Sequence[float] | None = shape.bounds if shape.kind == "histogram" else shape.hdr_range
    rows = [_row(series, hdr_bytes_max) for series in metric.series]
    return [shape.kind, shape.name, shape.unit, shape.label_names, more, rows]


def _row(series: SeriesGrowth, hdr_bytes_max: int | None) -> list[Any]:
    row: list[Any] = [series.labels, _short(series.value)]
    if series.hdr is not None:
        row += sum(series.hdr.counts), *_fitting(series.hdr, hdr_bytes_max)
    elif series.counts:
        row += sum(series.counts), run(series.counts)
    return row


def _short(value: float) -> float | str:
    """A whole number without a point, and what JSON has no word for as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return int(value) if value == int(value) and abs(value) < 2**53 else value


def _fitting(cells: HdrCells, bytes_max: int | None) -> list[Any]:
    while True:
        gaps, last = [], 0
        for cell in cells.cells:
            gaps.append(cell - last)
            last = cell
        columns = [run(gaps), run(cells.counts)]
        if bytes_max is None or cells.half <= HALF_MIN:
            break
        if len(zlib.compress("".join(columns).encode(), 9)) - 6 <= bytes_max:  # less zlib's own
            break
        cells = cells.coarser()
    return [cells.half, *columns]


def _nonsense(error: object) -> DecodeError:
    return DecodeError(f"an interval of metrics that says what none says: {error!r}")


def _check(packed: bytes) -> bytes:
    return zlib.crc32(packed).to_bytes(4, "big")


def _inflate(content: bytes) -> bytes:
    if content[:4] != _MAGIC or len(content) < 8:
        raise DecodeError("not an interval of metrics, or of a later version")
    if _check(content[4:-4]) != content[-4:]:
        raise DecodeError("an interval of metrics that is damaged or cut")
    inflater = zlib.decompressobj(-15, _DICTIONARY)
    try:
        plain = inflater.decompress(content[4:-4], INFLATED_MAX)
    except zlib.error as error:
        raise DecodeError(f"an interval of metrics that does not inflate: {error}") from None
    if not inflater.eof or inflater.unused_data:
        raise DecodeError("an interval of metrics that is not whole, or too large")
    return plain


def _series(kind: str, row: list[Any]) -> SeriesGrowth:
    labels, value = tuple(row[0]), float(row[1]) if isinstance(row[1], str) else row[1]
    if kind == "histogram":
        return SeriesGrowth(labels, value, tuple(numbers(row[3])))
    if kind == "hdr":
        return SeriesGrowth(labels, value, hdr=_cells(*row[3:]))
    return SeriesGrowth(labels, value)


def _cells(half: int, gaps: str, counts: str) -> HdrCells:
    cells, last = [], 0
    for gap in numbers(gaps):
        last += gap
        cells.append(last)
    return HdrCells(half, tuple(cells), tuple(numbers(counts)))
