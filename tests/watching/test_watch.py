"""A watch: one for each pool, and what remains when the pool or the watch ends."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import weakref
from typing import Any

import aiohttp
import asyncpg
import pytest
import sqlalchemy
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy.ext.asyncio import create_async_engine

import poolscope
from poolscope.adapters.sqlalchemy.hooks import hooks_by_pool
from poolscope.watching.watches import Watches


class TestOneWatchForOnePool:
    def test_watching_again_returns_the_same_watch(self, watches: Watches, sqlite: Any) -> None:
        engine = sqlite()
        watch = watches.watch(engine, "orders", registry=None)
        same: list[Any] = [
            watches.watch(engine, "orders"),
            watches.watch(engine),
            watches.watch(engine.pool, "orders"),
            watches.watch(engine.execution_options(isolation_level="AUTOCOMMIT"), "orders"),
        ]
        assert [watch] * 4 == same
        engine.dispose()
        assert watch is watches.watch(engine, "orders")
        assert 1 == len(watches.snapshots())

    def test_an_async_engine_and_its_sync_engine_have_one_watch(self, watches: Watches) -> None:
        engine = create_async_engine("postgresql+asyncpg://db.example/orders")
        watch = watches.watch(engine, registry=None)
        assert watch is watches.watch(engine.sync_engine)

    async def test_a_session_and_its_connector_have_one_watch(self, watches: Watches) -> None:
        async with aiohttp.ClientSession() as session:
            watch = watches.watch(session, registry=None)
            connector = session.connector
            assert connector is not None
            assert watch is watches.watch(connector)

    def test_after_unwatch_it_can_be_watched_under_another_name(
        self, watches: Watches, sqlite: Any
    ) -> None:
        engine = sqlite()
        watches.watch(engine, "orders", registry=None).unwatch()
        assert "billing" == watches.watch(engine, "billing", registry=None).name

    def test_pools_that_share_a_name_are_added_up(self, watches: Watches, sqlite: Any) -> None:
        registry = CollectorRegistry()
        engines = [sqlite() for _ in range(3)]
        for engine in engines:
            watches.watch(engine, "shards", registry=registry)
        out = [engine.connect() for engine in engines[:2]]
        assert 2 == value(registry, "connpool_connections", state="in_use")
        assert 45 == value(registry, "connpool_limit")
        assert 3 == value(registry, "connpool_instances")
        assert 3 == value(registry, "connpool_instances_created_total")
        for connection in out:
            connection.close()


def value(registry: CollectorRegistry, sample: str, **labels: str) -> float | None:
    """Return the value of a sample of the pool `shards`."""
    labels = {"pool": "shards", "kind": "sqlalchemy", **labels}
    return registry.get_sample_value(sample, labels)


def test_others_do_not_see_a_pool_that_is_being_hooked(
    watches: Watches, sqlite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter: Any = importlib.import_module("poolscope.adapters.sqlalchemy")
    hook = adapter.hook
    seen: list[Any] = []

    def look_first(target: Any, watched: Any) -> Any:
        seen.append((len(watches.snapshots()), watches.holders(), watches.findings()))
        return hook(target, watched)

    monkeypatch.setattr(adapter, "hook", look_first)
    watches.watch(sqlite(), "orders", registry=None)
    assert [(0, [], [])] == seen


class TestEnds:
    # The connections of a dropped pool are left to the garbage collector, which warns about them.
    @pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
    def test_a_watch_does_not_keep_a_pool_alive(self, watches: Watches, collect: None) -> None:
        registry = CollectorRegistry()
        engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
        watch = watches.watch(engine, "shards", registry=registry)
        engine.connect().close()
        gone = weakref.ref(engine), weakref.ref(engine.pool)
        del engine
        gc.collect()

        assert (None, None) == (gone[0](), gone[1]())
        assert value(registry, "connpool_connections", state="idle") is None
        assert value(registry, "connpool_limit") is None
        assert 1 == value(registry, "connpool_acquires_total", outcome="ok")
        assert 1 == value(registry, "connpool_closed_total")
        snapshot = watch.snapshot()
        assert (0, 0, 0.0, 0) == (
            snapshot.in_use, snapshot.idle, snapshot.limit, snapshot.instances,
        )  # fmt: skip
        assert (1, 1, 1) == (snapshot.acquired, snapshot.opened, snapshot.closed)

    async def test_an_asyncpg_pool_is_not_kept_alive(self, watches: Watches) -> None:
        pool = asyncpg.create_pool(min_size=0)
        watch = watches.watch(pool, registry=None)
        assert 1 == watch.snapshot().instances
        del pool
        gc.collect()
        assert 0 == watch.snapshot().instances
        assert [] == watches.snapshots()

    async def test_a_connector_is_not_kept_alive(self, watches: Watches) -> None:
        connector = aiohttp.TCPConnector()
        watch = watches.watch(connector, registry=None)
        gone = weakref.ref(connector)
        await connector.close()
        del connector
        gc.collect()
        assert gone() is None
        assert 0 == watch.snapshot().instances

    # The connections of a dropped pool are left to the garbage collector, which warns about them.
    @pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
    def test_counters_never_fall_when_pools_come_and_go(
        self, watches: Watches, collect: None
    ) -> None:
        registry = CollectorRegistry()
        totals = []
        for turn in range(5):
            engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
            watch = watches.watch(engine, "shards", registry=registry)
            engine.connect().close()
            if turn % 2:
                watch.unwatch()
            del engine, watch
            gc.collect()
            totals.append(value(registry, "connpool_acquires_total", outcome="ok"))
        # After `unwatch` of the last one there are no series, but the counters are kept.
        assert [1, None, 3, None, 5] == totals

    def test_unwatch_leaves_nothing_behind(
        self, watches: Watches, collect: None, sqlite: Any
    ) -> None:
        registry = CollectorRegistry()
        engine = sqlite()
        before = self.shape(engine)
        with watches.watch(engine, registry=registry) as watch:
            engine.connect().close()
            assert b"connpool_waiting{" in generate_latest(registry)
        assert before == self.shape(engine)
        assert b"connpool" not in generate_latest(registry)
        # The listeners are shared by all pools, and are removed with the last watch.
        assert bool(hooks_by_pool) == bool(engine.pool.dispatch.close)
        assert bool(hooks_by_pool) == bool(engine.pool.dispatch.invalidate)
        watch.unwatch()  # a second call does nothing
        engine.dispose()
        assert before == self.shape(engine)

    def shape(self, engine: sqlalchemy.Engine) -> object:
        pool: Any = engine.pool
        return sorted(vars(pool)), sorted(vars(pool._pool))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_starts_at_zero_and_does_not_change_its_parent(
    watches: Watches,
    sqlite: Any,
) -> None:
    engine = sqlite()
    watch = watches.watch(engine, registry=None)
    out = engine.connect()
    child = os.fork()
    if child == 0:
        try:
            at_first = watch.snapshot()
            engine.dispose(close=False)
            engine.connect().close()
            then = watch.snapshot()
            right = (at_first.in_use, at_first.idle, at_first.acquired) == (0, 0, 0)
            right &= (then.in_use, then.idle, then.acquired, then.opened) == (0, 1, 1, 1)
        except BaseException:
            right = False
        os._exit(0 if right else 1)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert 1 == watch.snapshot().in_use
    out.close()
    assert (0, 1) == (watch.snapshot().in_use, watch.snapshot().idle)


def test_the_process_has_one_set_of_watches(sqlite: Any) -> None:
    engine = sqlite()
    others = {now.name for now in poolscope.snapshots()}  # left by other tests
    with poolscope.watch(engine, "of the process", registry=CollectorRegistry()) as watch:
        names = {now.name for now in poolscope.snapshots()}
        assert {watch.snapshot().name} == names - others
    assert watch.snapshot().name not in {now.name for now in poolscope.snapshots()}
    assert "sqlalchemy" in sys.modules
