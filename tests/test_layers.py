"""The architecture as rules: edge -> signals -> core -> _native -> native/include, imported only rightwards.

`errors` is a leaf that anyone may import. The door (`vaultscope` itself) imports layers and is imported by
none of them. Product code never imports `testing`. Modules of `signals` do not know each other. What reads
values reads snapshots, never live metrics.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
PACKAGE = PROJECT / "src" / "vaultscope"
NATIVE = PROJECT / "native"
LAYERS = ("edge", "signals", "core", "_native")  # from left to right

# Exporters, alerts and health: they are given snapshots.
SNAPSHOT_READERS = ("vaultscope.edge.prometheus", "vaultscope.signals.alerts", "vaultscope.signals.health")

CYTHON_IMPORT = re.compile(
    r"^\s*(?:from\s+([\w.]+)\s+c?import\s+(?:\(([^)]*)\)|([\w ,*]+))|c?import\s+([\w.]+))", re.MULTILINE
)


def python_imports(module: str, source: str, *, is_package: bool = False) -> Iterator[str]:
    """Every module that Python source names in an import, wherever the statement stands."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            target = ".".join(part for part in (base, node.module) if part)
            yield from (f"{target}.{alias.name}" for alias in node.names)


def cython_imports(source: str) -> Iterator[str]:
    """Every module that Cython source names in an import or a cimport."""
    for match in CYTHON_IMPORT.finditer(source):
        origin, bracketed, listed, plain = match.groups()
        if plain:
            yield plain
        else:
            yield from (
                f"{origin}.{name.split()[0]}" for name in (bracketed or listed).split(",") if name.strip()
            )


def violations(module: str, imports: Iterator[str]) -> list[str]:
    """The rules that `module` breaks by these imports, in words."""
    broken = []
    home = module.split(".")[1] if "." in module else ""
    for name in imports:
        parts = name.split(".")
        if parts[0] != "vaultscope":
            continue
        room = parts[1] if len(parts) > 1 else ""
        if room == "testing":
            broken.append(f"{module} imports {name}: product code never imports testing")
        elif home == "errors":
            broken.append(f"{module} imports {name}: errors is a leaf")
        elif home in LAYERS and room not in (*LAYERS, "errors"):
            broken.append(f"{module} imports {name}: the door is for users, a layer imports from layers")
        elif home in LAYERS and room in LAYERS and LAYERS.index(room) < LAYERS.index(home):
            broken.append(f"{module} imports {name}: imports go rightwards in {' -> '.join(LAYERS)}")
        elif home == room == "signals" and len(parts) > 2 and parts[2] != module.split(".")[-1]:
            broken.append(f"{module} imports {name}: signals do not know each other")
        if module in SNAPSHOT_READERS and name.startswith("vaultscope.core.metrics"):
            broken.append(f"{module} imports {name}: it reads snapshots, never live metrics")
    return broken


def without_comments(c: str) -> str:
    """C source whose comments are blanked; what they speak of is not done."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", c, flags=re.DOTALL)


def module_name(path: Path) -> str:
    """The dotted name of a file of the package."""
    parts = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def relative(path: Path) -> str:
    return str(path.relative_to(PROJECT))


PYTHON = sorted((*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")))
CYTHON = sorted(path for suffix in ("pyx", "pxi", "pxd") for path in PACKAGE.rglob(f"*.{suffix}"))
C = sorted((*NATIVE.rglob("*.h"), *NATIVE.rglob("*.c")))


@pytest.mark.parametrize("path", [path for path in PYTHON if path.stem != "testing"], ids=relative)
def test_python_imports(path: Path) -> None:
    """A Python module imports only what stands to its right."""
    module = module_name(path)
    imports = python_imports(module, path.read_text(), is_package=path.stem == "__init__")
    assert violations(module, imports) == []


@pytest.mark.parametrize("path", CYTHON, ids=relative)
def test_cython_imports(path: Path) -> None:
    """A Cython file imports and cimports only from its own layer and from errors."""
    assert violations(module_name(path), cython_imports(path.read_text())) == []


def test_there_is_something_to_check() -> None:
    """The three lists of files are not empty, so the tests above did run."""
    assert PYTHON
    assert CYTHON
    assert C


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("vaultscope.core.registry", "from vaultscope.edge import cli", "rightwards"),
        ("vaultscope.core.registry", "def f():\n    import vaultscope.signals.log", "rightwards"),
        ("vaultscope.core.registry", "from ..edge.cli import main", "rightwards"),
        ("vaultscope.core.registry", "from .. import edge", "rightwards"),
        ("vaultscope.core.registry", "from vaultscope import Registry", "the door"),
        ("vaultscope.core.registry", "import vaultscope", "the door"),
        ("vaultscope.signals.log", "from vaultscope.signals import audit", "signals"),
        ("vaultscope.signals.log", "from .audit import Trail", "signals"),
        ("vaultscope.edge.cli", "from vaultscope import testing", "testing"),
        ("vaultscope", "from vaultscope.testing import fake", "testing"),
        ("vaultscope.errors", "from vaultscope._native import _core", "leaf"),
        ("vaultscope.signals.alerts", "from vaultscope.core.metrics import Counter", "snapshots"),
    ],
)
def test_a_broken_rule_is_seen(module: str, source: str, reason: str) -> None:
    """The check itself finds each kind of breach."""
    (breach,) = violations(module, python_imports(module, source))
    assert reason in breach


@pytest.mark.parametrize(
    "source",
    [
        "from vaultscope.core.labels cimport key",
        "from vaultscope.core cimport (\n    labels,\n)",
        "cimport vaultscope.core.labels",
        "    from vaultscope.core import labels",
    ],
)
def test_a_broken_rule_is_seen_in_cython(source: str) -> None:
    """The check reads cimports as it reads imports."""
    assert violations("vaultscope._native._core", cython_imports(source))


@pytest.mark.parametrize("path", C, ids=relative)
def test_native_knows_no_python(path: Path) -> None:
    """The C library is plain C: it never includes Python.h."""
    assert not re.search(r"#\s*include\s*[<\"]Python\.h", path.read_text())


def test_one_door_to_atomics() -> None:
    """Only atomic.h includes <stdatomic.h>, so that a model checker can be put in its place."""
    users = [relative(path) for path in C if re.search(r"#\s*include\s*<stdatomic\.h>", path.read_text())]
    assert users == ["native/include/vaultscope/atomic.h"]


@pytest.mark.parametrize("path", C, ids=relative)
def test_orders_are_named(path: Path) -> None:
    """Every atomic operation names its order, none is sequentially consistent, and no fence stands alone."""
    code = without_comments(path.read_text())
    assert not re.search(r"seq_cst|SEQ_CST|atomic_(thread|signal)_fence|__sync_", code)
    implicit = r"\batomic_(load|store|exchange|compare_exchange_(weak|strong)|fetch_\w+|flag_\w+)\s*\("
    bare = [match[0] for match in re.finditer(implicit, code) if "_explicit" not in match[0]]
    assert bare == []


@pytest.mark.parametrize("path", [path for path in C if path.name != "atomic.h"], ids=relative)
def test_atomics_go_through_the_door(path: Path) -> None:
    """Outside atomic.h, nobody spells an atomic operation or an order by its C11 name."""
    code = without_comments(path.read_text())
    assert not re.search(r"\b(atomic_\w+|memory_order_\w+|__atomic_\w+)\b", code)
