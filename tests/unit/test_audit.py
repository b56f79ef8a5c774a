"""The audit trail: what an entry says, how the chain is verified, what tampering looks like, and the log."""

from __future__ import annotations

import enum
import hashlib
import importlib.util
import json
import math
import signal
import sys
import threading
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from audits import (
    DEADLINE,
    START_NS,
    entries,
    files,
    findings,
    kinds,
    lines,
    objects,
    open_log,
    say,
    value,
    verbs,
    write_log,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sinks import until

from vaultscope import Registry
from vaultscope.audit import AuditLog, AuditTrail, Entry, Seal, verify
from vaultscope.core.audit_entry import NOTHING, Draft, read_line
from vaultscope.core.json_codec import canonical
from vaultscope.edge.audit_keys import create_key, public_key
from vaultscope.errors import AuditError, DeclarationError, DecodeError

TAMPERING = Path(__file__).parent.parent / "campaigns" / "audit_tampering.py"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.audit"


def spoken(*arguments: Any, **options: Any) -> Entry:
    """What an entry of that says, read back from its line."""
    entry = read_line(Draft(*arguments, time_ns=START_NS, **options).line(7, NOTHING)[1])
    assert isinstance(entry, Entry)
    return entry


# ---- entries


def test_an_entry(path: Path) -> None:
    """What was said is what is read: members, order, times, and a seal that covers it."""
    with open_log(path) as log:
        first = log.append(
            "ada", "object.deleted", "sha256:00", {"n": [1, 2.5, None]}, {"trace": "x"}, wait=True
        )
    assert first is not None
    assert (first.sequence, first.actor, first.verb, first.object) == (
        2,
        "ada",
        "object.deleted",
        "sha256:00",
    )
    assert (first.parameters, first.context) == ({"n": [1, 2.5, None]}, {"trace": "x"})
    assert first.timestamp.startswith("2026-01-31T12:00:00.0") and len(first.timestamp) == 30
    began, again = entries(path)
    assert (again, first.parent) == (first, began.id)
    assert first.seal is not None and first.seal.id == first.id


def test_an_id_is_a_hash(path: Path) -> None:
    """The id is the SHA-512 of the canonical JSON of all other members, the parent's id among them; by the
    standard library alone."""
    write_log(path, "a", "é\u2028😀")
    parent = "0" * 128
    for line in lines(path):
        value = json.loads(line)
        if "seal" in value:
            continue
        own = value.pop("id")
        assert value["parent"] == parent
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert own == hashlib.sha512(text.encode()).hexdigest()
        parent = own


def test_lines_are_canonical(path: Path) -> None:
    """Each line is its own canonical JSON: it has one spelling."""
    with open_log(path) as log:
        say(log, "a", parameters={"z": 1e16, "a": -0.0, "é": {"b": [], "a": {}}, "n": 1 << 200})
    for line in lines(path):
        assert canonical(json.loads(line)) + b"\n" == line


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    "given, said",
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        ([math.nan, {"a": (math.inf,)}], ["NaN", {"a": ["Infinity"]}]),
        (0.1 + 0.2, 0.30000000000000004),
        (5e-324, 5e-324),
        (1 << 64, 1 << 64),
        (-(1 << 4095), -(1 << 4095)),
        (1 << 4096, hex(1 << 4096)),
        (1 << 20_000, hex(1 << 20_000)),
        (b"\x00\xff", "00ff"),
        ("\ud800x", "\ufffdx"),
        ("\x00\n", "\x00\n"),
        (True, True),
        (Colour.RED, "red"),
        (datetime(2026, 1, 31, tzinfo=timezone.utc), "2026-01-31T00:00:00+00:00"),
    ],
    ids=range(16),
)
def test_what_json_cannot_say(given: Any, said: Any) -> None:
    """Each value has one representation."""
    assert spoken("a", "b", "c", {"v": given}).parameters == {"v": said}


def test_odd_names() -> None:
    """What is no text becomes JSON, and what is too long is cut."""
    entry = spoken(None, 7, ["x"], [1], "ctx")
    assert (entry.actor, entry.verb, entry.object) == ("null", "7", '["x"]')
    assert (entry.parameters, entry.context) == ({"value": [1]}, {"value": "ctx"})
    assert spoken("é" * 2000, "b", "c").actor == "é" * 999 + "…"


def test_what_is_too_long() -> None:
    """Parameters or context beyond 16 KiB are replaced by their length and hash; the other is kept."""
    data = canonical({"v": "x" * 20_000})
    entry = spoken("a", "b", "c", {"v": "x" * 20_000}, {"kept": 1})
    assert entry.parameters == {"omitted": {"bytes": len(data), "sha512": hashlib.sha512(data).hexdigest()}}
    assert entry.context == {"kept": 1}
    assert len(spoken("a", "b", "c", {"v": "x" * 16_000}).parameters["v"]) == 16_000


def test_deep_and_cyclic_values() -> None:
    """What is nested without end has an end."""
    cycle: dict[str, Any] = {}
    cycle["again"] = cycle
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    assert "..." in json.dumps(spoken("a", "b", "c", cycle, {"deep": deep}).parameters)


def test_reserved_verbs(path: Path) -> None:
    """A caller cannot speak for the trail: to name it a new key, say."""
    with open_log(path) as log:
        log.append("mallory", "audit.key-rotated", "key", {"key": "0" * 64}, wait=True)
        say(log, "a")
    assert verbs(path) == ["audit.began", "_audit.key-rotated", "object.deleted"]
    assert findings(path) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_any_entry_is_read_back(actor: str, parameters: dict[str, Any]) -> None:
    """Whatever it says, its line is read, is canonical, and has the id that it was given."""
    draft = Draft(actor, "v", "o", parameters, time_ns=START_NS)
    own, line = draft.line(3, "a" * 128)
    entry = read_line(line)
    assert isinstance(entry, Entry)
    assert (entry.id, entry.parameters) == (own, parameters)
    assert b"\n" not in line
    assert canonical(json.loads(line)) == line


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_line_is_refused(line: bytes) -> None:
    """What is neither an entry nor a seal is refused, whatever it is."""
    with pytest.raises(DecodeError):
        read_line(line)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"seal":' * 9_000, "1" * 10_000, "null", "{}", '{"seal":{}}', ""]
)
def test_hostile_lines(text: str) -> None:
    """Nesting without end, endless digits, and empty things are refused as lines."""
    with pytest.raises(DecodeError):
        read_line(text.encode())


def test_another_spelling_is_refused(path: Path) -> None:
    """Capital digits, spaces, another order, members twice or more: none passes for the same line."""
    write_log(path, "a")
    for line in (lines(path)[0][:-1], lines(path)[1][:-1]):
        value = json.loads(line)
        own = (value.get("seal") or value)["id"].encode()
        for other in (
            line.replace(own, own.upper()),
            line + b" ",
            b" " + line,
            line.replace(b":", b": ", 1),
            json.dumps(value, sort_keys=True).encode(),
            line[:-1] + b',"extra":1}',
            line[:-1] + b"," + line[1:],
            b"\xef\xbb\xbf" + line,
            line.decode().encode("utf-16"),
        ):
            with pytest.raises(DecodeError):
                read_line(other)


# ---- verification


def test_a_whole_log(path: Path) -> None:
    """Nothing is found in a log that is as it was written, and it is counted what was read."""
    write_log(path, "a", "b", "c")
    verification = verify(path)
    assert list(verification) == []
    assert (verification.entries, verification.seals, verification.files, verification.last) == (4, 4, 1, 4)


def test_the_first_bad_entry_is_named(path: Path) -> None:
    """The file, the line, the sequence, and what is wrong."""
    write_log(path, "a", "b", "c")
    content = lines(path)
    content[4] = content[4].replace(b'"ada"', b'"eve"')
    path.write_bytes(b"".join(content))
    first = findings(path)[0]
    assert (first.kind, first.file, first.line) == ("line", "vault.audit", 5)
    assert str(first) == "vault.audit:5: its content is not what its id says"
    assert str(findings(path)[1]) == "vault.audit:6: entry 3: the seal is not of the entry before it"


def tampered(path: Path, change: Any) -> list[str]:
    """What is found when the lines of a log are changed by a function."""
    path.write_bytes(b"".join(change(lines(path))))
    return [str(finding) for finding in verify(path)]


@pytest.mark.parametrize(
    "change, found",
    [
        (lambda old: old[:2] + old[3:], "vault.audit:3: entry 2: the seal is not of the entry before it"),
        (lambda old: old[:2] + old[4:], "vault.audit:3: entry 3: it follows entry 1"),
        (
            lambda old: old[:3] + old[4:],
            "vault.audit:5: entry 3: the seal does not follow the seal before it",
        ),
        (lambda old: old[:3] + old[2:], "vault.audit:4: entry 2: it follows entry 2"),
        (lambda old: old[:4] + old[3:], "vault.audit:5: entry 2: the seal is of what was sealed before"),
        (lambda old: old[1:], "vault.audit:1: entry 1: the seal is not of the entry before it"),
        (lambda old: old[2:], "vault.audit:1: entry 2: it follows nothing"),
        (lambda old: old[:-1], "entry 4: entries 4 to 4 have no seal"),
        (lambda old: old[:-2], "truncated: it ends with entry 3, the anchor is of 4"),
        (lambda old: [], "truncated: it ends with entry 0, the anchor is of 4"),
        (lambda old: [*old[:-1], old[-1][:-1]], "vault.audit:8: the line is torn: 560 bytes without an end"),
        (lambda old: [*old, b"\n"], "vault.audit:9: it is no JSON"),
        (lambda old: [*old, b"x"], "vault.audit:9: the line is torn: 1 bytes without an end"),
    ],
)
def test_tampering(path: Path, change: Any, found: str) -> None:
    """Each way to tamper is found, and named at the first line that it spoils."""
    write_log(path, "a", "b", "c")
    assert tampered(path, change)[0] == found


def test_a_log_without_its_anchor(path: Path) -> None:
    """That the anchor is gone is found."""
    write_log(path, "a")
    Path(f"{path}.anchor").unlink()
    assert kinds(path) == ["anchor"]


def test_a_damaged_anchor(path: Path) -> None:
    """An anchor that is none, or whose place is wrong, is found."""
    write_log(path, "a")
    anchor = Path(f"{path}.anchor")
    before = anchor.read_bytes()
    for data in (
        b"",
        b"{}",
        before[:-1],
        before.replace(b'"file":0', b'"file":1'),
        before.replace(b"2026", b"2027"),
    ):
        anchor.write_bytes(data)
        assert "anchor" in kinds(path), data


def test_an_earlier_anchor_proves_less(path: Path) -> None:
    """An anchor of earlier, kept elsewhere, holds as long as what it is of is there, and finds a rollback of
    the log and its own anchor."""
    with open_log(path) as log:
        say(log, "a")
        early = (path.read_bytes(), Path(f"{path}.anchor").read_bytes())
        say(log, "b")
        middle = Path(f"{path}.anchor").read_bytes()
        say(log, "c")
    assert findings(path, anchor=early[1]) == findings(path, anchor=middle) == []
    path.write_bytes(early[0])
    Path(f"{path}.anchor").write_bytes(early[1])
    assert findings(path) == []  # not detected, as the documentation says
    assert kinds(path, anchor=middle) == ["anchor"]


def test_a_log_written_anew(path: Path, tmp_path: Path) -> None:
    """A whole log, with an anchor, of another key is found by who knows the true key."""
    write_log(path, "a")
    true = public_key(f"{path}.key.pub")
    forger = tmp_path / "forger"
    forger.mkdir()
    write_log(forger / "vault.audit", "z")
    for name in ("vault.audit", "vault.audit.anchor"):
        (tmp_path / name).write_bytes((forger / name).read_bytes())
    assert kinds(path, public_key=true) == ["key"]
    Path(f"{path}.key.pub").unlink()
    assert kinds(path) == ["unproven"]


def test_no_log(path: Path) -> None:
    """Where there is nothing that is found, too."""
    assert kinds(path) == ["anchor", "missing", "unproven"]


def test_a_batch_has_one_seal(path: Path) -> None:
    """What is said together is sealed together, and each entry knows its seal."""
    with open_log(path, batch_seconds=DEADLINE, batch_entries=5) as log:
        for number in range(10):
            log.append("ada", "v", str(number))
        assert log.flush()
    seals = [entry.seal.sequence for entry in entries(path) if entry.seal is not None]
    assert seals == [1, *[6] * 5, *[11] * 5]
    assert findings(path) == []


# ---- several files


def test_files_follow_each_other(path: Path) -> None:
    """A file that is full is followed by another, whose first entry names the one before."""
    write_log(path, *map(str, range(12)), max_bytes=4_000)
    names = [file.name for file in files(path)]
    assert names == ["vault.audit", *[f"vault.audit.{number:06}" for number in range(1, len(names))]]
    assert len(names) >= 3
    assert objects(path) == [str(number) for number in range(12)]
    first = read_line(lines(path.with_name(names[1]))[0][:-1])
    last = read_line(lines(path)[-1][:-1])
    assert isinstance(first, Entry) and isinstance(last, Seal)
    assert first.verb == "audit.continued"
    said = {name: first.parameters[name] for name in ("file", "bytes", "sequence", "id", "key")}
    size = path.stat().st_size
    assert said == {"file": 0, "bytes": size, "sequence": last.sequence, "id": last.id, "key": last.key}
    assert findings(path) == []


def test_a_missing_file(path: Path) -> None:
    """A file that is gone is found, wherever it was; what is there is verified all the same."""
    write_log(path, *map(str, range(20)), max_bytes=4_000)
    names = list(files(path))
    for name, found in ((names[0], ["missing"]), (names[1], ["missing"]), (names[-1], ["anchor"])):
        content = name.read_bytes()
        name.unlink()
        assert kinds(path) == found
        name.write_bytes(content)
    assert findings(path) == []
    names[1].write_bytes(names[2].read_bytes())
    assert "the file before is not the one it names" in str(findings(path)[0])


# ---- the log


def test_metrics(path: Path) -> None:
    """Entries, seals, drops and errors are counted, the trail's own entries among them."""
    registry = Registry()
    with open_log(path, registry=registry, queue_entries=1) as log:
        say(log, "a", "b")
    log.append("ada", "v", "too late")
    assert (value(registry, "entries"), value(registry, "seals")) == (3, 3)
    assert value(registry, "dropped", reason="closed") == 1


def test_a_full_queue(path: Path) -> None:
    """What the queue cannot take is dropped at once, and counted; the rest is written."""
    registry = Registry()
    gate, busy = threading.Event(), threading.Event()

    def witness(anchor: bytes) -> None:
        busy.set()
        assert gate.wait(DEADLINE)

    gate.set()
    with open_log(path, registry=registry, queue_entries=3, witness=witness) as log:
        gate.clear()
        busy.clear()
        log.append("ada", "v", "first")
        assert busy.wait(DEADLINE)
        for number in range(5):
            log.append("ada", "v", str(number))
        assert value(registry, "dropped", reason="full") == 2
        gate.set()
    assert objects(path) == ["first", "0", "1", "2"]


class Hostile(dict[str, Any]):
    """A mapping that fails."""

    def items(self) -> Any:
        raise RuntimeError("no")


def test_append_never_raises(path: Path) -> None:
    """A mapping that fails is told in the entry, and counted; that it was done is said all the same."""
    registry = Registry()
    with open_log(path, registry=registry) as log:
        entry = log.append("ada", "v", "o", Hostile(a=1), wait=True)
    assert entry is not None and entry.parameters == {"unreadable": "RuntimeError"}
    assert value(registry, "errors", kind="value") == 1


def test_a_clock_that_fails(path: Path) -> None:
    """Then there is no entry, no exception, and a count."""
    registry = Registry()
    with open_log(path, registry=registry) as log:
        log._clock_ns = lambda: 1 << 70  # no year has that
        assert log.append("ada", "v", "o", wait=True) is None
    assert value(registry, "dropped", reason="error") == 1


def test_a_witness(path: Path) -> None:
    """It is given each anchor; one that fails is counted and stops nothing; one that appends does not wait
    for itself."""
    registry = Registry()
    seen: list[bytes] = []

    def witness(anchor: bytes) -> None:
        seen.append(anchor)
        if len(seen) == 3:
            assert log.append("witness", "v", "o", wait=True) is None
            raise OSError("unreachable")

    with open_log(path, registry=registry, witness=witness) as log:
        say(log, "a", "b")
        assert log.flush()
    assert all(findings(path, anchor=anchor) == [] for anchor in seen)
    assert (len(seen), value(registry, "errors", kind="witness")) == (4, 1)
    assert objects(path) == ["a", "b", "o"]


def test_an_anchor_elsewhere(path: Path) -> None:
    """Any object with `read` and `write` keeps the anchor."""

    class Elsewhere:
        data: bytes | None = None

        def read(self) -> bytes | None:
            return self.data

        def write(self, data: bytes) -> None:
            self.data = data

    anchor = Elsewhere()
    write_log(path, "a", anchor=anchor)
    write_log(path, "b", anchor=anchor)
    assert not Path(f"{path}.anchor").exists()
    assert findings(path, anchor=anchor) == []
    path.write_bytes(b"".join(lines(path)[:-2]))
    assert kinds(path, anchor=anchor) == ["anchor"]


def test_append_in_a_signal_handler(path: Path) -> None:
    """A handler may append, whatever the main thread is at: here, appending."""
    before = signal.getsignal(signal.SIGALRM)
    numbers, told = count(), []
    with open_log(path, queue_entries=100_000) as log:

        def handle(number: int, frame: Any) -> None:  # which may be interrupted by itself
            own = str(next(numbers))
            log.append("signal", "v", own)
            told.append(own)

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            number = 0
            while len(told) < 50:
                log.append("main", "v", str(number))
                number += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert log.flush(DEADLINE)
    assert sorted(e.object for e in entries(path) if e.actor == "signal") == sorted(told)
    assert findings(path) == []


def test_threads(path: Path) -> None:
    """Several threads append: each entry is there once, in its thread's order."""
    with open_log(path, batch_seconds=0.01) as log:

        def work(name: str) -> None:
            for number in range(100):
                log.append(name, "v", str(number))

        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    found = entries(path)
    for number in range(4):
        assert [e.object for e in found if e.actor == f"t{number}"] == list(map(str, range(100)))
    assert findings(path) == []


@pytest.mark.parametrize(
    "options",
    [
        {"max_bytes": 0},
        {"queue_entries": 0},
        {"batch_entries": 0},
        {"batch_entries": 5000},
        {"batch_seconds": -1},
        {"batch_seconds": math.nan},
        {"lock_seconds": math.inf},
    ],
)
def test_wrong_arguments(path: Path, options: dict[str, Any]) -> None:
    """They are told when the log is made, and nothing is written."""
    with pytest.raises(DeclarationError):
        AuditLog(path, registry=Registry(), **options)
    assert list(path.parent.iterdir()) == []


def test_it_is_an_audit_trail(path: Path) -> None:
    """An AuditLog is what takes an AuditTrail."""

    def collect(audit: AuditTrail) -> None:
        audit.append("vaultscope.gc", "object.deleted", "sha256:00", {"reason": "expired"}, {})

    with open_log(path) as log:
        collect(log)
    assert verbs(path) == ["audit.began", "object.deleted"]


# ---- what a writer finds


def refused(path: Path, text: str) -> None:
    before = [file.read_bytes() for file in files(path)]
    with pytest.raises(AuditError, match=text):
        open_log(path)
    assert [file.read_bytes() for file in files(path)] == before


def test_a_truncated_log_is_not_gone_on_with(path: Path) -> None:
    """Neither one that ends before its anchor, nor one whose anchor is gone, damaged or was another's."""
    write_log(path, "a", "b")
    anchor = Path(f"{path}.anchor")
    content, anchored = lines(path), anchor.read_bytes()
    for cut in (b"".join(content[:-2]), b"".join(content[:-1]), b"".join(content)[:-1], b"", b"\n" * 9_000):
        path.write_bytes(cut)
        refused(path, "truncated or changed")
    path.unlink()
    refused(path, "truncated or changed")
    path.write_bytes(b"".join(content))
    anchor.write_bytes(anchored.replace(b"2026", b"2027"))
    refused(path, "signature is wrong")
    anchor.write_bytes(anchored[:-2])
    refused(path, "damaged")
    anchor.unlink()
    refused(path, "anchor is gone")
    anchor.write_bytes(anchored)
    write_log(path, "c")
    assert findings(path) == []


def test_a_living_log_sees_what_is_taken(path: Path) -> None:
    """A log that is open notices a truncation and a rollback of log and anchor together; it appends nothing,
    says so, and goes on when all is put back."""
    registry = Registry()
    anchor = Path(f"{path}.anchor")
    with open_log(path, registry=registry) as log:
        say(log, "a")
        early = (path.read_bytes(), anchor.read_bytes())
        say(log, "b")
        late = (path.read_bytes(), anchor.read_bytes())
        path.write_bytes(early[0])
        anchor.write_bytes(early[1])
        log.append("ada", "v", "c")
        until(lambda: "put back" in log.trouble)
        assert path.read_bytes() == early[0]
        anchor.write_bytes(late[1])
        until(lambda: "truncated" in log.trouble)
        path.write_bytes(late[0])
        until(lambda: not log.trouble)
    assert value(registry, "errors", kind="tampered") >= 2
    assert objects(path) == ["a", "b", "c"]
    assert findings(path) == []


# ---- the campaign, in short


def load_campaign() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_tampering", TAMPERING)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_all_tampering_is_detected(tmp_path: Path) -> None:
    """Every bit flipped, every line deleted, swapped and so on, of a short trail; and verifying from the
    change on says the same as verifying the whole."""
    campaign = load_campaign()
    results = list(campaign.run(6, 1, 1, tmp_path))
    assert len(results) == len(campaign.KINDS) + 2
    assert all(result.tried > 5 for result in results)
    assert [str(result) for result in results if result.undetected or result.different] == []


@settings(max_examples=30)
@given(data=st.data())
def test_any_damage_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any bytes of the log replaced by any others: something is found, unless they are the same."""
    path = tmp_path_factory.mktemp("log") / "vault.audit"
    write_log(path, "a", "b", "c")
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    changed = content[:start] + data.draw(st.binary(max_size=40)) + content[end:]
    path.write_bytes(changed)
    assert (findings(path) == []) == (changed == content)


def test_two_logs_of_one_key(path: Path, tmp_path: Path) -> None:
    """A log of the same key is another log: its seals and its anchor do not fit."""
    key = tmp_path / "own.key"
    create_key(key)
    write_log(path, "a", key=key)
    other = tmp_path / "other"
    write_log(other, "a", key=key)
    anchor = Path(f"{other}.anchor").read_bytes()
    assert [str(each) for each in verify(path, anchor=anchor, public_key=f"{key}.pub")] == [
        "vault.audit:3: entry 2: the anchor has another entry of that sequence",
        "vault.audit:4: entry 2: the anchor has another seal of that entry",
        "the seal of entry 2, which the anchor is of, is not there",
    ]
