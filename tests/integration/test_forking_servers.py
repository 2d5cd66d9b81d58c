"""Servers whose master only watches the pool, and leaves its use to the workers that it forks."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from support.application_servers import (
    GUNICORN,
    UWSGI,
    ended_processes,
    expected_samples,
    holders,
    live_processes,
    pool_of,
    samples_of_the_pool,
    serve,
)
from support.exporters import exporter
from support.shop import SIZE
from support.tools import missing
from support.waiting import eventually

__all__ = ["exporter", "serve"]

USES: Final = 91

SERVERS: Final = {
    "uwsgi": (*UWSGI, "--module", "support.shop:wsgi()"),
    "uwsgi-with-hook": (*UWSGI, "--module", "support.shop:left()"),
    "gunicorn": (*GUNICORN, "support.shop:wsgi()", "--preload"),
    "gunicorn-with-hook": (*GUNICORN, "support.shop:hooked()", "--preload"),
}


@pytest.fixture(params=list(SERVERS.values()), ids=list(SERVERS))
def command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """A command that runs three workers, which have forked from one that watches the pool."""
    command: tuple[str, ...] = request.param
    if command[0] == "uwsgi" and not Path(sys.executable).with_name("uwsgi").exists():
        missing("uwsgi is missing; python -m pip install --group servers, with a C compiler")
    return command


async def test_each_worker_has_numbers_of_its_own_and_the_master_has_none(
    exporter: Any, serve: Any, command: tuple[str, ...]
) -> None:
    server = serve(*command)
    server.use(USES)
    workers = server.use_all()
    assert expected_samples(server, 3) == samples_of_the_pool(exporter)
    assert (3, workers) == (len(workers), live_processes(exporter))
    assert limits(exporter) == (3, 3 * SIZE)

    await eventually(
        workers, lambda: {server.ask("/hold_one"), *(pid for pid, _ in holders(exporter))}
    )
    server.taken += 3
    assert expected_samples(server, 3, in_use=3) == samples_of_the_pool(exporter)

    victim = workers.pop()
    os.kill(victim, signal.SIGKILL)
    await eventually(1.0, lambda: ended_processes(exporter))
    assert workers == live_processes(exporter)
    assert expected_samples(server, 2, in_use=2) == samples_of_the_pool(exporter)
    server.use_all()
    assert limits(exporter) == (3, 3 * SIZE)


def limits(exporter: Any) -> tuple[float, float]:
    """Return how many pools there are, and how many connections they may have together."""
    pool = pool_of(exporter)
    return pool["instances"], pool["limit"]
