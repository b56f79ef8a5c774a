"""What a soup withstands: `soup_faults.py [--short] [NAME ...] [--seed N]`; prints a line for each campaign.

    kills    10,000 kills of processes that put, delete, pin, run gc, and append to an audit log
    disk     a file system of 96 KiB, and one of 1 MiB, that fills up
    errors   no room, errors and short writes in each call to the system, in its turn
    bits     10,000 bits of the file flipped
    crowd    4 processes of 8 threads at once

Short: so that all takes a minute. Exits with 1 if anything was lost, wrong, raised or hung.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
Arguments = Callable[[bool, str, Path], list[str]]

# The arguments of each script: whether it is to be short, the seed, and a folder.
CAMPAIGNS: dict[str, Arguments] = {
    "kills": lambda short, seed, folder: ["30" if short else "10000", seed, str(folder / "place")],
    "disk": lambda short, seed, folder: ["96", "1024"],
    "errors": lambda short, seed, folder: ["31" if short else "1", seed],
    "bits": lambda short, seed, folder: ["300" if short else "10000", seed],
    "crowd": lambda short, seed, folder: ["15" if short else "200", seed],
}
CANNOT = 77
"""A script's exit status when the machine does not let it do its work."""


def run(name: str, *, short: bool, seed: int = 1) -> subprocess.CompletedProcess[str]:
    """Runs a campaign in a process of its own."""
    with tempfile.TemporaryDirectory(prefix=f"soup-{name}-") as folder:
        arguments = CAMPAIGNS[name](short, str(seed), Path(folder))
        command = [sys.executable, str(HERE / f"soup_{name}.py"), *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What a soup withstands.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones (all): {', '.join(CAMPAIGNS)}")
    parser.add_argument("--short", action="store_true", help="a small part of each")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn (1)")
    options = parser.parse_args(arguments)
    if not set(options.names) <= set(CAMPAIGNS):
        parser.error(f"there is no {', '.join(sorted(set(options.names) - set(CAMPAIGNS)))}")
    failed = 0
    for name in options.names or CAMPAIGNS:
        done = run(name, short=options.short, seed=options.seed)
        failed += done.returncode not in (0, CANNOT)
        print(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'}\n{done.stdout}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
