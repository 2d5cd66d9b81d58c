"""The connections of an aiohttp pool by host, for a bounded number of hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from poolscope.readings.labels import FirstLabels

SHOWN_HOSTS: Final = 20
MAX_KNOWN_HOSTS: Final = 1000
OTHER_HOSTS: Final = "other"


class HostReading(NamedTuple):
    """The connections of an aiohttp pool to one `host:port`, at the moment of reading."""

    host: str
    in_use: float
    idle: float
    opening: float
    waiting: float


class BusyHosts:
    """
    Counts requests by host, to find the busiest ones.

    It remembers up to `MAX_KNOWN_HOSTS`. When there are more, it forgets the half with the fewest
    requests, so that a crawler costs bounded memory.
    """

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()

    def ask(self, host: str) -> None:
        """Count a request to the host."""
        self._asked[host] += 1
        if len(self._asked) > MAX_KNOWN_HOSTS:
            self._asked = Counter(dict(self._asked.most_common(MAX_KNOWN_HOSTS // 2)))

    def shown(self) -> list[str]:
        """Return the hosts that get a label of their own, the busiest first."""
        asked = self._asked.copy()
        return [host for host, _ in asked.most_common(SHOWN_HOSTS)]


def busiest(readings: Iterable[HostReading]) -> tuple[HostReading, ...]:
    """
    Add up readings of the same host; return the busiest in alphabetical order, then the others.

    readings: the busiest hosts come first, as from `BusyHosts.shown`.
    """
    sums: dict[str, HostReading] = {}
    labels = FirstLabels(SHOWN_HOSTS, OTHER_HOSTS)
    for reading in readings:
        host = labels.label(reading.host)
        before = sums.get(host, HostReading(host, 0.0, 0.0, 0.0, 0.0))
        sums[host] = HostReading(
            host,
            before.in_use + reading.in_use,
            before.idle + reading.idle,
            before.opening + reading.opening,
            before.waiting + reading.waiting,
        )
    return tuple(sums[host] for host in labels.in_order(sums))
