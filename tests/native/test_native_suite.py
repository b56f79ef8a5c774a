"""The C tests (test_*.c beside this file): built alone, without Python, and run under each sanitizer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SANITIZERS = ["", "thread", "address,undefined"]


def tool(name: str) -> str:
    """The path of a build tool; without it these tests fail, they are not skipped."""
    path = shutil.which(name)
    assert path, f"{name} is not installed"
    return path


def run(*command: str | Path) -> str:
    """Runs a command that must succeed; returns what it printed, and shows it if it fails."""
    # The first report of a sanitizer ends the program, so that it cannot drown in others.
    environment = {
        **os.environ,
        "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
        "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module", params=SANITIZERS, ids=lambda sanitizer: sanitizer or "plain")
def build(request: pytest.FixtureRequest, project: Path) -> tuple[str, Path]:
    """The sanitizer, and a folder in which native/ is built with it. Kept between runs."""
    name = "native-" + (request.param.replace(",", "-") or "plain")
    folder = Path(request.config.cache.mkdir(name))
    options = ["-DVAULTSCOPE_TESTS=ON", f"-DVAULTSCOPE_SANITIZE={request.param}"]
    run(tool("cmake"), "--fresh", "-S", project / "native", "-B", folder, *options)
    run(tool("cmake"), "--build", folder, "--parallel", "2")
    return request.param, folder


def test_c_tests_pass(build: tuple[str, Path]) -> None:
    """Every C test passes, and there is one for each test_*.c."""
    _, folder = build
    report = run(tool("ctest"), "--test-dir", folder, "--output-on-failure", "--no-tests=error")
    programs = list(Path(__file__).parent.glob("test_*.c"))
    assert re.search(rf"^100% tests passed.* out of {len(programs)}$", report, re.M)  # CMake 4 words it anew


def test_the_sanitizer_is_in(build: tuple[str, Path]) -> None:
    """The library under test calls the sanitizers that were asked for, and no others."""
    sanitizer, folder = build
    symbols = run(tool("nm"), "-D", "--undefined-only", folder / "libvaultscope.so")
    present = {name for name in ("__tsan_", "__asan_", "__ubsan_") if name in symbols}
    assert present == {
        f"__{word[0] if word[0] != 'u' else 'ub'}san_" for word in sanitizer.split(",") if word
    }


def test_an_unknown_sanitizer_is_refused(project: Path, tmp_path: Path) -> None:
    """A misspelt sanitizer ends the configuration; it does not build something unchecked."""
    command = [tool("cmake"), "-S", project / "native", "-B", tmp_path, "-DVAULTSCOPE_SANITIZE=threads"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "VAULTSCOPE_SANITIZE is 'threads'" in done.stderr
