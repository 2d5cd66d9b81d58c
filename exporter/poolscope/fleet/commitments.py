"""Pools that together ask for more connections than their server accepts."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from poolscope import application_names as applications
from poolscope.readings.database_servers import ServerReading
from poolscope.readings.findings import Commitment


def pools_of(server: ServerReading) -> Counter[str]:
    """Return how many connections of each pool a server sees; pools as `shown` has them."""
    seen = Counter[str]()
    for found in server.connections:
        application = applications.parse(found.application)
        if application is not None:
            seen[application.pool] += found.count
    return seen


def commitments(
    servers: Iterable[ServerReading], limits: Mapping[str, float]
) -> dict[str, tuple[Commitment, ...]]:
    """
    Return by pool what the servers are promised that it has connections to.

    limits: by the name of a pool, how many connections all processes may have of it.
    """
    found: defaultdict[str, tuple[Commitment, ...]] = defaultdict(tuple)
    for server in servers:
        seen = pools_of(server)
        pools = [pool for pool in limits if seen[applications.shown(pool)]]
        promised = sum(limits[pool] for pool in pools)
        # One without a limit is a finding of its own.
        if pools and promised < math.inf:
            accepts = server.limit - server.reserved
            commitment = Commitment(server.server, accepts, promised)
            for pool in pools:
                found[pool] += (commitment,)
    return dict(found)
