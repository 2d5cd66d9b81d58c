"""What connections of an engine are called on the server, where somebody wants that."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Dialect
from sqlalchemy.pool import Pool

from poolscope import applications
from poolscope.errors import harmless
from poolscope.watch import Watch

# By driver, where among the arguments of its `connect` the name is.
DIRECTLY: Final = frozenset({"psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "pg8000"})
IN_SERVER_SETTINGS: Final = "asyncpg"


class Namer:
    """Names the connections that an engine opens; the application's own name for them stays."""

    def __init__(self, pool: Pool, watch: Watch) -> None:
        self._watch = watch
        self._dialect = pool._dialect
        # A bare pool has a stub instead, and calls whatever it was given.
        self._listens = watch.application_name() is not None and isinstance(self._dialect, Dialect)
        if self._listens:
            event.listen(self._dialect, "do_connect", self.connecting)

    def stop(self) -> None:
        if self._listens:
            event.remove(self._dialect, "do_connect", self.connecting)
            self._listens = False

    @harmless
    def connecting(self, dialect: Any, _: object, __: object, options: dict[str, Any]) -> None:
        # Returns None, so that SQLAlchemy goes on and connects with these options.
        name = self._watch.application_name()
        if dialect.driver in DIRECTLY:
            options["application_name"] = unless_named(options.get("application_name"), name)
        elif dialect.driver == IN_SERVER_SETTINGS:
            settings = options.get("server_settings") or {}
            named = unless_named(settings.get("application_name"), name)
            options["server_settings"] = {**settings, "application_name": named}


def unless_named(given: str | None, name: str | None) -> str | None:
    """Return the given name, if it is none of ours: before 2.1 options keep what was put there."""
    return name if given is None or applications.parse(given) else given
