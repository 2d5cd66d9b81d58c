"""The web service: four pools, and the handlers that use them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import asyncpg
from aiohttp import web
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import poolscope
from poolscope.demo.external_postgres import Postgres

POOL_TIMEOUT: Final = 0.5
"""Seconds that a caller waits for a connection of any pool."""

ORDER_TOTAL: Final = 25
UPSTREAM_SECONDS: Final = 0.12
UPSTREAM_CLOSES: Final = 0.03
"""Share of the responses after which the server closes the connection."""

# Idempotent. The lock serialises workers that start on the same server at the same time.
SCHEMA: Final = """
BEGIN;
SELECT pg_advisory_xact_lock(10464);
CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, total integer NOT NULL);
CREATE TABLE IF NOT EXISTS invoices (id serial PRIMARY KEY, paid boolean NOT NULL DEFAULT false);
INSERT INTO invoices SELECT FROM generate_series(1, 100)
    WHERE NOT EXISTS (SELECT FROM invoices);
COMMIT;
"""

# pg_sleep makes them hold their connections as long as with a busy database.
INSERT_ORDER: Final = text("INSERT INTO orders (total) VALUES (:total) RETURNING id")
COMMIT_ORDER: Final = text("SELECT pg_sleep(0.05 + random() * 0.1)")
OPEN_INVOICES: Final = text(
    "SELECT count(*) FROM invoices, pg_sleep(0.04 + random() * 0.08) WHERE NOT paid"
)
DAILY_REPORT: Final = (
    "SELECT coalesce(sum(total), 0) FROM pg_sleep(0.1 + random() * 0.1) LEFT JOIN orders ON true"
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Pools:
    """The pools that the handlers use; each is watched under the name of its field."""

    orders: Engine
    billing: AsyncEngine
    reports: asyncpg.Pool[Any]
    upstream: aiohttp.ClientSession


POOLS: Final = web.AppKey("pools", Pools)


async def create_tables(postgres: Postgres) -> None:
    """Create the tables unless they exist."""
    connection = await asyncpg.connect(postgres.dsn)
    try:
        await connection.execute(SCHEMA)
    finally:
        await connection.close()


@asynccontextmanager
async def open_pools(postgres: Postgres) -> AsyncIterator[Pools]:
    """Open and watch the pools; unwatch and close them at the end."""
    async with AsyncExitStack() as stack:
        orders = create_engine(
            postgres.sqlalchemy_url("psycopg"),
            pool_size=4,
            max_overflow=2,
            pool_timeout=POOL_TIMEOUT,
        )
        stack.callback(orders.dispose)
        billing = create_async_engine(
            postgres.sqlalchemy_url("asyncpg"),
            pool_size=3,
            max_overflow=2,
            pool_timeout=POOL_TIMEOUT,
        )
        stack.push_async_callback(billing.dispose)
        reports = await stack.enter_async_context(
            asyncpg.create_pool(postgres.dsn, min_size=2, max_size=5)
        )
        upstream = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=8),
                timeout=aiohttp.ClientTimeout(total=5, connect=POOL_TIMEOUT),
            )
        )
        pools = Pools(orders, billing, reports, upstream)
        for name in Pools.__slots__:
            stack.enter_context(poolscope.watch(getattr(pools, name), name=name))
        yield pools


@asynccontextmanager
async def serve(pools: Pools) -> AsyncIterator[str]:
    """Serve on a free port of the loopback interface, and yield the URL."""
    app = web.Application(middlewares=[_answer_pool_timeouts])
    app[POOLS] = pools
    poolscope.instrument(app, metrics=None)
    app.add_routes(
        [
            web.get("/", index),
            web.post("/orders", place_order),
            web.get("/invoices", open_invoices),
            web.get("/reports/daily", daily_report),
            web.get("/storefront", storefront),
            web.get("/prices/{shelf}", prices),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/"
    finally:
        await runner.cleanup()


@web.middleware
async def _answer_pool_timeouts(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with status 503 if no connection was free in time."""
    try:
        return await handler(request)
    except (TimeoutError, PoolTimeoutError):
        return web.json_response({"error": "no connection was free in time"}, status=503)


async def index(request: web.Request) -> web.Response:
    """List the routes."""
    routes = {
        f"{route.method} {route.resource.canonical}"
        for route in request.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    return web.Response(text="\n".join(["poolscope demo: the watched service", *sorted(routes)]))


async def place_order(request: web.Request) -> web.Response:
    """Use SQLAlchemy, synchronously, in a thread so that it does not block the event loop."""
    order = await asyncio.to_thread(_insert_order, request.app[POOLS].orders)
    return web.json_response({"order": order}, status=201)


def _insert_order(engine: Engine) -> int:
    with engine.begin() as connection:
        order: int = connection.execute(INSERT_ORDER, {"total": ORDER_TOTAL}).scalar_one()
        connection.execute(COMMIT_ORDER)
        return order


async def open_invoices(request: web.Request) -> web.Response:
    """Use SQLAlchemy with an AsyncEngine."""
    async with request.app[POOLS].billing.connect() as connection:
        count = (await connection.execute(OPEN_INVOICES)).scalar_one()
    return web.json_response({"open": count})


async def daily_report(request: web.Request) -> web.Response:
    """Use asyncpg."""
    async with request.app[POOLS].reports.acquire(timeout=POOL_TIMEOUT) as connection:
        total = await connection.fetchval(DAILY_REPORT)
    return web.json_response({"total": total})


async def storefront(request: web.Request) -> web.Response:
    """Use aiohttp: send two requests to another service, which is this one again."""
    # A name, not an address, so that it is resolved like the name of another service.
    upstream, port = request.app[POOLS].upstream, request.host.rpartition(":")[2]
    shown = []
    for shelf in ("new", "used"):
        async with upstream.get(f"http://localhost:{port}/prices/{shelf}") as response:
            shown.append(await response.json())
    return web.json_response(shown)


async def prices(request: web.Request) -> web.Response:
    """Answer the requests of the storefront."""
    await asyncio.sleep(UPSTREAM_SECONDS)
    response = web.json_response({"shelf": request.match_info["shelf"], "price": ORDER_TOTAL})
    if random.random() < UPSTREAM_CLOSES:  # noqa: S311 - not for security
        response.force_close()
    return response
