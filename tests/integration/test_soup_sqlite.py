"""The soup's file: which index is read, how it shrinks, and what happens when it is damaged or shared."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sinks import DEADLINE, until
from soups import NOW_NS, SECOND, Clock

from vaultscope import NotFoundError, Registry
from vaultscope.core.soup_query import Condition
from vaultscope.edge import soup_file, soup_gc
from vaultscope.edge.soup_select import Wanted, select_count, select_page
from vaultscope.edge.soup_token import Order
from vaultscope.errors import DamagedError, DeclarationError, StorageError
from vaultscope.soup import NewObject, SqliteSoup, attr


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.soup"


@pytest.fixture
def registry() -> Registry:
    return Registry()


def opened(path: Path, registry: Registry | None = None, **options: Any) -> SqliteSoup:
    return SqliteSoup(path, **{"registry": registry or Registry(), "clock": Clock(), **options})


@pytest.fixture
def soup(path: Path, registry: Registry) -> Iterator[SqliteSoup]:
    soup = opened(path, registry)
    yield soup
    soup.close()


def metric(registry: Registry, name: str, **labels: str) -> float:
    try:
        return registry.snapshot().value(f"vaultscope.soup.{name}", soup="a.soup", **labels)
    except NotFoundError:
        return 0


def batch(count: int, size: int = 300, start: int = 0, **more: Any) -> list[NewObject]:
    """Objects that cannot be compressed, a second apart."""
    return [
        NewObject(os.urandom(size), "log", {"n": n}, NOW_NS + n * SECOND, **more)
        for n in range(start, start + count)
    ]


# ---- which index is read


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, sqlite3.Connection]]:
    """Two soups, one ten times the other. Every thousandth object is a trace, every hundredth has an id."""
    made = {}
    for count in (3_000, 30_000):
        path = tmp_path_factory.mktemp("large") / "a.soup"
        with closing(opened(path, index=("trace_id", "level"), max_bytes=1 << 30)) as soup:
            soup.put_many(
                NewObject(
                    b"%d" % n,
                    "trace" if n % 1000 == 0 else "log",
                    {"level": "error" if n % 50 == 0 else "info"}
                    | ({"trace_id": f"{n // 500}"} if n % 100 == 0 else {}),
                    NOW_NS + n * SECOND,
                )
                for n in range(count)
            )
        made[count] = sqlite3.connect(path)
    yield made
    for connection in made.values():
        connection.close()


def work(connection: sqlite3.Connection, sql: str, values: list[Any]) -> tuple[list[Any], int]:
    """The rows, and how many instructions of SQLite's machine they took, in hundreds."""
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        ticks += 1
        return 0

    connection.set_progress_handler(tick, 100)
    try:
        return connection.execute(sql, values).fetchall(), ticks
    finally:
        connection.set_progress_handler(None, 0)


FIRST_NS = NOW_NS + 1000 * SECOND
LAST_NS = FIRST_NS + 500 * SECOND
QUERIES: dict[str, tuple[Condition | None, tuple[str, ...], int | None, int | None, str]] = {
    "type": (None, ("trace",), None, None, "created"),
    "type and time": (None, ("log",), FIRST_NS, LAST_NS, "created"),
    "backwards": (None, ("log",), FIRST_NS, LAST_NS, "-created"),
    "time": (None, (), FIRST_NS, LAST_NS, "created"),
    "two types": (None, ("log", "trace"), FIRST_NS, LAST_NS, "created"),
    "indexed attribute": (attr("trace_id") == "3", (), None, None, "created"),
    "indexed attribute and type": (attr("trace_id") == "3", ("log",), None, None, "created"),
    "and another": ((attr("trace_id") == "3") & (attr("level") == "error"), ("log",), None, None, "-created"),
    "in order of an indexed one": (None, ("log",), None, None, "-trace_id"),
    "common one, newest first": (attr("level") == "info", ("log",), None, None, "-created"),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_reads_what_it_returns(large: dict[int, sqlite3.Connection], name: str) -> None:
    """Ten times as many objects cost a page of a query nothing: neither the first one nor one behind it."""
    where, types, since, until_ns, order = QUERIES[name]
    wanted = Wanted(where, types, since, until_ns, ("trace_id", "level"))
    by = Order.of(order)
    costs: dict[int, list[int]] = {}
    for count, connection in large.items():
        rows, first = work(connection, *select_page(wanted, by, None, 5))
        assert rows and first < 30  # a hundred each
        key = (*reversed(rows[-1][8:]), rows[-1][2], rows[-1][7])
        costs[count] = [first, work(connection, *select_page(wanted, by, key, 5))[1]]
    small, big = costs.values()
    assert all(after <= before + 3 for before, after in zip(small, big, strict=True)), costs


@pytest.mark.parametrize("name", [name for name in QUERIES if "order" not in name])
def test_a_plan_scans_nothing(large: dict[int, sqlite3.Connection], name: str) -> None:
    """SQLite says so, too: it searches an index, and sorts nothing that it would have to read first."""
    where, types, since, until_ns, order = QUERIES[name]
    sql, values = select_page(
        Wanted(where, types, since, until_ns, ("trace_id", "level")), Order.of(order), None, 5
    )
    plan = [row[3] for row in large[3_000].execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert any("SEARCH objects USING INDEX" in line for line in plan), plan
    assert not any("SCAN objects" in line for line in plan), plan
    if len(types) < 2:  # of several types the pages are merged
        assert not any("TEMP B-TREE" in line for line in plan), plan


def test_level_objects_are_not_read_again(path: Path) -> None:
    """Thousands of one moment: a later page of them costs no more than the first."""
    with closing(opened(path)) as soup:
        soup.put_many(NewObject(b"%d" % n, "log", {}, NOW_NS) for n in range(20_000))
    with closing(sqlite3.connect(path)) as connection:
        for types in ((), ("log",)):
            wanted = Wanted(None, types, None, None)
            first = work(connection, *select_page(wanted, Order.of("created"), None, 5))[1]
            late = work(connection, *select_page(wanted, Order.of("created"), (NOW_NS, 19_000), 5))[1]
            assert late <= first + 3


def test_counting_reads_the_index(large: dict[int, sqlite3.Connection]) -> None:
    """Of one type in a range of time: no row is looked at."""
    sql, values = select_count(Wanted(None, ("log",), FIRST_NS, LAST_NS))
    plan = [row[3] for row in large[3_000].execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert len(plan) == 1 and "COVERING INDEX objects_type" in plan[0], plan


def test_an_index_may_be_declared_later(path: Path) -> None:
    """What is there is found by it; so is a name that SQL would stumble over."""
    with closing(opened(path)) as soup:
        soup.put(b"x", type="x", attributes={"it's.a": "é"})
    for _ in range(2):
        with closing(opened(path, index=("it's.a",))) as soup:
            assert soup.count(attr("it's.a") == "é") == 1


# ---- the budget


def file_bytes(path: Path) -> int:
    return path.stat().st_size


def test_the_oldest_make_room(path: Path, registry: Registry) -> None:
    """Put ten times the budget: the file stays within it, and what is left are the newest."""
    with closing(opened(path, registry, max_bytes=1 << 20)) as soup:
        for start in range(0, 20_000, 500):
            soup.put_many(batch(500, start=start))
            assert soup.stats().bytes <= 1 << 20
        left = [each.attributes["n"] for each in soup.query()]
        assert left == list(range(20_000 - len(left), 20_000)) and len(left) > 1000
        assert metric(registry, "evictions", reason="budget") == 20_000 - len(left)
        assert metric(registry, "objects") == len(left)
        assert metric(registry, "puts") == 20_000
        assert metric(registry, "bytes") == soup.stats().bytes
    assert file_bytes(path) <= 1 << 20


def test_the_expired_go_first(path: Path) -> None:
    """Older ones that are to be kept stay for longer."""
    clock = Clock(NOW_NS + 10_000 * SECOND)
    with closing(opened(path, max_bytes=1 << 20, clock=clock)) as soup:
        old = soup.put_many(batch(100))
        soup.put_many(batch(1000, start=200, ttl=0))
        soup.put_many(batch(1500, start=2000))
        assert [soup.head(each).address for each in old] == old
        assert soup.count(until=NOW_NS + 2000 * SECOND) < 1100


def test_pinned_objects_outlive_the_budget(path: Path) -> None:
    """They are the oldest, and stay when all others have gone."""
    with closing(opened(path, max_bytes=1 << 20)) as soup:
        old = soup.put_many(batch(600))
        for each in old[::2]:
            soup.pin(each, "me")
        for start in range(1000, 10_000, 500):
            soup.put_many(batch(500, start=start))
        assert [each.address for each in soup.query(until=NOW_NS + 600 * SECOND)] == old[::2]


def test_a_budget_full_of_pins_refuses(path: Path, registry: Registry) -> None:
    """If nothing can go, a put says so, changes nothing, and works again once a pin is gone."""
    with closing(opened(path, registry, max_bytes=1 << 18)) as soup:
        pinned: list[str] = []

        def fill() -> None:
            while True:
                pinned.append(soup.put(os.urandom(2000), type="x"))
                soup.pin(pinned[-1], "me")

        with pytest.raises(StorageError, match="pinned"):
            fill()
        assert soup.count() == len(pinned)
        assert metric(registry, "errors", operation="budget") == 1
        assert not soup.gc().complete or soup.stats().bytes <= 1 << 18
        soup.unpin(pinned[3], "me")
        soup.put(os.urandom(1000), type="x")
        assert soup.count() == len(pinned)
        with pytest.raises(NotFoundError):
            soup.head(pinned[3])


def test_more_than_the_budget_at_once(path: Path) -> None:
    """It is refused without anything being deleted for it."""
    with closing(opened(path, max_bytes=1 << 18)) as soup:
        soup.put_many(batch(100))
        with pytest.raises(StorageError, match="no room"):
            soup.put(os.urandom(1 << 19), type="x")
        assert soup.count() == 100


@pytest.mark.parametrize("wrong", [0, 1000, 1.5, "1 GB", None])
def test_wrong_budgets(path: Path, wrong: Any) -> None:
    """One that has room for nothing is a mistake, and makes no file."""
    with pytest.raises(DeclarationError):
        opened(path, max_bytes=wrong)
    assert not path.exists()


def test_a_small_budget_is_not_emptied(path: Path) -> None:
    """One object too many costs a few of the oldest, and not as many as a transaction may delete."""
    with closing(opened(path, max_bytes=1 << 18)) as soup:
        soup.put_many(batch(300))
        before = soup.count()
        for start in range(300, 2000, 10):
            soup.put_many(batch(10, start=start))
            assert soup.count() > before * 0.6


def test_gc_goes_to_the_low_water_mark(path: Path) -> None:
    """A budget that was made smaller: a tenth of it is free afterwards, and the file has shrunk."""
    with closing(opened(path)) as soup:
        soup.put_many(batch(10_000))
    before = file_bytes(path)
    with closing(opened(path, max_bytes=1 << 20)) as soup:
        report = soup.gc()
        assert report.complete and report.expired == 0 and report.evicted == 10_000 - soup.count()
        assert soup.stats().bytes <= soup_gc.LOW_WATER * (1 << 20)
        assert report.freed_bytes == before - soup.stats().bytes
        assert soup.gc().evicted == 0
        assert file_bytes(path) == soup.stats().bytes < before / 3


def test_gc_in_so_many_seconds(path: Path) -> None:
    """When its time is over it says that there is more to do, and the next one does it."""
    clock = Clock()
    with closing(opened(path, clock=clock)) as soup:
        soup.put_many(batch(5000, ttl=0))
        clock.pass_by(10_000)
        first = soup.gc(max_seconds=0.0)
        assert first.expired < 5000 and not first.complete
        assert soup.gc().complete and soup.count() == 0


def test_a_step_of_gc_is_small(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction deletes more than 256 rows or, but for a single one, 2 MiB; after each is a pause."""
    clock = Clock()
    with closing(opened(path, clock=clock)) as soup:
        soup.put_many(batch(2000, ttl=0))
        soup.put_many(batch(20, 400_000, start=5000, ttl=0))
        clock.pass_by(10_000)
        steps: list[tuple[int, int]] = []
        pauses: list[float] = []
        delete = soup._gc._delete

        def watched(reason: str) -> int:
            before = soup.stats()
            count = delete(reason)
            after = soup.stats()
            steps.append((before.objects - after.objects, before.content_bytes - after.content_bytes))
            return count

        monkeypatch.setattr(soup._gc, "_delete", watched)
        monkeypatch.setattr(soup_gc.time, "sleep", pauses.append)
        assert soup.gc().expired == 2020
    assert sum(rows for rows, _ in steps) == 2020
    assert all(rows <= 256 for rows, _ in steps)
    assert all(size <= 2 << 20 or rows == 1 for rows, size in steps)
    assert len(pauses) >= len(steps) - 1 and set(pauses) == {soup_gc.PAUSE_S}


def test_a_step_ends_when_its_time_is_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the disk is: a row is deleted, and then the others get their turn."""
    clock = Clock()
    with closing(opened(path, clock=clock)) as soup:
        soup.put_many(batch(30, ttl=0))
        clock.pass_by(10_000)
        monkeypatch.setattr(soup_gc, "STEP_S", 0.0)
        assert soup._gc.make_room(0) and soup.count() == 29
        assert soup._gc.make_room(0) and soup.count() == 28


def test_writers_come_in_between(path: Path) -> None:
    """Another process that puts while a gc deletes gets through, many times."""
    clock = Clock()
    code = (
        "import sys; from vaultscope import Registry; from vaultscope.soup import SqliteSoup\n"
        "soup = SqliteSoup(sys.argv[1], registry=Registry())\n"
        "print('ready', flush=True); input()\n"
        "for n in range(50): soup.put(b'%d' % n, type='mine'); print(n, flush=True)\n"
    )
    with closing(opened(path, clock=clock)) as soup:
        soup.put_many(batch(20_000, 30, ttl=0))
        clock.pass_by(100_000)
        child = subprocess.Popen(
            [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdin is not None and child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.stdin.write("\n")
        child.stdin.flush()
        assert soup.gc().expired == 20_000
        assert child.stdout.read().split() == [str(n) for n in range(50)]
        assert child.wait(DEADLINE) == 0
        child.stdin.close()
        child.stdout.close()
        assert soup.count(type="mine") == 50


# ---- damage


def test_a_flipped_bit_is_reported(path: Path, registry: Registry) -> None:
    """A content that is not what its address says is never returned, and named by `verify`."""
    with closing(opened(path, registry)) as soup:
        fine = soup.put(b"fine" * 10, type="x")
        for content in (b"needle" * 10, b"long needle" * 500):
            address = soup.put(content, type="x")
            with closing(sqlite3.connect(path)) as other:
                stored = bytearray(
                    other.execute(
                        "SELECT content FROM objects WHERE address = ?", [bytes.fromhex(address[7:])]
                    ).fetchone()[0]
                )
                stored[len(stored) // 2] ^= 4
                other.execute(
                    "UPDATE objects SET content = ? WHERE address = ?", [stored, bytes.fromhex(address[7:])]
                )
                other.commit()
            with pytest.raises(DamagedError, match=address):
                soup.get(address)
            assert list(soup.verify()) == [address]
            assert soup.delete(address)
        assert soup.get(fine) == b"fine" * 10
        assert metric(registry, "errors", operation="damaged") == 2


def test_a_put_mends_what_is_damaged(path: Path) -> None:
    """The same content again puts it right; its type and attributes stay, and the later expiry."""
    with closing(opened(path)) as soup:
        address = soup.put(b"fine", type="first", attributes={"n": 1}, ttl=60.0)
        expires_ns = soup.head(address).expires_ns
        with closing(sqlite3.connect(path)) as other:
            other.execute("UPDATE objects SET content = ?, size = 3", [b"fin"])
            other.commit()
        assert soup.put(b"fine", type="second", ttl=30.0) == address
        assert soup.get(address) == b"fine"
        head = soup.head(address)
        assert (head.type, head.attributes, head.expires_ns) == ("first", {"n": 1}, expires_ns)
        assert list(soup.verify()) == []


@pytest.mark.parametrize("text", ["{", "[1]", '{"a":', "5"])
def test_damaged_attributes_are_reported(path: Path, text: str) -> None:
    """They are not taken for none."""
    with closing(opened(path)) as soup:
        address = soup.put(b"x", type="x", attributes={"a": 1})
        with closing(sqlite3.connect(path)) as other:
            other.execute("UPDATE objects SET attributes = ?", [text])
            other.commit()
        assert list(soup.verify()) == [address]
        for ask in (lambda: soup.head(address), lambda: list(soup.query())):
            with pytest.raises(DamagedError):
                ask()


def test_every_damaged_page_is_noticed(path: Path) -> None:
    """Whichever page is overwritten: each object is whole, missing with an error, or reported."""
    with closing(opened(path)) as soup:
        contents = {soup.put(os.urandom(900), type="x", attributes={"n": n}): n for n in range(60)}
    clean = path.read_bytes()
    for page in range(len(clean) // 4096):
        path.write_bytes(clean[: page * 4096] + os.urandom(4096) + clean[(page + 1) * 4096 :])
        whole = 0
        try:
            with closing(opened(path)) as soup:
                for address in contents:
                    try:
                        whole += len(soup.get(address)) == 900
                    except StorageError:
                        pass
                    except NotFoundError:  # an index that is readable, and wrong, would be the worst
                        pytest.fail(f"page {page}: an object has vanished")
        except StorageError:
            continue
        assert whole <= 60
    path.write_bytes(clean)
    with closing(opened(path)) as soup:
        assert list(soup.verify()) == []


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to look like one" * 100, b"SQLite format 3\x00"]
)
def test_a_file_that_is_no_database(path: Path, content: bytes) -> None:
    """It is refused, and stays as it is."""
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"a\.soup"):
        opened(path)
    assert path.read_bytes() == content


def test_another_ones_database(path: Path) -> None:
    """Not a byte of it is changed."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(StorageError, match="not a soup's"):
        opened(path)
    assert path.read_bytes() == before


def test_a_later_version(path: Path) -> None:
    """A soup that a later vaultscope has made is left alone."""
    opened(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version=99")
    with pytest.raises(StorageError, match="version 99"):
        opened(path)


def test_nobody_else_reads_it(path: Path) -> None:
    """A new file is its owner's alone, and so is what SQLite puts beside it; another stays as it is."""
    with closing(opened(path)) as soup:
        soup.put(b"x", type="x")
        assert {oct(each.stat().st_mode & 0o777) for each in path.parent.glob("a.soup*")} == {"0o600"}
    path.chmod(0o640)
    opened(path).close()
    assert path.stat().st_mode & 0o777 == 0o640


def test_an_empty_file_becomes_a_soup(path: Path) -> None:
    """As a process leaves one that was killed when it began."""
    path.write_bytes(b"")
    with closing(opened(path)) as soup:
        assert soup.count() == 0


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    """A folder, and a file in a folder that is not there."""
    for path in (tmp_path, tmp_path / "no" / "a.soup"):
        with pytest.raises(StorageError, match=path.name):
            opened(path)


def test_a_file_that_was_deleted(path: Path) -> None:
    """What is put afterwards is in a new file, and not in one that nobody can find."""
    with closing(opened(path)) as soup:
        soup.put(b"old", type="x")
        for name in path.parent.glob("a.soup*"):
            name.unlink()
        new = soup.put(b"new", type="x")
        assert soup.count() == 1
    with closing(opened(path)) as soup:
        assert soup.get(new) == b"new"


def test_a_full_disk(path: Path, registry: Registry) -> None:
    """A put fails, is counted, and works once there is room."""
    with closing(opened(path, registry)) as soup:
        soup.put_many(batch(10))
        with soup._file.write() as connection:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count={pages}")  # as SQLite answers when the disk is full
        with pytest.raises(StorageError, match="full") as caught:
            soup.put(b"x" * 10_000 + os.urandom(10_000), type="x")
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert metric(registry, "errors", operation="write") == 1
        assert soup.count() == 10
        soup.put(os.urandom(10_000), type="x")
        assert soup.count() == 11


def test_a_file_that_cannot_be_written(path: Path) -> None:
    """Who may only read it is told so."""
    opened(path).close()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.getuid() == 0:
                os.chmod(path.parent.parent, 0o755)
                os.setuid(65534)
            opened(path)
        except StorageError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    path.parent.chmod(0o755)


def test_a_lock_that_is_never_given_back(path: Path) -> None:
    """Another process that writes for too long: a put fails after the time that it was given."""
    with closing(opened(path, busy_seconds=0.01)) as soup, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"):
            soup.put(b"x", type="x")
        assert soup.count() == 0
        other.rollback()
        soup.put(b"x", type="x")


# ---- processes


def in_child(work: Any) -> int:
    """Forks; the status of a child that does this."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def test_a_fork_shares_no_connection(path: Path) -> None:
    """The parent closes; what the child puts afterwards is there all the same."""
    soup = opened(path)
    soup.put(b"parent", type="x")
    assert soup.count() == 1
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            soup.put(b"first", type="x")
            os.write(ready[1], b"1")
            os.read(go[0], 1)
            soup.put(b"second", type="x")
            status = 0
        finally:
            os._exit(status)
    os.read(ready[0], 1)
    assert soup.count() == 2
    soup.close()  # the last one of its process: SQLite would delete the log if it knew of no other
    os.write(go[1], b"1")
    assert os.waitpid(child, 0)[1] == 0
    for each in (*ready, *go):
        os.close(each)
    with closing(opened(path)) as soup:
        assert soup.count() == 3 and list(soup.verify()) == []


def test_forks_while_threads_are_at_work(path: Path) -> None:
    """Each child can use the soup, and nothing that the threads do fails."""
    failures: list[BaseException] = []
    stop = threading.Event()
    with closing(opened(path)) as soup:
        soup.put_many(batch(3000, 20))

        def work(me: int) -> None:
            n = 0
            try:
                while not stop.is_set():
                    n += 1
                    soup.put(f"{me} {n}".encode(), type="thread")
                    assert soup.count(attr("n") >= 0) == 3000
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(me,)) for me in range(2)]
        for thread in threads:
            thread.start()
        try:
            for n in range(10):
                assert in_child(lambda n=n: soup.put(b"child %d" % n, type="child")) == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join(DEADLINE)
        assert failures == []
        assert soup.count(type="child") == 10
        assert list(soup.verify()) == []


def test_a_fork_that_cannot_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a transaction of another thread the child gets no soup, and is told so; the parent's
    goes on."""
    monkeypatch.setattr(soup_file, "_FORK_WAIT_S", 0.01)
    entered, leave = threading.Event(), threading.Event()
    with closing(opened(path)) as soup:

        def hold() -> None:
            with soup._file.write() as connection:
                connection.execute("DELETE FROM objects")
                entered.set()
                assert leave.wait(DEADLINE)

        thread = threading.Thread(target=hold)
        thread.start()
        assert entered.wait(DEADLINE)

        def refused() -> None:
            with pytest.raises(StorageError, match="forked"):
                soup.put(b"x", type="x")

        try:
            assert in_child(refused) == 0
        finally:
            leave.set()
            thread.join(DEADLINE)
        soup.put(b"y", type="x")
        assert soup.count() == 1


def test_processes_share_the_file(path: Path) -> None:
    """Several put at once, the same and their own: nothing is lost, nothing is double."""

    def work(me: int) -> None:
        soup = opened(path)
        for n in range(40):
            soup.put_many([NewObject(f"{me} {n}".encode(), "own"), NewObject(b"%d" % n, "shared")])
        soup.close()

    children = []
    for me in range(3):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(me)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    with closing(opened(path)) as soup:
        assert (soup.count(type="own"), soup.count(type="shared")) == (120, 40)


@pytest.mark.parametrize("durability", ["process", "power"])
def test_what_was_acknowledged_outlives_kill(path: Path, durability: str) -> None:
    """`kill -9` at any moment: what a put has returned is there, and all of it is whole."""
    acknowledged: list[bytes] = []
    for round_ in range(8):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                soup = opened(path, durability=durability, max_bytes=1 << 30)
                n = 0
                while True:
                    names = [b"%d %d" % (round_, n + each) for each in range(1 + n % 7)]
                    soup.put_many([NewObject(name * 50, "x") for name in names])
                    os.write(writer, b"".join(name + b"\n" for name in names))
                    n += len(names)
            finally:
                os._exit(1)
        os.close(writer)
        lines = b""
        while lines.count(b"\n") < 20 + 13 * round_:
            lines += os.read(reader, 1 << 16)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while more := os.read(reader, 1 << 16):
            lines += more
        os.close(reader)
        acknowledged += lines.split(b"\n")[:-1]
    with closing(opened(path)) as soup:
        stored = {soup.get(each.address) for each in soup.query()}
        assert {name * 50 for name in acknowledged} <= stored
        assert list(soup.verify()) == []
        assert soup._file.rows("PRAGMA integrity_check") == [("ok",)]


# ---- the log


def test_the_log_is_bounded(path: Path) -> None:
    """However much is put, SQLite's log beside the file stays at some megabytes."""
    with closing(opened(path)) as soup:
        sizes = []
        for start in range(0, 60_000, 2000):
            soup.put_many(batch(2000, start=start))
            sizes.append(os.stat(f"{path}-wal").st_size)
        assert max(sizes) < 3 * soup_file._LOG_BYTES
    assert not Path(f"{path}-wal").exists()


def test_closing_leaves_one_file(path: Path) -> None:
    """The log is a part of the file by then."""
    soup = opened(path)
    soup.put_many(batch(100))
    assert soup.count() == 100
    soup.close()
    assert [each.name for each in path.parent.iterdir()] == ["a.soup"]


def test_two_that_make_the_file_at_once(path: Path) -> None:
    """One of them makes the tables, and both can use them."""
    barrier = threading.Barrier(4)
    made: list[SqliteSoup] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            barrier.wait(DEADLINE)
            made.append(opened(path))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert failures == [] and len(made) == 4
    made[0].put(b"x", type="x")
    assert [each.count() for each in made] == [1] * 4
    assert made[0]._file.rows("PRAGMA auto_vacuum") == [(2,)]
    for each in made:
        each.close()


def test_one_that_nobody_holds_is_asked_no_more(path: Path) -> None:
    """A soup that was dropped without a close costs the registry nothing, and breaks no snapshot."""
    registry = Registry()
    opened(path, registry)
    until(lambda: registry.snapshot() is not None and not registry._collectors)
    assert metric(registry, "objects") == 0
