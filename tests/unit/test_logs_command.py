"""`vaultscope logs`: what it shows of files and pipes, what it leaves out, how it ends."""

from __future__ import annotations

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from vaultscope.edge.commands import vaultscope

MAIN = "from vaultscope.edge.cli import main; main()"
COMMAND = (sys.executable, "-c", MAIN, "logs")
TIMEOUT = 60.0
NOON = "2026-01-31T12:00:00.000000000Z"


def line(
    message: str = "Stored", at: str = NOON, level: str = "info", logger: str = "cas", **more: Any
) -> bytes:
    """A record as our log has it, newline included."""
    record = {"time": at, "level": level, "logger": logger, "message": message, "pid": 7, "thread": 8, **more}
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def second(n: int) -> str:
    return f"2026-01-31T12:00:{n:02}.000000000Z"


def logs(*arguments: str | Path, **environment: str) -> Result:
    """What the command does in this process."""
    clean = {"VAULTSCOPE_ARENA": "", "NO_COLOR": "", "FORCE_COLOR": "", **environment}
    return CliRunner().invoke(vaultscope, ["logs", *map(str, arguments)], env=clean, prog_name="vaultscope")


def messages(*arguments: str | Path) -> list[str]:
    """The messages of the records that it finds."""
    result = logs("--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(each)["message"] for each in result.stdout.splitlines()]


def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """What the command does in a process of its own."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, check=False, timeout=TIMEOUT, **options
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.log"


# ---- what it looks like


def test_for_people(path: Path) -> None:
    """Without --json a record is a line for people, with its day, though the output is no terminal."""
    path.write_bytes(line("Object stored", size=4096))
    assert logs(path).stdout == "2026-01-31 12:00:00.000 INFO  cas: Object stored size=4096\n"


def test_json_is_passed_on_as_it_is(path: Path) -> None:
    """--json changes no byte of a line, however it is written."""
    odd = b'{ "message" : "\\u00e4" , "level":"info","x":1.50}\n'
    path.write_bytes(odd + line())
    assert logs("--json", path).stdout_bytes == odd + line()


def test_colours_are_for_terminals(path: Path) -> None:
    """A terminal gets colours; NO_COLOR takes them away, FORCE_COLOR gives them to a pipe."""
    path.write_bytes(line())
    assert "\x1b[" not in logs(path).stdout
    assert "\x1b[" in logs(path, FORCE_COLOR="1").stdout
    assert "\x1b[" not in logs(path, FORCE_COLOR="1", NO_COLOR="1").stdout
    ours, theirs = pty.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "", "FORCE_COLOR": ""}
        subprocess.run([*COMMAND, path], stdout=theirs, env=environment, check=True, timeout=TIMEOUT)
        assert b"\x1b[" in os.read(ours, 4096)
    finally:
        os.close(ours)
        os.close(theirs)


def test_lines_that_are_no_json(path: Path) -> None:
    """They are shown after a bar, counted on stderr, and left out of --json; blank lines are nothing."""
    path.write_bytes(b"Traceback:\n" + line("one") + b"42\n\n \nnull\n" + line("two"))
    result = logs(path)
    assert [each[:2] for each in result.stdout.splitlines()] == ["| ", "20", "| ", "| ", "20"]
    assert result.stdout.startswith("| Traceback:\n")
    assert result.stderr == "vaultscope logs: 3 lines were no JSON\n"
    result = logs("--json", path)
    assert result.stdout_bytes == line("one") + line("two")
    assert "3 lines" in result.stderr


def test_a_terminal_is_not_commanded(path: Path) -> None:
    """Escape sequences and bad UTF-8 in a line that is no JSON are shown, not sent."""
    path.write_bytes(b"\x1b]0;owned\x07\xff\x00 \xc3\xa4\n")
    assert logs(path).stdout == "| \\x1b]0;owned\\x07\\xff\\x00 ä\n"


@pytest.mark.parametrize(
    "bad", [b'{"message":"\xff"}', b'{"a":' * 100_000, b'{"message":"half', b"\x00" * 5000]
)
def test_damaged_json(path: Path, bad: bytes) -> None:
    """Bad UTF-8, absurd depth, a torn line, zeros: one line that is no JSON, and the next is read."""
    path.write_bytes(bad + b"\n" + line("after"))
    assert messages(path) == ["after"]
    assert "1 line was no JSON" in logs(path).stderr


def test_a_half_last_line(path: Path) -> None:
    """The last line is shown though it has no newline yet; if it is torn, it is no JSON."""
    path.write_bytes(line("one") + line("two")[:-1])
    assert messages(path) == ["one", "two"]
    path.write_bytes(line("one") + line("two")[:-5])
    assert messages(path) == ["one"]
    assert logs(path).stdout.splitlines()[1].startswith('| {"time"')


def test_a_line_longer_than_a_block(path: Path) -> None:
    """A line of 5 MB is taken in pieces that are no JSON; what comes next is read."""
    path.write_bytes(line("x" * 5_000_000) + line("next"))
    assert messages(path) == ["next"]


# ---- what is wanted


def test_level(path: Path) -> None:
    """--level shows that one and those above it, by any of its names; what has no level is not shown."""
    levels = ("trace", "debug", "info", "warn", "error", "fatal")
    path.write_bytes(
        b"".join(line(each, level=each) for each in levels) + b'{"message":"none"}\n' + b"text\n"
    )
    assert messages("--level", "warn", path) == ["warn", "error", "fatal"]
    assert messages("--level", "WARNING", path) == ["warn", "error", "fatal"]
    assert messages("--level", "critical", path) == ["fatal"]
    assert messages("--level", "trace", path) == list(levels)
    assert "text" not in logs("--level", "trace", path).stdout


def test_levels_of_others(path: Path) -> None:
    """The levels of other programs' JSON are known by their names, in either case."""
    path.write_bytes(b'{"message":"a","level":"WARNING"}\n{"message":"b","level":30}\n')
    assert messages("--level", "warn", path) == ["a"]


def test_logger(path: Path) -> None:
    """--logger is a logger and those below it, not those that begin alike; given again, either will do."""
    path.write_bytes(b"".join(line(each, logger=each) for each in ("cas", "cas.gc", "cash", "soup", "")))
    assert messages("--logger", "cas", path) == ["cas", "cas.gc"]
    assert messages("--logger", "cas.gc", "--logger", "soup", path) == ["cas.gc", "soup"]
    assert len(messages("--logger", "", path)) == 5


@pytest.mark.parametrize(
    "test",
    [
        "n=7", "f=7.0", "yes=true", "no=null", "text=a=b", "empty=", "empty", "no", "req.id=7",
        "req.user.name=eve", "a.b=dotted", "a.b.c=deep", "tags.1=y", "tags.2.z=1", 'tags=["x","y",{"z":1}]',
        "req.user", "level=info", "pid=7", "big=18446744073709551616",
    ],
)  # fmt: skip
def test_field_matches(path: Path, test: str) -> None:
    """--field compares the JSON of a value, a text without quotes, down through objects and lists by dots."""
    fields = {
        "n": 7, "f": 7.0, "yes": True, "no": None, "text": "a=b", "empty": "", "big": 1 << 64,
        "req": {"id": 7, "user": {"name": "eve"}},
        "a.b": "dotted", "a": {"b.c": "deep"}, "tags": ["x", "y", {"z": 1}],
    }  # fmt: skip
    path.write_bytes(line("match", **fields) + line("other"))
    found = messages("--field", test, path)
    assert found == (["match", "other"] if test in ("level=info", "pid=7") else ["match"])


@pytest.mark.parametrize(
    "test", ["n=8", "n=", "n.x", "n.0", "req.id.x", "tags.9", "tags.-1", "tags.x", "text.0", ""]
)
def test_field_does_not_match(path: Path, test: str) -> None:
    """A field that is missing, has another value, or has nothing below it matches nothing."""
    path.write_bytes(line(n=7, req={"id": 7}, tags=["x"], text="abc"))
    assert messages("--field", test, path) == []


def test_all_fields_must_match(path: Path) -> None:
    """--field given twice asks for both."""
    path.write_bytes(line("a", x=1) + line("b", x=1, y=2) + line("c", y=2))
    assert messages("--field", "x=1", "--field", "y", path) == ["b"]


def test_since_and_until(path: Path) -> None:
    """--since is included, --until is not; a span counts from now; an offset is honoured."""
    path.write_bytes(b"".join(line(str(n), at=second(n)) for n in range(5)))
    assert messages("--since", "2026-01-31T12:00:02Z", "--until", "2026-01-31 12:00:04", path) == ["2", "3"]
    assert messages("--since", "2026-01-31T13:00:03.000000000+01:00", path) == ["3", "4"]
    assert messages("--until", "2026-01-31", path) == []
    assert len(messages("--since", "2026-01-31", path)) == 5
    now = datetime.now(timezone.utc)
    times = [(now - timedelta(minutes=age)).isoformat() for age in (90, 50, 5)]
    path.write_bytes(b"".join(line(at, at=at) for at in times))
    assert messages("--since", "1h", path) == times[1:]
    assert messages("--since", "1.5d", "--until", "10m", path) == times[:2]


def test_lines_without_a_time(path: Path) -> None:
    """A line that tells no time has that of the line before it."""
    path.write_bytes(
        b"first\n" + line("a", at=second(1)) + b"between\n" + line("b", at=second(2)) + b"last\n"
    )
    shown = logs("--since", second(2), path).stdout.splitlines()
    assert [each[-4:] for each in shown] == ["as: b"[-4:], "last"]


# ---- how much of it


def test_the_last_lines(path: Path) -> None:
    """-n takes the last of those that are wanted, however far back they are."""
    path.write_bytes(
        b"".join(line(str(n), level="error" if n < 3 else "debug", padding="x" * 500) for n in range(5000))
    )
    assert messages("-n", "2", path) == ["4998", "4999"]
    assert messages("-n", "0", path) == []
    assert messages("-n", "2", "--level", "error", path) == ["1", "2"]
    assert messages("-n", "9", "--level", "error", path) == ["0", "1", "2"]
    assert len(messages("-n", "9999", path)) == 5000


def test_every_place_to_begin(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in a line the last bytes begin, the lines that are shown are whole."""
    path.write_bytes(b"".join(line(str(n)) for n in range(10)))
    for size in range(1, 2 * len(line("0")) + 2):
        monkeypatch.setattr("vaultscope.edge.log_view.TAIL_BYTES", size)
        assert messages("-n", "3", path) == ["7", "8", "9"]


def test_the_end_of_a_huge_file(path: Path) -> None:
    """The last lines of a file of a terabyte are there at once: it is read from its end."""
    with path.open("wb") as file:
        file.seek(1 << 40)
        file.write(b"\n" + line("one") + line("two"))
    done = run("--json", "-n", "2", path)
    assert done.stdout == line("one") + line("two")


def test_a_large_file_is_not_held_in_memory(path: Path) -> None:
    """60 MB pass through in the memory that 60 KB take, give or take 16 MB."""
    program = (
        "import atexit, sys\n"
        "def peak():\n"
        "    sys.stderr.write(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "atexit.register(peak)\n"
        "from vaultscope.edge.commands import vaultscope\n"
        "vaultscope(['logs', '--json', '--level', 'error', sys.argv[1]])\n"
    )

    def peak_kb(repeats: int) -> int:
        path.write_bytes(line(padding="x" * 900) * repeats)
        done = subprocess.run(
            [sys.executable, "-c", program, path], capture_output=True, text=True, check=True, timeout=TIMEOUT
        )
        assert done.stdout == ""
        return int(done.stderr)

    assert peak_kb(60_000) - peak_kb(60) < 16_384


# ---- where from


def test_merged_by_time(tmp_path: Path) -> None:
    """Several sources come as one, in the order of time; so do the last lines of them."""
    a, b, c = (tmp_path / name for name in "abc")
    a.write_bytes(line("1", at=second(1)) + line("4", at=second(4)) + b"after 4\n")
    b.write_bytes(line("2", at=second(2)) + line("3", at=second(3)))
    c.write_bytes(b"")
    assert messages(a, b, c) == ["1", "2", "3", "4"]
    assert messages("-n", "2", a, b, c) == ["3", "4"]
    assert logs(a, b).stdout.splitlines()[-1] == "| after 4"
    assert messages(a, a) == ["1", "4"]


def test_a_compressed_file(tmp_path: Path) -> None:
    """A .gz is read, whatever its name is, also from its end."""
    path = tmp_path / "vault.log.1"
    path.write_bytes(gzip.compress(b"".join(line(str(n)) for n in range(1000)) + line("end")[:-1]))
    assert len(messages(path)) == 1001
    assert messages("-n", "2", path) == ["999", "end"]


def test_a_damaged_compressed_file(tmp_path: Path) -> None:
    """What can be read of it is shown; then stderr names it, and the status is 1."""
    path = tmp_path / "vault.log.gz"
    path.write_bytes(gzip.compress(os.urandom(50_000).hex().encode() + b"\n" + line("x"))[:-2000])
    result = logs(path)
    assert result.exit_code == 1
    assert str(path) in result.stderr
    assert "Traceback" not in result.output


def test_standard_input() -> None:
    """- is standard input."""
    done = run("--json", "--level", "warn", "-", input=line("a") + line("b", level="warn")[:-1])
    assert (done.returncode, done.stdout) == (0, line("b", level="warn"))


def test_a_pipe_with_a_path(path: Path) -> None:
    """What cannot be read twice is read once: a shell's <(command), a named pipe."""
    path.write_bytes(line("a"))
    program = f"{sys.executable} -c '{MAIN}' logs --json -n 5 <(cat '{path}')"
    done = subprocess.run(["bash", "-c", program], capture_output=True, check=False, timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (0, line("a")), done.stderr


@pytest.mark.parametrize("options", [(), ("-f",), ("-n", "3")])
def test_no_file(tmp_path: Path, options: tuple[str, ...]) -> None:
    """A source that is not there, or is a directory, is named, with status 2; of others nothing is shown."""
    (tmp_path / "there").write_bytes(line())
    for missing in (tmp_path / "missing", tmp_path):
        result = logs(*options, tmp_path / "there", missing)
        assert (result.exit_code, result.stdout) == (2, "")
        assert str(missing) in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-n", "-1", "x"),
        ("--level", "loud", "x"),
        ("--since", "yesterday", "x"),
        ("--since", "2026-13-01", "x"),
    ],
)
def test_usage(arguments: tuple[str, ...]) -> None:
    """What is not understood ends with status 2, as does asking for nothing."""
    result = logs(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")


def test_help_tells_exit_statuses() -> None:
    """logs --help documents every exit status that the command has."""
    text = logs("--help").stdout
    for status in ("0  ", "1  ", "2  ", "4  ", "130, 143  "):
        assert f"\n    {status}" in text


# ---- how it ends


def test_nobody_reads_on(path: Path) -> None:
    """`| head -1` gets its line; the command ends with status 0 and without a word."""
    path.write_bytes(line() * 100_000)
    process = subprocess.Popen([*COMMAND, "--json", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == line()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(TIMEOUT) == 0
    process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM before the end: 128 and the signal, and not a word."""
    with subprocess.Popen(
        [*COMMAND, "--json", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write(line())
        process.stdin.flush()
        assert process.stdout.readline() == line()  # shown though more may come
        process.send_signal(number)
        assert process.wait(TIMEOUT) == 128 + number
        assert process.stderr.read() == b""
