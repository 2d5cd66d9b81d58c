"""Asks a PostgreSQL server once how many connections it accepts, and how many there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from poolscope.sizing.http import SourceError

if TYPE_CHECKING:
    from poolscope.readings.database_servers import ServerReading

TIMEOUT: Final = 10.0
"""Seconds to wait for an answer, including the time to connect."""


def connections_of(dsn: str) -> tuple[int, int]:
    """
    Return how many connections the server accepts from ordinary users, and how many there are now.

    Raises SourceError, whose message has nothing of the DSN but the host and the port.
    """
    try:
        reading = asyncio.run(_ask(dsn))
    except ImportError as error:
        raise SourceError(f"{error.name} is missing; pip install 'poolscope[exporter]'") from None
    return reading.limit - reading.reserved, sum(each.count for each in reading.connections)


async def _ask(dsn: str) -> ServerReading:
    from poolscope.exporter.postgres import PostgresProbe
    from poolscope.exporter.probes import describe_error

    probe = PostgresProbe(dsn)
    try:
        async with asyncio.timeout(TIMEOUT) as limit:
            return await probe.ask()
    except Exception as error:
        why = f"no answer within {TIMEOUT:g} s" if limit.expired() else describe_error(error)
        raise SourceError(f"cannot ask {probe.label}: {why}") from None
    finally:
        probe.terminate()
        # Transports close their sockets in the next iteration of the loop.
        await asyncio.sleep(0)
