"""Closes pools of asyncpg."""

from __future__ import annotations

import asyncio
from typing import Any


def needs_loop(_: Any) -> bool:
    """Whether its connections are closed in an event loop."""
    return True


async def close_in_loop(pool: Any, timeout: float | None) -> None:
    """
    Wait until all connections are returned, and close them; after `timeout` seconds cut them off.
    """
    if pool._closed or not (pool._initialized or pool._initializing):
        return  # nothing is open
    if timeout == 0:
        pool.terminate()
        return
    try:
        async with asyncio.timeout(timeout) as deadline:
            await pool.close()  # terminates the pool when it is cancelled
    except TimeoutError:
        if not deadline.expired():
            raise
