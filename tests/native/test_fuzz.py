"""The fuzz target (fuzz_record.c): the log's formatter under inputs that libFuzzer thinks up.

Short here: 10 seconds. VAULTSCOPE_FUZZ_SECONDS=600 runs it longer; what it found interesting is kept.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from record_bytes import BOOL, BYTES, CUT, F64, I64, JSON, TEXT, field, record

SECONDS = int(os.environ.get("VAULTSCOPE_FUZZ_SECONDS", "10"))
SOURCES = (
    "buffer.c",
    "json.c",
    "json_scan.c",
    "number.c",
    "record.c",
    "record_json.c",
    "record_view.c",
)
FLAGS = ("-std=c11", "-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module", autouse=True)
def clang() -> str:
    """The compiler that has libFuzzer. In CI .ci/run installs it, and a skip is a failure (conftest.py)."""
    path = shutil.which("clang")
    if path is None:
        pytest.skip("clang is not installed")
    return path


def seed() -> bytes:
    """A good record, so that the fuzzer need not guess what one looks like."""
    fields = [
        field(TEXT, b"hash", b"0123456789abcdef" * 4),
        field(I64, b"level", struct.pack("=q", -5)),
        field(F64, b"ms", struct.pack("=d", 0.25)),
        field(BOOL, b"hit", b"\1"),
        field(BYTES, b"raw", b"\0\xff"),
        field(JSON, b"json", b'{"a": [1, null, true, "\\ud83d\\ude00"],\n"b": -1.5e+7}'),
        field(TEXT, b"hash", 'quote " and \ud7ff, just below the surrogates'.encode(), CUT),
    ]
    return record(b"Object stored", fields, logger=b"cas", vault=b"main")


def build(clang: str, native: Path, program: Path) -> None:
    """Compiles the target with the sources below `native`."""
    sources = [Path(__file__).parent / "fuzz_record.c", *(native / "src" / name for name in SOURCES)]
    folders = [f"-I{native / 'include'}", f"-I{native / 'src'}"]
    done = subprocess.run(
        [clang, *FLAGS, *folders, *sources, "-lm", "-o", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def fuzz(program: Path, corpus: Path, seconds: int) -> tuple[bool, str]:
    """Runs the target; whether every input held, and what it printed."""
    (corpus / "seed").write_bytes(seed())
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-seed=1"]
    command = [program, *limits, "-use_value_profile=1", f"-artifact_prefix={program.parent}/", corpus]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    return done.returncode == 0, done.stdout[-8000:]


def test_no_input_breaks_a_line(
    clang: str, project: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Any bytes become one line of valid JSON, what was written can be read, no byte too far is."""
    build(clang, project / "native", tmp_path / "fuzz_record")
    corpus = Path(request.config.cache.mkdir("fuzz-record"))
    held, report = fuzz(tmp_path / "fuzz_record", corpus, SECONDS)
    assert held, report


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("json.c", "first == 0xed ? 0x9f", "first == 0xed ? 0xbf"),  # a surrogate passes for a character
        ("record_view.c", "head->size > size ||", ""),  # a size that lies
        ("record_json.c", "*from != '\\n' && ", ""),  # a newline inside a field
        ("record.c", "size > room_of(writer)", "size > 99 + room_of(writer)"),  # a text that has no room
    ],
)
def test_a_fault_is_found(
    name: str, right: str, wrong: str, clang: str, project: Path, tmp_path: Path
) -> None:
    """The fuzzer notices when one check is taken away."""
    shutil.copytree(project / "native", tmp_path / "native")
    source = tmp_path / "native" / "src" / name
    text = source.read_text(encoding="utf-8")
    assert right in text
    source.write_text(text.replace(right, wrong), encoding="utf-8")
    build(clang, tmp_path / "native", tmp_path / "fuzz_record")
    (tmp_path / "corpus").mkdir()
    held, report = fuzz(tmp_path / "fuzz_record", tmp_path / "corpus", 60)
    assert not held, report
