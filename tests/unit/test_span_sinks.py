"""Sinks of traces: in memory, of a function, of a store, and lines of JSON in a file."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from spans import HOSTILE, Raises, root, span

from vaultscope import Registry
from vaultscope.edge import span_sinks
from vaultscope.edge.log_sinks import RecordStore
from vaultscope.edge.span_sinks import CallableSpanSink, JsonLinesSpanSink, MemorySpanSink, SoupSpanSink
from vaultscope.signals.tracing import Tracer


def numbers(spans: list[dict[str, Any]]) -> list[int]:
    return [int(each["span_id"], 16) for each in spans]


# ---- memory


def test_memory_holds_plain_spans() -> None:
    """What was written is there in order, its values plain, and the list is one's own."""
    sink = MemorySpanSink()
    sink.write([root(1, attributes={"hash": b"\x01"}), span(2)])
    sink.write([root(3, trace=2)])
    sink.spans.clear()
    assert numbers(sink.spans) == [1, 2, 3]
    assert sink.spans[0]["attributes"] == {"hash": "01"}


def test_memory_finds_traces() -> None:
    """Spans are there by their trace's id, those of two local roots together."""
    sink = MemorySpanSink()
    sink.write([root(1), span(2), root(3, trace=2), root(4)])
    assert {key: numbers(spans) for key, spans in sink.traces.items()} == {
        f"{1:032x}": [1, 2, 4],
        f"{2:032x}": [3],
    }


def test_memory_is_bounded() -> None:
    """Past its bound the oldest spans are forgotten, and how many is known."""
    sink = MemorySpanSink(3)
    for number in range(1, 6):
        sink.write([root(number)])
    assert numbers(sink.spans) == [3, 4, 5]
    assert sink.forgotten == 2
    sink.clear()
    assert (sink.spans, sink.forgotten) == ([], 0)
    with pytest.raises(ValueError):
        MemorySpanSink(0)


def test_memory_with_a_tracer() -> None:
    """A tracer's traces arrive, errors with what was raised."""
    sink = MemorySpanSink()
    tracer = Tracer(Registry(), rate=0.0)
    tracer.add_sink(sink)
    with pytest.raises(ValueError), tracer.span("outer"), tracer.span("inner", hash=b"\x01"):
        raise ValueError("bad")
    assert tracer.close()
    outer, inner = sink.spans
    assert (outer["name"], inner["name"]) == ("outer", "inner")
    assert inner["parent_span_id"] == outer["span_id"]
    assert inner["events"][0]["attributes"]["exception.message"] == "bad"


def test_names_that_cannot_be_said() -> None:
    """A span and an event whose names raise when they are asked hold up nobody: their trace arrives."""
    sink = MemorySpanSink()
    tracer = Tracer(Registry(), rate=1.0)
    tracer.add_sink(sink)
    with tracer.span(Raises()) as span:  # type: ignore[arg-type]
        span.event(Raises())  # type: ignore[arg-type]
    with tracer.span("next"):
        pass
    assert tracer.close()
    assert [each["name"][:14] for each in sink.spans] == ["<spans.Raises ", "next"]


# ---- a function


def test_callable_gets_each_trace() -> None:
    """The function is called with the spans of each trace, its local root first."""
    got: list[list[int]] = []
    CallableSpanSink(lambda trace: got.append(numbers(trace)), name="mine").write([root(1), span(2), root(3)])
    assert got == [[1, 2], [3]]


def test_callable_is_named_after_its_function() -> None:
    """The sink has the function's name unless it is given one."""

    def send(trace: list[dict[str, Any]]) -> None: ...

    assert CallableSpanSink(send).name.endswith("send")
    assert CallableSpanSink(send, name="mine").name == "mine"


def test_callable_goes_on_where_it_failed() -> None:
    """When the same spans come again, traces that were taken are not handed over twice."""
    got: list[int] = []
    failures = [OSError("first"), OSError("again")]

    def take(trace: list[dict[str, Any]]) -> None:
        if numbers(trace) == [2] and failures:
            raise failures.pop(0)
        got.extend(numbers(trace))

    sink = CallableSpanSink(take)
    batch = [root(1), root(2), root(3)]
    for reason in ("first", "again"):
        with pytest.raises(OSError, match=reason):
            sink.write(batch)
    sink.write(batch)
    assert got == [1, 2, 3]


def test_another_batch_begins_at_its_beginning() -> None:
    """What was done of spans that were given up does not count for the next ones, nor in a forked child."""
    got: list[int] = []

    def take(trace: list[dict[str, Any]]) -> None:
        if numbers(trace) == [2]:
            raise OSError
        got.extend(numbers(trace))

    sink = CallableSpanSink(take)
    with pytest.raises(OSError):
        sink.write([root(1), root(2)])
    sink.write([root(4), root(5)])
    assert got == [1, 4, 5]
    for _ in range(2):
        with pytest.raises(OSError):
            sink.write([root(1), root(2)])
        sink.after_fork()
    assert got == [1, 4, 5, 1, 1]


def test_a_function_that_exits_is_called_again() -> None:
    """SystemExit, too, is a failure: the sink's thread lives on, and the trace comes again."""
    got: list[int] = []
    failures = [SystemExit(), SystemExit()]

    def take(trace: list[dict[str, Any]]) -> None:
        if failures:
            raise failures.pop()
        got.append(len(trace))

    tracer = Tracer(Registry(), rate=1.0)
    tracer.add_sink(CallableSpanSink(take))
    with tracer.span("one"):
        pass
    assert tracer.close()
    assert got == [1]


# ---- a store


class Store:
    """A content-addressed store, as a SoupSpanSink wants it."""

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


def test_soup_puts_a_trace_as_one_object() -> None:
    """Each trace is one object of type trace, canonical: the same trace has one hash."""
    store = Store()
    checked: RecordStore = store
    one = root(1, attributes={"b": 1.50, "a": b"\xff"})
    SoupSpanSink(checked).write([one, span(2), root(3, trace=2)])
    SoupSpanSink(checked).write([dict(reversed(one.items())), span(2)])
    assert store.puts == 3
    assert [kind for _, kind in store.held.values()] == ["trace", "trace"]
    data = next(iter(store.held.values()))[0]
    assert data.startswith(b'{"spans":[{"attributes":{"a":"ff","b":1.5},"duration_ns":1000000,')
    assert data.endswith(b'],"trace_id":"00000000000000000000000000000001"}')
    assert numbers(json.loads(data)["spans"]) == [1, 2]


def test_soup_survives_its_store() -> None:
    """While the store is full the spans stay, and afterwards each trace is put once."""
    store = Store()
    sink = SoupSpanSink(store)
    store.is_full = True
    with pytest.raises(OSError, match="full"):
        sink.write([root(1), root(2)])
    store.is_full = False
    sink.write([root(1), root(2)])
    assert store.puts == 2


# ---- a file


def lines(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines() if line]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.jsonl"


def test_a_span_is_a_line(path: Path) -> None:
    """A line begins with the time at which the span began, as a log's do, and names the vault."""
    sink = JsonLinesSpanSink(path, vault="north")
    sink.write([root(1, attributes={"hash": b"\x01"}), span(2, at_ms=1.5)])
    sink.close()
    first, second = lines(path)
    assert path.read_bytes().startswith(
        b'{"time":"2026-01-31T12:00:00.000000000Z","vault":"north","trace_id":"'
    )
    assert second["time"] == "2026-01-31T12:00:00.001500000Z"
    assert first["attributes"] == {"hash": "01"}
    assert sink.name == str(path)


def test_hostile_spans_are_lines(path: Path) -> None:
    """Each span is one line of JSON, whatever is in it."""
    sink = JsonLinesSpanSink(path)
    sink.write([root(number, attributes={"a": each, "b": 1}) for number, each in enumerate(HOSTILE, 1)])
    assert numbers(lines(path)) == list(range(1, len(HOSTILE) + 1))


def test_a_file_is_rotated_and_compressed(path: Path) -> None:
    """The file is what a FileSink makes of it: rotated when it is full, compressed, and begun anew."""
    sink = JsonLinesSpanSink(path, max_bytes=100, compress="gzip")
    sink.write([root(1), span(2)])
    sink.write([root(3)])
    sink.write([root(4)])
    sink.close()
    packed = sorted(path.parent.glob("traces.jsonl.*"))
    assert len(packed) == 3
    first = gzip.decompress(packed[0].read_bytes()) if packed[0].suffix == ".gz" else packed[0].read_bytes()
    assert numbers([json.loads(line) for line in first.splitlines()]) == [1, 2]
    assert lines(path) == []


def test_a_file_that_was_moved_is_opened_anew(path: Path) -> None:
    """After `reopen` the path is written to again, as it is once a second."""
    sink = JsonLinesSpanSink(path)
    sink.write([root(1)])
    path.rename(path.with_suffix(".old"))
    sink.reopen()
    sink.write([root(2)])
    assert numbers(lines(path)) == [2]
    assert numbers(lines(path.with_suffix(".old"))) == [1]


def test_a_torn_line_is_taken_away(path: Path) -> None:
    """What a killed process left half written is cut off by the next one."""
    sink = JsonLinesSpanSink(path)
    sink.write([root(1)])
    sink.close()
    with path.open("ab") as file:
        file.write(b'{"time":"2026-01-31T12:00')
    sink = JsonLinesSpanSink(path)
    sink.write([root(2)])
    assert numbers(lines(path)) == [1, 2]


class FullDisk:
    """Stands for os.write on a disk that has so much room, and more after each failure."""

    def __init__(self, *rooms: int) -> None:
        self.rooms = list(rooms)
        self.meanwhile: bytes = b""

    def __call__(self, fd: int, data: memoryview) -> int:
        if not self.rooms:
            return os.write(fd, data)
        part = data[: self.rooms[0]]
        self.rooms[0] -= len(part)
        if len(part) == 0:
            if self.meanwhile:
                os.write(fd, self.meanwhile)
            self.rooms.pop(0)
            raise OSError(errno.ENOSPC, "full")
        return os.write(fd, part)


class Files:
    """The module os, with another write."""

    def __init__(self, write: FullDisk) -> None:
        self.write = write

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@pytest.mark.parametrize("rooms", [(0,), (1,), (300,), (10, 200, 0, 500)])
def test_a_full_disk_tears_and_doubles_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, rooms: tuple[int, ...]
) -> None:
    """However much there is room for, the file has whole lines, and in the end each span once."""
    sink = JsonLinesSpanSink(path)
    monkeypatch.setattr(span_sinks, "os", Files(FullDisk(*rooms)))
    batch = [root(1), span(2), span(3), span(4)]
    for _ in rooms:
        with pytest.raises(OSError, match="full"):
            sink.write(batch)
        assert numbers(lines(path)) == list(range(1, len(lines(path)) + 1))
    sink.write(batch)
    assert numbers(lines(path)) == [1, 2, 3, 4]


def test_a_full_disk_and_another_writer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process has written behind a torn line is not cut off; the line is written again."""
    sink = JsonLinesSpanSink(path)
    disk = FullDisk(30)
    disk.meanwhile = b'\n{"other":1}\n'
    monkeypatch.setattr(span_sinks, "os", Files(disk))
    with pytest.raises(OSError, match="full"):
        sink.write([root(1), span(2)])
    sink.write([root(1), span(2)])
    whole = path.read_bytes().split(b"\n")
    assert json.loads(whole[1]) == {"other": 1}
    assert [json.loads(line)["span_id"] for line in whole[2:] if line] == [f"{n:016x}" for n in (1, 2)]


def test_what_was_given_up_is_not_written_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans that failed and do not come again are gone, in this process and in a forked child."""
    sink = JsonLinesSpanSink(path)
    monkeypatch.setattr(span_sinks, "os", Files(FullDisk(0, 0)))
    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            sink.write([root(1)])
    sink.write([root(2)])
    assert numbers(lines(path)) == [2]


def test_durability_is_the_files(path: Path) -> None:
    """With durability "batch" the spans are synced before they count; a wrong argument is refused."""
    sink = JsonLinesSpanSink(path, durability="batch")
    sink.write([root(1)])
    sink.flush()
    assert numbers(lines(path)) == [1]
    with pytest.raises(ValueError, match="durability"):
        JsonLinesSpanSink(path, durability="always")
    with pytest.raises(FileNotFoundError):
        JsonLinesSpanSink(path.parent / "no" / "folder")


def test_a_child_writes_its_own(path: Path) -> None:
    """A forked child opens the file anew, and its spans and the parent's are whole lines of one file."""
    sink = JsonLinesSpanSink(path)
    tracer = Tracer(Registry(), rate=1.0)
    tracer.add_sink(sink)
    with tracer.span("parent"):
        pass
    assert tracer.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with tracer.span("child"):
                pass
            status = 0 if tracer.close() else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert tracer.close()
    assert [each["name"] for each in lines(path)] == ["parent", "child"]
