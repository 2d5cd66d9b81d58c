"""Who holds a connection, from which line, and whether it is overdue: for every kind of pool."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from contract.pools import PoolUnderTest
from poolscope import Hold, Watch
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.waiting import eventually

# Each of these classes acquires in a method of its own.
ASKS = {"SyncEngine": "SyncEngine._connect", "BarePool": "SyncEngine._connect"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def watch(pool: PoolUnderTest, watches: Watches, registry: CollectorRegistry) -> Watch:
    return watches.watch(pool.target, "pool", leak_after=5.0, registry=registry)


def without_places(holds: list[Hold]) -> list[Hold]:
    """Return the holds without where their holders are now, which changes by the line."""
    return [dataclasses.replace(hold, now_at=None) for hold in holds]


def asks(pool: PoolUnderTest) -> str:
    """Return the function in which the pool under test acquires a connection."""
    for cls in type(pool).__mro__:
        if "acquire" in vars(cls):
            return ASKS.get(cls.__name__, f"{cls.__name__}.acquire")
    raise AssertionError


async def test_a_hold_has_its_line_its_owner_and_its_age(
    pool: PoolUnderTest, watches: Watches, watch: Watch, clock: FakeClock
) -> None:
    assert [] == watch.holders()
    first = await pool.acquire()
    clock.advance(2.0)
    second = await pool.acquire()
    clock.advance(3.5)
    holds, again = without_places(watch.holders()), without_places(watches.holders())
    assert holds == again
    line = holds[0].site.partition(" in ")[0] if holds[0].site else None
    site = f"{line} in {asks(pool)}"
    assert str(line).startswith("contract/pools.py:")
    owner = holds[0].owner
    assert [
        Hold(
            "pool", pool.kind, site, None, None, 5.5, owner, None, True, False, False, os.getpid()
        ),
        Hold(
            "pool",
            pool.kind,
            site,
            None,
            None,
            3.5,
            holds[1].owner,
            None,
            False,
            False,
            False,
            os.getpid(),
        ),
    ] == holds
    if "acquire" in asks(pool):
        assert str(owner).startswith("Task-")
    else:
        assert str(owner).startswith("ThreadPoolExecutor-")
    await pool.release(first)
    assert [3.5] == [hold.held_seconds for hold in watch.holders()]
    await pool.release(second)
    assert [] == watch.holders()


async def test_an_owner_has_the_name_that_its_task_has_now(
    pool: PoolUnderTest, watch: Watch
) -> None:
    if "acquire" not in asks(pool):
        pytest.skip("it is used in threads")
    held: list[Any] = []
    acquired, end = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        held.append(await pool.acquire())
        acquired.set()
        await end.wait()

    task = asyncio.create_task(job(), name="first")
    await acquired.wait()
    assert ["first"] == [hold.owner for hold in watch.holders()]
    task.set_name("nightly report")  # as who creates an eager task names it
    assert ["nightly report"] == [hold.owner for hold in watch.holders()]
    end.set()
    await task
    await pool.release(held.pop())


def leaks(watch: Watch) -> tuple[int, int, int]:
    """Return how many holds are overdue, have ever been, and were returned after that."""
    now = watch.snapshot()
    return now.overdue, now.leaks_overdue, now.leaks_recovered


async def test_a_hold_is_overdue_until_it_comes_back(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    held = await pool.acquire()
    clock.advance(5.0)
    assert (0, 0, 0) == leaks(watch)
    clock.advance(0.5)
    assert (1, 1, 0) == leaks(watch)
    await pool.release(held)
    assert (0, 1, 1) == leaks(watch)
    await pool.release(await pool.acquire())
    assert (0, 1, 1) == leaks(watch)


async def test_without_leak_after_nothing_is_overdue(
    pool: PoolUnderTest, watches: Watches, clock: FakeClock
) -> None:
    watch = watches.watch(pool.target, leak_after=None, registry=None)
    held = await pool.acquire()
    clock.advance(1e6)
    assert (0, 0, 0) == leaks(watch)
    assert [False] == [hold.overdue for hold in watch.holders()]
    await pool.release(held)
    assert (0, 0, 0) == leaks(watch)


async def test_the_metrics_name_the_function(
    pool: PoolUnderTest, watch: Watch, registry: CollectorRegistry, clock: FakeClock
) -> None:
    def value(name: str, **labels: str) -> Any:
        site = {"pool": "pool", "kind": pool.kind, "site": f"contract.pools:{asks(pool)}"}
        return registry.get_sample_value(name, {**site, **labels})

    held = await pool.acquire()
    clock.advance(6.0)
    assert 1.0 == value("connpool_site_connections")
    assert 1.0 == value("connpool_site_leaked", reason="overdue")
    assert 6.0 == value("connpool_site_in_use_seconds_total")
    await pool.release(held)
    clock.advance(6.0)
    assert 0.0 == value("connpool_site_connections")
    assert 0.0 == value("connpool_site_leaked", reason="overdue")
    assert 6.0 == value("connpool_site_in_use_seconds_total")


async def test_call_sites_can_be_turned_off(
    pool: PoolUnderTest, watches: Watches, registry: CollectorRegistry
) -> None:
    watch = watches.watch(pool.target, "pool", call_sites=False, registry=registry)
    held = await pool.acquire()
    (hold,) = watch.holders()
    assert hold.site is None
    assert hold.owner
    assert [] == [
        sample
        for family in registry.collect()
        if "_site_" in family.name
        for sample in family.samples
    ]
    await pool.release(held)


async def test_without_call_sites_nothing_has_a_line(
    pool: PoolUnderTest, watches: Watches, caplog: pytest.LogCaptureFixture
) -> None:
    watch = watches.watch(pool.target, "pool", call_sites=False, registry=None)
    held = [await pool.acquire(), await pool.acquire()]
    waiter = asyncio.create_task(pool.acquire())
    await eventually(1, lambda: pool.state().waiting)
    with pytest.raises(pool.timeout):
        await pool.acquire_soon()
    await pool.release(held.pop())
    held.append(await waiter)
    assert [None, None] == [hold.site for hold in watch.holders()]
    findings = watch.findings()
    assert pool.nests == ("nested-acquire" in {finding.rule for finding in findings})
    assert {()} == {finding.sites for finding in findings}
    (record,) = [record for record in caplog.records if record.name == "poolscope"]
    facts: Any = vars(record)["poolscope"]
    assert [(None, 2)] == [(holder["site"], holder["count"]) for holder in facts["holders"]]
    for connection in held:
        await pool.release(connection)


async def test_the_borrower_of_a_connection_that_was_in_use_before_the_watch_is_unknown(
    pool: PoolUnderTest, watches: Watches, clock: FakeClock
) -> None:
    held = await pool.acquire()
    watch = watches.watch(pool.target, "pool", registry=None)
    clock.advance(61.0)
    expected = Hold(
        "pool", pool.kind, None, None, None, 61.0, None, None, True, False, False, os.getpid()
    )
    assert [expected] == watch.holders()
    await pool.release(held)
    assert (0, 1, 1) == leaks(watch)


async def test_the_seconds_of_a_function_stay_when_its_pool_is_closed(
    pool: PoolUnderTest, watch: Watch, registry: CollectorRegistry, clock: FakeClock
) -> None:
    held = await pool.acquire()
    clock.advance(2.0)
    await pool.release(held)
    await pool.close()
    labels = {"pool": "pool", "kind": pool.kind, "site": f"contract.pools:{asks(pool)}"}
    assert 2.0 == registry.get_sample_value("connpool_site_in_use_seconds_total", labels)


def test_the_main_thread_is_an_owner_too(engines: Any, watches: Watches) -> None:
    engine = engines()
    watch = watches.watch(engine, registry=None)
    with engine.connect():
        assert [threading.current_thread().name] == [hold.owner for hold in watch.holders()]
