"""Waiting for a condition, not for time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""
Seconds after which a condition is not expected to come true any more, however busy the machine is.

The one bound of all waiting: a test that passes never takes that long.
"""


async def eventually(expected: T, actual: Callable[[], T]) -> None:
    """Let others run until `actual()` equals `expected`; fail with both if it never does."""
    deadline = time.monotonic() + PATIENCE
    while actual() != expected and time.monotonic() < deadline:  # noqa: ASYNC110 - any condition
        await asyncio.sleep(0)
    assert expected == actual()


def until(condition: Callable[[], object], what: str) -> None:
    """Ask again and again; fail if it does not come true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
