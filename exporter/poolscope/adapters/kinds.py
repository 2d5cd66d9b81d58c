"""The libraries that have an adapter. Importing this imports none of them."""

from __future__ import annotations

from typing import Final

TARGETS: Final = {
    "sqlalchemy": "a SQLAlchemy Engine, AsyncEngine or Pool",
    "asyncpg": "an asyncpg.Pool",
    "aiohttp": "an aiohttp ClientSession or connector",
}
"""
Which objects of a library can be watched.

A key is the library's package, and that of its adapter in `poolscope.adapters`.
"""
