"""Workers whose event loop is blocked, behind a real application server."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.application_servers import (
    UVICORN,
    ApplicationServer,
    expected_samples,
    holders,
    kept_and_new,
    samples_of_the_pool,
    serve,
)
from support.exporters import exporter
from support.shop import SIZE, WAITING
from support.waiting import eventually

__all__ = ["exporter", "serve"]


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """The named pipe that a worker with a blocked event loop waits for."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@contextmanager
def blocked(server: ApplicationServer, fifo: Path) -> Iterator[Future[int]]:
    """Block the event loop of a worker; yield the future of its answer."""
    with ThreadPoolExecutor() as clients:
        answer = clients.submit(server.ask, f"/block?{fifo}")
        with fifo.open("wb"):  # returns when the worker has opened it; then the worker waits
            server.taken += SIZE
            yield answer


def test_holders_and_waiting_callers_of_a_blocked_loop_are_shown(
    exporter: Any, serve: Any, fifo: Path
) -> None:
    server = serve(*UVICORN)
    worker = server.ask("/pid")
    with blocked(server, fifo) as answer:
        assert expected_samples(server, 1, in_use=SIZE, waiting=WAITING) == samples_of_the_pool(
            exporter
        )
        assert [(worker, "support/shop.py AsyncShop.hold")] * SIZE == holders(exporter)
        assert not answer.done()
    assert worker == answer.result()
    server.taken += WAITING
    assert expected_samples(server, 1) == samples_of_the_pool(exporter)


async def test_a_worker_that_is_killed_while_its_loop_is_blocked_holds_nothing(
    exporter: Any, serve: Any, fifo: Path
) -> None:
    server = serve(*UVICORN, "--workers", "3")
    workers = server.use_all()
    with blocked(server, fifo) as answer:
        ((worker, site),) = set(holders(exporter))
        assert "support/shop.py AsyncShop.hold" == site
        assert workers - {worker} == server.use_all(2)
        assert expected_samples(server, 3, in_use=SIZE, waiting=WAITING) == samples_of_the_pool(
            exporter
        )
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(ConnectionError):
            answer.result()
    await eventually((2, 1), lambda: kept_and_new(exporter, workers))
    server.use_all()
    assert expected_samples(server, 3) == samples_of_the_pool(exporter)
