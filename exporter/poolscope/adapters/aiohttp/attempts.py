"""One attempt to get a connection of an aiohttp connector."""

from __future__ import annotations

import inspect
from types import FrameType
from typing import Any, Final

import aiohttp

from poolscope.adapters.aiohttp.across import RequestAcross
from poolscope.callsites.borrower import Borrower

# Checked with aiohttp 3.9.0 to 3.14.5: ClientSession._request() makes each request. From 3.12 on, a
# function inside of it calls connect(), and client middlewares run between the two.
HAS_MIDDLEWARES: Final = hasattr(aiohttp, "ClientMiddlewareType")

_request: Any = inspect.unwrap(aiohttp.ClientSession._request)

REQUEST: Final = getattr(_request, "__code__", None)
"""The code of what makes a request, unless something was put over it."""


def frame_of_request(frame: FrameType) -> FrameType:
    """
    Return the frame of the request that an attempt is for, from a frame of the attempt outwards.

    A client middleware between the two only passes on what another caller has asked for.
    """
    found: FrameType | None = frame
    while found is not None:
        code = found.f_code
        if code is REQUEST or (
            code.co_qualname == "ClientSession._request"
            and found.f_globals.get("__name__") == aiohttp.client.__name__
        ):
            return found
        found = found.f_back
    return frame


class Attempt:
    """
    One attempt to get a connection.

    started, waiting_since, opening_since: the clock when it began, began to wait for a slot, and
        began to open a connection.
    seconds: how long it took, set when it has failed.
    open_seconds: how long it took to open the connection.
    queued: seconds that it has waited for a slot; None if it did not have to wait.
    in_queue: whether it has ended while it waited for a slot.
    has_failed: whether it has ended without a connection.
    who: who asks, once it has been found out.
    is_ordinary: whether it has neither waited nor is across.
    across: the request, if its caller holds connections of a database meanwhile.
    """

    host: str
    started: float

    # Defaults in the class, because most attempts set none of these.
    seconds = waiting_since = opening_since = open_seconds = 0.0
    queued: float | None = None
    is_ordinary = True
    in_queue = False
    has_failed = False
    who: Borrower | None = None
    across: RequestAcross | None = None

    @property
    def number(self) -> int:
        """Return what identifies the attempt among all that are in flight."""
        return id(self)
