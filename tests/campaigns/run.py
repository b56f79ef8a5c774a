"""Runs the campaigns: long proofs of what is promised about threads, forks, kills and traces.

    python tests/campaigns/run.py [NAME ...] [--scale X] [--seed N] [--build FOLDER] [--folder FOLDER]

Builds one C program with the library from its sources, and runs each campaign with its arena in memory and
in a file. Prints for each in how many seconds, the result, and what was done how often. Exits with 1 if any
failed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
# What is written in Python: the script, and how often it does its thing.
SCRIPTS = {
    "python": ("python_forks.py", 1_000),
    "python_logs": ("python_logs.py", 1_000),
    "python_traces": ("python_traces.py", 1_000_000),
    "python_spans": ("python_spans.py", 10_000_000),
    "soup_kills": ("soup_kills.py", 10_000),
}


@dataclass(frozen=True)
class Case:
    """One run of a campaign: with so many stripes, and its arena in a file or in memory."""

    name: str
    stripes: int
    in_file: bool
    scale: float = 1.0

    def __str__(self) -> str:
        return f"{self.name:13}{'file' if self.in_file else 'memory':8}"


MEMORY, FILE = False, True
CASES = (
    *(Case("torn", stripes, place) for stripes in (64, 1) for place in (MEMORY, FILE)),
    *(Case("forks", stripes, place) for stripes in (64, 2) for place in (MEMORY, FILE)),
    *(Case("births", 64, place) for place in (MEMORY, FILE)),
    *(Case("threads", stripes, place) for stripes in (64, 2) for place in (MEMORY, FILE)),
    # With one stripe most children share: what such a one began is mended by a reading that waits for it.
    Case("kills", 64, FILE),
    Case("kills", 1, FILE, scale=0.1),
    *(Case("python", 64, place) for place in (MEMORY, FILE)),
    *(Case("log_accounts", 64, place) for place in (MEMORY, FILE)),
    Case("log_kills", 64, FILE),
    Case("python_logs", 64, FILE),
    Case("soup_kills", 64, FILE),
    Case("python_traces", 64, MEMORY),
    Case("python_spans", 64, MEMORY),
)
NAMES = tuple(dict.fromkeys(case.name for case in CASES))


def build(folder: Path) -> Path:
    """Builds the program; returns its path. Raises CalledProcessError."""
    cmake = shutil.which("cmake")
    if cmake is None:
        raise FileNotFoundError("cmake is not installed")
    for command in (["-S", HERE, "-B", folder], ["--build", folder, "--parallel", "2"]):
        subprocess.run([cmake, *command], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return folder / "campaign"


def command(case: Case, program: Path, scale: float, seed: int, arena: Path) -> list[str]:
    """The command line that runs a case."""
    if case.name in SCRIPTS:
        script, times = SCRIPTS[case.name]
        place = [str(arena)] if case.in_file else []
        return [sys.executable, str(HERE / script), str(max(1, round(times * scale))), str(seed), *place]
    options = ["--scale", str(scale * case.scale), "--seed", str(seed), "--stripes", str(case.stripes)]
    return [str(program), case.name, *options, *(["--file", str(arena)] if case.in_file else [])]


@dataclass(frozen=True)
class Outcome:
    """How a case went: `told` is its own line, or what went wrong."""

    case: Case
    passed: bool
    seconds: float
    told: str

    def __str__(self) -> str:
        return f"{self.case} {self.seconds:7.1f} s  {'ok' if self.passed else 'FAILED'}  {self.told}"


def run(cases: list[Case], program: Path, scale: float, seed: int, folder: Path | None) -> Iterator[Outcome]:
    """Runs the cases one after the other; arenas lie below `folder`, or where temporary files do."""
    for case in cases:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            start = time.monotonic()
            done = subprocess.run(
                command(case, program, scale, seed, Path(place) / "vault.arena"),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            yield Outcome(case, done.returncode == 0, time.monotonic() - start, done.stdout.strip())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the campaigns.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones (all): {', '.join(NAMES)}")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of the full size (1)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn (1)")
    parser.add_argument("--build", type=Path, help="a folder to build in, and to keep")
    parser.add_argument("--folder", type=Path, help="where arenas in files lie: /dev/shm, or a disk")
    options = parser.parse_args(arguments)
    if not set(options.names) <= set(NAMES):
        parser.error(f"there is no {', '.join(sorted(set(options.names) - set(NAMES)))}")
    cases = [case for case in CASES if not options.names or case.name in options.names]
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        try:
            program = build(options.build or Path(temporary))
        except subprocess.CalledProcessError as error:
            print(error.stdout.decode(errors="replace"))
            return 1
        for outcome in run(cases, program, options.scale, options.seed, options.folder):
            print(outcome, flush=True)
            failed += not outcome.passed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
