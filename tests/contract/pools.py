"""
The pools that the contract suite runs over: those of each adapter, behind one interface.

A pool under test allows two connections at once, and opens them on demand. It reports its state
from the pool's own structures, and what the server sees of the pool.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest.mock import Mock

import aiohttp
import asyncpg
import psycopg
import sqlalchemy
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from poolscope.demo.postgres import EmbeddedPostgres

_numbers = itertools.count(1)


@dataclass(frozen=True)
class State:
    """How many connections are in use and idle, and how many callers wait."""

    in_use: int
    idle: int
    waiting: int


class PoolUnderTest(ABC):
    """One pool with a limit of two."""

    kind: ClassVar[str]
    cancels: ClassVar[bool] = True
    """Whether a caller that waits can be cancelled."""
    ends: ClassVar[bool] = True
    """Whether closing ends the pool for ever."""
    idle_limit: ClassVar[float] = 2
    nests: ClassVar[bool] = True
    """Whether a task that acquires twice is one borrower, and not two jobs in threads."""
    timeout: ClassVar[type[Exception]] = TimeoutError
    keeps: ClassVar[bool] = True
    """Whether a connection that its holder has dropped stays in use for ever."""

    @abstractmethod
    async def open(self, postgres: EmbeddedPostgres) -> None:
        """Make the server and the pool, without a connection."""

    @property
    @abstractmethod
    def target(self) -> Any:
        """The object that is watched."""

    @abstractmethod
    async def acquire(self) -> Any:
        """Take a connection; wait until there is one."""

    @abstractmethod
    async def acquire_soon(self) -> Any:
        """Take a connection; raise `self.timeout` if none is free at once."""

    @abstractmethod
    def lose_slot(self) -> Callable[[], object]:
        """Lose a slot, as a mistake of the library may; return what gives it back."""

    @abstractmethod
    async def release(self, connection: Any) -> None: ...

    @abstractmethod
    def state(self) -> State:
        """The state according to the pool itself."""

    @abstractmethod
    def seen_by_server(self) -> int:
        """Return how many connections of this pool the server has."""

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def clean_up(self) -> None:
        """End the pool, also with connections in use, and everything else that `open` has begun."""


class PostgresPool(PoolUnderTest):
    """A pool whose connections the server knows by their `application_name`."""

    async def open(self, postgres: EmbeddedPostgres) -> None:
        self.name = f"contract-{next(_numbers)}"
        self.control = psycopg.connect(postgres.dsn, autocommit=True)
        await self.make(postgres)

    @abstractmethod
    async def make(self, postgres: EmbeddedPostgres) -> None: ...

    def seen_by_server(self) -> int:
        row = self.control.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", (self.name,)
        ).fetchone()
        assert row is not None
        return int(row[0])

    async def clean_up(self) -> None:
        self.control.close()


class SyncEngine(PostgresPool):
    """A SQLAlchemy engine that is used from threads."""

    kind = "sqlalchemy"
    cancels = False
    ends = False
    nests = False
    timeout = sqlalchemy.exc.TimeoutError
    keeps = False

    async def make(self, postgres: EmbeddedPostgres) -> None:
        self.threads = ThreadPoolExecutor(8)
        self.engine = sqlalchemy.create_engine(
            postgres.sqlalchemy_url("psycopg"),
            connect_args={"application_name": self.name},
            pool_size=2,
            max_overflow=0,
        )

    @property
    def target(self) -> Any:
        return self.engine

    @property
    def pool(self) -> Any:
        return self.engine.pool

    async def acquire(self) -> Any:
        # As in asyncio.to_thread and web frameworks: each job has a copy of the context.
        job = functools.partial(contextvars.copy_context().run, self._connect)
        return await asyncio.get_running_loop().run_in_executor(self.threads, job)

    def _connect(self) -> Any:
        return self.pool.connect()

    async def acquire_soon(self) -> Any:
        self.pool._timeout = 0.01
        try:
            return await self.acquire()
        finally:
            self.pool._timeout = 30

    def lose_slot(self) -> Callable[[], object]:
        return lose_record(self.pool)

    async def release(self, connection: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self.threads, connection.close)

    def state(self) -> State:
        queue = self.pool._pool
        idle = sum(record.dbapi_connection is not None for record in queue.queue)
        return State(self.pool.checkedout(), idle, len(queue.not_empty._waiters))

    async def close(self) -> None:
        self.engine.dispose()

    async def clean_up(self) -> None:
        self.engine.dispose()
        self.threads.shutdown(wait=False)
        await super().clean_up()


class BarePool(SyncEngine):
    """As before, but the pool is watched, not the engine."""

    @property
    def target(self) -> Any:
        return self.engine.pool


class AsyncEngine(PostgresPool):
    """A SQLAlchemy async engine on asyncpg."""

    kind = "sqlalchemy"
    ends = False
    timeout = sqlalchemy.exc.TimeoutError
    keeps = False

    async def make(self, postgres: EmbeddedPostgres) -> None:
        self.engine = create_async_engine(
            postgres.sqlalchemy_url("asyncpg"),
            connect_args={"server_settings": {"application_name": self.name}},
            pool_size=2,
            max_overflow=0,
        )

    @property
    def target(self) -> Any:
        return self.engine

    @property
    def pool(self) -> Any:
        return self.engine.sync_engine.pool

    async def acquire(self) -> AsyncConnection:
        return await self.engine.connect()

    async def acquire_soon(self) -> AsyncConnection:
        self.pool._timeout = 0.01
        try:
            return await self.acquire()
        finally:
            self.pool._timeout = 30

    def lose_slot(self) -> Callable[[], object]:
        return lose_record(self.pool)

    async def release(self, connection: Any) -> None:
        await connection.close()

    def state(self) -> State:
        queue = self.pool._pool._queue
        idle = sum(record.dbapi_connection is not None for record in queue._queue)
        return State(self.pool.checkedout(), idle, _pending(queue._getters))

    async def close(self) -> None:
        await self.engine.dispose()

    async def clean_up(self) -> None:
        await self.engine.dispose()
        await super().clean_up()


class AsyncpgPool(PostgresPool):
    """An asyncpg pool that is watched before it is opened."""

    kind = "asyncpg"

    async def make(self, postgres: EmbeddedPostgres) -> None:
        self.pool = asyncpg.create_pool(
            postgres.dsn,
            min_size=0,
            max_size=2,
            server_settings={"application_name": self.name},
        )

    @property
    def target(self) -> Any:
        return self.pool

    async def acquire(self) -> Any:
        if not self.pool._initialized:
            await self.pool
        return await self.pool.acquire()

    async def acquire_soon(self) -> Any:
        return await self.pool.acquire(timeout=0.01)

    def lose_slot(self) -> Callable[[], object]:
        return functools.partial(self.pool._queue.put_nowait, self.pool._queue.get_nowait())

    async def release(self, connection: Any) -> None:
        await self.pool.release(connection)

    def state(self) -> State:
        out = sum(holder._in_use is not None for holder in self.pool._holders)
        queue = self.pool._queue
        waiting = _pending(queue._getters) if queue is not None else 0
        return State(out, self.pool.get_idle_size(), waiting)

    async def close(self) -> None:
        await self.pool.close()

    async def clean_up(self) -> None:
        if self.pool._initialized:
            self.pool.terminate()
        await super().clean_up()


class OpenedAsyncpgPool(AsyncpgPool):
    """As before, but it was opened before it is watched."""

    async def make(self, postgres: EmbeddedPostgres) -> None:
        await super().make(postgres)
        await self.pool


class Session(PoolUnderTest):
    """An aiohttp session; a connection is a response whose body is not finished."""

    kind = "aiohttp"
    idle_limit = float("inf")

    async def open(self, postgres: EmbeddedPostgres) -> None:
        self.bodies: dict[str, asyncio.Event] = {}
        app = web.Application()
        app.router.add_get("/{number}", self.serve)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/"
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2))

    async def serve(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        # More than a client buffers that does not read.
        await response.write(bytes(2**20))
        await self.bodies.setdefault(request.match_info["number"], asyncio.Event()).wait()
        await response.write_eof()
        return response

    @property
    def target(self) -> Any:
        return self.session

    async def acquire(self) -> aiohttp.ClientResponse:
        return await self.session.get(f"{self.url}{next(_numbers)}")

    async def acquire_soon(self) -> aiohttp.ClientResponse:
        timeout = aiohttp.ClientTimeout(total=0.01)
        return await self.session.get(f"{self.url}{next(_numbers)}", timeout=timeout)

    def lose_slot(self) -> Callable[[], object]:
        connector: Any = self.session.connector
        placeholder = Mock(transport=None, closed=None)
        connector._acquired.add(placeholder)
        return functools.partial(connector._acquired.discard, placeholder)

    async def release(self, connection: Any) -> None:
        self.bodies.setdefault(connection.url.path.strip("/"), asyncio.Event()).set()
        await connection.read()

    def state(self) -> State:
        connector: Any = self.session.connector
        if connector is None:
            return State(0, 0, 0)
        idle = sum(
            protocol.is_connected() for kept in connector._conns.values() for protocol, _ in kept
        )
        waiting = sum(_pending(waiters) for waiters in connector._waiters.values())
        return State(len(connector._acquired), idle, waiting)

    def seen_by_server(self) -> int:
        assert self.runner.server is not None
        return len(self.runner.server.connections)

    async def close(self) -> None:
        await self.session.close()

    async def clean_up(self) -> None:
        await self.session.close()
        for body in self.bodies.values():
            body.set()
        await self.runner.cleanup()


class Connector(Session):
    """As before, but the connector is watched, not the session."""

    @property
    def target(self) -> Any:
        return self.session.connector


def lose_record(pool: Any) -> Callable[[], object]:
    """Lose the slot of a connection that is not open: its record is collected, and not returned."""
    pool._inc_overflow()
    return pool._dec_overflow  # type: ignore[no-any-return]  # a method of the library


def _pending(futures: Any) -> int:
    return sum(not future.done() for future in futures)


POOLS = (
    SyncEngine,
    BarePool,
    AsyncEngine,
    AsyncpgPool,
    OpenedAsyncpgPool,
    Session,
    Connector,
)
