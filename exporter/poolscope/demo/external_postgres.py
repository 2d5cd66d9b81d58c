"""A PostgreSQL server that exists already, to use instead of an embedded one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Postgres(Protocol):
    """What the demo needs to know about its server."""

    @property
    def dsn(self) -> str:
        """The DSN for asyncpg."""

    def sqlalchemy_url(self, driver: str) -> str:
        """Return the URL for an engine of SQLAlchemy with this driver."""


@dataclass(frozen=True, slots=True)
class ExternalPostgres:
    """A server with the DSN `postgresql://...`."""

    dsn: str

    def sqlalchemy_url(self, driver: str) -> str:
        return f"postgresql+{driver}://{self.dsn.partition('://')[2]}"
