"""The ways in which callers limit how long they wait; the library is only told to cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

Deadline = Callable[[Any], Coroutine[Any, Any, Any]]

SOON: Final = 0.0005
"""Seconds until a caller that waits gives up."""


async def by_timeout(asking: Any) -> Any:
    async with asyncio.timeout(SOON):
        return await asking


async def by_wait_for(asking: Any) -> Any:
    return await asyncio.wait_for(asking, SOON)


DEADLINES: Final[tuple[Deadline, ...]] = (by_timeout, by_wait_for)
