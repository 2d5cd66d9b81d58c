"""Waits in an event loop of asyncio for shared work, such as a rendering of metrics."""

from __future__ import annotations

from asyncio import Future, _get_running_loop, get_running_loop
from collections.abc import Callable, Hashable
from typing import TypeVar

from poolscope.metrics.responses import (
    Metrics,
    Request,
    Response,
    busy_response,
    response_of,
    short_response,
)
from poolscope.metrics.sharing import BusyError, Outcome, Shared

T = TypeVar("T")


async def awaited_response(metrics: Metrics, request: Request) -> Response:
    """Return the response with the metrics; the event loop goes on while they are rendered."""
    if _get_running_loop() is None:
        # The event loop of another library, such as trio, cannot wait for a thread this way.
        return metrics.respond(request)
    short = short_response(request.method)
    if short is not None:
        return short
    shared, key, make, limited = metrics.work_for(request)
    try:
        done = await shared_result(shared, key, make, limited=limited)
    except BusyError as error:
        return busy_response(error, request)
    return response_of(done, request)


async def shared_result(
    shared: Shared[T], key: Hashable, make: Callable[[], T], *, limited: bool = False
) -> T:
    """
    Return the result of shared work, which is done on a thread of its own: see `Shared.submit`.

    The threads of the service's executor may all be waiting for a connection. If this is cancelled,
    others that wait get their result. Raises what the work raises, and what `submit` raises.
    """
    loop = get_running_loop()
    told: Future[Outcome[T]] = loop.create_future()

    def tell(outcome: Outcome[T]) -> None:
        loop.call_soon_threadsafe(_tell, told, outcome)

    shared.submit(told, key, make, tell, limited=limited)
    try:
        return (await told).get()
    finally:
        shared.leave(told, key)


def _tell(told: Future[Outcome[T]], outcome: Outcome[T]) -> None:
    if not told.done():  # it may be cancelled
        told.set_result(outcome)
