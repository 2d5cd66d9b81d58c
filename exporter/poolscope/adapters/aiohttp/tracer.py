"""Follows an attempt to get a connection of an aiohttp connector, and its DNS look-ups."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp.abc import AbstractResolver

from poolscope.adapters.aiohttp.attempts import Attempt
from poolscope.adapters.aiohttp.recording import ConnectorRecording
from poolscope.adapters.outcomes import outcome_of
from poolscope.ledger import cells


class Tracer(Attempt):
    """
    An attempt that follows its own steps: it takes the place of an `aiohttp.tracing.Trace`, and
    answers any signal.
    """

    _undecided = False

    def __init__(self, hooks: ConnectorRecording, host: str, started: float) -> None:
        # `Attempt` has no constructor, because that would be one more call for each request.
        self.hooks: Final = hooks
        self.host = host
        self.started = started

    def failed(self, error: BaseException, traces: object, req: object) -> None:
        """
        The attempt of a request ended with `error`.

        The time limits of a session cancel the attempt too, and become a TimeoutError only
        further out, which is reported to the session's tracers; so this one joins them.
        """
        self.hooks.gave_up(self)
        self.hooks.failed_with(self, error)
        self.hooks.log_gave_up(self, isinstance(error, TimeoutError) or _is_out_of_time(req))
        if isinstance(error, asyncio.CancelledError) and isinstance(traces, list):
            self._undecided = True
            traces.append(self)
        else:
            if isinstance(error, TimeoutError):
                self.hooks.add_note(error)
            self.hooks.finished(outcome_of(error, TimeoutError), self)

    def _decide(self, outcome: int) -> None:
        if self._undecided:
            self._undecided = False
            self.hooks.finished(outcome, self)

    def __del__(self) -> None:
        self._decide(cells.CANCELLED)

    async def send_request_exception(
        self, method: object, url: object, headers: object, exception: BaseException
    ) -> None:
        outcome = cells.CANCELLED
        if isinstance(exception, TimeoutError):
            outcome = cells.TIMEOUT
            if self._undecided:
                self.hooks.add_note(exception)
        self._decide(outcome)

    async def send_connection_queued_start(self) -> None:
        self.hooks.waiting(self)

    async def send_connection_queued_end(self) -> None:
        self.hooks.stopped_waiting(self)

    async def send_connection_create_start(self) -> None:
        self.hooks.opening(self)

    async def send_connection_create_end(self) -> None:
        self.hooks.opened(self)

    async def send_connection_reuseconn(self) -> None:
        """Ignore this signal; defined because most attempts send it."""

    async def send_dns_cache_hit(self, host: str) -> None:
        self.hooks.looked_up(cells.DNS_HIT, None)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
        if name.startswith("send_"):
            return _ignore_signal
        raise AttributeError(name)


# Checked with aiohttp 3.9.0 to 3.14.5: ClientRequest._timer, TimerContext._cancelled
def _is_out_of_time(req: Any) -> bool:
    """Whether a time limit of its session has cancelled the request."""
    return bool(getattr(getattr(req, "_timer", None), "_cancelled", False))


async def _ignore_signal(*args: object, **kwargs: object) -> None:
    """Answer a signal that tells nothing of the pool."""


class WatchedResolver(AbstractResolver):
    """Times the look-ups of a connector's resolver; no signal reports a look-up that fails."""

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
