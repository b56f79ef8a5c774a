"""Names of fields: odd ones, long ones, and those that a line itself uses."""

from __future__ import annotations

import pytest
from logbook import HEAD, Logbook

from vaultscope.logging import Logger


@pytest.mark.parametrize("name", HEAD)
def test_reserved_names(name: str, book: Logbook, log: Logger) -> None:
    """A field with a name of the line's own gets an underscore behind it, and one more if that is taken."""
    log.info("m", **{name: "mine"})
    record = book.record
    assert record[f"{name}_"] == "mine"
    assert record["message"] == "m" and record["level"] == "info"
    log.info("m", **{name: 1, f"{name}_": 2, f"{name}__": 3})
    record = book.record
    assert [record[name + "_" * i] for i in (1, 2, 3)] == [2, 3, 1]


@pytest.mark.parametrize("name", ["truncated", "omitted"])
def test_names_of_the_lines_end(name: str, book: Logbook, log: Logger) -> None:
    """What the line says of itself at its end cannot be feigned."""
    log.info("m", **{name: "mine"}, x="v" * 10_000)
    record = book.record
    assert record[f"{name}_"] == "mine" and record["truncated"] == ["x"]


@pytest.mark.parametrize(
    "name, shown",
    [
        ("", ""),
        ("a b", "a b"),
        ('"\\\n\0', '"\\\n\0'),
        ("é😀", "é😀"),
        ("\ud800", "\ufffd"),
        ("TIME", "TIME"),
        ("time_", "time_"),
        ("__class__", "__class__"),
        ("self", "self"),
    ],
)
def test_odd_names(name: str, shown: str, book: Logbook, log: Logger) -> None:
    """A name may be any text, none included."""
    log.info("m", **{name: 1})
    assert book.fields == {shown: 1}
    log.bind(**{name: 1}).info("m")
    assert book.fields == {shown: 1}


def test_long_names(book: Logbook, log: Logger) -> None:
    """A name is cut after 255 bytes, at a character; of two that are then the same the last is shown."""
    log.info("m", **{"k" * 255: 1, "k" * 256: 2, "k" * 10_000: 3, "é" * 10_000: 4})
    assert book.fields == {"k" * 255: 3, "é" * 127: 4}


def test_names_that_become_the_same(book: Logbook, log: Logger) -> None:
    """Names that differ only in what a text cannot hold are one: the last is shown."""
    log.info("m", **dict(zip(["\ud800", "\udc00", "\ufffd"], [1, 2, 3], strict=True)))
    assert book.fields == {"\ufffd": 3}


def test_a_name_of_a_subclass_of_str(book: Logbook, log: Logger) -> None:
    """A name may be of a subclass of str, which cannot lie about its characters."""

    class Name(str):
        __slots__ = ()

        def encode(self, *how: object) -> bytes:
            raise ValueError

        def __str__(self) -> str:
            raise ValueError

    log.info("m", **{Name("a"): 1, Name("é"): 2})
    assert book.fields == {"a": 1, "é": 2}
