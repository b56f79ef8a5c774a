"""The types hold: ours under mypy --strict, the stub against the extension, and a user's view of both."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def run(project: Path, module: str, *arguments: str | Path) -> None:
    """Runs a tool from the project's root, where its settings are; it must find nothing."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_product_is_strictly_typed(project: Path) -> None:
    """mypy --strict finds nothing in src/."""
    run(project, "mypy", "--strict")


def test_stub_matches_the_extension(project: Path) -> None:
    """Every name, signature and default in _core.pyi is that of the compiled module, and none is left out."""
    settings: list[str | Path] = ["--mypy-config-file", "pyproject.toml", "--ignore-unused-allowlist"]
    settings += ["--allowlist", HERE / "stubtest-allowed.txt"]
    if sys.version_info >= (3, 13):
        settings += ["--allowlist", HERE / "stubtest-allowed-3.13.txt"]
    run(project, "mypy.stubtest", "vaultscope._native._core", *settings)


def test_a_users_view(project: Path) -> None:
    """A user's program is typed as user.py says: results are what they are, and wrong uses are errors.

    Each wrong use there carries a `type: ignore` with its code, which --strict reports if it is not needed.
    """
    run(project, "mypy", "--strict", HERE / "user.py")
