"""Closes engines and pools of SQLAlchemy."""

from __future__ import annotations

from typing import Any

from poolscope.adapters.sqlalchemy.pools import pool_of


def needs_loop(target: Any) -> bool:
    """Whether its connections are closed in an event loop."""
    return bool(pool_of(target)._dialect.is_async)


def close(target: Any) -> None:
    target.dispose()


async def close_in_loop(target: Any, _: float | None) -> None:
    if not needs_loop(target):
        target.dispose()
        return
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.util import greenlet_spawn

    if isinstance(target, AsyncEngine):
        await target.dispose()
    else:
        await greenlet_spawn(target.dispose)
