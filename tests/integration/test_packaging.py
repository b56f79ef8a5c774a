"""What is shipped: an sdist, a wheel built from that sdist in isolation, and an installation of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from installation import environment_with, run


@pytest.fixture(scope="module")
def sdist(dist: Path) -> set[str]:
    """Names of the files in the sdist, without its top folder."""
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def wheel(dist: Path) -> set[str]:
    """Names of the files in the wheel."""
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def python(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new virtual environment that holds the wheel and nothing else."""
    return environment_with(dist, tmp_path_factory.mktemp("environment"))


def test_the_sdist_is_the_source(sdist: set[str]) -> None:
    """All that a build and a test run need is in the sdist."""
    assert {
        "README.md",
        "pyproject.toml",
        "CMakeLists.txt",
        "native/CMakeLists.txt",
        "native/include/vaultscope.h",
        "native/src/arena.c",
        "src/vaultscope/_native/_core.pyx",
        "src/vaultscope/_native/native.pxd",
        "tests/native/CMakeLists.txt",
        "tests/conftest.py",
    } <= sdist


def test_the_sdist_holds_nothing_built(sdist: set[str]) -> None:
    """No object, no library, no cache and no folder of a tool is in the sdist."""
    built = {name for name in sdist if name.endswith((".so", ".o", ".pyc", ".whl"))}
    tools = {
        name
        for name in sdist
        if name.startswith((".git/", ".ci", "build/", "dist/", "src/vaultscope/include"))
    }
    caches = {name for name in sdist if "cache" in name.split("/")[0]}
    assert built | tools | caches == set()


def test_the_wheel_is_whole(wheel: set[str], project: Path) -> None:
    """The wheel holds the library, its headers, the extension, its types and its Cython door."""
    (suffix,) = {name.rpartition("_core.")[2] for name in wheel if "/_core.c" in name}
    assert {
        "vaultscope/libvaultscope.so",
        f"vaultscope/_native/_core.{suffix}",
        "vaultscope/_native/_core.pyi",
        "vaultscope/_native/native.pxd",
        "vaultscope/__init__.pxd",
        "vaultscope/lib/cmake/vaultscope/vaultscopeConfig.cmake",
        "vaultscope/lib/pkgconfig/vaultscope.pc",
        "vaultscope/py.typed",
    } <= wheel
    include = project / "native" / "include"
    headers = {f"vaultscope/include/{path.relative_to(include)}" for path in include.rglob("*.h")}
    modules = {str(path.relative_to(project / "src")) for path in (project / "src").rglob("*.py")}
    assert headers | modules <= wheel


def test_the_wheel_is_for_this_platform(dist: Path) -> None:
    """The wheel is tagged for this Python and machine: it has compiled parts."""
    (path,) = dist.glob("*.whl")
    assert f"cp{sys.version_info.major}{sys.version_info.minor}" in path.name
    assert "none-any" not in path.name


def test_the_wheel_holds_no_foreign_files(wheel: set[str]) -> None:
    """Nothing but the package and its metadata is in the wheel, and no sources of the extension."""
    assert {name.split("/")[0].partition("-")[0] for name in wheel} == {"vaultscope"}
    assert {name for name in wheel if name.endswith((".pyx", ".pxi", ".c"))} == set()


def test_an_installation_counts(python: Path, tmp_path: Path) -> None:
    """In a new environment, away from the source tree and with no other package, a counter counts."""
    program = (
        "import vaultscope; counter = vaultscope.Registry().counter('cas.put.count');"
        "counter.inc(); counter.inc(2);"
        "print(vaultscope.__file__, counter.value)"
    )
    file, value = run(python, "-I", "-c", program, cwd=tmp_path).split()
    assert Path(file).is_relative_to(python.parent.parent)
    assert value == "3"


def test_an_installation_can_be_moved(python: Path, tmp_path: Path) -> None:
    """The extension finds the library beside it, by a relative path: the package works anywhere."""
    (package,) = python.parent.parent.glob("lib/python*/site-packages/vaultscope")
    (tmp_path / "elsewhere").mkdir()
    moved = package.rename(tmp_path / "elsewhere" / "vaultscope")
    try:
        program = (
            "import vaultscope; vaultscope.Registry().counter('a.count').inc(); print(vaultscope.__file__)"
        )
        printed = run(python, "-c", program, cwd=tmp_path, PYTHONPATH=str(moved.parent))
        assert printed.strip() == str(moved / "__init__.py")
    finally:
        moved.rename(package)


def test_the_command_says_what_it_lacks(python: Path, tmp_path: Path) -> None:
    """Without the extra `cli`, the command ends with a message that names it, not with a traceback."""
    done = subprocess.run(
        [python.parent / "vaultscope", "demo"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "vaultscope[cli]" in done.stderr
    assert "Traceback" not in done.stderr


def test_c_links_to_an_installation(python: Path, tmp_path: Path) -> None:
    """A C program compiles and links against what the wheel installed."""
    (package,) = python.parent.parent.glob("lib/python*/site-packages/vaultscope")
    source = tmp_path / "user.c"
    source.write_text(
        "#include <vaultscope.h>\n#include <stdio.h>\nint main(void) { return puts(vs_version()) < 0; }\n"
    )
    flags = ["-std=c11", "-I", package / "include", "-L", package, f"-Wl,-rpath,{package}"]
    run("cc", source, *flags, "-lvaultscope", "-o", tmp_path / "user", cwd=tmp_path)
    version = run(python, "-c", "import vaultscope; print(vaultscope.__version__)", cwd=tmp_path)
    assert run(tmp_path / "user", cwd=tmp_path) == version


def test_a_failed_build_is_loud(dist: Path, tmp_path: Path) -> None:
    """Without a C compiler there is an error and no wheel; there is no fall-back in Python."""
    (path,) = dist.glob("*.tar.gz")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--disable-pip-version-check",
        "-w",
        tmp_path,
        path,
    ]
    environment = {**os.environ, "CC": "/bin/false"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "CMake configuration failed" in done.stdout + done.stderr
    assert list(tmp_path.glob("*.whl")) == []
