"""Values that act while they are logged: that log, change, or fail."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from importlib.util import find_spec
from typing import Any

import pytest
from logbook import Logbook

from vaultscope.core import log_fields
from vaultscope.logging import Logger


def test_a_repr_that_logs(book: Logbook, log: Logger) -> None:
    """A value may log while it is logged: its record comes first, and neither spoils the other."""

    class Talks:
        def __repr__(self) -> str:
            log.info("inner", y=2)
            return "talks"

    log.info("outer", before=1, x=Talks(), after=[Talks()])
    inner, again, outer = book.records
    assert (inner["message"], again["message"], inner["y"]) == ("inner", "inner", 2)
    assert (outer["before"], outer["x"], outer["after"]) == (1, "talks", ["talks"])


def test_a_repr_that_logs_itself(book: Logbook, log: Logger) -> None:
    """A value whose repr logs the value again, without end, ends where the interpreter says."""

    class Echo:
        def __repr__(self) -> str:
            log.info("echo", x=self)
            return "echo"

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        log.info("first", x=Echo())
    finally:
        sys.setrecursionlimit(limit)
    records = book.records
    assert records[-1]["message"] == "first" and records[-1]["x"] == "echo"
    assert len(records) > 5


def test_values_that_change_meanwhile(book: Logbook, log: Logger) -> None:
    """A list or dict that its own elements change, while it is written, is written somehow."""
    row: list[Any] = []
    table: dict[Any, Any] = {}

    class Grows:
        def __repr__(self) -> str:
            row.extend(range(5))
            table[len(table)] = 1
            return "grows"

    class Shrinks:
        def __repr__(self) -> str:
            row.clear()
            table.clear()
            return "shrinks"

    for element in (Grows(), Shrinks()):
        row[:] = [element, 1, 2, element]
        table.update({"a": element, "b": 1, "c": element})
        log.info("m", x=row, y=table, after=1)
        record = book.record
        assert record["after"] == 1 and {"x", "y"} <= set(record)


def test_values_that_threads_change(book: Logbook, log: Logger) -> None:
    """A dict that another thread changes all the while is written each time, or named by its repr."""
    table = {str(i): i for i in range(100)}
    stop = threading.Event()

    def change() -> None:
        i = 0
        while not stop.is_set():
            table[str(i % 500)] = i
            table.pop(str((i + 250) % 500), None)
            i += 1

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            log.info("m", x=table, y={"inner": table})
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
    assert len(book.records) == 300


def test_no_memory_for_a_value(book: Logbook, log: Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that runs out of memory while it is written is named instead."""
    for error in (MemoryError(), RecursionError()):
        monkeypatch.setattr(log_fields, "dumps", lambda value, error=error: (_ for _ in ()).throw(error))
        log.info("m", x=[1], after=1)
        fields = book.fields
        assert fields["after"] == 1
        assert fields["x"].startswith("<list object at ")


@pytest.mark.parametrize("missing", [False, True], ids=["as it is", "without orjson"])
def test_either_encoder(missing: bool) -> None:
    """A program with orjson, and one that has none, write the same lines."""
    program = f"""
import sys
if {missing}:
    sys.modules["orjson"] = None
import collections, datetime, decimal, enum, uuid
from vaultscope import Registry
from vaultscope.logging import Journal
class E(enum.Enum): A = 1
class F(float): pass
journal = Journal(Registry())
cursor = journal.native.cursor("c")
values = [[1, 2.5, None, True, "é", "\\ud800"], {{1: 2, "1": 3, None: 4}}, [2**64, 10**400], [float("nan")],
    [E.A, F(1.5), b"x", (1,), {{1}}, decimal.Decimal("1.0"), uuid.UUID(int=0), datetime.date(2026, 1, 1)],
    collections.deque([1]), {{"a": {{"b": [[]]}}}}, [ValueError("x")], [[range(3)]], {{(1, 2): 3}},
    [1e16, 1e-7]]
journal.get_logger().info("m", **{{str(i): value for i, value in enumerate(values)}})
import json
record = json.loads(cursor.take().lines)
print("orjson" in sys.modules and sys.modules["orjson"] is not None)
print({{name: value for name, value in record.items() if name not in ("time", "pid", "thread")}})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == ""
    loaded, _, shown = done.stdout.partition("\n")
    assert loaded == str(not missing and find_spec("orjson") is not None)
    record = eval(shown)
    assert record["0"] == [1, 2.5, None, True, "é", "\ufffd"]
    assert record["1"] == {"1": 3, "null": 4}
    assert json.loads(record["2"]) == [2**64, 10**400]
    assert record["3"] == [None]
    assert record["4"] == [1, 1.5, "78", [1], [1], "1.0", str(uuid.UUID(int=0)), "2026-01-01"]
    assert [record[str(i)] for i in (5, 6, 8, 9)] == [[1], {"a": {"b": [[]]}}, [[[0, 1, 2]]], {"(1, 2)": 3}]
    assert record["7"] == [{"type": "ValueError", "message": "x"}]
    assert record["10"] == [1e16, 1e-7]
