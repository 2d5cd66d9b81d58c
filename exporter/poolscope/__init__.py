"""
Connection pools of SQLAlchemy, asyncpg and aiohttp, as Prometheus metrics that are true.

    import poolscope

    poolscope.watch(engine, name="orders")
    poolscope.start_http_server(port=10464)
"""

from __future__ import annotations

import importlib
from types import ModuleType

from poolscope.metrics.http_server import make_asgi_app, start_http_server
from poolscope.readings.findings import Finding
from poolscope.readings.holders import Hold
from poolscope.readings.snapshot import Snapshot
from poolscope.watching.watch import Watch, default

__all__ = [
    "Finding",
    "Hold",
    "Snapshot",
    "Watch",
    "holders",
    "make_asgi_app",
    "snapshots",
    "start_http_server",
    "watch",
]

__version__ = "0.1.0"

watch = default.watch
snapshots = default.snapshots
holders = default.holders


def __getattr__(name: str) -> ModuleType:
    """Import an adapter, and with it its library, when it is first named."""
    if name in ("aiohttp", "asyncpg", "sqlalchemy"):
        return importlib.import_module(f"poolscope.adapters.{name}")
    raise AttributeError(f"module 'poolscope' has no attribute {name!r}")
