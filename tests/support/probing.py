"""Fixtures for probes of real servers, directly and through relays and PgBouncers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from poolscope.exporter.pgbouncer import PgBouncerProbe
from poolscope.exporter.postgres import PostgresProbe
from poolscope.readings.database_servers import ServerReading
from support.bouncers import Bouncer, Relay
from support.waiting import PATIENCE

T = TypeVar("T")
R = TypeVar("R")


async def ask_until(ask: Callable[[], Awaitable[R]], of: Callable[[R], T], expected: T) -> R:
    """Ask until `of(answer)` equals `expected`, and return the answer."""
    async with asyncio.timeout(PATIENCE):
        while of(reading := await ask()) != expected:
            pass
    return reading


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait until it has ended."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def connect_until_refused(connect: Any, dsn: str, message: str) -> None:
    """Open connections until the server refuses one with this message."""

    async def fill() -> None:
        while True:
            await connect(dsn)

    with pytest.raises(asyncpg.PostgresError, match=message):
        await fill()


@pytest.fixture
async def connect() -> AsyncIterator[Any]:
    """Returns a function that opens connections; they are dropped at the end."""
    connections = []

    async def connect(dsn: str, application: str = "orders", **options: Any) -> Any:
        settings = {"application_name": application}
        connections.append(await asyncpg.connect(dsn, server_settings=settings, **options))
        return connections[-1]

    yield connect
    for connection in connections:
        connection.terminate()
    await asyncio.sleep(0)


@pytest.fixture
async def probes() -> AsyncIterator[Any]:
    """Returns a function that makes probes; their connections are dropped at the end."""
    probes = []

    def make(kind: Any, dsn: str) -> Any:
        probes.append(kind(dsn))
        return probes[-1]

    yield make
    for probe in probes:
        probe.terminate()
    await asyncio.sleep(0)


@pytest.fixture
def probe(postgres: Any, probes: Any) -> Any:
    """A probe of the real server."""
    return probes(PostgresProbe, postgres.dsn)


@pytest.fixture
async def relay(postgres: Any) -> AsyncIterator[Relay]:
    """A relay to the real server."""
    relay = Relay(postgres.socket_dir / ".s.PGSQL.5432")
    await relay.start()
    yield relay
    await relay.stop()


@pytest.fixture
async def silent() -> AsyncIterator[Relay]:
    """A server that never answers."""
    relay = Relay()
    await relay.start()
    yield relay
    await relay.stop()


@pytest.fixture
def relayed(relay: Relay, probes: Any) -> Any:
    """A probe of the real server, through the relay."""
    dsn = f"postgresql://postgres@127.0.0.1:{relay.port}/postgres?sslmode=disable"
    return probes(PostgresProbe, dsn)


@pytest.fixture
def bouncers(postgres: Any, tmp_path: Path) -> Iterator[Any]:
    """Returns a function that runs PgBouncers for the real server; they end with the test."""
    bouncers = []

    def run(auth_type: str = "trust", **options: object) -> Bouncer:
        bouncers.append(Bouncer(tmp_path, postgres.socket_dir, auth_type, **options))
        return bouncers[-1]

    yield run
    for bouncer in bouncers:
        bouncer.end()


@pytest.fixture
def run(bouncers: Any, probes: Any) -> Any:
    """Returns a function that runs a PgBouncer with these options, and returns it and its probe."""

    def run(**options: object) -> tuple[Bouncer, Any]:
        bouncer = bouncers(**options)
        return bouncer, probes(PgBouncerProbe, bouncer.dsn("", "console"))

    return run


def states(reading: ServerReading, application: str = "orders") -> dict[str, int]:
    """Return the number of connections of an application by their state."""
    return {
        group.state: group.count
        for group in reading.connections
        if group.application == application
    }
