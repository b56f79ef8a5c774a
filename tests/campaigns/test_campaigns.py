"""The campaigns in their short form: a hundredth of the full size, on which run.py insists elsewhere."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

RUN = Path(__file__).with_name("run.py")


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("campaigns_run", RUN)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


campaigns = load()
SCALES = {"python": 0.02, "log_kills": 0.03, "python_logs": 0.03, "python_traces": 0.05, "soup_kills": 0.003}


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest) -> Path:
    """The C program, built anew where its sources changed."""
    return campaigns.build(Path(request.config.cache.mkdir("campaigns")))


@pytest.mark.parametrize(
    "case", campaigns.CASES, ids=lambda case: "-".join(str(case).split()) + f"-{case.stripes}"
)
def test_campaign(case: object, program: Path, tmp_path: Path) -> None:
    """A hundredth of the campaign finds nothing wrong; of the ones that are short by nature, some more."""
    scale = SCALES.get(case.name, 0.01)
    (outcome,) = campaigns.run([case], program, scale, 20, tmp_path)
    assert outcome.passed, outcome.told


def test_a_failure_is_told(program: Path, tmp_path: Path) -> None:
    """A campaign that finds something wrong says so and exits with 1: here an arena that others wrote to."""
    arena = tmp_path / "vault.arena"
    command = [program, "births", "--scale", "0.001", "--file", arena]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1
    assert "the totals are not what was written" in again.stderr


def test_what_is_not_there_is_refused() -> None:
    """A campaign of another name is an error of usage, not a success that ran nothing."""
    done = subprocess.run([sys.executable, RUN, "peace"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no peace" in done.stderr
