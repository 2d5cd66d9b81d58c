"""Asks a PostgreSQL server for its connections."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, Final

import asyncpg

from poolscope.exporter.dsn import label
from poolscope.exporter.probes import ProbeError
from poolscope.readings.database_servers import ServerConnections, ServerReading
from poolscope.readings.labels import SteadyLabels

APPLICATION_NAME: Final = "poolscope exporter"

SHOWN_APPLICATIONS: Final = 100
"""How many applications of a server have a label of their own at the same time."""

# A transaction: outside of one, a PgBouncer may send each statement to another server connection,
# and it refuses statement_timeout as a startup parameter.
BEGIN_READ_ONLY: Final = "BEGIN READ ONLY; SET LOCAL statement_timeout = '2500ms'"

# Names are asked for as bytes: those of databases and users in an encoding other than that of the
# probe's database are no text there, and one of them would make the whole query fail.
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
        decode(replace(coalesce(datname::text, ''), chr(92), repeat(chr(92), 2)), 'escape')
            AS database,
        decode(replace(coalesce(usename::text, ''), chr(92), repeat(chr(92), 2)), 'escape')
            AS user,
        decode(replace(coalesce(application_name, ''), chr(92), repeat(chr(92), 2)), 'escape')
            AS application,
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
        self._labels = SteadyLabels(SHOWN_APPLICATIONS)

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
        reading = _parse_rows(self.label, rows)
        return replace(reading, applications=self._labels.look(_busiest_first(reading)))

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
    return ServerReading(
        server,
        up=True,
        limit=rows[0]["limit"],
        reserved=rows[0]["reserved"],
        connections=tuple(
            ServerConnections(
                database=_decoded(row["database"]),
                user=_decoded(row["user"]),
                application=_decoded(row["application"]),
                state=row["state"],
                count=row["count"],
                oldest_seconds=row["oldest_seconds"],
            )
            for row in rows
            if row["count"]
        ),
    )


def _decoded(name: bytes) -> str:
    """Return the text of a name; bytes that are no UTF-8 are shown as escapes."""
    return name.decode(errors="backslashreplace")


def _busiest_first(reading: ServerReading) -> list[str]:
    """Return the applications, those with most connections first."""
    counts = Counter[str]()
    for group in reading.connections:
        counts[group.service] += group.count
    return [name for name, _ in counts.most_common()]
