"""What a demo leaves behind: its metrics, traces, log and audit trail, in a soup and a log beside it."""

from __future__ import annotations

import getpass
from contextlib import ExitStack
from types import TracebackType

from vaultscope._native._core import Logger
from vaultscope.core.audit_trail import set_audit_trail
from vaultscope.core.catalogue import Catalogue
from vaultscope.core.registry import Registry
from vaultscope.edge.audit_log import AuditLog
from vaultscope.edge.cas import FileCas
from vaultscope.edge.demo_report import Outcome, Report
from vaultscope.edge.history_recorder import MetricRecorder
from vaultscope.edge.log_sinks import SoupSink
from vaultscope.edge.soup_sqlite import SqliteSoup
from vaultscope.edge.span_sinks import SoupSpanSink
from vaultscope.signals.log import Journal
from vaultscope.signals.tracing import Tracer

__all__ = ["Recording", "TracedCas"]

AUDIT_SUFFIX = ".audit"
SLOW_MS = 50.0
EVERY_SECONDS = 1.0


class TracedCas(FileCas):
    """A FileCas whose operations are spans, and whose failures are logged."""

    def __init__(
        self, root: str, catalogue: Catalogue, *, durable: bool, tracer: Tracer, logger: Logger
    ) -> None:
        super().__init__(root, catalogue, durable=durable)
        self._tracer = tracer
        self._logger = logger

    def put(self, data: bytes | bytearray | memoryview) -> str:
        """As FileCas.put."""
        with self._tracer.span("cas.put", size=len(data)) as span:
            try:
                digest = super().put(data)
            except OSError as error:
                self._logger.exception("put failed", size=len(data), error=str(error))
                raise
            span.set(hash=digest)
            return digest

    def get(self, digest: str) -> bytes:
        """As FileCas.get."""
        with self._tracer.span("cas.get", hash=digest) as span:
            try:
                content = super().get(digest)
            except Exception as error:
                self._logger.exception("get failed", hash=digest, error=str(error))
                raise
            span.set(size=len(content))
            return content


class Recording:
    """A soup and all that feeds it, for as long as a demo runs. Used with `with`.

    Args:
        path: The soup's file; the audit trail is in <path>.audit.
        registry: Whose metrics are recorded.

    Raises:
        OSError, VaultscopeError: A file cannot be made or opened.
        ModuleNotFoundError: `cryptography` is missing: the extra `audit` has it.
    """

    def __init__(self, path: str, registry: Registry) -> None:
        self.path = path
        self.audit_path = path + AUDIT_SUFFIX
        self._actor = _actor()
        self._stack = ExitStack()
        try:
            self._open(registry)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, registry: Registry) -> None:
        opened = self._stack.enter_context
        journal = Journal(registry)
        self._log = journal.get_logger("demo")
        self._audit = opened(AuditLog(self.audit_path, registry=registry, logger=self._log))
        self._stack.callback(set_audit_trail, set_audit_trail(self._audit))
        soup = SqliteSoup(self.path, index=("trace_id",), registry=registry)
        self._stack.callback(soup.close)
        self._stack.callback(journal.close)
        journal.add_sink(SoupSink(soup))
        self._tracer = Tracer(registry, slow_ms=SLOW_MS)
        self._stack.callback(self._tracer.close)
        self._tracer.add_sink(SoupSpanSink(soup))
        opened(MetricRecorder(registry, soup, every=EVERY_SECONDS))

    def cas(self, root: str, catalogue: Catalogue, *, durable: bool) -> FileCas:
        """A store whose operations are recorded."""
        return TracedCas(root, catalogue, durable=durable, tracer=self._tracer, logger=self._log)

    def begin(self, directory: str, store: str) -> None:
        """Says who has begun what."""
        self._log.info("demo began", directory=directory, store=store)
        self._audit.append(self._actor, "demo.began", store, {"directory": directory})

    def end(self, report: Report) -> None:
        """Says what came of it."""
        stored = report.outcomes[Outcome.STORED]
        for path, reason in report.problems:
            self._log.error("problem", path=path, reason=reason)
        self._log.info("demo ended", seen=report.seen, stored=stored, problems=report.problems_total)
        self._audit.append(self._actor, "demo.ended", report.store, {"seen": report.seen, "stored": stored})

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()


def _actor() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # an account without a name
        return "unknown"
