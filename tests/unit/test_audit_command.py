"""`vaultscope audit`: what it verifies, shows and exports, and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from audits import DEADLINE, START_NS, entries, open_log, ticking, write_log
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from vaultscope.core.audit_entry import NOTHING, Draft, Entry, read_line, timestamp
from vaultscope.edge.audit_keys import create_key, public_key
from vaultscope.edge.audit_text import as_lines, as_s_expression
from vaultscope.edge.commands import vaultscope

TOKEN = re.compile(r'\s*(#\(|[()]|"(?:[^"\\]|\\.)*"|[^\s()"]+)')
ESCAPE = re.compile(r"\\(?:x([0-9a-f]+);|(.))")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def audit(*arguments: str | Path) -> Result:
    return CliRunner().invoke(vaultscope, ["audit", *map(str, arguments)], prog_name="vaultscope")


def exported(*arguments: str | Path) -> list[dict[str, Any]]:
    result = audit("export", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of five entries, a second apart."""
    path = tmp_path / "vault.audit"
    with open_log(path, clock_ns=ticking(START_NS, 500_000_000)) as log:
        log.append("ada", "object.deleted", "sha256:00", {"reason": "expired"}, {"trace_id": "7"}, wait=True)
        log.append("bob", "configuration.changed", "log level", {"to": "debug"}, wait=True)
        log.append("ada", "object", "none", wait=True)
        log.append("bob", "objects.listed", "all", wait=True)
    return path


# ---- verify


def test_verify(path: Path) -> None:
    """A log that is as it was written: 0."""
    result = audit("verify", path)
    assert (result.exit_code, result.stdout) == (
        0, f"{path} is as it was written: 5 entries, 5 seals, 1 files\n",
    )  # fmt: skip


def test_verify_names_the_first_bad_entry(path: Path) -> None:
    """Which line, which entry, what is wrong: 1."""
    path.write_bytes(path.read_bytes().replace(b'"to":"debug"', b'"to":"trace"'))
    result = audit("verify", path)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "vault.audit:5: its content is not what its id says",
        "vault.audit:6: entry 3: the seal is not of the entry before it",
        "vault.audit:7: entry 4: it follows entry 2",
        f"{path} is NOT as it was written (4 entries, 5 seals, 1 files)",
    ]


def test_verify_tells_ten(path: Path) -> None:
    """Of many findings the first ten are told, and how many more there are."""
    path.write_bytes(path.read_bytes() + b"junk\n" * 30)
    told = audit("verify", path).stdout.splitlines()
    assert (len(told), told[10]) == (12, "and 20 more")


def test_verify_a_truncation(path: Path) -> None:
    """The anchor tells; an anchor elsewhere is named by --anchor."""
    anchor = path.with_name("elsewhere")
    Path(f"{path}.anchor").rename(anchor)
    assert audit("verify", path).exit_code == 1
    assert audit("verify", path, "--anchor", anchor).exit_code == 0
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    result = audit("verify", path, "--anchor", anchor)
    assert result.exit_code == 1
    assert result.stdout.startswith("truncated: it ends with entry 4, the anchor is of 5\n")


def test_verify_with_a_key(path: Path) -> None:
    """The key beside the log, one that is named, none, another, and what is none."""
    beside = Path(f"{path}.key.pub")
    digits = public_key(beside)
    assert audit("verify", path, "--key", digits).exit_code == 0
    named = beside.rename(path.with_name("named"))
    assert audit("verify", path, "--key", named).exit_code == 0
    unproven = audit("verify", path)
    assert unproven.exit_code == 3
    assert "no public key was given: the seals may be anybody's" in unproven.stdout
    other = create_key(path.with_name("other"))
    assert audit("verify", path, "--key", other.public).exit_code == 1
    assert audit("verify", path, "--key", path).exit_code == 2
    assert audit("verify", path, "--key", path.with_name("absent")).exit_code == 2


def test_verify_unproven_and_wrong(path: Path) -> None:
    """What is wrong counts for more than what is not proven."""
    Path(f"{path}.key.pub").unlink()
    path.write_bytes(path.read_bytes() + b"junk\n")
    assert audit("verify", path).exit_code == 1


@pytest.mark.parametrize("command", ["verify", "show", "export"])
def test_no_log(path: Path, command: str) -> None:
    """Where there is none: 2."""
    result = audit(command, path.with_name("absent"))
    assert result.exit_code == 2
    assert "there is no audit log" in result.output
    assert audit(command, path / "below").exit_code == 2


def test_a_log_that_is_gone(path: Path) -> None:
    """If there is still its anchor that is no wrong usage: it was taken away."""
    path.unlink()
    result = audit("verify", path)
    assert (result.exit_code, "truncated: it ends with entry 0" in result.stdout) == (1, True)


# ---- show


def test_show(path: Path) -> None:
    """A line for each entry: when, number, who, what, to what, and the rest."""
    told = audit("show", path).stdout.splitlines()
    assert len(told) == 5
    assert re.fullmatch(
        r"2026-01-31 12:00:0\d\.\d{3} #2 ada object\.deleted sha256:00 "
        r'parameters={"reason":"expired"} context={"trace_id":"7"}',
        told[1],
    )


@pytest.mark.parametrize(
    "options, shown",
    [
        (("--actor", "ada"), [2, 4]),
        (("--actor", "ada", "--actor", "bob"), [2, 3, 4, 5]),
        (("--verb", "object"), [2, 4]),
        (("--verb", "object.deleted", "--verb", "audit"), [1, 2]),
        (("--verb", "object", "--actor", "bob"), []),
        (("-n", "2"), [4, 5]),
        (("-n", "0"), []),
        (("-n", "1", "--actor", "ada"), [4]),
        (("--since", "2026-01-31T12:01"), []),
        (("--until", "2026-01-31T12:01"), [1, 2, 3, 4, 5]),
    ],
)
def test_filters(path: Path, options: tuple[str, ...], shown: list[int]) -> None:
    """All that is asked for must hold; what is asked for twice, one of them."""
    result = audit("show", path, *options)
    assert result.exit_code == 0
    assert [int(re.findall(r"#(\d+)", line)[0]) for line in result.stdout.splitlines()] == shown


def test_since_is_exact(path: Path) -> None:
    """To the nanosecond: from then on, and before then."""
    third = entries(path)[2].timestamp
    assert [each["sequence"] for each in exported(path, "--since", third)] == [3, 4, 5]
    assert [each["sequence"] for each in exported(path, "--until", third)] == [1, 2]


def test_show_goes_on_after_bad_lines(path: Path) -> None:
    """A line that is no entry is told, and the others are shown: 1."""
    content = path.read_bytes().splitlines(keepends=True)
    content[4] = b"junk\n"
    path.write_bytes(b"".join(content))
    result = audit("show", path)
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, 4)
    assert "vaultscope audit: vault.audit:5: it is no JSON" in result.stderr


def test_an_entry_without_a_seal_is_marked(path: Path) -> None:
    """What is not sealed is not to be believed."""
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    told = audit("show", path).stdout.splitlines()
    assert [line.endswith("(not sealed)") for line in told] == [False] * 4 + [True]


@pytest.mark.parametrize("option", [("--since", "yesterday"), ("-n", "-1"), ("--nonsense",)])
def test_wrong_usage(path: Path, option: tuple[str, ...]) -> None:
    """It is told: 2."""
    assert audit("show", path, *option).exit_code == 2


def test_nobody_reads(path: Path) -> None:
    """That the reader has gone is no error."""
    write_log(path, *map(str, range(300)), key=f"{path}.key")
    command = "from vaultscope.edge.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "audit", "export", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert (process.wait(DEADLINE), process.stderr.read()) == (0, b"")
    process.stderr.close()


def test_terminals_are_safe() -> None:
    """No name can move the cursor or begin another line."""
    hostile = Draft("a\x1b[2J\nb", "v\r", "o\x9b\u2028", {"k": "\x1b"}, time_ns=START_NS)
    entry = read_line(hostile.line(1, NOTHING)[1])
    assert isinstance(entry, Entry)
    text = as_lines(entry)
    assert text.isprintable()
    assert "a\\x1b[2J\\nb" in text


# ---- export


def test_export_json(path: Path) -> None:
    """Each entry with all its members and the seal that covers it."""
    first = exported(path, "--actor", "ada")[0]
    (entry,) = [each for each in entries(path) if each.sequence == 2]
    assert entry.seal is not None
    assert first == {
        "id": entry.id,
        "sequence": 2,
        "parent": entry.parent,
        "timestamp": entry.timestamp,
        "actor": "ada",
        "action": {"verb": "object.deleted", "object": "sha256:00", "parameters": {"reason": "expired"}},
        "context": {"trace_id": "7"},
        "seal": {"sequence": 2, "key": entry.seal.key, "signature": entry.seal.signature},
    }


def parse(text: str) -> Any:
    """A reader of S-expressions: lists are tuples, vectors lists, strings text, symbols bytes."""
    tokens = TOKEN.findall(text)

    def read() -> Any:
        token = tokens.pop(0)
        if token in ("(", "#("):
            items = []
            while tokens[0] != ")":
                items.append(read())
            tokens.pop(0)
            return tuple(items) if token == "(" else items
        if token[0] == '"':
            return ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else ESCAPES.get(m[2], m[2]), token[1:-1])
        return token.encode()

    value = read()
    assert tokens == []
    return value


def plain(datum: Any) -> Any:
    """What JSON would say of it."""
    if isinstance(datum, tuple):
        pairs = [(key, value) for key, dot, value in datum if dot == b"."]
        assert len(pairs) == len(datum)
        return {key.decode() if isinstance(key, bytes) else key: plain(value) for key, value in pairs}
    if isinstance(datum, list):
        return [plain(each) for each in datum]
    if isinstance(datum, bytes):
        words = {b"#t": True, b"#f": False, b"null": None}
        return words[datum] if datum in words else json.loads(datum)
    return datum


def test_export_s_expressions(path: Path) -> None:
    """They say what the JSON says."""
    result = audit("export", path, "--format", "sexp")
    assert result.exit_code == 0
    read = [parse(line) for line in result.stdout.splitlines()]
    assert [datum[0] for datum in read] == [b"audit-entry"] * 5
    assert [plain(datum[1:]) for datum in read] == exported(path)
    assert result.stdout.splitlines()[1].startswith('(audit-entry (id . "')


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_any_entry_as_s_expression(parameters: dict[str, Any]) -> None:
    """Whatever it says, it is one line, and reads as what it was."""
    entry = Entry(1, NOTHING, NOTHING, timestamp(START_NS), "a", "v", "o", parameters, {})
    line = as_s_expression(entry)
    assert len(line.splitlines()) == 1
    assert plain(parse(line)[1:])["action"]["parameters"] == parameters


def test_reading_needs_no_lock(path: Path) -> None:
    """A copy of the files alone, which nobody may write to, is read and verified."""
    for name in (f"{path}.lock", f"{path}.key"):
        os.unlink(name)
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        assert audit("verify", path).exit_code == 0
        assert len(exported(path)) == 5
    finally:
        path.parent.chmod(0o700)
