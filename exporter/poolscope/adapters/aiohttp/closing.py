"""Closes sessions and connectors of aiohttp."""

from __future__ import annotations

from typing import Any


def needs_loop(_: Any) -> bool:
    """Whether its connections are closed in an event loop."""
    return True


async def close_in_loop(target: Any, _: float | None) -> None:
    await target.close()
