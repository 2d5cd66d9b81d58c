"""
Watched asyncpg pools and aiohttp sessions behave as unwatched ones.

As for SQLAlchemy, each scenario runs without a watch and with one, and writes down everything that
a program can see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from poolscope.watching.watches import Watches
from support.ports import closed_port
from support.waiting import PATIENCE

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres


class Program:
    """A program that uses a pool and writes down what it sees."""

    def __init__(self, address: str, watched: bool) -> None:
        self.address = address
        self.watched = watched
        self.seen: list[Any] = []
        self.names: dict[int, int] = {}

    def watch(self, target: Any) -> Any:
        if self.watched:
            Watches().watch(target, registry=None)
        return target

    def write(self, *what: Any) -> None:
        self.seen.append(what)

    def name(self, identity: int) -> int:
        """Return a number for a connection, in the order in which they are first seen."""
        return self.names.setdefault(identity, len(self.names) + 1)

    async def attempt(self, awaitable: Awaitable[Any]) -> Any:
        """Await, and write down the result or the error."""
        try:
            result = await awaitable
        except (Exception, asyncio.CancelledError) as error:
            # Addresses of objects and numbers of ports differ from run to run.
            words = str(error).split(" object at ")[0].replace(self.address, "")
            self.write("raised", type(error), words)
            return None
        if isinstance(result, asyncpg.pool.PoolConnectionProxy):
            self.write("acquired", self.name(result.get_server_pid()))
        elif isinstance(result, aiohttp.ClientResponse):
            assert result.connection is None or result.connection.transport is not None
            self.write("answered", result.status, result.content_type)
        else:
            self.write("returned", result)
        return result

    def pool(self, **options: Any) -> Any:
        options = {"min_size": 0, "max_size": 2, **options}
        return self.watch(asyncpg.create_pool(self.address, **options))

    def sizes(self, pool: Any) -> None:
        self.write("sizes", pool.get_size(), pool.get_idle_size(), pool.is_closing())


async def opening(program: Program) -> None:
    pool = program.pool(min_size=1)
    await program.attempt(pool.acquire())
    await program.attempt(pool.fetchval("SELECT 1"))
    assert await pool is pool
    program.sizes(pool)
    await program.attempt(pool.fetchval("SELECT 1"))
    await pool.close()
    program.sizes(pool)
    await program.attempt(pool.acquire())
    await program.attempt(pool.fetchval("SELECT 1"))
    await program.attempt(pool.close())


async def last_in_first_out(program: Program) -> None:
    pool = await program.pool(max_size=3)
    held = [await program.attempt(pool.acquire()) for _ in range(3)]
    for connection in held:
        await pool.release(connection)
    for _ in range(3):
        connection = await program.attempt(pool.acquire())
        await pool.release(connection)
    await pool.close()


async def timeouts(program: Program) -> None:
    pool = await program.pool(max_size=1)
    connection = await program.attempt(pool.acquire(timeout=PATIENCE))
    for timeout in (0.01, 0, -1):
        await program.attempt(pool.acquire(timeout=timeout))
    await pool.release(connection)
    program.sizes(pool)
    await program.attempt(pool.fetchval("SELECT 1"))
    await pool.close()


async def queries(program: Program) -> None:
    pool = await program.pool(max_size=1)
    await program.attempt(pool.fetchval("SELECT 1 / 0"))
    await program.attempt(pool.execute("SELECT 1"))
    await program.attempt(pool.fetchval("SELECT pg_sleep(10)", timeout=0.01))
    program.sizes(pool)
    await program.attempt(pool.fetchval("SELECT 2"))
    await pool.close()


async def releasing_what_is_not_out(program: Program) -> None:
    pool, other = await program.pool(), await program.pool()
    connection = await program.attempt(pool.acquire())
    await program.attempt(other.release(connection))
    await program.attempt(pool.release(connection))
    await program.attempt(pool.release(connection))
    await program.attempt(pool.release(object()))
    program.write(repr(connection).split(" ")[0])
    try:
        connection.get_server_pid()
    except asyncpg.InterfaceError as error:
        program.write(str(error))
    await pool.close()
    await other.close()


async def callbacks(program: Program) -> None:
    fails: set[str] = set()

    def callback(name: str) -> Any:
        async def call(connection: Any) -> None:
            program.write(name, type(connection).__name__)
            if name in fails:
                raise ZeroDivisionError(name)

        return call

    pool = await program.pool(init=callback("init"), setup=callback("setup"))
    for failing in ("", "init", "setup", ""):
        fails = {failing}
        connection = await program.attempt(pool.acquire())
        program.sizes(pool)
        if connection is not None:
            await program.attempt(connection.close())
            await program.attempt(pool.release(connection))
    await pool.close()


async def cancelled(program: Program) -> None:
    pool = await program.pool(max_size=1)
    connection = await program.attempt(pool.acquire())
    waiting = asyncio.create_task(program.attempt(pool.acquire()))
    await asyncio.sleep(0)
    waiting.cancel()
    await waiting
    releasing = asyncio.create_task(program.attempt(pool.release(connection)))
    await asyncio.sleep(0)
    releasing.cancel()
    await releasing
    await program.attempt(pool.fetchval("SELECT 1"))
    program.sizes(pool)
    await pool.close()


async def expired_and_terminated(program: Program) -> None:
    pool = await program.pool()
    connection = await program.attempt(pool.acquire())
    await pool.expire_connections()
    await pool.release(connection)
    program.sizes(pool)
    connection = await program.attempt(pool.acquire())
    pool.terminate()
    program.write(connection.is_closed() if connection._con is not None else "detached")
    await program.attempt(pool.release(connection))
    await program.attempt(pool.acquire())


async def waiters(program: Program) -> None:
    pool = await program.pool(max_size=1)
    connection = await program.attempt(pool.acquire())
    served: list[int] = []

    async def ask(number: int) -> None:
        async with pool.acquire():
            served.append(number)

    asking = []
    for number in range(5):
        asking.append(asyncio.create_task(ask(number)))
        await asyncio.sleep(0)
    asking[2].cancel()
    await pool.release(connection)
    await asyncio.gather(*asking, return_exceptions=True)
    program.write(served)
    await pool.close()


ASYNCPG = (
    opening, last_in_first_out, timeouts, queries, releasing_what_is_not_out, callbacks, cancelled,
    expired_and_terminated, waiters,
)  # fmt: skip


@pytest.mark.parametrize("scenario", ASYNCPG, ids=lambda scenario: scenario.__name__)
async def test_a_watched_asyncpg_pool_behaves_the_same(
    scenario: Callable[[Program], Awaitable[None]], postgres: EmbeddedPostgres
) -> None:
    await compare(scenario, postgres.dsn)


async def compare(scenario: Callable[[Program], Awaitable[None]], address: str) -> None:
    plain, watched = Program(address, watched=False), Program(address, watched=True)
    await scenario(plain)
    await scenario(watched)
    assert len(plain.seen) > 0
    assert plain.seen == watched.seen


def session(program: Program, **options: Any) -> aiohttp.ClientSession:
    """Return a session whose own tracer writes down all signals."""
    config = aiohttp.TraceConfig()
    for name in (
        "request_start", "request_end", "request_exception", "connection_queued_start",
        "connection_queued_end", "connection_create_start", "connection_create_end",
        "connection_reuseconn", "dns_resolvehost_start", "dns_resolvehost_end", "dns_cache_hit",
        "dns_cache_miss",
    ):  # fmt: skip

        async def tell(*args: object, name: str = name) -> None:
            program.write(name)

        getattr(config, f"on_{name}").append(tell)
    connector = aiohttp.TCPConnector(**options)
    made = aiohttp.ClientSession(connector=connector, trace_configs=[config])
    program.watch(made)
    return made


async def kept_alive(program: Program) -> None:
    async with session(program) as client:
        for path in ("now", "redirect", "missing", "now"):
            response = await program.attempt(client.get(f"{program.address}/{path}"))
            program.write(await response.text())


async def closed_by_force(program: Program) -> None:
    async with session(program, force_close=True) as client:
        for _ in range(2):
            response = await program.attempt(client.get(f"{program.address}/now"))
            program.write(await response.text())


async def queued(program: Program) -> None:
    async with session(program, limit=1) as client:
        order: list[int] = []

        async def ask(number: int) -> None:
            async with client.get(f"{program.address}/now") as response:
                order.append(number)
                await response.read()

        asking = []
        for number in range(4):
            asking.append(asyncio.create_task(ask(number)))
            await asyncio.sleep(0)
        asking[1].cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        program.write(order)


async def limits_of_time(program: Program) -> None:
    async with session(program, limit=1) as client:
        held = await client.get(f"{program.address}/stream")
        for limits in ({"total": 0.01}, {"connect": 0.01}):
            timeout = aiohttp.ClientTimeout(**limits)
            await program.attempt(client.get(f"{program.address}/now", timeout=timeout))
        held.close()
        await program.attempt(client.get(f"{program.address}/now"))


async def refused(program: Program) -> None:
    async with session(program) as client:
        await program.attempt(client.get(f"http://127.0.0.1:{closed_port()}/"))
        await program.attempt(client.get("http://host.invalid/"))
        await program.attempt(client.get("not a url"))


async def closed(program: Program) -> None:
    client = session(program, limit=1)
    held = await client.get(f"{program.address}/stream")
    await client.close()
    program.write(client.closed, held.closed)
    held.close()
    await program.attempt(client.get(f"{program.address}/now"))


AIOHTTP = (kept_alive, closed_by_force, queued, limits_of_time, refused, closed)


@pytest.mark.parametrize("scenario", AIOHTTP, ids=lambda scenario: scenario.__name__)
async def test_a_watched_aiohttp_session_behaves_the_same(
    scenario: Callable[[Program], Awaitable[None]],
) -> None:
    async def now(request: web.Request) -> web.Response:
        return web.Response(text="now")

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound("/now")

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    app = web.Application()
    app.add_routes([web.get("/now", now), web.get("/redirect", redirect)])
    app.add_routes([web.get("/stream", stream)])
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await compare(scenario, f"http://127.0.0.1:{runner.addresses[0][1]}")
    await runner.cleanup()
