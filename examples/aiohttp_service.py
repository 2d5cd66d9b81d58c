"""
An aiohttp service with an asyncpg pool and a session for another service, both watched.

Run it with `python aiohttp_service.py postgresql://localhost/shop 8080`, request `/orders/1`, then
look at `/metrics`. At `/holders` it says who holds a connection at this moment, and for which
request. `cleanup_ctx` opens the pools at the start, in the event loop of the service, and closes
them at the end.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import asdict

import aiohttp
import asyncpg
from aiohttp import web

import poolscope

POOL = web.AppKey("POOL", asyncpg.Pool)
UPSTREAM = web.AppKey("UPSTREAM", aiohttp.ClientSession)


def make_app(dsn: str) -> web.Application:
    async def pools(app: web.Application) -> AsyncIterator[None]:
        pool = asyncpg.create_pool(dsn, min_size=1, max_size=5)
        connector = aiohttp.TCPConnector(limit=20, limit_per_host=10)
        timeout = aiohttp.ClientTimeout(total=30, connect=2)
        session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        poolscope.watch(pool, name="orders")
        poolscope.watch(session, name="stock")
        async with pool as app[POOL], session as app[UPSTREAM]:
            async with pool.acquire(timeout=5) as connection:
                table = "orders (number INTEGER PRIMARY KEY, amount INTEGER NOT NULL)"
                await connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            yield

    app = web.Application()
    app.cleanup_ctx.append(pools)
    app.router.add_get("/orders/{number}", order)
    app.router.add_get("/stock/{number}", stock)
    app.router.add_get("/holders", holders)
    return poolscope.instrument(app)


async def order(request: web.Request) -> web.Response:
    """Return the amount of an order."""
    number = int(request.match_info["number"])
    async with request.app[POOL].acquire(timeout=5) as connection:
        query = "SELECT amount FROM orders WHERE number = $1"
        return web.json_response(await connection.fetchval(query, number))


async def stock(request: web.Request) -> web.Response:
    """Ask another service, here this one itself."""
    url = f"http://{request.host}/orders/{request.match_info['number']}"
    async with request.app[UPSTREAM].get(url) as response:
        return web.json_response({"upstream": response.status})


async def holders(request: web.Request) -> web.Response:
    return web.json_response([asdict(hold) for hold in poolscope.holders()])


if __name__ == "__main__":
    web.run_app(make_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]))
