"""The Cython door: what native.pxd says of the C library is what the headers say.

The declarations of a .pxd are C in all but layout, so they are turned back into C and put after the headers.
A C compiler then refuses a function of another type, a member that is missing or of another type, and a name
that is not there. (Cython itself would take the .pxd's word for it.)
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ALIASES = {"vs_bool": "bool"}  # Cython's own name for it is bint
# What a .pxd must call a function.
MACROS = {"vs_log", *[f"vs_field_{kind}" for kind in ("null", "bool", "i64", "u64", "f64", "text", "bytes")]}


def statements(pxd: str) -> Iterator[tuple[str, list[str]]]:
    """Each declaration of the extern block with the lines of its body; continuation lines are joined."""
    _, _, block = pxd.partition('cdef extern from "vaultscope.h" nogil:\n')
    lines = [line.partition("#")[0].rstrip() for line in block.splitlines()]
    head, body = "", list[str]()
    for line in filter(None, lines):
        if head.count("(") > head.count(")"):
            head += " " + line.strip()
        elif line.startswith("        "):
            body.append(line.strip())
        else:
            if head:
                yield head, body
            head, body = line.strip(), []
    yield head, body


def c_of(pxd: str) -> str:
    """A C file that compiles only if the headers agree with `pxd`."""
    lines = ['#include "vaultscope.h"']
    for head, body in statements(pxd):
        if re.match(r"(ctypedef )?enum\b", head):
            lines += [f'_Static_assert({name} == {name}, "");' for name in body if name != "pass"]
        elif struct := re.match(r"ctypedef struct (\w+):", head):
            lines += [line for member in body if member != "pass" for line in member_of(struct[1], member)]
        elif (function := re.search(r"(\w+)\(", head)) and function[1] in MACROS:
            lines += [f"#ifndef {function[1]}", "#error", "#endif"]
        elif function:
            lines += [f'_Static_assert(sizeof(&{function[1]}), "");', head.replace("()", "(void)") + ";"]
        else:
            assert head.split()[-2] in ALIASES, f"cannot read `{head}`"
    text = "\n".join(lines) + "\n"
    for alias, name in ALIASES.items():
        text = re.sub(rf"\b{alias}\b", name, text)
    return text


def member_of(struct: str, member: str) -> Iterator[str]:
    """C that holds one member of a struct to its declared type."""
    match = re.fullmatch(r"(.*?[ *])(\w+)(\[\w*\])?", member)
    assert match, f"cannot read `{member}` in {struct}"
    kind, name, length = match[1].strip(), match[2], match[3] or ""
    yield (
        f"_Static_assert(__builtin_types_compatible_p("
        f'__typeof__((({struct} *)0)->{name}), {kind} {length}), "{struct}.{name}");'
    )


def errors(source: str, include: Path, folder: Path) -> str:
    """What a C compiler says against `source`."""
    path = folder / "pxd.c"
    path.write_text(source)
    command = ["cc", "-std=c11", "-fsyntax-only", "-Wno-unused", "-Werror", "-I", include, path]
    return subprocess.run(command, capture_output=True, text=True).stderr


def test_headers_agree(project: Path, installed: Path, tmp_path: Path) -> None:
    """Every function, member and constant of native.pxd is in the headers, with that very type."""
    source = c_of((project / "src/vaultscope/_native/native.pxd").read_text())
    assert source.count(");") > 50
    assert errors(source, installed / "include", tmp_path) == ""


@pytest.mark.parametrize(
    "declaration",
    [
        "    const char *vs_status_text(int64_t status)",
        "    void vs_no_such_thing()",
        "    enum:\n        VS_NO_SUCH_THING",
        "    ctypedef struct vs_text:\n        const char *data\n        uint32_t size",
        "    ctypedef struct vs_text:\n        const char *bytes",
        "    ctypedef struct vs_text:\n        char *data",
    ],
)
def test_a_wrong_declaration_is_seen(declaration: str, installed: Path, tmp_path: Path) -> None:
    """The check itself finds a wrong argument, member, type and constant."""
    source = c_of(f'cdef extern from "vaultscope.h" nogil:\n{declaration}\n')
    assert "error" in errors(source, installed / "include", tmp_path)
