"""
A service that makes each mistake that poolscope detects, and prints the findings.

Run it with `python leaky_service.py POSTGRES_DSN`. A comment marks each line that makes a mistake.
A real service would call `poolscope.watch`; this one uses a fake clock, so that an hour passes at
once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import warnings
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import asyncpg
import sqlalchemy
from aiohttp import web

from poolscope import Watch
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches

clock = FakeClock()
watches = Watches(clock)
seen: list[Watch] = []
kept: list[Any] = []

add = seen.append


def watch(pool: Any, name: str) -> Any:
    """Watch a pool, and keep a reference, so that it is not collected before the end."""
    add(watches.watch(pool, name))
    kept.append(pool)
    return pool


class Service:
    """A method for each mistake; its pool has the name of the mistake."""

    def __init__(self, dsn: str, url: str) -> None:
        self.dsn = dsn
        self.url = url

    def engine(self, **options: Any) -> sqlalchemy.Engine:
        url = sqlalchemy.make_url(self.dsn).set(drivername="postgresql+psycopg")
        return sqlalchemy.create_engine(url, **{"pool_pre_ping": True, **options})

    async def pool(self) -> Any:
        return await asyncpg.create_pool(self.dsn, min_size=0, max_size=2)

    def session(self, timeout: dict[str, Any] | None = None, **options: Any) -> Any:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(**{"limit_per_host": 9, **options}),
            timeout=aiohttp.ClientTimeout(**{"total": 9, "connect": 1, **(timeout or {})}),
        )

    async def abandon(self) -> None:
        pool = watch(await self.pool(), "abandoned")
        connection = await pool.acquire(timeout=5)  # MISTAKE: abandoned
        await connection.execute("SELECT 1")

    async def abandon_a_checkout(self) -> None:
        engine = watch(self.engine(), "abandoned in SQLAlchemy")
        connection = engine.connect()  # MISTAKE: abandoned in SQLAlchemy
        connection.execute(sqlalchemy.text("SELECT 1"))

    async def abandon_a_response(self) -> None:
        session = watch(self.session(), "abandoned in aiohttp")
        response = await session.get(f"{self.url}/large")  # MISTAKE: abandoned in aiohttp
        await response.content.read(10)
        # Wait until aiohttp stops reading because its buffer is full; there is no event for that.
        while not response.connection.protocol._reading_paused:  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def hold_for_too_long(self) -> None:
        engine = watch(self.engine(), "overdue")
        kept.append(engine.connect())  # MISTAKE: overdue

    async def nest(self) -> None:
        pool = watch(await self.pool(), "nested-acquire")
        async with pool.acquire(timeout=5) as outer:  # noqa: SIM117 - a marked line of its own
            async with pool.acquire(timeout=5) as inner:  # MISTAKE: nested-acquire
                await asyncio.gather(outer.execute("SELECT 1"), inner.execute("SELECT 1"))

    async def hold_across_a_request(self) -> None:
        pool, session = watch(await self.pool(), "held-across-request"), self.session()
        watch(session, "nothing is wrong with the session")
        async with pool.acquire(timeout=5) as connection:  # MISTAKE: held-across-request
            await connection.execute("SELECT 1")
            async with session.get(f"{self.url}/large") as response:
                clock.advance(60.0)  # a slow answer
                await response.read()

    async def acquire_without_timeout(self) -> None:
        pool = watch(await self.pool(), "no-acquire-timeout")
        async with pool.acquire() as connection:  # MISTAKE: no-acquire-timeout
            await connection.execute("SELECT 1")

    async def block_the_loop(self) -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1}
        engine = watch(self.engine(**options), "blocks-event-loop")
        with engine.connect(), contextlib.suppress(sqlalchemy.exc.TimeoutError):
            await asyncio.create_task(self.block(engine))

    async def block(self, engine: sqlalchemy.Engine) -> None:
        engine.connect()  # MISTAKE: blocks-event-loop

    async def use_in_another_loop(self) -> None:
        session = watch(self.session(), "other-loop")

        async def ask() -> None:
            with contextlib.suppress(RuntimeError):
                await session.get(self.url)  # MISTAKE: other-loop

        await asyncio.to_thread(asyncio.run, ask())

    async def skip_verification(self) -> None:
        session = watch(self.session(), "tls-not-verified")
        with contextlib.suppress(aiohttp.ClientError):
            await session.get("https://127.0.0.1:9/", ssl=False)  # MISTAKE: tls-not-verified

    async def make_a_session_for_each_request(self) -> None:
        for _ in range(20):
            async with self.session() as session:
                add(watches.watch(session, "pool-per-request"))  # MISTAKE: pool-per-request
                async with session.get(self.url) as response:
                    await response.read()

    async def never_close(self) -> None:
        engine = self.engine()
        add(watches.watch(engine, "never-closed"))  # MISTAKE: never-closed
        engine.connect().close()

    async def reuse_few(self) -> None:
        engine = self.engine(pool_size=1, max_overflow=4)
        add(watches.watch(engine, "few-reused"))  # MISTAKE: few-reused
        for _ in range(25):
            callers = [asyncio.to_thread(engine.connect) for _ in range(4)]
            for connection in await asyncio.gather(*callers):
                connection.close()
        kept.append(engine)

    async def use_a_pool_that_is_too_small(self) -> None:
        engine = self.engine(pool_size=1, max_overflow=0, pool_timeout=0.01)
        add(watches.watch(engine, "too-small"))  # MISTAKE: too-small
        with engine.connect(), contextlib.suppress(sqlalchemy.exc.TimeoutError):
            clock.advance(250.0)
            await asyncio.to_thread(engine.connect)
        clock.advance(50.0)
        kept.append(engine)

    async def use_a_pool_that_is_too_large(self) -> None:
        engine = self.engine(pool_size=20)
        add(watches.watch(engine, "too-large"))  # MISTAKE: too-large
        for _ in range(100):
            engine.connect().close()
        clock.advance(3600.0)
        kept.append(engine)

    async def misconfigure_engines(self) -> None:
        null, static = sqlalchemy.pool.NullPool, sqlalchemy.pool.StaticPool
        engines = [
            self.engine(max_overflow=-1),
            self.engine(pool_size=60),
            self.engine(pool_pre_ping=False),
            self.engine(poolclass=null),
            self.engine(poolclass=static),
        ]
        kept.extend(engines)
        add(watches.watch(engines[0], "unlimited"))  # MISTAKE: unlimited
        add(watches.watch(engines[1], "oversized"))  # MISTAKE: oversized
        add(watches.watch(engines[2], "stale-connections"))  # MISTAKE: stale-connections
        add(watches.watch(engines[3], "null-pool"))  # MISTAKE: null-pool
        add(watches.watch(engines[4], "nothing is wrong"))

    async def misconfigure_sessions(self) -> None:
        sessions = [
            self.session(timeout={"total": None}),
            self.session(timeout={"connect": None, "sock_connect": None}),
            self.session(force_close=True),
            self.session(limit_per_host=0),
            self.session(use_dns_cache=False),
        ]
        kept.extend(sessions)
        add(watches.watch(sessions[0], "no-total-timeout"))  # MISTAKE: no-total-timeout
        add(watches.watch(sessions[1], "no-connect-timeout"))  # MISTAKE: no-connect-timeout
        add(watches.watch(sessions[2], "no-keepalive"))  # MISTAKE: no-keepalive
        add(watches.watch(sessions[3], "no-limit-per-host"))  # MISTAKE: no-limit-per-host
        add(watches.watch(sessions[4], "no-dns-cache"))  # MISTAKE: no-dns-cache

    async def make_every_mistake(self) -> None:
        """Make each mistake in a task with the name of its method."""
        for make in (
            self.abandon, self.abandon_a_checkout, self.abandon_a_response,
            self.hold_for_too_long, self.nest, self.hold_across_a_request,
            self.acquire_without_timeout, self.block_the_loop, self.use_in_another_loop,
            self.skip_verification,
            self.make_a_session_for_each_request, self.never_close, self.reuse_few,
            self.use_a_pool_that_is_too_large, self.use_a_pool_that_is_too_small,
            self.misconfigure_engines, self.misconfigure_sessions,
        ):  # fmt: skip
            await asyncio.create_task(make(), name=make.__name__)


async def answer(request: web.Request) -> web.Response:
    return web.Response(body=bytes(2**22 if request.path == "/large" else 10))


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Run the HTTP server that the sessions send requests to, on a free port."""
    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def report() -> None:
    """Print the findings, one for each mistake and line of code."""
    gc.collect()
    clock.advance(61.0)
    lines = []
    for watch in seen:
        for finding in watch.findings():
            what = f"{finding.severity} {finding.rule}: {finding.message}"
            lines += [f"{watch.name}: {what}; {site}" for site in finding.sites]
        for hold in watch.holders():
            if hold.overdue and not hold.abandoned:
                lines.append(f"{watch.name}: held for {hold.held_seconds:.0f} s; {hold.site}")
    print("\n".join(dict.fromkeys(lines)))


async def main(dsn: str) -> None:
    warnings.simplefilter("ignore", ResourceWarning)
    async with server() as url:
        await Service(dsn, url).make_every_mistake()
        report()
        for pool in kept:
            if isinstance(pool, aiohttp.ClientSession):
                await pool.close()
            elif isinstance(pool, asyncpg.Pool):
                pool.terminate()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
