"""Which libraries have an adapter. Importing this imports none of them."""

from __future__ import annotations

from typing import Final

TARGETS: Final = {
    "sqlalchemy": "a SQLAlchemy Engine, AsyncEngine or Pool",
    "asyncpg": "an asyncpg.Pool",
    "aiohttp": "an aiohttp ClientSession or connector",
}
"""By the package of `poolscope.adapters`, which is the library's: what of it can be watched."""
