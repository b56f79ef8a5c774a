"""What tests of an installation share: commands that must succeed, and environments with the wheel."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Runs a command that must succeed; returns what it printed, and shows it if it fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def environment_with(dist: Path, folder: Path) -> Path:
    """The interpreter of a new virtual environment in `folder` with the wheel of `dist` and nothing else."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (wheel,) = dist.glob("*.whl")
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--no-index", wheel, cwd=dist)
    return python
