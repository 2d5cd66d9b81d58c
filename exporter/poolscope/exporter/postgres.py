"""Asks a PostgreSQL server for its connections."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from poolscope.exporter.dsn import label
from poolscope.exporter.probes import ProbeError
from poolscope.readings.database_servers import ServerConnections, ServerReading

APPLICATION_NAME: Final = "poolscope exporter"

# A transaction: outside of one, a PgBouncer may send each statement to another server connection,
# and it refuses statement_timeout as a startup parameter.
BEGIN_READ_ONLY: Final = "BEGIN READ ONLY; SET LOCAL statement_timeout = '2500ms'"

# A role without pg_monitor sees neither the state nor the backend_type of other users' sessions.
# Client sessions have a database and a user; most of the server's own processes have not.
QUERY: Final = """
SELECT
    current_setting('max_connections')::int AS limit,
    coalesce(current_setting('superuser_reserved_connections', true)::int, 0)
        + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
    client.*
FROM (VALUES (1)) AS always LEFT JOIN (
    SELECT
        coalesce(datname::text, '') AS database,
        coalesce(usename::text, '') AS user,
        coalesce(application_name, '') AS application,
        coalesce(translate(state, ' ()', '_'), 'unknown') AS state,
        count(*)::int AS count,
        coalesce(greatest(extract(epoch FROM clock_timestamp() - min(state_change)), 0), 0)::float8
            AS oldest_seconds
    FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND (
        backend_type = 'client backend'
        OR backend_type IS NULL AND datname IS NOT NULL AND usename IS NOT NULL
    )
    GROUP BY 1, 2, 3, 4
) AS client ON true
ORDER BY database, "user", application, state
"""


class PostgresProbe:
    """
    Asks a PostgreSQL server, directly or through a PgBouncer.

    The connection stays open, so that a server that accepts no new ones still answers.
    """

    def __init__(self, dsn: str) -> None:
        """Raise ValueError if the DSN is malformed; the message does not repeat it."""
        self.label = label(dsn)
        self._dsn = dsn
        self._connection: Any = None

    def down_reading(self) -> ServerReading:
        return ServerReading(self.label)

    async def ask(self) -> ServerReading:
        """Raises ProbeError with the message of the server, OSError, or an error of asyncpg."""
        try:
            connection = await self._open_connection()
            await connection.execute(BEGIN_READ_ONLY)
            rows = await connection.fetch(QUERY)
            await connection.execute("COMMIT")
        except asyncpg.PostgresError as error:
            self.terminate()
            raise ProbeError(str(error), type(error).__name__) from error
        except BaseException:
            # Also on cancellation: asyncpg would open another connection to cancel the query,
            # which a server that hangs never accepts.
            self.terminate()
            raise
        return _parse_rows(self.label, rows)

    async def _open_connection(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn,
                statement_cache_size=0,
                server_settings={"application_name": APPLICATION_NAME},
            )
        return self._connection

    def terminate(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


def _parse_rows(server: str, rows: list[Any]) -> ServerReading:
    fields = "database", "user", "application", "state", "count", "oldest_seconds"
    return ServerReading(
        server,
        up=True,
        limit=rows[0]["limit"],
        reserved=rows[0]["reserved"],
        connections=tuple(
            ServerConnections(**{field: row[field] for field in fields})
            for row in rows
            if row["count"]
        ),
    )
