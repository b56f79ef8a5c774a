"""FileCas: what is stored comes back whole or not at all, and the catalogue tells what happened."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vaultscope import Registry
from vaultscope.core.catalogue import Catalogue
from vaultscope.edge.cas import CorruptObjectError, FileCas, ObjectNotFoundError, error_kind

ABSENT = hashlib.sha256(b"nobody put this").hexdigest()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def catalogue(registry: Registry) -> Catalogue:
    return Catalogue(registry)


@pytest.fixture
def cas(tmp_path: Path, catalogue: Catalogue) -> Iterator[FileCas]:
    with FileCas(tmp_path / "store", catalogue, durable=False) as store:
        yield store


def where(cas: FileCas, digest: str) -> Path:
    return Path(cas.root, "objects", digest[:2], digest[2:])


def incoming(root: Path) -> list[str]:
    return os.listdir(root / "incoming")


def errors(registry: Registry) -> dict[str, float]:
    return {series.labels["type"]: series.value for series in registry.snapshot()["errors.total"]}


def storage(registry: Registry) -> tuple[float, float]:
    snapshot = registry.snapshot()
    return snapshot.value("storage.used.bytes"), snapshot.value("storage.objects.count")


def fail_with(code: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


# -- putting and getting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"text", os.urandom(3_000_001)], ids=["empty", "nul", "text", "3 MB"]
)
def test_round_trip(cas: FileCas, content: bytes) -> None:
    """What is put under its SHA-256 is got back byte for byte."""
    digest = cas.put(content)
    assert digest == hashlib.sha256(content).hexdigest()
    assert cas.get(digest) == content


@pytest.mark.parametrize("buffer", [bytearray(b"abc"), memoryview(b"xabcx")[1:4], memoryview(b"a-b-c")[::2]])
def test_buffers(cas: FileCas, buffer: bytearray | memoryview) -> None:
    """Buffers are stored as the bytes they show, strided ones too."""
    assert cas.get(cas.put(buffer)) == b"abc"


@pytest.mark.parametrize("value", ["text", 5, None, [1, 2]])
def test_only_bytes(cas: FileCas, value: object) -> None:
    """Anything but bytes is a TypeError: bytes(5) would quietly store five zeros."""
    with pytest.raises(TypeError):
        cas.put(value)  # type: ignore[arg-type]
    assert len(cas) == 0


def test_layout(cas: FileCas) -> None:
    """An object is a read-only file in the shard of its first two digits; nothing stays in `incoming`."""
    digest = cas.put(b"here")
    assert where(cas, digest).read_bytes() == b"here"
    assert stat.S_IMODE(where(cas, digest).stat().st_mode) & 0o333 == 0
    assert incoming(Path(cas.root)) == []


def test_put_again_leaves_the_file(cas: FileCas) -> None:
    """A second put of the same content does not touch the object."""
    digest = cas.put(b"same")
    before = where(cas, digest).stat()
    assert cas.put(b"same") == digest
    after = where(cas, digest).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_contains_iter_len(cas: FileCas) -> None:
    """Membership, the iteration in order of hash and the length agree with what was put."""
    digests = {cas.put(bytes([i])) for i in range(40)}
    assert list(cas) == sorted(digests)
    assert len(cas) == 40
    assert all(digest in cas for digest in digests)
    assert ABSENT not in cas


def test_foreign_files_are_no_objects(tmp_path: Path, catalogue: Catalogue) -> None:
    """A file that is not named like an object is neither listed nor weighed."""
    with FileCas(tmp_path, catalogue) as cas:
        cas.put(b"object")
    (tmp_path / "objects" / "ab" / "README").write_bytes(b"x" * 100)
    (tmp_path / "objects" / "notes").write_bytes(b"x" * 100)
    with FileCas(tmp_path, catalogue) as cas:
        assert len(list(cas)) == len(cas) == 1
        assert storage(catalogue.registry) == (6, 1)


def test_delete(cas: FileCas) -> None:
    """A deleted object is gone; deleting it again says that it is not there."""
    digest = cas.put(b"brief")
    cas.delete(digest)
    assert digest not in cas
    with pytest.raises(ObjectNotFoundError):
        cas.delete(digest)


def test_missing(cas: FileCas) -> None:
    """Getting what nobody put raises ObjectNotFoundError with the hash, which is also a KeyError."""
    with pytest.raises(ObjectNotFoundError) as caught:
        cas.get(ABSENT)
    assert caught.value.digest == ABSENT
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize(
    "bad",
    ["", "ab", "../../etc/passwd", "/" * 64, "." * 64, ABSENT.upper(), ABSENT + "\n", ABSENT[:-1] + "\0",
     "ab/" + ABSENT[3:], ABSENT[:-1] + "٣", ABSENT.encode(), None, 7],
)  # fmt: skip
def test_bad_hash_never_reaches_the_disk(cas: FileCas, monkeypatch: pytest.MonkeyPatch, bad: object) -> None:
    """Anything but 64 lower-case hexadecimal digits is a ValueError before any file is named."""
    for name in ("open", "stat", "lstat", "unlink"):
        monkeypatch.setattr(os, name, lambda *_, **__: pytest.fail("the disk was touched"))
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("the disk was touched"))
    operations: tuple[Callable[..., object], ...] = (cas.get, cas.delete, cas.__contains__)
    for operation in operations:
        with pytest.raises(ValueError):
            operation(bad)


def test_closed(cas: FileCas, registry: Registry) -> None:
    """A closed store refuses work, can be closed again, and no longer answers the registry's collection."""
    digest = cas.put(b"a")
    cas.close()
    cas.close()
    for operation in (lambda: cas.put(b"b"), lambda: cas.get(digest), lambda: cas.delete(digest)):
        with pytest.raises(ValueError, match="closed"):
            operation()
    os.rename(cas.root, cas.root + ".moved")
    registry.snapshot()  # disk_usage of the old root would raise in the collector
    assert "vaultscope.collector.errors" not in registry.snapshot() or not list(
        registry.snapshot()["vaultscope.collector.errors"]
    )


# -- damage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bit", [0, 7, 8 * 999 + 3])
def test_a_flipped_bit_is_found(cas: FileCas, registry: Registry, bit: int) -> None:
    """One flipped bit anywhere makes get raise CorruptObjectError, and it is counted as corrupt, once."""
    digest = cas.put(b"\x55" * 1000)
    damaged = bytearray(b"\x55" * 1000)
    damaged[bit // 8] ^= 1 << bit % 8
    where(cas, digest).unlink()
    where(cas, digest).write_bytes(damaged)
    with pytest.raises(CorruptObjectError) as caught:
        cas.get(digest)
    assert caught.value.digest == digest
    assert errors(registry) == {"corrupt": 1}


@pytest.mark.parametrize("left", [b"", b"the whole conten", b"the whole content and more"])
def test_put_mends_a_wrong_length(cas: FileCas, registry: Registry, left: bytes) -> None:
    """Putting the content again replaces an object of another length, and the gauges follow."""
    digest = cas.put(b"the whole content")
    cas.close()
    where(cas, digest).unlink()
    where(cas, digest).write_bytes(left)
    with FileCas(cas.root, Catalogue(registry)) as again:
        assert storage(registry) == (len(left), 1)
        again.put(b"the whole content")
        assert again.get(digest) == b"the whole content"
        assert storage(registry) == (17, 1)


@pytest.mark.parametrize("call", ["open", "replace", "fsync"])
@pytest.mark.parametrize(
    "code, kind", [(errno.ENOSPC, "no_space"), (errno.EACCES, "permission"), (errno.EIO, "io")]
)
def test_a_failed_put_leaves_nothing(
    tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, call: str, code: int, kind: str
) -> None:
    """Whatever step of a put fails, the error is raised as it came and counted by kind; neither object nor
    temporary file stays, and the gauges do not move."""
    with FileCas(tmp_path, catalogue, durable=True) as cas:
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail_with(code))
            with pytest.raises(OSError) as caught:
                cas.put(b"unlucky")
        assert caught.value.errno == code
        assert errors(catalogue.registry) == {kind: 1}
        assert incoming(tmp_path) == []
        assert list(cas) == []
        assert storage(catalogue.registry) == (0, 0)
        assert catalogue.cas_put_bytes.value == 0
        cas.put(b"unlucky")
        assert storage(catalogue.registry) == (7, 1)


def test_durable(tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A durable put syncs the object and then its directory; one of known content still syncs the directory,
    since the thread that made the entry may not have come to it yet."""
    with FileCas(tmp_path, catalogue, durable=True) as cas:
        synced: list[str] = []
        monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
        shard = str(where(cas, cas.put(b"precious")).parent)
        assert [os.path.dirname(synced[0]), synced[1]] == [str(tmp_path / "incoming"), shard]
        cas.put(b"precious")
        assert synced[2:] == [shard]


def test_short_writes_are_continued(cas: FileCas, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that takes only a part, as on a nearly full disk, is followed by another for the rest."""
    real = open

    class Stingy:
        def __init__(self, descriptor: int) -> None:
            self.file = real(descriptor, "wb", buffering=0)

        def __enter__(self) -> Stingy:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: memoryview) -> int:
            return self.file.write(data[:3])

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", lambda descriptor, *_, **__: Stingy(descriptor))
        digest = cas.put(b"more than three bytes")
    assert cas.get(digest) == b"more than three bytes"


@pytest.mark.parametrize(
    "code, kind", [(errno.EACCES, "permission"), (errno.EMFILE, "limit"), (errno.EIO, "io")]
)
def test_a_failed_get_is_counted(
    cas: FileCas, registry: Registry, monkeypatch: pytest.MonkeyPatch, code: int, kind: str
) -> None:
    """An object that cannot be opened raises the system's own error and is counted by kind."""
    digest = cas.put(b"there")
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", fail_with(code))
        with pytest.raises(OSError):
            cas.get(digest)
    assert errors(registry) == {kind: 1}


def test_kinds_are_bounded() -> None:
    """Every error number of the system falls into one of six kinds, so the label cannot grow."""
    kinds = {error_kind(OSError(code, "")) for code in errno.errorcode} | {error_kind(OSError("no number"))}
    kinds |= {error_kind(CorruptObjectError(ABSENT)), error_kind(ObjectNotFoundError(ABSENT))}
    assert kinds == {"corrupt", "not_found", "no_space", "permission", "limit", "io"}


# -- killed writers ----------------------------------------------------------------------------------------

DIE_BEFORE_REPLACE = """
import os, sys
from vaultscope import Registry
from vaultscope.core.catalogue import Catalogue
from vaultscope.edge.cas import FileCas
cas = FileCas(sys.argv[1], Catalogue(Registry()))
os.replace = lambda *_: os._exit(9)
cas.put(b"never finished")
"""

STAY_OPEN = """
import os, sys
from vaultscope import Registry
from vaultscope.core.catalogue import Catalogue
from vaultscope.edge.cas import FileCas
cas = FileCas(sys.argv[1], Catalogue(Registry()))
real = os.replace
def wait_then_replace(*paths):
    print("writing", flush=True)
    sys.stdin.readline()
    real(*paths)
os.replace = wait_then_replace
print(cas.put(b"slow but alive"), flush=True)
"""


def test_a_killed_writer_leaves_no_object(tmp_path: Path, catalogue: Catalogue) -> None:
    """A writer that dies before the rename leaves a file in `incoming`, which the next opener removes."""
    done = subprocess.run([sys.executable, "-c", DIE_BEFORE_REPLACE, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == 9
    assert len(incoming(tmp_path)) == 1
    with FileCas(tmp_path, catalogue) as cas:
        assert incoming(tmp_path) == []
        assert list(cas) == []


def test_a_living_writer_keeps_its_file(tmp_path: Path, catalogue: Catalogue) -> None:
    """An opener leaves `incoming` alone while another process has the store open, and that one's put ends
    well."""
    with subprocess.Popen(
        [sys.executable, "-c", STAY_OPEN, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdin and writer.stdout
        assert writer.stdout.readline() == "writing\n"
        with FileCas(tmp_path, catalogue) as cas:
            assert len(incoming(tmp_path)) == 1
            output, _ = writer.communicate("go\n", timeout=60)
            assert cas.get(output.strip()) == b"slow but alive"
    assert writer.returncode == 0


# -- what the catalogue tells ------------------------------------------------------------------------------


def test_operations_are_counted(cas: FileCas, registry: Registry) -> None:
    """Each operation is counted and timed; bytes are, when new content is written or verified content
    read."""
    digest = cas.put(b"12345")
    cas.put(b"12345")
    cas.get(digest)
    with pytest.raises(ObjectNotFoundError):
        cas.get(ABSENT)
    snapshot = registry.snapshot()
    assert snapshot.value("cas.put.count") == 2
    assert snapshot.value("cas.put.bytes") == 5
    assert snapshot["cas.put.duration"].series().count == 2
    assert snapshot.value("cas.get.count") == 2
    assert snapshot.value("cas.get.bytes") == 5
    assert snapshot["cas.get.duration"].series().count == 2
    assert errors(registry) == {"not_found": 1}


def test_storage_gauges(cas: FileCas, registry: Registry) -> None:
    """Used bytes and the object count follow puts, repeated puts and deletions."""
    first = cas.put(b"x" * 10)
    cas.put(b"y" * 5)
    cas.put(b"y" * 5)
    assert storage(registry) == (15, 2)
    cas.delete(first)
    assert storage(registry) == (5, 1)


def test_storage_gauges_at_open(tmp_path: Path) -> None:
    """A reopened store shows what the directory holds, in a new registry or the same."""
    same = Catalogue(Registry())
    with FileCas(tmp_path, same) as cas:
        cas.put(b"x" * 10)
        cas.put(b"")
    for catalogue in (same, Catalogue(Registry())):
        with FileCas(tmp_path, catalogue) as cas:
            assert storage(catalogue.registry) == (10, 2)
            assert len(cas) == 2


def test_available_bytes(cas: FileCas, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """storage.available.bytes is the file system's free space, read anew for each snapshot."""
    for free in (4096, 0):
        usage = type("usage", (), {"free": free})
        monkeypatch.setattr("shutil.disk_usage", lambda _, usage=usage: usage)
        assert registry.snapshot().value("storage.available.bytes") == free


def test_percent_used_from_the_start(
    tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first snapshot knows the free space already, so that no alert of a full disk greets a new store."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": 900}))
    with FileCas(tmp_path, catalogue) as cas:
        cas.put(b"x" * 100)
        assert catalogue.registry.snapshot().value("storage.percent.used") == 10


# -- threads -----------------------------------------------------------------------------------------------


def in_threads(count: int, work: Callable[[int], object]) -> None:
    barrier = threading.Barrier(count)
    failures: list[BaseException] = []

    def run(index: int) -> None:
        try:
            barrier.wait(30)
            work(index)
        except BaseException as error:  # shown in the main thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []


def test_the_same_content_from_many_threads(cas: FileCas, registry: Registry) -> None:
    """Eight threads that put the same 50 contents at once store each exactly once."""
    contents = [bytes([i]) * 1000 for i in range(50)]
    in_threads(8, lambda _: [cas.put(content) for content in contents])
    assert storage(registry) == (50_000, 50)
    snapshot = registry.snapshot()
    assert snapshot.value("cas.put.count") == 400
    assert snapshot.value("cas.put.bytes") == 50_000
    assert incoming(Path(cas.root)) == []


def test_a_race_for_one_object(cas: FileCas, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two writers that both saw the object absent and wrote it whole, the second drops its own file."""
    both_written = threading.Barrier(2)
    commit = cas._commit

    def commit_together(*arguments: object) -> None:
        both_written.wait(30)
        commit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cas, "_commit", commit_together)
    in_threads(2, lambda _: cas.put(b"contested"))
    assert storage(registry) == (9, 1)
    assert registry.snapshot().value("cas.put.bytes") == 9
    assert incoming(Path(cas.root)) == []


def test_puts_gets_and_deletes_at_once(cas: FileCas, registry: Registry) -> None:
    """Under concurrent puts, gets and deletions a get returns the content or says it is not there, and the
    gauges end at what the directory holds."""
    contents = [b"%d" % i * 100 for i in range(20)]
    digests = [hashlib.sha256(content).hexdigest() for content in contents]

    def work(index: int) -> None:
        for turn in range(200):
            which = (turn * 7 + index) % 20
            try:
                if index < 2:
                    cas.put(contents[which])
                elif index < 4:
                    assert cas.get(digests[which]) == contents[which]
                else:
                    cas.delete(digests[which])
            except ObjectNotFoundError:
                pass

    in_threads(5, work)
    left = [where(cas, digest).stat().st_size for digest in cas]
    assert storage(registry) == (sum(left), len(left))
    assert set(errors(registry)) <= {"not_found"}
