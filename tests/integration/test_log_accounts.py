"""Journals whose sinks are slow, hang or fail: what was logged is what was written and what counts lost."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from vaultscope import Registry
from vaultscope.logging import LEVELS, FileSink, Journal, Sink, level

THREADS, RING_BYTES, PATIENCE_S = 3, 1 << 16, 60.0
Account = Counter[tuple[str, int]]  # how many, by level and thread


class Keeping(Sink):
    """Keeps the lines. In Python, batch by batch, it is slower than those who log."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[bytes] = []

    def write(self, lines: bytes, records: Mapping[str, int]) -> None:
        self.lines += lines.splitlines()


class Hanging(Keeping):
    """Hangs with its first batch until it is let go."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.is_hanging, self.go = threading.Event(), threading.Event()

    def write(self, lines: bytes, records: Mapping[str, int]) -> None:
        self.is_hanging.set()
        assert self.go.wait(PATIENCE_S)
        super().write(lines, records)


class Failing(Keeping):
    """Raises at every other batch."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls = 0

    def write(self, lines: bytes, records: Mapping[str, int]) -> None:
        self.calls += 1
        if self.calls % 2:
            raise OSError("no")
        super().write(lines, records)


@pytest.fixture(params=["memory", "file"])
def registry(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Its ring is the smallest there is, so that it comes round many times."""
    monkeypatch.setenv("VAULTSCOPE_LOG_BYTES", str(RING_BYTES))
    return Registry(arena=tmp_path / "a.arena" if request.param == "file" else None)


@pytest.fixture(autouse=True)
def all_levels() -> Iterator[None]:
    with level("trace"):
        yield


def produce(journal: Journal, records: int) -> Account:
    """Logs so many records from each thread, of all levels; says what it did."""
    accounts = [Counter() for _ in range(THREADS)]

    def log_all(number: int) -> None:
        log = journal.get_logger("cas")
        with level("trace"):  # a thread has a context of its own
            for n in range(records):
                log.log(LEVELS[n % 6], "Object stored", worker=number, n=n)
                accounts[number][LEVELS[n % 6], number] += 1

    threads = [threading.Thread(target=log_all, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(accounts, Counter())


def read(lines: list[bytes]) -> Account:
    """What is in the lines; that of the journal itself is left out. In order, each at most once."""
    account: Account = Counter()
    last = [-1] * THREADS
    for line in lines:
        record = json.loads(line)
        if record["logger"] == "vaultscope.log":
            continue
        worker, n = record["worker"], record["n"]
        assert n > last[worker], f"{n} after {last[worker]}"
        assert record["level"] == LEVELS[n % 6]
        last[worker] = n
        account[record["level"], worker] += 1
    return account


def by_level(account: Account) -> Counter[str]:
    levels: Counter[str] = Counter()
    for (name, _), count in account.items():
        levels[name] += count
    return levels


def counted(journal: Journal, name: str, sink: str | None = None) -> Counter[str]:
    """One of the log's counters, by level."""
    levels: Counter[str] = Counter()
    for series in journal.registry.snapshot()[f"vaultscope.log.{name}"]:
        labels = dict(series.labels)
        if sink is None or labels["sink"] == sink:
            levels[labels["level"]] += int(series.value)
    return +levels


def own(lines: list[bytes]) -> Counter[str]:
    """The journal's own records, by level."""
    records = map(json.loads, lines)
    return Counter(record["level"] for record in records if record["logger"] == "vaultscope.log")


@pytest.mark.parametrize("policy", ["drop", "overwrite"])
def test_more_than_there_is_room_for(registry: Registry, policy: str) -> None:
    """While the only sink hangs the ring fills up: each record is written, or counted by level as lost."""
    journal, hanging = Journal(registry, policy=policy, ring_bytes=RING_BYTES), Hanging("hanging")
    journal.add_sink(hanging)
    produced = produce(journal, 4_000)
    hanging.go.set()
    assert journal.close(PATIENCE_S)
    written, lost = (
        by_level(read(hanging.lines)),
        counted(journal, "dropped") + counted(journal, "overwritten"),
    )
    assert lost.total() > 0
    assert written + lost == by_level(produced)


def test_who_waits_loses_nothing(registry: Registry) -> None:
    """With the policy `block`, and enough patience, each record of each level and thread is written."""
    journal = Journal(registry, policy="block", ring_bytes=RING_BYTES, block_ms=PATIENCE_S * 1_000)
    keeping = Keeping("keeping")
    journal.add_sink(keeping)
    produced = produce(journal, 4_000)
    assert journal.close(PATIENCE_S)
    assert read(keeping.lines) == produced
    assert not counted(journal, "dropped")


def test_one_that_hangs_holds_up_no_other(registry: Registry, tmp_path: Path) -> None:
    """The file gets everything that was not dropped; what the other one missed and what it wrote are all."""
    journal = Journal(registry, policy="block", ring_bytes=RING_BYTES, block_ms=PATIENCE_S * 1_000)
    hanging, file = Hanging("hanging"), FileSink(tmp_path / "vault.log")
    journal.add_sink(hanging)
    journal.get_logger("cas").info("first", worker=0, n=-1)
    assert hanging.is_hanging.wait(PATIENCE_S)
    journal.add_sink(file)
    produced = produce(journal, 2_000)
    assert journal.remove_sink(file, PATIENCE_S)
    lines = (tmp_path / "vault.log").read_bytes().splitlines()
    assert read([line for line in lines if b'"first"' not in line]) == produced
    hanging.go.set()
    assert journal.close(PATIENCE_S)
    missed = counted(journal, "missed", "hanging")
    assert missed.total() > 0
    whole = Counter(json.loads(line)["level"] for line in hanging.lines) + missed
    assert whole == counted(journal, "records")


def test_a_failing_sink_gets_each_record_once(registry: Registry) -> None:
    """What it raises is counted, and the same lines are given again."""
    journal = Journal(registry, policy="block", ring_bytes=RING_BYTES, block_ms=PATIENCE_S * 1_000)
    failing = Failing("failing")
    journal.add_sink(failing)
    produced = produce(journal, 100)
    assert journal.close(PATIENCE_S)
    assert read(failing.lines) == produced
    errors = [int(series.value) for series in journal.registry.snapshot()["vaultscope.log.sink.errors"]]
    assert errors == [failing.calls - failing.calls // 2]


def test_what_was_dropped_is_told_in_the_log(registry: Registry) -> None:
    """When the flood is over one record, or a few, say how many of each level were dropped: all of them."""
    journal, hanging = Journal(registry, ring_bytes=RING_BYTES), Hanging("hanging")
    journal.add_sink(hanging)
    produce(journal, 4_000)
    dropped = counted(journal, "dropped")
    hanging.go.set()
    assert journal.close(PATIENCE_S)
    told: Counter[str] = Counter()
    for line in hanging.lines:
        told.update(json.loads(line).get("dropped", {}))
    assert told == dropped
    assert told.total() > 0
    assert own(hanging.lines).total() <= 3
