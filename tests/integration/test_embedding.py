"""What a C or Cython program outside does with an installed wheel, and nothing else.

The examples are built as their own first lines say, and run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from installation import environment_with, run
from prometheus_client.parser import text_string_to_metric_families

THREADS, OBJECTS = 3, 40

# A library in C that knows of Python only the pointer that it is given.
BUMP_C = """
#include <vaultscope.h>

void bump(const vs_counter *counter, uint64_t times)
{
    while (times-- != 0)
        vs_counter_inc(*counter);
}
"""

# Serves the arena in a file, which a program in C writes to, until its standard input ends.
SERVE = """
import sys
from vaultscope import ArenaReader
from vaultscope.edge.http import MetricsServer

with MetricsServer(ArenaReader(sys.argv[1])) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""

# A module that uses all kinds, by both ways to say cimport.
USER_PYX = """
cimport vaultscope
from vaultscope cimport *

def bump(counter, int times):
    cdef vs_counter handle = vs_counter_of(counter)
    with nogil:
        for i in range(times):
            vs_counter_inc(handle)

def write_all(counter, gauge, histogram, hdr):
    cdef vaultscope.vs_counter puts = vaultscope.vs_counter_of(counter)
    cdef vaultscope.vs_gauge used = vaultscope.vs_gauge_of(gauge)
    cdef vaultscope.vs_histogram queries = vaultscope.vs_histogram_of(histogram)
    cdef vaultscope.vs_hdr gets = vaultscope.vs_hdr_of(hdr)
    with nogil:
        vaultscope.vs_counter_add(puts, 2)
        vaultscope.vs_gauge_set(used, 2.5)
        vaultscope.vs_histogram_observe(&queries, 7.0)
        vaultscope.vs_hdr_record(&gets, 184000)

def log_all(logger, int times):
    cdef const vs_logger *log = vs_logger_of(logger)
    cdef int i
    with nogil:
        for i in range(times):
            vs_log(log, VS_DEBUG, "Not wanted")
            vs_log(log, VS_WARN, "Object stored", vs_field_i64("turn", i), vs_field_text("from", "cython"),
                   vs_field_f64("took", 0.5), vs_field_null("gone"), vs_field_bool("new", True))
    return vs_log_enabled(log, VS_DEBUG), vs_log_enabled(log, VS_WARN)

def span_all(above, int times, bint fail):
    cdef vs_span_scope scope = vs_scope_of(above)
    cdef vs_span outer, inner
    cdef vs_text outer_name, inner_name
    cdef int i
    outer_name.data, outer_name.size = "disk.write", 10
    inner_name.data, inner_name.size = "sync", 4
    with nogil:
        for i in range(times):
            vs_span_start(&outer, &scope, outer_name)
            vs_span_add(&outer, vs_field_i64("turn", i))
            vs_span_start(&inner, vs_span_scope_of(&outer), inner_name)
            vs_span_end(&inner, VS_SPAN_ERROR if fail else VS_SPAN_OK)
            vs_span_end(&outer, VS_SPAN_PENDING)
"""

USER_SETUP = """
import vaultscope
from Cython.Build import cythonize
from setuptools import Extension, setup

place = dict(include_dirs=[vaultscope.get_include()], library_dirs=vaultscope.get_library_dirs())
modules = [Extension(name, [name + ".pyx"], libraries=["vaultscope"], **place) for name in ("user", "readme")]
setup(name="user", ext_modules=cythonize(modules, language_level=3))
"""


def tool(name: str) -> str:
    """The path of a build tool; without it these tests fail, they are not skipped."""
    path = shutil.which(name)
    assert path, f"{name} is not installed"
    return path


def samples(text: str) -> dict[str, float]:
    """The samples of a Prometheus text, by name and labels as they stand in it: `name{label="value"}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


@pytest.fixture(scope="module")
def python(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and what a Cython user has: Cython and setuptools."""
    folder = tmp_path_factory.mktemp("user")
    python = environment_with(dist, folder)
    run(python, "-m", "pip", "install", "--quiet", "cython>=3.1", "setuptools>=77", cwd=folder)
    return python


@pytest.fixture(scope="module")
def examples(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the examples, away from the source tree."""
    return Path(shutil.copytree(project / "examples", tmp_path_factory.mktemp("away") / "examples"))


def config(python: Path, *asked: str) -> list[str]:
    """What `python -m vaultscope.config` says, a line each."""
    return run(python, "-I", "-m", "vaultscope.config", *asked, cwd=python.parent).splitlines()


def store_in_c(program: Path, folder: Path, **environment: str) -> dict[str, float]:
    """What the C example prints after it filled a store in `folder`."""
    folder.mkdir()
    return samples(run(program, folder, str(THREADS), str(OBJECTS), cwd=folder, **environment))


def logged_by_the_store_in_c(folder: Path, **environment: str) -> list[dict[str, Any]]:
    """The records that the C example, built in `folder`, logs while it fills a store there."""
    log = folder / "cas.log"
    store_in_c(folder / "cas", folder / "store", VAULTSCOPE_LOG=str(log), **environment)
    return [json.loads(line) for line in log.read_bytes().splitlines()]


def check_store_in_c(got: dict[str, float]) -> None:
    """The totals of the C example: of each thread's objects, every second one is the same for all."""
    same = OBJECTS // 2
    stored = same + THREADS * (OBJECTS - same)
    assert got['cas_put_count_total{result="stored"}'] == stored
    assert got['cas_put_count_total{result="duplicate"}'] == THREADS * OBJECTS - stored
    assert got['cas_get_count_total{result="found"}'] == THREADS * OBJECTS
    assert got['cas_get_count_total{result="not_found"}'] == THREADS
    assert got['cas_get_count_total{result="corrupt"}'] == 0
    assert got["cas_put_duration_seconds_count"] == THREADS * OBJECTS
    assert got["cas_get_duration_seconds_count"] == THREADS * OBJECTS + THREADS
    assert got["cas_put_duration_seconds_sum"] > 0


@pytest.mark.parametrize("way", ["vaultscope_DIR", "CMAKE_PREFIX_PATH"])
def test_the_store_in_c(way: str, python: Path, examples: Path, tmp_path: Path) -> None:
    """The C example is built by CMake, in both of the ways to name a package, and its totals are exact."""
    (directory,) = config(python, "--cmakedir")
    place = directory if way == "vaultscope_DIR" else Path(directory).parents[2]
    run(tool("cmake"), "-S", examples / "c", "-B", tmp_path / "b", f"-D{way}={place}", cwd=tmp_path)
    run(tool("cmake"), "--build", tmp_path / "b", cwd=tmp_path)
    check_store_in_c(store_in_c(tmp_path / "b" / "cas", tmp_path / "store"))
    objects = [path for path in (tmp_path / "store").iterdir() if len(path.name) == 64]
    assert len(objects) == OBJECTS // 2 + THREADS * (OBJECTS - OBJECTS // 2)
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in objects)


def test_the_store_in_c_writes_its_log(python: Path, examples: Path, tmp_path: Path) -> None:
    """The C example, by one line for the compiler, logs each object once, as JSON that says which it was."""
    flags = " ".join(config(python, "--includes", "--libs"))
    run("bash", "-euc", f"cc -O2 -Wall -Wextra -Werror c/*.c -o {tmp_path}/cas {flags}", cwd=examples)
    records = logged_by_the_store_in_c(tmp_path, VAULTSCOPE_LOG_LEVEL="debug", VAULTSCOPE_TRACE_RATE="0")
    stored = [record for record in records if record["message"] == "Object stored"]
    assert len(stored) == THREADS * OBJECTS
    assert {record["hash"] for record in stored} == {path.name for path in (tmp_path / "store").iterdir()}
    assert [record["corrupt"] for record in records if record["level"] == "info"] == [False] * THREADS
    assert len(records) == len(stored) + THREADS


def test_the_store_in_c_writes_its_traces(python: Path, examples: Path, tmp_path: Path) -> None:
    """The C example makes a trace of each put and get, with the writing to the disk below it, and its log
    records have the ids of what they belong to."""
    flags = " ".join(config(python, "--includes", "--libs"))
    run("bash", "-euc", f"cc -O2 -Wall -Wextra -Werror c/*.c -o {tmp_path}/cas {flags}", cwd=examples)
    records = logged_by_the_store_in_c(tmp_path, VAULTSCOPE_LOG_LEVEL="debug", VAULTSCOPE_TRACE_RATE="1")
    spans = [record for record in records if record["logger"] == "vaultscope.trace"]
    puts, gets, writes = (
        {span["span_id"]: span for span in spans if span["message"] == name}
        for name in ("cas.put", "cas.get", "disk.write")
    )
    assert (len(puts), len(gets)) == (THREADS * OBJECTS, THREADS * OBJECTS + THREADS)
    assert len(puts) + len(gets) + len(writes) == len(spans)
    assert {span["hash"] for span in puts.values()} == {path.name for path in (tmp_path / "store").iterdir()}
    assert {(span["status"], span["reason"]) for span in (puts | gets).values()} <= {
        ("ok", "sampled"), ("ok", "slow"),
    }  # fmt: skip
    assert all(puts[span["parent_span_id"]]["trace_id"] == span["trace_id"] for span in writes.values())
    stored = [record for record in records if record["message"] == "Object stored"]
    assert {record["span_id"]: record["hash"] for record in stored} == {
        span_id: span["hash"] for span_id, span in puts.items()
    }


def test_the_store_in_c_served_by_python(python: Path, examples: Path, tmp_path: Path) -> None:
    """The C example counts in a file, run after run, and Python, which has no part in it, serves that."""
    (directory,) = config(python, "--cmakedir")
    run(
        tool("cmake"),
        "-S",
        examples / "c",
        "-B",
        tmp_path / "b",
        f"-Dvaultscope_DIR={directory}",
        cwd=tmp_path,
    )
    run(tool("cmake"), "--build", tmp_path / "b", cwd=tmp_path)
    arena = str(tmp_path / "vault.arena")
    first = store_in_c(tmp_path / "b" / "cas", tmp_path / "first", VAULTSCOPE_ARENA=arena)
    check_store_in_c(first)
    with subprocess.Popen(
        [python, "-I", "-c", SERVE, arena], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        second = store_in_c(tmp_path / "b" / "cas", tmp_path / "second", VAULTSCOPE_ARENA=arena)
        with urllib.request.urlopen(url, timeout=30) as answer:
            served = samples(answer.read().decode())
        server.communicate()
    both = [
        name
        for name in first
        if name.startswith("cas_") and not name.endswith("_sum") and "quantile" not in name
    ]
    assert len(both) == 8
    for name in both:
        assert served[name] == second[name] == 2 * first[name]


def test_a_file_that_is_no_arena_in_c(python: Path, examples: Path, tmp_path: Path) -> None:
    """A program in C says why it has no arena, and leaves the file as it was."""
    flags = " ".join(config(python, "--includes", "--libs"))
    run("bash", "-euc", f"cc -O2 c/*.c -o {tmp_path}/cas {flags}", cwd=examples)
    letter = tmp_path / "letter.txt"
    letter.write_text("dear reader\n")
    done = subprocess.run(
        [tmp_path / "cas", tmp_path],
        env={**os.environ, "VAULTSCOPE_ARENA": str(letter)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"{letter}: is no arena" in done.stderr
    assert letter.read_text() == "dear reader\n"


def test_another_version_is_not_found(python: Path, tmp_path: Path) -> None:
    """find_package refuses a version that this one does not stand for: before 1.0, another minor one."""
    (directory,) = config(python, "--cmakedir")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.24)\nproject(user C)\nfind_package(vaultscope 0.0 REQUIRED)\n"
    )
    command = [tool("cmake"), "-S", tmp_path, "-B", tmp_path / "b", f"-Dvaultscope_DIR={directory}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "version" in done.stderr


def test_pkg_config(python: Path, examples: Path, tmp_path: Path) -> None:
    """The same with one compiler call and pkg-config, after the package was moved as a whole."""
    package = Path(config(python, "--cmakedir")[0]).parents[2]
    moved = Path(shutil.copytree(package, tmp_path / "moved" / "vaultscope"))
    at = {"PKG_CONFIG_PATH": str(moved / Path(*Path(config(python, "--pkgconfigdir")[0]).parts[-2:]))}
    ask = f"{tool('pkg-config')} vaultscope"
    flags = f"$({ask} --cflags --libs) -Wl,-rpath,$({ask} --variable=libdir) -pthread"
    run("bash", "-euc", f"cc -O2 c/*.c -o {tmp_path}/cas {flags}", cwd=examples, **at)
    check_store_in_c(store_in_c(tmp_path / "cas", tmp_path / "store"))
    linked = run("ldd", tmp_path / "cas", cwd=tmp_path)
    assert str(tmp_path / "moved") in linked
    assert run(tool("pkg-config"), "--modversion", "vaultscope", cwd=tmp_path, **at) == run(
        python, "-c", "import vaultscope; print(vaultscope.__version__)", cwd=tmp_path
    )


def test_config_names_what_is_there(python: Path) -> None:
    """Each answer of `python -m vaultscope.config` is in the order of asking, and names what exists."""
    cmake, includes, libs, pkgconfig = config(python, "--cmakedir", "--includes", "--libs", "--pkgconfigdir")
    assert (Path(cmake) / "vaultscopeConfig.cmake").is_file()
    assert (Path(includes.removeprefix("-I")) / "vaultscope.h").is_file()
    assert (Path(libs.split()[0].removeprefix("-L")) / "libvaultscope.so").is_file()
    assert (Path(pkgconfig) / "vaultscope.pc").is_file()


def test_config_asked_for_nothing(python: Path) -> None:
    """Without a question the command fails and says which there are."""
    done = subprocess.run([python, "-m", "vaultscope.config"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--includes" in done.stderr


def test_the_store_in_cython(python: Path, examples: Path, tmp_path: Path) -> None:
    """pip installs the Cython example; its threads count without the GIL, exactly, into Python's counters."""
    quiet = ("--quiet", "--disable-pip-version-check")
    pip = (python, "-m", "pip", "install", *quiet, "--no-build-isolation", "--no-deps")
    run(*pip, examples / "cython", cwd=tmp_path)
    program = """
import hashlib, threading
from vaultscope import Registry
from vaultscope.edge.prometheus import render
from vault import Store

registry = Registry()
store = Store(registry)
data = b"".join(b"%08d" % (i % 100) for i in range(5000)) + b"end"
threads = [threading.Thread(target=store.put_many, args=(data, 8)) for _ in range(3)]
for thread in threads:
    thread.start()
puts = registry.counter("cas.put.count", "CAS put operations", labels=("result",))
puts.labels("duplicate").inc(7)  # from here, while they run
for thread in threads:
    thread.join()
assert len(store) == 101
assert store.get(hashlib.sha256(b"00000042").digest()) == b"00000042"
assert store.get(hashlib.sha256(b"end").digest()) == b"end"
print(render(registry.snapshot())[0].decode())
"""
    got = samples(run(python, "-I", "-c", program, cwd=tmp_path))
    assert got['cas_put_count_total{result="stored"}'] == 101
    assert got['cas_put_count_total{result="duplicate"}'] == 3 * 5001 - 101 + 7
    assert got["cas_put_bytes_total"] == 803
    assert got["cas_put_duration_seconds_count"] == 3 * 5001


@pytest.fixture(scope="module")
def user(python: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two Cython modules, `user` and `readme`, and a C library libbump.so."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "user.pyx").write_text(USER_PYX)
    snippets = re.findall(r"^```cython\n(.*?)^```$", (project / "README.md").read_text(), re.M | re.S)
    (folder / "readme.pyx").write_text("\n".join(snippets))
    (folder / "setup.py").write_text(USER_SETUP)
    (folder / "bump.c").write_text(BUMP_C)
    run(python, "setup.py", "--quiet", "build_ext", "--inplace", cwd=folder)
    includes, libs = config(python, "--includes", "--libs")
    run("bash", "-euc", f"cc -O2 -shared -fPIC bump.c -o libbump.so {includes} {libs}", cwd=folder)
    return folder


def user_prints(python: Path, user: Path, program: str) -> str:
    """What a program prints that has the modules of `user` and one registry at hand."""
    start = "import vaultscope, user; registry = vaultscope.Registry()\n"
    return run(python, "-c", start + program, cwd=user, PYTHONPATH=os.fspath(user)).strip()


def test_one_cell_for_three_languages(python: Path, user: Path) -> None:
    """Python, Cython without the GIL and C increment the same counter at once; Python reads the exact sum."""
    program = """
import ctypes, threading

library = ctypes.CDLL("./libbump.so")
library.bump.argtypes = ctypes.c_void_p, ctypes.c_uint64
pointer = ctypes.pythonapi.PyCapsule_GetPointer
pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)

counter = registry.counter("cas.put.count")
capsule = counter.capsule()

def in_python():
    for _ in range(10_000):
        counter.inc()

def in_cython():
    user.bump(counter, 200_000)

def in_c():
    library.bump(pointer(capsule, b"vs_counter"), 3_000_000)

threads = [threading.Thread(target=work) for work in (in_python, in_cython, in_c) * 2]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(counter.value)
"""
    assert user_prints(python, user, program) == str(2 * (10_000 + 200_000 + 3_000_000))


def test_one_copy_of_the_library(python: Path, user: Path) -> None:
    """The extension of a user and ours share one libvaultscope.so: two would have two sets of stripes."""
    program = "print(len({line.split()[-1] for line in open('/proc/self/maps') if 'libvaultscope' in line}))"
    assert user_prints(python, user, program) == "1"


def test_all_kinds_in_cython(python: Path, user: Path) -> None:
    """Each kind is written through its handle, by `cimport vaultscope`, and read in Python."""
    program = """
counter, gauge = registry.counter("a.count"), registry.gauge("b")
histogram, hdr = registry.histogram("c", unit=""), registry.hdr_histogram("d")
user.write_all(counter, gauge, histogram, hdr)
print(counter.value, gauge.value, histogram.counts[:3], histogram.sum, hdr.count, hdr.quantile(1))
"""
    assert user_prints(python, user, program) == "2 2.5 (0, 0, 1) 7.0 1 184063"


def test_logging_in_cython(python: Path, user: Path) -> None:
    """Threads of a Cython module log without the GIL into Python's journal, under the name and level of its
    logger; what is no logger is refused."""
    program = """
import gc, json, threading
from vaultscope.logging import Journal, MemorySink

journal, sink = Journal(registry), MemorySink()
journal.add_sink(sink)
log = journal.get_logger("cas")
threads = [threading.Thread(target=user.log_all, args=(log, 500)) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(user.log_all(journal.native.logger("gone"), 1))
gc.collect()
log.info("from here", after=journal.flush())
journal.close()
*there, gone, here = sink.records
kept = ("level", "logger", "message", "turn", "from", "took", "gone", "new")
print(*dict.fromkeys(str([r[name] for name in kept if name != "turn"]) for r in there))
print(sorted(r["turn"] for r in there) == sorted(list(range(500)) * 4), len({r["thread"] for r in there}))
print(gone["logger"], here["message"], here["after"])
for wrong in (registry.counter("c"), registry.histogram("h")):
    try:
        user.log_all(wrong, 1)
    except TypeError as error:
        print("TypeError", str(error).endswith("has no vs_logger"))
try:
    user.bump(log, 1)
except TypeError as error:
    print(error)
"""
    assert user_prints(python, user, program).splitlines() == [
        "(False, True)",
        "['warn', 'cas', 'Object stored', 'cython', 0.5, None, True]",
        "True 4",
        "gone from here True",
        "TypeError True",
        "TypeError True",
        "<vaultscope Logger 'cas'> has no vs_counter",
    ]


def test_spans_in_cython(python: Path, user: Path) -> None:
    """Threads of a Cython module make spans below one of Python's: they are in its trace, under their
    parents, and an error of theirs keeps it; below a span that is not recorded, or has ended, they are
    nowhere."""
    program = """
import threading
from vaultscope.core.span_sink import SpanSink
from vaultscope.signals.tracing import Tracer

class Memory(SpanSink):
    name, spans = "memory", []
    def write(self, spans): self.spans.extend(spans)

tracer, sink = Tracer(registry, rate=0.0, max_spans=5000), Memory()
tracer.add_sink(sink)
with tracer.span("not kept") as span:
    user.span_all(span, 3, False)
with tracer.span("kept") as span, tracer.span("inner") as inner:
    threads = [threading.Thread(target=user.span_all, args=(inner, 500, True)) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
user.span_all(span, 3, True)
tracer.enabled = False
user.span_all(tracer.span("off"), 3, True)
tracer.close()
root, *rest = sink.spans
by_name = {name: [s for s in rest if s["name"] == name] for name in ("inner", "disk.write", "sync")}
print(root["name"], root["reason"], {name: len(spans) for name, spans in by_name.items()}, len(rest))
print({s["trace_id"] for s in rest} == {root["trace_id"]}, {s["status"] for s in by_name["sync"]})
print({s["parent_span_id"] for s in by_name["disk.write"]} == {by_name["inner"][0]["span_id"]})
print({s["parent_span_id"] for s in by_name["sync"]} == {s["span_id"] for s in by_name["disk.write"]})
print(sorted(s["attributes"]["turn"] for s in by_name["disk.write"]) == sorted(list(range(500)) * 4))
print(all(root["start_ns"] <= s["start_ns"] <= root["start_ns"] + root["duration_ns"] for s in rest))
try:
    user.span_all(registry.counter("c"), 1, False)
except TypeError as error:
    print(str(error).endswith("has no vs_span_scope"))
"""
    assert user_prints(python, user, program).splitlines() == [
        "kept error {'inner': 1, 'disk.write': 2000, 'sync': 2000} 4001",
        "True {'error'}",
        "True",
        "True",
        "True",
        "True",
        "True",
    ]


def test_the_readme_in_cython(python: Path, user: Path) -> None:
    """The Cython that the README shows does what is said there."""
    program = "import readme; puts = registry.counter('a.count'); readme.put_many(puts, 5); print(puts.value)"
    assert user_prints(python, user, program) == "5"


def test_the_readme_in_cython_traces(python: Path, user: Path) -> None:
    """The Cython spans that the README shows are below the span that they are given."""
    program = """
import readme
from vaultscope.tracing import MemorySpanSink, Tracer

tracer, sink = Tracer(registry, rate=1.0), MemorySpanSink()
tracer.add_sink(sink)
with tracer.span("cas.put") as span:
    readme.write_many(span, 3)
tracer.close()
below = [s for s in sink.spans if s["parent_span_id"] == span.span_hex]
print([(s["name"], s["attributes"]) for s in below])
"""
    assert user_prints(python, user, program) == str([("disk.write", {"turn": n}) for n in range(3)])


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("registry.gauge('g')", "TypeError"),
        ("registry.counter('f', labels=('x',))", "DeclarationError"),
        ("None", "AttributeError"),
    ],
)
def test_a_wrong_metric_is_refused(argument: str, error: str, python: Path, user: Path) -> None:
    """A metric of another kind, a family and what is no metric give no handle."""
    program = f"try: user.bump({argument}, 1)\nexcept Exception as error: print(type(error).__name__)"
    assert user_prints(python, user, program) == error
