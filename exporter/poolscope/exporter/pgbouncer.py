"""Asks a PgBouncer for its pools."""

from __future__ import annotations

import asyncio
from traceback import clear_frames
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn

from poolscope.exporter.dsn import label
from poolscope.exporter.postgres import APPLICATION_NAME
from poolscope.exporter.probes import ProbeError
from poolscope.readings.database_servers import BouncerPool, BouncerReading

ADMIN_DATABASE: Final = "pgbouncer"
"""The virtual database of the admin console, which answers SHOW commands."""

Row = dict[str, str]


class PgBouncerProbe:
    """
    Asks a PgBouncer, from version 1.12 on, over its admin console.

    The console speaks only the simple query protocol, in which asyncpg cannot fetch rows; hence
    psycopg. The connection stays open, so that a PgBouncer that accepts no new clients answers.
    """

    def __init__(self, dsn: str) -> None:
        """Raise ValueError if the DSN is malformed; the message does not repeat it."""
        self.label = label(dsn)
        self._dsn = dsn
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None
        try:
            conninfo_to_dict(dsn)
        except psycopg.Error:
            # The message of libpq repeats the part that it rejects.
            raise ValueError("not a DSN: libpq does not accept it") from None

    def down_reading(self) -> BouncerReading:
        return BouncerReading(self.label)

    async def ask(self) -> BouncerReading:
        """Raises ProbeError with the message of PgBouncer or libpq, OSError, or a psycopg error."""
        try:
            console = await self._open_console()
            pools = await _run_show(console, "POOLS")
            lists = await _run_show(console, "LISTS")
            config = await _run_show(console, "CONFIG")
        except psycopg.OperationalError as error:
            self.terminate()
            raise ProbeError(str(error), type(error).__name__) from error
        except BaseException:
            self.terminate()
            raise
        return parse_reading(self.label, pools, lists, config)

    async def _open_console(self) -> PGconn:
        if self._connection is None or not _is_alive(self._connection.pgconn):
            self.terminate()
            try:
                self._connection = await psycopg.AsyncConnection.connect(
                    self._dsn,
                    autocommit=True,
                    dbname=ADMIN_DATABASE,
                    application_name=APPLICATION_NAME,
                )
            except BaseException as error:
                # These frames keep the socket of an abandoned attempt open.
                clear_frames(error.__traceback__)
                raise
        return self._connection.pgconn

    def terminate(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()


def _is_alive(console: PGconn) -> bool:
    """Return whether the connection is open; libpq notices its end only when it reads."""
    try:
        console.consume_input()
    except psycopg.OperationalError:
        return False
    return console.status == ConnStatus.OK


async def _run_show(console: PGconn, what: str) -> list[Row]:
    """
    Return the rows of `SHOW what`.

    This does not use a cursor of psycopg: when that is cancelled, it opens a new connection to
    cancel the query, which a server that hangs never accepts; before psycopg 3.2 it also blocks the
    event loop.
    """
    console.send_query(f"SHOW {what}".encode())
    rows: list[Row] = []
    while True:
        while console.is_busy():
            await _wait_until_readable(console.socket)
            console.consume_input()
        result = console.get_result()
        if result is None:
            return rows
        if result.status != ExecStatus.TUPLES_OK:
            raise ProbeError((result.error_message or b"").decode(errors="replace"))
        names = [(result.fname(column) or b"").decode() for column in range(result.nfields)]
        rows += [
            {
                name: (result.get_value(row, column) or b"").decode(errors="replace")
                for column, name in enumerate(names)
            }
            for row in range(result.ntuples)
        ]


async def _wait_until_readable(socket: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(socket, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(socket)


def parse_reading(
    server: str, pools: list[Row], lists: list[Row], config: list[Row]
) -> BouncerReading:
    """Return the reading of these rows; numbers that the PgBouncer's version lacks are 0."""
    used = {row.get("list"): _parse_number(row.get("items")) for row in lists}
    settings = {row.get("key"): row.get("value") for row in config}
    return BouncerReading(
        server,
        up=True,
        client_limit=_parse_number(settings.get("max_client_conn")),
        pool_size=_parse_number(settings.get("default_pool_size")),
        clients=used.get("used_clients", 0),
        servers=used.get("used_servers", 0),
        pools=tuple(_parse_pool(row) for row in pools if row.get("database") != ADMIN_DATABASE),
    )


def _parse_pool(row: Row) -> BouncerPool:
    return BouncerPool(
        database=row.get("database", ""),
        user=row.get("user", ""),
        clients=_parse_side(row, "cl_"),
        servers=_parse_side(row, "sv_"),
        oldest_wait_seconds=_parse_number(row.get("maxwait"))
        + _parse_number(row.get("maxwait_us")) / 1e6,
    )


def _parse_side(row: Row, prefix: str) -> dict[str, int]:
    """Return the number of connections by state; versions of PgBouncer have different states."""
    return {
        name.removeprefix(prefix): _parse_number(value)
        for name, value in row.items()
        if name.startswith(prefix)
    }


def _parse_number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 0
