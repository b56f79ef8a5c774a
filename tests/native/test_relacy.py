"""The models in relacy/: the library's own sources under every schedule that Relacy can think of.

Short here: 50,000 random schedules a suite; of smaller ones all with at most two preemptions, or one; some
weakened orders. By hand: mutate_orders.py weakens every order; VAULTSCOPE_SCHEDULES=1000000 runs more here,
and all with two.
"""

from __future__ import annotations

import os
from pathlib import Path

import mutate_orders
import pytest
import relacy_build

SCHEDULES = int(os.environ.get("VAULTSCOPE_SCHEDULES", "50000"))

# Models whose smaller suites take long with two preemptions.
LARGE = () if "VAULTSCOPE_SCHEDULES" in os.environ else ("fold", "process", "ring")

# One end of some pairs in the table of MEMORY_MODEL.md, as a part of the line, and a model that needs it.
WEAKENED = [
    ("T2: pairs", "tally"),
    ("&nobody, arena->token)", "stripe"),  # O2
    ("A2: acquire", "stripe"),
    ("S1 */", "lists"),
    ("->directory_top, top)", "directory"),  # D1
    ("P3: release", "process"),
    ("->epoch, f.epoch + 1)", "fold"),  # F1
    ("&cells[n], 0)", "fold"),  # F3
    ("E7: acquire", "exemplar"),
]


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
    held, report = relacy_build.run(tmp_path / model, SCHEDULES, 1 if model in LARGE else 2)
    assert held, report


def test_every_argument_has_its_site() -> None:
    """No argument for a relaxed order outlives the line that it was made for."""
    assert mutate_orders.idle_arguments(list(mutate_orders.sites(relacy_build.NATIVE))) == []


def test_weakened_orders_are_caught(tmp_path: Path) -> None:
    """A model fails when one release or acquire that it rests on is made relaxed."""
    every = mutate_orders.copied_sites(tmp_path)
    for word, model in WEAKENED:
        weak = next(site for site in every if word in site.line)
        for site, good, how in mutate_orders.verdicts([weak], tmp_path, (model,)):
            assert good, f"{site}: {how}"
