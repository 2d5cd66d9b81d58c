"""How many connections a pool allows, and the type of the clock that readings are taken with."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Clock = Callable[[], float]
"""Returns seconds, as `time.monotonic` does."""


class Limits(NamedTuple):
    """
    How many connections a pool allows.

    limit: the maximum number in use at once; `math.inf` if there is no limit.
    idle_limit: the maximum number of idle connections that the pool keeps open.
    idle_floor: the minimum number of connections that the pool keeps open.
    """

    limit: float
    idle_limit: float
    idle_floor: float
