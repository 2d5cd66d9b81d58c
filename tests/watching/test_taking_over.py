"""A pool that `autowatch` has named gets the name and the options that the application gives."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import aiohttp
import prometheus_client
import pytest
import sqlalchemy
from prometheus_client import CollectorRegistry

from poolscope.adapters import aiohttp as aiohttp_adapter
from poolscope.adapters import sqlalchemy as sqlalchemy_adapter
from poolscope.fleet.fleet import Fleet
from poolscope.fleet.folder import Folder
from poolscope.testing import FakeClock
from poolscope.watching.options import WatchOptions
from poolscope.watching.watch import Watch
from poolscope.watching.watches import Watches


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """The default registry, which other tests do not share."""
    registry = CollectorRegistry()
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    return registry


def made(
    watches: Watches, target: Any, name: str | None = None, options: WatchOptions | None = None
) -> Watch | None:
    """Watch a pool as `autowatch` does, under that name instead of the default one."""
    adapter: Any = sqlalchemy_adapter
    if isinstance(target, aiohttp.ClientSession):
        adapter = aiohttp_adapter
    return watches.watch_made(adapter, target, lambda default: name, options or WatchOptions())


@pytest.fixture
def engine(sqlite: Any) -> sqlalchemy.Engine:
    made: sqlalchemy.Engine = sqlite(pool_size=2, max_overflow=1)
    return made


def names(watches: Watches) -> list[str]:
    """Return the names of all series, also of those that only have counters."""
    return [report.pool for groups in list(watches._all) for report in groups.reports()]


class TestItsName:
    def test_an_explicit_name_wins(self, watches: Watches, engine: sqlalchemy.Engine) -> None:
        automatic = made(watches, engine)
        watch = watches.watch(engine, "orders", registry=None)
        assert watch is automatic
        assert "orders" == watch.name
        assert ["orders"] == names(watches)
        assert ["orders"] == [snapshot.name for snapshot in watches.snapshots()]

    def test_only_once(self, watches: Watches, engine: sqlalchemy.Engine) -> None:
        made(watches, engine)
        watches.watch(engine, "orders")
        with pytest.raises(ValueError, match="already watched as 'orders'"):
            watches.watch(engine, "billing")

    def test_the_same_name_is_one_that_was_given(
        self, watches: Watches, engine: sqlalchemy.Engine
    ) -> None:
        made(watches, engine, "orders")
        watches.watch(engine, "orders")
        with pytest.raises(ValueError, match="already watched as 'orders'"):
            watches.watch(engine, "billing")

    def test_without_a_name_it_is_the_same_watch(
        self, watches: Watches, engine: sqlalchemy.Engine
    ) -> None:
        automatic = made(watches, engine, "by a pattern")
        assert automatic is watches.watch(engine)
        assert "orders" == watches.watch(engine, "orders").name

    def test_others_of_the_first_name_stay(self, watches: Watches, sqlite: Any) -> None:
        first, second = sqlite(), sqlite()
        made(watches, first, "sqlite")
        made(watches, second, "sqlite")
        watches.watch(first, "orders")
        assert {"sqlite": 1, "orders": 1} == {
            snapshot.name: snapshot.instances for snapshot in watches.snapshots()
        }

    def test_one_that_was_unwatched_is_watched_anew(
        self, watches: Watches, engine: sqlalchemy.Engine
    ) -> None:
        automatic = made(watches, engine)
        assert automatic is not None
        automatic.unwatch()
        watch = watches.watch(engine, "orders")
        assert watch is not automatic
        assert [watch] == watches._watches()


class TestItsCounters:
    def test_what_it_has_counted_stays_with_the_first_name(
        self, watches: Watches, engine: sqlalchemy.Engine
    ) -> None:
        """No counter falls, and nothing is counted twice."""
        registry = CollectorRegistry()
        made(watches, engine, "sqlite")
        engine.connect().close()
        held = engine.connect()
        watches.watch(engine, "orders", registry=registry)
        engine.connect().close()
        held.close()
        counted = {
            (report.pool, report.reading.acquired, report.reading.opened, report.reading.closed)
            for groups in list(watches._all)
            for report in groups.reports()
        }
        assert {("sqlite", 2.0, 1.0, 1.0), ("orders", 1.0, 2.0, 0.0)} == counted
        snapshot = watches.watch(engine).snapshot()
        assert (0, 2) == (snapshot.in_use, snapshot.idle)

    def test_a_connection_that_is_out_stays_in_use(
        self, watches: Watches, engine: sqlalchemy.Engine
    ) -> None:
        made(watches, engine)
        held = engine.connect()
        watch = watches.watch(engine, "orders", registry=None)
        assert 1 == watch.snapshot().in_use
        held.close()
        assert 0 == watch.snapshot().in_use


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shares pools in a folder")
def test_other_processes_never_see_the_first_name_of_an_unused_pool(
    clock: FakeClock, folder: Path, sqlite: Any
) -> None:
    watches = Watches(clock, Folder(folder))
    engine = sqlite()
    made(watches, engine, "sqlite")
    watches.watch(engine, "orders", registry=None)
    fleet = Fleet(folder)
    try:
        assert ["orders"] == [report.pool for report in fleet.scan().reports]
    finally:
        fleet.close()


class TestItsOptions:
    def test_those_that_are_given_count(self, watches: Watches, engine: sqlalchemy.Engine) -> None:
        automatic = WatchOptions(leak_after=5.0, application_name="shop")
        made(watches, engine, options=automatic)
        watches.watch(engine, call_sites=False)
        existing = sqlalchemy_adapter.find(engine)
        assert existing is not None
        assert (5.0, False, "shop") == (
            existing.leak_after,
            existing.call_sites,
            existing.application_name,
        )
        assert "orders" == watches.watch(engine, "orders").name

    def test_its_registry(self, watches: Watches, engine: sqlalchemy.Engine) -> None:
        registry = CollectorRegistry()
        made(watches, engine, "sqlite")
        watches.watch(engine, registry=registry)
        assert 1.0 == registry.get_sample_value(
            "connpool_instances", {"pool": "sqlite", "kind": "sqlalchemy"}
        )


class TestPartsOfOnePool:
    def test_an_engine_names_a_pool_that_it_was_made_with(self, watches: Watches) -> None:
        make: Any = sqlalchemy.pool.QueuePool
        pool = make(lambda: None)
        automatic = made(watches, pool)
        assert automatic is not None
        assert "QueuePool" == automatic.name
        engine = sqlalchemy.create_engine("postgresql+psycopg://db:5432/orders", pool=pool)
        assert made(watches, engine) is None
        assert "orders@db:5432" == automatic.name
        assert "orders" == watches.watch(engine, "orders").name

    async def test_a_connector_of_two_services_has_the_name_of_neither(
        self, watches: Watches
    ) -> None:
        async with aiohttp.TCPConnector() as connector:
            first = aiohttp.ClientSession(
                "http://one.example", connector=connector, connector_owner=False
            )
            second = aiohttp.ClientSession(
                "http://two.example", connector=connector, connector_owner=False
            )
            automatic = made(watches, first)
            assert automatic is not None
            assert "one.example:80" == automatic.name
            made(watches, second)
            assert "aiohttp" == automatic.name
