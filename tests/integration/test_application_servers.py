"""The exporter counts exactly what the workers of real application servers do."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import pytest

from support.application_servers import (
    CLIENTS,
    GUNICORN,
    UVICORN,
    ended_processes,
    expected_samples,
    holders,
    kept_and_new,
    live_processes,
    pool_of,
    samples_of_the_pool,
    serve,
)
from support.exporters import exporter
from support.shop import SIZE, WAITING, WARM
from support.waiting import eventually

__all__ = ["exporter", "serve"]


@dataclass(frozen=True)
class Kind:
    """
    How a server with three workers is run.

    pools: how many processes have a pool; the master has one if it creates it before it forks.
    warm: how many connections the master has acquired before.
    """

    command: tuple[str, ...]
    pools: int = 3
    warm: int = 0


ASGI: Final = ("support.shop:asgi()", "--worker-class")

KINDS: Final = {
    "sync": Kind((*GUNICORN, "support.shop:wsgi()")),
    "preload": Kind((*GUNICORN, "support.shop:warm()", "--preload"), 4, WARM),
    "gthread": Kind((*GUNICORN, "support.shop:wsgi()", "--threads", "4")),
    "asgi": Kind((*GUNICORN, *ASGI, "asgi")),
    "uvicorn-worker": Kind((*GUNICORN, *ASGI, "uvicorn.workers.UvicornWorker")),
    "uvicorn": Kind((*UVICORN, "--workers", "3")),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_counters_stay_exact_when_workers_are_killed_and_replaced(
    exporter: Any, serve: Any, kind: Kind
) -> None:
    server = serve(*kind.command)
    server.taken = kind.warm
    workers = server.use_all()
    first = live_processes(exporter)
    assert (3, kind.pools) == (len(workers), len(first | workers))
    assert expected_samples(server, kind.pools) == samples_of_the_pool(exporter)

    # A worker that holds a connection is killed, and replaced.
    victim = server.hold()
    assert expected_samples(server, kind.pools, in_use=1) == samples_of_the_pool(exporter)
    assert [victim] == [pid for pid, _ in holders(exporter)]
    os.kill(victim, signal.SIGKILL)

    # A worker that has only inherited its pool counts from its first use on.
    def replaced() -> tuple[int, int]:
        server.use(CLIENTS)
        return kept_and_new(exporter, first)

    await eventually((kind.pools - 1, 1), replaced)
    workers = server.use_all()
    assert victim not in workers
    assert expected_samples(server, kind.pools) == samples_of_the_pool(exporter)

    # All workers are replaced while requests come in.
    def reloaded() -> tuple[int, int]:
        server.use(CLIENTS)
        return kept_and_new(exporter, workers)

    server.process.send_signal(signal.SIGHUP)
    await eventually((0, kind.pools), reloaded)
    assert not workers & server.use_all()
    assert expected_samples(server, kind.pools) == samples_of_the_pool(exporter)

    # The server ends, and only its counters stay.
    server.end()
    await eventually([], server.running)
    assert {"acquired": server.taken, "live": 0, "exporter_bad_segments": 0} == samples_of_the_pool(
        exporter
    )


def test_counters_stay_exact_when_workers_are_recycled(exporter: Any, serve: Any) -> None:
    server = serve(*KINDS["sync"].command, "--max-requests", "20")
    answered = server.use(100)
    assert len(answered) >= 5
    server.end()
    assert {"acquired": 100, "live": 0, "exporter_bad_segments": 0} == samples_of_the_pool(exporter)
    # The newest workers may not have served a request yet.
    assert ended_processes(exporter) == pool_of(exporter)["instances_created"] >= len(answered)


async def test_threads_of_a_worker_that_hold_and_wait_are_shown(exporter: Any, serve: Any) -> None:
    server = serve(*KINDS["gthread"].command, "--workers", "1")
    worker = server.hold()
    assert {worker} == {server.hold() for _ in range(SIZE - 1)}
    with ThreadPoolExecutor() as clients:
        waiting = clients.submit(server.use, WAITING)
        full = expected_samples(server, 1, in_use=SIZE, waiting=WAITING)
        await eventually(full, lambda: samples_of_the_pool(exporter))
        assert [(worker, "support/shop.py Shop.hold")] * SIZE == holders(exporter)
        assert worker == server.ask("/release")
        assert {worker} == waiting.result()
    assert expected_samples(server, 1) == samples_of_the_pool(exporter)
