"""What connections of an engine are called on the server, where somebody wants that."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Dialect
from sqlalchemy.pool import Pool

from poolscope import application_names as applications
from poolscope.errors import harmless
from poolscope.watching.watched_pool import WatchedPool

# By driver, where among the arguments of its `connect` the name is.
DIRECTLY: Final = frozenset({"psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "pg8000"})
IN_SERVER_SETTINGS: Final = "asyncpg"


class Namer:
    """Names the connections that an engine opens; the application's own name for them stays."""

    def __init__(self, dialect: Dialect, watched: WatchedPool) -> None:
        self._watched = watched
        self._dialect = dialect
        self._options: dict[str, Any] = {}
        event.listen(dialect, "do_connect", self.connecting)

    def stop(self) -> None:
        """Name no more of them; to be called once."""
        event.remove(self._dialect, "do_connect", self.connecting)
        self._put(self._dialect, self._options, None)

    @harmless
    def connecting(self, dialect: Any, _: object, __: object, options: dict[str, Any]) -> None:
        # Returns None, so that SQLAlchemy goes on and connects with these options.
        self._options = options
        self._put(dialect, options, self._watched.application_name())

    def _put(self, dialect: Any, options: dict[str, Any], name: str | None) -> None:
        if dialect.driver in DIRECTLY:
            name_in(options, name)
        elif dialect.driver == IN_SERVER_SETTINGS:
            options["server_settings"] = name_in({**options.get("server_settings", {})}, name)


def namer_of(pool: Pool, watched: WatchedPool) -> Namer | None:
    """Return what names the connections of a pool, if they are to have a name and can have one."""
    dialect = pool._dialect
    # A bare pool has a stub instead, and calls whatever it was given.
    if watched.application_name() is None or not isinstance(dialect, Dialect):
        return None
    return Namer(dialect, watched)


def name_in(settings: dict[str, Any], name: str | None) -> dict[str, Any]:
    """Put the name in, or take it out; before 2.1 options keep what was put there."""
    given = settings.get("application_name")
    if given is None or applications.parse(given):
        settings.pop("application_name", None)
        if name is not None:
            settings["application_name"] = name
    return settings
