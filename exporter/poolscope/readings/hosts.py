"""
The connections of an aiohttp pool by host, for a bounded number of hosts.

The first hosts that a pool opens connections to have labels of their own: a counter must not move
from one label to another, so it cannot be those that are the busiest at the moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from poolscope.label_values import OTHER_LABEL

SHOWN_HOSTS: Final = 20


class HostReading(NamedTuple):
    """
    The connections of an aiohttp pool to one `host:port`, at the moment of reading.

    opened, open_failed: counters: connections that were opened, and attempts to open one that have
        failed.
    """

    host: str
    in_use: float
    idle: float
    opening: float
    waiting: float
    opened: float = 0.0
    open_failed: float = 0.0


def host_readings(
    rows: Iterable[tuple[str, float, float, float, float, float, float]], unknown: float
) -> list[HostReading]:
    """
    Return the readings of hosts; none if there are no hosts.

    rows: of each host the label, and how many connections are in use, open, and being opened, how
        many callers wait, how many connections were opened, and how many attempts to open one have
        failed.
    unknown: how many connections are in use that are to none of these: they are those of others.
    """
    readings = [
        HostReading(host, in_use, max(0.0, opened - in_use), *numbers)
        for host, in_use, opened, *numbers in rows
    ]
    if not (unknown and readings):
        return readings
    others = [reading for reading in readings if reading.host == OTHER_LABEL]
    other = others[0] if others else HostReading(OTHER_LABEL, 0.0, 0.0, 0.0, 0.0)
    return [
        *(reading for reading in readings if reading is not other),
        other._replace(in_use=other.in_use + unknown),
    ]
