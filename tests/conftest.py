"""What all tests share: where things lie, how hypothesis runs, and that nothing is skipped unseen in CI."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

import vaultscope

# No deadline: a busy machine must not fail a property. In CI the same examples each time.
settings.register_profile("vaultscope", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("vaultscope")


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the source tree."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def installed() -> Path:
    """The package directory that holds the compiled parts; not src/, even in an editable installation."""
    from vaultscope._native import _core

    return Path(_core.__file__).parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: what it lacks is for .ci/run to install."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and "CI" in os.environ:
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


def pytest_report_header() -> str:
    """Says which vaultscope is under test."""
    return f"vaultscope {vaultscope.__version__} from {Path(vaultscope.__file__).parent}"
