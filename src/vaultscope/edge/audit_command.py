"""The command `vaultscope audit`: what is asked for, what is found, and the exit status."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import click

from vaultscope.core.audit_entry import Entry
from vaultscope.core.json_codec import canonical
from vaultscope.core.moment import parse_moment, time_ns
from vaultscope.edge.audit_reader import Verification, log_files, read_entries
from vaultscope.edge.audit_text import as_lines, as_s_expression
from vaultscope.edge.stop import StopSignal
from vaultscope.errors import AuditKeyError
from vaultscope.signals.audit import Finding

__all__ = ["audit"]

FINDINGS_SHOWN = 10
FORMATS = {"json": lambda entry: canonical(entry.as_dict()).decode(), "sexp": as_s_expression}


class NoSuchLogError(click.ClickException):
    """There is nothing to read at a path, or no key."""

    exit_code = 2


def _moment(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """Nanoseconds since 1970."""
    try:
        return None if value is None else parse_moment(value, time.time_ns())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which entries."""
    for option in (
        click.option("--until", callback=_moment, metavar="TIME", help="Before then."),
        click.option(
            "--since", callback=_moment, metavar="TIME",
            help="From then on: 90s, 10m, 2h, 1d ago, or 2026-01-31T23:59:59, UTC unless it says otherwise.",
        ),
        click.option(
            "--verb", "verbs", multiple=True, metavar="VERB",
            help="That did this, or what is below it: object is object.deleted, too. Again: or this.",
        ),
        click.option("--actor", "actors", multiple=True, metavar="NAME", help="By this one. Again: or this."),
        click.argument("path", metavar="LOG"),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group()
def audit() -> None:
    """Read an audit log, and prove that it was not changed.

    LOG is the file that an AuditLog was given; the further files of the log are found by its name.
    """


@audit.command()
@click.argument("path", metavar="LOG")
@click.option("--anchor", metavar="FILE", help="What the log must hold.  [default: LOG.anchor]")
@click.option(
    "--key", metavar="KEY",
    help="The public key that must have sealed it: a file, or 64 hexadecimal digits.  "
    "[default: LOG.key.pub, if it is there]",
)  # fmt: skip
def verify(path: str, anchor: str | None, key: str | None) -> None:
    """Read the whole log, and name what is wrong with it, the first bad entry first.

    Found is each bit that is not as it was written, each entry and seal that was deleted, swapped, duplicated
    or inserted, each truncation, and a log written anew by somebody who has not the key. Not found is a log
    that was put back to an earlier state together with its anchor: give --anchor one that was kept elsewhere.

    \b
    Exit status:
      0  all is as it was written
      1  something is wrong
      2  wrong usage, such as a LOG or a KEY that is not there
      3  nothing is wrong, but no public key was given: the seals may be anybody's
      130, 143  stopped by Ctrl-C or SIGTERM
    """
    _require(path)
    stop = StopSignal()
    wrong = 0
    unproven: Finding | None = None
    with stop.listening():
        verification = Verification(path, anchor, key)
        try:
            for finding in verification:
                if stop():
                    break
                if finding.kind == "unproven":
                    unproven = finding
                    continue
                wrong += 1
                if wrong <= FINDINGS_SHOWN:
                    click.echo(str(finding))
        except AuditKeyError as error:
            raise NoSuchLogError(str(error)) from None
        except ModuleNotFoundError as missing:
            raise NoSuchLogError(str(missing)) from None
        except OSError as error:
            raise NoSuchLogError(f"{error.filename or path} cannot be read: {error.strerror}") from None
    if stop.number is not None:
        sys.exit(128 + stop.number)
    if wrong > FINDINGS_SHOWN:
        click.echo(f"and {wrong - FINDINGS_SHOWN:,} more")
    told = f"{verification.entries:,} entries, {verification.seals:,} seals, {verification.files} files"
    if wrong:
        click.echo(f"{path} is NOT as it was written ({told})")
        sys.exit(1)
    if unproven is not None:
        click.echo(f"{path}: {unproven}")
        click.echo(f"the chain is whole ({told})")
        sys.exit(3)
    click.echo(f"{path} is as it was written: {told}")


def _require(path: str) -> None:
    try:
        found = log_files(path)
    except OSError as error:
        raise NoSuchLogError(f"{path} cannot be read: {error.strerror}") from None
    if not found and not os.path.exists(f"{path}.anchor"):
        raise NoSuchLogError(f"there is no audit log {path}")


@audit.command()
@_filters
@click.option("-n", "--lines", type=click.IntRange(0), metavar="N", help="Only the last N that are wanted.")
def show(lines: int | None, **wanted: Any) -> None:
    """Show entries for people, oldest first: when, number, actor, verb, object, and the rest as JSON.

    Nothing is verified. Times are UTC.

    \b
    Exit status:
      0  all was read; or nobody reads the output any more
      1  a line is no entry and no seal, or a file could not be read to its end
      2  wrong usage, such as a LOG that is not there
      130, 143  stopped by Ctrl-C or SIGTERM
    """
    _write(wanted, as_lines, lines)


@audit.command()
@_filters
@click.option("--format", "form", type=click.Choice(sorted(FORMATS)), default="json", show_default=True)
def export(form: str, **wanted: Any) -> None:
    """Write entries as lines of JSON or S-expressions, each with the seal that covers it.

    Nothing is verified. The exit status is that of `show`.
    """
    _write(wanted, FORMATS[form], None)


class _Bad:
    """Lines that are neither entries nor seals: the first ones are told."""

    count = 0

    def __call__(self, finding: Finding) -> None:
        self.count += 1
        if self.count <= FINDINGS_SHOWN:
            _notice(str(finding))


def _write(wanted: dict[str, Any], form: Callable[[Entry], str], last: int | None) -> None:
    """Writes the entries that are wanted, and ends with the exit status."""
    path: str = wanted["path"]
    _require(path)
    bad = _Bad()
    stop = StopSignal()
    failed = False
    with stop.listening():
        try:
            _print(_chosen(path, wanted, bad, stop, last), form)
        except BrokenPipeError:
            # Python flushes it once more at its end, and would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            _notice(f"{error.filename or path} cannot be read: {error.strerror}")
            failed = True
    if bad.count > FINDINGS_SHOWN:
        _notice(f"and {bad.count - FINDINGS_SHOWN:,} lines more that are neither entries nor seals")
    if stop.number is not None:
        sys.exit(128 + stop.number)
    sys.exit(1 if bad.count or failed else 0)


def _chosen(
    path: str, wanted: dict[str, Any], bad: _Bad, stop: StopSignal, last: int | None
) -> Iterable[Entry]:
    def entries() -> Iterator[Entry]:
        for entry in read_entries(path, on_bad=bad):
            if stop():
                return
            if _is_wanted(entry, wanted):
                yield entry

    if last is None:
        return entries()
    return deque(entries(), maxlen=last) if last else islice(entries(), 0)


def _is_wanted(entry: Entry, wanted: dict[str, Any]) -> bool:
    if wanted["actors"] and entry.actor not in wanted["actors"]:
        return False
    verbs: tuple[str, ...] = wanted["verbs"]
    if verbs and not any(entry.verb == verb or entry.verb.startswith(f"{verb}.") for verb in verbs):
        return False
    at = time_ns(entry.timestamp) or 0
    since, until = wanted["since"], wanted["until"]
    return (since is None or at >= since) and (until is None or at < until)


def _print(entries: Iterable[Entry], form: Callable[[Entry], str]) -> None:
    out = sys.stdout
    for entry in entries:
        out.write(form(entry) + "\n")
    out.flush()


def _notice(text: str) -> None:
    click.echo(f"vaultscope audit: {text}", err=True)
