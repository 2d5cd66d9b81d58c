"""
The web service: four pools, and the handlers that use them.

Two of its handlers are wrong on purpose: `quote_price` keeps its connection while it asks another
service, and `export_orders` may forget its connection.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
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

SIZES: Final = {"orders": 3, "billing": 3, "reports": 4, "upstream": 4}
"""How many connections each pool may have; in both workers, too few for the bursts."""

BACKLOG: Final = 256

LEAK_AFTER: Final = 5.0
"""Seconds; no handler needs a connection for nearly as long."""

RECYCLE_SECONDS: Final = 1800

ORDER_TOTAL: Final = 25
UPSTREAM_SECONDS: Final = 0.12
UPSTREAM_CLOSES: Final = 0.03
"""Share of the responses after which the server closes the connection."""

FORGOTTEN_SECONDS: Final = 30
"""
Seconds until the server ends a connection that was forgotten.

So the pool gets it back, and survives the mistake, as with `idle_session_timeout` in production.
"""

# Idempotent. The lock serialises workers that start on the same server at the same time.
SCHEMA: Final = """
BEGIN;
SELECT pg_advisory_xact_lock(10464);
CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, total integer NOT NULL);
ALTER TABLE orders ADD COLUMN IF NOT EXISTS placed timestamptz NOT NULL DEFAULT now();
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
INVOICE: Final = text("SELECT paid FROM invoices WHERE id = :id")
ORDERS_OF_YEAR: Final = "SELECT id, total FROM orders WHERE extract(year FROM placed) = $1 LIMIT 10"

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
async def open_pools(
    postgres: Postgres, sizes: Mapping[str, int] | None = None
) -> AsyncIterator[Pools]:
    """
    Open and watch the pools; unwatch and close them at the end.

    sizes: how many connections a pool may have, by its name, where it is not to be as in `SIZES`.
    """
    size = {**SIZES, **(sizes or {})}
    async with AsyncExitStack() as stack:
        orders = create_engine(
            postgres.sqlalchemy_url("psycopg"),
            **_queue(size["orders"]),
            pool_timeout=POOL_TIMEOUT,
            pool_recycle=RECYCLE_SECONDS,
        )
        stack.callback(orders.dispose)
        billing = create_async_engine(
            postgres.sqlalchemy_url("asyncpg"),
            **_queue(size["billing"]),
            pool_timeout=POOL_TIMEOUT,
            pool_recycle=RECYCLE_SECONDS,
        )
        stack.push_async_callback(billing.dispose)
        reports = await asyncpg.create_pool(
            postgres.dsn, min_size=min(2, size["reports"]), max_size=size["reports"]
        )
        # Its close() would wait for connections that were forgotten.
        stack.callback(reports.terminate)
        upstream = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=size["upstream"], limit_per_host=size["upstream"]
                ),
                timeout=aiohttp.ClientTimeout(total=5, connect=POOL_TIMEOUT),
            )
        )
        pools = Pools(orders, billing, reports, upstream)
        for name in Pools.__slots__:
            pool = getattr(pools, name)
            stack.enter_context(poolscope.watch(pool, name=name, leak_after=LEAK_AFTER))
        yield pools


def _queue(size: int) -> dict[str, int]:
    """Return the arguments of an engine that may have so many connections, and keeps most open."""
    overflow = min(1, size - 1)
    return {"pool_size": size - overflow, "max_overflow": overflow}


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 is any free port. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


@asynccontextmanager
async def serve(
    pools: Pools, listener: socket.socket, metrics: str | None = None
) -> AsyncIterator[None]:
    """
    Serve at a socket that listens, perhaps together with other processes.

    metrics: the path of the metrics of this process, if it serves them.
    """
    app = web.Application(middlewares=[_answer_pool_timeouts])
    app[POOLS] = pools
    poolscope.instrument(app, metrics=metrics)
    app.add_routes(
        [
            web.get("/", index),
            web.post("/orders", place_order),
            web.get("/invoices", open_invoices),
            web.get("/invoices/{id}/quote", quote_price),
            web.get("/reports/daily", daily_report),
            web.get("/reports/export/{year}", export_orders),
            web.get("/storefront", storefront),
            web.get("/prices/{shelf}", prices),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        yield
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


async def quote_price(request: web.Request) -> web.Response:
    """Keep a connection of the database while another service is asked: a mistake, on purpose."""
    pools = request.app[POOLS]
    async with pools.billing.connect() as connection:
        paid = await connection.scalar(INVOICE, {"id": int(request.match_info["id"])})
        async with pools.upstream.get(_upstream(request, "new")) as response:
            price = await response.json()
    return web.json_response({"paid": paid, **price})


async def daily_report(request: web.Request) -> web.Response:
    """Use asyncpg."""
    async with request.app[POOLS].reports.acquire(timeout=POOL_TIMEOUT) as connection:
        total = await connection.fetchval(DAILY_REPORT)
    return web.json_response({"total": total})


async def export_orders(request: web.Request) -> web.Response:
    """Use asyncpg, and forget to release the connection if there is nothing: on purpose, too."""
    connection = await request.app[POOLS].reports.acquire(timeout=POOL_TIMEOUT)
    orders = await connection.fetch(ORDERS_OF_YEAR, int(request.match_info["year"]))
    if not orders:
        await connection.execute(f"SET idle_session_timeout = '{FORGOTTEN_SECONDS}s'")
        return web.json_response({"error": "no orders"}, status=404)
    await request.app[POOLS].reports.release(connection)
    return web.json_response([dict(order) for order in orders])


async def storefront(request: web.Request) -> web.Response:
    """Use aiohttp: send two requests to another service, which is this one again."""
    shown = []
    for shelf in ("new", "used"):
        async with request.app[POOLS].upstream.get(_upstream(request, shelf)) as response:
            shown.append(await response.json())
    return web.json_response(shown)


def _upstream(request: web.Request, shelf: str) -> str:
    # A name, not an address, so that it is resolved like the name of another service.
    return f"http://localhost:{request.host.rpartition(':')[2]}/prices/{shelf}"


async def prices(request: web.Request) -> web.Response:
    """Answer the requests of the storefront."""
    await asyncio.sleep(UPSTREAM_SECONDS)
    response = web.json_response({"shelf": request.match_info["shelf"], "price": ORDER_TOTAL})
    if random.random() < UPSTREAM_CLOSES:  # noqa: S311 - not for security
        response.force_close()
    return response
