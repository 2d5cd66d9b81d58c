"""How a pool is set up, as far as the rules of `findings` ask."""

from __future__ import annotations

import math
from typing import Final, NamedTuple


class PoolConfig(NamedTuple):
    """
    How a pool is set up, as far as rules ask. What does not apply keeps its default, and is fine.

    bounded: whether it is of a kind that ought to have a limit, which is `limit`, or `math.inf`.
    database: whether its connections are a database server's, which allows only so many.
    pooled: whether it keeps connections at all.
    recycle: seconds after which an idle connection, or any, is closed; `pings`: or checked.
    total_timeout, connect_timeout: seconds of a request, and of getting its connection.
    """

    bounded: bool = True
    limit: float = 1.0
    database: bool = False
    pooled: bool = True
    pings: bool = True
    recycle: float = math.inf
    total_timeout: float = 1.0
    connect_timeout: float = 1.0
    limited_per_host: bool = True
    keeps_alive: bool = True
    caches_dns: bool = True
    verifies_tls: bool = True


DEFAULT_CONFIG: Final = PoolConfig()
"""One in which no rule finds anything."""
