"""A pytest plugin that writes how each test ended, as JSON, to the file that PEERS_REPORT names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import pytest

# The worse an outcome, the later it stands here: a test has the worst of its phases.
OUTCOMES: Final = ("passed", "skipped", "xfailed", "xpassed", "failed", "error")
BETWEEN_TESTS: Final = "between tests"
MESSAGE_LENGTH: Final = 2000

tests: dict[str, dict[str, Any]] = {}
_current = BETWEEN_TESTS
pools = 0
acquires = 0


def _row(test: str) -> dict[str, Any]:
    return tests.setdefault(test, {"outcome": "passed", "internal_errors": [], "message": ""})


def internal_error(place: str, traceback: str) -> None:
    """Note that a hook of poolscope has failed in the test that runs."""
    row = _row(_current)
    row["internal_errors"].append(place)
    row["message"] += traceback[-MESSAGE_LENGTH:]


def watched() -> None:
    """Note that a pool is watched."""
    global pools  # noqa: PLW0603 - a plugin is a module, and so is its state
    pools += 1


def outcome_of(report: pytest.TestReport) -> str:
    """Return the outcome of one phase of a test: setup, call or teardown."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.failed and report.when != "call":
        return "error"
    return report.outcome


def pytest_runtest_logstart(nodeid: str) -> None:
    global _current  # noqa: PLW0603 - as above
    _current = nodeid
    _row(nodeid)


def pytest_runtest_logfinish() -> None:
    global _current  # noqa: PLW0603 - as above
    _current = BETWEEN_TESTS


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    row = _row(report.nodeid)
    row["outcome"] = max(row["outcome"], outcome_of(report), key=OUTCOMES.index)
    if report.failed:
        row["message"] += report.longreprtext[-MESSAGE_LENGTH:]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    document = {"tests": tests, "pools": pools, "acquires": acquires}
    Path(os.environ["PEERS_REPORT"]).write_text(json.dumps(document, indent=1))
