"""What a soup withstands, in the short form of each campaign: see tests/campaigns/soup_faults.py."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from vaultscope import Registry
from vaultscope.errors import NotFoundError, StorageError
from vaultscope.soup import SqliteSoup

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


COLUMNS = ("address", "type", "created_ns", "expires_ns", "size", "packed", "attributes", "content")
VALUES = ("NULL", "'text'", "-3", "5000000000000", "9e300", "x'ff00'", "CAST(x'ff' AS TEXT)")


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("column", COLUMNS)
def test_a_damaged_row(tmp_path: Path, column: str, value: str) -> None:
    """Whatever one column of a row has become: the bytes of that object come right, or not at all, nothing
    but StorageError is raised, and the other objects are there."""
    path, content = tmp_path / "vault.soup", b"x" * 2000
    with closing(SqliteSoup(path, registry=Registry())) as soup:
        damaged = soup.put(content, type="t", attributes={"k": 1})
        sound = soup.put(b"y" * 2000, type="t", attributes={"k": 2})
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = 1")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'objects'"
        )
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE objects SET {column} = {value} WHERE id = 1")
    with closing(SqliteSoup(path, registry=Registry())) as soup:
        calls = (
            lambda: soup.head(damaged),
            lambda: list(soup.query()),
            lambda: list(soup.query(order="-k")),
            lambda: list(soup.verify()),
            lambda: soup.pin(damaged, "test"),
            lambda: soup.unpin(damaged, "test"),
            soup.count,
            soup.stats,
        )
        with suppress(StorageError, NotFoundError):
            assert soup.get(damaged) == content
        for call in calls:
            with suppress(StorageError, NotFoundError):
                call()
        assert soup.get(sound) == b"y" * 2000
        with suppress(StorageError):
            soup.gc()
        assert soup.get(soup.put(b"new", type="t")) == b"new"


def test_what_is_not_there_is_refused() -> None:
    """A campaign of another name is an error of usage, not a success that ran nothing."""
    done = subprocess.run(
        [sys.executable, CAMPAIGNS / "soup_faults.py", "peace"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "there is no peace" in done.stderr
