"""What tests share that is expensive: an sdist and a wheel, a PostgreSQL; and the stores of soups."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from installation import run
from postgres import PostgresServer
from soups import Place, postgres_place, sqlite_place


@pytest.fixture(scope="session")
def dist(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one sdist and the wheel that was built from it, not from the working tree."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, project, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for all tests that want one. Each takes a schema of its own."""
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty database of each kind of soup."""
    is_server = request.param == "postgres"
    made = postgres_place(request.getfixturevalue("postgres")) if is_server else sqlite_place(tmp_path)
    with made as place:
        yield place
