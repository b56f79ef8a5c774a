"""HDR encodings travel both ways between us and the `hdrhistogram` package, and bad ones are refused."""

from __future__ import annotations

import base64
import struct
import zlib

import pytest
from hdrh.histogram import HdrHistogram as PeerHistogram  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultscope import HdrCounts
from vaultscope.errors import DecodeError

HOUR_NS = 3_600_000_000_000
CONFIGURATIONS = [
    *((1, HOUR_NS, digits) for digits in range(1, 6)),
    (1, 2, 1),
    (1000, HOUR_NS, 3),
    (1023, 100_000_000, 2),
    (1024, 1_000_000, 3),
    (7, 20_000, 2),
]
COOKIE_WRAPPED = 0x1C849304 | 0x10
COOKIE_PLAIN = 0x1C849303 | 0x10


def peer_counts(peer: PeerHistogram) -> list[int]:
    return [peer.get_count_at_index(index) for index in range(peer.counts_len)]


def values_for(highest: int) -> list[int]:
    """Zero, the ends of the range and its powers of two, each one with its neighbours."""
    powers = [1 << shift for shift in range(highest.bit_length())]
    near = {value + step for value in [0, highest, *powers] for step in (-1, 0, 1)}
    return sorted(value for value in near if 0 <= value <= highest)


def wrapped(payload: bytes, *, cookie: int = COOKIE_WRAPPED) -> bytes:
    """A payload in the outer form: cookie, length, zlib, base64."""
    squeezed = zlib.compress(payload)
    return base64.b64encode(struct.pack(">II", cookie, len(squeezed)) + squeezed)


def plain(
    counts: bytes,
    *,
    cookie: int = COOKIE_PLAIN,
    size: int | None = None,
    offset: int = 0,
    digits: int = 3,
    lowest: int = 1,
    highest: int = 1_000_000,
    ratio: float = 1.0,
) -> bytes:
    """The inner form: forty bytes of header, then the counts as they are given."""
    length = len(counts) if size is None else size
    return struct.pack(">IIiiqqd", cookie, length, offset, digits, lowest, highest, ratio) + counts


@pytest.mark.parametrize(("lowest", "highest", "digits"), CONFIGURATIONS)
def test_peer_reads_ours(lowest: int, highest: int, digits: int) -> None:
    """The peer decodes our encoding to the same range, digits and counts."""
    ours = HdrCounts(lowest, highest, digits)
    for times, value in enumerate(values_for(highest), start=1):
        ours.record(value, times)
    peer = PeerHistogram.decode(ours.encode())
    assert (peer.lowest_trackable_value, peer.highest_trackable_value) == (lowest, highest)
    assert peer.significant_figures == digits
    assert peer_counts(peer) == ours.counts.tolist()
    assert peer.get_total_count() == ours.count


@pytest.mark.parametrize(("lowest", "highest", "digits"), CONFIGURATIONS)
def test_ours_reads_peer(lowest: int, highest: int, digits: int) -> None:
    """We decode the peer's encoding to the same range, digits and counts."""
    peer = PeerHistogram(lowest, highest, digits)
    for times, value in enumerate(values_for(highest), start=1):
        assert peer.record_value(value, times)
    ours = HdrCounts.decode(peer.encode())
    assert (ours.lowest, ours.highest, ours.digits) == (lowest, highest, digits)
    assert ours.counts.tolist() == peer_counts(peer)


@pytest.mark.parametrize(("lowest", "highest", "digits"), CONFIGURATIONS)
def test_empty_both_ways(lowest: int, highest: int, digits: int) -> None:
    """An empty histogram travels as well."""
    assert PeerHistogram.decode(HdrCounts(lowest, highest, digits).encode()).get_total_count() == 0
    ours = HdrCounts.decode(PeerHistogram(lowest, highest, digits).encode())
    assert ours.count == 0
    assert ours == HdrCounts(lowest, highest, digits)


@given(
    st.sampled_from([range_ for range_ in CONFIGURATIONS if range_[2] < 4]),  # the peer is slow
    st.lists(st.tuples(st.integers(0, HOUR_NS), st.integers(1, 2**40)), max_size=30),
)
@settings(max_examples=60)
def test_round_trip(configuration: tuple[int, int, int], recorded: list[tuple[int, int]]) -> None:
    """What we encode we decode to an equal value, and so does the peer's own round trip of it."""
    lowest, highest, digits = configuration
    ours = HdrCounts(lowest, highest, digits)
    for value, times in recorded:
        ours.record(min(value, highest), times)
    assert HdrCounts.decode(ours.encode()) == ours
    assert HdrCounts.decode(PeerHistogram.decode(ours.encode()).encode()) == ours


def test_counts_near_the_largest() -> None:
    """The largest count that the peer reads back from itself survives both ways; ours go up to 2^63 - 1."""
    ours = HdrCounts(1, 1000, 3)
    ours.record(7, 2**62 - 1)
    ours.record(1000)
    peer = PeerHistogram.decode(ours.encode())
    assert peer.get_count_at_value(7) == 2**62 - 1
    assert HdrCounts.decode(peer.encode()) == ours
    ours.record(7, 2**62)
    assert HdrCounts.decode(ours.encode()).counts[7] == 2**63 - 1


def test_text_as_well_as_bytes() -> None:
    """An encoding that was read as text decodes too."""
    ours = HdrCounts(1, 1000, 3)
    ours.record(5)
    assert HdrCounts.decode(ours.encode().decode("ascii")) == ours


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("nothing at all", b""),
        ("not base64", b"!!!!"),
        ("base64 that ends early", b"HISTF"),
        ("shorter than its header", base64.b64encode(b"\x1c\x84\x93\x14")),
        ("another cookie", wrapped(plain(b""), cookie=0x1C849301)),
        ("a length that is not that of the bytes", base64.b64encode(struct.pack(">II", COOKIE_WRAPPED, 9))),
        ("not zlib", base64.b64encode(struct.pack(">II", COOKIE_WRAPPED, 4) + b"zlib")),
        ("an empty payload", wrapped(b"")),
        ("half a header", wrapped(plain(b"")[:20])),
        ("another inner cookie", wrapped(plain(b"", cookie=0x1C849301))),
        ("fewer counts than it says", wrapped(plain(b"\x02", size=2))),
        ("an endless number", wrapped(plain(b"\xff" * 8))),
        ("a negative count of zeros beyond the end", wrapped(plain(b"\xff\xff\xff\xff\x0f"))),
        ("more counts than the range has", wrapped(plain(b"\x02" * 100_000))),
        ("no digits", wrapped(plain(b"", digits=0))),
        ("six digits", wrapped(plain(b"", digits=6))),
        ("a lowest of 0", wrapped(plain(b"", lowest=0))),
        ("a negative lowest", wrapped(plain(b"", lowest=-5))),
        ("a range upside down", wrapped(plain(b"", lowest=1000, highest=10))),
        ("a negative highest", wrapped(plain(b"", highest=-1))),
        ("a negative size", wrapped(plain(b"", size=2**32 - 1))),
    ],
)
def test_refused(reason: str, data: bytes) -> None:
    """Bytes that are no encoding are refused by an error of ours."""
    with pytest.raises(DecodeError):
        HdrCounts.decode(data)


def test_bomb() -> None:
    """A payload that would unpack to far more than any histogram has is refused without unpacking it."""
    with pytest.raises(DecodeError):
        HdrCounts.decode(wrapped(plain(bytes(64_000_000))))


def encoded_example() -> bytes:
    counts = HdrCounts(1, 1_000_000, 3)
    for value in (1, 2, 1000, 54_321, 999_999):
        counts.record(value, 3)
    return counts.encode()


EXAMPLE = encoded_example()


@pytest.mark.parametrize("length", range(len(EXAMPLE)))
def test_truncated(length: int) -> None:
    """An encoding that was cut anywhere is refused."""
    with pytest.raises(DecodeError):
        HdrCounts.decode(EXAMPLE[:length])


def decodes_or_refuses(data: bytes) -> None:
    try:
        counts = HdrCounts.decode(data)
    except DecodeError:
        return
    assert HdrCounts.decode(counts.encode()) == counts


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Any bytes at all decode or are refused."""
    decodes_or_refuses(data)


@given(st.binary(max_size=200))
def test_any_payload(data: bytes) -> None:
    """Any bytes in a sound wrapping decode or are refused."""
    decodes_or_refuses(wrapped(data))


@given(
    st.binary(max_size=100),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-1, 7),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1),
)
def test_any_header(counts: bytes, offset: int, digits: int, lowest: int, highest: int) -> None:
    """Any numbers in the header decode or are refused."""
    decodes_or_refuses(wrapped(plain(counts, offset=offset, digits=digits, lowest=lowest, highest=highest)))


@given(st.integers(0, len(base64.b64decode(EXAMPLE)) - 1), st.integers(1, 255))
def test_flipped_bits(place: int, mask: int) -> None:
    """An encoding with a damaged byte decodes or is refused."""
    damaged = bytearray(base64.b64decode(EXAMPLE))
    damaged[place] ^= mask
    decodes_or_refuses(base64.b64encode(bytes(damaged)))


@given(st.data())
def test_damaged_counts(data: st.DataObject) -> None:
    """A payload with damaged counts, packed again, decodes or is refused."""
    payload = bytearray(zlib.decompress(base64.b64decode(EXAMPLE)[8:]))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] = data.draw(st.integers(0, 255))
    decodes_or_refuses(wrapped(bytes(payload)))


def test_a_count_beyond_the_encoding_is_refused() -> None:
    """A count of 2**63 has no encoding: that is said, not written as something that does not decode."""
    counts = HdrCounts(1, 1000, 2)
    counts.record(1, 2**63)
    with pytest.raises(OverflowError):
        counts.encode()


def test_a_rounded_value_is_not_clamped() -> None:
    """record() tells what was clamped, not what was rounded."""
    counts = HdrCounts(1, 1000, 2)
    assert counts.record(2.4) is True
    assert counts.record(1001) is False


def test_bytes_after_the_compressed_part_are_refused() -> None:
    """An encoding with something behind it is not an encoding."""
    raw = bytearray(base64.b64decode(HdrCounts(1, 1000, 2).encode()))
    raw += b"junk"
    raw[4:8] = (len(raw) - 8).to_bytes(4, "big")
    with pytest.raises(DecodeError):
        HdrCounts.decode(base64.b64encode(raw))


def test_a_merge_clamps_to_the_highest_value_of_equal_layouts() -> None:
    """Equal layouts do not make the ranges equal: what is above the target's highest value is clamped."""
    wide, narrow = HdrCounts(1, 3, 3), HdrCounts(1, 2, 3)
    wide.record(3)
    assert (narrow.merge(wide), narrow.max) == (1, 2)


def test_a_count_stays_at_the_greatest() -> None:
    """Counts saturate instead of wrapping round."""
    counts = HdrCounts(1, 1000, 2)
    counts.record(5, 2**64 - 1)
    counts.record(5, 2)
    assert counts.counts[5] == 2**64 - 1
