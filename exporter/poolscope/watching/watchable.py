"""
The types of pools that `poolscope.watch` accepts, for type checkers.

They are protocols instead of the libraries' classes: a type checker that does not find a library
treats its classes as `Any`, and would then accept anything.
"""

from __future__ import annotations

from typing import Any, Protocol


class HasPool(Protocol):
    """A SQLAlchemy `Engine` or `AsyncEngine`."""

    @property
    def pool(self) -> Any: ...
    @property
    def dialect(self) -> Any: ...


class RecordPool(Protocol):
    """A SQLAlchemy `Pool`."""

    def connect(self) -> Any: ...
    def recreate(self) -> Any: ...
    def status(self) -> str: ...


class HolderPool(Protocol):
    """An `asyncpg.Pool`, opened or not yet."""

    def acquire(self) -> Any: ...
    def get_max_size(self) -> Any: ...
    def get_idle_size(self) -> Any: ...


class HasConnector(Protocol):
    """An aiohttp `ClientSession`."""

    @property
    def connector(self) -> Any: ...
    @property
    def closed(self) -> bool: ...


class Connector(Protocol):
    """An aiohttp connector."""

    @property
    def limit(self) -> int: ...
    @property
    def limit_per_host(self) -> int: ...


Watchable = HasPool | RecordPool | HolderPool | HasConnector | Connector
