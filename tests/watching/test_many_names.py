"""Pools of ever new names: what is kept for each is bounded, and no counter falls."""

from __future__ import annotations

import gc

import pytest
import sqlalchemy
from prometheus_client import CollectorRegistry

from poolscope.testing import FakeClock
from poolscope.watching import groups
from poolscope.watching.watches import Watches

pytestmark = pytest.mark.usefixtures("collect")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_ENDED_NAMES", 3)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


class Connection:
    def close(self) -> None: ...
    def rollback(self) -> None: ...


class Tenants:
    """Makes pools, each of which is used once for a second."""

    def __init__(self, watches: Watches, registry: CollectorRegistry, clock: FakeClock) -> None:
        self.watches, self.registry, self.clock = watches, registry, clock

    def live(self, name: str) -> sqlalchemy.Pool:
        pool = sqlalchemy.QueuePool(Connection)  # type: ignore[arg-type]  # as good as one
        self.watches.watch(pool, name, registry=self.registry)
        connection = pool.connect()
        self.clock.advance(1.0)
        connection.close()
        return pool

    def come_and_go(self, *names: str) -> None:
        for name in names:
            pool = self.live(name)
            pool.dispose()
            del pool
            gc.collect()

    def value(self, name: str) -> dict[str, float]:
        """Return the values of the samples of this name, by pool."""
        return {
            sample.labels["pool"]: sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name
        }


@pytest.fixture
def tenants(watches: Watches, registry: CollectorRegistry, clock: FakeClock) -> Tenants:
    return Tenants(watches, registry, clock)


TAKEN = "connpool_hold_seconds_count"


def test_the_names_whose_pools_ended_first_are_added_up(tenants: Tenants) -> None:
    tenants.come_and_go("a", "b", "c")
    assert {"a": 1, "b": 1, "c": 1} == tenants.value(TAKEN)
    tenants.come_and_go("a", "d", "e")
    assert {"a": 2, "d": 1, "e": 1, "other": 2} == tenants.value(TAKEN)
    tenants.come_and_go("f")
    assert {"d": 1, "e": 1, "f": 1, "other": 4} == tenants.value(TAKEN)
    assert 4 == tenants.value("connpool_instances_created_total")["other"]
    assert 4.0 == tenants.value("connpool_in_use_seconds_total")["other"]
    assert {"d": 1.0, "e": 1.0, "f": 1.0, "other": 4.0} == tenants.value(
        "connpool_site_in_use_seconds_total"
    )


def test_what_was_added_up_stays_when_a_pool_of_that_name_is_unwatched(
    tenants: Tenants, watches: Watches, registry: CollectorRegistry
) -> None:
    tenants.come_and_go("a", "b", "c", "d")
    pool = tenants.live("other")
    assert 2 == tenants.value(TAKEN)["other"]
    watches.watch(pool, "other", registry=registry).unwatch()
    assert 2 == tenants.value(TAKEN)["other"]
    tenants.come_and_go("e")
    assert 3 == tenants.value(TAKEN)["other"]


def test_a_forked_child_has_only_the_names_of_live_pools(
    tenants: Tenants, watches: Watches
) -> None:
    tenants.come_and_go("a", "b", "c", "d")
    pool = tenants.live("tenant")
    watches.forked()
    assert {"tenant"} == tenants.value("connpool_instances_created_total").keys()
    tenants.come_and_go("a", "b", "c", "d")
    assert {"b": 1, "c": 1, "d": 1, "other": 1} == tenants.value(TAKEN)
    del pool


def test_live_pools_keep_their_names_however_many_there_are(tenants: Tenants) -> None:
    pools = [tenants.live(f"tenant-{number}") for number in range(7)]
    tenants.come_and_go("a", "b", "c", "d")
    expected = {f"tenant-{number}": 1 for number in range(7)}
    assert {**expected, "b": 1, "c": 1, "d": 1, "other": 1} == tenants.value(TAKEN)
    assert expected == tenants.value("connpool_instances")
    assert 7 == len(pools)


def test_no_counter_falls_while_names_come_and_go(tenants: Tenants) -> None:
    before: dict[str, float] = {}
    for number in range(12):
        tenants.come_and_go(f"tenant-{number}")
        after = tenants.value("connpool_in_use_seconds_total")
        assert all(after[name] >= before[name] for name in before.keys() & after.keys())
        assert number + 1 == sum(after.values())
        before = after


def test_a_name_that_was_given_up_may_come_back(
    tenants: Tenants, watches: Watches, registry: CollectorRegistry
) -> None:
    pool = sqlalchemy.QueuePool(Connection)  # type: ignore[arg-type]  # as good as one
    watch = watches.watch(pool, "first", registry=registry)
    pool.connect().close()
    pool.dispose()
    del pool
    gc.collect()
    tenants.come_and_go("a", "b", "c")
    assert "first" not in tenants.value(TAKEN)
    # What the watch of the pool says stays.
    assert 1 == watch.snapshot().acquired
    assert ([], []) == (watch.findings(), watch.holders())
    watch.unwatch()
    tenants.come_and_go("first")
    assert {"b": 1, "c": 1, "first": 1, "other": 2} == tenants.value(TAKEN)


def test_a_name_that_is_unwatched_and_given_up_shows_nothing(
    tenants: Tenants, watches: Watches, registry: CollectorRegistry
) -> None:
    pools = [sqlalchemy.QueuePool(Connection) for _ in range(5)]  # type: ignore[arg-type]
    for number, pool in enumerate(pools):
        watch = watches.watch(pool, f"tenant-{number}", registry=registry)
        pool.connect().close()
        watch.unwatch()
    assert {} == tenants.value(TAKEN)
    assert 3 == len(watch._pool.groups._groups)


def test_nobody_is_blamed_for_the_sum_of_other_pools(tenants: Tenants) -> None:
    for _ in range(25):
        tenants.come_and_go("same")
    assert {"same"} == tenants.value("connpool_finding").keys()
    tenants.come_and_go("a", "b", "c")
    assert {} == tenants.value("connpool_finding")
