"""
The libraries that have an adapter. Importing this imports none of them, nor anything else: `site`
of `poolscope.launching` executes it when an interpreter starts.
"""

from __future__ import annotations

TYPE_CHECKING = False  # that of `typing`, which takes long to import
if TYPE_CHECKING:
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

MADE: Final = {
    "sqlalchemy.engine.base": ("Engine",),
    "sqlalchemy.pool.base": ("Pool",),
    "sqlalchemy.pool.impl": ("QueuePool", "SingletonThreadPool", "AssertionPool"),
    "asyncpg.pool": ("Pool",),
    "aiohttp.client": ("ClientSession",),
}
"""
The classes whose new objects are pools, or have one, by the modules that define them.

A pool is complete at the end of the outermost `__init__` of these. Checked with SQLAlchemy 2.0.0 to
2.1.9, asyncpg 0.29 to 0.32 and aiohttp 3.9 to 3.14.
"""
