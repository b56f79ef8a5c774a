"""What a soup withstands, in the short form of each campaign: see tests/campaigns/soup_faults.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGNS = Path(__file__).parent.parent / "campaigns"
sys.path.insert(0, str(CAMPAIGNS))

import soup_faults  # noqa: E402 - it lies there


@pytest.mark.parametrize("name", [name for name in soup_faults.CAMPAIGNS if name != "kills"])
def test_faults(name: str) -> None:
    """Nothing is lost, wrong, or raised into the host. (The kills are run with the other campaigns.)"""
    done = soup_faults.run(name, short=True, seed=20)
    if done.returncode == soup_faults.CANNOT:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout
    assert "lost 0" in done.stdout or "0 wrong" in done.stdout


def test_a_loss_is_seen(tmp_path: Path) -> None:
    """The campaign of kills fails for a soup that forgets one object in a few that it has acknowledged."""
    program = """
import sys
import soup_kills
from vaultscope.soup import SqliteSoup

put_many = SqliteSoup.put_many
calls = 0

def forgetful(soup, objects):
    global calls
    calls += 1
    objects = list(objects)
    addresses = put_many(soup, objects)
    if calls % 5 == 0:
        soup.delete(addresses[0])
    return addresses

SqliteSoup.put_many = forgetful
soup_kills.main(100, 1, sys.argv[1])
"""
    command = [sys.executable, "-c", program, str(tmp_path / "place")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CAMPAIGNS)
    assert done.returncode != 0
    assert "AssertionError" in done.stderr and ("is lost" in done.stderr or "was lost" in done.stderr)


def test_what_is_not_there_is_refused() -> None:
    """A campaign of another name is an error of usage, not a success that ran nothing."""
    done = subprocess.run(
        [sys.executable, CAMPAIGNS / "soup_faults.py", "peace"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "there is no peace" in done.stderr
