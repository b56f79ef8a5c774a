"""The log's loggers, levels, limits and sinks, attacked by many threads at once.

The facts hold on any interpreter; they can fail where there is no GIL to make several steps one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

from threads import ROUNDS, THREADS, busy_switching, in_rounds, together  # noqa: F401  (a fixture)

import vaultscope.logging
from vaultscope import Registry
from vaultscope.logging import Journal, MemorySink


def test_one_logger_of_all_threads() -> None:
    """Threads that log through one logger, and through what they bind and limit of it meanwhile, lose
    nothing: each record is there once, with all of its fields."""
    journal = Journal(Registry(), policy="block", block_ms=1e6)
    sink = MemorySink(1_000_000)
    journal.add_sink(sink)
    log = journal.get_logger("cas").bind(shared=[1, "é"])
    limited, sampled = log.limited(10, 1e9), log.sampled(100)

    def work(who: int) -> None:
        mine = log.bind(who=who)
        for turn in range(ROUNDS):
            mine.info("mine", turn=turn, nested={"turn": turn})
            log.bind(turn=turn).info("bound", who=who)
            limited.info(f"limited {turn % 7}")
            sampled.info("sampled")

    together(*[partial(work, who) for who in range(THREADS)])
    assert journal.close(60)
    records = sink.records
    for message in ("mine", "bound"):
        turns = [(r["who"], r["turn"]) for r in records if r["message"] == message]
        assert sorted(turns) == [(who, turn) for who in range(THREADS) for turn in range(ROUNDS)]
    assert all(r["nested"] == {"turn": r["turn"]} for r in records if r["message"] == "mine")
    assert all(r["shared"] == [1, "é"] for r in records)
    assert sum(r["message"].startswith("limited") for r in records) == 7 * 10
    assert sum(r["message"] == "sampled" for r in records) == THREADS * ROUNDS // 100
    assert (
        journal.registry.snapshot().value("vaultscope.log.suppressed", level="info")
        == THREADS * (2 * ROUNDS - ROUNDS // 100) - 7 * 10
    )


def test_new_messages_of_a_limited_logger() -> None:
    """Threads that are the first with a message, at the same moment, share its count."""
    journal = Journal(Registry())
    cursor = journal.native.cursor("c")
    limited = journal.get_logger().limited(1, 1e9)
    turn = 0

    def first() -> None:
        limited.info(f"m{turn}")

    def check() -> None:
        nonlocal turn, limited
        batch = cursor.take()
        assert batch is not None and batch.records == {"info": 1}
        cursor.done()
        turn += 1
        if turn % 900 == 0:  # before they share one for being too many
            limited = journal.get_logger().limited(1, 1e9)

    in_rounds(check, *[first] * THREADS)


def test_loggers_and_levels_that_change() -> None:
    """Threads get loggers by the same names, set levels, log and look at once; a name gives one logger."""
    journal = Journal(Registry())
    cursor = journal.native.cursor("c")
    found: list[list[object]] = [[] for _ in range(4)]

    def get(who: int) -> None:
        for i in range(ROUNDS):
            log = journal.get_logger(f"name{i % 50}")
            found[who].append(log)
            log.error("m")
            with vaultscope.logging.level("debug"):
                assert log.enabled("debug")

    def change() -> None:
        for i in range(ROUNDS):
            vaultscope.logging.set_level("warn", f"name{i % 10}")
            vaultscope.logging.set_level(None, f"name{i % 10}")
            vaultscope.logging.set_vault(f"vault {i}")
            journal.get_logger("a").bind(x=i).capsule()

    def look() -> None:
        position = None
        for _ in range(ROUNDS):
            state, following, line = journal.native.look(position)
            assert (state == "record") == bool(line)
            assert not line or json.loads(line)["message"] == "m"
            position = None if state == "lost" else following

    together(*[partial(get, who) for who in range(4)], change, look, look)
    vaultscope.logging.set_vault("")
    assert found[0] == found[1] == found[2] == found[3]
    lines = 0
    while (batch := cursor.take()) is not None:
        lines += sum(batch.records.values())
        cursor.done()
    assert lines == 4 * ROUNDS


def test_sinks_that_come_and_go() -> None:
    """Threads add, flush, list and remove sinks of one journal, while others log: none hangs or raises, and
    each sink has what was logged while it was there, once."""
    journal = Journal(Registry())
    log = journal.get_logger()
    steady = MemorySink(1_000_000, name="steady")
    journal.add_sink(steady)

    def guests(who: int) -> None:
        for i in range(20):
            sink = MemorySink(name=f"guest {who}")
            journal.add_sink(sink)
            log.info("guest", who=who, turn=i)
            assert sink in journal.sinks
            assert journal.flush(60)
            mine = [r["turn"] for r in sink.records if r.get("who") == who]
            assert mine[-1] == i and len(mine) == len(set(mine))
            assert journal.remove_sink(sink, 60)

    def talk() -> None:
        for i in range(ROUNDS):
            log.info("talk", turn=i)

    together(*[partial(guests, who) for who in range(4)], talk, talk)
    assert journal.close(60)
    messages = [record["message"] for record in steady.records]
    assert (messages.count("guest"), messages.count("talk")) == (80, 2 * ROUNDS)


def test_the_default_journal_at_first_use() -> None:
    """Sixteen threads that want the default journal, and a logger of it, at once get one."""
    script = """
import threading
from vaultscope.logging import default_journal, get_logger
start = threading.Barrier(16)
found = []
def work():
    start.wait()
    get_logger("cas").info("m")
    found.append((default_journal(), get_logger("cas")))
threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
journal = found[0][0]
print(len(set(found)), journal.registry.snapshot().value("vaultscope.log.records", level="info"))
"""
    for _ in range(5):
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert (result.stdout, result.stderr) == ("1 16\n", "")
