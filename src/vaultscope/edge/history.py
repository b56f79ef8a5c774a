"""Reading what a MetricRecorder recorded: one metric over time, as arrays of numpy.

    p99 = history(soup, "cas.put.duration", quantile=0.99, last="24h", step="5m")
    p99.times, p99.values                       # seconds since 1970, nanoseconds

An interval of the recorder belongs to the step in which its middle lies, or, if it is longer than a step, to
all whose middles it covers. It lies where its end says, and is as long as its process has lived meanwhile:
when a laptop slept, or the clock was set, nothing is spread over time in which nothing was counted. What no
interval covers is not known, and NaN; it is never bridged.

Quantiles are of the merged counts of all intervals of a step, never averages of quantiles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from vaultscope.core.history_codec import read, shape_of
from vaultscope.core.history_interval import Shape
from vaultscope.core.moment import parse_moment
from vaultscope.core.soup import Moment, SoupObject, moment_ns
from vaultscope.edge.history_recorder import EVERY_MAX, TYPE
from vaultscope.edge.history_steps import Part, Steps
from vaultscope.errors import DeclarationConflictError, DeclarationError, NotFoundError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["History", "ObjectSource", "history"]

STEPS_MAX = 1_000_000
STATISTICS = {
    "counter": ("rate", "sum"),
    "gauge": ("value", "mean"),
    "histogram": ("mean", "rate", "count", "sum"),
    "hdr": ("mean", "rate", "count", "sum"),
}
DEFAULTS: Mapping[str, str | float] = {"counter": "rate", "gauge": "value", "histogram": 0.99, "hdr": 0.99}


class ObjectSource(Protocol):
    """What is read: a Soup, or what has this of one."""

    def query(self, *, type: str, since: Moment, until: Moment) -> Iterator[SoupObject]:
        """The objects of a type, created from `since` on and before `until`."""

    def get(self, address: str) -> bytes:
        """An object's content. Raises NotFoundError if it is gone by now."""


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """A metric over time. All arrays are as long as there are steps."""

    name: str
    kind: str
    """"counter", "gauge", "histogram" or "hdr"."""
    unit: str
    """Of the values: the metric's; with "/s" for the rate of what has one; "1/s" of what has none."""
    statistic: str | float
    """What the values are: a quantile in 0..1, or "mean", "rate", "count", "sum" or "value"."""
    step_seconds: float
    times: NDArray[np.float64]
    """When each step begins, in seconds since 1970."""
    values: NDArray[np.float64]
    """Of each step; with `by`, of each group (rows) and step. NaN: not known."""
    groups: tuple[dict[str, str], ...] = ({},)
    """With `by`: the labels of each row."""
    covered_seconds: NDArray[np.float64] = field(kw_only=True)
    """How much of each step was recorded; less than a step at its ends, and where there are gaps."""
    error: float = 0.0
    """Of HDR quantiles: how much too high they may be for having been recorded coarsely, as a share of the
    value, beside what the histogram's own digits leave open; 0: nothing."""

    @property
    def datetimes(self) -> NDArray[np.datetime64]:
        """`times` as datetime64[ns], UTC."""
        return (self.times * 1e9).astype("int64").astype("datetime64[ns]")

    def __len__(self) -> int:
        return len(self.times)


def history(
    soup: ObjectSource,
    name: str,
    *,
    quantile: float | str | None = None,
    last: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    step: str | float | None = "5m",
    labels: Mapping[str, str] | None = None,
    by: str | Sequence[str] = (),
    vault: str | None = None,
    clock_ns: Callable[[], int] = time.time_ns,
) -> History:
    """How a metric was over time.

    Series, processes and vaults are added up; their gauges, too.

    Args:
        soup: Where a MetricRecorder put them.
        name: Of the metric.
        quantile: In 0..1, of a histogram of either kind (of fixed buckets: interpolated); or "mean", "rate"
            (a second: of a counter's growth, of a histogram's values), "count" (values of a histogram),
            "sum" (of them; a counter's growth), "value" (of a gauge, at the end of the step). None: a
            counter's rate, a gauge's value, a histogram's 0.99.
        last: How far back from now, or from `until`: "24h", which is the default; s, m, h, d, w.
        since, until: Instead: ns since 1970, a datetime, or text: "2026-01-31T12:00:00", or "3h" ago. Until
            defaults to now.
        step: "5m", or seconds. Steps begin at multiples of it since 1970; the first holds `since`. None: all
            of the range is one step, and begins with it.
        labels: Only series with these.
        by: Names of labels: a row of values for each combination that was seen.
        vault: Only intervals of this one.
        clock_ns: What is now.

    Raises:
        NotFoundError: Nothing of that name was recorded in the range.
        DeclarationError: An argument makes no sense, as a quantile of a counter.
        DeclarationConflictError: Metrics of that name but different kinds, units or buckets were recorded.
        DecodeError, StorageError: The soup cannot be read. ImportError: numpy is not installed.
    """
    start_ns, stop_ns, step_ns = _range(last, since, until, step, clock_ns())
    wanted_by = (by,) if isinstance(by, str) else tuple(by)
    steps = Steps(start_ns, step_ns, -(-(stop_ns - start_ns) // step_ns))
    declared: dict[Shape, int] = {}
    reach_ns = int(EVERY_MAX * 1e9)  # what is created later may reach into the range
    for each in soup.query(type=TYPE, since=start_ns, until=stop_ns + reach_ns):
        try:
            document = read(soup.get(each.address))
        except NotFoundError:
            continue  # its time had come between the two
        if vault is not None and document["vault"] != vault:
            continue
        part = Part.of(document)
        for row in document["metrics"]:
            if row[1] == name and steps.cover(part):
                declared.setdefault(shape_of(row), part.end_ns)
                _add(steps, part, row, labels or {}, wanted_by)
    if not declared:
        raise NotFoundError(f"nothing was recorded of a metric {name!r} in this range")
    shape = _one_shape(declared, quantile)
    statistic = _checked(shape, quantile, [*(labels or {}), *wanted_by], declared)
    values, error = steps.values(shape, statistic)
    groups = tuple(dict(zip(wanted_by, group, strict=True)) for group in steps.groups)
    return History(
        name, shape.kind, _unit(shape, statistic), statistic, step_ns / 1e9,
        steps.times(), values if wanted_by else values[0], groups,
        covered_seconds=steps.covered(), error=error,
    )  # fmt: skip


def _range(
    last: str | None, since: Moment | None, until: Moment | None, step: str | float | None, now_ns: int
) -> tuple[int, int, int]:
    if last is not None and since is not None:
        raise DeclarationError("say `last` or `since`, not both")
    stop_ns = now_ns if until is None else moment_ns(until, now_ns)
    start_ns = stop_ns - _span_ns(last or "24h") if since is None else moment_ns(since, now_ns)
    if start_ns >= stop_ns:
        raise DeclarationError("the range ends before it begins")
    if step is None:
        return start_ns, stop_ns, stop_ns - start_ns
    step_ns = _span_ns(step)
    start_ns -= start_ns % step_ns
    if (stop_ns - start_ns) // step_ns >= STEPS_MAX:
        raise DeclarationError(f"a step of {step} makes more than {STEPS_MAX:,} of them")
    return start_ns, stop_ns, step_ns


def _span_ns(span: str | float) -> int:
    try:
        span_ns = -parse_moment(span, 0) if isinstance(span, str) else round(span * 1e9)
    except (ValueError, OverflowError, TypeError):
        span_ns = 0
    if span_ns < 1_000_000:
        raise DeclarationError(f"{span!r} is no span of time such as 90s, 5m, 24h, 7d")
    return span_ns


def _add(steps: Steps, part: Part, row: list[Any], labels: Mapping[str, str], by: tuple[str, ...]) -> None:
    """The row's series that are wanted."""
    names = row[3]
    for series in row[5]:
        have = dict(zip(names, series[0], strict=True)) if labels or by else {}
        if all(have.get(label) == value for label, value in labels.items()):
            steps.add(part, tuple(have.get(label, "") for label in by), series)


def _one_shape(declared: dict[Shape, int], quantile: float | str | None) -> Shape:
    """The shape in which all can be added up: only quantiles need the same buckets."""
    shapes = list(declared)
    first = shapes[0]
    for other in shapes[1:]:
        same = (other.kind, other.unit) == (first.kind, first.unit)
        if not isinstance(quantile, str):
            same = same and (other.bounds, other.hdr_range) == (first.bounds, first.hdr_range)
        if not same:
            until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(declared[other] / 1e9))
            raise DeclarationConflictError(
                f"{first.name} was recorded as {_words(first)}, and by {until} as {_words(other)}: "
                "ask for a range, or a vault, in which it was one of them"
            )
    return first


def _words(shape: Shape) -> str:
    more = ""
    if shape.bounds:
        more = f" with bounds {', '.join(f'{bound:g}' for bound in shape.bounds)}"
    elif shape.hdr_range:
        more = " of {}..{}, {} digits".format(*shape.hdr_range)
    return f"{shape.kind}{f' in {shape.unit}' if shape.unit else ''}{more}"


def _checked(
    shape: Shape, quantile: float | str | None, labels: Sequence[str], declared: Mapping[Shape, int]
) -> str | float:
    """What is asked for, if the metric has it. Raises DeclarationError."""
    known = {label for each in declared for label in each.label_names}
    for label in labels:
        if label not in known:
            raise DeclarationError(f"{shape.name} has no label {label!r}: {_listed(known)}")
    if quantile is None:
        return DEFAULTS[shape.kind]
    if isinstance(quantile, str):
        if quantile not in STATISTICS[shape.kind]:
            raise DeclarationError(
                f"{shape.name} is a {shape.kind}: it has {', '.join(STATISTICS[shape.kind])}, "
                f"and no {quantile!r}"
            )
        return quantile
    if shape.kind not in ("histogram", "hdr"):
        raise DeclarationError(f"{shape.name} is a {shape.kind}, and has no quantiles")
    if not 0.0 <= quantile <= 1.0:
        raise DeclarationError(f"a quantile lies in 0..1, not {quantile}")
    return float(quantile)


def _listed(labels: set[str]) -> str:
    return f"it has {', '.join(sorted(labels))}" if labels else "it has none"


def _unit(shape: Shape, statistic: str | float) -> str:
    if statistic == "count":
        return ""
    if statistic == "rate":
        unit = shape.unit if shape.kind == "counter" else ""
        return f"{unit or 1}/s"
    return shape.unit
