"""The names that an engine's connections have on the server (`application_name`)."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Dialect
from sqlalchemy.pool import Pool

from poolscope.errors import harmless
from poolscope.readings import application_names as applications
from poolscope.watching.watched_pool import WatchedPool

# The drivers whose `connect` takes the name, as an argument or in `server_settings`.
AS_ARGUMENT: Final = frozenset({"psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "pg8000"})
IN_SERVER_SETTINGS: Final = "asyncpg"


class Namer:
    """Names the connections that an engine opens, unless the application has named them."""

    def __init__(self, dialect: Dialect, watched: WatchedPool) -> None:
        self._watched = watched
        self._dialect = dialect
        self._options: dict[str, Any] = {}
        event.listen(dialect, "do_connect", self.connecting)

    def stop(self) -> None:
        """Stop naming connections; to be called once."""
        event.remove(self._dialect, "do_connect", self.connecting)
        self._set_name(self._dialect, self._options, None)

    @harmless
    def connecting(self, dialect: Any, _: object, __: object, options: dict[str, Any]) -> None:
        # This must return None: SQLAlchemy then connects with these options.
        self._options = options
        self._set_name(dialect, options, self._watched.name_of_connections())

    def _set_name(self, dialect: Any, options: dict[str, Any], name: str | None) -> None:
        if dialect.driver in AS_ARGUMENT:
            with_name(options, name)
        elif dialect.driver == IN_SERVER_SETTINGS:
            options["server_settings"] = with_name({**options.get("server_settings", {})}, name)


def namer_of(pool: Pool, watched: WatchedPool) -> Namer | None:
    """Return a Namer for the pool; None if no name is wanted or the pool has no dialect."""
    dialect = pool._dialect
    # A bare pool has a stub for a dialect, and connects by a function of the application.
    if watched.name_of_connections() is None or not isinstance(dialect, Dialect):
        return None
    return Namer(dialect, watched)


def with_name(settings: dict[str, Any], name: str | None) -> dict[str, Any]:
    """Set the name, or remove ours: before SQLAlchemy 2.1 the options keep what was set."""
    current = settings.get("application_name")
    if current is None or applications.parse(current):
        settings.pop("application_name", None)
        if name is not None:
            settings["application_name"] = name
    return settings
