"""The load: requests whose rate rises and falls, with bursts that exhaust a pool."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

SWING_SECONDS: Final = 20.0
"""Seconds from one peak of the rate to the next, and from one burst to the next."""

BURST_SECONDS: Final = 2.0
"""Length of a burst, in seconds."""

TIMEOUT: Final = aiohttp.ClientTimeout(total=10)

MAX_IN_FLIGHT: Final = 48

TICK_SECONDS: Final = 0.02
"""Seconds between two moments at which requests are sent."""


@dataclass(frozen=True, slots=True)
class Stream:
    """
    Requests to one path.

    low, high, burst: requests per second at the lowest rate, at the highest, and in a burst; 0 if
        there is none.
    burst_at: seconds from the start of each swing to its burst.
    max_in_flight: requests that may be unanswered at once; further ones are not sent.
    """

    pool: str
    method: str
    path: str
    low: float
    high: float
    burst: float = 0.0
    burst_at: float = 0.0
    max_in_flight: int = MAX_IN_FLIGHT

    def in_burst(self, seconds: float) -> bool:
        """Return whether there is a burst, `seconds` after the load began."""
        return (
            self.burst > 0
            and self.burst_at <= seconds % SWING_SECONDS < self.burst_at + BURST_SECONDS
        )

    def rate(self, seconds: float) -> float:
        """Return the requests per second, `seconds` after the load began."""
        if self.in_burst(seconds):
            return self.burst
        # Each stream has its highest rate half a swing after its burst.
        level = math.sin((seconds - self.burst_at) * math.tau / SWING_SECONDS - math.tau / 4)
        return self.low + (self.high - self.low) * (1 + level) / 2


# Each burst asks for about twice as much as the pools of both workers can serve.
STREAMS: Final = (
    Stream("orders", "POST", "orders", low=8, high=45, burst=120, burst_at=1.0),
    Stream("billing", "GET", "invoices", low=8, high=45, burst=130, burst_at=9.0),
    Stream("reports", "GET", "reports/daily", low=4, high=25, burst=100, burst_at=4.0),
    Stream("upstream", "GET", "storefront", low=4, high=22, burst=60, burst_at=14.0),
    # The two mistakes of the service.
    Stream("billing", "GET", "invoices/7/quote", low=1, high=1),
    Stream("reports", "GET", "reports/export/1999", low=0.025, high=0.025),
)


class Load:
    """Sends the streams to the service until it is told to stop."""

    def __init__(self, service: str, streams: Sequence[Stream] = STREAMS) -> None:
        self._service = URL(service)
        self._streams = streams
        self._stopped = False
        self._seconds = 0.0
        self._in_flight = dict.fromkeys(streams, 0)

    def bursts(self) -> list[str]:
        """Return the names of the pools that have a burst now."""
        return [s.pool for s in self._streams if s.in_burst(self._seconds)]

    def stop(self) -> None:
        """Send no more requests; `run` returns when all are answered."""
        self._stopped = True

    async def run(self) -> None:
        """Send requests until `stop` is called."""
        # A new connection for each request, so that the worker that has time accepts it.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session,
            asyncio.TaskGroup() as requests,
        ):
            clock = asyncio.get_running_loop().time
            # Each stream begins with a request, however seldom it has one.
            began, owed = clock(), dict.fromkeys(self._streams, 1.0)
            while not self._stopped:
                now = clock() - began
                passed, self._seconds = now - self._seconds, now
                for stream in self._streams:
                    owed[stream] += stream.rate(now) * passed
                    due = int(owed[stream])
                    owed[stream] -= due
                    for _ in range(min(due, stream.max_in_flight - self._in_flight[stream])):
                        self._in_flight[stream] += 1
                        requests.create_task(self._send(session, stream))
                await asyncio.sleep(TICK_SECONDS)

    async def _send(self, session: aiohttp.ClientSession, stream: Stream) -> None:
        try:
            async with session.request(stream.method, self._service / stream.path) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError):
            # A failed request is part of the show, like a 503: the metrics count both.
            pass
        finally:
            self._in_flight[stream] -= 1


@asynccontextmanager
async def running_load(service: str) -> AsyncIterator[Load]:
    """Send the load; at the end, wait until all requests are answered, unless something failed."""
    load = Load(service)
    task = asyncio.create_task(load.run())
    try:
        yield load
    except BaseException:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    load.stop()
    await task
