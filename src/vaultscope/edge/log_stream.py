"""A sink for a stream: for a person where it is a terminal, JSON lines where it goes to a program."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from collections.abc import Mapping
from typing import IO, Any, Literal

from vaultscope._native._core import Cursor
from vaultscope.edge.log_text import render_line
from vaultscope.signals.log import Sink

__all__ = ["StreamSink"]

_BEYOND_ASCII = re.compile("[^\x00-\x7f]+")
_NO = ("", "0", "false")


class StreamSink(Sink):
    """Writes records to standard error, or to another stream.

    A terminal gets a line of text for each record, coloured; all else gets the JSON lines. NO_COLOR in the
    environment (set to anything) turns colours off, else FORCE_COLOR (but 0) turns them on, else TERM=dumb
    turns them off. Only text is coloured: on a pipe FORCE_COLOR wants `format="text"`.

    A stream that is closed, or whose reader is gone, gets nothing more: its records are counted as missed.

    Args:
        stream: Text or binary. None is whatever `sys.stderr` is at the time.
        format: "text", "json", or "auto".
        colour: Whether to colour text; None leaves it to the environment and the terminal.
        name: The cursor's.
        environ: Where the variables are looked up.
    """

    def __init__(
        self,
        stream: IO[str] | IO[bytes] | None = None,
        *,
        format: Literal["auto", "text", "json"] = "auto",
        colour: bool | None = None,
        name: str = "stderr",
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        if format not in ("auto", "text", "json"):
            raise ValueError(f"a format is auto, text or json, not {format!r}")
        self.name = name
        self._stream = stream
        self._format = format
        self._colour = _wanted(environ) if colour is None else colour
        self._is_dumb = environ.get("TERM") == "dumb"

    def write(self, lines: bytes, records: Mapping[str, int]) -> None:
        """Writes the batch as one piece, so that no other thread's output comes between its lines."""
        stream = self._current()
        if stream is None:
            raise BrokenPipeError("there is no stream")
        is_terminal = _is_terminal(stream)
        is_text = self._format == "text" or (self._format == "auto" and is_terminal)
        if is_text:
            colour = is_terminal and not self._is_dumb if self._colour is None else self._colour
            text = "".join(render_line(line, colour=colour) for line in lines.splitlines(keepends=True))
            data = text.encode("utf-8", "backslashreplace")
        else:
            data = lines
        _put(stream, data, is_json=not is_text)

    def step(self, cursor: Cursor) -> None:
        """As any sink, but what a stream that is gone for good was to get is given up."""
        try:
            super().step(cursor)
        except BrokenPipeError:
            cursor.drop()
        except ValueError:
            stream = self._current()
            if stream is not None and not stream.closed:
                raise
            cursor.drop()

    def flush(self) -> None:
        """Nothing is held back: each batch is flushed as it is written."""

    def _current(self) -> IO[str] | IO[bytes] | None:
        return sys.stderr if self._stream is None else self._stream


def _wanted(environ: Mapping[str, str]) -> bool | None:
    """Whether the environment asks for colours; None: it does not say."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "").lower() not in _NO:
        return True
    return None


def _is_terminal(stream: IO[Any]) -> bool:
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty())


def _put(stream: IO[Any], data: bytes, *, is_json: bool) -> None:
    """Writes UTF-8 to a stream of whatever kind, and flushes it."""
    if isinstance(stream, (io.RawIOBase, io.BufferedIOBase)) or "b" in str(getattr(stream, "mode", "")):
        view = memoryview(data)
        while view:
            written = stream.write(view)  # a raw stream may take a part
            if written is None:
                raise BlockingIOError("the stream takes nothing for now")
            view = view[written:]
    else:
        stream.write(_encodable(data.decode("utf-8", "replace"), getattr(stream, "encoding", None), is_json))
    flush = getattr(stream, "flush", None)
    if flush is not None:
        flush()


def _encodable(text: str, encoding: str | None, is_json: bool) -> str:
    """The text with an escape in place of each character that the stream's encoding lacks."""
    try:
        if encoding is None or codecs.lookup(encoding).name == "utf-8":
            return text
        text.encode(encoding)
        return text
    except LookupError:
        return text
    except UnicodeEncodeError:
        if is_json:
            return _BEYOND_ASCII.sub(_json_escape, text)
        return text.encode(encoding or "ascii", "backslashreplace").decode(encoding or "ascii")


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
