"""The command `vaultscope trace`: what is asked for, where it is read, and the exit status."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable
from contextlib import ExitStack

import click

from vaultscope.core.json_codec import dumps
from vaultscope.core.soup_query import attr
from vaultscope.edge.log_command import DamagedSourceError, NoSuchSourceError, _wants_colour
from vaultscope.edge.log_source import PipeSource, Source, open_source
from vaultscope.edge.soup_open import public_name
from vaultscope.edge.soup_source import TRACE_TYPE, SoupPart
from vaultscope.edge.stop import StopSignal
from vaultscope.edge.trace_reader import ID_DIGITS, SpanLine, TraceReader, TraceSummary, id_digits, summarize
from vaultscope.edge.trace_view import Style, render_list, render_trace
from vaultscope.errors import VaultscopeError

__all__ = ["trace"]

CANDIDATES_SHOWN = 10
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000}


class NoSuchTraceError(click.ClickException):
    """There is no trace of that id, or there are several."""

    exit_code = 1


def _nanoseconds(context: click.Context, option: click.Parameter, value: str | None) -> int:
    if value is None:
        return 0
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([nuµm]?s|m)", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no time: 500us, 10ms, 1.5s, 2m")
    return int(float(match[1]) * _UNITS[match[2]])


@click.command()
@click.argument("arguments", nargs=-1, metavar="ID [SOURCE]...")
@click.option("-v", "--verbose", is_flag=True, help="With attributes, events and links.")
@click.option("--list", "as_list", is_flag=True, help="All traces, newest first; no ID is given then.")
@click.option("--last", is_flag=True, help="The newest trace; no ID is given then.")
@click.option("--errors", is_flag=True, help="With --list or --last: of those with errors.")
@click.option(
    "--slower", callback=_nanoseconds, metavar="TIME",
    help="With --list or --last: of those that took so long, or longer: 500us, 10ms, 1.5s, 2m.",
)  # fmt: skip
@click.option("-n", "--lines", type=click.IntRange(0), metavar="N", help="With --list: only the newest N.")
@click.option("--json", "as_json", is_flag=True, help="The spans as lines of JSON; with --list, the traces.")
def trace(
    arguments: tuple[str, ...],
    verbose: bool,
    as_list: bool,
    last: bool,
    errors: bool,
    slower: int,
    lines: int | None,
    as_json: bool,
) -> None:
    """Show a trace as a waterfall: which operation called which, and how long each took.

    ID is the trace's, or its beginning, if no other begins so; zeros in front may be left out of a whole one.
    A SOURCE is a file of spans as a JsonLinesSpanSink writes it, or a log that a program in C writes its
    spans to, or its arena; compressed with gzip or not, or - for standard input. Several, of several vaults
    or rotated, are put together. A soup, a file or postgresql://..., is one, too. Without any it is the file
    that VAULTSCOPE_TRACES names.

    A span is marked with ! if it failed, with ~ if it comes from another process whose clock cannot be right,
    and was moved. Times are UTC. Colours are for terminals, unless NO_COLOR or FORCE_COLOR say otherwise.

    \b
    Examples:
      vaultscope trace --list --errors vault.spans
      vaultscope trace --last --errors vault.spans
      vaultscope trace 4bf92f35 north.spans south.spans*
      vaultscope trace --list --slower 50ms --json vault.spans | jq -r .trace_id

    \b
    Exit status:
      0  shown; or nobody reads the output any more
      1  there is no such trace, or several, or a source could not be read to its end
      2  wrong usage, such as a SOURCE that is not there
      4  an arena is damaged, or a soup cannot be read
      130, 143  stopped by Ctrl-C or SIGTERM
    """
    if as_list and last:
        raise click.UsageError("--list and --last are one or the other")
    if not (as_list or last) and (errors or slower):
        raise click.UsageError("--errors and --slower go with --list or --last")
    if not as_list and lines is not None:
        raise click.UsageError("--lines goes with --list")
    prefix = "" if as_list or last else _prefix(arguments)
    named = arguments if as_list or last else arguments[1:]
    paths = named or tuple(filter(None, (os.environ.get("VAULTSCOPE_TRACES"),)))
    if not paths:
        raise click.UsageError("no SOURCE is given, and VAULTSCOPE_TRACES names none")
    stop = StopSignal()
    with ExitStack() as stack:
        stack.enter_context(stop.listening())
        sources = [_opened(stack, path, prefix, stop) for path in dict.fromkeys(paths)]
        reader = TraceReader(sources, stopped=stop)
        found = summarize(reader.spans()) if as_list or last else []
        chosen = [each for each in found if each.duration_ns >= slower and (each.errors or not errors)]
        if last and stop.number is None:
            prefix = _newest(chosen, paths, reader)
            reader = TraceReader(_rewound(sources), stopped=stop)
        if as_list:
            output = _listed(chosen[:lines], id_digits(found), as_json=as_json)
        elif stop.number is None:
            spans = _only(reader.find(prefix), prefix, paths, reader)
            output = _shown(spans, as_json=as_json, verbose=verbose)
        if stop.number is None:
            _write(output)
    _tell(reader)
    if stop.number is not None:
        sys.exit(128 + stop.number)
    sys.exit(1 if reader.errors else 0)


def _prefix(arguments: tuple[str, ...]) -> str:
    if not arguments:
        raise click.UsageError("no ID is given, nor --list, nor --last")
    prefix = arguments[0].replace("-", "").lower()
    if not re.fullmatch("[0-9a-f]{1,32}", prefix):
        raise click.UsageError(f"{arguments[0]!r} is no ID: up to 32 hexadecimal digits, as --list has them")
    return prefix


def _opened(stack: ExitStack, path: str, prefix: str, stop: StopSignal) -> Source:
    trace_id = attr("trace_id")
    wanted = (trace_id == prefix.zfill(ID_DIGITS)) | trace_id.like(f"{prefix}%") if prefix else None
    part = SoupPart(TRACE_TYPE, wanted)
    try:
        source = open_source(path, follow=False, notice=_notice, stopped=stop, part=part)
    except OSError as error:
        raise NoSuchSourceError(f"{path} cannot be read: {error.strerror}") from None
    except VaultscopeError as error:
        raise DamagedSourceError(str(error)) from None
    except ModuleNotFoundError as missing:
        raise NoSuchSourceError(str(missing)) from None
    stack.callback(source.close)
    return source


def _rewound(sources: list[Source]) -> list[Source]:
    """The sources, to be read a second time."""
    for source in sources:
        if isinstance(source, PipeSource):
            raise click.UsageError(f"--last reads a SOURCE twice, and {source.name} can be read once")
        source.rewind(sys.maxsize)
    return sources


def _newest(chosen: list[TraceSummary], paths: Iterable[str], reader: TraceReader) -> str:
    """The id of the newest trace. Raises NoSuchTraceError."""
    if not chosen:
        _tell(reader)
        raise NoSuchTraceError(f"there is none in {', '.join(map(public_name, paths))}")
    return chosen[0].trace_id


def _only(
    found: dict[str, list[SpanLine]], prefix: str, paths: Iterable[str], reader: TraceReader
) -> list[SpanLine]:
    """The spans of the one trace that was found. Raises NoSuchTraceError."""
    if len(found) == 1:
        return next(iter(found.values()))
    if reader.stopped():
        return []
    _tell(reader)
    if not found:
        raise NoSuchTraceError(f"no trace begins with {prefix} in {', '.join(map(public_name, paths))}")
    candidates = sorted(found)[:CANDIDATES_SHOWN]
    more = f"\n  and {len(found) - len(candidates)} more" if len(found) > len(candidates) else ""
    raise NoSuchTraceError(f"{len(found)} traces begin with {prefix}:\n  " + "\n  ".join(candidates) + more)


def _shown(spans: list[SpanLine], *, as_json: bool, verbose: bool) -> Iterable[bytes]:
    if as_json or not spans:
        return (span.line for span in spans)
    encoding = sys.stdout.encoding or "ascii"
    return (line.encode(encoding, "backslashreplace") for line in render_trace(spans, _style(verbose)))


def _listed(traces: list[TraceSummary], digits: int, *, as_json: bool) -> Iterable[bytes]:
    if as_json:
        return (
            dumps(
                {
                    "trace_id": each.trace_id,
                    "name": each.name,
                    "start_ns": each.start_ns,
                    "duration_ns": each.duration_ns,
                    "spans": each.spans,
                    "errors": each.errors,
                }
            )
            for each in traces
        )
    encoding = sys.stdout.encoding or "ascii"
    rows = render_list(traces, _style(False, width=0), id_digits=digits)
    return (row.encode(encoding, "backslashreplace") for row in rows)


def _style(verbose: bool, *, width: int = 100) -> Style:
    """width: where there is no terminal."""
    try:
        "▇▏…µ".encode(sys.stdout.encoding or "ascii")
        ascii_only = False
    except UnicodeEncodeError:
        ascii_only = True
    columns = shutil.get_terminal_size((width, 24)).columns
    return Style(columns, _wants_colour(), ascii_only, verbose)


def _write(lines: Iterable[bytes]) -> None:
    out = sys.stdout.buffer
    try:
        for line in lines:
            out.write(line + b"\n")
        out.flush()
    except BrokenPipeError:
        # Python flushes it once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(reader: TraceReader) -> None:
    for error in reader.errors:
        _notice(error)
    if reader.odd:
        _notice(f"{reader.odd} {'line was no span' if reader.odd == 1 else 'lines were no spans'}")


def _notice(text: str) -> None:
    click.echo(f"vaultscope trace: {text}", err=True)
