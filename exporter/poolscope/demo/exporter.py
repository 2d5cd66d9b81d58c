"""The exporter beside the workers, and what it says of their pools."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import aiohttp

from poolscope.demo.processes import Child, child
from poolscope.demo.rows import PoolRow, rows_of

READ_SECONDS: Final = 5.0
"""How long an answer of the exporter may take."""

CLIENT_HOSTS: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - only their clients
"""The address at which a client reaches a server that listens at all addresses."""


class Exporter:
    """A running exporter; `pools` are those of its last answer."""

    def __init__(self, process: Child, url: str, session: aiohttp.ClientSession) -> None:
        self.process = process
        self.url = url
        self.pools: list[PoolRow] = []
        self._session = session

    async def read(self) -> list[PoolRow]:
        """Ask for the pools; return those of the answer before if there is none in time."""
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.get(f"{self.url}/api/v1/pools") as response:
                self.pools = rows_of(await response.json())
        return self.pools


@asynccontextmanager
async def running_exporter(
    folder: Path, group: int, addr: str, port: int, postgres: str
) -> AsyncIterator[Exporter]:
    """
    Run an exporter that reads a folder and asks a PostgreSQL server. Raises DemoError.

    group: its process group.
    """
    host = f"[{addr}]" if ":" in addr else addr
    arguments = ("poolscope", "exporter", "--dir", str(folder))
    timeout = aiohttp.ClientTimeout(total=READ_SECONDS)
    async with (
        child(
            "the exporter",
            (*arguments, "--web.listen-address", f"{host}:{port}"),
            group,
            # Not in its arguments, as there may be a password in it.
            {"POOLSCOPE_POSTGRES": postgres, "POOLSCOPE_PGBOUNCER": ""},
            _ignore,
        ) as process,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        yield Exporter(process, _url(await process.ready()), session)


def _ignore(line: str) -> None:
    pass


def _url(line: str) -> str:
    """Return the address in the line that says where the exporter serves."""
    found = re.search(r"serving (http://)(.+)(:\d+)/metrics", line)
    assert found is not None, line  # noqa: S101 - the exporter of the same version
    return f"{found[1]}{CLIENT_HOSTS.get(found[2], found[2])}{found[3]}"
