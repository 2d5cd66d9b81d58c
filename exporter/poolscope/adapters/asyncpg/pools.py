"""asyncpg's pools: their names, their configuration, and the connection that is used next."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import urlsplit

from poolscope.readings import application_names as applications
from poolscope.readings.limits import Limits
from poolscope.readings.pool_config import PoolConfig

# Checked with asyncpg 0.29.0, 0.30.0, 0.31.0 and 0.32.0:
#   Pool._connect_args, _connect_kwargs, _max_inactive_connection_lifetime, _generation
#   PoolConnectionHolder._con, _setup, _generation


def default_name(pool: Any) -> str:
    """Return `DATABASE@HOST:PORT`, as far as the pool's arguments say it, or `asyncpg`."""
    options = pool._connect_kwargs
    try:
        parts = urlsplit(_dsn_of(pool))
        host = options.get("host") or parts.hostname
        port = options.get("port") or parts.port
    except ValueError:  # several hosts
        return "asyncpg"
    database = options.get("database") or parts.path.strip("/")
    if not (isinstance(database, str) and database):
        return "asyncpg"
    if not (isinstance(host, str) and host) or host.startswith("/"):
        return database
    return f"{database}@{host}:{port}" if isinstance(port, int) else f"{database}@{host}"


def config_of(pool: Any) -> PoolConfig:
    return PoolConfig(
        limit=pool.get_max_size(),
        database=True,
        pings=False,
        recycle=pool._max_inactive_connection_lifetime or math.inf,
    )


def limits_of(pool: Any) -> Limits:
    return Limits(pool.get_max_size(), pool.get_max_size(), pool.get_min_size())


def name_connections(pool: Any, name: str | None) -> None:
    """
    Set the application_name of connections that are opened from now on, unless the application has.
    """
    options = pool._connect_kwargs
    settings = options.get("server_settings") or {}
    if not name or "application_name=" in _dsn_of(pool):
        return
    current = settings.get("application_name")
    if current is None or (current != name and applications.parse(current)):
        settings = {**settings, "application_name": name}
        pool._connect_kwargs = {**options, "server_settings": settings}


def ready(pool: Any, holder: Any) -> Any:
    """
    Return the connection that the next caller gets without waiting, or None.

    None if the holder has to connect or to call `setup` first. Otherwise nothing is awaited until
    the caller has the connection, so nothing can happen in between.
    """
    connection = holder._con
    if (
        connection is None
        or holder._setup is not None
        or holder._generation != pool._generation
        or connection.is_closed()
    ):
        return None
    return connection


def _dsn_of(pool: Any) -> Any:
    return next(iter(pool._connect_args), None) or pool._connect_kwargs.get("dsn") or ""
