"""`vaultscope trace`: the waterfall it draws, the traces it lists, odd input, and how it ends."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from spans import START_NS, root, span

from vaultscope import Registry
from vaultscope.edge.commands import vaultscope
from vaultscope.edge.span_sinks import JsonLinesSpanSink
from vaultscope.edge.trace_reader import SpanLine
from vaultscope.edge.trace_tree import trace_rows
from vaultscope.edge.trace_view import Style, format_duration, render_trace
from vaultscope.signals.tracing import Tracer

COMMAND = (sys.executable, "-c", "from vaultscope.edge.cli import main; main()", "trace")
TIMEOUT = 60.0
ONE = f"{1:032x}"
SEQUENCE = re.compile(r"\x1b\[[0-9;]*m")


def write(path: Path, *spans: dict[str, Any]) -> Path:
    path.write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in spans))
    return path


def trace(*arguments: str | Path, **environment: str) -> Result:
    """What the command does in this process, on a terminal of 80 columns without colours."""
    clean = {"VAULTSCOPE_TRACES": "", "NO_COLOR": "", "FORCE_COLOR": "", "COLUMNS": "80", **environment}
    return CliRunner().invoke(vaultscope, ["trace", *map(str, arguments)], env=clean, prog_name="vaultscope")


def shown(path: Path, *spans: dict[str, Any], options: tuple[str, ...] = (), **environment: str) -> list[str]:
    """The rows below the head."""
    result = trace(*options, spans[0]["trace_id"], write(path, *spans), **environment)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()[3:]


def listed(*arguments: str | Path) -> list[str]:
    """The traces' ids, in short."""
    result = trace("--list", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line)["trace_id"].lstrip("0") for line in result.stdout.splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.jsonl"


# ---- the waterfall


def test_a_waterfall(path: Path) -> None:
    """Each span is a row below its parent's: name, duration, and a bar where and as long as it was."""
    given = [
        root(1, ms=8, name="cas.put"),
        span(3, parent=1, at_ms=4, ms=4, name="store"),
        span(2, parent=1, at_ms=0, ms=1, name="hash"),
        span(4, parent=3, at_ms=6, ms=2, name="fsync"),
    ]
    write(path, *given)
    assert trace(ONE, path).stdout.splitlines() == [
        "trace 00000000000000000000000000000001",
        "2026-01-31 12:00:00.000  8.00 ms  4 spans, kept: sampled",
        "",
        "   cas.put     8.00 ms  " + "▇" * 56,
        "     hash      1.00 ms  " + "▇" * 7,
        "     store     4.00 ms  " + " " * 28 + "▇" * 28,
        "       fsync   2.00 ms  " + " " * 42 + "▇" * 14,
    ]


def test_the_ends_of_bars_meet(path: Path) -> None:
    """One that begins where another ends begins in the next cell, and one too short for a cell is seen."""
    first, second, third, fourth = shown(
        path,
        root(1, ms=3),
        span(2, parent=1, ms=1),
        span(3, parent=1, at_ms=1, ms=2),
        span(4, parent=1, at_ms=2.9999, ms=0),
    )
    assert len(second) == len(third) - third.count("▇")
    assert len(first) == len(third)
    assert fourth.endswith(" ▏") and len(fourth) <= len(first)


def test_a_trace_without_duration(path: Path) -> None:
    """A trace that took no time is drawn all the same."""
    (row,) = shown(path, root(1, ms=0))
    assert row.split()[:3] == ["cas.get", "0", "ns"]


def test_errors(path: Path) -> None:
    """A span that failed is marked and red, its message is below it, and once: where it came from."""
    failed = {"status": "error", "status_message": "OSError: full"}
    given = [root(1, reason="error", **failed), span(2, parent=1, **failed), span(3, parent=1)]
    rows = shown(path, *given)
    assert [row[:2] for row in rows] == ["! ", "! ", "  ", "  "]
    assert rows[2].strip() == "OSError: full"
    head = trace(ONE, path).stdout.splitlines()[1]
    assert head.endswith("3 spans, 2 errors, kept: error")
    red = [row for row in shown(path, *given, FORCE_COLOR="1") if "\x1b[31m" in row]
    assert [SEQUENCE.sub("", row) for row in red] == rows[:3]


def test_what_had_no_room(path: Path) -> None:
    """The head says how many spans are missing since their traces had no room."""
    write(path, root(1, lost_spans=1200), root(2, parent=1, lost_spans=34), root(3, parent=1, lost_spans="?"))
    assert trace(ONE, path).stdout.splitlines()[1].endswith("3 spans, 1,234 lost, kept: sampled")


def test_a_message_of_its_own(path: Path) -> None:
    """A parent whose message is another one says it, too; one of several lines has them all."""
    rows = shown(
        path,
        root(1, status="error", status_message="gave up\nafter 3"),
        span(2, parent=1, status="error", status_message="no"),
    )
    assert [row.strip() for row in rows if "▇" not in row] == ["gave up", "after 3", "no"]


def test_a_missing_parent(path: Path) -> None:
    """A span whose parent is not there is shown below a row that says so."""
    rows = shown(path, root(1, ms=9), span(3, parent=2, at_ms=2), span(4, parent=2, at_ms=3))
    assert rows[1] == "   (0000000000000002 is missing)"
    assert [row[:5] for row in rows[2:]] == ["     ", "     "]


def test_only_children(path: Path) -> None:
    """A trace whose beginning nobody has is shown."""
    rows = shown(path, span(3, parent=2), span(4, parent=7, at_ms=1))
    assert [row.split()[0] for row in rows] == [
        "(0000000000000002",
        "cas.get",
        "(0000000000000007",
        "cas.get",
    ]


def test_several_vaults(tmp_path: Path) -> None:
    """Spans of several files are one trace; a local root says where it is from: its vault, else its file."""
    here = write(tmp_path / "a", root(1, ms=9, kind="client"))
    there = write(
        tmp_path / "b",
        root(2, parent=1, at_ms=2, kind="server", vault="north"),
        span(3, parent=2, at_ms=2, vault="north"),
    )
    first, *rows = trace(ONE, here, there, COLUMNS="300").stdout.splitlines()[1:]
    assert first.endswith(f"3 spans, kept: sampled, from {here}, north")
    assert f" cas.get @{here} " in rows[1]
    assert " cas.get @north " in rows[2]
    assert "@" not in rows[3]
    assert "@" not in trace(ONE, there).stdout


@pytest.mark.parametrize(
    ("at_ms", "ms", "moved"),
    [
        (-50.0, 4.0, 53.0),  # it began before it was called: to the middle
        (50.0, 4.0, -47.0),  # it ended after it was answered
        (-50.0, 20.0, 50.0),  # too long for its parent: as early as can be
        (8.0, 4.0, 0.0),  # its answer had gone out when it ended
        (5.0, 20.0, 0.0),  # its parent did not wait for it
        (2.0, 4.0, 0.0),  # all is well
    ],
)
def test_clock_skew(path: Path, at_ms: float, ms: float, moved: float) -> None:
    """What another process says is moved into its parent if it cannot have been so, with all below it."""
    given = [
        root(1, ms=10, kind="client"),
        root(2, parent=1, at_ms=at_ms, ms=ms, kind="server"),
        span(3, parent=2, at_ms=at_ms + 1, ms=1),
    ]
    rows = shown(path, *given, options=("-v",))
    marked = [row for row in rows if row[1:2] == "~" and "▇" in row]
    assert len(marked) == (2 if moved else 0)
    assert sum(f"clock moved by {moved:.1f} ms" in row for row in rows) == (2 if moved else 0)
    off = f"{abs(moved):.1f} ms {'behind' if moved > 0 else 'ahead'}"
    note = f"~ 2 spans moved into what called them: the clock of {path} is about {off}"
    assert (note in rows) == bool(moved)


def test_one_clock_is_not_moved(path: Path) -> None:
    """A span of the same process stays where it was, and a late one of another that nobody waits for, too."""
    given = [root(1, ms=10), span(2, parent=1, at_ms=-5), root(3, parent=1, at_ms=50)]
    assert not any(row[1:2] == "~" for row in shown(path, *given))


def test_details(path: Path) -> None:
    """With -v there are attributes, events by the time since the span began, and links; without it, none."""
    event = {
        "time_ns": START_NS + 1500,
        "name": "exception",
        "attributes": {"exception.stacktrace": "T:\n  x\n"},
    }
    link = {"trace_id": f"{9:032x}", "span_id": f"{8:016x}", "attributes": {"why": [1]}}
    given = root(
        1, attributes={"hash": "0102", "text": "a\tb"}, tracestate="a=1", events=[event], links=[link]
    )
    assert [row.strip() for row in shown(path, given, options=("--verbose",))[1:]] == [
        "span 0000000000000001",
        "reason=sampled",
        "tracestate=a=1",
        "hash=0102",
        r"text=a\tb",
        "+1.50 µs exception",
        "exception.stacktrace=",
        "T:",
        "x",
        f"link to {9:032x} {8:016x}",
        "why=[1]",
    ]
    assert len(shown(path, given)) == 1


def test_json(path: Path) -> None:
    """--json gives the spans' lines as they were, byte for byte, and none of other traces."""
    odd = json.dumps(root(2), indent=None, separators=(" ,", " :")).encode()
    path.write_bytes(
        json.dumps(root(1)).encode() + b"\n" + odd + b"\n" + json.dumps(root(3, trace=2)).encode() + b"\n"
    )
    assert trace("--json", ONE, path).stdout_bytes.splitlines() == [json.dumps(root(1)).encode(), odd]


# ---- terminals


@pytest.mark.parametrize("columns", [20, 25, 40, 60, 100, 200])
def test_the_terminal_is_not_exceeded(path: Path, columns: int) -> None:
    """However narrow, no row is longer; long and wide names are cut, and deep ones say how deep they are."""
    given = [root(1, name="n" * 300), span(2, parent=1, name="名前" * 50)]
    given += [span(number, parent=number - 1) for number in range(3, 60)]
    rows = shown(path, *given, COLUMNS=str(columns))
    assert max(map(cell_len, rows)) <= columns
    assert rows[0].startswith("   n") and "…" in rows[0]
    assert ("(58) " in rows[-1]) == (columns not in (20, 200))


def test_ascii(path: Path) -> None:
    """An output that knows ASCII only gets nothing else of ours, and the names escaped."""
    write(path, root(1, ms=0.01, name="é"), span(2, parent=1, ms=0))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "60"}
    output = subprocess.run(
        [*COMMAND, ONE, path], capture_output=True, check=True, timeout=TIMEOUT, env=environment
    ).stdout
    assert output.isascii()
    rows = output.decode().splitlines()[3:]
    assert r"\xe9" in rows[0] and "10.0 us" in rows[0] and rows[0].endswith("####")
    assert rows[1].endswith(" |")


def test_a_terminal_has_colours_and_a_pipe_has_none(path: Path) -> None:
    """Colours are for terminals; NO_COLOR and FORCE_COLOR are obeyed."""
    write(path, root(1, status="error"))
    assert "\x1b" not in trace(ONE, path).stdout
    assert "\x1b" in trace(ONE, path, FORCE_COLOR="1").stdout
    assert "\x1b" not in trace(ONE, path, FORCE_COLOR="1", NO_COLOR="1").stdout
    ours, theirs = pty.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "", "FORCE_COLOR": ""}
        subprocess.run([*COMMAND, ONE, path], stdout=theirs, env=environment, check=True, timeout=TIMEOUT)
        assert b"\x1b[31m" in os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)


EVIL = "\x1b]0;owned\x07\x9b2J\u202e\r\n\x00"


def test_nothing_that_a_terminal_obeys(path: Path) -> None:
    """No escape sequence, control character or mark of direction gets through, wherever in a span it is."""
    evil: dict[str, Any] = {
        "name": EVIL, "status": "error", "status_message": EVIL, "reason": EVIL, "kind": EVIL,
        "tracestate": EVIL,
        "attributes": {EVIL: EVIL, "list": [EVIL]}, EVIL: EVIL, "vault": EVIL,
        "events": [{"name": EVIL, "time_ns": START_NS, "attributes": {EVIL: EVIL}}],
        "links": [{"trace_id": EVIL, "span_id": EVIL, "attributes": {EVIL: EVIL}}],
    }  # fmt: skip
    write(
        path,
        {**root(1), **evil},
        {**root(2), "span_id": EVIL, "parent_span_id": EVIL + "1", "vault": "other"},
    )
    for arguments in ((ONE, path), ("-v", ONE, path), ("--list", path)):
        output = trace(*arguments).stdout
        assert not set(output) & set("\x1b\x07\x9b\u202e\r\x00")
        assert r"\x1b]0;owned" in output


# ---- finding


def test_an_abbreviated_id(path: Path) -> None:
    """The beginning of an id will do, in either case, with hyphens or not."""
    write(path, root(1, trace=0xABCDEF << 104), root(2, trace=0x1 << 124))
    for text in ("abcdef", "ABCDEF", "ab-cd", "a"):
        result = trace(text, path)
        assert result.exit_code == 0
        assert result.stdout.startswith("trace abcdef00")


def test_zeros_in_front(path: Path) -> None:
    """An id of 64 bits is found as whoever made it knows it: without the zeros that it was filled up with."""
    write(path, root(1, trace=0xABCDEF), root(2, trace=0x1234 << 112))
    assert trace("abcdef", path).stdout.startswith(f"trace {0xABCDEF:032x}")
    assert trace("abcde", path).exit_code == 1


def test_ids_as_others_write_them(path: Path) -> None:
    """Capitals, hyphens, and a parent that is null or all zeros: it is one trace, and begins there."""
    trace_id, span_id = "4BF92F35-77B3-4DA6-A3CE-929D0E0E4736", "00F067AA0BA902B7"
    first = {"trace_id": trace_id, "span_id": span_id}
    second = {"trace_id": trace_id.lower().replace("-", ""), "parent_span_id": span_id.lower()}
    for no_parent in (None, "0" * 16):
        write(path, root(1) | first | {"parent_span_id": no_parent}, span(2) | second)
        rows = trace("4bf92f3577", path).stdout.splitlines()
        assert rows[0] == "trace 4bf92f3577b34da6a3ce929d0e0e4736"
        assert [row[: row.index("cas")] for row in rows[3:]] == ["   ", "     "]
        assert len(trace("--list", path).stdout.splitlines()) == 1


def test_an_ambiguous_id(path: Path) -> None:
    """Several traces that begin so are named, not shown, and the status is 1."""
    write(path, *[root(n, trace=(0xAB << 120) + n) for n in range(1, 13)])
    result = trace("ab", path)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "12 traces begin with ab:" in result.stderr
    assert f"ab{1:030x}" in result.stderr and "and 2 more" in result.stderr


def test_no_such_trace(path: Path) -> None:
    """The status is 1; an id in another place than the trace's does not count."""
    write(path, root(1, attributes={"text": "abcdef"}))
    result = trace("abcdef", path)
    assert result.exit_code == 1
    assert f"no trace begins with abcdef in {path}" in result.stderr


def test_wrong_usage(path: Path) -> None:
    """The status is 2: for a source that is missing or none, for what is no id or no time, for too little."""
    write(path, root(1))
    for arguments in (
        (ONE, path.parent / "none"), (ONE, path.parent), ("--list", path.parent / "none"), (), (ONE,),
        ("--list",),
        ("xyz", path), ("0" * 33, path), ("--list", "--slower", "fast", path), ("--errors", ONE, path),
        ("--list", "-n", "-1", path), ("--list", "--last", path), ("--last", "-n", "1", path),
        ("--slower", "1s", ONE, path), ("--last",),
    ):  # fmt: skip
        result = trace(*arguments)
        assert (result.exit_code, result.stdout) == (2, ""), arguments


def test_the_environment_names_the_source(path: Path) -> None:
    """Without a SOURCE it is what VAULTSCOPE_TRACES names."""
    write(path, root(1))
    assert trace(ONE, VAULTSCOPE_TRACES=str(path)).exit_code == 0
    assert trace("--list", VAULTSCOPE_TRACES=str(path)).exit_code == 0


def test_compressed_and_piped(path: Path) -> None:
    """A compressed file and standard input are sources as others are; a last line may lack its end."""
    packed = path.with_suffix(".gz")
    packed.write_bytes(gzip.compress(json.dumps(root(1)).encode()))
    write(path, root(2, at_ms=1))
    data = json.dumps(root(3, at_ms=2)).encode()
    result = subprocess.run(
        [*COMMAND, "--json", ONE, packed, path, "-"],
        input=data,
        capture_output=True,
        check=True,
        timeout=TIMEOUT,
    )
    assert [json.loads(line)["span_id"][-1] for line in result.stdout.splitlines()] == ["1", "2", "3"]


def test_a_damaged_source(path: Path) -> None:
    """What there is of a compressed file that was cut is shown, and the status is 1."""
    packed = path.with_suffix(".gz")
    whole = gzip.compress(json.dumps(root(1)).encode() + b"\n" + os.urandom(5000).hex().encode())
    packed.write_bytes(whole[:-100])
    result = trace(ONE, packed)
    assert result.exit_code == 1
    assert "cas.get" in result.stdout
    assert "is damaged" in result.stderr


def test_lines_that_are_no_spans(path: Path) -> None:
    """They are passed over, and counted."""
    good = json.dumps(root(1)).encode()
    odd = [
        b"no JSON", b"[]", b"null", b"{}", b'{"trace_id":1}', good[:-20], b"\xff\xfe", b"[" * 100_000,
        *(json.dumps(root(1) | change).encode() for change in (
            {"start_ns": 1.5}, {"start_ns": True}, {"start_ns": 10**30}, {"duration_ns": None},
            {"span_id": ""}, {"trace_id": ["a"]}, {"parent_span_id": 7},
        )),
    ]  # fmt: skip
    path.write_bytes(b"\n".join([*odd, b"", good]) + b"\n")
    result = trace("--list", path)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1
    assert f"{len(odd)} lines were no spans" in result.stderr


def test_spans_in_a_log(path: Path) -> None:
    """Spans that a program in C wrote to its log are read there, other records of it passed over."""
    ours = {"level": "info", "logger": "vaultscope.trace", "message": "cas.put", "pid": 7, "size": 4096}
    other = {"level": "info", "logger": "cas", "message": "Object stored", "trace_id": ONE, "span_id": "1"}
    given = {key: value for key, value in root(1).items() if key != "name"}
    write(path, ours | given, other, {"level": "info"})
    result = trace("-v", ONE, path)
    rows = result.stdout.splitlines()[3:]
    assert rows[0].startswith("   cas.put  ")
    assert [row.strip() for row in rows[1:]] == [
        "span " + "1".zfill(16),
        "pid=7",
        "size=4096",
        "reason=sampled",
    ]
    assert trace("--list", path).stderr == "vaultscope trace: 1 line was no span\n"


def test_odd_values(path: Path) -> None:
    """A span whose lesser values are not what they should be is shown as far as it goes."""
    odd = {
        "name": 7,
        "status": [],
        "status_message": {},
        "attributes": 3,
        "links": {},
        "vault": 1,
        "reason": None,
    }
    far = {"events": [1, {"time_ns": "x"}], "duration_ns": -5, "start_ns": -(10**17)}
    late = {"start_ns": 2**63 - 1, "duration_ns": 2**62}
    assert "(no name)" in shown(path, root(1) | odd | far, root(2) | late, options=("-v",))[0]


# ---- all of them


def test_a_list(path: Path) -> None:
    """Each trace is a line, the newest first: when, how long, how many spans and errors, its id and name."""
    write(
        path, span(2, parent=1, at_ms=1, ms=5, name="inner", status="error"), root(1, ms=4, name="outer"),
        root(3, trace=2, at_ms=5000, name="later"),
    )  # fmt: skip
    assert trace("--list", path, COLUMNS="95").stdout.splitlines() == [
        f"2026-01-31 12:00:05.000   1.00 ms   1 span           {2:032x}  later",
        f"2026-01-31 12:00:00.000   6.00 ms  2 spans  1 error  {1:032x}  outer",
    ]


def test_a_list_in_a_narrow_terminal(path: Path) -> None:
    """What has no room is cut: ids to as many digits as tell all traces apart, then names; a pipe has room
    for all."""
    first, second = 0xABCDEF0123456789 << 64, 0xABCDEF0123000000 << 64
    write(path, root(1, trace=first, name="cas.get" * 9), root(2, trace=second, at_ms=-1))
    rows = trace("--list", "-n", "1", path, COLUMNS="80").stdout.splitlines()
    assert rows == ["2026-01-31 12:00:00.000   1.00 ms  1 span  abcdef01234  cas.getcas.getcas.getca…"]
    assert cell_len(rows[0]) == 80
    assert trace("abcdef01234", path).exit_code == 0
    assert "…" in trace("--list", path, COLUMNS="20").stdout
    piped = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    output = subprocess.run([*COMMAND, "--list", path], stdout=subprocess.PIPE, env=piped, check=True).stdout
    assert f"{first:032x}  {'cas.get' * 9}\n".encode() in output


def test_what_is_there_twice(path: Path) -> None:
    """A span that was written twice is one span, in the list and in the waterfall."""
    write(path, root(1, status="error"), root(1, status="error"))
    assert "  1 span  1 error  " in trace("--list", path).stdout
    assert len([row for row in trace(ONE, path).stdout.splitlines() if "▇" in row]) == 1


def test_a_list_that_is_filtered(path: Path) -> None:
    """--errors, --slower and -n leave only those that are asked for."""
    write(
        path,
        root(1, ms=9.99),
        root(2, trace=2, ms=10, at_ms=1),
        root(3, trace=3, ms=2000, at_ms=2, status="error"),
    )
    assert listed(path) == ["3", "2", "1"]
    assert listed("--slower", "10ms", path) == ["3", "2"]
    assert listed("--slower", "1.5s", path) == ["3"]
    assert listed("--slower", "10000us", path) == ["3", "2"]
    assert listed("--errors", path) == ["3"]
    assert listed("-n", "2", path) == ["3", "2"]
    assert listed("-n", "0", path) == []
    write(path)
    assert listed(path) == []


def test_the_last_one(path: Path, tmp_path: Path) -> None:
    """--last shows the newest trace, or the newest of those that are asked for."""
    write(
        path,
        root(1, ms=9.99, status="error"),
        root(2, trace=2, ms=10, at_ms=1),
        span(4, trace=2, parent=2, at_ms=2),
        root(3, trace=3, ms=1, at_ms=2),
    )
    packed = tmp_path / "traces.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for source in (path, packed):
        for options, number in (((), 3), (("--errors",), 1), (("--slower", "10ms"), 2)):
            assert trace("--last", *options, source).stdout.startswith(f"trace {number:032x}\n")
    assert [json.loads(row)["span_id"][-1] for row in trace(
        "--last", "--slower", "10ms", "--json", path
    ).stdout.splitlines()] == ["2", "4"]  # fmt: skip
    result = trace("--last", "--errors", "--slower", "10ms", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"there is none in {path}" in result.stderr


def test_the_last_one_has_an_odd_id(path: Path) -> None:
    """A trace whose id JSON escapes is shown as others are."""
    write(path, root(1), root(2, at_ms=1) | {"trace_id": "\x1bé"})
    assert trace("--last", path).stdout.startswith("trace \\x1bé\n")


def test_the_last_one_of_a_pipe(path: Path) -> None:
    """What can be read only once is refused."""
    data = json.dumps(root(1)).encode()
    done = subprocess.run([*COMMAND, "--last", "-"], input=data, capture_output=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"- can be read once" in done.stderr


def test_nobody_reads_any_more(path: Path) -> None:
    """A reader that goes away ends it quietly."""
    write(path, *[root(n, trace=n) for n in range(1, 5000)])
    command = subprocess.Popen([*COMMAND, "--list", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout is not None
    command.stdout.readline()
    command.stdout.close()
    assert command.wait(TIMEOUT) == 0
    assert command.stderr is not None
    assert command.stderr.read() == b""
    command.stderr.close()


# ---- trees


def line(record: dict[str, Any]) -> SpanLine:
    return SpanLine(
        record["trace_id"], record["span_id"], record["parent_span_id"], record["name"], record["start_ns"],
        record["duration_ns"], False, "", record, b"",
    )  # fmt: skip


@pytest.mark.parametrize("shape", ["chain", "fan", "orphans"])
def test_ten_thousand_spans(shape: str) -> None:
    """A trace of 10,000 spans, each below the other or all below one, is drawn, in a second or so."""
    parent = {"chain": lambda n: n - 1, "fan": lambda n: min(1, n - 1), "orphans": lambda n: 1_000_000 + n}[
        shape
    ]
    spans = [line(span(n, parent=parent(n), at_ms=n)) for n in range(1, 10_001)]
    began = time.perf_counter()
    rows = list(render_trace(spans, Style(100)))
    assert time.perf_counter() - began < 20
    assert sum("▇" in row or "▏" in row for row in rows) == 10_000


edges = st.lists(
    st.tuples(st.integers(1, 8), st.integers(0, 10), st.integers(-5, 5), st.booleans()),
    min_size=1,
    max_size=12,
)


@given(edges)
def test_any_tree(edges: list[tuple[int, int, int, bool]]) -> None:
    """Whatever spans say of their parents, in circles, twice, of none: each is there once, and a row that
    lies below another is its child."""
    given = [line((root if local else span)(n, parent=parent, at_ms=at)) for n, parent, at, local in edges]
    rows = trace_rows(given)
    ids = [row.span_id for row in rows]
    assert len(ids) == len(set(ids))
    assert {row.span_id for row in rows if row.span} == {each.span_id for each in given}
    for at, row in enumerate(rows):
        if row.depth:
            above = next(each for each in reversed(rows[:at]) if each.depth < row.depth)
            assert row.span is not None
            assert above.depth == row.depth - 1
            assert above.span_id == row.span.parent_span_id
    assert len(list(render_trace(given, Style(40, verbose=True)))) > len(rows)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"), (999, "999 ns"), (1000, "1.00 µs"), (9_994, "9.99 µs"), (9_996, "10.0 µs"),
        (99_960, "100 µs"),
        (999_499, "999 µs"), (999_500, "1.00 ms"), (1_500_000_000, "1.50 s"), (119_000_000_000, "119 s"),
        (120_000_000_000, "2:00 min"), (3_725_000_000_000, "62:05 min"), (-1_500_000, "-1.50 ms"),
    ],
)  # fmt: skip
def test_durations(nanoseconds: int, text: str) -> None:
    """Three digits that matter, and the unit that fits."""
    assert format_duration(nanoseconds) == text


# ---- all together


def test_what_a_tracer_wrote(path: Path) -> None:
    """What a tracer and its sink wrote is what is shown."""
    tracer = Tracer(Registry(), rate=1.0)
    tracer.add_sink(JsonLinesSpanSink(path))
    with pytest.raises(OSError), tracer.span("cas.put") as outer, tracer.span("store.write", size=4096):
        raise OSError("disk full")
    assert tracer.close()
    rows = trace("-v", outer.trace_hex[:12], path).stdout.splitlines()
    assert rows[0] == f"trace {outer.trace_hex}"
    assert any(row.startswith("!    store.write") for row in rows)
    assert any(row.strip() == "exception.message=disk full" for row in rows)
    assert any(row.strip() == "size=4096" for row in rows)
