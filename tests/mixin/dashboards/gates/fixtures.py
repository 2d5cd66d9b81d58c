"""Fixtures for tests of dashboards and rules; a test file imports those that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from support.prometheus import Job, PrometheusServer
from support.tools import required


@pytest.fixture(scope="session")
def prometheus_program() -> str:
    """The path of the program `prometheus`."""
    return required("prometheus", "prometheus")


@pytest.fixture(scope="module")
def prometheus(
    prometheus_program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., PrometheusServer]]:
    """
    Starts servers that scrape the given jobs, and stops them at the end of the module.

    A server scrapes for the first time after 5 seconds, so tests should share one.
    """
    servers: list[PrometheusServer] = []

    def make(*jobs: Job, rules: Sequence[Path] = ()) -> PrometheusServer:
        folder = tmp_path_factory.mktemp("prometheus")
        servers.append(PrometheusServer(prometheus_program, folder, jobs, rules=rules))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()
