"""What a PostgreSQL server says of its connections."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from poolscope.exporter.dsn import label
from poolscope.exporter.probes import ProbeError
from poolscope.readings.database_servers import ServerConnections, ServerReading

APPLICATION_NAME: Final = "poolscope exporter"

# In a transaction, as a PgBouncer may give each statement outside of one to another server, and
# takes no statement_timeout when a client connects.
BEGIN_READ_ONLY: Final = "BEGIN READ ONLY; SET LOCAL statement_timeout = '2500ms'"

# Who may not see the sessions of others (no pg_monitor) is not told their state, and neither that
# they are of clients. Those have a database and a user, which most of the server's own have not.
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
    Asks a PostgreSQL server, also through a PgBouncer.

    It keeps its connection, so that it gets an answer of a server that accepts no more.
    """

    def __init__(self, dsn: str) -> None:
        """Raise ValueError, without the DSN in it, if it is none."""
        self.label = label(dsn)
        self._dsn = dsn
        self._connection: Any = None

    def down_reading(self) -> ServerReading:
        return ServerReading(self.label)

    async def ask(self) -> ServerReading:
        """Raises ProbeError with what the server says, OSError, or an error of asyncpg."""
        try:
            connection = await self._open_connection()
            await connection.execute(BEGIN_READ_ONLY)
            rows = await connection.fetch(QUERY)
            await connection.execute("COMMIT")
        except asyncpg.PostgresError as error:
            self.terminate()
            raise ProbeError(str(error)) from error
        except BaseException:
            # Also of one that is cancelled: asyncpg would go on, and ask the server to cancel.
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
