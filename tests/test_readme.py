"""What README.md shows is run.

The convention, and there is no way around it for Python:

- All ```` ```python ```` blocks are one program, run from top to bottom in one fresh process, in an empty
  folder. A block that has ``>>>`` prompts is a doctest: its output must be what is shown.
- Every ```` ```c ```` block that defines ``main`` is compiled against the installed headers and library, and
  run.
- A ```` ```console ```` block is run when the line before it is ``<!-- test -->``: each line that begins with
  ``$ `` is a command for bash and must succeed; lines that begin with ``> `` belong to it. The lines below a
  command, if there are any, are its output.
- ``<!-- ci: demo -->`` and ``<!-- ci: test -->`` are the two commands that a new reader runs. Each block
  holds one command. They are run by .ci/run, in new environments, since they install the project.

In shown output ``...`` stands for anything, and runs of white space are alike.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.M | re.S
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block: what it is, the mark on the line above it, and where it stands."""

    language: str
    mark: str
    body: str
    line: int

    def __str__(self) -> str:
        return f"line-{self.line}"

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Of a console block: each command and the output that is shown for it. A command goes on in lines
        that begin with ``> ``."""
        pieces = re.findall(r"^\$ (.*\n(?:> .*\n)*)((?:(?!\$ ).*\n)*)", self.body, flags=re.M)
        return [(re.sub(r"^> ", "", command, flags=re.M).rstrip("\n"), shown) for command, shown in pieces]


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a Markdown text, in order."""
    return [
        Block(
            language=match["language"],
            mark=match["mark"] or "",
            body=match["body"],
            line=text.count("\n", 0, match.start("body")) + 1,
        )
        for match in FENCE.finditer(text)
    ]


def program(python: list[Block]) -> str:
    """One program of all Python blocks: doctests are checked, others executed, in one namespace."""
    steps = [(block.line, block.body) for block in python]
    return f"""
import doctest, sys
namespace = {{"__name__": "__main__"}}
runner = doctest.DocTestRunner(optionflags={FLAGS})
for line, body in {steps!r}:
    if ">>> " in body:
        test = doctest.DocTestParser().get_doctest(body, namespace, "README.md", "README.md", line - 1)
        runner.run(test, clear_globs=False)
        namespace = test.globs
    else:
        exec(compile("\\n" * (line - 1) + body, "README.md", "exec"), namespace)
sys.exit(runner.summarize().failed > 0)
"""


def shown_as(wanted: str, got: str) -> bool:
    """Whether `got` is the output that the reader was promised."""
    return doctest.OutputChecker().check_output(wanted, got, FLAGS)


BLOCKS = blocks(README.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """The reader's environment: the installed commands are on the path."""
    return {
        **os.environ,
        "PATH": os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"])),
        "PYTHONIOENCODING": "utf-8",
    }


def test_python(tmp_path: Path, environment: dict[str, str]) -> None:
    """The Python of the README runs from top to bottom and prints what is shown."""
    python = [block for block in BLOCKS if block.language == "python"]
    assert python
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program(python)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_c(installed: Path, tmp_path: Path) -> None:
    """The C programs of the README compile without a warning, and run."""
    for block in BLOCKS:
        if block.language != "c" or not re.search(r"\bmain\s*\(", block.body):
            continue
        source = tmp_path / "readme.c"
        source.write_text(f'#line {block.line} "README.md"\n{block.body}')
        compile_ = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", source, "-I", installed / "include"]
        link = ["-L", installed, "-lvaultscope", f"-Wl,-rpath,{installed}", "-lpthread"]
        done = subprocess.run([*compile_, *link, "-o", tmp_path / "readme"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        subprocess.run([tmp_path / "readme"], check=True, capture_output=True)


def test_console(tmp_path: Path, environment: dict[str, str]) -> None:
    """The marked commands, run one after the other in one folder, succeed and print what is shown."""
    for block in BLOCKS:
        for command, shown in block.commands if block.mark == "test" else ():
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            where = f"README.md:{block.line}: $ {command}\n{done.stdout}"
            assert done.returncode == 0, where
            assert not shown.strip() or shown_as(shown, done.stdout), where


@pytest.mark.parametrize("mark", ["ci: demo", "ci: test"])
def test_the_two_commands(mark: str) -> None:
    """Each of the reader's two commands is marked once and is one line, which .ci/run runs as it is."""
    (block,) = [block for block in BLOCKS if block.mark == mark]
    ((command, shown),) = block.commands
    assert block.language == "console"
    assert command
    assert not shown.strip()


def test_marks_are_known() -> None:
    """No mark is misspelt, which would leave its block unrun in silence."""
    marks = re.findall(r"^<!-- ((?:ci|test)[^\n]*?) -->$", README.read_text(encoding="utf-8"), re.M)
    assert set(marks) <= {"test", "ci: demo", "ci: test"}
    assert sorted(marks) == sorted(block.mark for block in BLOCKS if block.mark)


def test_blocks_are_found() -> None:
    """The reader of blocks knows marks, languages, lines, and what belongs to a command."""
    text = "# a\n\n<!-- test -->\n```console\n$ echo a b\na  b\n$ true\n```\n\n```python\nx = 1\n```\n"
    console, python = blocks(text)
    assert console == Block("console", "test", "$ echo a b\na  b\n$ true\n", 5)
    assert console.commands == [("echo a b", "a  b\n"), ("true", "")]
    assert python == Block("python", "", "x = 1\n", 11)


@pytest.mark.parametrize(
    ("bodies", "status"),
    [
        (["x = 1\n", ">>> x + 1\n2\n", ">>> y = x\n", "assert y == 1\n"], 0),
        ([">>> 1 + 1\n3\n"], 1),
        (["raise SystemExit(3)\n"], 3),
        (["1 / 0\n"], 1),
        ([">>> list(range(30))\n[0, 1, ..., 29]\n"], 0),
    ],
)
def test_blocks_share_a_namespace_and_are_checked(bodies: list[str], status: int) -> None:
    """Blocks build on each other; a wrong output, an error and an exit are all seen."""
    python = [Block("python", "", body, 1) for body in bodies]
    assert subprocess.run([sys.executable, "-c", program(python)], capture_output=True).returncode == status
