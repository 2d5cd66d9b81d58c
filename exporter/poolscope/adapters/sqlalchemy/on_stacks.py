"""Attempts and returns that threads are in the middle of, as their stacks show."""

from __future__ import annotations

from types import FrameType
from typing import Final

from sqlalchemy.pool import Pool

from poolscope.callsites.threads import frames_of_threads, outer_frame
from poolscope.callsites.variables import variables_of

_METHODS: Final = frozenset(
    {(f"{__package__}.classes", "connect"), (f"{__package__}.classes", "_do_return_conn")}
)
"""Module and name of the methods during which the pool and the ledger differ by one slot."""

_WITHOUT_SLOT: Final = frozenset(
    {(f"{__package__}.queues", "wait_in"), (f"{__package__}.recording", "failed")}
)
"""The same of functions inside of which an attempt has no slot: it waits, or has just failed."""


def under_way(pool: Pool) -> int:
    """Return how many attempts and returns of the pool are on the stacks of all threads."""
    return sum(_is_under_way(frame, pool) for frame in frames_of_threads().values())


def _is_under_way(innermost: FrameType, pool: Pool) -> bool:
    frame: FrameType | None = innermost
    while frame is not None:
        function = frame.f_globals.get("__name__"), frame.f_code.co_name
        if function in _WITHOUT_SLOT:
            return False
        if function in _METHODS and _is_of(frame, pool):
            return True
        frame = outer_frame(frame)
    return False


def _is_of(frame: FrameType, pool: Pool) -> bool:
    variables = variables_of(frame)
    # Where they cannot be known, it may be this pool.
    return variables is None or variables.get("self") is pool
