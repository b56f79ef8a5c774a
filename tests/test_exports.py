"""The doors by name: what Python sees, what the linker sees, and what an import costs."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import vaultscope
import vaultscope.logging
from vaultscope import errors
from vaultscope._native import _core

PUBLIC = {
    "Registry",
    "default_registry",
    "get_include",
    "get_library_dirs",
    "Counter",
    "Gauge",
    "Histogram",
    "HdrHistogram",
    "HdrCounts",
    "Snapshot",
    "MetricSnapshot",
    "SeriesSnapshot",
    "ArenaProcess",
    "ArenaReader",
    "VaultscopeError",
    "ArenaError",
    "AuditError",
    "AuditKeyError",
    "BusyError",
    "DeclarationError",
    "DeclarationConflictError",
    "NotFoundError",
    "LimitError",
    "DecodeError",
    "NativeError",
    "StorageError",
    "DamagedError",
    "__version__",
}
LOGGING = {
    "LEVELS",
    "CallableSink",
    "FileSink",
    "Handler",
    "Journal",
    "Logger",
    "MemorySink",
    "RecordStore",
    "Sink",
    "SoupSink",
    "SpanContext",
    "StreamSink",
    "StructlogFactory",
    "add_sink",
    "capture_exceptions",
    "capture_warnings",
    "configure",
    "current_span",
    "default_journal",
    "flush",
    "get_logger",
    "install_sighup",
    "level",
    "remove_sink",
    "set_level",
    "set_vault",
    "structlog_fields",
}
# Edges, peers of the tests, and parts of the standard library that take milliseconds.
NOT_AT_IMPORT = {
    "asyncio",
    "click",
    "email",
    "hdrh",
    "http",
    "multiprocessing",
    "numpy",
    "prometheus_client",
    "rich",
    "socketserver",
    "sqlite3",
    "ssl",
    "unittest",
}
INSTALLED = Path(_core.__file__).parent.parent
HEADERS = sorted((INSTALLED / "include").rglob("*.h"))


def tool(name: str) -> str:
    """The path of a program that every C toolchain has; without it these tests fail, they are not skipped."""
    path = shutil.which(name)
    assert path, f"{name} is not installed"
    return path


def declared() -> set[str]:
    """Functions and variables that the installed headers mark with VS_API."""
    names = set()
    for header in HEADERS:
        code = re.sub(r"/\*(?:.|\n)*?\*/|^\s*#.*$", " ", header.read_text(), flags=re.MULTILINE)
        for statement in re.findall(r"\bVS_API\b([^;{]*)", code):
            match = re.search(r"\b(vs_\w+)\s*\(", statement) or re.search(r"\b(vs_this_\w+)\b", statement)
            assert match, f"{header.name}: cannot read `VS_API{statement}`"
            names.add(match[1])
    return names


def exported() -> set[str]:
    """Symbols that libvaultscope.so defines for others."""
    library = INSTALLED / "libvaultscope.so"
    lines = subprocess.run(
        [tool("nm"), "-D", "--defined-only", library], check=True, capture_output=True, text=True
    ).stdout
    return {line.split()[-1].partition("@")[0] for line in lines.splitlines()}


def test_public_names() -> None:
    """`vaultscope.__all__` is exactly the documented list, and each name is there."""
    assert set(vaultscope.__all__) == PUBLIC
    assert len(vaultscope.__all__) == len(PUBLIC)
    assert all(hasattr(vaultscope, name) for name in PUBLIC)


def test_public_names_of_logging() -> None:
    """`vaultscope.logging.__all__` is exactly the documented list, and each name is there."""
    assert set(vaultscope.logging.__all__) == LOGGING
    assert len(vaultscope.logging.__all__) == len(LOGGING)
    assert all(hasattr(vaultscope.logging, name) for name in LOGGING)


@pytest.mark.parametrize(
    "module, public", [(vaultscope, PUBLIC), (vaultscope.logging, LOGGING)], ids=["vaultscope", "logging"]
)
def test_no_other_public_names(module: ModuleType, public: set[str]) -> None:
    """Nothing without an underscore stands in a door beside its public names, folders and imports."""
    others = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in public and not inspect.ismodule(value)
    }
    assert others - {"annotations", "DeclarationError"} == set()


@pytest.mark.parametrize(
    "value",
    [
        *[pytest.param(getattr(vaultscope, name), id=name) for name in sorted(PUBLIC - {"__version__"})],
        *[
            pytest.param(getattr(vaultscope.logging, name), id=f"logging.{name}")
            for name in sorted(LOGGING - {"LEVELS", "current_span"})
        ],
    ],
)
def test_public_names_are_documented(value: object) -> None:
    """Every public name has a docstring of its own."""
    assert inspect.getdoc(value)


def test_errors_are_public() -> None:
    """Every exception of `errors` is a public name, and all descend from the root."""
    assert set(errors.__all__) <= PUBLIC
    assert all(issubclass(getattr(errors, name), errors.VaultscopeError) for name in errors.__all__)


def test_one_version() -> None:
    """The header, the loaded library, the package's metadata and `__version__` agree."""
    header = (INSTALLED / "include" / "vaultscope" / "base.h").read_text()
    numbers = [re.search(rf"VS_VERSION_{part}\s+(\d+)", header) for part in ("MAJOR", "MINOR", "PATCH")]
    written = ".".join(match[1] for match in numbers if match)
    assert vaultscope.__version__ == importlib.metadata.version("vaultscope") == written


def test_exported_symbols_have_the_prefix() -> None:
    """The library adds no name to a process's namespace that does not begin with vs_."""
    assert {name for name in exported() if not name.startswith("vs_")} == set()


def test_headers_and_library_agree() -> None:
    """What the headers promise with VS_API is exported, and nothing else is."""
    assert exported() == declared()


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header.name)
def test_headers_stand_alone(header: Path) -> None:
    """Each header compiles by itself, as C11, without a warning."""
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-fsyntax-only", "-x", "c"]
    done = subprocess.run([tool("cc"), *flags, header], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_import_is_light() -> None:
    """`import vaultscope` loads no edge, no peer and no heavy part of the standard library."""
    program = (
        "import json, sys; before = set(sys.modules); import vaultscope;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = json.loads(done.stdout)
    assert {name.partition(".")[0] for name in loaded} & NOT_AT_IMPORT == set()
    others = ("vaultscope.edge", "vaultscope.signals", "vaultscope.logging")
    assert [name for name in loaded if name.startswith(others)] == []


def test_import_of_logging_is_light() -> None:
    """`import vaultscope.logging` loads no peer, no other edge and no heavy part of the standard library, and
    starts no thread."""
    program = (
        "import json, sys, threading; before = set(sys.modules); import vaultscope.logging;"
        "print(json.dumps(sorted(set(sys.modules) - before))); assert threading.active_count() == 1"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = json.loads(done.stdout)
    heavy = NOT_AT_IMPORT | {"gzip", "json", "orjson", "queue", "structlog", "zlib"}
    assert {name.partition(".")[0] for name in loaded} & heavy == set()
    assert all(name.startswith("vaultscope.edge.log_") for name in loaded if "edge." in name)


def test_import_starts_nothing() -> None:
    """`import vaultscope` starts no thread."""
    program = "import vaultscope, threading; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "1\n"
