"""The services in `examples/` as processes, and the database that they use."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.exporters import ExporterProcess
from support.ports import ReservedPort
from support.waiting import PATIENCE, until

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

EXAMPLES: Final = Path(__file__).parent.parent.parent / "examples"

GUNICORN: Final = ("gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}")

CONNECTIONS: Final = "connpool_operation_connections"
SECONDS: Final = "connpool_operation_in_use_seconds_total"

_names: Final = (f"shop_{number}" for number in itertools.count())


class OrdersDatabase:
    """
    A database with the table `orders`, which a test can lock.

    Whoever reads the table or writes to it waits until then, with the connection that it holds.
    """

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.name = next(_names)
        self._postgres = postgres
        self._do(postgres.dsn, f"CREATE DATABASE {self.name}")
        self.dsn = self._named(postgres.dsn)
        self.url = self._named(postgres.sqlalchemy_url("psycopg"))
        self._do(self.dsn, "CREATE TABLE orders (number int PRIMARY KEY, amount int NOT NULL)")

    def _named(self, address: str) -> str:
        return address.replace("@/postgres?", f"@/{self.name}?")

    @staticmethod
    def _do(dsn: str, command: str) -> int:
        """Execute a command; return how many rows it has."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            return connection.execute(command.encode()).rowcount

    @contextmanager
    def locked(self) -> Iterator[None]:
        with psycopg.connect(self.dsn) as connection:
            connection.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
            yield

    def fail(self, count: int) -> None:
        """Wait until that many queries wait for the lock, and let them fail."""
        waiting = "FROM pg_stat_activity WHERE datname = current_database() AND pid IN (SELECT pid"
        waiting = f"{waiting} FROM pg_locks WHERE NOT granted)"
        until(lambda: self._do(self.dsn, f"SELECT pid {waiting}") == count, "queries wait")
        self._do(self.dsn, f"SELECT pg_cancel_backend(pid) {waiting}")

    def drop(self) -> None:
        self._do(self._postgres.dsn, f"DROP DATABASE {self.name} WITH (FORCE)")


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[OrdersDatabase]:
    """A database of the test's own."""
    made = OrdersDatabase(postgres)
    yield made
    made.drop()


@pytest.fixture
def start(
    database: OrdersDatabase, folder: Path, tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a module of Python beside the examples, in a process group of its own."""
    started: list[subprocess.Popen[bytes]] = []
    environment = {
        **os.environ,
        "DATABASE_URL": database.url,
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


class ExampleService:
    """A service of the examples that answers at a port of its own."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process
        until(self._answers, "the service answers")

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "/nothing")[0] == 404
        except ConnectionError:
            return False

    def send(self, method: str, path: str) -> http.client.HTTPConnection:
        """Send a request, and do not wait for its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request(method, path, headers={"Connection": "close"})
        return connection

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        """Send a request; return the status and the body of its answer."""
        connection = self.send(method, path)
        try:
            with connection.getresponse() as response:
                return response.status, response.read()
        finally:
            connection.close()

    def get(self, path: str) -> str:
        status, body = self.ask("GET", path)
        assert 200 == status
        return body.decode()


@pytest.fixture
def serve_example(
    start: Callable[..., subprocess.Popen[bytes]], database: OrdersDatabase
) -> Iterator[Callable[..., ExampleService]]:
    """Starts a service with a command that has a `{port}`, and maybe the `{dsn}` of PostgreSQL."""
    ports: list[Any] = []

    def make(*command: str) -> ExampleService:
        ports.append(ReservedPort())
        filled = {"port": ports[-1].number, "dsn": database.dsn}
        process = start(*(word.format(**filled) for word in command))
        return ExampleService(ports[-1].number, process)

    yield make
    for port in ports:
        port.give_back()


def expect(expected: Any, actual: Callable[[], Any]) -> None:
    """Wait until the processes show this; fail with what they show if they never do."""
    with suppress(AssertionError):
        until(lambda: actual() == expected, "as expected")
    assert expected == actual()


def held(exporter: ExporterProcess) -> dict[str, int]:
    """
    Return by operation how many connections all processes hold; without those of workers that
    begin, which prepare the database for none.
    """
    pools = json.loads(exporter.get("/api/v1/pools")[2])["pools"]
    operations = (holder["operation"] for pool in pools for holder in pool["holders"])
    return Counter(operation for operation in operations if operation is not None)


def by_operation(family: str, metrics: str) -> dict[str, float]:
    """Return the samples of a family, by operation."""
    return {
        sample.labels["operation"]: sample.value
        for each in text_string_to_metric_families(metrics)
        for sample in each.samples
        if sample.name == family
    }


def leaked(metrics: str) -> float:
    return sum(
        sample.value
        for each in text_string_to_metric_families(metrics)
        for sample in each.samples
        if sample.name in ("connpool_leaked", "connpool_leaks_total")
    )


def metrics_of(exporter: ExporterProcess) -> str:
    return exporter.get("/metrics")[2].decode()
