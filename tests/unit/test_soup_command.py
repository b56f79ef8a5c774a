"""`vaultscope query`, `get` and `gc`, and a soup as a source of `logs` and `trace`: what is shown, odd input,
and how they end."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from spans import root, span

from vaultscope import Registry
from vaultscope.core.soup import SoupObject
from vaultscope.edge.commands import vaultscope
from vaultscope.edge.log_text import harmless
from vaultscope.edge.soup_open import public_name
from vaultscope.edge.soup_view import format_bytes, render_table
from vaultscope.soup import NewObject, SqliteSoup

COMMAND = (sys.executable, "-c", "from vaultscope.edge.cli import main; main()")
TIMEOUT = 60.0
DAY_NS = 86_400 * 1_000_000_000
NOON = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z
TRACE_ID = f"{0xABC:032x}"


def run(*arguments: object, **environment: str) -> Result:
    """What the command does in this process, on a terminal of 80 columns without colours."""
    clean = {"VAULTSCOPE_SOUP": "", "NO_COLOR": "", "FORCE_COLOR": "", "COLUMNS": "80", **environment}
    return CliRunner().invoke(
        vaultscope, [str(each) for each in arguments], env=clean, prog_name="vaultscope"
    )


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """It in a process of its own."""
    return subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.soup"


@pytest.fixture
def soup(path: Path) -> Iterator[SqliteSoup]:
    soup = SqliteSoup(path, registry=Registry())
    yield soup
    soup.close()


def lines(count: int, *, start_ns: int = NOON, ttl: float = float("inf")) -> list[NewObject]:
    """Records of a log, a second after each other; every third is an error."""
    return [
        NewObject(
            json.dumps(
                {
                    "time": f"2026-01-31T12:00:{n:02}.500Z",
                    "level": "info" if n % 3 else "error",
                    "message": f"number {n}",
                }
            ).encode(),
            "log-entry",
            {"level": "info" if n % 3 else "error", "n": n},
            start_ns + n * 1_000_000_000,
            ttl,
        )
        for n in range(count)
    ]


# ---- query


def test_the_table(soup: SqliteSoup, path: Path) -> None:
    """A row for each object, the newest first: when, what, how large, where, and its attributes."""
    addresses = soup.put_many(lines(2))
    soup.pin(addresses[0], "me")
    soup.put(b"x" * 2000, type="trace", attributes={"name": "a b", "ok": None}, created_ns=NOON - 1, ttl=1e9)
    short = [address[7:19] for address in addresses]
    other = next(soup.query(type="trace")).address[7:19]
    assert run("query", path).stdout.splitlines() == [
        "created (UTC)            type       size      address       attributes",
        f"2026-01-31 12:00:01.000  log-entry  76 B      {short[1]}  level=info n=1",
        f"2026-01-31 12:00:00.000  log-entry  77 B      {short[0]}* level=error n=0",
        f"2026-01-31 11:59:59.999  trace      2.0 KiB   {other}  name='a b' ok=null",
    ]


def test_an_empty_soup(soup: SqliteSoup, path: Path) -> None:
    """Nothing is shown, and nothing is wrong."""
    assert (run("query", path).output, run("query", path).exit_code) == ("", 0)
    assert run("query", path, "--count").stdout == "0\n"


@pytest.mark.parametrize(
    "options, wanted",
    [
        (["level = error"], [9, 6, 3, 0]),
        (["level = error and n > 2"], [9, 6, 3]),
        (["--order", "n", "n between 2 and 4"], [2, 3, 4]),
        (["--order", "-n", "-n", "2"], [9, 8]),
        (["--since", "2026-01-31T12:00:08"], [9, 8]),
        (["--until", "2026-01-31T12:00:02", "--order", "created"], [0, 1]),
        (["--type", "trace"], []),
        (["--type", "trace", "--type", "log-entry", "-n", "1"], [9]),
        (["n missing"], []),
    ],
    ids=str,
)
def test_what_is_found(soup: SqliteSoup, path: Path, options: list[str], wanted: list[int]) -> None:
    """By its expression, its time, its type, in an order; as JSON, as content, as a number."""
    soup.put_many(lines(10))
    found = [json.loads(line) for line in run("query", path, *options, "--json").stdout.splitlines()]
    assert [each["attributes"]["n"] for each in found] == wanted
    contents = run("query", path, *options, "--content").stdout.splitlines()
    assert [json.loads(line)["message"] for line in contents] == [f"number {n}" for n in wanted]
    addresses = run("query", path, *options, "--addresses").stdout.splitlines()
    assert addresses == [each["address"] for each in found]
    if "-n" not in options:
        assert run("query", path, *options, "--count").stdout == f"{len(wanted)}\n"


def test_json_says_all(soup: SqliteSoup, path: Path) -> None:
    """What is known of an object, exactly."""
    address = soup.put(b"abc", type="t", attributes={"a": [1, None], "b": 2**53 + 1}, created_ns=5, ttl=1)
    soup.pin(address, "me")
    assert json.loads(run("query", path, "--json").stdout) == {
        "address": address,
        "type": "t",
        "created_ns": 5,
        "expires_ns": 1_000_000_005,
        "size": 3,
        "pinned": True,
        "attributes": {"a": [1, None], "b": 2**53 + 1},
    }


def test_going_on(soup: SqliteSoup, path: Path) -> None:
    """If there is more it is said how to go on; the parts are the whole."""
    soup.put_many(lines(57))
    first = run("query", path)
    assert len(first.stdout.splitlines()) == 1 + 50
    token = first.stderr.split()[-1]
    rest = run("query", path, "--after", token)
    assert [line.split()[-1] for line in rest.stdout.splitlines()[1:]] == [f"n={n}" for n in range(6, -1, -1)]
    assert rest.stderr == ""
    assert len(run("query", path, "--json").stdout.splitlines()) == 57
    assert run("query", path, "-n", "57").stderr == ""
    assert run("query", path, "-n", "0").output == ""


def test_the_soup_of_the_environment(soup: SqliteSoup, path: Path) -> None:
    """VAULTSCOPE_SOUP stands in for SOUP, in each command."""
    address = soup.put_many(lines(3))[0]
    named = {"VAULTSCOPE_SOUP": str(path)}
    assert run("query", "--count", **named).stdout == "3\n"
    assert run("query", "level = error", "--count", **named).stdout == "1\n"
    assert run("query", path, "level = error", "--count", **named).stdout == "1\n"
    assert run("get", address, **named).stdout.startswith('{"time"')
    assert run("gc", **named).stdout == "0 expired, 0 evicted, 0 B freed\n"
    for command in ("query", "get", "gc"):
        missing = run(command)
        assert missing.exit_code == 2 and "VAULTSCOPE_SOUP" in missing.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("level ==",),
        ("level = (",),
        ("a", "b"),
        ("--since", "soon"),
        ("--order", "a\nb"),
        ("--after", "nonsense"),
        ("--type", "no type!"),
        ("-n", "-1"),
    ],
    ids=str,
)
def test_wrong_queries(soup: SqliteSoup, path: Path, arguments: tuple[str, ...]) -> None:
    """They are refused, and it is said why."""
    result = run("query", path, *arguments)
    assert result.exit_code == 2 and "Error:" in result.stderr and result.stdout == ""


def test_what_is_no_soup(tmp_path: Path, soup: SqliteSoup, path: Path) -> None:
    """A file that is not there is wrong usage and is not made; another one is left as it is."""
    absent = tmp_path / "absent.soup"
    for command in (("query",), ("get", "0" * 64), ("gc",)):
        result = run(command[0], absent, *command[1:])
        assert result.exit_code == 2 and "absent.soup" in result.stderr
    assert not absent.exists()
    assert run("query", tmp_path).exit_code == 2
    text = tmp_path / "text"
    text.write_text("hello")
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as database, database:
        database.execute("CREATE TABLE t (a)")
    database.close()
    damaged = tmp_path / "damaged.soup"
    soup.close()
    damaged.write_bytes(path.read_bytes()[:100] + b"\xff" * 4000)
    for file in (text, foreign, damaged):
        before = file.read_bytes()
        for command in ("query", "gc"):
            result = run(command, file)
            assert result.exit_code in (1, 4) and file.name in result.stderr
        assert file.read_bytes() == before


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    """A URL is one of PostgreSQL; nobody is told its password."""
    result = run("query", f"postgresql://me:secret@/nowhere?host={tmp_path}")
    assert result.exit_code == 4
    assert "secret" not in result.output
    assert public_name("postgres://me:secret@host:5/db?a=1&password=x y") == (
        "postgres://me@host:5/db?a=1&password=..."
    )
    assert public_name("a:b@c") == "a:b@c"


def test_damage(soup: SqliteSoup, path: Path) -> None:
    """Content that is not what its address says is not shown; what is known of it is."""
    address = soup.put(b"abcdef", type="t")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE objects SET content = x'00'")
    database.close()
    for command in (("get", path, address), ("query", path, "--content")):
        result = run(*command)
        assert (result.exit_code, result.stdout) == (1, "") and "damaged" in result.stderr
    assert run("query", path, "--addresses").stdout == f"{address}\n"


def test_hostile_attributes(soup: SqliteSoup, path: Path) -> None:
    """Names and values come from outside: no control character reaches the terminal, and no row grows."""
    soup.put(
        b"1", type="t", attributes={"a\u202eb": "\x1b[31mred\n\x07", "list": ["\x9b", 1], "é": "界" * 200}
    )
    _, row = run("query", path).stdout.splitlines()
    assert row.isprintable() and cell_len(row) <= 80
    assert row.endswith("…")


@given(
    width=st.integers(0, 300),
    objects=st.lists(
        st.builds(
            SoupObject,
            st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format),
            st.text(min_size=1, max_size=64),
            st.integers(-(2**63), 2**63 - 1),
            st.none(),
            st.integers(0, 2**50),
            st.dictionaries(st.text(min_size=1), st.none() | st.text() | st.floats() | st.just((1, "a"))),
            st.booleans(),
        ),
        max_size=5,
    ),
    ascii_only=st.booleans(),
)
def test_any_table_fits(width: int, objects: list[SoupObject], ascii_only: bool) -> None:
    """Whatever the objects say, a row each, of text alone, no wider than the terminal, if that has room for
    the columns."""
    rows = list(render_table(objects, width=width, colour=False, ascii_only=ascii_only))
    assert len(rows) == (len(objects) + 1 if objects else 0)
    for row in rows:
        assert harmless(row) == row
        assert cell_len(row) <= max(width, 90)


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10_200, "10 KiB"), (1023 * 1024, "1.0 MiB"),
        (1 << 20, "1.0 MiB"), (5 << 30, "5.0 GiB"), (1 << 50, "1024.0 TiB"),
    ],
)  # fmt: skip
def test_format_bytes(count: int, text: str) -> None:
    """A number that fits its column."""
    assert format_bytes(count) == text


def test_colours_are_for_terminals(soup: SqliteSoup, path: Path) -> None:
    """And for who forces them."""
    soup.put_many(lines(1))
    assert "\x1b" not in run("query", path).stdout
    assert "\x1b[2m" in run("query", path, FORCE_COLOR="1").stdout


def test_a_terminal_without_unicode(soup: SqliteSoup, path: Path) -> None:
    """ASCII alone is written where nothing else can be shown."""
    soup.put(b"1", type="t", attributes={"é": "界" * 100})
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80", "PYTHONUTF8": "0"}
    with start("query", path, stdout=subprocess.PIPE, env=environment) as running:
        out, errors = running.communicate(timeout=TIMEOUT)
    assert (running.returncode, errors) == (0, b"")
    assert out.isascii() and out.rstrip().endswith(b"~")


# ---- how it ends


def test_a_reader_that_goes_away(soup: SqliteSoup, path: Path) -> None:
    """`| head` is no error."""
    soup.put_many([NewObject(b"%d" % n, "t", {"a": "x" * 100}) for n in range(5000)])
    with start("query", path, "--json", stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stderr is not None
        assert running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(TIMEOUT) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping(soup: SqliteSoup, path: Path, number: signal.Signals) -> None:
    """Ctrl-C in the middle ends it, with lines that are whole."""
    soup.put_many([NewObject(b"%d" % n, "t", {"a": "x" * 1000}) for n in range(3000)])
    reading, writing = os.pipe()
    with start("query", path, "--json", stdout=writing) as running:
        os.close(writing)
        with os.fdopen(reading, "rb") as out:
            first = out.readline()
            running.send_signal(number)
            deadline = time.monotonic() + TIMEOUT
            while running.poll() is None and time.monotonic() < deadline:
                rest = out.read(1 << 16)
                if not rest:
                    break
                first += rest
            first += out.read()
        assert running.wait(TIMEOUT) == 128 + number
        assert running.stderr is not None and running.stderr.read() == b""
    assert all(json.loads(line) for line in first.splitlines()) and first.endswith(b"\n")
    assert first.count(b"\n") < 3000


# ---- get


def test_get(soup: SqliteSoup, path: Path) -> None:
    """The bytes as they were put, by the whole address or its beginning, with or without sha256:."""
    content = bytes(range(256)) * 10
    address = soup.put(content, type="t")
    for name in (address, address[7:], address[:15], address[7:12].upper()):
        assert run("get", path, name).stdout_bytes == content


def test_no_such_object(soup: SqliteSoup, path: Path) -> None:
    """None, or several, begin so; or it is no address at all."""
    addresses = soup.put_many([NewObject(b"%d" % n, "t") for n in range(200)])
    assert run("get", path, "0" * 64).exit_code == 1
    assert run("get", path, "f" * 20).exit_code == 1
    several = run("get", path, addresses[0][7])
    assert several.exit_code == 1 and several.stderr.count("sha256:") > 1
    for wrong in ("xyz", "", "0" * 65, "%"):
        assert run("get", path, wrong).exit_code == 2
    assert run("get", path).exit_code == 2


# ---- gc


def expired(soup: SqliteSoup) -> list[str]:
    """Thirty that have expired, one of them pinned; thirty that have not."""
    addresses = soup.put_many(lines(30, ttl=1.0))
    soup.put_many([NewObject(b"new %d" % n, "t", {"n": n}, ttl=float("inf")) for n in range(30)])
    soup.pin(addresses[3], "me")
    return addresses


def test_gc(soup: SqliteSoup, path: Path) -> None:
    """What has expired goes, what is pinned stays; without a budget nothing else goes."""
    kept = expired(soup)[3]
    planned = run("gc", path, "--dry-run")
    assert planned.exit_code == 0 and planned.stdout.startswith(
        "29 of 60 objects have expired; the soup takes"
    )
    assert soup.count() == 60
    done = run("gc", path)
    assert (done.exit_code, done.stdout.split(", ")[:2]) == (0, ["29 expired", "0 evicted"])
    assert soup.count() == 31 and soup.head(kept).pinned
    assert run("gc", path).stdout == "0 expired, 0 evicted, 0 B freed\n"


def test_gc_to_a_budget(soup: SqliteSoup, path: Path) -> None:
    """The oldest go until the soup is within it, about as many as was said before."""
    contents = random.Random(1)
    soup.put_many([NewObject(contents.randbytes(3000), "t", {}, NOON + n, float("inf")) for n in range(1000)])
    soup.close()
    planned = run("gc", path, "--max-bytes", "1MiB", "--dry-run").stdout
    about = int(planned.partition("about ")[2].split()[0])
    done = run("gc", path, "--max-bytes", "1MiB")
    assert done.exit_code == 0
    evicted = int(done.stdout.split()[2].replace(",", ""))
    assert 0.85 < about / evicted < 1.15
    with_soup = SqliteSoup(path, registry=Registry())
    assert with_soup.count() == 1000 - evicted
    assert with_soup.stats().bytes <= 1 << 20
    with_soup.close()


def test_gc_of_what_is_pinned(soup: SqliteSoup, path: Path) -> None:
    """What cannot be done is said."""
    contents = random.Random(1)
    for address in soup.put_many([NewObject(contents.randbytes(3000), "t") for n in range(100)]):
        soup.pin(address, "me")
    result = run("gc", path, "--max-bytes", "128KiB")
    assert result.exit_code == 1 and "pinned" in result.stderr
    assert soup.count() == 100


@pytest.mark.parametrize("size", ["", "1", "1KB", "-1MB", "1XB", "1e9", "1iB", "nan"])
def test_wrong_budgets(soup: SqliteSoup, path: Path, size: str) -> None:
    """They are refused: a slip must not cost everything."""
    expired(soup)
    assert run("gc", path, f"--max-bytes={size}").exit_code == 2
    assert soup.count() == 60


# ---- a soup as a source


def test_logs_of_a_soup(soup: SqliteSoup, path: Path) -> None:
    """`vaultscope logs` reads what a SoupSink has put, with all its options."""
    soup.put_many(lines(30))
    soup.put(b"{}", type="trace", created_ns=NOON)

    def shown(*options: str) -> list[str]:
        result = run("logs", path, *options, "--json")
        assert result.exit_code == 0, result.output
        return [json.loads(line)["message"].split()[1] for line in result.stdout.splitlines()]

    assert shown() == [str(n) for n in range(30)]
    assert shown("--level", "error", "-n", "2") == ["24", "27"]
    assert shown("-n", "3") == ["27", "28", "29"]
    assert shown("--since", "2026-01-31T12:00:20", "--until", "2026-01-31T12:00:22") == ["20", "21"]
    assert run("logs", path, "-n", "1").stdout == "2026-01-31 12:00:29.500 INFO  number 29\n"


def test_following_a_soup(soup: SqliteSoup, path: Path) -> None:
    """With --follow what is put later comes."""
    soup.put_many(lines(2))
    with start("logs", path, "--follow", "--json", stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert [json.loads(running.stdout.readline())["message"] for _ in range(2)] == [
            "number 0",
            "number 1",
        ]
        soup.put_many(lines(3)[2:])
        assert json.loads(running.stdout.readline())["message"] == "number 2"
        running.send_signal(signal.SIGINT)
        assert running.wait(TIMEOUT) == 0


def put_trace(soup: SqliteSoup, *spans: dict[str, Any]) -> None:
    content = {"trace_id": spans[0]["trace_id"], "spans": list(spans)}
    soup.put(
        json.dumps(content).encode(),
        type="trace",
        attributes={"trace_id": spans[0]["trace_id"]},
        created_ns=spans[0]["start_ns"],
    )


def test_traces_of_a_soup(soup: SqliteSoup, path: Path) -> None:
    """`vaultscope trace` reads what a SoupSpanSink has put: the list, the newest, one by its id."""
    for number, name in ((1, "cas.get"), (0xABC, "cas.put")):
        trace_id = f"{number:032x}"
        put_trace(
            soup,
            root(1, ms=8, name=name) | {"trace_id": trace_id},
            span(2, parent=1, ms=1, name=f"{name}.hash") | {"trace_id": trace_id},
        )
    soup.put(b"no trace", type="trace", attributes={"trace_id": "f" * 32})
    for wanted in (TRACE_ID, "abc"):
        result = run("trace", wanted, path)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(f"trace {TRACE_ID}") and "cas.put.hash" in result.stdout
    listed = run("trace", "--list", "--json", path)
    assert sorted(json.loads(line)["name"] for line in listed.stdout.splitlines()) == ["cas.get", "cas.put"]
    assert "1 line was no span" in listed.stderr
    assert run("trace", "--last", path).exit_code == 0
    assert run("trace", "dead", path).exit_code == 1


def test_sources_that_are_no_soup(tmp_path: Path) -> None:
    """A database that is none is damaged, a server that is not there, too."""
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as database, database:
        database.execute("CREATE TABLE t (a)")
    database.close()
    for command in (["logs"], ["trace", "--list"]):
        for source in (foreign, f"postgresql:///x?host={tmp_path}"):
            assert run(*command, source).exit_code == 4
