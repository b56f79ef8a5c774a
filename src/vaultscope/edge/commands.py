"""The commands: what is asked for, what is said if it cannot be had, and the exit status."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack

import click
from rich.console import Console

from vaultscope._native._core import library_version
from vaultscope.core.arena import ArenaReader
from vaultscope.core.catalogue import Catalogue
from vaultscope.core.collectors import install_default_collectors
from vaultscope.core.registry import Registry
from vaultscope.edge.audit_command import audit
from vaultscope.edge.cas import FileCas
from vaultscope.edge.demo import Demo, Options, open_store, standard_library
from vaultscope.edge.demo_view import TerminalView
from vaultscope.edge.history_command import history_command
from vaultscope.edge.http import MetricsServer
from vaultscope.edge.log_command import logs
from vaultscope.edge.soup_command import gc_command, get_command, query_command
from vaultscope.edge.stop import StopSignal
from vaultscope.edge.trace_command import trace
from vaultscope.errors import VaultscopeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vaultscope.edge.demo_soup import Recording

DEFAULT_PORT = 9464
STOP_POLL_SECONDS = 0.2


class PortError(click.ClickException):
    """The metrics cannot be served."""

    exit_code = 3


class ArenaFileError(click.ClickException):
    """The arena cannot be read."""

    exit_code = 4


class StoreError(click.ClickException):
    """The store cannot be opened."""

    exit_code = 4


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(library_version(), message="%(prog)s %(version)s")
def vaultscope() -> None:
    """Watch a vault."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            # A name that the terminal cannot show is no reason to fail.
            reconfigure(errors="backslashreplace")


vaultscope.add_command(history_command)
vaultscope.add_command(logs)
vaultscope.add_command(trace)
vaultscope.add_command(audit)
vaultscope.add_command(query_command)
vaultscope.add_command(get_command)
vaultscope.add_command(gc_command)


@vaultscope.command()
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False))
@click.option(
    "--store", type=click.Path(file_okay=False), metavar="PATH",
    help="Keep the store there, synced to the disk.  [default: a temporary directory, removed at the end]",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True,
    help="Serve /metrics on this port of the loopback interface; 0 takes any free one.",
)  # fmt: skip
@click.option(
    "--soup", type=click.Path(dir_okay=False), metavar="PATH",
    help="Leave metrics, traces and log in this soup, and an audit trail in PATH.audit.",
)  # fmt: skip
@click.option("--keep", is_flag=True, help="Read on, about 20 objects a second, until Ctrl-C.")
@click.option(
    "--threads", type=click.IntRange(1, 64), default=4, show_default=True, help="Files in work at once."
)
@click.option(
    "--max-file", type=click.IntRange(0), default=256, show_default=True, metavar="MIB",
    help="Skip longer files: each is held in memory while it is in work.",
)  # fmt: skip
@click.option("--live/--no-live", default=True, help="Redraw a table in place, or print lines.")
def demo(
    directory: str | None,
    store: str | None,
    port: int,
    soup: str | None,
    keep: bool,
    threads: int,
    max_file: int,
    live: bool,
) -> None:
    """Put every file under DIRECTORY into a content-addressed store, read each back, and watch.

    DIRECTORY is the running Python's standard library if not given, without the packages installed in it.
    Links are not followed; pipes, sockets and devices are skipped.

    \b
    Exit status:
      0  all was stored and read back; with --keep also after Ctrl-C
      1  a file could not be read or stored, or an object could not be read back
      2  wrong usage, such as a missing DIRECTORY
      3  the port cannot be had
      4  the store or the soup cannot be opened
      130, 143  stopped before the work was done, by Ctrl-C or SIGTERM
    """
    top, prune = standard_library() if directory is None else (os.path.realpath(directory), frozenset[str]())
    if store is not None and _lies_in(top, os.path.realpath(store)):
        raise click.UsageError("DIRECTORY lies in the store: it would be fed to itself")
    options = Options(top, prune, keep, threads, max_file << 20)
    stop = StopSignal()
    registry = Registry()
    install_default_collectors(registry)
    catalogue = Catalogue(registry)
    with ExitStack() as stack:
        server = _serving(stack, registry, "127.0.0.1", port)
        stack.enter_context(stop.listening())
        recording = None if soup is None else stack.enter_context(_recording(soup, registry))
        try:
            make = FileCas if recording is None else recording.cas
            cas = stack.enter_context(open_store(store, catalogue, make))
        except OSError as error:
            raise StoreError(f"the store cannot be opened: {error}") from None
        view = stack.enter_context(TerminalView(Console(), server.url, live=live))
        view.opening(top, cas.root)
        if recording is not None:
            recording.begin(top, cas.root)
        report = Demo(options, registry, catalogue, cas, view, stopped=stop).run()
        if recording is not None:
            recording.end(report)
            view.recorded(recording.path, recording.audit_path)
    if report.interrupted and stop.number is not None:
        sys.exit(128 + stop.number)
    sys.exit(1 if report.problems_total else 0)


@vaultscope.command()
@click.option(
    "--arena", type=click.Path(dir_okay=False), envvar="VAULTSCOPE_ARENA", required=True, metavar="PATH",
    help="The arena's file.  [default: VAULTSCOPE_ARENA]",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Serve on this address.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True,
    help="Serve /metrics on this port; 0 takes any free one.",
)  # fmt: skip
def serve(arena: str, host: str, port: int) -> None:
    """Serve the metrics of an arena in a file, for all processes that share it.

    This process has no part in the arena: it can start before and end after those that count in it.

    \b
    Exit status:
      0  stopped, by Ctrl-C or SIGTERM
      2  wrong usage
      3  the port cannot be had
      4  there is no arena at PATH, or it is damaged
    """
    stop = StopSignal()
    try:
        reader = ArenaReader(arena)
    except VaultscopeError as error:
        raise ArenaFileError(str(error)) from None
    with ExitStack() as stack:
        server = _serving(stack, reader, host, port)
        stack.enter_context(stop.listening())
        click.echo(f"{reader.path} served at {server.url}")
        while not stop():
            time.sleep(STOP_POLL_SECONDS)


def _serving(stack: ExitStack, registry: Registry | ArenaReader, host: str, port: int) -> MetricsServer:
    """A server that listens until the stack ends. Raises PortError."""
    server = MetricsServer(registry, host, port)
    try:
        return stack.enter_context(server)
    except OSError as error:
        raise PortError(
            f"port {port} of {host} cannot be had ({error.strerror}): choose another with --port"
        ) from None


def _recording(path: str, registry: Registry) -> Recording:
    from vaultscope.edge.demo_soup import Recording  # it needs `cryptography`, from the extra `audit`

    try:
        return Recording(path, registry)
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"--soup keeps an audit trail, which needs the extra `audit`: {error}"
        ) from None
    except (OSError, VaultscopeError) as error:
        raise StoreError(f"the soup cannot be opened: {error}") from None


def _lies_in(path: str, directory: str) -> bool:
    return os.path.commonpath((path, directory)) == directory
