"""Scenarios of an aiohttp pool that cannot open connections to some, or all, of its hosts."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from poolscope.mixin.alerts.promtool.scenario import (
    SILENT_STEPS,
    STEPS_PER_WINDOW,
    Scenario,
    ScenarioFactory,
    Series,
    beyond,
    less_than,
)

ALERT: Final = "ConnPoolOpenFailures"
BAD: Final = "payments.example:443"

OF_POOL: Final = {"pool": "upstream", "kind": "aiohttp"}

HOSTS: Final = 20
"""How many hosts the pool has."""

RECENT: Final = 2 * STEPS_PER_WINDOW
"""For how many steps attempts to open connections to a host count as recent."""

BEFORE: Final = 10
"""For how many steps a busy pool has no failures."""

BUSY: Final = 1e6
"""Attempts in each of these steps: later failures are a small share of those of an hour."""


def scenarios(world: ScenarioFactory) -> list[Scenario]:
    # With a threshold of 0 any failure of the pool is enough.
    of_one = [_one_host(world)] if world.thresholds.open_failures[0] else []
    return [*of_one, _all_hosts(world), _callers_of_one_host(world)]


def _opened(
    world: ScenarioFactory, host: str, outcome: str, bad: float, good: float = 0.0, text: str = ""
) -> Series:
    """Return a counter of a host; `text`: its values in promtool's notation."""
    made = world.grows("host_opened_total", bad, good, host=host, outcome=outcome, of=OF_POOL)
    return replace(made, text=text, healthy_text=text)


def _others(world: ScenarioFactory) -> dict[str, Series]:
    """Return the other hosts of the pool, all of which are well."""
    return {
        f"host {number}": _opened(world, f"h{number}.example:443", "ok", 100.0, 100.0)
        for number in range(1, HOSTS)
    }


def _one_host(world: ScenarioFactory) -> Scenario:
    """
    Nearly all connections to one host fail, and they are a small share of those of the pool.

    The alert is silent before the host has failed often enough, and once it has recovered.
    """
    thresholds, each, others = world.thresholds, world.events_per_step, _others(world)
    share, of_pool = beyond(thresholds.broken, 1), less_than(thresholds.open_failures[0])
    fires = world.enough_events_at + world.steps(thresholds.ticket_after)
    few = 0.95 * thresholds.events / (fires + SILENT_STEPS)
    many = f"0+{BUSY:.0f}x{STEPS_PER_WINDOW} {STEPS_PER_WINDOW * BUSY:.0f}+0x{fires + 10}"
    recovered: dict[str, float | Series | None] = {
        "bad": _opened(world, BAD, "error", each, text=many),
        "bad, opened": each,
    }
    return Scenario(
        alert=ALERT,
        severity="warning",
        title="one host of twenty",
        part="-hosts",
        series={
            "failed": world.grows("opened_total", each, outcome="error", of=OF_POOL),
            "opened": world.grows(
                "opened_total", each / of_pool - each, BUSY, outcome="ok", of=OF_POOL
            ),
            "bad": _opened(world, BAD, "error", each),
            "bad, opened": _opened(world, BAD, "ok", each / share - each, each),
            **others,
        },
        value=of_pool,
        labels={**world.pool, **OF_POOL},
        hosts={BAD: share},
        silent={
            "too small a share": {"bad, opened": each / (0.97 * thresholds.broken) - each},
            # An alert that fires sooner than that still sees the failures.
            **({"it has recovered": recovered} if fires >= RECENT + STEPS_PER_WINDOW else {}),
            "few attempts": {"bad": few, "bad, opened": few / share - few},
        },
        true_at=world.enough_events_at,
        resolves_after=RECENT + 2,
        optional=("opened", "bad, opened", *others),
    )


def _all_hosts(world: ScenarioFactory) -> Scenario:
    """Connections to all hosts fail: there is one alert, which names the worst of them."""
    each, least = world.events_per_step, world.thresholds.open_failures[0]
    shares = {
        f"h{number}.example:443": 1 - (1 - least) * number / (2 * HOSTS) for number in range(HOSTS)
    }
    opened = {host: each / share - each for host, share in shares.items()}
    hosts = {
        f"{host}, {outcome}": _opened(world, host, outcome, bad, 1.0 if outcome == "ok" else 0.0)
        for host in shares
        for outcome, bad in (("error", each), ("ok", opened[host]))
    }
    failed, succeeded = each * HOSTS, sum(opened.values())
    return Scenario(
        alert=ALERT,
        severity="warning",
        title="all hosts",
        part="-hosts",
        series={
            "failed": world.grows("opened_total", failed, outcome="error", of=OF_POOL),
            "opened": world.grows("opened_total", succeeded, 1.0, outcome="ok", of=OF_POOL),
            **hosts,
        },
        value=failed / (failed + succeeded),
        labels={**world.pool, **OF_POOL},
        hosts=shares,
        true_at=1,
        resolves_after=RECENT + 2,
        optional=("opened", *hosts),
    )


def _callers_of_one_host(world: ScenarioFactory) -> Scenario:
    """Callers get errors: the alert names the host that they asked for."""
    others, threshold = _others(world), world.thresholds.errors[1]
    failing, share = world.events_per_step, beyond(threshold, 1)
    succeeded = failing / share - failing
    return Scenario(
        alert="ConnPoolAcquireErrors",
        severity="critical",
        title="one host of twenty",
        part="-hosts",
        series={
            "failing": world.grows("acquires_total", failing, outcome="error", of=OF_POOL),
            "succeeded": world.grows("acquires_total", succeeded, BUSY, outcome="ok", of=OF_POOL),
            "bad": _opened(world, BAD, "error", failing),
            "bad, opened": _opened(world, BAD, "ok", 0.0),
            **others,
        },
        value=share,
        labels={**world.pool, **OF_POOL},
        hosts={BAD: 1.0},
        steps_before=BEFORE,
        true_at=STEPS_PER_WINDOW if threshold else world.enough_events_at,
        resolves_after=STEPS_PER_WINDOW + 2,
        optional=("succeeded", "bad", "bad, opened", *others),
    )
