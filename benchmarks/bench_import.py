"""What importing the package adds to the start of Python."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path

from race import Sample
from table import Bar, Row, Table, duration

PROGRAMS = {
    "bare": "pass",
    "vaultscope": "import vaultscope",
    "prometheus_client": "import prometheus_client",
    "hdrhistogram": "import hdrh.histogram",
}


def start_ns(program: str, environment: dict[str, str]) -> float:
    """Nanoseconds of processor time that a Python process takes from its start to its end."""
    process = os.posix_spawn(sys.executable, [sys.executable, "-c", program], environment)
    _, status, usage = os.wait4(process, 0)
    assert status == 0, program
    return (usage.ru_utime + usage.ru_stime) * 1e9


def bench_import(table: Table, short: bool, tmp_path: Path) -> None:
    """import vaultscope, in fresh processes that take turns with bare Python and the peers.

    All of them find their bytecode, as after an installation: it is written by the first round, wherever the
    sources are and whatever the environment says of writing beside them.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    for program in PROGRAMS.values():
        start_ns(program, environment)
    rounds = [
        {name: start_ns(program, environment) for name, program in PROGRAMS.items()}
        for _ in range(2 if short else 31)
    ]
    above = {
        name: Sample.of([each[name] - each["bare"] for each in rounds]) for name in PROGRAMS if name != "bare"
    }
    bare = Sample.of([each["bare"] for each in rounds])
    ours = above["vaultscope"]
    beside = {
        name: duration(sample)
        for name, sample in {**above, "bare Python": bare}.items()
        if name != "vaultscope"
    }
    figures = {name: asdict(sample) for name, sample in {**above, "bare": bare}.items()}
    bar = Bar("ms above bare Python", ours.median / 1e6, 10)
    table.add(Row("`import vaultscope`, above bare Python", duration(ours), beside, (bar,), dict(figures)))
