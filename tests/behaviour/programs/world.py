"""What a correct program runs in: servers, a clock that moves, and a watch of each of its pools."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg

from poolscope import Finding, Watch
from poolscope.watching.watches import Watches

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres
    from poolscope.watching.watchable import Watchable

Target = TypeVar("Target", bound="Watchable")

STEP: Final = 0.001
"""Seconds by which the clock moves at each reading, so that everything takes some time."""

REQUESTS: Final = 60
AT_ONCE: Final = 4
"""How many requests a service has, and how many of them at once: what its pool can bear."""

SCRAPES: Final = 3
"""How often a service is scraped while it has these requests."""


class ServiceClock:
    """A clock that moves a little at each reading, and far where a program lets time pass."""

    def __init__(self) -> None:
        # `next` of a counter is atomic: the clock does not go back, whatever thread reads it.
        self._readings = itertools.count(1)
        self._passed = 1000.0

    def __call__(self) -> float:
        return self._passed + next(self._readings) * STEP

    def advance(self, seconds: float) -> None:
        self._passed += seconds


class World:
    """
    The servers and the watches of one run of a program.

    dsn: of the PostgreSQL server. http: the address of the web server, see `website`.
    """

    def __init__(self, postgres: EmbeddedPostgres, http: str) -> None:
        self.dsn: Final = postgres.dsn
        self.http: Final = http
        self._postgres: Final = postgres
        self._clock: Final = ServiceClock()
        self._watches: Final = Watches(self._clock)
        self.watched: Final[list[Watch]] = []

    def database(self, driver: str) -> str:
        return self._postgres.sqlalchemy_url(driver)

    def watch(self, target: Target, name: str = "shop") -> Target:
        """Watch the pool, with the limits that a watch has by default, and return it."""
        self.watched.append(self._watches.watch(target, name, registry=None))
        return target

    def scrape(self) -> None:
        """Look at the pools, as a scraper does: what is overdue or abandoned is counted now."""
        for watch in self.watched:
            watch.snapshot()
            watch.holders()
            watch.findings()

    def pass_time(self, seconds: float) -> None:
        """Let time pass for the pools, in which the program waits for something."""
        self._clock.advance(seconds)
        self.scrape()

    async def serve(self, handle: Callable[[int], Awaitable[Any]]) -> None:
        """Handle requests, each in a task of its own, with a quiet minute now and then."""
        free = asyncio.Semaphore(AT_ONCE)

        async def handle_one(number: int) -> None:
            async with free:
                await handle(number)

        for share in _shares():
            await asyncio.gather(*(handle_one(number) for number in share))
            self.pass_time(61.0)

    async def running(self, backend: int) -> None:
        """Return once the server runs the query of that backend, which sleeps."""
        query = "SELECT wait_event FROM pg_stat_activity WHERE pid = $1"
        other = await asyncpg.connect(self.dsn)
        while await other.fetchval(query, backend) != "PgSleep":  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        await other.close()

    def serve_in_threads(self, handle: Callable[[int], Any]) -> None:
        """Handle requests in threads of a pool, as a WSGI server does."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for share in _shares():
                list(threads.map(handle, share))
                self.pass_time(61.0)

    def serve_one_by_one(self, handle: Callable[[int], Any]) -> None:
        """Handle requests in this thread, as a worker of a queue does."""
        for share in _shares():
            for number in share:
                handle(number)
            self.pass_time(61.0)

    def findings(self) -> set[Finding]:
        return {finding for watch in self.watched for finding in watch.findings()}


def _shares() -> list[range]:
    each = REQUESTS // SCRAPES
    return [range(start, start + each) for start in range(0, REQUESTS, each)]
