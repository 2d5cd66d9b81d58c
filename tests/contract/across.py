"""How tests take connections of databases for requests, and what they see of those."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final

import poolscope
from contract.pools import PoolUnderTest, SyncEngine
from poolscope import Finding, Watch
from support.waiting import PATIENCE

RULE: Final = "held-across-request"


async def acquire(pool: PoolUnderTest) -> Any:
    """Take a connection; of a synchronous pool, in a job of a thread that this task waits for."""
    if not isinstance(pool, SyncEngine):
        return await pool.acquire()
    waits = threading.Event()

    def connect() -> Any:
        waits.wait(PATIENCE)
        return pool.pool.connect()

    asyncio.get_running_loop().call_soon(waits.set)
    return await asyncio.to_thread(connect)


def found(watch: Watch) -> Finding | None:
    return next((finding for finding in watch.findings() if finding.rule == RULE), None)


def measured(watch: Watch) -> tuple[float, float]:
    """Return how many holds were open across a request, and for how many seconds."""
    reading = watch._pool.read()
    return reading.held_across, reading.held_across_seconds


def begun(function: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
    """Begin a task that is an operation, as each request of a web service."""

    async def run() -> None:
        with poolscope.operation("GET /answer"):
            await function()

    return asyncio.create_task(run())


async def in_a_task(function: Callable[[], Awaitable[object]]) -> None:
    await begun(function)
