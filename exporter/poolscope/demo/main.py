"""Starts the parts of the demo, and stops them in reverse order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from socket import socket
from typing import Final

import asyncpg

from poolscope.demo import POSTGRES_VARIABLE, DemoError
from poolscope.demo.exporter import Exporter, running_exporter
from poolscope.demo.external_postgres import ExternalPostgres, Postgres
from poolscope.demo.keeper import DATA
from poolscope.demo.load import Load, running_load
from poolscope.demo.log import LogTail
from poolscope.demo.postgres import EmbeddedPostgres, embedded_postgres
from poolscope.demo.processes import Child, child, kept_folder
from poolscope.demo.screen import REFRESH, Addresses, Screen
from poolscope.demo.service import create_tables, listening
from poolscope.demo.signals import Stop

WORKERS: Final = 2


def run(
    stop: Stop,
    seconds: float | None,
    port: int,
    addr: str,
    postgres: str | None = None,
    screen: Screen | None = None,
) -> int:
    """
    Run the demo until its time is over or a stop is requested; return the exit code.

    screen: what shows it; by default that of standard output.
    """
    asyncio.run(_run(stop, seconds, (addr, port), postgres, screen or Screen()))
    return 0


async def _run(
    stop: Stop, seconds: float | None, address: tuple[str, int], given: str | None, screen: Screen
) -> None:
    async with AsyncExitStack() as stack:
        folder, group = stack.enter_context(kept_folder())
        pools = folder / "pools"
        postgres: Postgres = (
            EmbeddedPostgres(folder / DATA) if given is None else ExternalPostgres(given)
        )
        exporter = await stack.enter_async_context(
            running_exporter(pools, group, *address, postgres.dsn)
        )
        if stop.requested:
            return
        if given is None:
            screen.print_step("Starting an embedded PostgreSQL")
            await stack.enter_async_context(_embedded(folder))
            if stop.requested:
                return
        try:
            await create_tables(postgres)
        except (OSError, asyncpg.PostgresError) as error:
            raise DemoError(f"PostgreSQL: {error}") from error
        if stop.requested:
            return
        screen.print_step(f"Starting {WORKERS} workers of the web service")
        listener = stack.enter_context(listening("127.0.0.1", 0))
        log = LogTail()
        environment = {
            "POOLSCOPE_DIR": str(pools),
            "POOLSCOPE_APPLICATION_NAME": "shop",
            POSTGRES_VARIABLE: postgres.dsn,
        }
        workers = await stack.enter_async_context(_workers(listener, group, environment, log))
        await _show(stop, seconds, screen, exporter, workers, listener)
        screen.print_summary(await exporter.read(), log.lines())
        for each in (*workers, exporter.process):
            each.end()  # all at once; then each is waited for


@asynccontextmanager
async def _embedded(folder: Path) -> AsyncIterator[None]:
    """Start an embedded PostgreSQL, and stop it, in a thread."""
    manager = embedded_postgres(folder)
    try:
        await asyncio.to_thread(manager.__enter__)
    except (RuntimeError, OSError) as error:
        raise DemoError(str(error)) from error
    try:
        yield
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


@asynccontextmanager
async def _workers(
    listener: socket, group: int, environment: dict[str, str], log: LogTail
) -> AsyncIterator[list[Child]]:
    """Start the workers, which share a socket, and yield them once they serve."""
    async with AsyncExitStack() as stack:
        fd = listener.fileno()
        arguments = ("poolscope.demo.worker", "--fd", str(fd))
        workers = [
            await stack.enter_async_context(
                child("a worker", arguments, group, environment, log.add, (fd,))
            )
            for _ in range(WORKERS)
        ]
        for worker in workers:
            await worker.ready()
        yield workers


async def _show(
    stop: Stop,
    seconds: float | None,
    screen: Screen,
    exporter: Exporter,
    workers: Sequence[Child],
    listener: socket,
) -> None:
    """Send the load, and show what the exporter says, until the end."""
    service = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    until = None if seconds is None else time.monotonic() + seconds
    async with running_load(service) as load:
        with screen.live(Addresses(service, exporter.url), seconds):
            while not stop.requested:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    break
                await _refresh(screen, exporter, workers, load, left)
                # A signal takes effect after this pause.
                await asyncio.sleep(REFRESH if left is None else min(REFRESH, left))
        screen.print_step("Stopping")


async def _refresh(
    screen: Screen, exporter: Exporter, workers: Sequence[Child], load: Load, left: float | None
) -> None:
    for each in (exporter.process, *workers):
        each.check()
    screen.refresh(await exporter.read(), load.bursts(), left)
