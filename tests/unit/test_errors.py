"""The exceptions: what each one is as well, what it says, and that every refusal is one of them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest

import vaultscope
from vaultscope import (
    DeclarationConflictError,
    DeclarationError,
    DecodeError,
    HdrCounts,
    LimitError,
    NativeError,
    NotFoundError,
    Registry,
    VaultscopeError,
)

ALL = [DeclarationError, DeclarationConflictError, NotFoundError, LimitError, DecodeError, NativeError]


@pytest.mark.parametrize(
    ("error", "also"),
    [
        (DeclarationError, ValueError),
        (DeclarationConflictError, DeclarationError),
        (NotFoundError, KeyError),
        (DecodeError, ValueError),
        *[(error, VaultscopeError) for error in ALL],
    ],
)
def test_what_an_error_is_as_well(error: type[Exception], also: type[Exception]) -> None:
    """Who catches Python's own error, or the root, catches ours."""
    assert issubclass(error, also)


def test_limits_and_conflicts_are_apart() -> None:
    """A full arena is no mistake in a declaration: who catches the one does not catch the other."""
    assert not issubclass(LimitError, ValueError)
    assert not issubclass(NotFoundError, DeclarationError)


@pytest.mark.parametrize("error", [VaultscopeError, *ALL])
def test_an_error_tells_its_message(error: type[Exception]) -> None:
    """The message is shown as it was written; a KeyError's would stand in quotes."""
    assert str(error("it's gone")) == "it's gone"
    assert str(error()) in ("", "not found")


@pytest.mark.parametrize("error", [VaultscopeError, *ALL])
def test_an_error_travels(error: type[Exception]) -> None:
    """A worker process can send it home."""
    home = pickle.loads(pickle.dumps(error("a", 5)))
    assert type(home) is error
    assert home.args == ("a", 5)


def test_every_error_is_public() -> None:
    """All of them can be had from the door."""
    assert {error.__name__ for error in [VaultscopeError, *ALL]} <= set(vaultscope.__all__)


def test_not_found_in_a_snapshot() -> None:
    """A metric, a series or the labels of one that are not there: NotFoundError, with the name."""
    registry = Registry()
    registry.counter("a", labels=("x",)).labels("1")
    snapshot = registry.snapshot()
    for look in (
        lambda: snapshot["nobody"],
        lambda: snapshot.value("nobody"),
        lambda: snapshot.value("a"),
        lambda: snapshot.value("a", x="2"),
        lambda: snapshot.value("a", y="1"),
        lambda: snapshot["a"].series(x="1", y="1"),
        lambda: registry.read("nobody"),
    ):
        with pytest.raises(NotFoundError, match=r"nobody|\ba\b"):
            look()


def test_decode_errors_are_values() -> None:
    """A caller that expects a ValueError from bad bytes gets one."""
    with pytest.raises(ValueError, match="HDR encoding") as caught:
        HdrCounts.decode(b"AAAA")
    assert type(caught.value) is DecodeError


def run_with(environment: dict[str, str], script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from vaultscope import *\n" + script],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "environment",
    [
        {"VAULTSCOPE_STRIPES": "many"},
        {"VAULTSCOPE_STRIPES": "-1"},
        {"VAULTSCOPE_STRIPES": "99999999999"},
        {"VAULTSCOPE_STRIPE_BYTES": "4096"},
        {"VAULTSCOPE_STRIPE_BYTES": "1e9"},
    ],
    ids=str,
)
def test_bad_settings(environment: dict[str, str]) -> None:
    """A setting that makes no arena is told at the first registry, by its name; importing is harmless."""
    out = run_with(
        environment,
        "try: Registry()\nexcept DeclarationError as error: print(error)\n",
    )
    assert next(iter(environment)) in out


def test_a_full_arena() -> None:
    """When no cell is left, a new metric is a LimitError that says which setting to raise; what is there
    goes on."""
    out = run_with(
        {"VAULTSCOPE_STRIPE_BYTES": "65536"},
        "r = Registry(); a = r.counter('a')\n"
        "n = 0\n"
        "try:\n"
        "    while n < 100_000: r.histogram(f'h{n}'); n += 1\n"
        "except LimitError as error: print('VAULTSCOPE_STRIPE_BYTES' in str(error))\n"
        "a.inc(3); s = r.snapshot(); print(s.value('a'), len(s) == n + 1, f'h{n}' in r)\n",
    )
    assert out.splitlines() == ["True", "3 True False"]


def test_a_full_arena_and_labels() -> None:
    """Series that find no cell are answered with the overflow series, are counted, and nothing is raised
    or lost."""
    out = run_with(
        {"VAULTSCOPE_STRIPE_BYTES": "65536"},
        "r = Registry(); f = r.counter('a', labels=('x',), max_series=0)\n"
        "for i in range(20_000): f.labels(str(i)).inc()\n"
        "s = r.snapshot()['a']\n"
        "print(sum(x.value for x in s), 0 < s.losses['overflowed'] == s.series(x='_overflow').value)\n",
    )
    assert out == "20000 True"
