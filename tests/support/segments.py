"""Ledgers in files, for tests of what other processes read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import APPLICATION, Function
from poolscope.readings.pool_config import PoolConfig

FACTS: dict[str, Any] = {
    "pool": "orders",
    "kind": "asyncpg",
    "info": ("Pool", "asyncpg", "0.32.0"),
    "setup": PoolConfig(limit=3.0, pings=False)._asdict(),
}


def who(name: str, owner: str = "Task-1") -> Borrower:
    """Return a caller in line 7 of the function `name`."""
    return Borrower(Function(None, APPLICATION, "shop.py", name, f"shop:{name}"), 7, owner, owner)


def unshared() -> None:
    """Fail: the segment could not be shared."""
    raise AssertionError("it could not be shared")


def file_of(folder: Path) -> Path:
    """Return the path of the only pool in the folder."""
    (path,) = folder.glob("*.pool")
    return path
