"""Starts the parts of the demo, and stops them in reverse order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager

import asyncpg

import poolscope
from poolscope.demo import DemoError
from poolscope.demo.external_postgres import ExternalPostgres, Postgres
from poolscope.demo.load import STREAMS, Load
from poolscope.demo.log import capture_log
from poolscope.demo.postgres import embedded_postgres
from poolscope.demo.screen import REFRESH, Addresses, Screen
from poolscope.demo.service import create_tables, open_pools, serve
from poolscope.demo.signals import Stop


def run(
    stop: Stop, seconds: float | None, port: int, addr: str, postgres: str | None = None
) -> int:
    """Run the demo until its time is over or a stop is requested; return the exit code."""
    with metrics_server(port, addr) as metrics, capture_log() as log:
        asyncio.run(_run(stop, seconds, metrics, log, postgres))
    return 0


@contextmanager
def metrics_server(port: int, addr: str) -> Iterator[str]:
    """Serve the metrics, and yield their URL."""
    try:
        server, thread = poolscope.start_http_server(port, addr)
    except OSError as error:
        raise DemoError(error.strerror or str(error)) from error
    try:
        host = f"[{addr}]" if ":" in addr else addr
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def _run(
    stop: Stop, seconds: float | None, metrics: str, log: Sequence[str], given: str | None
) -> None:
    # One thread for each request in flight, as each may block on a synchronous pool.
    threads = ThreadPoolExecutor(sum(stream.max_in_flight for stream in STREAMS))
    asyncio.get_running_loop().set_default_executor(threads)
    screen = Screen()
    if given is None:
        screen.print_starting()
    async with _postgres(given) as postgres:
        if stop.requested:
            return
        try:
            await create_tables(postgres)
        except (OSError, asyncpg.PostgresError) as error:
            raise DemoError(f"PostgreSQL: {error}") from error
        async with open_pools(postgres) as pools, serve(pools) as service:
            async with _under_load(service) as load:
                await _show(stop, seconds, screen, Addresses(service, metrics), load)
            screen.print_summary(poolscope.snapshots(), log)


@asynccontextmanager
async def _postgres(given: str | None) -> AsyncIterator[Postgres]:
    """Yield the server with this DSN, or start an embedded one, and stop it, in a thread."""
    if given is not None:
        yield ExternalPostgres(given)
        return
    manager = embedded_postgres()
    try:
        postgres = await asyncio.to_thread(manager.__enter__)
    except (RuntimeError, OSError) as error:
        raise DemoError(str(error)) from error
    try:
        yield postgres
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


@asynccontextmanager
async def _under_load(service: str) -> AsyncIterator[Load]:
    load = Load(service)
    task = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        load.stop()
        await task


async def _show(
    stop: Stop, seconds: float | None, screen: Screen, addresses: Addresses, load: Load
) -> None:
    until = None if seconds is None else time.monotonic() + seconds
    with screen.live(addresses, seconds):
        while not stop.requested:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return
            screen.refresh(poolscope.snapshots(), load.bursts(), left)
            # A signal takes effect after this pause.
            await asyncio.sleep(REFRESH if left is None else min(REFRESH, left))
