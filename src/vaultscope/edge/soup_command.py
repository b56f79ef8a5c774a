"""The commands `vaultscope query`, `get` and `gc`: what is asked of a soup, and the exit status."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice

import click

from vaultscope.core.json_codec import dumps
from vaultscope.core.moment import parse_moment
from vaultscope.core.soup import Soup, SoupObject
from vaultscope.core.soup_query import Condition, attr
from vaultscope.core.soup_text import parse_condition
from vaultscope.edge.log_command import _wants_colour
from vaultscope.edge.soup_open import is_url, open_soup, public_name
from vaultscope.edge.soup_view import format_bytes, render_table
from vaultscope.edge.stop import StopSignal
from vaultscope.errors import DamagedError, DeclarationError, NotFoundError, VaultscopeError

__all__ = ["gc_command", "get_command", "query_command"]

TABLE_ROWS = 50
STEP_SECONDS = 0.5  # after so long it is looked whether to stop
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_BUDGET_MIN = 1 << 16
_ROW_BYTES = 300  # of an object beside its content, about


class SoupError(click.ClickException):
    """The soup cannot be read."""

    exit_code = 4


class NoSuchObjectError(click.ClickException):
    """There is no such object, or there are several, or it is damaged."""

    exit_code = 1


# ---- what all of them share


def _moment(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """Nanoseconds since 1970."""
    try:
        return None if value is None else parse_moment(value, time.time_ns())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _bytes(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kmgt]?)(i?)b?", value.lower())
    if match is None or (match[3] and not match[2]):
        raise click.BadParameter(f"{value!r} is no size: 500MB, 1GiB, 1.5GiB")
    size = int(float(match[1]) * (_BINARY_UNITS if match[3] else _UNITS)[match[2]])
    if not _BUDGET_MIN <= size < 1 << 62:
        raise click.BadParameter("a budget is 64KiB at least")
    return size


def _named(arguments: tuple[str, ...], others: int) -> tuple[str, tuple[str, ...]]:
    """The soup's name, and the other arguments. It may be left out if VAULTSCOPE_SOUP names it."""
    default = os.environ.get("VAULTSCOPE_SOUP", "")
    is_named = len(arguments) > others or (
        bool(arguments) and (is_url(arguments[0]) or os.path.exists(arguments[0]))
    )
    if is_named:
        return arguments[0], arguments[1:]
    if default:
        return default, arguments
    if arguments:
        raise click.UsageError(
            f"there is no soup {public_name(arguments[0])}, and VAULTSCOPE_SOUP names none"
        )
    raise click.UsageError("no SOUP is given, and VAULTSCOPE_SOUP names none")


@contextmanager
def _opened(name: str, *, max_bytes: int | None = None) -> Iterator[Soup]:
    """The soup, and its failures as those of a command."""
    with ExitStack() as stack:
        try:
            soup = open_soup(name, max_bytes=max_bytes)
            stack.callback(soup.close)
            yield soup
        except DeclarationError as error:
            raise click.UsageError(str(error)) from None
        except (DamagedError, NotFoundError) as error:
            raise NoSuchObjectError(str(error)) from None
        except VaultscopeError as error:
            raise SoupError(str(error)) from None
        except BrokenPipeError:
            # Python flushes it once more at its end, and would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            raise click.UsageError(f"{public_name(name)} cannot be read: {error.strerror}") from None
        except ModuleNotFoundError as missing:
            if missing.name != "psycopg":
                raise
            raise click.UsageError(str(missing)) from None


def _end(stop: StopSignal, status: int = 0) -> None:
    sys.exit(status if stop.number is None else 128 + stop.number)


def _notice(command: str, text: str) -> None:
    click.echo(f"vaultscope {command}: {text}", err=True)


# ---- query


@click.command("query")
@click.argument("arguments", nargs=-1, metavar="[SOUP] [EXPRESSION]")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Of this type. Again: or of this.")
@click.option(
    "--since", callback=_moment, metavar="TIME",
    help="Created from then on: 90s, 10m, 24h, 7d ago, or 2026-01-31T23:59:59, UTC unless it says otherwise.",
)  # fmt: skip
@click.option("--until", callback=_moment, metavar="TIME", help="Created before then.")
@click.option(
    "--order", default="-created", show_default=True, metavar="NAME",
    help="By this attribute, size, type, expires or created; backwards with a - before it.",
)  # fmt: skip
@click.option(
    "-n", "--limit", type=click.IntRange(0), metavar="N",
    help=f"Only the first N.  [default: {TABLE_ROWS}; all with --json, --content and --addresses]",
)  # fmt: skip
@click.option("--after", metavar="TOKEN", help="Those behind where another query, in this order, ended.")
@click.option("--json", "form", flag_value="json", help="What is known of each, as a line of JSON.")
@click.option("--content", "form", flag_value="content", help="The contents, each with a newline behind it.")
@click.option("--addresses", "form", flag_value="addresses", help="The addresses, a line each.")
@click.option("--count", "form", flag_value="count", help="How many there are.")
def query_command(
    arguments: tuple[str, ...],
    types: tuple[str, ...],
    since: int | None,
    until: int | None,
    order: str,
    limit: int | None,
    after: str | None,
    form: str | None,
) -> None:
    """Find objects in a SOUP by their type, time and attributes.

    SOUP is a file or the URL of a database, postgresql://user@host/database; without one it is what
    VAULTSCOPE_SOUP names. EXPRESSION is a condition on attributes, such as

    \b
      level = error and bytes > 4096
      name like 'cas.%' and (duration_ns between 1e6 and 1e9 or tags contains slow)
      not trace_id exists

    and on type, size, created, expires and address. A comparison of unlike kinds, a number with text, is
    false. If there are more than N, the TOKEN to go on with is told.

    \b
    Exit status:
      0  all was shown, be it nothing; or nobody reads the output any more
      1  an object is damaged
      2  wrong usage, such as an EXPRESSION that is none, or a SOUP that is not there
      4  the soup cannot be read
      130, 143  stopped by Ctrl-C or SIGTERM
    """
    name, rest = _named(arguments, 1)
    if len(rest) > 1:
        raise click.UsageError("an EXPRESSION is one argument: put it in quotes")
    stop = StopSignal()
    more = False
    with stop.listening(), _opened(name) as soup:
        where = parse_condition(rest[0]) if rest else None
        if form == "count":
            click.echo(str(soup.count(where, type=types or None, since=since, until=until)))
            return
        if limit is None and form is None:
            limit = TABLE_ROWS
        found = soup.query(where, type=types or None, since=since, until=until, order=order, after=after)
        _write(_shown(soup, _until(stop, islice(found, limit)), form))
        token = found.after
        more = limit is not None and stop.number is None and next(found, None) is not None
    if more and token is not None:
        _notice("query", f"there are more: --after {token}")
    _end(stop)


def _until(stop: StopSignal, found: Iterable[SoupObject]) -> Iterator[SoupObject]:
    for each in found:
        if stop():
            return
        yield each


def _shown(soup: Soup, found: Iterator[SoupObject], form: str | None) -> Iterator[bytes]:
    if form == "json":
        return (dumps(_as_dict(each)) for each in found)
    if form == "addresses":
        return (each.address.encode() for each in found)
    if form == "content":
        return (content for each in found for content in _contents(soup, each.address))
    encoding = sys.stdout.encoding or "ascii"
    columns = shutil.get_terminal_size((100, 24)).columns
    lines = render_table(found, width=columns, colour=_wants_colour(), ascii_only=not _can_show("…"))
    return (line.encode(encoding, "backslashreplace") for line in lines)


def _contents(soup: Soup, address: str) -> Iterator[bytes]:
    """The content, unless it was deleted since it was found."""
    try:
        yield soup.get(address)
    except NotFoundError:
        return


def _as_dict(found: SoupObject) -> dict[str, object]:
    return {
        "address": found.address,
        "type": found.type,
        "created_ns": found.created_ns,
        "expires_ns": found.expires_ns,
        "size": found.size,
        "pinned": found.pinned,
        "attributes": dict(found.attributes),
    }


def _can_show(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _write(lines: Iterable[bytes]) -> None:
    out = sys.stdout.buffer
    for line in lines:
        out.write(line + b"\n")
    out.flush()


# ---- get


@click.command("get")
@click.argument("arguments", nargs=-1, metavar="[SOUP] ADDRESS")
def get_command(arguments: tuple[str, ...]) -> None:
    """Write the content of an object to standard output, as it was put.

    SOUP is as in `vaultscope query`. ADDRESS is the object's, or its first digits, if no other begins so.

    \b
    Exit status:
      0  it is written; or nobody reads the output any more
      1  there is no such object, or several, or it is damaged
      2  wrong usage, such as a SOUP that is not there
      4  the soup cannot be read
    """
    name, rest = _named(arguments, 1)
    if len(rest) != 1:
        raise click.UsageError("an ADDRESS is wanted")
    digits = rest[0].lower().removeprefix("sha256:")
    if not re.fullmatch("[0-9a-f]{1,64}", digits):
        raise click.UsageError(f"{rest[0]!r} is no ADDRESS: up to 64 hexadecimal digits")
    with _opened(name) as soup:
        address = f"sha256:{digits}" if len(digits) == 64 else _only(soup, digits)
        sys.stdout.buffer.write(soup.get(address))
        sys.stdout.buffer.flush()


def _only(soup: Soup, digits: str) -> str:
    found = [each.address for each in soup.query(attr("address").like(f"sha256:{digits}%"), limit=10)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise NoSuchObjectError(f"no address begins with {digits}")
    raise NoSuchObjectError(f"several addresses begin with {digits}:\n  " + "\n  ".join(found))


# ---- gc


@click.command("gc")
@click.argument("arguments", nargs=-1, metavar="[SOUP]")
@click.option(
    "--max-bytes", callback=_bytes, metavar="SIZE",
    help="Delete the oldest, too, until it takes no more than that: 500MB, 1GiB.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Delete nothing, say what would be.")
def gc_command(arguments: tuple[str, ...], max_bytes: int | None, dry_run: bool) -> None:
    """Delete what has expired from a SOUP, and what is beyond a budget.

    SOUP is as in `vaultscope query`. What is pinned stays. Vaults may use the soup meanwhile.

    \b
    Exit status:
      0  done; with --dry-run also if there is something to be done
      1  what is pinned alone is beyond the budget
      2  wrong usage, such as a SOUP that is not there
      4  the soup cannot be read, or written
      130, 143  stopped before all was done, by Ctrl-C or SIGTERM
    """
    name, rest = _named(arguments, 0)
    if rest:
        raise click.UsageError("one SOUP at a time")
    stop = StopSignal()
    status = 0
    with stop.listening(), _opened(name, max_bytes=max_bytes) as soup:
        if dry_run:
            _tell_plan(soup, max_bytes, stop)
        else:
            status = _collect(soup, stop)
    _end(stop, status)


def _collect(soup: Soup, stop: Callable[[], bool]) -> int:
    expired = evicted = freed = 0
    while True:
        report = soup.gc(max_seconds=STEP_SECONDS)
        expired, evicted = expired + report.expired, evicted + report.evicted
        freed += report.freed_bytes
        if report.complete or stop() or not (report.expired or report.evicted or report.freed_bytes):
            break
    click.echo(f"{expired:,} expired, {evicted:,} evicted, {format_bytes(freed)} freed")
    if report.complete or stop():
        return 0
    _notice("gc", "what is left is pinned, and beyond the budget")
    return 1


def _tell_plan(soup: Soup, max_bytes: int | None, stop: Callable[[], bool]) -> None:
    now_ns = time.time_ns()
    is_expired = attr("expires") <= now_ns
    expired, expired_bytes = _sum(soup, is_expired, stop)
    stats = soup.stats()
    line = f"{expired:,} of {stats.objects:,} objects have expired"
    if max_bytes is not None:
        weight = stats.bytes / max(1, stats.content_bytes + _ROW_BYTES * stats.objects)
        excess = stats.bytes - weight * expired_bytes - max_bytes
        evicted = 0
        if excess > 0:
            evicted, _ = _sum(soup, ~is_expired, stop, enough=excess / weight)
        line += f", about {evicted:,} of the others would be evicted"
    click.echo(f"{line}; the soup takes {format_bytes(stats.bytes)}")


def _sum(
    soup: Soup, where: Condition, stop: Callable[[], bool], *, enough: float = float("inf")
) -> tuple[int, int]:
    """How many objects, oldest first, and what they take, about; no more than is enough."""
    count = total = 0
    for each in soup.query(where):
        if total >= enough or stop():
            break
        if not each.pinned:
            count, total = count + 1, total + each.size + _ROW_BYTES
    return count, total
