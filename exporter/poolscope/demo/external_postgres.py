"""A PostgreSQL server that is there already, in the place of the demo's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Postgres(Protocol):
    """What the demo needs to know of its server."""

    @property
    def dsn(self) -> str:
        """What asyncpg connects to."""

    def sqlalchemy_url(self, driver: str) -> str:
        """Return the URL for an engine."""


@dataclass(frozen=True, slots=True)
class ExternalPostgres:
    """A server by its DSN, `postgresql://...`."""

    dsn: str

    def sqlalchemy_url(self, driver: str) -> str:
        return f"postgresql+{driver}://{self.dsn.partition('://')[2]}"
