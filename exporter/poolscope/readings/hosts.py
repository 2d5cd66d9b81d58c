"""An aiohttp pool's connections by host, few enough of them to be labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

SHOWN_HOSTS: Final = 20
MAX_KNOWN_HOSTS: Final = 1000
OTHER_HOSTS: Final = "other"


class HostReading(NamedTuple):
    """The connections of an aiohttp pool to one `host:port`, now."""

    host: str
    in_use: float
    idle: float
    opening: float
    waiting: float


class BusyHosts:
    """
    Which hosts a pool is asked for most.

    Remembers up to `MAX_KNOWN_HOSTS`; when there are more, the half that was asked for least is
    forgotten, so that a crawler costs bounded memory.
    """

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()

    def ask(self, host: str) -> None:
        self._asked[host] += 1
        if len(self._asked) > MAX_KNOWN_HOSTS:
            self._asked = Counter(dict(self._asked.most_common(MAX_KNOWN_HOSTS // 2)))

    def shown(self) -> list[str]:
        """Return the hosts that get a label of their own, busiest first."""
        asked = self._asked.copy()
        return [host for host, _ in asked.most_common(SHOWN_HOSTS)]


def busiest(readings: Iterable[HostReading]) -> tuple[HostReading, ...]:
    """
    Add up readings of the same host, and return the busiest by name, then all others as one.

    `readings` come busiest first, as from `BusyHosts.shown`; those of `OTHER_HOSTS` stay others.
    """
    sums: dict[str, HostReading] = {}
    shown: set[str] = set()
    for reading in readings:
        if reading.host != OTHER_HOSTS and len(shown) < SHOWN_HOSTS:
            shown.add(reading.host)
        host = reading.host if reading.host in shown else OTHER_HOSTS
        before = sums.get(host, HostReading(host, 0.0, 0.0, 0.0, 0.0))
        sums[host] = HostReading(
            host,
            before.in_use + reading.in_use,
            before.idle + reading.idle,
            before.opening + reading.opening,
            before.waiting + reading.waiting,
        )
    return tuple(sums[host] for host in sorted(sums, key=lambda host: (host == OTHER_HOSTS, host)))
