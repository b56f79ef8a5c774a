"""Recording in a high dynamic range histogram."""

from __future__ import annotations

from hdrh.histogram import HdrHistogram as PeerHistogram  # type: ignore[import-untyped]
from race import Call, Race
from table import Row, Table, against_no_op, against_peer

from vaultscope import Registry

HOUR_NS = 3_600_000_000_000


def bench_record(race: Race, table: Table) -> None:
    """hdr.record(v) of 123,456 ns in a range of an hour at three digits."""
    hdr = Registry().hdr_histogram("cas.get.duration", lowest=1, highest=HOUR_NS, digits=3)
    peer = PeerHistogram(1, HOUR_NS, 3)
    times = race(
        Call("hdr.record(value)", hdr=hdr, value=123_456),
        hdrhistogram=Call("hdr.record_value(value)", hdr=peer, value=123_456),
    )
    table.add(
        Row.of_times(
            "`hdr.record(v)`", times, against_no_op(times, 5), against_peer(times, "hdrhistogram", 60)
        )
    )
    assert hdr.count > 0
