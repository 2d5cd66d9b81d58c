"""The services in `examples/` run as their docstrings say, and get no finding."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from support.exporters import exporter
from support.ports import ReservedPort
from support.waiting import PATIENCE, until

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

__all__ = ["exporter"]

Pools = dict[str, tuple[int, int, list[Any]]]
"""For each pool how many were acquired, how many are in use, and its findings."""

EXAMPLES: Final = Path(__file__).parent.parent.parent / "examples"

REQUESTS: Final = 40
AT_ONCE: Final = 4


class Example(NamedTuple):
    """
    command: what its docstring says, with a `{port}` of its own. paths: what is requested.
    acquired: by pool, how many connections all of these requests get.
    """

    name: str
    command: tuple[str, ...]
    paths: tuple[str, ...]
    acquired: dict[str, int]


GUNICORN: Final = (
    *("gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}", "--threads", "4"),
)

SERVICES: Final = (
    Example(
        "fastapi",
        ("uvicorn", "--port", "{port}", "fastapi_service:app"),
        ("/orders",),
        {"orders": REQUESTS},
    ),
    Example("flask", (*GUNICORN, "flask_service:app"), ("/orders",), {"orders": REQUESTS}),
    Example(
        "django", (*GUNICORN, "django_service:application"), ("/orders",), {"orders": REQUESTS}
    ),
    Example(
        "aiohttp",
        ("aiohttp_service", "{dsn}", "{port}"),
        ("/orders", "/stock"),
        {"orders": 2 * REQUESTS, "stock": REQUESTS},
    ),
)


@pytest.fixture
def start(
    postgres: EmbeddedPostgres, folder: Path, tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a module of Python beside the examples, in a process group of its own."""
    started: list[subprocess.Popen[bytes]] = []
    environment = {
        **os.environ,
        "DATABASE_URL": postgres.sqlalchemy_url("psycopg"),
        "POOLSCOPE_DIR": str(folder),
        "PYTHONPATH": str(EXAMPLES),
    }

    def make(*command: str) -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=tmp_path,
                env=environment,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
            )
        )
        return started[-1]

    yield make
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ask(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        with connection.getresponse() as response:
            response.read()
            return response.status
    finally:
        connection.close()


def answers(port: int) -> bool:
    try:
        return ask(port, "/nothing") == 404
    except ConnectionError:
        return False


def pools(exporter: Any) -> Pools:
    found = json.loads(exporter.get("/api/v1/pools")[2])["pools"]
    return {pool["pool"]: (pool["acquired"], pool["in_use"], pool["findings"]) for pool in found}


def wait_for(expected: Pools, exporter: Any) -> None:
    """Wait until the exporter shows this; fail with what it shows if it never does."""
    with contextlib.suppress(AssertionError):
        until(lambda: pools(exporter) == expected, "as expected")
    assert expected == pools(exporter)


@pytest.fixture
def port() -> Iterator[int]:
    reserved = ReservedPort()
    yield reserved.number
    reserved.give_back()


@pytest.mark.parametrize("example", SERVICES, ids=lambda example: example.name)
def test_a_service_gets_no_finding(
    example: Example,
    start: Callable[..., subprocess.Popen[bytes]],
    exporter: Any,
    postgres: EmbeddedPostgres,
    port: int,
) -> None:
    filled = {"port": port, "dsn": postgres.dsn}
    process = start(*(word.format(**filled) for word in example.command))
    until(lambda: answers(port), "the service answers")
    with ThreadPoolExecutor(AT_ONCE) as clients:
        for path in example.paths:
            codes = set(clients.map(lambda _, path=path: ask(port, path), range(REQUESTS)))
            assert {200} == codes
    expected: Pools = {name: (acquired, 0, []) for name, acquired in example.acquired.items()}
    wait_for(expected, exporter)

    process.terminate()
    process.wait(PATIENCE)
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
    expected: Pools = {"orders": (REQUESTS, 0, [])}
    wait_for(expected, exporter)
    live = json.loads(exporter.get("/api/v1/pools")[2])["processes"]["live"]
    assert live in (1, 2)  # a process that had no task yet does not count

    worker.terminate()
    worker.wait(PATIENCE)
    assert expected == pools(exporter)
