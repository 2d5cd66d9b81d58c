"""
An aiohttp service with an asyncpg pool and a session for another service, both watched.

Run it with `python aiohttp_service.py postgresql://localhost/shop 8080`, request `/orders`, then
look at the metrics, at the address that it prints. `cleanup_ctx` opens the pools at the start, in
the event loop of the service, and closes them at the end.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

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
        timeout = aiohttp.ClientTimeout(total=10, connect=2)
        session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        poolscope.watch(pool, name="orders")
        poolscope.watch(session, name="stock")
        async with pool as app[POOL], session as app[UPSTREAM]:
            yield

    app = web.Application()
    app.cleanup_ctx.append(pools)
    app.router.add_get("/orders", orders)
    app.router.add_get("/stock", stock)
    return app


async def orders(request: web.Request) -> web.Response:
    """Return the number of tables, as a stand-in for a real query."""
    async with request.app[POOL].acquire(timeout=5) as connection:
        return web.json_response(await connection.fetchval("SELECT count(*) FROM pg_class"))


async def stock(request: web.Request) -> web.Response:
    """Ask another service, here this one itself."""
    async with request.app[UPSTREAM].get(f"http://{request.host}/orders") as response:
        return web.json_response({"upstream": response.status})


if __name__ == "__main__":
    server, _ = poolscope.start_http_server(port=0)
    print(f"metrics: http://127.0.0.1:{server.server_port}/metrics", flush=True)
    web.run_app(make_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), print=None)
