"""
Upper bounds of the histograms' buckets, in seconds: two or three a decade.

They are chosen from what was measured with each kind of pool, on one machine with its servers. More
bounds are where most durations lie, and where a time limit or an objective is usually set.
"""

from __future__ import annotations

from typing import Final

ACQUIRE_BUCKETS: Final = (
    0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    30.0, 60.0,
)  # fmt: skip
"""
From a pool with a free connection (asyncpg 1 to 3 us, SQLAlchemy 3 to 20 us, aiohttp 6 to 40 us)
over a connection that is opened or waited for (0.3 to 50 ms) to the usual timeouts (30 and 60 s).
"""

OPEN_BUCKETS: Final = (
    0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 60.0,
)  # fmt: skip
"""
From a database in memory (0.2 ms) over local servers (aiohttp 0.3 to 1.3 ms, PostgreSQL 2.5 to
10 ms) to a handshake that times out.
"""

HOLD_BUCKETS: Final = (
    0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0,
    300.0, 3600.0,
)  # fmt: skip
"""
From a query in memory (5 to 30 us) over one at a local server (30 us to 8 ms) to a connection that
was never returned.
"""

DNS_BUCKETS: Final = (
    0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 30.0,
)  # fmt: skip
"""From a name in the file of hosts (0.1 to 0.3 ms) to a resolver that times out."""
