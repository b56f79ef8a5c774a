"""The command `vaultscope logs`: what is asked for, where it is read, and the exit status."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import click

from vaultscope._native._core import LEVELS
from vaultscope.edge.log_filter import ALIASES, FieldTest, LogFilter, parse_moment
from vaultscope.edge.log_source import Source, open_source
from vaultscope.edge.log_view import LogView
from vaultscope.edge.soup_source import SoupPart
from vaultscope.edge.stop import StopSignal
from vaultscope.errors import VaultscopeError

__all__ = ["logs"]

FOLLOWED_LINES = 10  # of what is there before


class NoSuchSourceError(click.ClickException):
    """There is nothing to read at a path."""

    exit_code = 2


class DamagedSourceError(click.ClickException):
    """What is there cannot be read."""

    exit_code = 4


def _level(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """A level's own name, of any of its names in either case."""
    if value is None:
        return None
    name = ALIASES.get(value.lower(), value.lower())
    if name not in LEVELS:
        raise click.BadParameter(f"{value!r} is none of {', '.join(LEVELS)}")
    return name


def _moment(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """Nanoseconds since 1970."""
    try:
        return None if value is None else parse_moment(value, time.time_ns())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "-n", "--lines", type=click.IntRange(0), metavar="N",
    help=f"Only the last N that are wanted.  [default: all; with --follow and no --since {FOLLOWED_LINES}]",
)  # fmt: skip
@click.option("--level", callback=_level, metavar="LEVEL", help=f"At least this: {', '.join(LEVELS)}.")
@click.option(
    "--logger", "loggers", multiple=True, metavar="NAME",
    help="Of this logger and those below it: cas is cas.gc, too. Given again: or of this one.",
)  # fmt: skip
@click.option(
    "--field", "fields", multiple=True, metavar="KEY[=VALUE]",
    help="That have this field, with this value as JSON writes it; req.id=7 looks into objects. "
    "Given again: and this one.",
)  # fmt: skip
@click.option(
    "--since", callback=_moment, metavar="TIME",
    help="From then on: 90s, 10m, 2h, 1d ago, or 2026-01-31T23:59:59, UTC unless it ends with +01:00.",
)  # fmt: skip
@click.option("--until", callback=_moment, metavar="TIME", help="Before then.")
@click.option(
    "--json", "as_json", is_flag=True, help="The lines of JSON as they are, for jq; others are left out."
)
def logs(
    sources: tuple[str, ...],
    follow: bool,
    lines: int | None,
    level: str | None,
    loggers: tuple[str, ...],
    fields: tuple[str, ...],
    since: int | None,
    until: int | None,
    as_json: bool,
) -> None:
    """Read logs, for people unless --json is given, whether to a terminal or not.

    A SOURCE is a log file, compressed with gzip or not; an arena, of which the records that are still in its
    ring are shown, whether the vault lives or was killed; a soup, a file or postgresql://...; or - for
    standard input. Without any it is the arena that VAULTSCOPE_ARENA names. Several are merged by time.

    With --follow a file that is rotated or cut is read on, as is an arena that is made anew. Lines that are
    no JSON are shown after a bar. Times are UTC. Colours are for terminals, unless NO_COLOR or FORCE_COLOR
    say otherwise.

    \b
    Exit status:
      0  all was read; with --follow also after Ctrl-C or SIGTERM; or nobody reads the output any more
      1  a source could not be read to its end
      2  wrong usage, such as a SOURCE that is not there
      4  an arena is damaged, or a soup cannot be read
      130, 143  stopped before all was read, by Ctrl-C or SIGTERM
    """
    paths = sources or tuple(filter(None, (os.environ.get("VAULTSCOPE_ARENA"),)))
    if not paths:
        raise click.UsageError("no SOURCE is given, and VAULTSCOPE_ARENA names none")
    wanted = LogFilter(level, loggers, tuple(map(FieldTest, fields)), since, until, only_json=as_json)
    if follow and lines is None and since is None:
        lines = FOLLOWED_LINES
    stop = StopSignal()
    with ExitStack() as stack:
        stack.enter_context(stop.listening())
        view = LogView(
            [_opened(stack, path, wanted, follow=follow, stopped=stop) for path in dict.fromkeys(paths)],
            wanted,
            sys.stdout.buffer,
            json=as_json,
            colour=_wants_colour(),
            stopped=stop,
        )
        try:
            (view.follow if follow else view.show)(lines)
        except BrokenPipeError:
            # Python flushes it once more at its end, and would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for error in view.errors:
        _notice(error)
    if view.not_json:
        _notice(f"{view.not_json} {'line was' if view.not_json == 1 else 'lines were'} no JSON")
    if not follow and stop.number is not None:
        sys.exit(128 + stop.number)
    sys.exit(1 if view.errors else 0)


def _opened(
    stack: ExitStack, path: str, wanted: LogFilter, *, follow: bool, stopped: Callable[[], bool]
) -> Source:
    part = SoupPart(since_ns=wanted.since_ns, until_ns=wanted.until_ns)
    try:
        source = open_source(path, follow=follow, notice=_notice, stopped=stopped, part=part)
    except OSError as error:
        raise NoSuchSourceError(f"{path} cannot be read: {error.strerror}") from None
    except VaultscopeError as error:
        raise DamagedSourceError(str(error)) from None
    except ModuleNotFoundError as missing:
        raise NoSuchSourceError(str(missing)) from None
    stack.callback(source.close)
    return source


def _notice(text: str) -> None:
    click.echo(f"vaultscope logs: {text}", err=True)


def _wants_colour() -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0", "false"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
