"""The configuration of a pool, as far as the rules of `findings` need it."""

from __future__ import annotations

import math
from typing import Final, NamedTuple


class PoolConfig(NamedTuple):
    """
    The configuration of a pool. An option that does not apply to it keeps its default.

    bounded: whether this kind of pool should have a limit.
    limit: the maximum number of connections; `math.inf` if there is no limit.
    database: whether it connects to a database server, which accepts a limited number.
    pooled: whether it reuses connections at all.
    pings: whether it checks a connection before use.
    recycle: seconds after which it closes a connection that is idle, or old; `math.inf`: never.
    total_timeout: time limit of a whole request, in seconds.
    survives_fork: whether a forked child may use the connections of its parent, as those of a
        SQLite database in memory, of which it has a copy.
    connect_timeout: time limit of getting a connection for a request, in seconds.
    queue_timeout: time limit of waiting for a slot, in seconds, for callers that set none.
    """

    bounded: bool = True
    limit: float = 1.0
    database: bool = False
    pooled: bool = True
    pings: bool = True
    recycle: float = math.inf
    total_timeout: float = 1.0
    connect_timeout: float = 1.0
    queue_timeout: float = 1.0
    limited_per_host: bool = True
    keeps_alive: bool = True
    caches_dns: bool = True
    survives_fork: bool = False


DEFAULT_CONFIG: Final = PoolConfig()
"""A configuration in which no rule finds a mistake."""
