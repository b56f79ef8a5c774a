"""Sinks in memory, of a function, and of a store."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from vaultscope.edge.log_sinks import CallableSink, MemorySink, RecordStore, SoupSink


def batch(*numbers: int) -> bytes:
    """Lines of JSON, a record for each number."""
    return b"".join(b'{"n":%d}\n' % number for number in numbers)


def test_memory_holds_records_as_dicts() -> None:
    """What was written is there in order, and the list is one's own."""
    sink = MemorySink()
    sink.write(batch(1, 2), {"info": 2})
    sink.write(batch(3), {"info": 1})
    sink.records.clear()
    assert sink.records == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_memory_is_bounded() -> None:
    """Past its bound the oldest records are forgotten, and how many is known."""
    sink = MemorySink(3)
    for number in range(5):
        sink.write(batch(number), {"info": 1})
    assert [record["n"] for record in sink.records] == [2, 3, 4]
    assert sink.forgotten == 2
    sink.write(batch(*range(10)), {"info": 10})
    assert [record["n"] for record in sink.records] == [7, 8, 9]
    assert sink.forgotten == 12
    sink.clear()
    assert (sink.records, sink.forgotten) == ([], 0)
    with pytest.raises(ValueError):
        MemorySink(0)


def test_memory_is_exact() -> None:
    """Whole numbers beyond 64 bits are not rounded."""
    sink = MemorySink()
    sink.write(batch(10**30), {"info": 1})
    assert sink.records == [{"n": 10**30}]


def test_memory_keeps_no_half_of_a_batch() -> None:
    """A batch that cannot be read leaves nothing behind, so that it may come again."""
    sink = MemorySink()
    with pytest.raises(ValueError):
        sink.write(batch(1) + b"{\n", {"info": 2})
    assert sink.records == []


def test_callable_gets_each_record() -> None:
    """The function is called once for each record, in order."""
    got: list[dict[str, Any]] = []
    CallableSink(got.append).write(batch(1, 2), {"info": 2})
    assert got == [{"n": 1}, {"n": 2}]


def test_callable_gets_batches() -> None:
    """With `batches`, it is called once for each batch, with a list."""
    got: list[list[dict[str, Any]]] = []
    CallableSink(got.append, batches=True).write(batch(1, 2), {"info": 2})
    assert got == [[{"n": 1}, {"n": 2}]]


def test_callable_is_named_after_its_function() -> None:
    """The cursor has the function's name unless it is given one."""

    def send(record: dict[str, Any]) -> None: ...

    assert CallableSink(send).name.endswith("send")
    assert CallableSink(send, name="mine").name == "mine"


def test_callable_goes_on_where_it_failed() -> None:
    """When the batch comes again, records that were taken are not handed over twice."""
    got: list[int] = []
    failures = [OSError("first"), OSError("again")]

    def take(record: dict[str, Any]) -> None:
        if record["n"] == 2 and failures:
            raise failures.pop(0)
        got.append(record["n"])

    sink = CallableSink(take)
    for reason in ("first", "again"):
        with pytest.raises(OSError, match=reason):
            sink.write(batch(1, 2, 3), {"info": 3})
    sink.write(batch(1, 2, 3), {"info": 3})
    assert got == [1, 2, 3]
    sink.write(batch(1, 2, 3), {"info": 3})  # the same lines, but of another batch
    assert got == [1, 2, 3, 1, 2, 3]


def test_another_batch_begins_at_its_beginning() -> None:
    """What was done of a batch that was given up does not count for the next one."""
    got: list[int] = []

    def take(record: dict[str, Any]) -> None:
        if record["n"] == 2:
            raise OSError
        got.append(record["n"])

    sink = CallableSink(take)
    with pytest.raises(OSError):
        sink.write(batch(1, 2), {"info": 2})
    sink.write(batch(4, 5), {"info": 2})
    assert got == [1, 4, 5]


class Store:
    """A content-addressed store, as a SoupSink wants it."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[bytes, str]] = {}
        self.puts = 0
        self.is_full = False

    def put(self, data: bytes, *, type: str) -> str:
        if self.is_full:
            raise OSError("full")
        self.puts += 1
        digest = hashlib.sha256(data).hexdigest()
        self.held[digest] = (data, type)
        return digest


def test_soup_puts_canonical_json() -> None:
    """A record is stored as a log-entry, its keys sorted, so that equal records have one hash."""
    store = Store()
    checked: RecordStore = store  # the protocol is what a plain class has
    sink = SoupSink(checked)
    sink.write(b'{"b": 1.50, "a": "\\u00e9"}\n{"a":"\xc3\xa9","b":1.5}\n', {"info": 2})
    assert list(store.held.values()) == [('{"a":"é","b":1.5}'.encode(), "log-entry")]


def test_soup_survives_its_store() -> None:
    """While the store is full the batch stays, and afterwards each record is put once."""
    store = Store()
    sink = SoupSink(store)
    store.is_full = True
    with pytest.raises(OSError, match="full"):
        sink.write(batch(1, 2), {"info": 2})
    store.is_full = False
    sink.write(batch(1, 2), {"info": 2})
    assert sorted(json.loads(data)["n"] for data, _ in store.held.values()) == [1, 2]
    assert store.puts == 2
