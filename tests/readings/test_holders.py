"""Functions that hold connections: their sums and labels, and which function is found."""

from __future__ import annotations

import asyncio
import gc
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg
import pytest
import sqlalchemy
import uvloop
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import poolscope
from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import APPLICATION, SHOWN_SITES, Function
from poolscope.label_values import OTHER_LABEL
from poolscope.ledger.label_cells import MAX_KNOWN_KEYS
from poolscope.ledger.ledger import Ledger
from poolscope.readings.by_label import HOLDS, LabelReading, SharedLabels
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE, eventually
from support.web import Server

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres


def who(label: str) -> Borrower:
    return Borrower(
        Function(None, APPLICATION, "shop.py", label, label), 1, "borrower_key", "MainThread"
    )


class TestSums:
    @pytest.fixture
    def ledger(self, clock: FakeClock) -> Ledger:
        return Ledger(Limits(math.inf, math.inf, 0), clock, leak_after=1.0)

    def test_seconds_are_summed_over_all_open_holds(self, ledger: Ledger, clock: FakeClock) -> None:
        ledger.served("a", clock(), clock(), who("pay"))
        clock.advance(2.0)
        ledger.served("b", clock(), clock(), who("pay"))
        clock.advance(3.0)
        ledger.returned("b", clock())
        clock.advance(1.0)
        assert [LabelReading("pay", 1, 2.0 + 6.0 + 1.0, 1)] == ledger.sites()

    def test_the_first_functions_have_their_own_label_and_the_rest_share_other(
        self, ledger: Ledger, clock: FakeClock
    ) -> None:
        for number in range(SHOWN_SITES + 5):
            ledger.served(number, clock(), clock(), who(f"f{number:02}"))
        clock.advance(2.0)
        for number in range(SHOWN_SITES + 3):
            ledger.returned(number, clock())
        own = [LabelReading(f"f{number:02}", 0, 2.0, 0) for number in range(SHOWN_SITES)]
        assert [*own, LabelReading(OTHER_LABEL, 2, 10.0, 2)] == ledger.sites()

    def test_an_endless_number_of_functions_costs_bounded_memory(
        self, ledger: Ledger, clock: FakeClock
    ) -> None:
        for number in range(MAX_KNOWN_KEYS + 10):
            ledger.served("a", clock(), clock(), who(f"f{number % 2}"))
            clock.advance(1.0)
            ledger.returned("a", clock())
        half = (MAX_KNOWN_KEYS + 10) / 2
        assert [LabelReading("f0", 0, half, 0), LabelReading("f1", 0, half, 0)] == ledger.sites()
        assert len(ledger.holds.site_cells.by_key) <= MAX_KNOWN_KEYS + 2


class TestPoolsOfOneName:
    def test_functions_are_added_up_over_live_and_ended_pools(self) -> None:
        shared = SharedLabels(SHOWN_SITES, HOLDS)
        shared.add_ended([LabelReading("pay", 0, 2.0, 0)])
        readings = [LabelReading("pay", 1, 3.0, 1), LabelReading("cart", 1, 1.0, 0)]
        expected = (LabelReading("cart", 1, 1.0, 0), LabelReading("pay", 1, 5.0, 1))
        assert expected == shared.sums(readings)

    def test_a_function_keeps_its_label_for_ever(self) -> None:
        shared = SharedLabels(SHOWN_SITES, HOLDS)
        shared.sums([LabelReading(f"f{number:02}", 1, 1.0, 0) for number in range(SHOWN_SITES)])
        later = (LabelReading("f00", 1, 2.0, 0), LabelReading(OTHER_LABEL, 1, 7.0, 0))
        assert later == shared.sums([LabelReading("a", 1, 7.0, 0), LabelReading("f00", 1, 2.0, 0)])
        shared.add_ended([LabelReading("a", 1, 7.0, 0)])
        assert (LabelReading(OTHER_LABEL, 0, 7.0, 0),) == shared.sums([])


class TestTheLedger:
    def test_an_overdue_connection_that_is_closed_is_not_recovered(self, clock: FakeClock) -> None:
        ledger = Ledger(Limits(2, 2, 0), clock, leak_after=1.0)
        for key in "ab":
            ledger.served(key, clock(), clock(), who("pay"))
        clock.advance(2.0)
        ledger.closed("a", clock())
        ledger.returned("b", clock())
        now = ledger.read()
        assert (0, 2, 1) == (now.overdue, now.leaks_overdue, now.leaks_recovered)
        assert [LabelReading("pay", 0, 4.0, 0)] == ledger.sites()

    def test_holds_without_a_slot_become_overdue_too(self, clock: FakeClock) -> None:
        ledger = Ledger(Limits(1000, 1000, 0), clock, leak_after=1.0)
        for key in range(200):
            ledger.served(key, clock(), clock(), who("pay"))
        clock.advance(2.0)
        assert 200 == ledger.read().overdue == len(ledger.holders())
        assert [LabelReading("pay", 200, 400.0, 200)] == ledger.sites()

    def test_a_second_caller_of_the_same_connection_takes_the_hold_over(
        self, clock: FakeClock
    ) -> None:
        ledger = Ledger(Limits(1, 1, 0), clock, leak_after=1.0)
        ledger.served("a", clock(), clock(), who("pay"))
        clock.advance(2.0)
        ledger.served("a", clock(), clock(), who("cart"))
        assert [LabelReading("pay", 0, 2.0, 0), LabelReading("cart", 1, 0.0, 0)] == ledger.sites()

    def test_a_caller_without_a_connection_does_not_nest(self, clock: FakeClock) -> None:
        ledger = Ledger(Limits(3, 3, 0), clock)
        for key in "ab":
            ledger.served(key, clock(), clock(), who("pay"))
        ledger.returned("a", clock())
        ledger.nested(who("pay"))
        assert 1 == ledger.read().nested
        ledger.returned("b", clock())
        ledger.nested(who("pay"))
        assert 1 == ledger.read().nested

    def test_a_fork_forgets_all_holders(self, clock: FakeClock) -> None:
        ledger = Ledger(Limits(1, 1, 0), clock)
        ledger.served("a", clock(), clock(), who("pay"))
        ledger.forked()
        assert ([], []) == (ledger.holders(), ledger.sites())


def sites(watch: poolscope.Watch) -> list[str]:
    """Return the names of the functions that hold connections."""
    return [str(hold.site).rpartition(".")[2] for hold in watch.holders()]


loops = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


class TestTheCaller:
    def test_it_is_found_above_a_session_of_the_orm(self, engines: Any, watches: Watches) -> None:
        engine = engines()
        watch = watches.watch(engine, registry=None)

        def load_cart(session: Session) -> list[str]:
            session.execute(sqlalchemy.text("SELECT 1"))
            return sites(watch)

        with Session(engine) as session:
            assert ["load_cart"] == load_cart(session)

    async def test_it_is_found_above_an_async_session(
        self, postgres: EmbeddedPostgres, watches: Watches
    ) -> None:
        engine = create_async_engine(postgres.sqlalchemy_url("asyncpg"))
        watch = watches.watch(engine, registry=None)

        async def load_cart(session: AsyncSession) -> list[str]:
            await session.execute(sqlalchemy.text("SELECT 1"))
            return sites(watch)

        async with AsyncSession(engine) as session:
            assert ["load_cart"] == await load_cart(session)
        await engine.dispose()

    async def test_it_is_found_above_a_query_of_the_pool_and_above_a_time_limit(
        self, postgres: EmbeddedPostgres, watches: Watches
    ) -> None:
        async def fetch() -> None:
            await pool.fetchval("SELECT pg_sleep(60)")

        async def acquire() -> list[str]:
            async with pool.acquire(timeout=PATIENCE):
                return sites(watch)

        async with asyncpg.create_pool(postgres.dsn, min_size=1, max_size=1) as pool:
            watch = watches.watch(pool, registry=None)
            assert ["acquire"] == await acquire()
            fetching = asyncio.create_task(fetch())
            await eventually(["fetch"], lambda: sites(watch))
            fetching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetching

    @loops
    def test_it_is_not_the_function_that_runs_the_event_loop(
        self, watches: Watches, new_loop: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        async def ask() -> list[tuple[str | None, str | None]]:
            server = Server()
            await server.start()
            async with aiohttp.ClientSession() as session:
                watch = watches.watch(session, registry=None)
                # No frame of this task belongs to the application; one of what waits for it does.
                asking: Any = session.get(f"{server.url}/stream/x")
                response = await asyncio.get_running_loop().create_task(asking, name="alone")
                holds = [(hold.site, hold.owner) for hold in watch.holders()]
                response.close()
            await server.stop()
            return holds

        loop = new_loop()
        ((site, owner),) = loop.run_until_complete(ask())
        assert "alone" == owner
        assert str(site).endswith("<locals>.ask")
        loop.close()


def test_poolscope_lists_the_holds_of_the_whole_process(engines: Any) -> None:
    engine = engines()
    with poolscope.watch(engine, "orders", registry=None), engine.connect():
        (hold,) = poolscope.holders()
        assert ("orders", "sqlalchemy", os.getpid()) == (hold.pool, hold.kind, hold.pid)
        assert "test_holders.py" in str(hold.site)
    assert [] == poolscope.holders()


def test_the_seconds_of_a_function_outlive_its_pool(
    watches: Watches, clock: FakeClock, collect: None
) -> None:
    registry = CollectorRegistry()

    def seconds() -> list[float]:
        return [
            sample.value
            for family in registry.collect()
            if family.name == "connpool_site_in_use_seconds"
            for sample in family.samples
        ]

    for turn in range(1, 4):
        engine = sqlalchemy.create_engine("sqlite://")
        watches.watch(engine, "orders", registry=registry)
        with engine.connect():
            clock.advance(2.0)
        assert [turn * 2.0] == seconds()
        engine.dispose()
        del engine
        gc.collect()
        assert [turn * 2.0] == seconds()


@pytest.mark.parametrize("seconds", ["60", True, object()])
def test_a_leak_after_that_is_not_a_number_is_refused(
    watches: Watches, seconds: Any, sqlite: Any
) -> None:
    engine = sqlite()
    with pytest.raises(TypeError, match=r"^leak_after must be seconds or None, not an object of"):
        watches.watch(engine, leak_after=seconds)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_leak_after_that_is_not_above_0_is_refused(
    watches: Watches, seconds: float, sqlite: Any
) -> None:
    engine = sqlite()
    with pytest.raises(ValueError, match=r"^leak_after must be above 0 s, not .*; None turns it"):
        watches.watch(engine, leak_after=seconds, registry=None)
    assert watches.watch(engine, leak_after=0.5, registry=None).snapshot().instances == 1
