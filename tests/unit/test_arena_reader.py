"""ArenaReader, what is refused as an arena and with which words, and VAULTSCOPE_ARENA."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from peer import Peer, PeerError

from vaultscope import ArenaError, ArenaProcess, ArenaReader, Registry
from vaultscope.edge.http import MetricsServer

TIMEOUT = 30.0


def make(path: Path | str | bytes, total: int = 1) -> None:
    """An arena with a counter `c`; its process is dead when this returns."""
    with Peer(f"Registry(arena={os.fspath(path)!r}).counter('c').inc({total})"):
        pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.arena"
    make(path)
    return path


# ---- reading ----


def test_after_all_are_dead(path: Path) -> None:
    """A reader finds what was counted by processes that were killed since."""
    reader = ArenaReader(path)
    assert reader.snapshot().value("c") == 1
    assert reader.processes() == ()


def test_live(path: Path) -> None:
    """A reader follows processes that count and declare, and is none of them."""
    reader = ArenaReader(path, clock_ns=lambda: 5)
    with Peer(f"r = Registry(arena={str(path)!r}); c = r.counter('c'); c.inc()") as peer:
        assert reader.snapshot().value("c") == 2
        peer("c.inc(), r.gauge('later').set(3)")
        assert (reader.snapshot().value("c"), reader.snapshot().value("later")) == (3, 3)
        assert reader.processes() == (ArenaProcess(pid=peer.pid, stripes=1, is_self=False),)
    assert reader.processes() == ()
    assert reader.snapshot().time_ns == 5


def test_the_file_stays_as_it_was(path: Path) -> None:
    """Reading makes no file, and does not change what is counted in one."""
    before = path.stat().st_size
    for _ in range(3):
        assert ArenaReader(path).snapshot().value("c") == 1
    assert path.stat().st_size == before
    with pytest.raises(ArenaError):
        ArenaReader(path.with_name("missing"))
    assert not path.with_name("missing").exists()


def test_readers_give_back_their_place(path: Path) -> None:
    """A process may open and drop readers without end, though it has room for few arenas at once."""
    others = [path.with_name(str(i)) for i in range(3)]
    for other in others:
        make(other)
    for i in range(60):
        assert ArenaReader(others[i % 3]).snapshot().value("c") == 1


def test_a_reader_beside_a_registry(path: Path) -> None:
    """In a process that reads an arena nobody can share it, until the reader is gone; the other way about
    both work."""
    with Peer(f"p = {str(path)!r}; reader = ArenaReader(p)") as peer:
        with pytest.raises(PeerError, match="was opened to be read by this process before"):
            peer("Registry(arena=p)")
        peer("del reader; gc.collect()")
        peer("r = Registry(arena=p); reader = ArenaReader(p); r.counter('c').inc()")
        assert peer("reader.snapshot().value('c')") == 2
        assert peer("[p.is_self for p in reader.processes()]") == [True]


# ---- another file in its place ----


def test_replaced(path: Path) -> None:
    """When another arena takes the file's place, the next snapshot is of that."""
    reader = ArenaReader(path)
    assert reader.snapshot().value("c") == 1
    make(path.with_name("new"), 70)
    path.with_name("new").rename(path)
    assert reader.snapshot().value("c") == 70


def test_removed(path: Path) -> None:
    """When the file is removed, the reader reads on in what was there; one that comes later is found."""
    with Peer(f"c = Registry(arena={str(path)!r}).counter('c')") as peer:
        reader = ArenaReader(path)
        path.unlink()
        peer("c.inc()")
        assert reader.snapshot().value("c") == 2
        make(path, 70)
        assert reader.snapshot().value("c") == 70


def test_replaced_by_garbage(path: Path) -> None:
    """What is no arena is refused at each snapshot, and a scrape answered with 500; all is well again with
    the next good arena."""
    reader = ArenaReader(path)
    with MetricsServer(reader) as server:

        def scrape() -> bytes:
            with urlopen(server.url, timeout=TIMEOUT) as answer:
                return bytes(answer.read())

        assert b"\nc_total 1\n" in scrape()
        path.with_name("garbage").write_bytes(b"?" * 10_000)
        path.with_name("garbage").rename(path)
        for _ in range(2):
            with pytest.raises(ArenaError, match=f"{re.escape(str(path))}: is no arena"):
                reader.snapshot()
            with pytest.raises(HTTPError, match="500"):
                scrape()
        assert server.failures == 2
        make(path.with_name("good"), 70)
        path.with_name("good").rename(path)
        assert b"\nc_total 70\n" in scrape()


# ---- what is refused ----


def missing_directory(path: Path) -> Path:
    return path / "no" / "file"


def directory(path: Path) -> Path:
    return path


def foreign(path: Path) -> Path:
    (path / "foreign").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(10_000))
    return path / "foreign"


def short(path: Path) -> Path:
    (path / "short").write_bytes(b"\x89vsa")
    return path / "short"


def truncated(path: Path) -> Path:
    make(path / "truncated")
    os.truncate(path / "truncated", 1 << 20)
    return path / "truncated"


def header_alone(path: Path) -> Path:
    make(path / "header")
    os.truncate(path / "header", 100)
    return path / "header"


def other_version(path: Path) -> Path:
    make(path / "version")
    with (path / "version").open("r+b") as file:
        file.seek(8)
        file.write(b"\xff")
    return path / "version"


def bad_checksum(path: Path) -> Path:
    make(path / "checksum")
    with (path / "checksum").open("r+b") as file:
        file.seek(24)
        file.write(b"\xff")
    return path / "checksum"


def pipe(path: Path) -> Path:
    os.mkfifo(path / "pipe")
    return path / "pipe"


REFUSED: list[tuple[Callable[[Path], Path], str]] = [
    (missing_directory, "cannot be opened: No such file or directory"),
    (directory, "cannot be opened: Is a directory"),
    (foreign, "is no arena; it is left as it is"),
    (short, "is no arena; it is left as it is"),
    (truncated, "is truncated: 1048576 bytes of "),
    (header_alone, "is no arena|is truncated"),
    (other_version, "has format 255, and this is vaultscope .*, which knows format"),
    (bad_checksum, "its header is corrupt"),
    (pipe, "is no regular file"),
]


def beginning(path: Path) -> tuple[int, bytes]:
    """The length of a file and its first bytes; an arena has gigabytes of holes behind them."""
    if not path.is_file():
        return 0, b""
    with path.open("rb") as file:
        return path.stat().st_size, file.read(1 << 16)


@pytest.mark.parametrize("open_arena", [lambda path: Registry(arena=path), ArenaReader])
@pytest.mark.parametrize(("kind", "words"), REFUSED, ids=[kind.__name__ for kind, _ in REFUSED])
def test_refused(
    tmp_path: Path, kind: Callable[[Path], Path], words: str, open_arena: Callable[[Path], object]
) -> None:
    """What is no arena is left as it is, by who shares and who reads; the message names it and says why."""
    path = kind(tmp_path)
    before = beginning(path)
    for _ in range(20):  # more often than there is room for arenas: a refusal takes no place
        with pytest.raises(ArenaError, match=f"^{re.escape(str(path))}: (?:{words})"):
            open_arena(path)
    assert beginning(path) == before


def test_a_missing_arena_cannot_be_read(tmp_path: Path) -> None:
    """A reader wants an arena that is there, and an empty file is none."""
    with pytest.raises(ArenaError, match=r"a: cannot be opened: No such file or directory"):
        ArenaReader(tmp_path / "a")
    (tmp_path / "a").touch()
    with pytest.raises(ArenaError, match=r"a: is no arena"):
        ArenaReader(tmp_path / "a")


@pytest.mark.parametrize("open_arena", [lambda path: Registry(arena=path), ArenaReader])
@pytest.mark.parametrize("path", ["/tmp/a\0b", b"/tmp/a\0b"])
def test_a_path_with_a_nul(path: str, open_arena: Callable[[str], object]) -> None:
    """A NUL ends no path early."""
    with pytest.raises(ArenaError, match="a path has no NUL"):
        open_arena(path)


@pytest.mark.parametrize("path", ["", b""])
def test_an_empty_path(path: str) -> None:
    """An empty path names no file."""
    with pytest.raises(ArenaError, match="an arena needs the name of a file"):
        Registry(arena=path)


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    """A path is not cut."""
    with pytest.raises(ArenaError, match="too long"):
        Registry(arena=f"{tmp_path}/{'x' * 5000}")


@pytest.mark.parametrize("path", [5, 1.5, ["a"]])
def test_what_is_no_path(path: object) -> None:
    """A path is a str, bytes or has __fspath__."""
    for open_arena in (lambda: Registry(arena=path), lambda: ArenaReader(path)):  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            open_arena()


def test_too_many(tmp_path: Path) -> None:
    """A process has room for 31 arenas, the one in memory among them; the next is refused by name, and
    those that are open work on."""
    with Peer(f"d = {str(tmp_path)!r}; memory = Registry()") as peer:
        peer("arenas = [Registry(arena=f'{d}/{i}') for i in range(30)]")
        with pytest.raises(PeerError, match=r"ArenaError: .*/more: a process can open 31 arenas at most"):
            peer("Registry(arena=f'{d}/more')")
        peer("for i, r in enumerate(arenas): r.counter('c').inc(i)")
        peer("for i in range(30): Registry(arena=f'{d}/{i}').counter('c').inc()")
        assert peer("[r.snapshot().value('c') for r in arenas]") == list(range(1, 31))


# ---- paths ----


@pytest.mark.parametrize("name", ["plain", "zwei Wörter, 🗄️", "per%cent{}", b"\xff\xfe not UTF-8"])
def test_paths(tmp_path: Path, name: str | bytes) -> None:
    """str, bytes and PathLike name the same file, whatever is in the name."""
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    with Peer(f"p = {path!r}; r = Registry(arena=p)") as peer:
        peer("import pathlib")
        peer("Registry(arena=os.fsdecode(p)).counter('c').inc()")
        peer("Registry(arena=pathlib.Path(os.fsdecode(p))).counter('c').inc()")
        assert peer("(r.arena == os.fsdecode(p), r.snapshot().value('c'))") == (True, 2)
        for spelling in (path, os.fsdecode(path), Path(os.fsdecode(path))):
            reader = ArenaReader(spelling)
            assert (reader.path, reader.snapshot().value("c")) == (os.fsdecode(path), 2)


def test_relative_paths(tmp_path: Path) -> None:
    """The path that is told is absolute, and stays right when the process changes its directory."""
    with Peer(f"os.chdir({str(tmp_path)!r}); r = Registry(arena='a'); reader = ArenaReader('a')") as peer:
        assert peer("r.arena") == peer("reader.path") == str(tmp_path / "a")
        peer("os.chdir('/'); r.counter('c').inc()")
        assert peer("(reader.snapshot().value('c'), r.arena)") == (1, str(tmp_path / "a"))


def test_links(tmp_path: Path) -> None:
    """Two names of one file are one arena."""
    make(tmp_path / "a")
    (tmp_path / "link").symlink_to("a")
    os.link(tmp_path / "a", tmp_path / "hard")
    with Peer(
        f"d = {str(tmp_path)!r}; rs = [Registry(arena=f'{{d}}/{{n}}') for n in ('a', 'link', 'hard')]"
    ) as peer:
        peer("for r in rs: r.counter('c').inc()")
        assert peer("[r.snapshot().value('c') for r in rs]") == [4, 4, 4]
        assert peer("len(rs[0].processes())") == 1


# ---- the default registry ----


def test_the_default_registry(tmp_path: Path) -> None:
    """VAULTSCOPE_ARENA names the file of the default registry, which then is without the figures of one
    process; Registry() without a path is in the same file."""
    path = str(tmp_path / "a")
    with Peer("c = Counter('c')", VAULTSCOPE_ARENA=path) as a, Peer(VAULTSCOPE_ARENA=path) as b:
        a("c.inc(2)"), b("Counter('c').inc(3)")
        assert a("(default_registry().arena, c.value)") == (path, 5)
        assert a("[metric.name for metric in default_registry().snapshot()]") == ["c"]
        assert a("Registry().snapshot().value('c')") == 5
        assert b("len(default_registry().processes())") == 2
    assert ArenaReader(path).snapshot().value("c") == 5


@pytest.mark.parametrize("path", ["/no/such/directory/a", "/dev/null"])
def test_a_default_that_cannot_be_had(path: str) -> None:
    """It is refused each time that it is asked for, and by name: one in memory would lose counts unseen."""
    with Peer(VAULTSCOPE_ARENA=path) as peer:
        for _ in range(2):
            with pytest.raises(PeerError, match=f"ArenaError: {path}: "):
                peer("Counter('c')")


def test_no_default_file() -> None:
    """An empty VAULTSCOPE_ARENA is none: the default registry is in memory, with its process's figures."""
    with Peer(VAULTSCOPE_ARENA="") as peer:
        assert peer("default_registry().arena") is None
        assert peer("'process.open.fds' in default_registry().snapshot()")


def test_the_size_of_a_default(tmp_path: Path) -> None:
    """VAULTSCOPE_STRIPES and VAULTSCOPE_STRIPE_BYTES give a new file its size; an old one keeps its own."""
    path, sizes = str(tmp_path / "a"), {"VAULTSCOPE_STRIPES": "3", "VAULTSCOPE_STRIPE_BYTES": "1048576"}
    for settings in (sizes, {}):
        with Peer("Counter('c').inc()", VAULTSCOPE_ARENA=path, **settings) as peer:
            assert peer("default_registry().snapshot().native.arena()['stripes_total']") == 3
            assert peer("default_registry().snapshot().native.arena()['limit_bytes']") == 1 << 20
    assert os.stat(path).st_size < 64 << 20
