"""Replays of aiohttp pools: one host of many fails, all do, or those that nobody can mend."""

from __future__ import annotations

from collections.abc import Callable

from mixin.alerts.estate import HOUR, Estate, Replay, of

FAILS = "ConnPoolOpenFailures"
ERRORS = "ConnPoolAcquireErrors"

Fails = Callable[[str, int], float | None]
"""The share of the attempts to a host that fails in a minute; None: nobody asks for it then."""

HOSTS = [f"h{number}.example:443" for number in range(20)]


def client(
    fails: Fails, each: float = 3.0, ok: float = 6000.0, others: float | None = None
) -> Estate:
    """
    Return a client of twenty hosts for three hours.

    each: how many connections are opened to each host in each minute.
    others: the same, to all hosts but the eighth, if it is not as many.
    ok: how many requests get a connection that is open in each minute.
    """
    estate = Estate(3 * HOUR)
    labels = {**of(), "pool": "upstream", "kind": "aiohttp"}

    def count(host: str, minute: int, *, failed: bool) -> float:
        share = fails(host, minute)
        opened = each if others is None or host == HOSTS[7] else others
        return 0.0 if share is None else opened * (share if failed else 1.0 - share)

    def each_of(host: str, failed: bool) -> Callable[[int], float]:
        return lambda minute: count(host, minute, failed=failed)

    def all_of(failed: bool) -> Callable[[int], float]:
        return lambda minute: sum(count(host, minute, failed=failed) for host in HOSTS)

    estate.pool(labels, in_use=3.0, ok=ok, error=all_of(True))
    for outcome, failed in (("ok", False), ("error", True)):
        estate.grow(f'opened_total{{outcome="{outcome}"}}', all_of(failed), labels)
        for host in HOSTS:
            estate.grow(
                f'host_opened_total{{outcome="{outcome}"}}',
                each_of(host, failed),
                {**labels, "host": host},
            )
    return estate


def one(host: str, minute: int) -> float:
    return float(host == HOSTS[7] and minute > HOUR)


def rare(host: str, minute: int) -> float | None:
    """A host that is asked for once in five minutes, and never answers."""
    if host != HOSTS[7]:
        return 0.0
    return 1.0 if minute % 5 == 0 else None


REPLAYS = [
    Replay("one host of twenty fails", client(one), {(FAILS, "warning"): 1}),
    Replay(
        "one host of twenty fails, of a client that opens many connections to the others",
        client(one, others=300.0),
        {(FAILS, "warning"): 1},
    ),
    Replay(
        "a host that nobody asks for often fails each time",
        client(rare, each=1.0),
        {(FAILS, "warning"): 1},
    ),
    Replay(
        "all hosts fail: one alert for each severity",
        client(lambda _, minute: float(minute > HOUR), ok=30.0),
        {(FAILS, "warning"): 1, (ERRORS, "critical"): 1, (ERRORS, "warning"): 1},
    ),
    Replay(
        "a host was away for five minutes, and has recovered",
        client(lambda host, minute: float(host == HOSTS[7] and minute in range(60, 65))),
    ),
    Replay(
        "each host fails for a moment, one after the other",
        client(
            lambda host, minute: float(minute % 20 == HOSTS.index(host) and minute < 2 * HOUR) / 5
        ),
    ),
]
