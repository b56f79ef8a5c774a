"""`vaultscope demo` as people run it: a process, its output, its exit status, and its metrics over HTTP."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

MAIN = "from vaultscope.edge.cli import main\nmain()\n"

# A file with this content, once it is put, sends the process a signal and waits for the handler to have seen
# it.
SIGNAL_IN_PUT = """
import os, signal
from vaultscope.edge.cas import FileCas
real = FileCas.put
def put(self, data):
    if data == b"stop here":
        os.kill(os.getpid(), signal.{name})
        while signal.getsignal(signal.{name}) is not signal.SIG_DFL:
            os.sched_yield()
    return real(self, data)
FileCas.put = put
"""

UNREADABLE = """
import os
real = os.open
def guarded(path, *rest, **options):
    if str(path).endswith("secret"):
        raise PermissionError(13, "Permission denied", path)
    return real(path, *rest, **options)
os.open = guarded
"""

ENVIRONMENT = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "80"}


def demo(*arguments: object, patch: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", patch + MAIN, "demo", "--port", "0", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120, env=ENVIRONMENT,
    )  # fmt: skip


def accounts(output: str) -> dict[str, int]:
    """The numbers of the (last) summary, by what stands before them."""
    rows = re.findall(r"^ *([a-z][a-z -]*?) {2,}([\d,]+)(?: of .*| in .*| verified)?$", output, re.MULTILINE)
    return {name: int(number.replace(",", "")) for name, number in rows}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    directory = tmp_path / "files"
    (directory / "below").mkdir(parents=True)
    for name, content in (("a", b"one"), ("b", b"two"), ("below/c", b"one"), ("below/d", b"")):
        (directory / name).write_bytes(content)
    return directory


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Temporary stores are made here; each test checks in the end that none was left."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setitem(ENVIRONMENT, "TMPDIR", str(directory))
    yield directory
    assert list(directory.iterdir()) == []


def test_summary(files: Path) -> None:
    """The summary's arithmetic holds: what was seen is what became of it; exit status 0."""
    (files / "link").symlink_to("a")
    done = demo(files)
    assert done.returncode == 0, done.stderr
    assert accounts(done.stdout) == {
        "files seen": 5, "stored": 3, "deduplicated": 1, "unreadable": 0, "skipped": 1, "symbolic link": 1,
        "read back": 4, "objects": 3,
    }  # fmt: skip
    assert "errors none" in done.stdout
    assert done.stderr == ""


def test_speed_table(files: Path) -> None:
    """The table has a row for puts and one for gets, with four latencies each."""
    lines = demo(files).stdout.splitlines()
    for operation in ("put", "get"):
        (row,) = [line for line in lines if line.startswith(f"{operation} ")]
        assert row.split()[1] == "4"
        assert len(re.findall(r"[\d.]+ (?:ns|us|ms|s)\b", row)) == 4


def test_narrow(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On fifty columns no line of the summary is longer, the paths and the address apart."""
    monkeypatch.setitem(ENVIRONMENT, "COLUMNS", "50")
    lines = demo(files).stdout.splitlines()
    assert "  p50" in "\n".join(lines)
    assert [line for line in lines if len(line) > 50 and "/" not in line] == []


def test_an_unreadable_file(files: Path) -> None:
    """It is named with its reason, counted, and makes the exit status 1; the rest is stored."""
    (files / "secret").write_bytes(b"?")
    done = demo(files, patch=UNREADABLE)
    assert done.returncode == 1
    assert f"{files}/secret: Permission denied" in done.stdout
    assert "errors 1 permission" in done.stdout
    assert accounts(done.stdout)["unreadable"] == 1
    assert accounts(done.stdout)["read back"] == 4


def test_an_empty_directory(tmp_path: Path) -> None:
    """It says so, and that is no failure."""
    (tmp_path / "empty").mkdir()
    done = demo(tmp_path / "empty")
    assert done.returncode == 0
    assert "no files there" in done.stdout


def test_a_missing_directory(tmp_path: Path) -> None:
    """It says which one, in one message without a traceback; exit status 2."""
    done = demo(tmp_path / "gone")
    assert done.returncode == 2
    assert f"'{tmp_path}/gone' does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port(files: Path) -> None:
    """It names the port and the option that chooses another; exit status 3, and nothing was begun."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = demo("--port", port, files)
    assert done.returncode == 3
    assert f"port {port}" in done.stderr and "--port" in done.stderr
    assert done.stdout == ""


def test_a_store_that_cannot_be_opened(files: Path, tmp_path: Path) -> None:
    """A clear message and exit status 4."""
    (tmp_path / "file").touch()
    done = demo(files, "--store", tmp_path / "file" / "store")
    assert done.returncode == 4
    assert "the store cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_of_ones_own(files: Path, tmp_path: Path) -> None:
    """--store keeps the objects, and the next run finds them there."""
    assert accounts(demo(files, "--store", tmp_path / "store").stdout)["stored"] == 3
    again = accounts(demo(files, "--store", tmp_path / "store").stdout)
    assert (again["stored"], again["deduplicated"], again["objects"]) == (0, 4, 3)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_stopped(files: Path, name: str) -> None:
    """A signal in mid-run ends it with a summary that adds up and the status that shells know."""
    (files / "a").write_bytes(b"stop here")
    done = demo(files, "--threads", 1, patch=SIGNAL_IN_PUT.format(name=name))
    assert done.returncode == 128 + getattr(signal, name)
    assert "stopped before the work was done" in done.stdout
    assert accounts(done.stdout) == {
        "files seen": 1, "stored": 1, "deduplicated": 0, "unreadable": 0, "skipped": 0, "objects": 1,
    }  # fmt: skip


def test_kept_up(files: Path) -> None:
    """With --keep the metrics can be scraped after the work is done, and tell what the summary told; then
    SIGINT ends the run with another summary and status 0."""
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "demo", "--port", "0", "--keep", str(files)],
        stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        output = ""
        for line in running.stdout:
            output += line
            if line.startswith("reading on"):
                break
        address = re.search(r"http://127\.0\.0\.1:\d+/metrics", output)
        assert address is not None
        with urllib.request.urlopen(address[0], timeout=30) as answer:
            text = answer.read().decode()
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    told = accounts(output)
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "le" not in sample.labels
    }
    assert samples["cas_put_count_total"] == told["stored"] + told["deduplicated"] == 4
    assert samples["cas_put_duration_seconds_count"] == 4
    assert samples["cas_put_bytes_total"] == samples["storage_used_bytes"] == 6
    assert samples["storage_objects"] == told["objects"] == 3
    assert samples["cas_get_count_total"] > told["read back"] == 4
    assert accounts(rest)["reading on"] >= 4


def test_a_closed_pipe(files: Path, temporary: Path) -> None:
    """`vaultscope demo | head -1` ends without a traceback and without leaving its store."""
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "demo", "--port", "0", str(files)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
    ) as running:  # fmt: skip
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()
        complaints = running.stderr.read()
    assert running.returncode == 1
    assert b"Traceback" not in complaints


def test_any_name(files: Path) -> None:
    """Names that are no text, look like markup or command terminals are shown escaped, in ASCII too."""
    for name in (b"\xff", b"[red]x secret", "ä\x1b[31m secret".encode()):
        with open(os.path.join(os.fsencode(files), name), "wb") as file:
            file.write(name)
    os.symlink("a", os.path.join(os.fsencode(files), b"\xfe"))
    done = demo(files, patch="import sys\nsys.stdout.reconfigure(encoding='ascii')\n" + UNREADABLE)
    assert done.returncode == 1
    assert "[red]x secret: Permission denied" in done.stdout
    assert "\\x1b[31m secret: Permission denied" in done.stdout
    assert "\x1b" not in done.stdout
    assert accounts(done.stdout)["stored"] == 4
