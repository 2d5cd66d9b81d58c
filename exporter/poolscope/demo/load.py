"""The load: callers whose number swings, and who at times are more than a pool can serve."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

SWING_SECONDS: Final = 20.0
"""Seconds from one high tide to the next, and from one burst of a stream to its next."""

BURST_SECONDS: Final = 2.0
"""Seconds that a burst lasts."""

TICK_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Stream:
    """
    Requests of one kind.

    low, high, burst: requests per second at low tide, at high tide and in a burst.
    burst_at: seconds from the beginning of each swing to its burst.
    max_in_flight: requests on their way at once; those beyond are not sent.
    """

    pool: str
    method: str
    path: str
    low: float
    high: float
    burst: float
    burst_at: float
    max_in_flight: int = 48

    def in_burst(self, seconds: float) -> bool:
        """Whether a burst is on, `seconds` after the load began."""
        return self.burst_at <= seconds % SWING_SECONDS < self.burst_at + BURST_SECONDS

    def rate(self, seconds: float) -> float:
        """Return the requests per second, `seconds` after the load began."""
        if self.in_burst(seconds):
            return self.burst
        # Each stream has its high tide half a swing after its burst.
        tide = math.sin((seconds - self.burst_at) * math.tau / SWING_SECONDS - math.tau / 4)
        return self.low + (self.high - self.low) * (1 + tide) / 2


# The bursts ask for about twice of what the pool can serve.
STREAMS: Final = (
    Stream("orders", "POST", "orders", low=8, high=45, burst=120, burst_at=1.0),
    Stream("billing", "GET", "invoices", low=8, high=45, burst=120, burst_at=9.0),
    Stream("reports", "GET", "reports/daily", low=4, high=25, burst=75, burst_at=4.0),
    Stream("upstream", "GET", "storefront", low=4, high=22, burst=60, burst_at=14.0),
)


class Load:
    """Sends the streams to the service until it is told to end."""

    def __init__(self, service: str, streams: Sequence[Stream] = STREAMS) -> None:
        self._service = URL(service)
        self._streams = streams
        self._stopped = False
        self._seconds = 0.0
        self._in_flight = dict.fromkeys(streams, 0)

    def bursts(self) -> list[str]:
        """Return the names of the pools that a burst is on now."""
        return [s.pool for s in self._streams if s.in_burst(self._seconds)]

    def stop(self) -> None:
        """Send no more; `run` returns when all that were sent are answered."""
        self._stopped = True

    async def run(self) -> None:
        """Send requests until `end` is called."""
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            asyncio.TaskGroup() as requests,
        ):
            clock = asyncio.get_running_loop().time
            began, owed = clock(), dict.fromkeys(self._streams, 0.0)
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
        except aiohttp.ClientError:
            # One caller that gives up, like those who get a 503; the metrics tell of both.
            pass
        finally:
            self._in_flight[stream] -= 1
