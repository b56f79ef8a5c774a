"""Records on a stream: text for people, JSON for programs, and nothing that a terminal would obey."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultscope.core.json_codec import dumps
from vaultscope.edge.log_stream import StreamSink
from vaultscope.edge.log_text import render_line

HEAD = {
    "time": "2026-01-31T23:59:59.123456789Z",
    "level": "info",
    "logger": "cas",
    "message": "Object stored",
}
TAIL = {"pid": 1, "thread": 2}
ONE = {"info": 1}


def line(**fields: object) -> bytes:
    """One record, as the drain writes it."""
    head = {key: fields.pop(key, value) for key, value in HEAD.items()}
    return dumps({**head, **TAIL, **fields}) + b"\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Batches:
    """Stands for a cursor: one batch, given until it is done with or dropped."""

    def __init__(self, lines: bytes) -> None:
        self.lines: bytes | None = lines
        self.records = ONE
        self.dropped = False

    def wait(self, seconds: float) -> bool:
        return self.lines is not None

    def take(self, size: int = 0) -> Any:
        return self if self.lines is not None else None

    def done(self) -> None:
        self.lines = None

    def drop(self) -> None:
        self.lines, self.dropped = None, True


def shown(stream: io.StringIO, environ: Mapping[str, str], data: bytes = b"", **options: Any) -> str:
    """What a sink with these variables writes of a record."""
    StreamSink(stream, environ=environ, **options).write(data or line(size=4096), ONE)
    return stream.getvalue()


# -- text ---------------------------------------------------------------------------------------------------


def test_a_line_of_text() -> None:
    """Time of day in UTC, level, logger, message, fields; process and thread are left out."""
    assert render_line(line(hash="9f86", size=4096)) == (
        "23:59:59.123 INFO  cas: Object stored hash=9f86 size=4096\n"
    )


def test_no_logger() -> None:
    """The root logger's records have no name in front."""
    record = {"time": HEAD["time"], "level": "error", "message": "bad"}
    assert render_line(dumps(record)) == "23:59:59.123 ERROR bad\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("word", "word"),
        ("", '""'),
        ("two words", '"two words"'),
        ('a"b', '"a\\"b"'),
        ("a=b", '"a=b"'),
        ("null,", '"null,"'),
        ("a\nb", '"a\\nb"'),
        ("é", "é"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        ({"a": [1, "x y"]}, '{"a":[1,"x y"]}'),
        (10**30, str(10**30)),
    ],
)
def test_field(value: object, text: str) -> None:
    """One word stands as it is, other text in quotes, nested values as compact JSON."""
    assert render_line(line(field=value)).endswith(f" field={text}\n")


def test_traceback() -> None:
    """An exception is named in its field, and its traceback follows in lines of their own."""
    error = {"type": "OSError", "message": "disk full", "traceback": "Traceback:\n  here\n\tthere\n"}
    assert render_line(line(exception=error)).splitlines() == [
        '23:59:59.123 INFO  cas: Object stored exception="OSError: disk full"',
        "    Traceback:",
        "      here",
        "        there",
    ]


def test_two_tracebacks() -> None:
    """Each exception among the fields has its traceback below the line."""
    errors = {key: {"type": "E", "message": "m", "traceback": f"trace of {key}"} for key in ("one", "two")}
    assert render_line(line(**errors)).splitlines()[1:] == ["    trace of one", "    trace of two"]


@pytest.mark.parametrize("field", ["message", "logger", "level", "time", "key", "value", "nested", "type"])
@pytest.mark.parametrize("attack", ["\x1b[2J", "\x9b2J", "\r", "\b", "\x00", "\u202e", "\ud800", "\n"])
def test_nothing_harmful_gets_through(field: str, attack: str) -> None:
    """Wherever an escape sequence stands in a record, the terminal is shown it and not sent it."""
    places: dict[str, dict[str, Any]] = {
        "key": {attack: 1},
        "value": {"a": attack},
        "nested": {"a": {attack: [attack]}},
        "type": {"a": {"type": attack, "message": attack, "traceback": attack.replace("\n", "")}},
    }
    record = {**HEAD, **places.get(field, {field: attack * 30})}
    text = render_line(json.dumps(record).encode())
    assert attack not in text.removesuffix("\n").replace("\n    ", "")


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_become_one_harmless_line(data: bytes) -> None:
    """What is no record is shown, too, on one line."""
    text = render_line(data)
    assert text.endswith("\n")
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text[:-1])


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.text() | st.floats(), st.lists)))
def test_any_record_becomes_one_harmless_line(fields: dict[str, Any]) -> None:
    """Whatever the keys and values are, a record without an exception is one line, without controls."""
    text = render_line(json.dumps(fields).encode())
    assert text.endswith("\n")
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text[:-1])


def test_colour_ends() -> None:
    """Each colour that is begun is ended, and without them the text is the same."""
    error = {"type": "OSError", "message": "full", "traceback": "a\nb"}
    for level in ("trace", "debug", "info", "warn", "error", "fatal", "odd"):
        record = line(level=level, a=1, exception=error)
        coloured = render_line(record, colour=True)
        assert coloured.count("\x1b[") == 2 * coloured.count("\x1b[0m") > 0
        bare = "".join(part.split("m", 1)[-1] for part in coloured.split("\x1b["))
        assert bare == render_line(record)


# -- which form ---------------------------------------------------------------------------------------------


def test_a_program_gets_json() -> None:
    """What is no terminal gets the lines as they are."""
    assert shown(io.StringIO(), {}, line(a=1) + line(a=2)) == (line(a=1) + line(a=2)).decode()


def test_a_terminal_gets_coloured_text() -> None:
    """A terminal gets text with colours."""
    assert "\x1b[32mINFO " in shown(Terminal(), {"TERM": "xterm"})


@pytest.mark.parametrize(
    ("environ", "is_coloured"),
    [
        ({}, True),
        ({"TERM": "dumb"}, False),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": "0"}, False),
        ({"NO_COLOR": ""}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        ({"TERM": "dumb", "FORCE_COLOR": "0"}, False),
        ({"FORCE_COLOR": "0"}, True),
    ],
)
def test_environment(environ: dict[str, str], is_coloured: bool) -> None:
    """NO_COLOR comes first, then FORCE_COLOR, then TERM=dumb; an empty one is none."""
    assert ("\x1b[" in shown(Terminal(), environ)) is is_coloured


def test_forced_colour_does_not_colour_json() -> None:
    """A pipe gets JSON whatever FORCE_COLOR says; text that was asked for is coloured by it."""
    assert json.loads(shown(io.StringIO(), {"FORCE_COLOR": "1"}))["size"] == 4096
    assert "\x1b[" in shown(io.StringIO(), {"FORCE_COLOR": "1"}, format="text")
    assert "\x1b[" not in shown(io.StringIO(), {}, format="text")


def test_the_caller_has_the_last_word() -> None:
    """`format` and `colour` overrule the terminal and the environment."""
    assert shown(Terminal(), {}, format="json").startswith("{")
    assert "\x1b[" not in shown(Terminal(), {"FORCE_COLOR": "1"}, colour=False)
    assert "\x1b[" in shown(io.StringIO(), {"NO_COLOR": "1"}, format="text", colour=True)
    with pytest.raises(ValueError, match="xml"):
        StreamSink(format="xml")  # type: ignore[arg-type]


# -- streams ------------------------------------------------------------------------------------------------


def test_standard_error_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a stream, the sink follows sys.stderr when it is replaced."""
    sink = StreamSink(environ={})
    first, second = io.StringIO(), io.StringIO()
    for stream in (first, second):
        monkeypatch.setattr(sys, "stderr", stream)
        sink.write(line(), ONE)
    assert first.getvalue() == second.getvalue() == line().decode()


def test_binary_streams(tmp_path: Path) -> None:
    """A binary stream gets UTF-8, be it in memory, a buffered file or a raw one."""
    memory = io.BytesIO()
    StreamSink(memory, environ={}).write(line(a="é"), ONE)
    assert memory.getvalue() == line(a="é")
    for buffering in (0, -1):
        with open(tmp_path / "log", "wb", buffering=buffering) as file:
            StreamSink(file, environ={}).write(line(a="é"), ONE)
            assert (tmp_path / "log").read_bytes() == line(a="é")  # flushed


class Chunks(io.RawIOBase):
    """Takes three bytes at a time."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: Any) -> int:
        self.data += bytes(data[:3])
        return len(data[:3])


def test_a_raw_stream_that_takes_parts() -> None:
    """All of the batch is written to a stream that takes a few bytes a call."""
    stream = Chunks()
    StreamSink(stream, environ={}).write(line(), ONE)  # type: ignore[arg-type]
    assert stream.data == line()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16"])
def test_json_survives_a_narrow_encoding(encoding: str) -> None:
    """What the stream's encoding lacks is written as JSON's own escapes."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    StreamSink(stream, environ={}).write(line(a="é😀\u0100"), ONE)
    assert json.loads(raw.getvalue().decode(encoding))["a"] == "é😀\u0100"


def test_text_survives_a_narrow_encoding() -> None:
    """Text on an ASCII stream shows the number of each character that it lacks."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    StreamSink(stream, format="text", environ={}).write(line(a="é"), ONE)
    assert raw.getvalue().endswith(b" a=\\xe9\n")


def test_a_batch_is_one_write() -> None:
    """Nothing that another thread prints comes between the lines of a batch."""
    writes: list[str] = []

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    StreamSink(Watched(), environ={}, format="text").write(line() * 3, {"info": 3})
    assert len(writes) == 1


# -- streams that are gone ----------------------------------------------------------------------------------


def test_a_closed_stream_is_given_up() -> None:
    """What a closed stream was to get is dropped, which the cursor counts, and the sink goes on."""
    stream = io.StringIO()
    stream.close()
    cursor = Batches(line())
    StreamSink(stream, environ={}).step(cursor)  # type: ignore[arg-type]
    assert cursor.dropped


def test_a_broken_pipe_is_given_up() -> None:
    """What a pipe without a reader was to get is dropped."""
    reader, writer = os.pipe()
    os.close(reader)
    cursor = Batches(line())
    with open(writer, "wb", buffering=0) as stream:
        StreamSink(stream, environ={}).step(cursor)  # type: ignore[arg-type]
    assert cursor.dropped


def test_no_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without standard error, as a daemon may be, loses the records and nothing else."""
    monkeypatch.setattr(sys, "stderr", None)
    cursor = Batches(line())
    StreamSink(environ={}).step(cursor)  # type: ignore[arg-type]
    assert cursor.dropped


def test_a_full_disk_is_not_given_up() -> None:
    """An error that may pass is raised for the journal to try again, and the batch is kept."""
    cursor = Batches(line())
    with open("/dev/full", "wb", buffering=0) as stream, pytest.raises(OSError, match="No space"):
        StreamSink(stream, environ={}).step(cursor)  # type: ignore[arg-type]
    assert cursor.lines == line() and not cursor.dropped


def test_a_pipe_that_is_full_is_tried_again() -> None:
    """A stream that would block raises, and its batch is kept."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    cursor = Batches(line() * 2000)
    with open(reader, "rb"), open(writer, "wb", buffering=0) as stream, pytest.raises(BlockingIOError):
        StreamSink(stream, environ={}).step(cursor)  # type: ignore[arg-type]
    assert cursor.lines is not None


def test_a_written_batch_is_done() -> None:
    """A batch that was written is acknowledged, not dropped."""
    stream, cursor = io.StringIO(), Batches(line())
    StreamSink(stream, environ={}).step(cursor)  # type: ignore[arg-type]
    assert (stream.getvalue(), cursor.lines, cursor.dropped) == (line().decode(), None, False)
