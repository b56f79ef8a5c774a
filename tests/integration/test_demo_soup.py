"""`vaultscope demo --soup`: what a run leaves behind answers what is asked of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MAIN = "from vaultscope.edge.cli import main\nmain()\n"
FILES = 60


def vaultscope(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def lines(*arguments: object) -> list[dict[str, Any]]:
    done = vaultscope(*arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def soup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The soup that one run over a few files has left."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "files").mkdir()
    for number in range(FILES):
        (folder / "files" / f"{number}").write_bytes(bytes([number]) * 1000)
    (folder / "files" / "gone").symlink_to("nowhere")
    done = vaultscope("demo", "--port", "0", "--no-live", "--soup", folder / "v.soup", folder / "files")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"vaultscope query {folder / 'v.soup'}" in done.stdout
    return folder / "v.soup"


def test_history_of_the_run(soup: Path) -> None:
    """All puts of the run are in its history, and so is their p99."""
    counted = lines("history", "cas.put.count", soup, "--last", "1h", "--step", "1h", "-q", "sum", "--json")
    assert sum(each["value"] or 0 for each in counted) == FILES


def test_query_of_the_run(soup: Path) -> None:
    """Its log, its metrics and its traces are found by their types."""
    types = {each["type"] for each in lines("query", soup, "--json")}
    assert {"log-entry", "metrics"} <= types <= {"log-entry", "metrics", "trace"}
    began, ended = lines("query", soup, "--type", "log-entry", "--order", "created", "--content")
    assert (began["message"], ended["message"]) == ("demo began", "demo ended")
    assert (ended["seen"], ended["stored"]) == (FILES + 1, FILES)


def test_audit_of_the_run(soup: Path) -> None:
    """Its audit trail is whole, and says who did what."""
    done = vaultscope("audit", "verify", f"{soup}.audit")
    assert done.returncode == 0, done.stdout
    verbs = [each["action"]["verb"] for each in lines("audit", "export", f"{soup}.audit")]
    assert verbs == ["audit.began", "soup.opened", "demo.began", "demo.ended"]


def test_a_soup_that_is_none(tmp_path: Path) -> None:
    """Another file is left alone, and said to be none."""
    (tmp_path / "v.soup").write_bytes(b"no soup at all, but long enough to look like one" * 100)
    done = vaultscope("demo", "--port", "0", "--soup", tmp_path / "v.soup", tmp_path)
    assert done.returncode == 4
    assert "the soup cannot be opened" in done.stderr
    assert (tmp_path / "v.soup").read_bytes().startswith(b"no soup at all")
