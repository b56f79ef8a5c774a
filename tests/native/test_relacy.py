"""The models in relacy/: the library's own sources under every schedule that Relacy can think of.

Short here: 100,000 random schedules a suite, all with at most two preemptions, and some weakened orders.
By hand: mutate_orders.py weakens every order; VAULTSCOPE_SCHEDULES=1000000 runs more schedules here.
"""

from __future__ import annotations

import os
from pathlib import Path

import mutate_orders
import pytest
import relacy_build

SCHEDULES = int(os.environ.get("VAULTSCOPE_SCHEDULES", "100000"))

# Both ends of some pairs in the table of MEMORY_MODEL.md: a part of the line.
WEAKENED = ["T2: pairs", "R2:", "owners[stripe], 0)", "owners[stripe], &nobody", "A2: acquire", "S1 */"]


@pytest.fixture(scope="module", autouse=True)
def relacy() -> None:
    """Relacy and g++ are there. In CI .ci/run installs them, and a skip is a failure (conftest.py)."""
    needed = relacy_build.missing()
    if needed:
        pytest.skip(needed)


@pytest.mark.parametrize("model", relacy_build.MODELS)
def test_no_schedule_fails(model: str, tmp_path: Path) -> None:
    """No reading is torn, no total is wrong, nothing is read before it is there or after it is gone."""
    relacy_build.build(model, tmp_path / model)
    held, report = relacy_build.run(tmp_path / model, SCHEDULES, 2)
    assert held, report


def test_every_argument_has_its_site() -> None:
    """No argument for a relaxed order outlives the line that it was made for."""
    assert mutate_orders.idle_arguments(list(mutate_orders.sites(relacy_build.NATIVE))) == []


def test_weakened_orders_are_caught(tmp_path: Path) -> None:
    """A model fails when one release or acquire that it rests on is made relaxed."""
    every = mutate_orders.copied_sites(tmp_path)
    chosen = [next(site for site in every if word in site.line) for word in WEAKENED]
    missed = [f"{site}: {how}" for site, good, how in mutate_orders.verdicts(chosen, tmp_path) if not good]
    assert missed == []
