"""The state machine of each adapter, by name, and the servers that they need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Final

from poolscope.demo.postgres import EmbeddedPostgres, embedded_postgres
from stateful.machine import PoolMachine

ADAPTERS: Final = ("aiohttp", "asyncpg", "sqlalchemy")


def machine_of(adapter: str) -> type[PoolMachine]:
    machine: type[PoolMachine] = import_module(f"stateful.{adapter}_machine").Machine
    return machine


@contextmanager
def running(postgres: EmbeddedPostgres | None = None) -> Iterator[Mapping[str, type[PoolMachine]]]:
    """Start the server that the machines need, or use the given one; yield them by name."""
    if postgres is None:
        with embedded_postgres() as own, running(own) as machines:
            yield machines
        return
    PoolMachine.postgres = postgres
    yield {adapter: machine_of(adapter) for adapter in ADAPTERS}
