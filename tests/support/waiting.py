"""Waiting for a condition, not for time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""
Seconds after which a test gives up waiting, however busy the machine is.

All tests wait with this limit; a test that passes never takes that long.
"""


async def eventually(expected: T, actual: Callable[[], T]) -> None:
    """Let other tasks run until `actual()` equals `expected`; fail with both if it never does."""
    deadline = time.monotonic() + PATIENCE
    while actual() != expected and time.monotonic() < deadline:  # noqa: ASYNC110 - any condition
        await asyncio.sleep(0)
    assert expected == actual()


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition is true; fail, and name `what`, if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
