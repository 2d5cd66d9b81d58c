"""A scrape lets the service go on, however many pools there are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy.pool import QueuePool

from poolscope import collector, groups
from poolscope.watch import Watches
from support.waiting import PATIENCE

POOLS = 50


def pool() -> QueuePool:
    make: Any = object
    return QueuePool(make)


@pytest.fixture
def registry(watches: Watches) -> CollectorRegistry:
    registry = CollectorRegistry()
    pools = [pool() for _ in range(POOLS)]
    for number, one in enumerate(pools):
        watches.watch(one, f"pool-{number}", registry=registry)
    registry.pools = pools  # type: ignore[attr-defined]  # so that they live as long
    return registry


def test_others_may_run_at_least_each_millisecond(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[str] = []
    for module in (groups, collector):
        name = module.__name__
        monkeypatch.setattr(module, "let_others_run", lambda name=name: pauses.append(name))
    often = sum(len(family.samples) // collector.AT_ONCE for family in registry.collect())
    assert often
    pauses.clear()
    generate_latest(registry)
    assert POOLS == pauses.count("poolscope.groups")
    assert often == pauses.count("poolscope.collector")


def test_who_adds_a_pool_does_not_wait_for_a_scrape_to_end(
    registry: CollectorRegistry, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event loop would be blocked for that long: its pool may be one per request."""
    with ThreadPoolExecutor(1) as thread:

        def add() -> None:
            one = pool()
            adding = thread.submit(watches.watch, one, f"added-{id(one)}", registry=registry)
            adding.result(timeout=PATIENCE).unwatch()
            added.append(one)

        added: list[QueuePool] = []
        monkeypatch.setattr(groups, "let_others_run", add)
        text = generate_latest(registry).decode()
    assert POOLS == len(added)
    assert POOLS == text.count("\nconnpool_instances{")
