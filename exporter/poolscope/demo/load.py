"""The load: requests whose rate rises and falls, with bursts that exhaust a pool."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Mapping, Sequence
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
    at_random: whether they come independently of each other, at that rate on average, as those of
        many users do; else the time between two is always the same.
    """

    pool: str
    method: str
    path: str
    low: float
    high: float
    burst: float = 0.0
    burst_at: float = 0.0
    max_in_flight: int = MAX_IN_FLIGHT
    at_random: bool = False

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

    def gap(self) -> float:
        """Return the time from one request to the next, as a multiple of the mean."""
        return random.expovariate(1.0) if self.at_random else 1.0


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

CORRECT: Final = {stream.pool: stream for stream in STREAMS if stream.burst}
"""The stream of each pool whose handler makes no mistake."""


def steady(rates: Mapping[str, float]) -> tuple[Stream, ...]:
    """Return streams of so many requests a second for each of the pools, which come at random."""
    return tuple(
        Stream(pool, CORRECT[pool].method, CORRECT[pool].path, rate, rate, at_random=True)
        for pool, rate in rates.items()
    )


class Load:
    """Sends the streams to the service until it is told to stop."""

    def __init__(self, service: str, streams: Sequence[Stream] = STREAMS) -> None:
        self._service = URL(service)
        self._streams = streams
        self._stopped = False
        self._seconds = 0.0
        self._in_flight = dict.fromkeys(streams, 0)
        # Each stream begins with a request, however seldom it has one.
        self._until_next = dict.fromkeys(streams, 0.0)

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
            began = clock()
            while not self._stopped:
                now = clock() - began
                passed, self._seconds = now - self._seconds, now
                for stream in self._streams:
                    due = self._due(stream, stream.rate(now) * passed)
                    for _ in range(min(due, stream.max_in_flight - self._in_flight[stream])):
                        self._in_flight[stream] += 1
                        requests.create_task(self._send(session, stream))
                await asyncio.sleep(TICK_SECONDS)

    def _due(self, stream: Stream, expected: float) -> int:
        """Return how many requests to send after a time in which so many come on average."""
        until_next, due = self._until_next[stream] - expected, 0
        while until_next <= 0:
            until_next += stream.gap()
            due += 1
        self._until_next[stream] = until_next
        return due

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
async def running_load(service: str, streams: Sequence[Stream] = STREAMS) -> AsyncIterator[Load]:
    """Send the load; at the end, wait until all requests are answered, unless something failed."""
    load = Load(service, streams)
    task = asyncio.create_task(load.run())
    try:
        yield load
    except BaseException:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    load.stop()
    await task
