"""The services in `examples/` run as their docstrings say, and get no finding."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from support.example_services import (
    GUNICORN,
    ExampleService,
    database,
    expect,
    serve_example,
    start,
)
from support.exporters import exporter
from support.waiting import PATIENCE

__all__ = ["database", "exporter", "serve_example", "start"]

Pools = dict[str, tuple[int, int, list[Any]]]
"""For each pool how many were acquired, how many are in use, and its findings."""

REQUESTS: Final = 40
AT_ONCE: Final = 4


class Example(NamedTuple):
    """
    command: what its docstring says, with a `{port}` of its own. paths: what is requested.
    acquired: by pool, how many connections the start and all of these requests get.
    """

    name: str
    command: tuple[str, ...]
    paths: tuple[str, ...]
    acquired: dict[str, int]


SERVICES: Final = (
    Example(
        "fastapi",
        ("uvicorn", "--port", "{port}", "fastapi_service:app"),
        ("/orders/1",),
        {"orders": 1 + REQUESTS},
    ),
    Example(
        "flask",
        (*GUNICORN, "--threads", "4", "flask_service:app"),
        ("/orders/1",),
        {"orders": 1 + REQUESTS},
    ),
    Example(
        "django",
        (*GUNICORN, "--threads", "4", "django_service:application"),
        ("/orders/1",),
        {"orders": 1 + REQUESTS},
    ),
    Example(
        "aiohttp",
        ("aiohttp_service", "{dsn}", "{port}"),
        ("/orders/1", "/stock/1"),
        {"orders": 1 + 2 * REQUESTS, "stock": REQUESTS},
    ),
)


def pools(exporter: Any) -> Pools:
    found = json.loads(exporter.get("/api/v1/pools")[2])["pools"]
    return {pool["pool"]: (pool["acquired"], pool["in_use"], pool["findings"]) for pool in found}


@pytest.mark.parametrize("example", SERVICES, ids=lambda example: example.name)
def test_a_service_gets_no_finding(
    example: Example, serve_example: Callable[..., ExampleService], exporter: Any
) -> None:
    service = serve_example(*example.command)
    with ThreadPoolExecutor(AT_ONCE) as clients:
        for path in example.paths:
            answers = clients.map(lambda _, path=path: service.ask("GET", path), range(REQUESTS))
            assert {200} == {status for status, _ in answers}
    expected: Pools = {name: (acquired, 0, []) for name, acquired in example.acquired.items()}
    expect(expected, lambda: pools(exporter))

    service.process.terminate()
    service.process.wait(PATIENCE)
    assert expected == pools(exporter)


def test_a_celery_worker_gets_no_finding(
    start: Callable[..., subprocess.Popen[bytes]],
    exporter: Any,
    tmp_path: Path,
) -> None:
    (tmp_path / "queue").mkdir()
    worker = start("celery", "--app", "celery_worker", "worker", "--concurrency", "2")
    send = "import celery_worker as shop; [shop.place_order.delay(n) for n in range(40)]"
    (tmp_path / "send.py").write_text(send)
    assert 0 == start("send").wait(PATIENCE)
    expected: Pools = {"orders": (2 + REQUESTS, 0, [])}  # two processes have made the table
    expect(expected, lambda: pools(exporter))
    live = json.loads(exporter.get("/api/v1/pools")[2])["processes"]["live"]
    assert live in (2, 3)  # a process that had no task yet does not count

    worker.terminate()
    worker.wait(PATIENCE)
    assert expected == pools(exporter)
