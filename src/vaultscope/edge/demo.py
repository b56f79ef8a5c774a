"""The demo: a real store under a real load, watched through vaultscope.

Every file under a directory is put into a FileCas by a few threads, then each is got back and verified. If
asked to, the run is kept up by reading on, gently, until it is stopped. The figures it shows are the store's
own metrics, taken from snapshots: the terminal and a scraper are told the same.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from vaultscope.core.catalogue import Catalogue
from vaultscope.core.registry import Registry
from vaultscope.edge import demo_files
from vaultscope.edge.cas import FileCas, error_kind
from vaultscope.edge.demo_report import Activity, Outcome, Phase, Progress, Report, View
from vaultscope.errors import VaultscopeError

_Work = TypeVar("_Work")

REFRESH_SECONDS = 0.2
READS_PER_REFRESH = 4  # when reading on: about 20 objects a second


@dataclass(frozen=True)
class Options:
    """What a run is asked to do.

    Attributes:
        directory: What to ingest, as a real path.
        prune: Directories that are left out, as real paths.
        keep: Read on, after all is done, until stopped.
        threads: How many files are in work at once.
        max_file_bytes: Longer files are skipped, since a file is held in memory while it is in work.
    """

    directory: str
    prune: frozenset[str] = frozenset()
    keep: bool = False
    threads: int = 4
    max_file_bytes: int = 256 << 20


def standard_library() -> tuple[str, frozenset[str]]:
    """The running Python's standard library, and what to leave out of it: the packages installed beside it,
    which may be of any size. Its byte code and its tests are in."""
    directory = os.path.realpath(sysconfig.get_path("stdlib"))
    return directory, frozenset(os.path.join(directory, name) for name in ("site-packages", "dist-packages"))


@contextlib.contextmanager
def open_store(
    path: str | None, catalogue: Catalogue, make: Callable[..., FileCas] = FileCas
) -> Iterator[FileCas]:
    """A run's store: at `path`, durable; or a temporary one, which is never synced and is removed in the end.
    `make` is FileCas, or what makes one that does more.

    Raises:
        OSError: It cannot be made or opened.
    """
    with contextlib.ExitStack() as stack:
        durable = path is not None
        if path is None:
            path = stack.enter_context(tempfile.TemporaryDirectory(prefix="vaultscope-demo-"))
        yield stack.enter_context(make(path, catalogue, durable=durable))


class Demo:
    """One run over one store.

    Args:
        options: What to do.
        registry: Where the store's `catalogue` is declared.
        catalogue: Where the store counts, and where an unreadable file is counted as errors.total{type}.
        cas: The store.
        view: Who watches.
        stopped: Whether to end early; asked between two files and inside long ones, by every thread.
        clock: Seconds that never go back.
        pause: Waits that many seconds.
    """

    def __init__(
        self,
        options: Options,
        registry: Registry,
        catalogue: Catalogue,
        cas: FileCas,
        view: View,
        *,
        stopped: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._options = options
        self._registry = registry
        self._catalogue = catalogue
        self._cas = cas
        self._view = view
        self._stopped = stopped
        self._clock = clock
        self._pause = pause
        self._began = clock()
        self._broken = False  # a worker or the view raised what nobody foresaw: the others end too
        self._feed = threading.Lock()  # guards the iterator that the workers of a phase take their work from
        self._lock = threading.Lock()  # guards all below
        self._report = Report(options.directory, cas.root)
        self._known = {digest: digest for digest in cas}
        self._ingested: list[str] = []  # the hash of each file; equal hashes are one string
        self._total: int | None = None
        self._done = 0  # of this phase

    def run(self) -> Report:
        """Ingests, reads back and, with `keep`, reads on; returns early if told to stop."""
        report = self._report
        entries = self._walk()
        report.ingested = self._phase(
            Activity.INGEST, None, lambda: self._each(entries, self._ingest), beside=self._count_entries
        )
        if not self._ending():
            digests = iter(self._ingested)
            report.read_back = self._phase(
                Activity.READ_BACK, len(self._ingested), lambda: self._each(digests, self._read)
            )
            report.verified = self._done
        report.interrupted = self._stopped()
        self._summarise()
        if self._options.keep and not self._ending():
            self._read_on()
            self._summarise()
        return report

    # -- phases ---------------------------------------------------------------------------------------------

    def _phase(
        self,
        activity: Activity,
        total: int | None,
        work: Callable[[], None],
        *,
        beside: Callable[[], None] = lambda: None,
    ) -> Phase:
        """Has every worker do `work`, and one `beside`, while this thread keeps the view up to date."""
        began = self._clock()
        before = self._moved()
        self._total, self._done = total, 0
        with ThreadPoolExecutor(self._options.threads + 1, "vaultscope-demo") as pool:
            jobs = [pool.submit(self._guard, job) for job in (beside, *[work] * self._options.threads)]
            try:
                while wait(jobs, REFRESH_SECONDS).not_done:
                    self._show(activity)
            except BaseException:
                self._broken = True
                raise
        for job in jobs:
            job.result()
        seconds = self._clock() - began
        operations, size = (after - then for after, then in zip(self._moved(), before, strict=True))
        self._show(activity)
        return Phase(seconds, operations, size)

    def _moved(self) -> tuple[int, int]:
        """Operations and bytes of the store so far."""
        vault = self._catalogue
        return (
            int(vault.cas_put_count.value + vault.cas_get_count.value),
            int(vault.cas_put_bytes.value + vault.cas_get_bytes.value),
        )

    def _guard(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException:
            self._broken = True
            raise

    def _read_on(self) -> None:
        digests = itertools.cycle(dict.fromkeys(self._ingested))
        self._total, self._done = None, 0
        while not self._ending():
            for digest in itertools.islice(digests, READS_PER_REFRESH):
                self._read(digest)
            self._report.read_on = self._done
            self._show(Activity.READ_ON)
            self._pause(REFRESH_SECONDS)

    def _ending(self) -> bool:
        return self._broken or self._stopped()

    def _show(self, activity: Activity) -> None:
        snapshot = self._registry.snapshot()
        self._view.progress(
            Progress(activity, self._done, self._total, self._clock() - self._began, snapshot)
        )

    def _summarise(self) -> None:
        self._report.snapshot = self._registry.snapshot()
        self._view.summary(self._report)

    # -- workers --------------------------------------------------------------------------------------------

    def _walk(self) -> Iterator[demo_files.Entry]:
        store = os.path.realpath(self._cas.root)  # it may lie in the directory, and must not eat itself
        prune = self._options.prune | {store}
        return demo_files.walk(self._options.directory, prune=prune.__contains__)

    def _count_entries(self) -> None:
        """How much there is to do, found out while it is being done."""
        count = 0
        for _ in self._walk():
            if self._ending():
                return
            count += 1
        self._total = count

    def _each(self, feed: Iterator[_Work], work: Callable[[_Work], None]) -> None:
        """Takes from the feed that the workers share until it is empty."""
        while not self._ending():
            with self._feed:
                item = next(feed, None)
            if item is None:
                return
            work(item)

    def _ingest(self, entry: demo_files.Entry) -> None:
        with self._lock:
            self._report.seen += 1
        outcome = self._outcome(entry)
        with self._lock:
            self._report.outcomes[outcome] += 1
            self._done += 1

    def _outcome(self, entry: demo_files.Entry) -> Outcome:
        try:
            content = demo_files.read(entry, self._options.max_file_bytes, self._ending)
        except demo_files.SkippedError as reason:
            with self._lock:
                return self._report.skip(str(reason))
        except demo_files.StoppedError:
            return Outcome.INTERRUPTED
        except OSError as error:
            self._catalogue.errors_total.labels(error_kind(error)).inc()
            self._problem(entry.path, error)
            return Outcome.UNREADABLE
        try:
            digest = self._cas.put(content)
        except OSError as error:
            self._problem(entry.path, error)
            return Outcome.FAILED
        with self._lock:
            outcome = Outcome.DEDUPLICATED if digest in self._known else Outcome.STORED
            self._ingested.append(self._known.setdefault(digest, digest))
        return outcome

    def _read(self, digest: str) -> None:
        try:
            self._cas.get(digest)
        except (OSError, VaultscopeError) as error:
            self._problem(f"object {digest}", error)
            return
        with self._lock:
            self._done += 1

    def _problem(self, path: str, error: Exception) -> None:
        with self._lock:
            self._report.problem(path, error)
