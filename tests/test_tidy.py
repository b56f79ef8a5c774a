"""House rules that a machine can hold: small files, no unfinished work, no place names, no sleeping tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
LINES_MAX = 500
SUFFIXES = {".py", ".pyi", ".pyx", ".pxi", ".pxd", ".c", ".h", ".md", ".toml", ".txt", ".yml"}
FOLDERS = ("native", "src", "tests", "benchmarks", "examples", ".ci")

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
# The beginnings of paths that only one machine has.
PLACE = re.compile(r"(?<![\w./])/(root|home|Users|work|workspace|mnt)/\w")


def texts(*folders: str) -> list[Path]:
    """Text files below the folders, and for the whole project those that lie in its root."""
    found = [path for folder in folders for path in (PROJECT / folder).rglob("*") if path.suffix in SUFFIXES]
    return sorted(path for path in found if "__pycache__" not in path.parts)


PRODUCT = texts("native", "src")
ALL = [
    *texts(*FOLDERS),
    *sorted(path for path in PROJECT.iterdir() if path.is_file() and path.suffix in SUFFIXES),
    *sorted(path for path in (PROJECT / ".ci").glob("*") if path.is_file()),
]
TESTS = texts("tests")


def relative(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def lines_with(pattern: re.Pattern[str], path: Path) -> list[str]:
    """The lines of a file that match, with their numbers."""
    return [
        f"{number}: {line.strip()}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


def test_there_is_something_to_check() -> None:
    """The lists of files are not empty, so the tests below do run."""
    assert len(PRODUCT) > 20
    assert len(TESTS) > 5


@pytest.mark.parametrize("path", [path for path in PRODUCT if path.suffix != ".pyi"], ids=relative)
def test_size(path: Path) -> None:
    """A product file has at most 500 lines: past that it holds more than one noun. A stub is as long as what
    it is the contents of."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_MAX


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_finished(path: Path) -> None:
    """Product code carries no note of work left undone."""
    assert lines_with(UNFINISHED, path) == []


@pytest.mark.parametrize("path", ALL, ids=relative)
def test_no_place(path: Path) -> None:
    """No file names a path that only one machine has."""
    if path != Path(__file__):
        assert lines_with(PLACE, path) == []


@pytest.mark.parametrize("path", ALL, ids=relative)
def test_white_space(path: Path) -> None:
    """A file ends with one newline; no line ends with a space; nothing is indented by tabs."""
    text = path.read_text(encoding="utf-8")
    assert lines_with(re.compile(r"[ \t]$|^\s*\t"), path) == []
    assert text == "" or (text.endswith("\n") and not text.endswith("\n\n"))


@pytest.mark.parametrize("path", [path for path in TESTS if path.suffix == ".py"], ids=relative)
def test_tests_do_not_sleep(path: Path) -> None:
    """A Python test waits for events, not for time: it sleeps only between two looks, in a `while`.

    A sleep that a test relies on is either too short or too long.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.While)]
    polling = {id(node) for loop in loops for node in ast.walk(loop)}
    calls = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute | ast.Name)
        and (node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id) == "sleep"
        and id(node) not in polling
        and ast.unparse(node.args[0]) != "0"
    ]
    assert calls == []


@pytest.mark.parametrize("path", [path for path in TESTS if path.suffix == ".c"], ids=relative)
def test_native_tests_do_not_sleep(path: Path) -> None:
    """A C test waits for events, not for time."""
    assert lines_with(re.compile(r"\b(sleep|usleep|nanosleep|clock_nanosleep)\s*\("), path) == []
