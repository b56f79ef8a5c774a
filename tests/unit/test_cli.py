"""The command line's door: what it says of itself, and what it says when it cannot run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import vaultscope as package
from vaultscope.edge.commands import vaultscope


def run(*arguments: str) -> Result:
    return CliRunner().invoke(vaultscope, arguments, prog_name="vaultscope")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_version() -> None:
    """--version gives the version of the library."""
    result = run("--version")
    assert result.exit_code == 0
    assert result.output == f"vaultscope {package.__version__}\n"


def test_help_names_the_commands() -> None:
    """--help lists the commands."""
    assert "demo" in run("--help").output


def test_help_tells_exit_statuses() -> None:
    """demo --help documents every exit status that the command has."""
    text = run("demo", "--help").output
    for status in ("0  ", "1  ", "2  ", "3  ", "4  ", "130, 143  "):
        assert f"\n    {status}" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("unknown",),
        ("demo", "--unknown"),
        ("demo", "--port", "65536"),
        ("demo", "--port", "http"),
        ("demo", "--threads", "0"),
        ("demo", "one", "two"),
    ],
)
def test_usage(arguments: tuple[str, ...]) -> None:
    """What is not understood ends with status 2."""
    assert run(*arguments).exit_code == 2


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    """A file in DIRECTORY's place is wrong usage."""
    (tmp_path / "file").touch()
    result = run("demo", str(tmp_path / "file"))
    assert result.exit_code == 2
    assert "is a file" in result.output


@pytest.mark.parametrize("where", ["store", "store/below"])
def test_a_store_is_not_fed_to_itself(tmp_path: Path, where: str) -> None:
    """A DIRECTORY that is the store, or lies in it, is wrong usage."""
    (tmp_path / "store" / "below").mkdir(parents=True)
    result = run("demo", "--store", str(tmp_path / "store"), str(tmp_path / where))
    assert result.exit_code == 2
    assert "lies in the store" in result.output


@pytest.mark.parametrize("name", ["click", "rich"])
def test_a_missing_extra(name: str) -> None:
    """Without a package of the extra, one line says how to get it, and the status is 2."""
    done = python(
        f"import sys; sys.modules[{name!r}] = None; from vaultscope.edge.cli import main; main()", "--version"
    )
    assert done.returncode == 2
    assert done.stderr == f"vaultscope: the command line needs {name}: pip install 'vaultscope[cli]'\n"


def test_a_missing_module_of_our_own() -> None:
    """Any other missing module is a fault of ours, and shown as one."""
    done = python(
        "import sys; sys.modules['vaultscope.edge.demo'] = None; from vaultscope.edge.cli import main; main()"
    )
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_nothing_heavy_is_imported() -> None:
    """The commands do not import numpy, which the library needs only when it is asked for arrays."""
    done = python("import vaultscope.edge.commands, sys; sys.exit('numpy' in sys.modules)")
    assert done.returncode == 0, done.stderr
