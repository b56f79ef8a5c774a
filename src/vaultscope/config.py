"""What a build outside needs to know: `python -m vaultscope.config --includes --libs`.

For a shell, a Makefile or CMake, as `python3-config` and `python -m pybind11` do. Programs in Python call
`vaultscope.get_include` and `vaultscope.get_library_dirs`.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from vaultscope._native.paths import get_cmake_dir, get_include, get_library_dirs, get_pkgconfig_dir


def _includes() -> str:
    return shlex.join(["-I" + get_include()])


def _libs() -> str:
    (directory,) = get_library_dirs()
    return shlex.join(["-L" + directory, "-Wl,-rpath," + directory, "-lvaultscope"])


_ANSWERS = {
    "includes": (_includes, "flags for the compiler"),
    "libs": (_libs, "flags for the linker, a run path among them"),
    "cmakedir": (get_cmake_dir, "for -Dvaultscope_DIR="),
    "pkgconfigdir": (get_pkgconfig_dir, "for PKG_CONFIG_PATH"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints what was asked for, a line each, in the order of asking."""
    parser = argparse.ArgumentParser(
        prog="python -m vaultscope.config", description="How to build against vaultscope."
    )
    for name, (answer, meaning) in _ANSWERS.items():
        parser.add_argument(f"--{name}", dest="asked", action="append_const", const=answer, help=meaning)
    asked = parser.parse_args(arguments).asked
    if not asked:
        parser.error("ask for something")
    for answer in asked:
        print(answer())  # noqa: T201


if __name__ == "__main__":
    main()
