"""
A pytest plugin for tests that `poolscope run` runs: it counts what that watches, in place of
`watch_all`.
"""

from __future__ import annotations

import prometheus_client
import pytest
from scripts.peers import record
from scripts.peers.watch_all import acquires_in, finish, note_internal_errors

from poolscope.launching.autowatch import default_autowatch
from poolscope.watching.watch import Watch


def pytest_configure() -> None:
    note_internal_errors()
    default_autowatch._tell = _count  # type: ignore[method-assign]  # it is called with each watch


def _count(watch: Watch) -> None:
    record.watched()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Read all pools, as a scrape does; what that raises is an error of the test."""
    acquires_in(prometheus_client.REGISTRY)


def pytest_sessionfinish() -> None:
    finish(prometheus_client.REGISTRY)
