"""The background writer: it never waits, never raises, and counts what it loses."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sinks import DEADLINE, until

from vaultscope import DeclarationError, NotFoundError, Registry
from vaultscope.core.soup import address_of
from vaultscope.errors import StorageError
from vaultscope.soup import GcReport, NewObject, SoupWriter, SqliteSoup


class Store:
    """A soup that only takes. It fails with `error` as long as there is one, and waits for `gate`."""

    path = "store"

    def __init__(self) -> None:
        self.batches: list[list[NewObject]] = []
        self.tries = 0
        self.gcs: list[float | None] = []
        self.error: Exception | None = None
        self.bad: bytes | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.waits = threading.Event()

    def put_many(self, objects: Iterable[NewObject]) -> list[str]:
        batch = list(objects)
        self.tries += 1
        self.waits.set()
        assert self.gate.wait(DEADLINE)
        if self.error is not None:
            raise self.error
        if any(each.content == self.bad for each in batch):
            raise DeclarationError("bad")
        self.batches.append(batch)
        return [address_of(each.content) for each in batch]

    def gc(self, *, max_seconds: float | None = None) -> GcReport:
        self.gcs.append(max_seconds)
        return GcReport()

    @property
    def contents(self) -> list[bytes]:
        return [each.content for batch in list(self.batches) for each in batch]


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.error = None
    store.gate.set()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def writer(store: Store, registry: Registry) -> Iterator[SoupWriter]:
    writer = writer_to(store, registry)
    yield writer
    store.gate.set()
    writer.close(0.1)


def writer_to(store: Any, registry: Registry, **options: Any) -> SoupWriter:
    return SoupWriter(store, registry=registry, clock=lambda: 7, **{"flush_seconds": 0.001, **options})


def dropped(registry: Registry, reason: str) -> float:
    try:
        return registry.snapshot().value("vaultscope.soup.dropped", soup="store", reason=reason)
    except NotFoundError:
        return 0


def test_what_is_put_is_stored(store: Store, writer: SoupWriter) -> None:
    """With its attributes and time; the address is there at once, before it is stored."""
    store.gate.clear()
    address = writer.put({"b": 1, "a": 2}, type="x", attributes={"n": 1.0}, ttl=5)
    assert address == address_of(b'{"a":2,"b":1}')
    store.gate.set()
    assert writer.flush()
    assert store.batches == [[NewObject(b'{"a":2,"b":1}', "x", {"n": 1}, 7, 5)]]


def test_it_keeps_copies(store: Store, writer: SoupWriter) -> None:
    """What the caller changes afterwards is as it was."""
    store.gate.clear()
    content, attributes, tags = bytearray(b"x"), {"n": 1}, ["a"]
    writer.put(content, type="x", attributes={**attributes, "tags": tags})  # type: ignore[arg-type]
    content[0] = 0
    tags.append("b")
    store.gate.set()
    assert writer.flush()
    assert store.batches[0][0] == NewObject(b"x", "x", {"n": 1, "tags": ("a",)}, 7, None)


def test_many_are_stored_at_once(store: Store, registry: Registry) -> None:
    """What comes while the store is at work waits, and goes in batches of the size that was asked for."""
    writer = writer_to(store, registry, batch_objects=10)
    store.gate.clear()
    writer.put(b"first", type="x")
    until(store.waits.is_set)
    for n in range(25):
        writer.put(b"%d" % n, type="x")
    store.gate.set()
    assert writer.close()
    assert list(map(len, store.batches)) == [1, 10, 10, 5]
    assert store.contents[1:] == [b"%d" % n for n in range(25)]


def test_a_batch_has_so_many_bytes(store: Store, registry: Registry) -> None:
    """A batch ends with the object that fills it."""
    writer = writer_to(store, registry, batch_bytes=10_000)
    store.gate.clear()
    writer.put(b"first", type="x")
    until(store.waits.is_set)
    for n in range(10):
        writer.put(b"%d" % n * 4000, type="x")
    store.gate.set()
    assert writer.close()
    assert max(sum(len(each.content) for each in batch) for batch in store.batches) <= 12_000


def test_a_full_queue_drops_and_counts(store: Store, registry: Registry) -> None:
    """While the store hangs, a put returns "" at once, and what was taken is stored later."""
    writer = writer_to(store, registry, queue_bytes=10_000)
    store.gate.clear()
    results = [writer.put(b"%04d" % n * 250, type="x") for n in range(20)]
    taken = [each for each in results if each]
    assert 1 <= len(taken) < 20 and results[: len(taken)] == taken
    assert dropped(registry, "full") == 20 - len(taken)
    store.gate.set()
    assert writer.flush()
    assert len(store.contents) == len(taken)
    assert writer.put(b"again", type="x")
    assert writer.close()


def test_a_store_that_fails_is_tried_again(store: Store, writer: SoupWriter, registry: Registry) -> None:
    """Nothing is lost while the disk is full, and nothing stored twice."""
    store.error = StorageError("full")
    addresses = [writer.put(b"%d" % n, type="x") for n in range(3)]
    until(lambda: store.tries >= 2)
    assert all(addresses) and not writer.flush(0.01)
    store.error = None
    assert writer.flush(DEADLINE)
    assert sorted(store.contents) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("error", [OSError("foreign"), RuntimeError("any"), MemoryError()])
def test_any_failure_is_a_failure(store: Store, writer: SoupWriter, error: Exception) -> None:
    """A store of somebody else's may raise what it likes: the thread lives."""
    store.error = error
    writer.put(b"x", type="x")
    until(lambda: store.tries >= 2)
    store.error = None
    assert writer.flush(DEADLINE)
    assert store.contents == [b"x"]


def test_one_that_is_refused_spoils_no_other(store: Store, registry: Registry) -> None:
    """It alone is dropped, and counted."""
    writer = writer_to(store, registry)
    store.gate.clear()
    store.bad = b"2"
    for n in range(5):
        writer.put(b"%d" % n, type="x")
    store.gate.set()
    assert writer.flush()
    assert sorted(store.contents) == [b"0", b"1", b"3", b"4"]
    assert dropped(registry, "refused") == 1
    assert writer.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": ""},
        {"type": None},
        {"type": "x", "attributes": {"a": object()}},
        {"type": "x", "attributes": 5},
        {"content": b"x" * (17 << 20), "type": "x"},
    ],
    ids=["no type", "None", "attribute", "attributes", "large"],
)
def test_wrong_puts_are_counted(
    store: Store, writer: SoupWriter, registry: Registry, wrong: dict[str, Any]
) -> None:
    """A mistake raises nothing where it is hot."""
    assert writer.put(**{"content": b"x", **wrong}) == ""
    assert dropped(registry, "invalid") == 1
    assert writer.flush() and store.batches == []


def test_a_put_within_a_put_is_dropped(store: Store, writer: SoupWriter, registry: Registry) -> None:
    """A signal handler that comes in between changes no sums, and waits for nothing."""
    writer._is_putting = True  # as it is when the handler runs
    assert writer.put(b"nested", type="x") == ""
    writer._is_putting = False
    assert dropped(registry, "nested") == 1
    assert writer.put(b"x", type="x") and writer.flush()


def test_signals_during_puts(store: Store, writer: SoupWriter, registry: Registry) -> None:
    """Whatever the bytecode that they interrupt: each put is stored, or counted."""
    nested: list[str] = []
    before = signal.signal(signal.SIGALRM, lambda *_: nested.append(writer.put(os.urandom(8), type="x")))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        deadline = time.monotonic() + DEADLINE
        n = 0
        while len(nested) < 50:
            assert time.monotonic() < deadline
            assert writer.put(b"%d" % n, type="y")
            n += 1
            if n % 1000 == 0:
                assert writer.flush()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert writer.flush()
    assert len(store.contents) == n + sum(map(bool, nested))
    assert dropped(registry, "nested") == nested.count("")
    assert writer._bytes == 0


def test_closing_stores_what_is_left(store: Store, registry: Registry) -> None:
    """Without a flush; afterwards puts are dropped and counted."""
    writer = writer_to(store, registry, flush_seconds=1000.0)
    for n in range(5):
        writer.put(b"%d" % n, type="x")
    assert writer.close() and writer.close()
    assert len(store.contents) == 5
    assert writer.put(b"late", type="x") == ""
    assert dropped(registry, "closed") == 1


def test_closing_without_a_store(store: Store, registry: Registry) -> None:
    """What cannot be stored in time is dropped and counted, and `close` says so."""
    writer = writer_to(store, registry, batch_objects=2)
    store.error = StorageError("full")
    for n in range(5):
        writer.put(b"%d" % n, type="x")
    assert not writer.close(0.05)
    assert dropped(registry, "closed") == 5
    assert writer.flush(0.0)  # nothing is waited for any more


def test_closing_while_the_store_hangs(
    store: Store, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`close` does not hang with it; what the thread loses is counted when it comes back."""
    monkeypatch.setattr("vaultscope.edge.soup_writer._PATIENCE_S", 0.0)
    writer = writer_to(store, registry)
    store.gate.clear()
    writer.put(b"1", type="x")
    until(store.waits.is_set)
    writer.put(b"2", type="x")
    assert not writer.close(0.01)
    store.gate.set()
    until(lambda: dropped(registry, "closed") == 1)
    assert store.contents == [b"1"]


def test_one_that_was_never_used(store: Store, registry: Registry) -> None:
    """It has no thread, and closes."""
    writer = writer_to(store, registry)
    assert writer._thread is None
    assert writer.flush() and writer.close()


def test_it_makes_room_from_time_to_time(store: Store, registry: Registry) -> None:
    """Also when nothing is put; a gc that fails ends nothing."""
    writer = writer_to(store, registry, gc_seconds=0.001)
    writer.put(b"x", type="x")
    until(lambda: len(store.gcs) >= 3)
    assert set(store.gcs) == {1.0}
    store.gc = lambda **_: 1 / 0  # type: ignore[assignment,method-assign]
    writer.put(b"y", type="x")
    assert writer.flush()
    assert writer.close()


@pytest.mark.parametrize(
    "wrong", [{"queue_bytes": 0}, {"batch_bytes": 0}, {"batch_objects": 0}, {"flush_seconds": -1}]
)
def test_sizes_that_make_no_sense(store: Store, registry: Registry, wrong: dict[str, Any]) -> None:
    """They are refused where it is cold."""
    with pytest.raises(DeclarationError):
        writer_to(store, registry, **wrong)


def test_a_child_has_a_queue_of_its_own(tmp_path: Path, registry: Registry) -> None:
    """What was queued at the fork is the parent's to store; both store their own, once."""
    soup = SqliteSoup(tmp_path / "a.soup", registry=registry)
    writer = SoupWriter(soup, registry=registry, flush_seconds=1000.0)
    writer.put(b"parent", type="x")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert writer.put(b"child", type="x") and writer.close()
            status = 0 if soup.count() == 1 else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert writer.close()
    assert soup.count() == 2
    soup.close()
