"""Pools that together ask for more connections than their server accepts."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from poolscope.readings import application_names
from poolscope.readings.database_servers import ServerReading
from poolscope.readings.findings import Commitment


def pools_of(server: ServerReading) -> Counter[str]:
    """Return how many connections a server has from each pool, named as by `shown`."""
    counts = Counter[str]()
    for group in server.connections:
        application = application_names.parse(group.application)
        if application is not None:
            counts[application.pool] += group.count
    return counts


def commitments(
    servers: Iterable[ServerReading], limits: Mapping[str, float]
) -> dict[str, tuple[Commitment, ...]]:
    """
    Return for each pool the commitments of the servers that it has connections to.

    limits: for each pool, how many connections all processes together may open.
    """
    by_pool: defaultdict[str, tuple[Commitment, ...]] = defaultdict(tuple)
    for server in servers:
        counts = pools_of(server)
        pools = [pool for pool in limits if counts[application_names.shown(pool)]]
        promised = sum(limits[pool] for pool in pools)
        # A pool without a limit is a finding of its own.
        if pools and promised < math.inf:
            accepts = server.limit - server.reserved
            commitment = Commitment(server.server, accepts, promised)
            for pool in pools:
                by_pool[pool] += (commitment,)
    return dict(by_pool)
