"""What follows an attempt of an aiohttp pool to get a connection, and how its host is resolved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp.abc import AbstractResolver

from poolscope.adapters.aiohttp.attempts import Attempt
from poolscope.adapters.aiohttp.recording import ConnectorRecording
from poolscope.ledger import cells


class Tracer(Attempt):
    """
    An attempt that is told of its steps: it stands in the place of an `aiohttp.tracing.Trace`,
    and answers any signal.
    """

    _undecided = False

    def __init__(self, hooks: ConnectorRecording, host: str, started: float) -> None:
        # Not by a constructor of `Attempt`: that would be one more call for each request.
        self.hooks: Final = hooks
        self.host = host
        self.started = started

    def failed(self, error: BaseException, traces: object) -> None:
        """
        The attempt ended with `error`.

        A session's own time limits cancel the attempt too, and become a TimeoutError only
        further out. Its tracers are told of that, so ours joins them.
        """
        self.hooks.gave_up(self)
        if isinstance(error, TimeoutError):
            self.hooks.finished(cells.TIMEOUT, self)
        elif isinstance(error, Exception):
            self.hooks.finished(cells.ERROR, self)
        elif isinstance(error, asyncio.CancelledError) and isinstance(traces, list):
            self._undecided = True
            traces.append(self)
        else:
            self.hooks.finished(cells.CANCELLED, self)

    def _decide(self, outcome: int) -> None:
        if self._undecided:
            self._undecided = False
            self.hooks.finished(outcome, self)

    def __del__(self) -> None:
        self._decide(cells.CANCELLED)

    async def send_request_exception(
        self, method: object, url: object, headers: object, exception: BaseException
    ) -> None:
        self._decide(cells.TIMEOUT if isinstance(exception, TimeoutError) else cells.CANCELLED)

    async def send_connection_queued_start(self) -> None:
        self.hooks.waiting(self)

    async def send_connection_queued_end(self) -> None:
        self.hooks.stopped_waiting(self)

    async def send_connection_create_start(self) -> None:
        self.hooks.opening(self)

    async def send_connection_create_end(self) -> None:
        self.hooks.opened(self)

    async def send_connection_reuseconn(self) -> None:
        """Answer the signal of most attempts."""

    async def send_dns_cache_hit(self, host: str) -> None:
        self.hooks.looked_up(cells.DNS_HIT, None)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
        if name.startswith("send_"):
            return _not_of_interest
        raise AttributeError(name)


async def _not_of_interest(*args: object, **kwargs: object) -> None:
    """Answer a signal."""


class WatchedResolver(AbstractResolver):
    """A connector's resolver, whose look-ups are timed; the signals do not tell of failures."""

    def __init__(self, covered: Any, hooks: ConnectorRecording) -> None:
        self.covered: Final = covered
        self.hooks: Final = hooks

    async def resolve(self, *args: Any, **kwargs: Any) -> Any:
        started = self.hooks.clock()
        try:
            addresses = await self.covered.resolve(*args, **kwargs)
        except Exception:
            self.hooks.looked_up(cells.DNS_ERROR, started)
            raise
        self.hooks.looked_up(cells.DNS_MISS, started)
        return addresses

    async def close(self) -> None:
        await self.covered.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.covered, name)
