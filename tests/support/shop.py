"""
A small service that application servers run, as WSGI (SQLAlchemy) or as ASGI (asyncpg).

    /pid             answer
    /use             take a connection, and return it
    /hold            take a connection, and keep it
    /release         return what is kept
    /block?FIFO      ASGI: take all connections, let WAITING callers wait for one, and then stop the
                     event loop for as long as somebody has the fifo open for writing

Each answers with the id of its process. SHOP_DSN names the PostgreSQL server. Run as a program, it
does jobs in other processes, which `multiprocessing` starts in the way that the argument says.
"""

from __future__ import annotations

import asyncio
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
"""How often a pool is used before there are other processes."""
PROCESSES: Final = 3
JOBS: Final = 60


class Shop:
    """The service as WSGI; its engine is watched by the process that makes it."""

    def __init__(self, hooked: bool = False) -> None:
        """`hooked`: by a hook that is older than the watch, children leave what they inherit."""
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
        """Have connections of its own: those of the parent are the parent's."""
        self.engine.dispose(close=False)

    def use(self) -> None:
        with self.engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))

    def hold(self) -> None:
        self.held.append(self.engine.connect())

    def release(self) -> None:
        while self.held:
            self.held.pop().close()


def wsgi() -> Shop:
    return Shop()


def warm() -> Shop:
    """Return a service that was in use, before there are other processes."""
    shop = Shop()
    os.register_at_fork(after_in_child=shop.leave)
    for _ in range(WARM):
        shop.use()
    return shop


def hooked() -> Shop:
    return Shop(hooked=True)


class AsyncShop:
    """The service as ASGI; each process has its pool from when it starts up."""

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
        """Have a pool between the two messages that there are."""
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
        await asyncio.sleep(0)  # they begin to wait
        Path(fifo).read_bytes()  # noqa: ASYNC240 - it is what blocks
        await self.release()
        await asyncio.gather(*waiting)


def asgi() -> AsyncShop:
    return AsyncShop()


class Jobs:
    """What a process that does jobs has: the shop of its parent after a fork, or its own."""

    shop: Shop | None = None


def begin(together: Any) -> None:
    if Jobs.shop is None:
        Jobs.shop = Shop()
    else:
        Jobs.shop.leave()
    together.wait()  # so that there are as many processes as there may be


def job(_: int) -> None:
    assert Jobs.shop is not None
    Jobs.shop.use()


def main(method: str) -> None:
    """Use a pool, hold a connection, and let others do jobs; then wait to be told to end."""
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
