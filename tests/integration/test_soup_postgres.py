"""The soup in PostgreSQL, with a real server: what only that store can do, or get wrong.

What every soup does is in test_soup_stores.py.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres import PostgresServer
from sinks import until

from vaultscope import DeclarationError, NotFoundError, Registry
from vaultscope.core.soup_query import All, Any_, Compare, Condition, Contains, Exists, Like, Not, name_of
from vaultscope.edge.commands import vaultscope
from vaultscope.edge.soup_postgres import PostgresSoup
from vaultscope.edge.soup_postgres_select import select_count, select_page
from vaultscope.edge.soup_select import Wanted
from vaultscope.edge.soup_token import Order
from vaultscope.errors import DamagedError, StorageError
from vaultscope.soup import NewObject, SoupObject, SoupWriter, attr, matches

NOW = 1_800_000_000_000_000_000
SECOND = 1_000_000_000
Open = Callable[..., PostgresSoup]


@pytest.fixture
def schema(postgres: PostgresServer) -> Iterator[str]:
    """A name, and whatever was made there is gone afterwards."""
    name = postgres.new_schema()
    yield name
    postgres.ask(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture
def open_soup(postgres: PostgresServer, schema: str) -> Iterator[Open]:
    """Opens the test's soup, as often as it likes."""
    opened: list[PostgresSoup] = []

    def open_soup(**options: Any) -> PostgresSoup:
        options = {"schema": schema, "registry": Registry(), "clock": lambda: NOW, **options}
        opened.append(PostgresSoup(postgres.conninfo, **options))
        return opened[-1]

    yield open_soup
    for soup in opened:
        soup.close()


@pytest.fixture
def soup(open_soup: Open) -> PostgresSoup:
    return open_soup()


def numbered(count: int, *, type: str = "t", start: int = 0) -> list[NewObject]:
    """Different objects, a second after each other."""
    return [
        NewObject(b"object %d" % i, type, {"n": i, "name": f"n{i}"}, NOW + i * SECOND)
        for i in range(start, start + count)
    ]


def plan(postgres: PostgresServer, schema: str, statement: tuple[str, list[Any]] | None) -> str:
    """How the server would run a statement."""
    assert statement is not None
    with psycopg.connect(postgres.conninfo, options=f"-c search_path={schema}") as connection:
        rows = connection.execute(f"EXPLAIN {statement[0]}", statement[1]).fetchall()  # type: ignore[arg-type]
    return "\n".join(row[0] for row in rows)


# ---- conditions mean what they mean in Python


TEXTS = st.one_of(
    st.sampled_from(
        ["", "a", "A", "ab", "aB", "b", "é", "z", "Ｚ", "🗄", "_", "%", "a%", "\\", "a\\", "1", "true"]
    ),
    st.text(max_size=4),
)
NUMBERS = st.one_of(
    st.sampled_from(
        [0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 0.1, 0.5, -0.0, 1e300, 5e-324, 2.0**63, 1e18]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**63 - 1),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.one_of(SCALARS, SCALARS, st.lists(SCALARS, max_size=3))
NAMES = st.sampled_from(["a", "b", "it's", "%s", "a.b", "$", "😀"])
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=4)
TESTED = st.one_of(
    NAMES, NAMES, st.sampled_from(["type", "size", "created", "expires", "address", "attr.size"])
)


@st.composite
def leaves(draw: st.DrawFn) -> Condition:
    """One test of one value."""
    name = draw(TESTED)
    kind = draw(st.sampled_from(["compare", "compare", "like", "contains", "exists"]))
    if kind == "like":
        return Like(name_of(name), draw(st.text("ab%_\\é", max_size=4)))
    if kind == "contains":
        return attr(name).contains(draw(SCALARS))
    if kind == "exists":
        return Exists(name_of(name))
    op = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
    value = draw(SCALARS if op in ("=", "!=") else st.one_of(NUMBERS, TEXTS))
    if name in ("created", "expires") and isinstance(value, str):
        return Not(Exists(name_of(name)))
    return attr(name).compare(op, value)


CONDITIONS = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Any_(tuple(parts))),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def property_soup(postgres: PostgresServer) -> Iterator[PostgresSoup]:
    """One for many examples, with an index of an attribute of two."""
    schema = postgres.new_schema()
    soup = PostgresSoup(
        postgres.conninfo, schema=schema, index=["a", "it's"], registry=Registry(), clock=lambda: NOW
    )
    yield soup
    soup.close()
    postgres.ask(f"DROP SCHEMA {schema} CASCADE")


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    objects=st.lists(
        st.tuples(ATTRIBUTES, st.integers(0, 3), st.sampled_from([None, 1.0, float("inf")])),
        min_size=1,
        max_size=6,
    ),
    condition=CONDITIONS,
    order=TESTED,
    backwards=st.booleans(),
    limit=st.integers(1, 3),
)
def test_the_reference_agrees(
    property_soup: PostgresSoup,
    objects: list[tuple[dict[str, Any], int, float | None]],
    condition: Condition,
    order: str,
    backwards: bool,
    limit: int,
) -> None:
    """What is found is what `matches` says, in the order that Python sorts by, in pages of any size; and
    attributes come back as they were put."""
    soup = property_soup
    for found in soup.query():
        soup.delete(found.address)
    soup.put_many(
        [
            NewObject(b"%d" % i, f"type-{seconds % 2}", attributes, NOW + seconds * SECOND, ttl)
            for i, (attributes, seconds, ttl) in enumerate(objects)
        ]
    )
    everything = list(soup.query())
    assert len(everything) == len(objects)
    wanted = [each for each in everything if matches(condition, each)]
    assert list(soup.query(condition)) == wanted
    assert soup.count(condition) == len(wanted)
    sign = "-" if backwards else ""
    ordered = sorted(
        (each for each in everything if _sortable(order, each)),
        key=lambda each: _sort_key(order, each),
        reverse=backwards,
    )
    if backwards:  # `everything` is in the order of being created and put; level ones go backwards, too
        ordered = sorted(
            (each for each in reversed(everything) if _sortable(order, each)),
            key=lambda each: _sort_key(order, each),
            reverse=True,
        )
    paged: list[SoupObject] = []
    after = None
    while True:
        results = soup.query(order=f"{sign}{order}", limit=limit, after=after)
        page = list(results)
        paged += page
        after = results.after
        if len(page) < limit:
            break
    assert paged == ordered


def _sortable(order: str, found: SoupObject) -> bool:
    value = name_of(order).of(found)
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def _sort_key(order: str, found: SoupObject) -> tuple[bool, Any]:
    value = name_of(order).of(found)
    return isinstance(value, str), value


@pytest.mark.parametrize(
    "hostile", ["'; DROP TABLE objects; --", "%s", "%(a)s", "$1", "\\", "\\'", "{}", "a" * 4096, "界" * 4096]
)
def test_hostile_text(open_soup: Open, hostile: str) -> None:
    """Whatever a value says, it is a value, in an index, too; so is a name that has no quote in it."""
    soup = open_soup(index=["x"])
    name = hostile.replace("\\", "/")[:100]
    address = soup.put(b"1", type="t", attributes={"x": hostile, name: 1, "y": [hostile]})
    soup.put(b"2", type="t", attributes={"x": hostile[:-1], "z": 1})
    for condition in (
        attr("x") == hostile,
        Compare(name_of("x"), ">=", hostile),
        attr(name) == 1,
        attr(name).exists(),
        attr("y").contains(hostile),
        attr("x").contains(hostile),
        Contains(name_of("x"), hostile),
    ):
        assert [found.address for found in soup.query(condition)] == [address]
    assert soup.head(address).attributes["x"] == hostile
    assert [found.attributes["x"] for found in soup.query(order="-x")] == [hostile, hostile[:-1]]


# ---- indexes


def test_a_query_reads_what_it_returns(postgres: PostgresServer, open_soup: Open, schema: str) -> None:
    """By type and time, in either order, from anywhere; by an attribute that has an index, too."""
    soup = open_soup(index=["name", "n"])
    for start in range(0, 20_000, 1000):
        soup.put_many(numbered(1000, start=start, type=f"t{start // 1000 % 4}"))
    postgres.ask(f"VACUUM ANALYZE {schema}.objects")
    middle = NOW + 10_000 * SECOND

    def page(where: Condition | None = None, *types: str, order: str = "created", key: Any = None) -> str:
        wanted = Wanted(where, types, NOW, middle, ["name", "n"])
        of_text = order.endswith("name")
        return plan(postgres, schema, select_page(wanted, Order.of(order), key, 64, of_text=of_text))

    def sorts(found: str) -> bool:
        return bool(re.search(r"->  Sort |^Sort ", found, re.MULTILINE))

    for found in (
        page(None, "t1"),
        page(None, "t1", order="-created"),
        page(None, "t1", key=(NOW + 5, 1)),
        page(),
        page(order="n", key=(5, NOW, 1)),
        page(order="name"),
        page(order="name", key=("n77", NOW, 1)),
        plan(postgres, schema, select_count(Wanted(attr("name") == "n77", ("t1",), None, None))),
    ):
        assert "Seq Scan" not in found and not sorts(found), found
    for found in (page(None, "t1"), page(None, "t1", "t2"), page(None, "t1", key=(NOW + 5, 1))):
        assert "objects_type" in found and "objects_created" not in found, found
    for found in (
        page(attr("name") == "n77"),
        page(attr("name") == "n77", "t0"),
        page((attr("level") == 7) & (attr("n") == 77), "t0"),
        page((attr("n") > 19_990) & (attr("n") < 20_000.5)),
    ):
        assert re.search(r'Scan (using|on) "(number n|text name)"', found), found  # a few are sorted


def test_an_attribute_gets_its_index_later(postgres: PostgresServer, open_soup: Open, schema: str) -> None:
    """A vault that names an attribute makes its indexes, one that another began and did not end again; any
    number may begin at once, and a long name is one, too."""
    long = "x" * 100
    open_soup().put_many(numbered(10))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: open_soup(index=["n", long, long + "y"]), range(8)))
    open_soup(index=["n", long, long + "y"])
    names = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = %s::regclass"
    made = postgres.ask(names, f"{schema}.objects")
    assert len(made) == 4 + 6 and all(valid for _, valid in made)
    postgres.ask(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", f'{schema}."number n"'
    )
    open_soup(index=["n"])
    assert sorted(postgres.ask(names, f"{schema}.objects")) == sorted(made)


# ---- the schema


def test_who_comes_first_makes_the_tables(postgres: PostgresServer, open_soup: Open, schema: str) -> None:
    """Many at once, and each can put; nothing is made twice."""
    with ThreadPoolExecutor(12) as pool:
        soups = list(pool.map(lambda _: open_soup(), range(12)))
    addresses = [each.put(b"%d" % i, type="t") for i, each in enumerate(soups)]
    assert {found.address for found in soups[0].query()} == set(addresses)
    assert postgres.ask(f"SELECT version FROM {schema}.about") == [(1,)]


def test_schemas_are_separate_soups(postgres: PostgresServer, soup: PostgresSoup) -> None:
    """What is in one is not in another, whatever its name."""
    soup.put(b"1", type="t")
    name = 'Odd "name"; --'
    with pytest.raises(DeclarationError, match="schema"):
        PostgresSoup(postgres.conninfo, schema="x" * 64)
    other = PostgresSoup(postgres.conninfo, schema=name, registry=Registry())
    try:
        assert other.count() == 0
        other.put(b"2", type="t")
        assert (soup.count(), other.count()) == (1, 1)
    finally:
        other.close()
        postgres.ask('DROP SCHEMA "Odd ""name""; --" CASCADE')


def test_a_put_mends_what_is_damaged(postgres: PostgresServer, soup: PostgresSoup, schema: str) -> None:
    """The same content again puts it right; its type and attributes stay, and the later expiry."""
    address = soup.put(b"fine", type="first", attributes={"n": 1}, ttl=60.0)
    expires_ns = soup.head(address).expires_ns
    postgres.ask(f"UPDATE {schema}.objects SET content = 'fin', size = 3")
    assert list(soup.verify()) == [address]
    assert soup.put(b"fine", type="second", ttl=30.0) == address
    assert soup.get(address) == b"fine"
    head = soup.head(address)
    assert (head.type, head.attributes, head.expires_ns) == ("first", {"n": 1}, expires_ns)


def test_another_version(postgres: PostgresServer, open_soup: Open, schema: str) -> None:
    """Tables of a version that is not ours are left alone."""
    open_soup()
    postgres.ask(f"UPDATE {schema}.about SET version = 7")
    with pytest.raises(StorageError, match="version 7"):
        open_soup()


def test_an_encoding_without_all_characters(postgres: PostgresServer) -> None:
    """A database that is not in UTF-8 is refused: it could not compare text as others do."""
    postgres.ask(
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER 'libc' TEMPLATE template0"
    )
    try:
        with pytest.raises(StorageError, match="LATIN1"):
            PostgresSoup(postgres.conninfo.replace("dbname=postgres", "dbname=latin"))
    finally:
        postgres.ask("DROP DATABASE latin WITH (FORCE)")


def test_a_reader_need_not_write(postgres: PostgresServer, open_soup: Open, schema: str) -> None:
    """A role that may only read can read; if it puts, the error says why."""
    address = open_soup().put(b"1", type="t")
    postgres.ask("CREATE ROLE reader LOGIN")
    try:
        postgres.ask(f"GRANT USAGE ON SCHEMA {schema} TO reader")
        postgres.ask(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader")
        reader = PostgresSoup(
            postgres.conninfo.replace("user=vault", "user=reader"), schema=schema, registry=Registry()
        )
        assert reader.get(address) == b"1" and reader.stats().objects == 1
        with pytest.raises(StorageError, match="permission denied"):
            reader.put(b"2", type="t")
        reader.close()
    finally:
        postgres.ask("DROP OWNED BY reader")
        postgres.ask("DROP ROLE reader")


def test_what_is_no_connection(postgres: PostgresServer) -> None:
    """A text that describes none is the caller's mistake, a server that is not there is not."""
    with pytest.raises(DeclarationError):
        PostgresSoup("no conninfo at all")
    with pytest.raises(StorageError) as caught:
        PostgresSoup(f"host={postgres.folder}/nowhere password=secret")
    assert "secret" not in str(caught.value)
    with pytest.raises(StorageError, match="nobody"):
        PostgresSoup(f"{postgres.url}&dbname=nobody")


def test_without_psycopg(postgres: PostgresServer) -> None:
    """The door is open without psycopg, which is not loaded before it is needed; then it is said how to get
    it."""
    code = (
        "import sys; import vaultscope.soup as door; assert 'psycopg' not in sys.modules\n"
        "sys.modules['psycopg'] = None\n"
        "try: door.PostgresSoup('')\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "vaultscope[postgres]" in said.stdout


# ---- connections


def test_nothing_is_held_between_pages(postgres: PostgresServer, soup: PostgresSoup) -> None:
    """A query that is read half holds no transaction, and sees what comes meanwhile behind its place."""
    soup.put_many(numbered(200))
    results = soup.query()
    first = [next(results) for _ in range(70)]
    states = postgres.ask("SELECT state FROM pg_stat_activity WHERE application_name = 'vaultscope'")
    assert states and {state for (state,) in states} == {"idle"}
    soup.put_many(numbered(10, start=1000))
    assert len(first) + len(list(results)) == 210


def hang_up(postgres: PostgresServer) -> None:
    """Ends every session of a soup."""
    ours = "application_name = 'vaultscope'"
    postgres.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")
    until(lambda: postgres.ask(f"SELECT count(*) FROM pg_stat_activity WHERE {ours}") == [(0,)])


def test_sessions_that_were_ended_while_idle(postgres: PostgresServer, soup: PostgresSoup) -> None:
    """They are not noticed: the next call has another one."""
    address = soup.put(b"1", type="t")
    for _ in range(3):
        hang_up(postgres)
        assert soup.get(address) == b"1"


def test_a_session_that_ends_in_the_middle(postgres: PostgresServer, soup: PostgresSoup, schema: str) -> None:
    """A put whose session ends while it waits raises StorageError; nothing of it is there, and the next call
    connects anew."""
    with psycopg.connect(postgres.conninfo) as other, ThreadPoolExecutor(1) as pool:
        other.execute(f"LOCK TABLE {schema}.objects")
        waiting = pool.submit(soup.put_many, numbered(5))
        until(lambda: postgres.ask("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
        hang_up(postgres)
        with pytest.raises(StorageError) as caught:
            waiting.result(60)
        assert isinstance(caught.value.__cause__, psycopg.Error)
    assert soup.count() == 0
    assert len(soup.put_many(numbered(5))) == soup.count() == 5


def test_a_server_that_stops_and_starts(postgres: PostgresServer, soup: PostgresSoup) -> None:
    """As long as it is away there are StorageErrors; once it is back, all is there that was put, though it
    did not end properly."""
    address = soup.put(b"1", type="t")
    postgres.stop(signal.SIGQUIT)
    try:
        for _ in range(2):
            with pytest.raises(StorageError):
                soup.get(address)
            with pytest.raises(StorageError):
                soup.put(b"2", type="t")
    finally:
        postgres.start()
    assert soup.get(address) == b"1"
    assert soup.count() == 1
    assert soup.put(b"2", type="t") and soup.count() == 2


def test_a_statement_has_its_time(postgres: PostgresServer, open_soup: Open, schema: str) -> None:
    """A server that does not get on with it is waited for no longer than was said."""
    open_soup()
    soup = open_soup(statement_seconds=0.2)
    with psycopg.connect(postgres.conninfo) as other:
        other.execute(f"LOCK TABLE {schema}.objects")
        with pytest.raises(StorageError, match="timeout"):
            soup.put(b"1", type="t")
    assert soup.put(b"1", type="t")


def test_connections_are_few(postgres: PostgresServer, open_soup: Open, schema: str) -> None:
    """Threads share them and wait for each other; who waits too long is told."""
    soup = open_soup(connections_max=2)
    with ThreadPoolExecutor(8) as pool:
        addresses = list(pool.map(lambda i: soup.put(b"%d" % i, type="t"), range(200)))
    assert soup.count() == len(set(addresses)) == 200
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vaultscope'"
    assert postgres.ask(ours) <= [(2,)]
    small = open_soup(connections_max=1, statement_seconds=0.3)
    with small._pool.borrowed(), pytest.raises(StorageError, match="in use"):
        small.count()
    assert small.count() == 200


def test_closing(soup: PostgresSoup, postgres: PostgresServer) -> None:
    """A soup that is closed has no sessions, and says that it is closed; closing it again does nothing."""
    results = soup.query()
    soup.put(b"1", type="t")
    soup.close()
    soup.close()
    for call in (soup.count, lambda: soup.put(b"2", type="t"), lambda: next(results), soup.gc):
        with pytest.raises(StorageError, match="closed"):
            call()
    until(lambda: postgres.ask("SELECT 1 FROM pg_stat_activity WHERE application_name = 'vaultscope'") == [])


def test_fork(soup: PostgresSoup) -> None:
    """A child puts through sessions of its own; the parent's live on when it ends, however it ends."""
    address = soup.put(b"parent", type="t")
    for how in range(3):
        child = os.fork()
        if child == 0:
            try:
                soup.put(b"child %d" % how, type="t")
                assert soup.get(address) == b"parent"
                if how == 1:
                    soup.close()
                if how == 2:
                    del soup
                    import gc

                    gc.collect()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert soup.get(address) == b"parent"
    assert soup.count() == 4


def test_fork_while_threads_put(soup: PostgresSoup) -> None:
    """Forking in the middle of other threads' puts: neither side waits for what will never come."""
    stop = threading.Event()

    def put() -> None:
        while not stop.is_set():
            soup.put(os.urandom(16), type="thread")

    with ThreadPoolExecutor(4) as pool:
        putting = [pool.submit(put) for _ in range(4)]
        try:
            for i in range(10):
                child = os.fork()
                if child == 0:
                    try:
                        soup.put(b"child %d" % i, type="child")
                        os._exit(0)
                    finally:
                        os._exit(1)
                assert os.waitpid(child, 0)[1] == 0
        finally:
            stop.set()
        for each in putting:
            each.result(60)
    assert soup.count(type="child") == 10
    assert list(soup.verify()) == []


# ---- many vaults


def test_the_same_objects_in_any_order(open_soup: Open) -> None:
    """Who put the same objects in different orders, at once, do not get stuck; each is there once, with the
    latest expiry."""
    soups = [open_soup() for _ in range(4)]
    contents = [b"%d" % i for i in range(300)]

    def put(i: int) -> None:
        order = random.Random(i)
        for round_ in range(5):
            mine = order.sample(contents, len(contents))
            soups[i % 4].put_many([NewObject(each, "t", {}, NOW, ttl=100.0 * (i + round_)) for each in mine])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(8)))
    found = list(soups[0].query())
    assert len(found) == 300
    assert {each.expires_ns for each in found} == {NOW + 1100 * SECOND}


def test_all_or_none(postgres: PostgresServer, soup: PostgresSoup, schema: str) -> None:
    """A batch of which one row is refused leaves nothing, not even what was in a statement before it."""
    postgres.ask(f"ALTER TABLE {schema}.objects ADD CHECK (created_ns < {NOW + 2999 * SECOND})")
    with pytest.raises(StorageError, match="check"):
        soup.put_many(numbered(3000))
    assert soup.count() == 0
    assert len(soup.put_many(numbered(2999))) == 2999
    assert soup.count() == 2999


def test_the_order_of_one_batch(soup: PostgresSoup) -> None:
    """Objects that are level come as they were put, across statements and batches."""
    contents = [b"%d" % (i * 7919 % 3001) for i in range(3001)]
    addresses = soup.put_many([NewObject(each, "t", {}, NOW) for each in contents])
    addresses.append(soup.put(b"last", type="t", created_ns=NOW))
    assert [found.address for found in soup.query()] == addresses
    assert [found.address for found in soup.query(order="-created")] == addresses[::-1]


def test_gc_by_many(open_soup: Open) -> None:
    """Vaults that gc at once delete each object once, no more than one would alone, and no pinned one."""
    clock = [NOW]
    soups = [open_soup(max_bytes=400_000, clock=lambda: clock[0]) for _ in range(4)]
    keeper = open_soup()  # with a budget that is not reached
    old = keeper.put_many(
        [NewObject(b"old %d" % i, "old", {}, NOW - 10 * SECOND, ttl=1) for i in range(3000)]
    )
    new = keeper.put_many([NewObject(b"new %d" % i, "new", {}, NOW + i) for i in range(3000)])
    for address in (old[7], new[7]):
        keeper.pin(address, "me")
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda each: each.gc(), soups))
    left = [found.address for found in keeper.query()]
    assert sum(report.expired for report in reports) == 2999
    assert sum(report.evicted for report in reports) == 3000 - (len(left) - 1)
    assert left == [old[7], new[7], *new[-(len(left) - 2) :]]  # the newest, and what is pinned
    size = 360 + 8
    assert 0.85 * 400_000 < len(left) * size < 400_000
    assert [report.complete for report in reports if report.evicted] != []
    assert soups[0].gc().complete


def test_pins_race_gc(open_soup: Open) -> None:
    """An object that could be pinned was pinned: gc takes either the object or nothing."""
    soup = open_soup()
    addresses = soup.put_many([NewObject(b"%d" % i, "t", {}, NOW - 10 * SECOND, ttl=1) for i in range(1500)])
    pinned: list[str] = []

    def pin() -> None:
        for address in reversed(addresses):
            try:
                soup.pin(address, "me")
            except NotFoundError:
                continue
            pinned.append(address)

    with ThreadPoolExecutor(3) as pool:
        pinning = pool.submit(pin)
        until(lambda: len(pinned) > 20)
        for each in [pool.submit(soup.gc) for _ in range(2)]:
            each.result(60)
        pinning.result(60)
    assert len(pinned) > 20
    assert all(soup.head(address).pinned for address in pinned)
    assert soup.count() == len(pinned)


def test_a_put_makes_room(open_soup: Open) -> None:
    """The rows stay about within the budget, however much is put, and it is the oldest that go; what is
    larger than the budget is refused."""
    registry = Registry()
    soup = open_soup(max_bytes=1 << 20, registry=registry)
    newest = ""
    for i in range(400):
        newest = soup.put(random.Random(i).randbytes(10_000), type="t", created_ns=NOW + i)
    found = list(soup.query())
    assert found[-1].address == newest
    assert [each.created_ns for each in found] == list(range(NOW + 400 - len(found), NOW + 400))
    assert 0.8 < len(found) * 12_500 / (1 << 20) < 1.05
    evicted = registry.snapshot().value("vaultscope.soup.evictions", soup=soup.path, reason="budget")
    assert evicted == 400 - len(found)
    with pytest.raises(StorageError, match="budget"):
        soup.put(random.Random(0).randbytes(1 << 20), type="t")


def test_many_put_into_a_full_soup(open_soup: Open) -> None:
    """Vaults that make room at the same time are in nobody's way: every put is done, and the soup is about
    within its budget."""
    soups = [open_soup(max_bytes=1 << 20) for _ in range(4)]

    def put(i: int) -> str:
        order = random.Random(i)
        for _ in range(60):
            batch = [NewObject(order.randbytes(300), "t") for _ in range(20)]
            last = soups[i % 4].put_many(batch)[-1]
        return last

    with ThreadPoolExecutor(8) as pool:
        addresses = list(pool.map(put, range(8)))
    row = 300 + 360
    assert 0.7 < soups[0].count() * row / (1 << 20) < 1.3
    assert soups[0].gc().complete
    assert soups[0].count() * row <= 1 << 20
    assert addresses[-1] in [found.address for found in soups[0].query()]


def test_a_put_where_all_is_pinned(open_soup: Open) -> None:
    """It is refused, as long as it is so."""
    soup = open_soup(max_bytes=1 << 20)
    addresses = [soup.put(random.Random(i).randbytes(10_000), type="t") for i in range(80)]
    for address in addresses:
        soup.pin(address, "me")
    for _ in range(2):
        with pytest.raises(StorageError, match="pinned"):
            soup.put(random.Random(1000).randbytes(200_000), type="t")
    for address in addresses[:20]:
        soup.unpin(address, "me")
    assert soup.put(random.Random(1000).randbytes(200_000), type="t")
    assert soup.count() < 80


def test_damage(postgres: PostgresServer, soup: PostgresSoup, schema: str) -> None:
    """Content that was changed in the database is reported, not returned; `verify` names it."""
    good, short, long = (
        soup.put(b"good", type="t"),
        soup.put(b"short", type="t"),
        soup.put(b"long" * 500, type="t"),
    )
    for address in (short, long):
        postgres.ask(
            f"UPDATE {schema}.objects SET content = set_byte(content, 3, get_byte(content, 3) # 1) "
            "WHERE address = %s::bytea",
            bytes.fromhex(address[7:]),
        )
        with pytest.raises(DamagedError):
            soup.get(address)
    assert soup.get(good) == b"good"
    assert sorted(soup.verify()) == sorted([short, long])


def test_large_content(soup: PostgresSoup) -> None:
    """Contents of many megabytes, several in a batch, that compress and that do not."""
    contents = [random.Random(i).randbytes(6 << 20) for i in range(4)] + [b"\0" * (16 << 20), b""]
    addresses = soup.put_many([NewObject(each, "t") for each in contents])
    assert [soup.get(address) for address in addresses] == contents
    assert list(soup.verify()) == []


def test_metrics_without_the_server(postgres: PostgresServer, open_soup: Open) -> None:
    """A scrape does not ask the server: it shows what was last seen there. Failures are counted."""
    registry = Registry()
    soup = open_soup(registry=registry)
    soup.put_many(numbered(10))
    soup.gc()
    name = soup.path
    postgres.stop()
    try:
        with pytest.raises(StorageError):
            soup.count()
        snapshot = registry.snapshot()
    finally:
        postgres.start()
    assert snapshot.value("vaultscope.soup.objects", soup=name) == 10
    assert snapshot.value("vaultscope.soup.bytes", soup=name) > 3600
    assert snapshot.value("vaultscope.soup.puts", soup=name) == 10
    assert snapshot.value("vaultscope.soup.errors", soup=name, operation="database") >= 1


# ---- what is built on it


def test_a_writer_outlives_the_server(postgres: PostgresServer, open_soup: Open) -> None:
    """What is put while the server is away waits, and is there once it is back: nothing is lost, nothing is
    there twice."""
    registry = Registry()
    soup = open_soup(registry=registry)
    writer = SoupWriter(soup, flush_seconds=0.01, registry=registry, gc_seconds=None)
    addresses = [writer.put(b"before %d" % i, type="t") for i in range(100)]
    assert writer.flush(60)
    postgres.stop(signal.SIGQUIT)
    try:
        addresses += [writer.put(b"during %d" % i, type="t") for i in range(100)]
        until(lambda: list(registry.snapshot()["vaultscope.soup.errors"]))
    finally:
        postgres.start()
    addresses += [writer.put(b"after %d" % i, type="t") for i in range(100)]
    assert writer.flush(60) and writer.close(60)
    assert sorted(found.address for found in soup.query()) == sorted(addresses)


def test_the_command_line(postgres: PostgresServer) -> None:
    """A URL is a soup for every command."""
    name = postgres.new_schema()
    separator = "&" if "?" in postgres.url else "?"
    url = f"{postgres.url}{separator}options=-csearch_path%3Dpublic"
    soup = PostgresSoup(postgres.conninfo, schema="vaultscope", registry=Registry())

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(vaultscope, arguments, env={"COLUMNS": "100", "VAULTSCOPE_SOUP": url})
        assert result.exit_code == 0, result.output
        return result.stdout

    try:
        record = {"time": "2027-01-15T08:00:00.000Z", "level": "error", "message": name}
        expired = soup.put(record, type="log-entry", attributes={"level": "error"}, created_ns=NOW, ttl=0)
        spans = [
            {"trace_id": "ab" * 16, "span_id": "1", "start_ns": NOW, "duration_ns": 5, "name": "cas.put"}
        ]
        soup.put({"trace_id": "ab" * 16, "spans": spans}, type="trace", attributes={"trace_id": "ab" * 16})
        assert run("query", "level = error", "--addresses").split() == [expired]
        assert run("query", url, "--count").split() == ["2"]
        assert run("get", url, expired[7:20]) == run("get", expired)
        assert name in run("logs", url) and name in run("logs", url, "-n", "1")
        assert "cas.put" in run("trace", "abab", url)
        soup._clock = lambda: NOW  # the command's clock is the machine's: what has expired there has here
        soup.put(b"old", type="t", created_ns=5, ttl=1)
        assert run("gc", "--dry-run").startswith("1 of 3 objects have expired")
        assert run("gc").startswith("1 expired, 0 evicted")
        soup.put_many([NewObject(random.Random(i).randbytes(3000), "t", {}, NOW + i) for i in range(200)])
        assert run("gc", "--max-bytes", "256KiB").startswith("0 expired, 1")
    finally:
        soup.close()
        postgres.ask("DROP SCHEMA vaultscope CASCADE")
