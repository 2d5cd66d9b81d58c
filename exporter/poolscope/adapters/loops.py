"""Pools and connections that belong to one event loop, and are used in another."""

from __future__ import annotations

import sys
from asyncio import _get_running_loop

from poolscope.callsites.frames import NOWHERE
from poolscope.callsites.owners import place_of_caller
from poolscope.errors import harmless
from poolscope.watching.watched_pool import WatchedPool


@harmless
def used_in_other_loop(watched: WatchedPool) -> None:
    """The caller uses a connection or a pool that does not belong to the running event loop."""
    if _get_running_loop() is not None:
        place = place_of_caller(sys._getframe()) if watched.call_sites else NOWHERE
        watched.evidence.add_at("other-loop", place)
