"""How many connections a pool allows, and the clock that a reading is taken with."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Clock = Callable[[], float]


class Limits(NamedTuple):
    """
    How many connections a pool allows.

    limit: the most that can be out at once; `math.inf` where there is no limit.
    idle_limit: the most that are kept when idle.
    idle_floor: the fewest that are kept open.
    """

    limit: float
    idle_limit: float
    idle_floor: float
