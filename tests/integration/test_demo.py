"""The demo's run, in this process: every file is accounted for, whatever it is and whatever happens to it."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vaultscope import Registry
from vaultscope.core.catalogue import Catalogue
from vaultscope.edge.cas import FileCas
from vaultscope.edge.demo import Demo, Options, open_store, standard_library
from vaultscope.edge.demo_report import PROBLEMS_KEPT, Activity, Outcome, Progress, Report


class Watcher:
    """A view that remembers."""

    def __init__(self) -> None:
        self.moments: list[Progress] = []
        self.summaries: list[int] = []

    def progress(self, progress: Progress) -> None:
        self.moments.append(progress)

    def summary(self, report: Report) -> None:
        self.summaries.append(report.read_on)


class Run:
    """A demo over a directory with a store beside it; what it takes to run and to look at it."""

    def __init__(self, tmp_path: Path) -> None:
        self.files = tmp_path / "files"
        self.files.mkdir()
        self.store = tmp_path / "store"
        self.registry = Registry()
        self.catalogue = Catalogue(self.registry)
        self.view = Watcher()

    def add(self, **contents: bytes) -> None:
        for name, content in contents.items():
            (self.files / name).write_bytes(content)

    def __call__(
        self,
        stopped: Callable[[], bool] = lambda: False,
        pause: Callable[[float], None] = lambda _: None,
        before: Callable[[FileCas], None] = lambda _: None,
        **options: object,
    ) -> Report:
        with FileCas(self.store, self.catalogue, durable=False) as cas:
            before(cas)
            asked = Options(str(self.files), **options)  # type: ignore[arg-type]
            self.demo = Demo(
                asked, self.registry, self.catalogue, cas, self.view, stopped=stopped, pause=pause
            )
            report = self.demo.run()
        assert report.seen == sum(report.outcomes.values())  # nothing lost, in each of these tests
        assert report.outcomes[Outcome.SKIPPED] == sum(report.skips.values())
        return report

    def errors(self) -> dict[str, float]:
        return {each.labels["type"]: each.value for each in self.registry.snapshot()["errors.total"]}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def deny(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Makes a file unreadable, to root too."""
    real = os.open

    def guarded(name: str, *rest: int) -> int:
        if name == str(path):
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return real(name, *rest)

    monkeypatch.setattr(os, "open", guarded)


def test_all_is_stored_and_read_back(run: Run) -> None:
    """Each different content is stored once, equal ones are recognised, and all are read back."""
    run.add(a=b"one", b=b"two", c=b"one", d=b"")
    report = run()
    assert report.outcomes == {Outcome.STORED: 3, Outcome.DEDUPLICATED: 1}
    assert report.verified == 4
    assert report.problems_total == 0
    assert not report.interrupted


def test_the_metrics_tell_the_same(run: Run) -> None:
    """Puts, gets, bytes and objects in the registry are those of the report and of the files."""
    run.add(a=b"12345", b=b"123", c=b"12345")
    report = run()
    value = run.registry.snapshot().value
    assert (value("cas.put.count"), value("cas.get.count")) == (3, 3)
    assert (value("cas.put.bytes"), value("cas.get.bytes")) == (8, 13)
    assert (value("storage.objects.count"), value("storage.used.bytes")) == (2, 8)
    assert report.ingested is not None and report.read_back is not None
    assert (report.ingested.operations, report.ingested.bytes) == (3, 8)
    assert (report.read_back.operations, report.read_back.bytes) == (3, 13)


def test_many_threads(run: Run) -> None:
    """With more threads than files, and equal files in several of them, nothing is done twice or left out."""
    run.add(**{f"f{i}": b"%d" % (i % 10) for i in range(40)})
    report = run(threads=64)
    assert report.outcomes == {Outcome.STORED: 10, Outcome.DEDUPLICATED: 30}
    assert report.verified == 40


def test_a_second_run_finds_all_there(run: Run) -> None:
    """What an earlier run left in the store is recognised as known."""
    run.add(a=b"one", b=b"two")
    run()
    assert run().outcomes == {Outcome.DEDUPLICATED: 2}


def test_empty(run: Run) -> None:
    """An empty directory is no problem, and nothing to do."""
    report = run()
    assert (report.seen, report.problems_total, report.interrupted) == (0, 0, False)


def test_an_unreadable_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported with its path and reason and counted by kind, and the others are stored."""
    run.add(a=b"one", secret=b"two", z=b"three")
    deny(monkeypatch, run.files / "secret")
    report = run()
    assert report.outcomes == {Outcome.STORED: 2, Outcome.UNREADABLE: 1}
    assert report.problems == [(str(run.files / "secret"), "Permission denied")]
    assert run.errors() == {"permission": 1}
    assert report.verified == 2


def test_a_full_disk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was read but could not be stored is reported as such, counted once, and the run goes on."""
    run.add(a=b"one", b=b"two", c=b"three")
    real = os.replace
    failing = itertools.chain([True], itertools.repeat(False))

    def replace(source: str, target: str) -> None:
        if next(failing):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    report = run(threads=1)
    assert report.outcomes == {Outcome.STORED: 2, Outcome.FAILED: 1}
    assert report.problems == [(str(run.files / "a"), "No space left on device")]
    assert run.errors() == {"no_space": 1}


def test_skips(run: Run) -> None:
    """Links, pipes and files past the limit are skipped, each counted by its reason, and are no problem."""
    run.add(a=b"x", big=b"12345")
    (run.files / "link").symlink_to("a")
    os.mkfifo(run.files / "pipe")
    report = run(max_file_bytes=4)
    assert report.outcomes == {Outcome.STORED: 1, Outcome.SKIPPED: 3}
    assert report.skips == {"symbolic link": 1, "special file": 1, "too large": 1}
    assert report.problems_total == 0


def test_a_damaged_object(run: Run) -> None:
    """An object that was damaged after it was stored is found when it is read back, and reported."""
    run.add(a=b"one", b=b"two")

    def damage(cas: FileCas) -> None:
        real = cas.get

        def get(digest: str) -> bytes:
            path = Path(cas.root, "objects", digest[:2], digest[2:])
            if path.read_bytes() == b"two":
                path.unlink()
                path.write_bytes(b"twp")
            return real(digest)

        cas.get = get  # type: ignore[method-assign]

    report = run(before=damage)
    assert report.verified == 1
    assert report.problems_total == 1
    assert "corrupt" in report.problems[0][1]
    assert run.errors() == {"corrupt": 1}


def test_problems_are_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many problems the first are kept and all are counted."""
    run.add(**{f"f{i}": b"%d" % i for i in range(PROBLEMS_KEPT + 5)})

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    report = run()
    assert len(report.problems) == PROBLEMS_KEPT
    assert report.problems_total == PROBLEMS_KEPT + 5


def test_the_store_is_not_fed_to_itself(run: Run) -> None:
    """A store that lies in the directory is left out of the walk, also if the way to it leads over a link."""
    run.add(a=b"one")
    (run.files / "store").mkdir()
    (run.files / "way").symlink_to("store")
    run.store = run.files / "way"
    report = run()
    assert report.outcomes == {Outcome.STORED: 1, Outcome.SKIPPED: 1}


def test_stopped_while_ingesting(run: Run) -> None:
    """Told to stop, the run takes up no further file, says that it was interrupted, and sums up."""
    run.add(**{f"f{i}": b"%d" % i for i in range(20)})
    asked = itertools.count()
    report = run(stopped=lambda: next(asked) >= 30, threads=1)
    assert report.interrupted
    assert 0 < report.seen < 20
    assert report.read_back is None
    assert len(run.view.summaries) == 1


def test_stopped_in_a_file(run: Run) -> None:
    """A file that was in work is accounted for as interrupted."""
    run.add(only=b"x")
    stopping = False
    real = os.read

    def read(descriptor: int, size: int) -> bytes:
        nonlocal stopping
        stopping = True
        return real(descriptor, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "read", read)
        report = run(stopped=lambda: stopping)
    assert report.outcomes == {Outcome.INTERRUPTED: 1}


def test_kept_up(run: Run) -> None:
    """With `keep` the objects are read on and on until the run is stopped, which then is no interruption."""
    run.add(a=b"one", b=b"two", c=b"one")
    pauses = 0

    def pause(_: float) -> None:
        nonlocal pauses
        pauses += 1

    report = run(keep=True, stopped=lambda: pauses >= 5, pause=pause)
    assert report.read_on == 20
    assert run.registry.snapshot().value("cas.get.count") == 3 + 20
    assert not report.interrupted
    assert run.view.summaries == [0, 20]


def test_progress(run: Run) -> None:
    """The last moment of each phase shows all of it done."""
    run.add(a=b"one", b=b"two")
    (run.files / "link").symlink_to("a")
    run()
    last = {moment.activity: (moment.done, moment.total) for moment in run.view.moments}
    assert last == {Activity.INGEST: (3, 3), Activity.READ_BACK: (2, 2)}


def test_an_unforeseen_error_ends_the_run(run: Run) -> None:
    """What nobody foresaw in a worker comes out of the run, and the other workers do not go on without it."""
    run.add(**{f"f{i}": b"%d" % i for i in range(20)})
    puts: list[bytes | bytearray | memoryview] = []

    def break_put(cas: FileCas) -> None:
        def put(data: bytes | bytearray | memoryview) -> str:
            puts.append(data)
            if data == b"0":
                raise ZeroDivisionError
            while not run.demo._broken:
                os.sched_yield()
            return "0" * 64

        cas.put = put  # type: ignore[method-assign]

    with pytest.raises(ZeroDivisionError):
        run(before=break_put, threads=2)
    assert len(puts) <= 2


def test_a_view_that_fails_ends_the_run(run: Run) -> None:
    """A view that cannot show (its pipe is closed) ends the run with its own error."""
    run.add(a=b"one")

    class ClosedPipe(Watcher):
        def progress(self, progress: Progress) -> None:
            raise BrokenPipeError

    run.view = ClosedPipe()
    with pytest.raises(BrokenPipeError):
        run()


def test_a_temporary_store_goes(run: Run) -> None:
    """A store that nobody asked to keep is gone afterwards, objects and all."""
    with open_store(None, run.catalogue) as cas:
        root = cas.root
        cas.put(b"brief")
    assert not os.path.exists(root)


def test_a_kept_store_stays(run: Run, tmp_path: Path) -> None:
    """A store at a path of one's own stays, and is durable."""
    with open_store(str(tmp_path / "mine"), run.catalogue) as cas:
        assert cas.durable
        digest = cas.put(b"for good")
    with FileCas(tmp_path / "mine", run.catalogue) as cas:
        assert cas.get(digest) == b"for good"


def test_the_standard_library() -> None:
    """The default is where the running Python's own modules lie, without the packages installed in it."""
    directory, prune = standard_library()
    assert os.path.realpath(os.__file__) == os.path.join(directory, "os.py")
    assert os.path.join(directory, "site-packages") in prune
