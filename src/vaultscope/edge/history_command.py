"""The command `vaultscope history`: what is asked for, how it is shown, and the exit status."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import sys
import time
from typing import Any

import click

from vaultscope.core.moment import parse_moment
from vaultscope.edge.history import History, history
from vaultscope.edge.history_chart import chart, quantity
from vaultscope.edge.soup_open import open_soup, public_name
from vaultscope.errors import DecodeError, NotFoundError, VaultscopeError

__all__ = ["history_command"]

STEPS = ("1m", "2m", "5m", "10m", "15m", "30m", "1h", "2h", "3h", "6h", "12h", "1d", "7d")


class NothingRecordedError(click.ClickException):
    """There is nothing of the metric."""

    exit_code = 1


class SoupFileError(click.ClickException):
    """The soup cannot be read."""

    exit_code = 4


def _statistic(context: click.Context, option: click.Parameter, value: str | None) -> float | str | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return value


def _labels(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if any(not equals for _, equals, _ in pairs):
        raise click.BadParameter("wanted NAME=VALUE")
    return {name: value for name, _, value in pairs}


@click.command("history")
@click.argument("name")
@click.argument("soup", envvar="VAULTSCOPE_SOUP", metavar="[SOUP]")
@click.option(
    "-q", "--quantile", callback=_statistic, metavar="0..1|NAME",
    help="Of a histogram, or one of mean, rate, count, sum, value.  "
    "[default: a counter's rate, a gauge's value, a histogram's 0.99]",
)  # fmt: skip
@click.option("--last", metavar="SPAN", help="How far back: 90s, 10m, 24h, 7d.  [default: 24h]")
@click.option("--since", metavar="TIME", help="From then on: 3h ago, or 2026-01-31T12:00:00, UTC.")
@click.option("--until", metavar="TIME", help="Before then.  [default: now]")
@click.option("--step", metavar="SPAN", help="A value for each.  [default: what a chart has room for]")
@click.option(
    "--label", "labels", multiple=True, callback=_labels, metavar="NAME=VALUE",
    help="Only series with this label. Given again: and this one.",
)  # fmt: skip
@click.option("--by", multiple=True, metavar="NAME", help="A chart for each value of this label.")
@click.option("--vault", metavar="NAME", help="Only what this vault recorded.")
@click.option("--json", "form", flag_value="json", help="An object for each step, a line each.")
@click.option("--csv", "form", flag_value="csv", help="A table with a heading.")
@click.option("--ascii", "ascii_only", is_flag=True, help="Draw with ASCII alone.")
@click.option("--width", type=click.IntRange(20, 1000), help="Of the chart.  [default: the terminal's]")
@click.option("--height", type=click.IntRange(3, 200), default=12, show_default=True, help="Of the chart.")
def history_command(
    name: str,
    soup: str,
    quantile: float | str | None,
    last: str | None,
    since: str | None,
    until: str | None,
    step: str | None,
    labels: dict[str, str],
    by: tuple[str, ...],
    vault: str | None,
    form: str | None,
    ascii_only: bool,
    width: int | None,
    height: int,
) -> None:
    """Show how the metric NAME was over time, as a SOUP has it.

    SOUP is the file, or the URL of the database, into which a vault puts its metrics; the one that
    VAULTSCOPE_SOUP names if it is left out. Series, and vaults, are added up. Times are UTC. Gaps are times
    in which nothing was recorded.

    \b
    Exit status:
      0  it is shown
      1  nothing was recorded of the metric in that time
      2  wrong usage, such as a quantile of a counter, or numpy is not installed
      4  the soup cannot be read
    """
    columns = width or shutil.get_terminal_size().columns
    try:
        with_step = step or _fitting_step(last, since, until, columns)
        store = open_soup(soup)
        try:
            found = history(
                store, name, quantile=quantile, last=last, since=since, until=until, step=with_step,
                labels=labels, by=by, vault=vault,
            )  # fmt: skip
        finally:
            store.close()
    except NotFoundError as error:
        raise NothingRecordedError(str(error)) from None
    except DecodeError as error:
        raise SoupFileError(str(error)) from None
    except ValueError as error:  # a DeclarationError, or no time
        raise click.UsageError(str(error)) from None
    except VaultscopeError as error:
        raise SoupFileError(str(error)) from None
    except OSError as error:
        raise click.UsageError(f"{public_name(soup)} cannot be read: {error.strerror}") from None
    except ModuleNotFoundError as missing:
        if missing.name == "psycopg":
            raise click.UsageError(str(missing)) from None
        if missing.name != "numpy":
            raise
        raise click.UsageError("history needs numpy: pip install 'vaultscope[history]'") from None
    try:
        if form == "json":
            _write_json(found)
        elif form == "csv":
            _write_csv(found)
        else:
            picked = {"vault": vault, **labels} if vault is not None else labels
            _show(found, picked, columns, height, ascii_only=ascii_only or not _has_braille())
    except BrokenPipeError:
        # Python flushes it once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show(found: History, picked: dict[str, str], columns: int, height: int, *, ascii_only: bool) -> None:
    rows = found.values.reshape(-1, len(found))
    times = found.times.tolist()
    for labels, row in zip(found.groups, rows.tolist(), strict=True):
        click.echo(_heading(found, picked | labels))
        for line in chart(times, row, unit=found.unit, width=columns, height=height, ascii_only=ascii_only):
            click.echo(line)
        click.echo(_summary(found, row))
    if not found.groups:
        click.echo(f"{found.name} has no series in this time")


def _heading(found: History, labels: dict[str, str]) -> str:
    what = found.statistic if isinstance(found.statistic, str) else f"p{found.statistic * 100:g}"
    named = "".join(f" {label}={value}" for label, value in labels.items())
    return f"{found.name}{named}  {what}, a value each {_span(found.step_seconds)}"


def _summary(found: History, row: list[float]) -> str:
    known = [value for value in row if math.isfinite(value)]
    if not known:
        return "nothing is known"
    newest, least, most = quantity([known[-1], min(known), max(known)], found.unit)
    text = f"last {newest}, least {least}, most {most}"
    if found.error:
        text += f"; at most {found.error:.1%} too high"
    gaps = len(row) - len(known)
    return f"{text}; {gaps} of {len(row)} steps not known" if gaps else text


def _write_json(found: History) -> None:
    for labels, row in zip(found.groups, found.values.reshape(-1, len(found)).tolist(), strict=True):
        for at, value in zip(found.times.tolist(), row, strict=True):
            line: dict[str, Any] = {"time": _iso(at), "value": value if math.isfinite(value) else None}
            if labels:
                line["labels"] = labels
            click.echo(json.dumps(line, separators=(",", ":")))


def _write_csv(found: History) -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    names = list(found.groups[0]) if found.groups else []
    table.writerow(["time", *names, f"{found.statistic}{f' ({found.unit})' if found.unit else ''}"])
    for labels, row in zip(found.groups, found.values.reshape(-1, len(found)).tolist(), strict=True):
        for at, value in zip(found.times.tolist(), row, strict=True):
            table.writerow([_iso(at), *labels.values(), value if math.isfinite(value) else ""])


def _fitting_step(last: str | None, since: str | None, until: str | None, columns: int) -> str:
    """The shortest step of which no two share a column of a chart's dots."""
    now = time.time_ns()
    stop = now if until is None else parse_moment(until, now)
    start = parse_moment(last or "24h", stop) if since is None else parse_moment(since, now)
    for step in STEPS:
        if stop - start <= 2 * columns * (stop - parse_moment(step, stop)):
            return step
    return STEPS[-1]


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _span(seconds: float) -> str:
    for size, sign in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {sign}"
    return f"{seconds:g} s"


def _has_braille() -> bool:
    try:
        "⣿┤µ".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return os.environ.get("TERM") != "dumb"
