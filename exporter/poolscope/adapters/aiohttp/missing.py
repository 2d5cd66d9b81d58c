"""Slots of an aiohttp connector that are acquired, and that no connection in use explains."""

from __future__ import annotations

import gc
from collections.abc import Collection, Hashable, Iterator
from types import CoroutineType
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from poolscope.adapters.aiohttp.attempts import Attempt
from poolscope.callsites.threads import frame_of
from poolscope.callsites.variables import variable_of

# Checked with aiohttp 3.9.0 to 3.14.5: BaseConnector._acquired, with placeholders of connections
#   that are being opened, as local variables of the methods of the connector

_CONNECTOR: Final = aiohttp.connector.__name__


def unknown_slots(connector: Any, in_use: Collection[Hashable]) -> list[Any]:
    """
    Return what has a slot, but is no connection in use.

    A connection that was lost while it was in use has its slot until its response is released,
    so it is not among these.
    """
    return [
        slot
        for slot in list(connector._acquired)
        if id(slot) not in in_use
        and not (isinstance(slot, ResponseHandler) and not slot.is_connected())
    ]


def attempts_in_flight(connector: Any) -> Iterator[int]:
    """
    Yield the numbers of the attempts that have not ended.

    This looks through all objects, so it is only for when a slot seems to be lost.
    """
    for referrer in gc.get_referrers(connector):
        frame = frame_of(referrer, "cr_frame") if isinstance(referrer, CoroutineType) else None
        if frame is not None:
            attempt = variable_of(frame, "attempt")
            if isinstance(attempt, Attempt) and not attempt.has_failed:
                yield attempt.number


def keeps_slot(connector: Any, error: BaseException, in_use: Collection[Hashable]) -> bool:
    """Whether the attempt that has failed with `error` has left its slot behind."""
    unknown = {id(slot) for slot in unknown_slots(connector, in_use)}
    traceback = error.__traceback__ if unknown else None
    while traceback is not None:
        frame, traceback = traceback.tb_frame, traceback.tb_next
        if frame.f_globals.get("__name__") == _CONNECTOR and not unknown.isdisjoint(
            map(id, frame.f_locals.values())
        ):
            return True
    return False
