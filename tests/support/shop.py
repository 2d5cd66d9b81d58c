"""
A small service for application servers, as WSGI (SQLAlchemy) or as ASGI (asyncpg).

    /pid             only answer
    /use             acquire a connection, and return it
    /hold            acquire a connection, and keep it
    /hold_one        WSGI only: the same, unless this process holds one already
    /release         return all connections that are held
    /block?FIFO      ASGI only: hold all connections, let WAITING callers wait for one, and then
                     block the event loop while another process has the fifo open for writing

Each answer is the id of the process. SHOP_DSN is the DSN of the PostgreSQL server. As a program, it
runs jobs in other processes, which `multiprocessing` starts with the method in the argument.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIEnvironment

import asyncpg
import sqlalchemy

import poolscope

SIZE: Final = 2
"""Connections of each process."""
WAITING: Final = 3
WARM: Final = 5
"""How many times the pool is used before other processes start."""
PROCESSES: Final = 3
JOBS: Final = 60


class Shop:
    """The service as WSGI; the process that creates the engine watches it."""

    def __init__(self, hooked: bool = False) -> None:
        """`hooked`: a fork hook that is older than the watch drops inherited connections."""
        url = os.environ["SHOP_DSN"].replace("postgresql:", "postgresql+psycopg:")
        self.engine = sqlalchemy.create_engine(url, pool_size=SIZE, max_overflow=0)
        self.held: list[sqlalchemy.Connection] = []
        if hooked:
            os.register_at_fork(after_in_child=self.leave)
        poolscope.watch(self.engine, "orders")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        action = environ["PATH_INFO"].strip("/")
        if action != "pid":
            getattr(self, action)()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]

    def leave(self) -> None:
        """Drop the inherited connections, which belong to the parent, without closing them."""
        self.engine.dispose(close=False)

    def use(self) -> None:
        with self.engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))

    def hold(self) -> None:
        self.held.append(self.engine.connect())

    def hold_one(self) -> None:
        if not self.held:
            self.hold()

    def release(self) -> None:
        while self.held:
            self.held.pop().close()


def wsgi() -> Shop:
    return Shop()


def warm() -> Shop:
    """Return a service whose pool was used before other processes start."""
    shop = Shop()
    os.register_at_fork(after_in_child=shop.leave)
    for _ in range(WARM):
        shop.use()
    return shop


def left() -> Shop:
    """Return a service that drops inherited connections in each worker of uWSGI."""
    shop = Shop()
    # Only uWSGI has the module.
    importlib.import_module("uwsgidecorators").postfork(shop.leave)
    return shop


def hooked() -> Shop:
    return Shop(hooked=True)


class AsyncShop:
    """The service as ASGI; each process creates its pool at startup."""

    def __init__(self) -> None:
        self.pool: Any = None
        self.held: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
            return
        action, query = scope["path"].strip("/"), scope["query_string"].decode()
        if action != "pid":
            await getattr(self, action)(*([query] if query else []))
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})

    async def live(self, receive: Any, send: Any) -> None:
        """Keep a pool open from the startup message to the shutdown message."""
        await receive()
        self.pool = asyncpg.create_pool(os.environ["SHOP_DSN"], min_size=0, max_size=SIZE)
        poolscope.watch(self.pool, "orders")
        await self.pool
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.pool.terminate()
        await send({"type": "lifespan.shutdown.complete"})

    async def use(self) -> None:
        async with self.pool.acquire() as connection:
            await connection.execute("SELECT 1")

    async def hold(self) -> None:
        self.held.append(await self.pool.acquire())

    async def release(self) -> None:
        while self.held:
            await self.pool.release(self.held.pop())

    async def block(self, fifo: str) -> None:
        for _ in range(SIZE):
            await self.hold()
        waiting = [asyncio.create_task(self.use()) for _ in range(WAITING)]
        await asyncio.sleep(0)  # let them start waiting
        Path(fifo).read_bytes()  # noqa: ASYNC240 - blocks on purpose
        await self.release()
        await asyncio.gather(*waiting)


def asgi() -> AsyncShop:
    return AsyncShop()


class Jobs:
    """The shop of a job process: its parent's after a fork, or its own."""

    shop: Shop | None = None


def begin(together: Any) -> None:
    if Jobs.shop is None:
        Jobs.shop = Shop()
    else:
        Jobs.shop.leave()
    together.wait()  # all processes start before the first job


def job(_: int) -> None:
    assert Jobs.shop is not None
    Jobs.shop.use()


def main(method: str) -> None:
    """Use a pool, hold a connection, run jobs in other processes, and wait for the end of stdin."""
    context: Any = multiprocessing.get_context(method)
    shop = Jobs.shop = Shop()
    for _ in range(WARM):
        shop.use()
    shop.hold()
    together = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, begin, (together,)) as executor:
        list(executor.map(job, range(JOBS)))
    sys.stdout.write("done\n")
    sys.stdout.flush()
    sys.stdin.read()
    shop.release()


if __name__ == "__main__":
    main(sys.argv[1])
