"""
What an application drops is freed at the same moment, whether it is watched or not.

The collector is off: only what is part of no reference cycle is freed.
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import aiohttp
import asyncpg
import pytest
import sqlalchemy
import sqlalchemy.pool
from aiohttp.abc import AbstractResolver
from sqlalchemy.ext.asyncio import create_async_engine

import poolscope.adapters.aiohttp
from poolscope.demo.postgres import EmbeddedPostgres
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE
from support.web import Server

pytestmark = [
    pytest.mark.filterwarnings("ignore:(U|u)nclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:The garbage collector:sqlalchemy.exc.SAWarning"),
]


class Dropped(ABC):
    """A pool with a limit of one that an application makes, uses and drops."""

    target: Any
    """What is watched."""

    @abstractmethod
    async def make(self, postgres: EmbeddedPostgres, server: Server) -> None: ...

    @abstractmethod
    async def take(self, timeout: float = PATIENCE) -> Any: ...

    @abstractmethod
    async def give_back(self, connection: Any) -> None: ...

    @abstractmethod
    async def fail(self) -> None:
        """Ask for a connection that cannot be opened, if the pool opens one now."""

    @abstractmethod
    def parts(self) -> dict[str, Any]:
        """Return what has to be freed."""

    def watch(self, watches: Watches) -> Callable[[], object]:
        """Watch it, and return a function that ends the watch."""
        return watches.watch(self.target, registry=None).unwatch


class Connection(sqlite3.Connection):
    """A connection that takes a weak reference."""


class BarePool(Dropped):
    """A SQLAlchemy pool without an engine."""

    cls: Any

    async def make(self, postgres: EmbeddedPostgres, server: Server) -> None:
        limited = (
            {"pool_size": 1, "max_overflow": 0} if self.cls is sqlalchemy.pool.QueuePool else {}
        )
        self.target = self.pool = self.cls(self.creator(), **limited)

    def creator(self) -> Any:
        # Not a method, which would be part of a cycle with the pool.
        self.refusals = refusals = list[Exception]()

        def connect() -> sqlite3.Connection:
            if refusals:
                raise refusals.pop()
            return sqlite3.connect(":memory:", factory=Connection, check_same_thread=False)

        return connect

    async def take(self, timeout: float = PATIENCE) -> Any:
        self.pool._timeout = timeout
        return self.pool.connect()

    async def give_back(self, connection: Any) -> None:
        connection.close()

    async def fail(self) -> None:
        self.refusals.append(ZeroDivisionError())
        with suppress(ZeroDivisionError):
            self.pool.connect().close()
        self.refusals.clear()

    def parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"pool": self.pool}
        if isinstance(self.pool, sqlalchemy.pool.QueuePool):
            parts["queue"] = self.pool._pool
        for record in gc.get_objects():
            if getattr(record, "_ConnectionRecord__pool", None) is self.pool:
                parts["record"], parts["connection"] = record, record.dbapi_connection
        return parts


class Engine(BarePool):
    """A SQLAlchemy engine."""

    async def make(self, postgres: EmbeddedPostgres, server: Server) -> None:
        self.target = sqlalchemy.create_engine(
            "sqlite://",
            creator=self.creator(),
            poolclass=sqlalchemy.pool.QueuePool,
            pool_size=1,
            max_overflow=0,
        )
        self.pool = self.target.pool

    def parts(self) -> dict[str, Any]:
        return {"engine": self.target, **super().parts()}


class AsyncEngine(Dropped):
    """A SQLAlchemy async engine."""

    async def make(self, postgres: EmbeddedPostgres, server: Server) -> None:
        url = postgres.sqlalchemy_url("asyncpg")
        self.target = create_async_engine(url, pool_size=1, max_overflow=0)
        self.bad: list[str] = []

    async def take(self, timeout: float = PATIENCE) -> Any:
        self.target.pool._timeout = timeout
        return await self.target.connect()

    async def give_back(self, connection: Any) -> None:
        await connection.close()

    async def fail(self) -> None:
        create = self.target.pool._creator
        self.target.pool._creator = lambda: 1 / 0
        with suppress(ZeroDivisionError):
            await self.give_back(await self.take())
        self.target.pool._creator = create

    def parts(self) -> dict[str, Any]:
        return {
            "engine": self.target,
            "pool": self.target.pool,
            "queue": self.target.pool._pool,
        }


class Setup:
    """A pool refers to it; the pool itself takes no weak reference."""

    fails = False

    async def __call__(self, connection: object) -> None:
        if self.fails:
            raise ZeroDivisionError


class AsyncpgPool(Dropped):
    async def make(self, postgres: EmbeddedPostgres, server: Server) -> None:
        self.setup = Setup()
        self.target = asyncpg.create_pool(
            postgres.dsn, min_size=0, max_size=1, setup=self.setup, loop=asyncio.get_running_loop()
        )

    async def take(self, timeout: float = PATIENCE) -> Any:
        if not self.target._initialized:
            await self.target
        return await self.target.acquire(timeout=timeout)

    async def give_back(self, connection: Any) -> None:
        await self.target.release(connection)

    async def fail(self) -> None:
        self.setup.fails = True
        with suppress(ZeroDivisionError):
            await self.take()
        self.setup.fails = False

    def parts(self) -> dict[str, Any]:
        connections = [holder._con for holder in self.target._holders if holder._con]
        return {"setup": self.setup, **dict(zip(("connection",), connections, strict=False))}


class OpenedAsyncpgPool(AsyncpgPool):
    async def make(self, postgres: EmbeddedPostgres, server: Server) -> None:
        await super().make(postgres, server)
        await self.target


class NoNames(AbstractResolver):
    async def resolve(self, *args: Any, **kwargs: Any) -> Any:
        raise OSError

    async def close(self) -> None: ...


class Session(Dropped):
    async def make(self, postgres: EmbeddedPostgres, server: Server) -> None:
        self.url = f"{server.url}/much/x"
        self.resolver = NoNames()
        self.target = self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, resolver=self.resolver),
            trace_configs=self.trace_configs(),
        )

    def trace_configs(self) -> list[aiohttp.TraceConfig]:
        return []

    async def take(self, timeout: float = PATIENCE) -> Any:
        return await self.session.get(self.url, timeout=aiohttp.ClientTimeout(total=timeout))

    async def give_back(self, connection: Any) -> None:
        connection.close()

    async def fail(self) -> None:
        with suppress(aiohttp.ClientConnectorError):
            await self.session.get("http://name.example/")

    def parts(self) -> dict[str, Any]:
        connector: Any = self.session.connector
        parts = {"session": self.session, "connector": connector, "resolver": self.resolver}
        kept = [protocol for kept in connector._conns.values() for protocol, _ in kept]
        for protocol in (*kept, *connector._acquired):
            parts["protocol"], parts["transport"] = protocol, protocol.transport
        return parts


class KeptSession(Session):
    """Its connections are kept alive."""

    async def make(self, postgres: EmbeddedPostgres, server: Server) -> None:
        await super().make(postgres, server)
        self.url = f"{server.url}/now/x"

    async def give_back(self, connection: Any) -> None:
        await connection.read()


class Connector(KeptSession):
    async def make(self, postgres: EmbeddedPostgres, server: Server) -> None:
        await super().make(postgres, server)
        self.target = self.session.connector


class TracedSession(KeptSession):
    """It is watched by a trace config."""

    watches: Watches | None = None

    def trace_configs(self) -> list[aiohttp.TraceConfig]:
        watched = list[Any]()
        self.watched = watched

        def watch(session: aiohttp.ClientSession) -> None:
            if self.watches is not None:
                watched.append(self.watches.watch(session, registry=None))

        return [poolscope.adapters.aiohttp.trace_config(watch)]

    def watch(self, watches: Watches) -> Callable[[], object]:
        self.watches = watches
        watched = self.watched
        return lambda: [watch.unwatch() for watch in watched]


def bare(pool_class: type[sqlalchemy.pool.Pool]) -> type[BarePool]:
    return type(pool_class.__name__, (BarePool,), {"cls": pool_class})


KINDS: tuple[type[Dropped], ...] = (
    bare(sqlalchemy.pool.QueuePool),
    bare(sqlalchemy.pool.NullPool),
    bare(sqlalchemy.pool.StaticPool),
    bare(sqlalchemy.pool.SingletonThreadPool),
    bare(sqlalchemy.pool.AssertionPool),
    Engine,
    AsyncEngine,
    AsyncpgPool,
    OpenedAsyncpgPool,
    Session,
    KeptSession,
    Connector,
    TracedSession,
)


async def untouched(pool: Dropped) -> None:
    """Do nothing."""


async def used(pool: Dropped) -> None:
    await pool.give_back(await pool.take())


async def failed(pool: Dropped) -> None:
    await pool.fail()


async def used_and_failed(pool: Dropped) -> None:
    await used(pool)
    await failed(pool)


async def in_use(pool: Dropped) -> Any:
    return await pool.take()


async def timed_out(pool: Dropped) -> None:
    connection = await pool.take()
    with suppress(TimeoutError, sqlalchemy.exc.TimeoutError, AssertionError):
        await pool.give_back(await pool.take(0.01))
    await pool.give_back(connection)


SCENARIOS = (untouched, used, failed, used_and_failed, in_use, timed_out)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.freeze()  # so that the test's own collections are fast
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()
    gc.collect()


async def run_callbacks() -> None:
    """Let the event loop do what was left to it: a transport closes in a callback."""
    for _ in range(10):
        await asyncio.sleep(0)


async def kept(
    pool: Dropped, scenario: Callable[[Dropped], Awaitable[Any]], end: Callable[[], object]
) -> dict[str, weakref.ref[Any]]:
    held = await scenario(pool)
    end()
    references = {name: weakref.ref(part) for name, part in pool.parts().items() if part}
    del held
    return references


def alive(references: dict[str, weakref.ref[Any]]) -> list[str]:
    return [name for name, reference in references.items() if reference() is not None]


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_what_is_dropped_is_freed_as_without_a_watch(
    kind: type[Dropped],
    scenario: Callable[[Dropped], Awaitable[Any]],
    postgres: EmbeddedPostgres,
    server: Server,
    watches: Watches,
) -> None:
    seen = []
    for watched, ended in ((False, False), (True, False), (True, True)):
        pool = kind()
        await pool.make(postgres, server)
        unwatch = pool.watch(watches) if watched else lambda: None
        references = await kept(pool, scenario, unwatch if ended else lambda: None)
        del pool
        await run_callbacks()
        at_once = alive(references)
        del unwatch
        gc.collect()
        await run_callbacks()
        seen.append((list(references), at_once, alive(references)))
    plain, watched_one, unwatched_one = seen
    assert plain == watched_one
    assert plain == unwatched_one
